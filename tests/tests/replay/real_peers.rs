//! Sessions of SSTP software that others wrote end in replay as they did when they were
//! recorded; what happened in each, `tests/captures/README.md` tells.

use anyhow::{Context as _, Result};
use lab::{accuracy::captures_folder, events::Line};

use crate::{parse, replay};

/// Capture, how it ended and by whom, retransmits of the client and of the server.
const ENDS: [(&str, &str, &str, u32, u32); 18] = [
    ("sstp-clean", "reset", "client", 0, 0),
    ("sstp-loss", "reset", "client", 2, 3),
    ("sstp-client-killed", "fin", "client", 0, 0),
    ("sstp-server-killed", "reset", "server", 0, 0),
    ("sstp-path-cut", "still_open", "unknown", 0, 9),
    ("sstp-path-cut-icmp", "still_open", "unknown", 0, 56),
    ("sstp-mtu-black-hole", "still_open", "client", 0, 9),
    ("sstp-wrong-password", "reset", "server", 0, 0),
    ("sstp-certificate-refused", "fin", "client", 0, 0),
    ("sstp-client-suspended", "reset", "client", 0, 0),
    ("accel-ppp-tls13", "reset", "server", 0, 2),
    ("softether-tls12-client-rejects-cert", "fin", "client", 0, 0),
    ("softether-tls12gcm-clean", "fin", "server", 0, 0),
    ("softether-tls13-clean", "fin", "server", 0, 0),
    (
        "softether-tls13-client-closes-socket",
        "reset",
        "client",
        0,
        0,
    ),
    (
        "softether-tls13-path-down-icmp",
        "still_open",
        "unknown",
        0,
        23,
    ),
    ("softether-tls13-server-killed", "fin", "server", 0, 0),
    ("softether-tls13-wrong-password", "fin", "server", 0, 0),
];

#[test]
fn sessions_of_real_peers_end_as_they_did() -> Result<()> {
    for (name, how, by, from_client, from_server) in ENDS {
        let capture = captures_folder().join(format!("{name}.pcap"));
        let lines = parse(&replay(&capture, &[])?.stdout)?;
        let end = lines.iter().find_map(Line::session_end).context(name)?;
        let told = (&*end.end.how, &*end.end.by);
        assert_eq!(told, (how, by), "{name}");
        let retransmits = (end.from_client.retransmits, end.from_server.retransmits);
        assert_eq!(retransmits, (from_client, from_server), "{name}");
    }
    Ok(())
}
