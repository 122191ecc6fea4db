//! How a tunnel comes up, in ways that no capture of the corpus shows.

use lab::chunks::Payload;
use sstpulse::tls::{Alert, AlertContent, Dialogue, Milestone, Phase, Resumption};
use sstpulse_common::Side;

use crate::wire::{
    ALERT, CHANGE_CIPHER_SPEC, DATA, HANDSHAKE, STEP_NS, Talk, chooses_tls13, client_hello,
    extension, message, record, sealed, server_flight, server_hello, server_hello_with,
    server_name, supported_versions,
};

/// When a step was taken: in the how manieth segment, counted from 1.
fn segment(dialogue: &Dialogue, milestone: Milestone) -> Option<u64> {
    dialogue.facts().at(milestone).map(|at| at / STEP_NS)
}

#[test]
fn each_record_leads_to_the_next_phase() {
    let mut dialogue = Dialogue::new();
    assert_eq!(dialogue.phase(), Phase::Tcp);
    let talk = Talk::ppp()
        .client(&sealed(DATA, &[40]))
        .server(&sealed(DATA, &[40]))
        .client(&sealed(DATA, &[129]));
    let expected = [
        Phase::Tls,
        Phase::Tls,
        Phase::Http,
        Phase::Http,
        Phase::Http,
        Phase::SstpSetup,
        Phase::Ppp,
        Phase::Ppp,
        Phase::Ppp,
        Phase::Up,
    ];
    for (payload, phase) in talk.payloads.iter().zip(expected) {
        dialogue.take(&payload.chunk());
        assert_eq!(dialogue.phase(), phase);
        assert!(!dialogue.is_done());
    }
    assert_eq!(dialogue.facts().sstp, Some(true));
}

#[test]
fn a_tunnel_is_looked_at_until_the_server_has_answered_call_connected() {
    let up = Talk::ppp().client(&sealed(DATA, &[129]));
    let answered = up.clone().server(&sealed(DATA, &[25, 33, 40, 1_000]));
    assert!(answered.dialogue().is_done());
    let after: Vec<u16> = answered
        .dialogue()
        .facts()
        .after_connected()
        .map(|record| record.length)
        .collect();
    assert_eq!(after, [25, 33, 40, 1_000]);

    let mut late = up.clone().client(&sealed(DATA, &[40]));
    late.payloads.last_mut().expect("it is there").time_ns += 6_000_000_000;
    assert!(late.dialogue().is_done());
    assert!(!up.dialogue().is_done());
}

#[test]
fn session_tickets_are_no_answer_wherever_they_come() {
    let finished = Talk::tls13().client(&sealed(DATA, &[69]));
    let before = finished.clone().server(&sealed(DATA, &[250, 250]));
    let before = before.client(&sealed(DATA, &[196]));
    let after = finished.client(&sealed(DATA, &[196]));
    let after = after.server(&sealed(DATA, &[250, 250]));
    for talk in [before, after] {
        let dialogue = talk
            .server(&sealed(DATA, &[135]))
            .client(&sealed(DATA, &[31]))
            .dialogue();
        assert_eq!(dialogue.phase(), Phase::SstpSetup);
        assert_eq!(segment(&dialogue, Milestone::HttpReply), Some(6));
    }
}

#[test]
fn a_client_with_a_certificate_is_done_with_its_finished() {
    // Each message in a record of its own, without a certificate, all in one record.
    let ways: [(&[u16], u8); 3] = [(&[900, 281, 69], 1), (&[25, 69], 1), (&[1_240], 1)];
    for (lengths, before_connect) in ways {
        let mut talk = Talk::tls13();
        for length in lengths {
            talk = talk.client(&sealed(DATA, &[*length]));
        }
        let finished = talk.payloads.len() as u64;
        let dialogue = talk
            .client(&sealed(DATA, &[196]))
            .server(&sealed(DATA, &[135]))
            .client(&sealed(DATA, &[31]))
            .dialogue();
        let done = segment(&dialogue, Milestone::HandshakeDone);
        assert_eq!(done, Some(finished), "{lengths:?}");
        let request = segment(&dialogue, Milestone::HttpRequest);
        assert_eq!(request, Some(finished + 1), "{lengths:?}");
        let facts = dialogue.facts();
        assert_eq!(facts.client_records_before_connect, before_connect);
        assert_eq!(facts.sstp, Some(true), "{lengths:?}");
    }
}

#[test]
fn a_server_that_asks_for_another_hello_is_waited_for() {
    const HELLO_RETRY_REQUEST: [u8; 32] = [
        0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8,
        0x91, 0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8,
        0x33, 0x9c,
    ];
    let hello = client_hello(&[7; 32], &server_name(b"vpn.example"));
    let retry = server_hello_with(HELLO_RETRY_REQUEST, 0x1302, &chooses_tls13());
    let change = sealed(CHANGE_CIPHER_SPEC, &[1]);
    let flight = server_flight();
    let dialogue = Talk::default()
        .client(&hello)
        .server(&[&retry[..], &change].concat())
        .client(&[&change[..], &hello].concat())
        .server(&flight)
        .client(&sealed(DATA, &[69]))
        .dialogue();
    let facts = dialogue.facts();
    assert!(facts.hellos.hello_retry_request);
    assert_eq!(dialogue.phase(), Phase::Http);
    assert_eq!(facts.server_flight_bytes as usize, flight.len());
    assert_eq!(segment(&dialogue, Milestone::ServerFlightEnd), Some(4));
    assert_eq!(segment(&dialogue, Milestone::ClientReply), Some(5));
    assert!(!facts.incomplete);
}

/// TLS 1.2 with AES-CBC, SHA-1 and encrypt-then-MAC, up to both Finished.
fn tls12(is_full: bool, session_id: &[u8]) -> Talk {
    const ECDHE_RSA_WITH_AES_256_CBC_SHA: u16 = 0xc014;
    let hello = client_hello(session_id, &extension(22, &[]));
    let server = server_hello(ECDHE_RSA_WITH_AES_256_CBC_SHA, &extension(22, &[]));
    let finished = [sealed(CHANGE_CIPHER_SPEC, &[1]), sealed(HANDSHAKE, &[68])].concat();
    let talk = Talk::default().client(&hello);
    if is_full {
        let flight = [server, message(11, &[0, 0, 0]), message(14, &[])].concat();
        let reply = [message(16, &[0; 66]), finished.clone()].concat();
        talk.server(&flight).client(&reply).server(&finished)
    } else {
        talk.server(&[server, finished.clone()].concat())
            .client(&finished)
    }
}

#[test]
fn up_to_tls_1_2_an_abbreviated_handshake_is_a_session_resumed() {
    let cases = [
        (true, &[][..], Resumption::NotOffered),
        (true, &[7; 32], Resumption::Offered),
        (false, &[7; 32], Resumption::Honoured),
    ];
    for (is_full, session_id, expected) in cases {
        let dialogue = tls12(is_full, session_id).dialogue();
        assert_eq!(dialogue.facts().hellos.resumption, Some(expected));
        assert_eq!(dialogue.phase(), Phase::Http);
        assert_eq!(segment(&dialogue, Milestone::HandshakeDone), Some(3));
    }
}

#[test]
fn tls_1_3_resumes_with_a_pre_shared_key() {
    let offer = [supported_versions(&[0x0304]), extension(41, &[0; 40])].concat();
    let offered = Talk::default().client(&client_hello(&[7; 32], &offer));
    let resumption = |talk: &Talk| talk.dialogue().facts().hellos.resumption;
    assert_eq!(resumption(&offered), Some(Resumption::Offered));
    let agreed = [chooses_tls13(), extension(41, &[0, 0])].concat();
    let honoured = offered.server(&server_hello(0x1302, &agreed));
    assert_eq!(resumption(&honoured), Some(Resumption::Honoured));
    // The session ID is filled for the looks of it.
    let plain = Talk::default().client(&client_hello(&[7; 32], &supported_versions(&[0x0304])));
    assert_eq!(resumption(&plain), Some(Resumption::NotOffered));
}

#[test]
fn order_decides_where_a_block_cipher_gives_messages_the_same_length() {
    // Call Connect Request is as long as an echo, Call Connected as long as other packets.
    let dialogue = tls12(true, &[])
        .client(&sealed(DATA, &[244]))
        .server(&sealed(DATA, &[180]))
        .client(&sealed(DATA, &[52]))
        .server(&sealed(DATA, &[100]))
        .client(&sealed(DATA, &[68]))
        .server(&sealed(DATA, &[52]))
        .client(&sealed(DATA, &[164]))
        .dialogue();
    assert!(dialogue.facts().hellos.encrypt_then_mac);
    assert_eq!(dialogue.phase(), Phase::Up);
    assert_eq!(segment(&dialogue, Milestone::ConnectRequest), Some(7));
    assert_eq!(segment(&dialogue, Milestone::Connected), Some(11));
}

#[test]
fn grease_is_no_version() {
    let offer = supported_versions(&[0x7a7a, 0x0303, 0x0304]);
    let dialogue = Talk::default()
        .client(&client_hello(&[], &offer))
        .dialogue();
    assert_eq!(dialogue.facts().hellos.offered, Some(0x0304));
}

#[test]
fn https_that_is_no_sstp_is_told_by_the_fourth_record() {
    let mut talk = Talk::tls13().client(&sealed(DATA, &[69]));
    for _ in 0..3 {
        talk = talk
            .client(&sealed(DATA, &[300]))
            .server(&sealed(DATA, &[1_200]));
        assert_eq!(talk.dialogue().facts().sstp, None);
    }
    let dialogue = talk.client(&sealed(DATA, &[300])).dialogue();
    assert_eq!(dialogue.facts().sstp, Some(false));
    assert_eq!(dialogue.phase(), Phase::Http);
    assert!(dialogue.is_done());
}

#[test]
fn a_call_connect_request_is_none_before_the_server_has_answered_a_request() {
    let finished = Talk::tls13().client(&sealed(DATA, &[69]));
    let dialogue = finished.client(&sealed(DATA, &[31])).dialogue();
    assert_eq!(dialogue.phase(), Phase::Http);
    assert_eq!(dialogue.facts().sstp, None);
}

#[test]
fn what_is_no_tls_is_no_sstp() {
    let http = Talk::default().client(b"GET / HTTP/1.1\r\n\r\n");
    let ssh = Talk::default().server(b"SSH-2.0-OpenSSH_10.0\r\n");
    for talk in [http, ssh] {
        let dialogue = talk.dialogue();
        assert_eq!(dialogue.phase(), Phase::Tcp);
        assert_eq!(dialogue.facts().sstp, Some(false));
        assert!(dialogue.is_done());
    }
}

#[test]
fn alerts_tell_in_clear_what_they_say_and_encrypted_who_sent_them() {
    let hello = Talk::default().client(&client_hello(&[], &[]));
    let clear = |by, level, description| Alert {
        by,
        content: Some(AlertContent { level, description }),
    };
    let encrypted = |by| Alert { by, content: None };
    let alert = |level, description| record(ALERT, &[level, description]);
    let cases = [
        (
            hello.server(&alert(2, 70)),
            clear(Side::Server, 2, 70),
            Phase::Tls,
        ),
        (
            Talk::tls13().client(&alert(2, 48)),
            clear(Side::Client, 2, 48),
            Phase::Tls,
        ),
        // TLS 1.3: by its length, in place of the Finished and after it.
        (
            Talk::tls13().client(&sealed(DATA, &[19])),
            encrypted(Side::Client),
            Phase::Tls,
        ),
        (
            Talk::ppp().server(&sealed(DATA, &[19])),
            encrypted(Side::Server),
            Phase::Ppp,
        ),
        // TLS 1.2: by its type.
        (
            tls12(true, &[]).client(&sealed(ALERT, &[52])),
            encrypted(Side::Client),
            Phase::Http,
        ),
    ];
    for (talk, expected, phase) in cases {
        let dialogue = talk.client(&alert(1, 0)).dialogue();
        assert_eq!(dialogue.facts().alert, Some(expected));
        assert_eq!(dialogue.phase(), phase);
    }
}

#[test]
fn a_goodbye_is_no_answer_to_call_connect_request() {
    for length in [19, 25, 37] {
        let mut talk = Talk::ppp();
        talk.payloads.pop();
        let last = talk.payloads.last().expect("there are some").time_ns;
        let offset = server_bytes(&talk);
        let goodbye = Payload::new(Side::Server, offset, &sealed(DATA, &[length]), last + 1);
        talk.payloads.push(goodbye);
        assert_eq!(talk.dialogue().phase(), Phase::SstpSetup, "{length}");
    }
}

/// Bytes that the server has sent.
fn server_bytes(talk: &Talk) -> u32 {
    let server = talk
        .payloads
        .iter()
        .filter(|payload| payload.side == Side::Server);
    server.map(|payload| payload.length).sum()
}

#[test]
fn a_server_owes_an_answer_from_the_clients_first_record_on() {
    let waits = Talk::ppp()
        .client(&sealed(DATA, &[40]))
        .client(&sealed(DATA, &[41]));
    let dialogue = waits.dialogue();
    assert_eq!(dialogue.facts().owed_since(), Some(8 * STEP_NS));
    assert_eq!(dialogue.facts().longest_owed(), None);
    let dialogue = waits.server(&sealed(DATA, &[40])).dialogue();
    let owed = dialogue.facts().longest_owed().expect("it was answered");
    assert_eq!((owed.since_ns, owed.lasted_ns), (8 * STEP_NS, 2 * STEP_NS));
    assert_eq!(dialogue.facts().owed_since(), None);
}
