//! What can't be read, who the server is, and what is still open at the end.

use std::{
    fs::{self, Permissions},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};
use lab::{
    accuracy::{captures, captures_folder},
    agent::binary,
    capture::{Format, LINK_LAYERS, LinkLayer, write},
    conversation::{Conversation, Link, c, s},
    events::{AttemptFailed, Line},
    require_root,
};
use pcap_parser::Linktype;
use sstpulse_common::TcpFlags;
use tempfile::TempDir;

use crate::{lines_of, replay, session};

const ETHERNET: LinkLayer = LINK_LAYERS[0];

fn file_of(conversation: &Conversation) -> Vec<u8> {
    write(Format::Nanoseconds, ETHERNET, usize::MAX, conversation)
}

/// A capture of many short sessions, one after another.
pub(crate) fn sessions(count: u16) -> Vec<u8> {
    let mut file = Vec::new();
    for index in 0..count {
        let mut talk = Conversation::new(1_000 + index);
        talk.link(Link::None).wait_ms(u64::from(index)).handshake();
        talk.send(c(0, 0, 0).flags(TcpFlags::RST | TcpFlags::ACK));
        let one = file_of(&talk);
        // Only the first one's header.
        file.extend(&one[if index == 0 { 0 } else { 24 }..]);
    }
    file
}

#[test]
fn a_capture_that_ends_within_a_packet_tells_what_came_before() -> Result<()> {
    let whole = file_of(&session());
    let folder = TempDir::new()?;
    let file = folder.path().join("cut.pcap");
    fs::write(&file, &whole[..whole.len() - 5])?;
    let output = replay(&file, &[])?;
    let lines = crate::parse(&output.stdout)?;
    let stop = lines.iter().find_map(Line::replay_stop).context("no end")?;
    let packets = session().packets().len() as u64;
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stop.reason, "failure");
    assert_eq!(stop.capture.packets, packets - 1);
    let said = String::from_utf8_lossy(&output.stderr);
    let what = format!("damaged at packet {packets}: the file ends within it");
    assert!(said.contains(&what), "{said}");
    assert_eq!(
        stop.error.as_deref(),
        Some(format!("it is {what}").as_str())
    );
    // The session, whose last ACK is missing.
    let end = lines.iter().find_map(Line::session_end).context("no end")?;
    assert_eq!(end.end.how, "still_open");
    assert_eq!(end.from_server.retransmits, 1);
    Ok(())
}

#[test]
fn what_is_no_capture_gets_one_sentence_and_its_exit_code() -> Result<()> {
    const RUNNING: i32 = 1;
    const USAGE: i32 = 2;

    let folder = TempDir::new()?;
    let keep = |name: &str, bytes: &[u8]| -> Result<String> {
        let file = folder.path().join(name);
        fs::write(&file, bytes)?;
        Ok(file.to_string_lossy().into_owned())
    };
    let whole = file_of(&session());
    let mut huge = whole.clone();
    huge[24 + 8..24 + 12].copy_from_slice(&u32::MAX.to_le_bytes());
    let wireless = LinkLayer {
        link: Linktype(127),
        header: &[],
    };
    let wireless = write(Format::Pcapng, wireless, usize::MAX, &session());
    let mut pcapng = write(Format::Pcapng, ETHERNET, usize::MAX, &session());
    // The first packet's block, after those of section and interface, says it is shorter
    // than any can be.
    let length_at = |at: usize| pcapng[at + 4] as usize;
    let packet = length_at(0) + length_at(length_at(0));
    pcapng[packet + 4] = 8;
    pcapng[packet + 5] = 0;
    let cases = [
        (keep("empty", &[])?, RUNNING, "it is empty"),
        (
            keep("text", b"not a capture, but longer than a header")?,
            RUNNING,
            "neither pcap nor pcapng",
        ),
        (
            keep("short", &whole[..10])?,
            RUNNING,
            "ends within its header",
        ),
        (
            keep("huge", &huge)?,
            RUNNING,
            "damaged at packet 1: it claims to be larger",
        ),
        (
            keep("block", &pcapng)?,
            RUNNING,
            "damaged at packet 1: its header contradicts itself",
        ),
        (
            keep("wireless", &wireless)?,
            RUNNING,
            "its link type is 127",
        ),
        (
            folder.path().join("none").to_string_lossy().into_owned(),
            USAGE,
            "No such file",
        ),
        (
            folder.path().to_string_lossy().into_owned(),
            USAGE,
            "is a folder",
        ),
    ];
    for (file, code, says) in cases {
        let output = replay(Path::new(&file), &[])?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{file}: {said}");
        assert!(said.contains(says), "{file}: {said}");
        assert!(!said.contains("panicked"), "{said}");
    }
    let wrong: [(&[&str], &str); 4] = [
        (&["--port", "0"], "that is no port; it goes from 1 to 65535"),
        (&["--server", "vpn.example"], "that is no address"),
        (&["--server", "192.0.2.1:0"], "that is no address"),
        (&["--interval", "0s"], "interval"),
    ];
    let file = keep("whole", &whole)?;
    for (arguments, says) in wrong {
        let output = replay(Path::new(&file), arguments)?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(USAGE), "{arguments:?}: {said}");
        assert!(said.contains(says), "{arguments:?}: {said}");
    }
    Ok(())
}

#[test]
fn of_a_configuration_only_thresholds_and_limits_hold() -> Result<()> {
    let folder = TempDir::new()?;
    let file = folder.path().join("sstpulse.toml");
    let capture = captures_folder().join("sstp-path-cut.pcap");
    let verdict = |config: &str| -> Result<Option<String>> {
        fs::write(&file, config)?;
        let output = replay(&capture, &["--config", &file.to_string_lossy()])?;
        let lines = crate::parse(&output.stdout)?;
        let end = lines.iter().find_map(Line::session_end).context("no end")?;
        Ok(end.verdict.as_ref().map(|verdict| verdict.code.clone()))
    };
    let other_host = "interface = [\"eth9\"]\nport = [8443]\n";
    assert_eq!(verdict(other_host)?.as_deref(), Some("path_dead"));
    // The client is silent for 81 s, and the session has not ended: it may come back.
    let patient = format!("{other_host}[thresholds]\npath-silence = \"2m\"");
    assert_eq!(verdict(&patient)?, None);
    Ok(())
}

#[test]
fn thresholds_and_limits_that_make_no_sense_are_refused() -> Result<()> {
    const USAGE: i32 = 2;

    let folder = TempDir::new()?;
    let file = folder.path().join("sstpulse.toml");
    let capture = captures_folder().join("sstp-path-cut.pcap");
    let cases = [
        ("thresholds", "helo = \"30s\"", "unknown field `helo`"),
        ("thresholds", "hello = \"-30s\"", "goes from 1ms to 24h"),
        ("thresholds", "hello = \"9000000h\"", "goes from 1ms to 24h"),
        ("thresholds", "hello = 30", "hello"),
        ("thresholds", "alike = -1", "alike"),
        (
            "limits",
            "drop-percent = 20",
            "unknown field `drop-percent`",
        ),
        ("limits", "drops-percent = 120", "is no percentage"),
        ("limits", "baseline-factor = 0.5", "is not above 1"),
    ];
    for (section, line, says) in cases {
        fs::write(&file, format!("[{section}]\n{line}\n"))?;
        let output = replay(&capture, &["--config", &file.to_string_lossy()])?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(USAGE), "{line}: {said}");
        assert!(said.contains(says), "{line}: {said}");
        assert!(output.stdout.is_empty(), "{line}");
    }
    Ok(())
}

#[test]
fn a_capture_of_cut_packets_is_told_to_be_one() -> Result<()> {
    for (name, is_cut) in [("lab-abort", true), ("sstp-path-cut", false)] {
        let output = replay(&captures_folder().join(format!("{name}.pcap")), &[])?;
        let lines = crate::parse(&output.stdout)?;
        let stop = lines.iter().find_map(Line::replay_stop).context("no end")?;
        assert_eq!(stop.capture.payload_cut > 0, is_cut, "{name}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(said.contains("cut within the payload"), is_cut, "{said}");
    }
    Ok(())
}

#[test]
fn a_capture_without_packets_is_no_failure() -> Result<()> {
    let whole = file_of(&session());
    let (lines, code) = lines_of(&whole[..24], &[])?;
    let stop = lines.iter().find_map(Line::replay_stop).context("no end")?;
    assert_eq!(code, Some(0));
    assert_eq!(
        (stop.capture.packets, stop.reason.as_str()),
        (0, "end_of_capture")
    );
    Ok(())
}

#[test]
fn the_server_can_be_named() -> Result<()> {
    let ends = |arguments: &[&str]| -> Result<u64> {
        let (lines, _) = lines_of(&file_of(&session()), arguments)?;
        let stop = lines.iter().find_map(Line::replay_stop).context("no end")?;
        Ok(stop.totals.sessions.started)
    };
    assert_eq!(ends(&[])?, 1);
    assert_eq!(ends(&["--server", "192.0.2.5"])?, 1);
    assert_eq!(ends(&["--server", "192.0.2.5:443"])?, 1);
    assert_eq!(ends(&["--server", "192.0.2.5:8443"])?, 0);
    assert_eq!(ends(&["--server", "192.0.2.12"])?, 0);
    assert_eq!(ends(&["--port", "8443"])?, 0);
    assert_eq!(ends(&["--port", "8443,443"])?, 1);
    Ok(())
}

#[test]
fn where_both_ports_are_watched_the_handshake_tells_the_server() -> Result<()> {
    let (lines, _) = lines_of(&file_of(&session()), &["--port", "443,40000"])?;
    let end = lines.iter().find_map(Line::session_end).context("no end")?;
    assert_eq!((end.client.port, end.server.port), (40_000, 443));
    assert_eq!(
        (end.end.by.as_str(), end.end.how.as_str()),
        ("client", "fin")
    );
    // Turned round, if that is what one says.
    let turned = ["--port", "443,40000", "--server", "192.0.2.12"];
    let (lines, _) = lines_of(&file_of(&session()), &turned)?;
    let end = lines.iter().find_map(Line::session_end).context("no end")?;
    assert_eq!((end.client.port, end.server.port), (443, 40_000));
    Ok(())
}

#[test]
fn silence_ends_a_session_by_the_clock_of_the_capture() -> Result<()> {
    let mut talk = Conversation::new(40_000);
    talk.link(Link::None).handshake().send(s(0, 0, 100));
    talk.wait_ms(3_600_000 * 24).send(s(100, 0, 100));
    let (lines, _) = lines_of(&file_of(&talk), &["--dead-after", "2m"])?;
    let ends: Vec<_> = lines
        .iter()
        .filter_map(Line::session_end)
        .map(|end| (end.end.how.as_str(), end.session.seen_from.as_str()))
        .collect();
    assert_eq!(ends, [("dead", "handshake"), ("still_open", "midstream")]);
    Ok(())
}

#[test]
fn failed_attempts_are_told() -> Result<()> {
    let mut talk = Conversation::new(40_000);
    talk.link(Link::None).syn().wait_ms(1_000).syn();
    // Later traffic, without which there would be no later.
    talk.wait_ms(60_000).send(c(9, 9, 0));
    let (lines, _) = lines_of(&file_of(&talk), &[])?;
    let failed = lines
        .iter()
        .find_map(Line::attempt_failed)
        .context("none")?;
    assert_eq!(
        (failed.attempt.syns, failed.attempt.outcome.as_str()),
        (2, "syn_unanswered")
    );
    Ok(())
}

#[test]
fn every_packet_is_accounted_for() -> Result<()> {
    for path in captures()? {
        let output = replay(&path, &[])?;
        let lines = crate::parse(&output.stdout)?;
        let stop = lines.iter().find_map(Line::replay_stop).context("no end")?;
        assert!(output.status.success(), "{}", path.display());
        let sessions = &stop.totals.sessions;
        let ends: Vec<_> = lines.iter().filter_map(Line::session_end).collect();
        assert_eq!(ends.len() as u64, sessions.ended + sessions.live);
        assert_eq!(sessions.started, sessions.ended + sessions.live);
        // Buffers of several segments are packets of several; attempts that are still open,
        // or that began over a session, have no line of their own.
        let merged = path.file_stem().is_some_and(|name| name == "lab-offload");
        if merged || path.extension().is_some_and(|kind| kind == "pcapng") {
            continue;
        }
        let in_sessions: u64 = ends
            .iter()
            .map(|end| end.from_client.segments + end.from_server.segments)
            .sum();
        let in_attempts: u64 = lines
            .iter()
            .filter_map(Line::attempt_failed)
            .map(segments)
            .sum();
        let (capture, passed) = (&stop.capture, &stop.totals.passed_over);
        let elsewhere = capture.other
            + capture.truncated
            + capture.unknown_link_type
            + passed.fragments
            + passed.malformed
            + passed.out_of_window
            + passed.other_interface
            + passed.no_session;
        assert_eq!(
            in_sessions + in_attempts + elsewhere,
            capture.packets,
            "{}",
            path.display()
        );
    }
    Ok(())
}

/// The segments of an attempt: SYNs, SYN-ACKs, and a RST if one ended it.
fn segments(failed: &AttemptFailed) -> u64 {
    let attempt = &failed.attempt;
    let reset = u64::from(attempt.outcome.starts_with("reset"));
    u64::from(attempt.syns) + u64::from(attempt.syn_acks) + reset
}

#[test]
fn it_takes_no_privileges() -> Result<()> {
    const NOBODY: u32 = 65_534;
    if !require_root() {
        return Ok(());
    }
    let folder = TempDir::new()?;
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
    let program = folder.path().join("sstpulse");
    fs::copy(binary("sstpulse")?, &program)?;
    let file = folder.path().join("capture");
    fs::write(&file, file_of(&session()))?;
    let output = Command::new(program)
        .arg("replay")
        .arg(file)
        .uid(NOBODY)
        .gid(NOBODY)
        .stdin(Stdio::null())
        .output()?;
    assert!(output.status.success(), "{output:?}");
    Ok(())
}
