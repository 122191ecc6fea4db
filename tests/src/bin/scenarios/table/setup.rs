//! Sessions whose tunnel does not come up.

use anyhow::Result;
use lab::links::{self, Via};
use lab::sstp::{ClientFault, ClientTls, Gate, Method, Offer, Refusal, ServerTls, Trust};

use super::{Scenario, is, millis, surely};
use crate::stage::{PATIENCE, Stage, client_address, pass, until};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "certificate-untrusted-tls12",
        what: "the client trusts nobody: an alert in clear",
        expected: &[surely("tls_certificate_rejected", "high")],
        play: |stage| untrusted(stage, Offer::Tls12),
    },
    Scenario {
        name: "certificate-untrusted-tls13",
        what: "the same under TLS 1.3: the alert is encrypted",
        expected: &[surely("tls_certificate_rejected", "medium")],
        play: |stage| untrusted(stage, Offer::Tls13),
    },
    Scenario {
        name: "certificate-refused-in-clear",
        what: "unknown_ca in clear under TLS 1.3, as OpenSSL sends it",
        expected: &[surely("tls_certificate_rejected", "high")],
        play: |stage| faulty(stage, ClientFault::RefuseCertificateInClear),
    },
    Scenario {
        name: "no-common-version",
        what: "a client of TLS 1.2, a server of 1.3",
        expected: &[surely("tls_negotiation_failed", "high")],
        play: |stage| no_common(stage, Offer::Tls13, Offer::Tls12),
    },
    Scenario {
        name: "no-common-cipher",
        what: "TLS 1.2 on both sides, no cipher in common",
        expected: &[surely("tls_negotiation_failed", "high")],
        play: |stage| no_common(stage, Offer::Tls12AesGcm, Offer::Tls12ChaCha20),
    },
    Scenario {
        name: "revocation-list-unreachable",
        what: "the client takes too long over the certificate, and the server gives up",
        expected: &[surely("tls_certificate_check_stall", "medium")],
        play: |stage| faulty(stage, ClientFault::StallAtCertificate(millis(6_000))),
    },
    Scenario {
        name: "tls-inspected",
        what: "the crypto binding is wrong",
        expected: &[surely("crypto_binding_rejected", "high")],
        play: |stage| faulty(stage, ClientFault::WrongBinding),
    },
    Scenario {
        name: "wrong-password-pap",
        what: "PAP refuses, the server disconnects",
        expected: &[surely("auth_failed", "medium")],
        play: |stage| refused(stage, Method::Pap, Refusal::Disconnect),
    },
    Scenario {
        name: "wrong-password-chap",
        what: "CHAP refuses, the server closes",
        expected: &[surely("auth_failed", "medium")],
        play: |stage| refused(stage, Method::ChapMd5, Refusal::Close),
    },
    Scenario {
        name: "radius-slow",
        what: "the server takes 3 s to refuse",
        expected: &[surely("auth_backend_slow", "medium")],
        play: slow_backend,
    },
    Scenario {
        name: "never-connected",
        what: "the client never sends Call Connected",
        expected: &[surely("negotiation_timeout", "high")],
        play: |stage| faulty(stage, ClientFault::NeverCallConnected),
    },
    Scenario {
        name: "connection-limit-fin",
        what: "the server closes at once with a FIN",
        expected: &[surely("server_rejected_before_tls", "high")],
        play: |stage| gated(stage, Gate::Fin { limit: 0 }),
    },
    Scenario {
        name: "connection-limit-rst",
        what: "the server closes at once with a RST",
        expected: &[surely("server_rejected_before_tls", "high")],
        play: |stage| gated(stage, Gate::Reset { limit: 0 }),
    },
    Scenario {
        name: "accept-queue-full",
        what: "a server that accepts none: its queue has room for three, the fourth finds none",
        expected: &[
            is("probe"),
            is("probe"),
            is("unknown"),
            is("accept_queue_overflow"),
        ],
        play: accept_queue,
    },
    Scenario {
        name: "syn-dropped",
        what: "the server's host drops SYNs",
        expected: &[surely("syn_unanswered", "high")],
        play: syn_dropped,
    },
    Scenario {
        name: "client-hello-filtered",
        what: "nothing passes any more once the ClientHello has",
        expected: &[surely("reset_on_client_hello", "medium")],
        play: filtered,
    },
    Scenario {
        name: "client-hello-reset",
        what: "a RST in the client's name right after the ClientHello",
        expected: &[is("reset_on_client_hello")],
        play: reset_after_hello,
    },
    Scenario {
        name: "server-gives-up-on-tls",
        what: "the server gives up on a client that is slow, but not that slow",
        expected: &[is("unknown")],
        play: server_gives_up,
    },
];

fn open(stage: &Stage, fault: Option<ClientFault>) -> Result<()> {
    let mut options = stage.client_options()?;
    options.fault = fault;
    stage.open(&options).wait_ended(PATIENCE)?;
    Ok(())
}

fn faulty(stage: &Stage, fault: ClientFault) -> Result<()> {
    stage.serve(&stage.server_options()?)?;
    open(stage, Some(fault))
}

fn untrusted(stage: &Stage, offer: Offer) -> Result<()> {
    stage.serve(&stage.server_options()?)?;
    let mut options = stage.client_options()?;
    options.tls = ClientTls::with(offer, &Trust::Nobody, Some(lab::tls::SERVER_NAME))?;
    stage.open(&options).wait_ended(PATIENCE)?;
    Ok(())
}

fn no_common(stage: &Stage, server: Offer, client: Offer) -> Result<()> {
    let mut options = stage.server_options()?;
    options.tls = ServerTls::new(&stage.tls, server)?;
    stage.serve(&options)?;
    stage
        .open(&stage.client_options_with(client)?)
        .wait_ended(PATIENCE)?;
    Ok(())
}

fn refused(stage: &Stage, method: Method, refusal: Refusal) -> Result<()> {
    let mut server = stage.server_options()?;
    server.authentication.method = method;
    server.authentication.refusal = refusal;
    stage.serve(&server)?;
    let mut options = stage.client_options()?;
    "wrong".clone_into(&mut options.credentials.password);
    stage.open(&options).wait_ended(PATIENCE)?;
    Ok(())
}

fn slow_backend(stage: &Stage) -> Result<()> {
    let mut server = stage.server_options()?;
    server.authentication.delay = millis(3_000);
    server.authentication.refuses_all = true;
    server.timers.negotiation = millis(20_000);
    stage.serve(&server)?;
    let mut options = stage.client_options()?;
    options.timers.restart = millis(20_000);
    stage.open(&options).wait_ended(PATIENCE)?;
    Ok(())
}

fn gated(stage: &Stage, gate: Gate) -> Result<()> {
    let mut server = stage.server_options()?;
    server.gate = gate;
    stage.serve(&server)?;
    open(stage, None)
}

/// A backlog of two holds three. Two are there, and two more handshakes under way: the path is
/// slow enough for both SYNs to come before either handshake completes, and these complete one
/// after the other. At the same instant, on two CPUs, each would find the last place free. The
/// SYN-ACK is not repeated any more when the agent takes silence for an end.
fn accept_queue(stage: &Stage) -> Result<()> {
    let mut server = stage.server_options()?;
    server.accepts = false;
    server.backlog = 2;
    stage
        .lab
        .server
        .set_sysctl("net/ipv4/tcp_synack_retries", "2")?;
    stage.serve(&server)?;
    let held = [stage.tcp()?, stage.tcp()?];
    stage.faults(|faults| faults.from_client.delay = millis(400));
    let mut sessions = Vec::new();
    for number in 3..=4 {
        let mut options = stage.client_options()?;
        options.from = Some(client_address(number));
        options.timers.negotiation = millis(4_000);
        sessions.push(stage.open(&options));
        pass(millis(100));
    }
    for session in sessions {
        session.wait_ended(PATIENCE)?;
    }
    drop(held);
    Ok(())
}

/// The host has no way back to this client, and drops what it sends.
fn syn_dropped(stage: &Stage) -> Result<()> {
    stage.serve(&stage.server_options()?)?;
    let mut options = stage.client_options()?;
    options.timers.connect = millis(4_000);
    stage
        .lab
        .server
        .run(|| links::add_route(client_address(1), 32, Via::Nowhere))?;
    stage.open(&options).wait_ended(PATIENCE)?;
    Ok(())
}

/// Waits until the client has sent something besides its handshake.
fn wait_for_hello(stage: &Stage) -> Result<()> {
    until("the ClientHello passes", || {
        let counts = stage.lab.path.counts();
        counts.from_client.carried > 2
    })
}

fn filtered(stage: &Stage) -> Result<()> {
    let mut server = stage.server_options()?;
    server.timers.negotiation = millis(6_000);
    stage.serve(&server)?;
    // Long enough for the cut to come before the answer.
    stage.faults(|faults| {
        faults.from_server.delay = millis(300);
        faults.from_client.delay = millis(100);
    });
    let mut options = stage.client_options()?;
    options.timers.negotiation = millis(8_000);
    let session = stage.open(&options);
    wait_for_hello(stage)?;
    stage.cut();
    session.wait_ended(PATIENCE)?;
    Ok(())
}

fn reset_after_hello(stage: &Stage) -> Result<()> {
    stage.serve(&stage.server_options()?)?;
    stage.faults(|faults| faults.from_server.delay = millis(300));
    let session = stage.open(&stage.client_options()?);
    wait_for_hello(stage)?;
    // Right behind it.
    until("the path has seen the ClientHello", || {
        session.local().is_some_and(|client| {
            let observed = stage.lab.path.observed(client);
            observed
                .from_client
                .is_some_and(|seen| seen.payload_length > 0)
        })
    })?;
    stage.forge_reset(&session, |reset| reset)?;
    stage.faults(|faults| faults.from_client.cut = true);
    pass(millis(1_500));
    Ok(())
}

fn server_gives_up(stage: &Stage) -> Result<()> {
    let mut server = stage.server_options()?;
    server.timers.negotiation = millis(1_000);
    stage.serve(&server)?;
    open(stage, Some(ClientFault::StallAtCertificate(millis(3_000))))
}
