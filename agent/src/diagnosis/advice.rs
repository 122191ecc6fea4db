//! What to do about each verdict: one sentence, naming what to change.
//!
//! SSTP servers set no TCP keepalive, so no advice names `tcp_keepalive_time`: it would change
//! nothing. The server's hello and LCP echo keep a tunnel alive.

use crate::event::Code;

/// What to do about a verdict of this code, in one sentence.
#[expect(clippy::too_many_lines, reason = "a table, with a line for each code")]
pub const fn advice(code: Code) -> &'static str {
    match code {
        Code::CleanClient | Code::CleanServer => "Nothing: the session was ended on purpose.",
        Code::NotSstp => {
            "Nothing, if other services share this port; if it is by the server, find out why it \
             speaks no TLS here; else who uses this port for something else."
        }
        Code::Probe => "Nothing: health checks and scans look like this.",
        Code::TlsCertificateRejected => {
            "Check that the certificate is valid, bears the name that clients dial, and is sent \
             with its intermediate certificates."
        }
        Code::TlsNegotiationFailed => {
            "Compare the TLS versions and ciphers that server and client allow; old clients need \
             TLS 1.2."
        }
        Code::TlsCertificateCheckStall => {
            "Let clients reach the revocation lists (CRL, OCSP) that the certificate names \
             before the tunnel is up, or use a certificate without them."
        }
        Code::CryptoBindingRejected => {
            "Take TLS inspection and TLS offload out of the way between client and server, or \
             give the server the certificate that clients see."
        }
        Code::AuthFailed => {
            "Look into the server's or RADIUS log for the reason; user name, password or policy \
             were refused."
        }
        Code::AuthBackendSlow => {
            "Find out why RADIUS or the directory takes so long to answer; raise no timeout \
             before."
        }
        Code::NegotiationTimeout => {
            "See in the server's log which step of PPP did not come to an end; it gives up after \
             its negotiation timeout."
        }
        Code::PolicyDisconnect => {
            "Look for Session-Timeout, Idle-Timeout or a login rule in RADIUS or the server's \
             configuration."
        }
        Code::PeerHung => {
            "Look at the client: its system answers, its VPN program does not; a sleeping or \
             overloaded device does this."
        }
        Code::PathDead => {
            "Nothing on the server: the client's network went away; a shorter hello or LCP echo \
             interval only notices it sooner."
        }
        Code::IdleTimeoutSuspect => {
            "Set the server's hello or LCP echo interval well below the timeout of the NAT or \
             firewall on the way, or raise that timeout."
        }
        Code::KeepaliveAbsent => {
            "Switch on the server's hello or LCP echo (lcp-echo-interval); without them, middle \
             boxes forget the tunnel."
        }
        Code::PmtuBlackholeFromServer => {
            "Clamp the MSS of what the server sends (for example `tcp option maxseg size set rt \
             mtu` on the router), or let ICMP \"fragmentation needed\" through."
        }
        Code::PmtuBlackholeFromClient => {
            "Announce a smaller MSS on the server's route to this client, or let ICMP \
             \"fragmentation needed\" through to the client."
        }
        Code::LossDegraded => {
            "Find the lossy link: compare clients of the same provider, and the errors of the \
             interface in host.health."
        }
        Code::Bufferbloat => {
            "Limit the rate just below that of the slow link with fq_codel or cake, at the \
             client's router or the server."
        }
        Code::TcpMeltdown => {
            "Prefer a tunnel over UDP for this client, or mend the loss on its path: TCP within \
             TCP repeats everything twice."
        }
        Code::ClientZeroWindow => {
            "Look at the client: it did not read what it was sent; an overloaded or sleeping \
             device does this."
        }
        Code::ServerZeroWindow => {
            "Look at the server's daemon: it did not read what clients sent; check its CPU, its \
             threads and pppd."
        }
        Code::ResetInjectedSuspect => {
            "Compare with a capture at the client: a middle box sends RSTs in its name; look for \
             intrusion prevention, or a provider that blocks VPNs."
        }
        Code::ResetOnClientHello => {
            "Try another server name or port: a filter on the way reads the ClientHello."
        }
        Code::ClientReset => {
            "Look at the client: its program or system gave the connection up at once."
        }
        Code::ServerReset => {
            "See in the server's log why it gave the connection up; nobody listening does this, \
             too."
        }
        Code::ClientProcessDied => {
            "Look at the client: its program ended without saying goodbye; it crashed, was \
             killed, or does so always."
        }
        Code::ServerProcessDied | Code::ServerRestart => {
            "See in the server's log, `journalctl` and `dmesg` whether the daemon crashed, was \
             killed for memory, or was restarted."
        }
        Code::ServerRejectedBeforeTls => {
            "Look for a limit of connections in the server or its firewall; it closed before TLS \
             began."
        }
        Code::AcceptQueueOverflow => {
            "Raise the backlog of the server's listening socket and net.core.somaxconn, and find \
             out why it accepts too slowly."
        }
        Code::SynUnanswered => {
            "Check that the server listens, that no firewall drops its port, and host.health for \
             full queues."
        }
        Code::ClientRoamed => {
            "Nothing on the server: the client changed its network, and came back."
        }
        Code::Unknown => "See the evidence; a capture of the next one, replayed, may tell more.",
    }
}
