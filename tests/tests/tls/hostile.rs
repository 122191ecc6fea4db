//! Peers that send anything at all: no panic, bounded memory, and valid lines.

use anyhow::{Context as _, Result};
use lab::chunks::{Payload, dialogue};
use proptest::prelude::*;
use serde_json::Value;
use sstpulse::{
    event::{
        About, Endpoint, Event, Head, Network, SCHEMA, SeenFrom, Session, SessionId, SessionTls,
        Time, schema,
    },
    tls::{Dialogue, Phase, TlsFacts},
};
use sstpulse_common::{FlowKey, Side};

use crate::{
    captures::{names, session},
    wire::{
        ALERT, DATA, HANDSHAKE, Talk, client_hello, client_hello_body, extension, message, record,
        sealed, server_name,
    },
};

/// What these segments show, with an eye on what is held.
fn watch(payloads: &[Payload]) -> TlsFacts {
    let mut dialogue = Dialogue::new();
    for payload in payloads {
        dialogue.take(&payload.chunk());
        assert!(
            dialogue.held() <= Dialogue::MOST_HELD,
            "{}",
            dialogue.held()
        );
    }
    dialogue.into_facts()
}

/// The line about it, as it is written.
fn line(facts: &TlsFacts) -> Result<String> {
    let time = Time("2026-11-22T15:20:00Z".parse()?);
    let head = Head {
        schema: SCHEMA,
        time,
        seq: 1,
        host: "vpn1",
        interface: None,
    };
    let key = FlowKey::new("192.0.2.1:50000".parse()?, "192.0.2.2:443".parse()?);
    let about = About {
        session: Session {
            id: SessionId { run: 0, number: 1 },
            start: time,
            duration_ms: 0,
            seen_from: SeenFrom::Handshake,
        },
        client: Endpoint::client(&key),
        server: Endpoint::server(&key),
        network: Network::of(&key),
        phase: None,
    };
    let event = Event::SessionTls(SessionTls::of(head, about, facts, 0));
    Ok(serde_json::to_string(&event)?)
}

/// The line about it, read back, after it was held against the schema.
fn read_back(facts: &TlsFacts) -> Result<Value> {
    let text = line(facts)?;
    assert!(!text.contains('\n'), "{text}");
    let value = serde_json::from_str(&text)?;
    let validator = jsonschema::validator_for(&serde_json::to_value(schema())?)?;
    if let Err(error) = validator.validate(&value) {
        panic!("{text}\ndoes not fit the schema: {error}");
    }
    Ok(value)
}

#[test]
fn server_names_of_any_bytes_become_printable_ascii_of_bounded_length() -> Result<()> {
    let right_to_left = "gpj.\u{202e}elpmaxe.npv";
    let cases: [(&[u8], &str); 9] = [
        (b"vpn.example", "vpn.example"),
        (b"\"quotes\" and \\", r#"\"quotes\" and \\"#),
        (b"two\nlines\r\n", r"two\nlines\r\n"),
        (b"\0\x1b[2J", r"\u{0}\u{1b}[2J"),
        (right_to_left.as_bytes(), r"gpj.\u{202e}elpmaxe.npv"),
        ("vpn.\u{e9}xample".as_bytes(), r"vpn.\u{e9}xample"),
        (b"\xff\xfe", r"\u{fffd}\u{fffd}"),
        (&[b'a'; 1_000], &"a".repeat(255)),
        // Escapes are whole or left out.
        (&[0xff; 1_000], &r"\u{fffd}".repeat(31)),
    ];
    for (name, expected) in cases {
        let talk = Talk::default().client(&client_hello(&[], &server_name(name)));
        let value = read_back(&watch(&talk.payloads))?;
        assert_eq!(value["tls"]["server_name"], expected);
        assert_eq!(value["phase"], "tls");
    }
    Ok(())
}

#[test]
fn lengths_that_lie_leave_out_what_they_are_about() -> Result<()> {
    // A name of 65,535 bytes in an extension of 16; a list that is longer than its extension.
    let name = extension(
        0,
        &[0xff, 0xff, 0, 0xff, 0xff, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
    );
    let versions = extension(43, &[0xff, 3, 4, 3]);
    let talk = Talk::default().client(&client_hello(&[], &[name, versions].concat()));
    let facts = watch(&talk.payloads);
    assert_eq!(facts.hellos.server_name, None);
    assert_eq!(facts.hellos.offered, Some(0x0303));
    assert_eq!(read_back(&facts)?["tls"]["offered_version"], "1.2");
    Ok(())
}

#[test]
fn many_extensions_are_read_like_few_and_too_many_not_at_all() {
    let many: Vec<u8> = (0..10_000_u16)
        .flat_map(|kind| extension(0x8000 + kind, &[]))
        .collect();
    let hello = client_hello_body(&[], &[server_name(b"vpn.example"), many].concat());
    let split = |hello: &[u8]| {
        let length = u32::try_from(hello.len())
            .expect("it is short")
            .to_be_bytes();
        let message = [&[1], &length[1..], hello].concat();
        let records: Vec<u8> = message
            .chunks(1_000)
            .flat_map(|part| record(HANDSHAKE, part))
            .collect();
        let mut talk = Talk::default();
        for segment in records.chunks(1_400) {
            talk = talk.client(segment);
        }
        watch(&talk.payloads)
    };
    // 40,000 bytes are more than any hello has.
    let facts = split(&hello);
    assert_eq!((facts.hellos.server_name, facts.incomplete), (None, true));
    let fewer = client_hello_body(
        &[],
        &[
            server_name(b"vpn.example"),
            extension(0x8000, &[]).repeat(1_500),
        ]
        .concat(),
    );
    let facts = split(&fewer);
    assert_eq!(facts.hellos.server_name.as_deref(), Some("vpn.example"));
    assert!(!facts.incomplete);
}

#[test]
fn records_of_no_length_and_of_too_much_are_no_trouble() {
    let empty: Vec<u8> = [20, 21, 22, 23, 24]
        .iter()
        .flat_map(|kind| record(*kind, &[]))
        .collect();
    let talk = Talk::tls13().client(&empty).server(&empty.repeat(100));
    assert!(watch(&talk.payloads).phase() >= Phase::Tls);

    let endless = [HANDSHAKE, 3, 3, 0xff, 0xff];
    let facts = watch(&Talk::default().client(&endless).payloads);
    assert_eq!(facts.sstp, Some(false), "no record is so long");

    // As long as one may be, and only begun.
    let longest = [&[HANDSHAKE, 3, 3, 0x48, 0][..], &[1, 0xff, 0xff, 0xff]].concat();
    let mut talk = Talk::default().client(&longest);
    for _ in 0..20 {
        talk = talk.client(&[0; 1_400]);
    }
    assert!(watch(&talk.payloads).incomplete);
}

#[test]
fn a_certificate_that_is_none_has_no_dates() {
    let list = |certificate: &[u8]| {
        let length = u32::try_from(certificate.len())
            .expect("it is short")
            .to_be_bytes();
        [&[0, 0xff, 0xff][..], &length[1..], certificate].concat()
    };
    let deep = [0x30, 0x80].repeat(4_000);
    for certificate in [
        &[][..],
        &[0x30],
        &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
        &deep,
    ] {
        let talk = Talk::default()
            .client(&client_hello(&[], &[]))
            .server(&message(11, &list(certificate)));
        assert_eq!(watch(&talk.payloads).certificate, None);
    }
}

#[test]
fn dates_beyond_what_can_be_written_are_the_nearest_ones() -> Result<()> {
    let mut facts = watch(&session("softether-tls12gcm-clean")?.payloads);
    let validity = facts.certificate.as_mut().context("there is one")?;
    // 9999-12-31T23:59:59Z means that it never ends (RFC 5280, section 4.1.2.5).
    (validity.not_before, validity.not_after) = (i64::MIN, 253_402_300_799);
    let certificate = &read_back(&facts)?["tls"]["certificate"];
    assert_eq!(certificate["not_before"], "0000-01-01T00:00:00.000000000Z");
    assert_eq!(certificate["not_after"], "9999-12-30T22:00:00.999999999Z");
    Ok(())
}

#[test]
fn each_real_session_makes_a_line_that_fits_the_schema() -> Result<()> {
    for name in names() {
        let session = session(name)?;
        let value = read_back(&watch(&session.payloads)).context(name)?;
        assert_eq!(value["type"], "session.tls", "{name}");
        let version = if name.contains("tls12") { "1.2" } else { "1.3" };
        assert_eq!(value["tls"]["version"], version, "{name}");
    }
    let refused = read_back(&watch(
        &session("softether-tls12-client-rejects-cert")?.payloads,
    ))?;
    let alert = &refused["tls"]["alert"];
    assert_eq!(
        (&alert["by"], &alert["name"]),
        (&"client".into(), &"unknown_ca".into())
    );
    assert_eq!(refused["phases_ms"]["tls"], Value::Null);
    Ok(())
}

/// A segment of a peer that knows what TLS looks like, and does not keep to it.
fn segment() -> impl Strategy<Value = Payload> {
    let header = (19_u8..25, any::<u8>(), 0_u16..300);
    let records = prop::collection::vec(header, 0..4).prop_map(|headers| {
        let records = headers.iter().flat_map(|(kind, filling, length)| {
            let length_bytes = length.to_be_bytes();
            let body = vec![*filling; usize::from(*length)];
            [&[*kind, 3, 3][..], &length_bytes, &body].concat()
        });
        records.collect::<Vec<u8>>()
    });
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..64),
        records,
        Just(sealed(DATA, &[31, 129])),
        Just(sealed(ALERT, &[2])),
        Just(client_hello(&[], &server_name(b"vpn.example"))),
    ];
    let place = (
        any::<bool>(),
        0_u32..4_000,
        any::<u16>(),
        0_u64..10_000_000_000,
    );
    (place, bytes).prop_map(|((client, offset, more, time_ns), bytes)| {
        let side = if client { Side::Client } else { Side::Server };
        let payload = Payload::new(side, offset, &bytes, time_ns);
        Payload {
            length: payload.length + u32::from(more % 8) * u32::from(more / 64),
            ..payload
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn anything_may_come_in_any_order(payloads in prop::collection::vec(segment(), 0..60)) {
        let facts = watch(&payloads);
        let text = line(&facts).expect("it can be written");
        prop_assert!(serde_json::from_str::<Value>(&text).is_ok());
    }
}

#[test]
fn the_last_offsets_there_are_overflow_nothing() {
    let payload = |side| Payload {
        length: u32::MAX,
        ..Payload::new(side, u32::MAX, &[22, 3, 1], u64::MAX)
    };
    let facts = dialogue(&[payload(Side::Client), payload(Side::Server)]).into_facts();
    assert_eq!(facts.sstp, None);
}
