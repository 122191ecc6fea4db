//! The payloads of a capture, connection by connection, as a
//! [`Dialogue`](sstpulse::tls::Dialogue) takes them.

use std::{collections::BTreeSet, fs::File, ops::ControlFlow, path::Path};

use anyhow::{Context as _, Result};
use sstpulse::{
    replay::{CaptureEvent, Packet, Watched, inner, read},
    tls::{Chunk, Dialogue},
};
use sstpulse_common::{FlowKey, Parsed, Side};

/// A segment with payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// Who sent it.
    pub side: Side,
    /// Place of its first byte in what this side sends.
    pub offset: u32,
    /// Bytes on the wire.
    pub length: u32,
    /// As many of them as the capture has.
    pub bytes: Vec<u8>,
    /// When it passed, in nanoseconds.
    pub time_ns: u64,
}

impl Payload {
    /// A whole one.
    pub fn new(side: Side, offset: u32, bytes: &[u8], time_ns: u64) -> Self {
        Self {
            side,
            offset,
            length: u32::try_from(bytes.len()).expect("a segment is short"),
            bytes: bytes.to_vec(),
            time_ns,
        }
    }

    /// As a dialogue takes it.
    pub fn chunk(&self) -> Chunk<'_> {
        Chunk {
            side: self.side,
            offset: self.offset,
            length: self.length,
            bytes: &self.bytes,
            time_ns: self.time_ns,
        }
    }
}

/// A connection whose beginning is in the capture.
#[derive(Debug)]
pub struct Connection {
    key: FlowKey,
    /// Number of the client's first byte, and of the server's.
    first: [Option<u32>; 2],
    /// When the server agreed to it, in nanoseconds.
    pub start_ns: u64,
    /// What was sent, in the order of capture.
    pub payloads: Vec<Payload>,
}

impl Connection {
    /// What a dialogue makes of it.
    pub fn dialogue(&self) -> Dialogue {
        dialogue(&self.payloads)
    }
}

/// What a dialogue makes of these segments.
pub fn dialogue(payloads: &[Payload]) -> Dialogue {
    let mut dialogue = Dialogue::new();
    for payload in payloads {
        dialogue.take(&payload.chunk());
    }
    dialogue
}

/// The connections to port 443 of a capture.
pub fn connections(capture: &Path) -> Result<Vec<Connection>> {
    let file = File::open(capture).with_context(|| format!("can't open {}", capture.display()))?;
    let watched = Watched::new(&BTreeSet::from([443]), Vec::new());
    let mut connections = Vec::new();
    read(file, |event| {
        if let CaptureEvent::Packet(packet) = event {
            take(&watched, packet, &mut connections);
        }
        ControlFlow::Continue(())
    })
    .with_context(|| format!("can't read {}", capture.display()))?;
    Ok(connections)
}

/// Adds what a packet carries.
fn take(watched: &Watched, packet: Packet<'_>, connections: &mut Vec<Connection>) {
    let Ok(inner) = inner(packet.link, packet.bytes, packet.length) else {
        return;
    };
    let known = |key: &FlowKey| connections.iter().any(|known| known.key == *key);
    let Ok((side, parsed)) = watched.parse(inner.framing, inner.bytes, inner.length, known) else {
        return;
    };
    let Parsed { key, segment, .. } = parsed;
    let time_ns = packet.time_ns.unwrap_or_default();
    if segment.flags.syn() && side == Side::Client {
        let repeated =
            |known: &Connection| known.key == key && known.first[0] == Some(segment.end());
        if !connections.iter().any(repeated) {
            connections.push(Connection {
                key,
                first: [Some(segment.end()), None],
                start_ns: time_ns,
                payloads: Vec::new(),
            });
        }
        return;
    }
    let Some(connection) = connections.iter_mut().rfind(|known| known.key == key) else {
        return;
    };
    if segment.flags.syn() {
        connection.first[1] = Some(segment.end());
        connection.start_ns = time_ns;
        return;
    }
    let [client, server] = connection.first;
    let first = if side == Side::Client { client } else { server };
    let Some(first) = first.filter(|_| segment.payload > 0) else {
        return;
    };
    let at = parsed.options + parsed.options_length as usize;
    let bytes = inner.bytes.get(at..).unwrap_or_default();
    connection.payloads.push(Payload {
        side,
        offset: segment.seq.wrapping_sub(first),
        length: segment.payload,
        bytes: bytes[..bytes.len().min(segment.payload as usize)].to_vec(),
        time_ns,
    });
}
