//! The same stream in other pieces shows the same; what is missing is said.

use anyhow::Result;
use lab::chunks::{Payload, dialogue};
use proptest::prelude::*;
use sstpulse::tls::{Milestone, Phase, TlsFacts};
use sstpulse_common::Side;

use crate::{
    captures::{names, session},
    wire::{CHANGE_CIPHER_SPEC, DATA, Talk, sealed, server_flight},
};

/// A session up to Call Connected.
fn up() -> Vec<Payload> {
    Talk::ppp()
        .client(&sealed(DATA, &[40]))
        .server(&sealed(DATA, &[40]))
        .client(&sealed(DATA, &[129]))
        .server(&sealed(DATA, &[25, 33, 40, 60]))
        .payloads
}

fn facts(payloads: &[Payload]) -> TlsFacts {
    dialogue(payloads).into_facts()
}

/// A payload in two.
fn cut(payload: &Payload, at: usize) -> [Payload; 2] {
    let (first, second) = payload.bytes.split_at(at.min(payload.bytes.len()));
    let offset = payload.offset + u32::try_from(first.len()).expect("it is short");
    [
        Payload::new(payload.side, payload.offset, first, payload.time_ns),
        Payload {
            length: payload.length - (offset - payload.offset),
            ..Payload::new(payload.side, offset, second, payload.time_ns)
        },
    ]
}

/// The session with its `index`th segment replaced.
fn with(index: usize, pieces: &[Payload]) -> Vec<Payload> {
    let mut payloads = up();
    payloads.splice(index..=index, pieces.iter().cloned());
    payloads
}

#[test]
fn a_segment_may_be_cut_anywhere() {
    let expected = facts(&up());
    assert_eq!(expected.phase(), Phase::Up);
    for (index, payload) in up().iter().enumerate() {
        for at in 1..payload.bytes.len() {
            let [first, second] = cut(payload, at);
            let in_order = with(index, &[first.clone(), second.clone()]);
            assert_eq!(facts(&in_order), expected, "{index} at {at}");
            let overtaken = with(index, &[second, first]);
            assert_eq!(facts(&overtaken), expected, "{index} at {at}, overtaken");
        }
    }
}

#[test]
fn segments_of_one_byte_are_as_good() {
    let bytes: Vec<Payload> = up()
        .iter()
        .flat_map(|payload| {
            payload
                .bytes
                .iter()
                .zip(payload.offset..)
                .map(|(byte, offset)| Payload::new(payload.side, offset, &[*byte], payload.time_ns))
        })
        .collect();
    assert_eq!(facts(&bytes), facts(&up()));
}

#[test]
fn what_comes_again_changes_nothing_however_it_is_cut() {
    let expected = facts(&up());
    for (index, payload) in up().iter().enumerate() {
        let [first, second] = cut(payload, payload.bytes.len() / 2);
        let whole = payload.clone();
        // Lost in part and sent again as a whole; sent twice; the copy cut anew.
        for pieces in [
            &[first.clone(), whole.clone()][..],
            &[second.clone(), whole.clone()],
            &[whole.clone(), whole.clone()],
            &[whole, first, second],
        ] {
            assert_eq!(facts(&with(index, pieces)), expected, "{index}");
        }
    }
}

#[test]
fn a_gap_in_a_body_that_nobody_reads_is_no_loss() {
    // The certificate: a record of 998 bytes in the second segment.
    let flight = &up()[1];
    let end = flight.bytes.len();
    let [first, rest] = cut(flight, end - 900);
    let [_, second] = cut(&rest, 300);
    assert_eq!(facts(&with(1, &[first, second])), facts(&up()));
}

#[test]
fn bytes_that_were_not_kept_are_a_gap() {
    let mut short = up()[1].clone();
    short.bytes.truncate(300);
    let facts = facts(&with(1, &[short]));
    assert_eq!(facts.phase(), Phase::Up);
    assert_eq!(facts.server_flight_bytes as usize, server_flight().len());
    // Headers were among them.
    assert!(facts.incomplete);
}

#[test]
fn a_client_hello_that_is_not_whole_leaves_out_what_it_says() {
    let mut short = up()[0].clone();
    short.bytes.truncate(60);
    let facts = facts(&with(0, &[short]));
    let hellos = &facts.hellos;
    assert_eq!((&hellos.server_name, hellos.offered), (&None, None));
    assert_eq!((hellos.resumption, hellos.alpn_offered), (None, None));
    assert_eq!(hellos.negotiated, Some(0x0304));
    assert_eq!(facts.phase(), Phase::Up);
    assert!(facts.incomplete);
}

#[test]
fn a_gap_over_headers_ends_where_a_segment_begins_with_one() {
    // Two records in one segment of the client, whose second half never comes.
    let two = Talk::tls13()
        .client(&sealed(CHANGE_CIPHER_SPEC, &[1]))
        .client(&sealed(DATA, &[69, 196]))
        .server(&sealed(DATA, &[135]))
        .client(&sealed(DATA, &[31]))
        .server(&sealed(DATA, &[65]))
        .client(&sealed(DATA, &[129]))
        .payloads;
    for kept in [0, 3, 40, 74, 76, 100] {
        let mut payloads = two.clone();
        payloads[3].bytes.truncate(kept);
        let facts = facts(&payloads);
        assert_eq!(facts.incomplete, kept < 79, "{kept}");
        assert_eq!(facts.sstp, Some(true), "{kept}");
    }
}

#[test]
fn a_missing_segment_is_waited_for_and_then_given_up() {
    /// More than a retransmission takes.
    const LATE_NS: u64 = 20_000_000_000;
    let payloads = up();
    // The server's flight never comes, as it was lost on the way to us.
    let mut missing = payloads.clone();
    missing.remove(1);
    let waiting = dialogue(&missing);
    assert!(waiting.held() > 0);
    assert!(!waiting.facts().incomplete);

    // The client's Call Connect Request never comes; what follows comes late.
    let mut missing = payloads;
    missing.remove(5);
    for payload in &mut missing[7..] {
        payload.time_ns += LATE_NS;
    }
    let late = dialogue(&missing);
    assert!(late.facts().incomplete);
    assert_eq!(late.held(), 0);
    assert_eq!(late.phase(), Phase::Http);
    assert_eq!(late.facts().sstp, None, "nobody can know");
}

#[test]
fn segments_that_wait_are_few() {
    let mut talk = Talk::default().client(&sealed(DATA, &[1]));
    for _ in 0..20 {
        talk = talk.client(&sealed(DATA, &[1_000]));
    }
    talk.payloads.remove(0);
    let mut dialogue = sstpulse::tls::Dialogue::new();
    let held: Vec<usize> = talk
        .payloads
        .iter()
        .map(|payload| {
            dialogue.take(&payload.chunk());
            dialogue.held()
        })
        .collect();
    assert_eq!(held[7], 8 * 1_005);
    assert_eq!(held[8..], [0; 12]);
    assert!(dialogue.facts().incomplete);
}

/// Segments of one side, one after the other, have one time: so it does not matter which of
/// them brings a byte.
fn in_runs(mut payloads: Vec<Payload>) -> Vec<Payload> {
    let mut run: Option<(Side, u64)> = None;
    for payload in &mut payloads {
        match run {
            Some((side, time_ns)) if side == payload.side => payload.time_ns = time_ns,
            _ => run = Some((payload.side, payload.time_ns)),
        }
    }
    payloads
}

/// What happens to a segment.
#[derive(Clone, Copy, Debug)]
enum Change {
    Nothing,
    /// It is cut here, as a share of its length.
    Cut(u8),
    /// It is cut here, and its parts swap places.
    Overtaken(u8),
    /// It comes again so many segments later, from so far on.
    Again(u8, u8),
    /// It is one segment with the one before, if that is the same side's.
    Merged,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        Just(Change::Nothing),
        any::<u8>().prop_map(Change::Cut),
        any::<u8>().prop_map(Change::Overtaken),
        (0_u8..9, any::<u8>()).prop_map(|(later, from)| Change::Again(later, from)),
        Just(Change::Merged),
    ]
}

/// A share of a segment's bytes.
fn share(payload: &Payload, share: u8) -> usize {
    payload.bytes.len() * usize::from(share) / 256
}

fn changed(original: &[Payload], changes: &[Change]) -> Vec<Payload> {
    let mut payloads: Vec<Payload> = Vec::new();
    let mut again: Vec<(usize, Payload)> = Vec::new();
    for (index, payload) in original.iter().enumerate() {
        match changes[index % changes.len()] {
            Change::Nothing => payloads.push(payload.clone()),
            Change::Cut(at) => payloads.extend(cut(payload, share(payload, at))),
            Change::Overtaken(at) => {
                let [first, second] = cut(payload, share(payload, at));
                payloads.extend([second, first]);
            }
            Change::Again(later, from) => {
                payloads.push(payload.clone());
                let [_, copy] = cut(payload, share(payload, from));
                again.push((index + usize::from(later), copy));
            }
            Change::Merged => match payloads.last_mut() {
                Some(last)
                    if last.side == payload.side
                        && last.time_ns == payload.time_ns
                        && last.offset + last.length == payload.offset =>
                {
                    last.bytes.extend_from_slice(&payload.bytes);
                    last.length += payload.length;
                }
                _ => payloads.push(payload.clone()),
            },
        }
        for (_, mut copy) in again.extract_if(.., |(due, _)| *due <= index) {
            copy.time_ns = payload.time_ns;
            payloads.push(copy);
        }
    }
    payloads
}

/// The sessions of real peers up to the end of what a dialogue looks at.
fn real() -> Result<Vec<(&'static str, Vec<Payload>)>> {
    let all = names().map(|name| {
        let mut payloads = session(name)?.payloads;
        let connected = facts(&payloads).at(Milestone::Connected);
        let over = connected.map_or(u64::MAX, |connected| connected + 4_000_000_000);
        payloads.retain(|payload| payload.time_ns < over);
        Ok((name, in_runs(payloads)))
    });
    all.collect()
}

#[test]
fn a_real_session_shows_the_same_however_it_is_cut() -> Result<()> {
    let real = real()?;
    let changes = prop::collection::vec(change(), 1..60);
    proptest!(
        ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) },
        |(index in 0..real.len(), changes in changes)| {
            let (name, original) = &real[index];
            let cut = changed(original, &changes);
            prop_assert_eq!(facts(&cut), facts(original), "{}", name);
        }
    );
    Ok(())
}
