//! What clients do wrong in the set-up shows at the server as intended.

use std::time::Instant;

use anyhow::Result;
use lab::sstp::{
    By, ClientFault, ClientTls, How, Offer, Phase, ServerTls, SstpClients, SstpServer, Trust,
};
use lab::tls::SERVER_NAME;

use crate::{DISCONNECTED, LOOPBACK, MOMENT, SOON, Setup};

#[test]
fn a_scanner_closes_before_tls() -> Result<()> {
    let mut setup = Setup::new()?;
    setup.client.fault = Some(ClientFault::CloseAfterConnect);
    let met = setup.meet()?;
    assert_eq!((met.server.how, met.server.by), (How::Fin, By::Peer));
    assert_eq!((met.server.phase, met.server.received), (Phase::Tls, 0));
    Ok(())
}

#[test]
fn a_silent_client_is_left_after_the_negotiations_time() -> Result<()> {
    let mut setup = Setup::new()?;
    setup.server.timers.negotiation = 2 * MOMENT;
    setup.client.fault = Some(ClientFault::SilentAfterConnect(SOON));
    let met = setup.meet()?;
    assert_eq!(met.hows(), (How::Fin, How::NegotiationTimeout));
    assert_eq!((met.client.by, met.server.by), (By::Peer, By::Own));
    assert_eq!(met.server.received, 0);
    assert!(met.server.lasted >= 2 * MOMENT);
    Ok(())
}

#[test]
fn a_probe_closes_after_tls() -> Result<()> {
    let mut setup = Setup::new()?;
    setup.client.fault = Some(ClientFault::CloseAfterTls);
    let met = setup.meet()?;
    assert_eq!(met.hows(), (How::CloseNotify, How::CloseNotify));
    assert_eq!(met.server.phase, Phase::Http);
    Ok(())
}

#[test]
fn a_client_that_looks_for_revoked_certificates_goes_on_later() -> Result<()> {
    for offer in [Offer::Tls12, Offer::Tls13] {
        let mut setup = Setup::with(offer)?;
        setup.client.fault = Some(ClientFault::StallAtCertificate(4 * MOMENT));
        let server = SstpServer::start_here(LOOPBACK, &setup.server)?;
        let clients = SstpClients::start_here()?;
        let begun = Instant::now();
        let session = clients.open(server.address(), &setup.client);
        lab::wait_until(SOON, "the client waits", || session.phase() == Phase::Tls)?;
        lab::wait_until(SOON, "it goes on", || session.phase() > Phase::Tls)?;
        assert!(begun.elapsed() >= 4 * MOMENT);
        assert_eq!(session.wait_ended(SOON)?.how, DISCONNECTED);
    }
    Ok(())
}

#[test]
fn a_client_that_trusts_nobody_refuses_the_certificate() -> Result<()> {
    for offer in [Offer::Tls12, Offer::Tls13] {
        let mut setup = Setup::new()?;
        setup.client.tls = ClientTls::with(offer, &Trust::Nobody, Some(SERVER_NAME))?;
        let met = setup.meet()?;
        assert_eq!(met.hows(), (How::Tls, How::Tls), "{met:?}");
        assert_eq!((met.client.by, met.server.by), (By::Own, By::Peer));
        assert!(met.client.detail.contains("UnknownIssuer"), "{met:?}");
        assert!(met.server.detail.contains("UnknownCA"), "{met:?}");
    }
    Ok(())
}

#[test]
fn a_client_may_trust_everybody_and_name_nobody() -> Result<()> {
    let mut setup = Setup::new()?;
    setup.client.tls = ClientTls::with(Offer::All, &Trust::Everybody, None)?;
    assert_eq!(setup.meet()?.hows(), (DISCONNECTED, DISCONNECTED));
    Ok(())
}

#[test]
fn ends_without_a_common_version_or_cipher_part_with_an_alert() -> Result<()> {
    let pairs = [
        (Offer::Tls13, Offer::Tls12, "ProtocolVersion"),
        (Offer::Tls12, Offer::Tls13, "ProtocolVersion"),
        (Offer::Tls12ChaCha20, Offer::Tls12AesGcm, "HandshakeFailure"),
    ];
    for (client, server, alert) in pairs {
        let mut setup = Setup::with(client)?;
        setup.server.tls = ServerTls::new(&setup.tls, server)?;
        let met = setup.meet()?;
        assert_eq!(met.hows(), (How::Tls, How::Tls), "{met:?}");
        assert_eq!((met.client.by, met.server.by), (By::Peer, By::Own));
        assert!(met.client.detail.contains(alert), "{met:?}");
    }
    Ok(())
}

#[test]
fn a_browser_gets_pages_on_one_connection() -> Result<()> {
    let mut setup = Setup::new()?;
    setup.client.fault = Some(ClientFault::Browse {
        requests: 3,
        every: MOMENT,
    });
    let met = setup.meet()?;
    assert_eq!(met.hows(), (How::CloseNotify, How::CloseNotify));
    assert_eq!(met.server.phase, Phase::Http);
    assert!(met.client.lasted >= 2 * MOMENT);
    assert!(
        met.client.detail.contains("3 answers, the last 404"),
        "{met:?}"
    );
    Ok(())
}

#[test]
fn a_client_that_never_binds_is_aborted_after_the_negotiations_time() -> Result<()> {
    let mut setup = Setup::new()?;
    setup.server.timers.negotiation = 4 * MOMENT;
    setup.client.timers.negotiation = 3 * MOMENT;
    setup.client.fault = Some(ClientFault::NeverCallConnected);
    let met = setup.meet()?;
    assert_eq!(met.server.how, How::NegotiationTimeout);
    assert_eq!(met.client.how, How::Abort { status: Some(8) });
    assert_eq!(met.client.by, By::Peer);
    assert_eq!(met.server.phase, Phase::Network);
    assert!(met.server.lasted >= 4 * MOMENT);
    Ok(())
}

#[test]
fn a_slow_client_takes_its_time_before_each_step() -> Result<()> {
    let mut setup = Setup::new()?;
    setup.client.pace = MOMENT;
    let met = setup.meet()?;
    assert_eq!(met.hows(), (DISCONNECTED, DISCONNECTED), "{met:?}");
    // TLS, HTTP, Call Connect, two of LCP, PAP, Call Connected, two of IPCP and more.
    assert!(met.client.lasted >= 9 * MOMENT, "{met:?}");

    setup.server.timers.negotiation = 3 * MOMENT;
    let met = setup.meet()?;
    assert_eq!(met.server.how, How::NegotiationTimeout, "{met:?}");
    Ok(())
}
