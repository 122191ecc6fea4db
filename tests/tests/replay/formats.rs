//! Every format and link layer tells the same.

use anyhow::{Context as _, Result};
use lab::{
    capture::{Format, LINK_LAYERS, write},
    conversation::{Conversation, Link, c, s},
    events::{HandshakeSide, Line, SessionEnd},
};

use crate::{lines_of, session};

const ALL: usize = usize::MAX;
const FORMATS: [Format; 3] = [Format::Microseconds, Format::Nanoseconds, Format::Pcapng];

/// What a session's end says, but for what names the run and the capture.
fn told(lines: &[Line]) -> Result<String> {
    let end = lines.iter().find_map(Line::session_end);
    let mut end: SessionEnd = end.context("there is no session.end")?.clone();
    end.session.id = String::new();
    end.interface = None;
    end.seq = 0;
    Ok(format!("{end:?}"))
}

#[test]
fn every_format_and_link_layer_tells_the_same() -> Result<()> {
    let session = session();
    let mut first = None;
    for format in FORMATS {
        for layer in LINK_LAYERS {
            let (lines, code) = lines_of(&write(format, layer, ALL, &session), &[])?;
            assert_eq!(code, Some(0), "{format:?} {:?}", layer.link);
            let told = told(&lines)?;
            assert_eq!(
                first.get_or_insert_with(|| told.clone()),
                &told,
                "{format:?} {:?}",
                layer.link
            );
        }
    }
    let told = first.context("nothing was told")?;
    assert!(told.contains("retransmits: 1,"), "{told}");
    Ok(())
}

#[test]
fn headers_are_enough() -> Result<()> {
    let session = session();
    for layer in LINK_LAYERS {
        // IPv4, TCP, and the longest options of this session.
        let headers = layer.header.len() + 20 + 20 + 20;
        let whole = lines_of(&write(Format::Nanoseconds, layer, ALL, &session), &[])?;
        let cut = lines_of(&write(Format::Nanoseconds, layer, headers, &session), &[])?;
        assert_eq!(told(&whole.0)?, told(&cut.0)?, "{:?}", layer.link);
    }
    Ok(())
}

#[test]
fn packets_cut_within_their_headers_are_counted() -> Result<()> {
    let capture = write(Format::Pcapng, LINK_LAYERS[0], 40, &session());
    let (lines, code) = lines_of(&capture, &[])?;
    let stop = lines.iter().find_map(Line::replay_stop).context("no end")?;
    assert_eq!(code, Some(0));
    assert_eq!(stop.capture.truncated, stop.capture.packets);
    assert_eq!(stop.totals.sessions.started, 0);
    Ok(())
}

#[test]
fn the_interface_is_named_as_the_capture_names_it() -> Result<()> {
    let named = lines_of(&write(Format::Pcapng, LINK_LAYERS[0], ALL, &session()), &[])?;
    let unnamed = lines_of(
        &write(Format::Nanoseconds, LINK_LAYERS[0], ALL, &session()),
        &[],
    )?;
    let interface = |lines: &[Line]| {
        let end = lines.iter().find_map(Line::session_end);
        end.and_then(|end| end.interface.clone())
    };
    assert_eq!(interface(&named.0).as_deref(), Some("eth0"));
    assert_eq!(interface(&unnamed.0), None);
    Ok(())
}

#[test]
fn times_are_the_captures() -> Result<()> {
    let (lines, _) = lines_of(
        &write(Format::Nanoseconds, LINK_LAYERS[0], ALL, &session()),
        &[],
    )?;
    let start = lines
        .iter()
        .find_map(Line::session_start)
        .context("no start")?;
    let end = lines.iter().find_map(Line::session_end).context("no end")?;
    // Conversations begin an hour after 1970; the handshake takes 21 ms, the rest 370 ms.
    assert_eq!(start.time, "1970-01-01T01:00:00.021000000Z");
    assert_eq!(end.time, "1970-01-01T01:00:00.391000000Z");
    assert_eq!(end.session.duration_ms, 370);
    let seqs: Vec<_> = lines.iter().map(Line::seq).collect();
    assert!(seqs.iter().copied().eq(1..=seqs.len() as u64), "{seqs:?}");
    Ok(())
}

#[test]
fn a_handshake_cut_within_its_options_leaves_unknown_what_they_said() -> Result<()> {
    const ETHERNET_IPV4_TCP: usize = 14 + 20 + 20;
    let cut = write(
        Format::Nanoseconds,
        LINK_LAYERS[0],
        ETHERNET_IPV4_TCP,
        &long_upload(),
    );
    let whole = write(Format::Nanoseconds, LINK_LAYERS[0], ALL, &long_upload());
    let (cut, _) = lines_of(&cut, &[])?;
    let (whole, _) = lines_of(&whole, &[])?;
    let side = announced_by_client(&cut)?;
    assert_eq!(
        (side.mss, side.sack_permitted, side.timestamps),
        (None, None, None)
    );
    // Cut after the first of them, that one is known.
    let (cut, _) = lines_of(
        &write(
            Format::Nanoseconds,
            LINK_LAYERS[0],
            ETHERNET_IPV4_TCP + 6,
            &long_upload(),
        ),
        &[],
    )?;
    let side = announced_by_client(&cut)?;
    assert_eq!((side.mss, side.sack_permitted), (Some(1460), None));
    // With a window of unknown scale, all of an upload may fit.
    let bytes = |lines: &[Line]| {
        let end = lines.iter().find_map(Line::session_end);
        end.map(|end| (end.from_client.bytes, end.from_client.segments))
    };
    assert_eq!(bytes(&cut), bytes(&whole));
    Ok(())
}

/// What the client announced in its SYN.
fn announced_by_client(lines: &[Line]) -> Result<&HandshakeSide> {
    let start = lines
        .iter()
        .find_map(Line::session_start)
        .context("no start")?;
    let handshake = start.handshake.as_ref().context("no handshake")?;
    Ok(&handshake.from_client)
}

/// 300 kB that the server acknowledges at the end only.
fn long_upload() -> Conversation {
    let mut talk = Conversation::new(40_000);
    talk.link(Link::None)
        .handshake()
        .send(s(0, 0, 0).window(u16::MAX));
    for index in 0..300 {
        talk.send(c(index * 1_000, 0, 1_000));
    }
    talk.send(s(0, 300_000, 0));
    talk
}

#[test]
fn a_segment_that_the_capture_lacks_makes_no_forgeries_of_the_rest() -> Result<()> {
    let mut talk = Conversation::new(40_000);
    talk.link(Link::None).handshake();
    // The server's first 1,000 bytes were not captured.
    talk.send(c(0, 1_000, 300))
        .send(s(1_000, 300, 500))
        .send(c(300, 1_500, 300));
    let (lines, _) = lines_of(&write(Format::Pcapng, LINK_LAYERS[0], ALL, &talk), &[])?;
    let end = lines.iter().find_map(Line::session_end).context("no end")?;
    let stop = lines
        .iter()
        .find_map(Line::replay_stop)
        .context("no stop")?;
    assert_eq!((end.from_client.bytes, end.from_server.bytes), (600, 500));
    assert_eq!(stop.totals.passed_over.out_of_window, 0);
    Ok(())
}
