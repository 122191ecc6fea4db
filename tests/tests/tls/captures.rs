//! What real peers' sessions show; what happened in each, `tests/captures/README.md` tells.

use anyhow::{Context as _, Result, ensure};
use lab::{
    accuracy::{captures, captures_folder},
    chunks::{Connection, connections},
};
use sstpulse::{
    event::PhasesMs,
    tls::{Alert, AlertContent, Milestone, Phase, Resumption, TlsFacts, Validity},
};
use sstpulse_common::Side;

const TLS_1_2: u16 = 0x0303;
const TLS_1_3: u16 = 0x0304;
const TLS_AES_256_GCM_SHA384: u16 = 0x1302;
const TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384: u16 = 0xc030;

/// What a session shows.
struct Shows {
    capture: &'static str,
    phase: Phase,
    server_name: Option<&'static str>,
    version: u16,
    /// Bytes of the server's certificate flight.
    flight: u32,
    sstp: Option<bool>,
    /// Records of PPP from the client and from the server.
    ppp: (u16, u16),
    /// The longest time for which the server owed an answer, in milliseconds.
    owed_ms: Option<u64>,
    /// Lengths of the server's records after Call Connected.
    after_connected: &'static [u16],
}

/// A session of sstpc with sstp-server, whose tunnel comes up. The server sends the header of
/// each packet in a record of its own.
const SORZ: Shows = Shows {
    capture: "sstp-clean",
    phase: Phase::Up,
    server_name: Some("vpn.example"),
    version: TLS_1_3,
    flight: 1_815,
    sstp: Some(true),
    ppp: (3, 5),
    owed_ms: Some(52),
    after_connected: &[21, 29, 21, 29],
};

/// A session of a client with SoftEther, whose tunnel comes up.
const SOFTETHER: Shows = Shows {
    capture: "softether-tls13-clean",
    server_name: Some("sstp.example.test"),
    flight: 1_524,
    ppp: (7, 5),
    owed_ms: Some(4),
    after_connected: &[25, 53, 35, 91],
    ..SORZ
};

const SHOWN: [Shows; 18] = [
    SORZ,
    Shows {
        capture: "sstp-loss",
        owed_ms: Some(56),
        ..SORZ
    },
    Shows {
        capture: "sstp-client-killed",
        flight: 1_816,
        owed_ms: Some(55),
        ..SORZ
    },
    Shows {
        capture: "sstp-server-killed",
        flight: 1_816,
        owed_ms: Some(61),
        ..SORZ
    },
    Shows {
        capture: "sstp-path-cut",
        owed_ms: Some(67),
        ..SORZ
    },
    Shows {
        capture: "sstp-path-cut-icmp",
        owed_ms: Some(64),
        ..SORZ
    },
    Shows {
        capture: "sstp-mtu-black-hole",
        flight: 1_816,
        ppp: (4, 6),
        owed_ms: Some(66),
        ..SORZ
    },
    Shows {
        capture: "sstp-client-suspended",
        flight: 1_816,
        owed_ms: Some(69),
        ..SORZ
    },
    Shows {
        capture: "sstp-wrong-password",
        phase: Phase::Ppp,
        flight: 1_816,
        ppp: (5, 6),
        owed_ms: Some(60),
        after_connected: &[],
        ..SORZ
    },
    Shows {
        capture: "sstp-certificate-refused",
        phase: Phase::Http,
        sstp: None,
        ppp: (0, 0),
        owed_ms: None,
        after_connected: &[],
        ..SORZ
    },
    Shows {
        capture: "accel-ppp-tls13",
        server_name: None,
        flight: 1_353,
        ppp: (5, 6),
        owed_ms: Some(58),
        after_connected: &[35, 35, 31, 35],
        ..SORZ
    },
    SOFTETHER,
    Shows {
        capture: "softether-tls13-client-closes-socket",
        owed_ms: Some(3),
        after_connected: &[25, 53, 35, 109],
        ..SOFTETHER
    },
    Shows {
        capture: "softether-tls13-path-down-icmp",
        ppp: (7, 6),
        owed_ms: Some(300),
        after_connected: &[25, 35, 35, 109],
        ..SOFTETHER
    },
    Shows {
        capture: "softether-tls13-server-killed",
        after_connected: &[25, 53, 35, 183],
        ..SOFTETHER
    },
    Shows {
        capture: "softether-tls13-wrong-password",
        phase: Phase::Ppp,
        ppp: (9, 6),
        owed_ms: Some(304),
        after_connected: &[],
        ..SOFTETHER
    },
    Shows {
        capture: "softether-tls12gcm-clean",
        version: TLS_1_2,
        flight: 1_395,
        ppp: (7, 6),
        owed_ms: Some(307),
        after_connected: &[32, 60, 42, 116],
        ..SOFTETHER
    },
    Shows {
        capture: "softether-tls12-client-rejects-cert",
        phase: Phase::Tls,
        server_name: Some("x"),
        version: TLS_1_2,
        flight: 1_395,
        sstp: None,
        ppp: (0, 0),
        owed_ms: None,
        after_connected: &[],
    },
];

/// The session in a capture of one.
pub(crate) fn session(capture: &str) -> Result<Connection> {
    let path = captures_folder().join(format!("{capture}.pcap"));
    let connection = connections(&path)?.into_iter().next();
    connection.with_context(|| format!("no session begins in {capture}"))
}

fn facts(capture: &str) -> Result<TlsFacts> {
    Ok(session(capture)?.dialogue().into_facts())
}

/// The names of the captures of real peers.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    SHOWN.iter().map(|shows| shows.capture)
}

#[test]
fn sessions_of_real_peers_show_how_far_they_came() -> Result<()> {
    for shows in &SHOWN {
        let name = shows.capture;
        let session = session(name)?;
        let dialogue = session.dialogue();
        let facts = dialogue.facts();
        let hellos = &facts.hellos;
        assert_eq!(dialogue.phase(), shows.phase, "{name}");
        assert_eq!(dialogue.is_done(), shows.phase == Phase::Up, "{name}");
        assert_eq!(dialogue.held(), 0, "{name}");
        assert_eq!(hellos.server_name.as_deref(), shows.server_name, "{name}");
        let versions = (hellos.offered, hellos.negotiated);
        assert_eq!(
            versions,
            (Some(shows.version), Some(shows.version)),
            "{name}"
        );
        let cipher = match shows.version {
            TLS_1_3 => TLS_AES_256_GCM_SHA384,
            _ => TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        };
        assert_eq!(hellos.cipher, Some(cipher), "{name}");
        assert_eq!(hellos.resumption, Some(Resumption::NotOffered), "{name}");
        assert_eq!(facts.server_flight_bytes, shows.flight, "{name}");
        assert_eq!(facts.sstp, shows.sstp, "{name}");
        let ppp = (facts.ppp.from_client, facts.ppp.from_server);
        assert_eq!(ppp, shows.ppp, "{name}");
        let owed_ms = facts.longest_owed().map(|owed| owed.lasted_ns / 1_000_000);
        assert_eq!(owed_ms, shows.owed_ms, "{name}");
        let after: Vec<u16> = facts
            .after_connected()
            .map(|record| record.length)
            .collect();
        assert_eq!(after, shows.after_connected, "{name}");
        let before_connect = u8::from(shows.phase > Phase::Tls);
        assert_eq!(
            facts.client_records_before_connect, before_connect,
            "{name}"
        );
        assert!(!facts.incomplete, "{name}");
    }
    Ok(())
}

#[test]
fn every_session_of_a_real_peer_is_in_the_table() -> Result<()> {
    for capture in captures()? {
        let name = capture.file_stem().unwrap_or_default().to_string_lossy();
        let real = ["sstp-", "softether-", "accel-"];
        if real.iter().any(|prefix| name.starts_with(prefix)) {
            ensure!(names().any(|known| known == name), "{name} is not");
        }
    }
    Ok(())
}

/// Times as tshark shows them, frame by frame.
#[test]
fn each_step_has_the_time_of_its_record() -> Result<()> {
    let session = session("accel-ppp-tls13")?;
    let dialogue = session.dialogue();
    let first_ns = session.payloads[0].time_ns;
    let after_us = |milestone| {
        let at = dialogue.facts().at(milestone)?;
        Some((at - first_ns) / 1_000)
    };
    let steps = [
        (Milestone::ClientHello, 0),
        (Milestone::ServerHello, 132_590),
        (Milestone::ServerFlightEnd, 132_590),
        (Milestone::ClientReply, 228_476),
        (Milestone::HandshakeDone, 228_476),
        (Milestone::HttpRequest, 230_535),
        // Two session tickets come before it.
        (Milestone::HttpReply, 255_431),
        (Milestone::ConnectRequest, 262_610),
        (Milestone::ConnectAck, 286_675),
        (Milestone::Connected, 758_033),
    ];
    for (milestone, expected) in steps {
        assert_eq!(after_us(milestone), Some(expected), "{milestone:?}");
    }
    let phases = PhasesMs::of(dialogue.facts(), session.start_ns);
    assert_eq!(
        phases,
        PhasesMs {
            tcp: phases.tcp,
            tls: Some(228),
            http: Some(34),
            sstp_setup: Some(24),
            ppp: Some(471),
        }
    );
    assert!(phases.tcp.is_some());
    Ok(())
}

#[test]
fn a_certificate_in_clear_shows_its_dates() -> Result<()> {
    let validity = Validity {
        // 2026-11-22T15:20:00Z and 2037-12-31T15:20:00Z.
        not_before: 1_795_360_800,
        not_after: 2_145_885_600,
    };
    for capture in [
        "softether-tls12gcm-clean",
        "softether-tls12-client-rejects-cert",
    ] {
        assert_eq!(facts(capture)?.certificate, Some(validity), "{capture}");
    }
    assert_eq!(facts("softether-tls13-clean")?.certificate, None);
    Ok(())
}

#[test]
fn the_first_alert_is_kept_with_what_it_says() -> Result<()> {
    let unknown_ca = Alert {
        by: Side::Client,
        content: Some(AlertContent {
            level: 2,
            description: 48,
        }),
    };
    let refused = facts("softether-tls12-client-rejects-cert")?;
    assert_eq!(refused.alert, Some(unknown_ca));
    let encrypted = Alert {
        by: Side::Client,
        content: None,
    };
    let wrong_password = facts("sstp-wrong-password")?;
    assert_eq!(wrong_password.alert, Some(encrypted));
    // sstpc closes without one.
    assert_eq!(facts("sstp-certificate-refused")?.alert, None);
    Ok(())
}

/// The lab's captures keep 120 bytes of each packet: too little for a `ClientHello`, and enough
/// to see how far it came.
#[test]
fn segments_cut_short_show_what_is_left_of_them() -> Result<()> {
    for capture in ["lab-abort", "lab-stall", "lab-offload"] {
        let facts = facts(capture)?;
        assert_eq!(facts.hellos.server_name, None, "{capture}");
        assert_eq!(facts.phase(), Phase::Http, "{capture}");
        assert!(facts.incomplete, "{capture}");
    }
    Ok(())
}
