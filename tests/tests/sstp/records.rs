//! Records on the wire have the lengths by which SSTP is recognised.

use anyhow::Result;
use lab::Direction::{self, FromClient, FromServer};
use lab::sstp::{
    ClientFault, ClientTls, Ended, Ending, LcpEcho, Offer, SstpClients, SstpServer, Timeline,
    Traffic, Trust,
};
use lab::tls::SERVER_NAME;

use crate::relay::{Record, Relay, alerts, data};
use crate::{MOMENT, SOON, Setup};

/// A cipher, and the bytes by which its records are longer than what they carry.
const CIPHERS: [(Offer, u16); 3] = [
    (Offer::Tls13, 17),
    (Offer::Tls12AesGcm, 24),
    (Offer::Tls12ChaCha20, 16),
];

/// Lengths of SSTP packets ([MS-SSTP], 2.2).
const CALL_CONNECT_REQUEST: u16 = 14;
const CALL_CONNECT_ACK: u16 = 48;
const CALL_CONNECTED: u16 = 112;
const ECHO: u16 = 8;
const DISCONNECT: u16 = 20;
const LCP_ECHO: u16 = 16;
const ALERT: u16 = 2;

/// Has both meet through the relay.
fn recorded(setup: &Setup) -> Result<(Ended, Vec<Record>)> {
    let server = SstpServer::start_here(crate::LOOPBACK, &setup.server)?;
    let relay = Relay::start(server.address())?;
    let clients = SstpClients::start_here()?;
    let ended = clients
        .open(relay.address, &setup.client)
        .wait_ended(SOON)?;
    server.wait_ended(1, SOON)?;
    Ok((ended, relay.finish()?))
}

/// An idle session with echoes of all kinds, which the client ends.
fn idle_session(offer: Offer) -> Result<Setup> {
    let mut setup = Setup::with(offer)?;
    setup.server.keepalive.hello = Some(MOMENT);
    setup.client.keepalive.hello = None;
    setup.client.keepalive.lcp_echo = Some(LcpEcho {
        every: 3 * MOMENT,
        failures: 3,
    });
    setup.client.timeline = Timeline::carry(Traffic::Idle, 5 * MOMENT, Ending::Disconnect);
    Ok(setup)
}

/// Lengths from the first Call Connect message on, without what the cipher adds.
fn packets(records: &[Record], direction: Direction, cipher: u16, first: u16) -> Vec<u16> {
    let lengths = data(records, direction);
    let begin = lengths.iter().position(|length| *length == first + cipher);
    let begin = begin.expect("a Call Connect message");
    lengths[begin..]
        .iter()
        .map(|length| length - cipher)
        .collect()
}

#[test]
fn packets_have_the_lengths_of_the_table() -> Result<()> {
    for (offer, cipher) in CIPHERS {
        let (_, records) = recorded(&idle_session(offer)?)?;
        let mut up = packets(&records, FromClient, cipher, CALL_CONNECT_REQUEST);
        let mut down = packets(&records, FromServer, cipher, CALL_CONNECT_ACK);
        if offer == Offer::Tls13 {
            // There the alert is hidden among application data, and known by its length alone.
            assert_eq!((up.pop(), down.pop()), (Some(ALERT), Some(ALERT)));
        } else {
            let expected = vec![ALERT + cipher];
            assert_eq!(alerts(&records, FromClient), expected);
            assert_eq!(alerts(&records, FromServer), expected);
        }
        let connected = up.iter().position(|length| *length == CALL_CONNECTED);
        let (negotiation, tunnel) = up.split_at(connected.expect("Call Connected"));
        for length in &negotiation[1..] {
            assert!((10..=60).contains(length), "{up:?}");
        }
        for expected in [ECHO, LCP_ECHO] {
            assert!(tunnel.contains(&expected), "{expected}: {up:?}");
            assert!(down.contains(&expected), "{expected}: {down:?}");
        }
        assert_eq!(up.last(), Some(&DISCONNECT));
        assert_eq!(down.last(), Some(&ECHO), "Disconnect Ack: {down:?}");
    }
    Ok(())
}

#[test]
fn http_has_the_usual_lengths() -> Result<()> {
    for (offer, cipher) in CIPHERS {
        let (_, records) = recorded(&idle_session(offer)?)?;
        for (direction, next, range) in [
            (FromClient, CALL_CONNECT_REQUEST, 180..=280),
            (FromServer, CALL_CONNECT_ACK, 101..=142),
        ] {
            let lengths = data(&records, direction);
            let call = lengths.iter().position(|length| *length == next + cipher);
            let http = lengths[call.expect("a Call Connect message") - 1];
            assert!(range.contains(&http), "{direction:?}: {http}");
        }
    }
    Ok(())
}

#[test]
fn a_split_header_makes_two_records_of_each_packet() -> Result<()> {
    let mut setup = idle_session(Offer::Tls13)?;
    setup.server.split_header = true;
    let (_, records) = recorded(&setup)?;
    let lengths = data(&records, FromServer);
    let split = |length: u16| [4 + 17, length - 4 + 17];
    for length in [CALL_CONNECT_ACK, ECHO, LCP_ECHO] {
        let found = lengths.windows(2).any(|pair| pair == split(length));
        assert!(found, "{length}: {lengths:?}");
    }
    assert!(!lengths.contains(&(CALL_CONNECT_ACK + 17)));
    Ok(())
}

#[test]
fn an_abort_is_as_long_as_a_disconnect() -> Result<()> {
    let mut setup = Setup::with(Offer::Tls13)?;
    setup.client.timeline = Timeline::of(vec![], Ending::Abort);
    let (_, records) = recorded(&setup)?;
    assert_eq!(data(&records, FromClient).iter().rev().nth(1), Some(&37));
    assert_eq!(data(&records, FromServer).iter().rev().nth(1), Some(&37));
    Ok(())
}

/// rustls has its keys by the time it sees the certificate, and encrypts the alert under TLS 1.3;
/// OpenSSL does not.
#[test]
fn a_refused_certificate_shows_in_clear_but_for_rustls_under_tls_1_3() -> Result<()> {
    let trust_nobody = |offer| ClientTls::with(offer, &Trust::Nobody, Some(SERVER_NAME));
    let mut setup = Setup::new()?;
    setup.client.tls = trust_nobody(Offer::Tls12)?;
    let (_, records) = recorded(&setup)?;
    assert_eq!(alerts(&records, FromClient), [ALERT]);

    setup.client.tls = trust_nobody(Offer::Tls13)?;
    let (_, records) = recorded(&setup)?;
    assert!(alerts(&records, FromClient).is_empty());
    assert_eq!(data(&records, FromClient), [ALERT + 17]);

    let mut setup = Setup::with(Offer::Tls13)?;
    setup.client.fault = Some(ClientFault::RefuseCertificateInClear);
    let (_, records) = recorded(&setup)?;
    assert_eq!(alerts(&records, FromClient), [ALERT]);
    assert!(data(&records, FromClient).is_empty());
    Ok(())
}

#[test]
fn close_notify_is_the_only_difference_between_two_endings() -> Result<()> {
    for (ending, alert) in [(Ending::CloseNotify, true), (Ending::Fin, false)] {
        let mut setup = Setup::with(Offer::Tls12AesGcm)?;
        setup.client.timeline = Timeline::of(vec![], ending);
        let (_, records) = recorded(&setup)?;
        assert_eq!(!alerts(&records, FromClient).is_empty(), alert);
        assert!(!data(&records, FromClient).contains(&(DISCONNECT + 24)));
    }
    Ok(())
}
