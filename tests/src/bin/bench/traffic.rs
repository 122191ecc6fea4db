//! As many SSTP sessions as wanted: those of a capture of real peers, under other addresses.

use std::{fs::File, ops::ControlFlow, path::Path};

use anyhow::{Context as _, Result, ensure};
use sstpulse::replay::{CaptureEvent, read};
use sstpulse_common::Side;

/// The capture, below the workspace's folder.
const CAPTURE: &str = "captures/sstp-clean.pcap";

/// What comes before the IP header in it: Ethernet.
const LINK: usize = 14;
/// The IPv4 header in it, which has no options.
const IP: usize = 20;
/// Where TCP begins.
const TCP: usize = LINK + IP;

/// TCP's control bits that say that a side closes: FIN and RST.
const CLOSES: u8 = 5;

/// Packets until the tunnel is up and nothing more of the opening is wanted.
const OPENING: usize = 53;

/// Those among them that are worth playing, as far as the server's hello and all that comes
/// with it.
const HELLOS: usize = 7;

/// Payload of a beat, in bytes.
pub(crate) const BEAT: u32 = 100;

/// Time between two packets of a script that is not played by the kernel's clock.
const GAP_NS: u64 = 1_000_000;

/// Who takes packets in.
pub(crate) trait Stage {
    /// Takes in a packet that `side` sent at `time_ns`.
    fn play(&mut self, side: Side, packet: &[u8], time_ns: u64) -> Result<()>;
}

/// What a session says.
pub(crate) struct Script {
    /// From the SYN to a tunnel that is up.
    opening: Vec<Packet>,
    /// The server sends [`BEAT`] bytes, and the client acknowledges them.
    beat: Vec<Packet>,
    /// From the client's disconnect to the last FIN.
    closing: Vec<Packet>,
}

/// A packet whose numbers count from where each side is when its part of the script begins.
#[derive(Clone)]
struct Packet {
    side: Side,
    bytes: Vec<u8>,
    seq: u32,
    ack: u32,
}

/// A packet of a script, as it is in a session.
pub(crate) struct Step {
    pub(crate) side: Side,
    /// Of some flow.
    pub(crate) bytes: Vec<u8>,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
}

/// Where both sides of a session are.
#[derive(Clone, Copy, Debug)]
struct Place {
    client: u32,
    server: u32,
}

impl Script {
    /// Reads it from the capture.
    pub(crate) fn load() -> Result<Self> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(CAPTURE);
        let file = File::open(&path).with_context(|| format!("can't read {}", path.display()))?;
        let mut packets = Vec::new();
        read(file, |event| {
            if let CaptureEvent::Packet(packet) = event {
                packets.push(Packet::new(packet.bytes));
            }
            ControlFlow::Continue(())
        })?;
        let opening: Vec<_> = packets[..OPENING].to_vec();
        let first_close = packets
            .iter()
            .position(|packet| packet.flags() & CLOSES != 0)
            .context("the capture has no end")?;
        let disconnect = packets[..first_close]
            .iter()
            .rposition(|packet| packet.side == Side::Client && packet.payload() > 0)
            .context("the capture has no disconnect")?;
        let closing: Vec<_> = packets[disconnect..].to_vec();
        ensure!(
            closing.len() < 10,
            "the capture goes on after its disconnect"
        );
        let beat = vec![
            opening[2].clone().resized(Side::Server, BEAT, 0, 0),
            opening[2].clone().resized(Side::Client, 0, 0, BEAT),
        ];
        let acknowledgment = opening[2].clone();
        let mut opening = based(
            opening
                .into_iter()
                .enumerate()
                .filter_map(worth_playing)
                .collect(),
        );
        // Or the first beat's would be for both, minutes later.
        let (client, server) = (end(&opening, Side::Client), end(&opening, Side::Server));
        opening.push(acknowledgment.resized(Side::Client, 0, client, server));
        Ok(Self {
            opening,
            beat,
            closing: based(closing),
        })
    }

    /// Plays the opening of a session at `time_ns`.
    pub(crate) fn open(&mut self, flow: u32, time_ns: u64, stage: &mut impl Stage) -> Result<()> {
        play(&mut self.opening, flow, Place::START, time_ns, stage)
    }

    /// Plays its `number`th beat, from 0 on.
    pub(crate) fn beat(
        &mut self,
        flow: u32,
        number: u32,
        time_ns: u64,
        stage: &mut impl Stage,
    ) -> Result<()> {
        let place = self.opened(number);
        play(&mut self.beat, flow, place, time_ns, stage)
    }

    /// Plays its end after so many beats.
    pub(crate) fn close(
        &mut self,
        flow: u32,
        beats: u32,
        time_ns: u64,
        stage: &mut impl Stage,
    ) -> Result<()> {
        let place = self.opened(beats);
        play(&mut self.closing, flow, place, time_ns, stage)
    }

    /// The same, as far as the hellos: the shortest there is to tell of TLS.
    pub(crate) fn brief(mut self) -> Self {
        self.opening.truncate(HELLOS);
        self
    }

    /// A session that is closed as soon as it is open.
    pub(crate) fn steps(&mut self) -> Vec<Step> {
        let opened = self.opened(0);
        let opening = self
            .opening
            .iter_mut()
            .map(|packet| packet.step(Place::START));
        let closing = self.closing.iter_mut().map(|packet| packet.step(opened));
        opening.chain(closing).collect()
    }

    /// Where both sides are after the opening and so many beats.
    fn opened(&self, beats: u32) -> Place {
        let end = |side| end(&self.opening, side);
        Place {
            client: Place::START.client.wrapping_add(end(Side::Client)),
            server: Place::START
                .server
                .wrapping_add(end(Side::Server))
                .wrapping_add(beats.wrapping_mul(BEAT)),
        }
    }
}

impl Place {
    const START: Self = Self {
        client: 1_000,
        server: 500_000_000,
    };
}

impl Packet {
    fn new(bytes: &[u8]) -> Self {
        let side = if word16(bytes, TCP) == 443 {
            Side::Server
        } else {
            Side::Client
        };
        Self {
            side,
            bytes: bytes.to_vec(),
            seq: word32(bytes, TCP + 4),
            ack: word32(bytes, TCP + 8),
        }
    }

    fn flags(&self) -> u8 {
        self.bytes[TCP + 13]
    }

    fn payload(&self) -> u32 {
        let total = word16(&self.bytes, LINK + 2);
        let headers = 20 + u16::from(self.bytes[TCP + 12] >> 4) * 4;
        u32::from(total - headers)
    }

    /// Sequence numbers that it takes.
    fn length(&self) -> u32 {
        let syn_or_fin = self.flags() & 3 != 0;
        self.payload() + u32::from(syn_or_fin)
    }

    /// The same headers, of this side and with a payload of so many bytes.
    fn resized(mut self, side: Side, payload: u32, seq: u32, ack: u32) -> Self {
        let headers = TCP + usize::from(self.bytes[TCP + 12] >> 4) * 4;
        self.bytes.resize(headers + payload as usize, 0x17);
        let total = u16::try_from(self.bytes.len() - LINK).unwrap_or(u16::MAX);
        self.bytes[LINK + 2..LINK + 4].copy_from_slice(&total.to_be_bytes());
        if side != self.side {
            let (client, server) = (word16(&self.bytes, TCP), word16(&self.bytes, TCP + 2));
            self.bytes[TCP..TCP + 2].copy_from_slice(&server.to_be_bytes());
            self.bytes[TCP + 2..TCP + 4].copy_from_slice(&client.to_be_bytes());
        }
        Self {
            side,
            seq,
            ack,
            ..self
        }
    }

    /// Its bytes as a packet of a flow whose sides are at `place`.
    fn of(&mut self, flow: u32, place: Place) -> &[u8] {
        let address = (10 << 24 | flow & 0xff_ffff).to_be_bytes();
        let port = (40_000 + (flow >> 24) as u16).to_be_bytes();
        let server = [192, 0, 2, 1];
        let (source, destination, at) = match self.side {
            Side::Client => (address, server, TCP),
            Side::Server => (server, address, TCP + 2),
        };
        let (seq, ack) = self.numbers(place);
        self.bytes[LINK + 12..LINK + 16].copy_from_slice(&source);
        self.bytes[LINK + 16..LINK + 20].copy_from_slice(&destination);
        self.bytes[at..at + 2].copy_from_slice(&port);
        self.bytes[TCP + 4..TCP + 8].copy_from_slice(&seq.to_be_bytes());
        self.bytes[TCP + 8..TCP + 12].copy_from_slice(&ack.to_be_bytes());
        &self.bytes
    }

    /// The same for whoever makes packets of all flows of it.
    fn step(&mut self, place: Place) -> Step {
        let (seq, ack) = self.numbers(place);
        Step {
            side: self.side,
            bytes: self.of(0, place).to_vec(),
            seq,
            ack,
        }
    }

    /// Its numbers where the sides are at `place`.
    fn numbers(&self, place: Place) -> (u32, u32) {
        let (own, peer) = match self.side {
            Side::Client => (place.client, place.server),
            Side::Server => (place.server, place.client),
        };
        (own.wrapping_add(self.seq), peer.wrapping_add(self.ack))
    }
}

/// Acknowledgments alone say nothing, but for the third packet of a session.
fn worth_playing((at, packet): (usize, Packet)) -> Option<Packet> {
    (at == 2 || packet.length() > 0).then_some(packet)
}

/// The number after the last that one side takes.
fn end(packets: &[Packet], side: Side) -> u32 {
    let of_side = packets.iter().filter(|packet| packet.side == side);
    let end = of_side.map(|packet| packet.seq + packet.length()).max();
    end.unwrap_or_default()
}

/// Lets the numbers count from the first of each side.
fn based(mut packets: Vec<Packet>) -> Vec<Packet> {
    let first = |side| packets.iter().find(|packet| packet.side == side);
    let base = |packet: Option<&Packet>| packet.map_or(0, |packet| packet.seq);
    let (client, server) = (base(first(Side::Client)), base(first(Side::Server)));
    for packet in &mut packets {
        let (own, peer) = match packet.side {
            Side::Client => (client, server),
            Side::Server => (server, client),
        };
        packet.seq = packet.seq.wrapping_sub(own);
        packet.ack = packet.ack.wrapping_sub(peer);
    }
    packets
}

fn play(
    packets: &mut [Packet],
    flow: u32,
    place: Place,
    time_ns: u64,
    stage: &mut impl Stage,
) -> Result<()> {
    for (packet, passed) in packets.iter_mut().zip(0..) {
        let time_ns = time_ns + passed * GAP_NS;
        stage.play(packet.side, packet.of(flow, place), time_ns)?;
    }
    Ok(())
}

fn word16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn word32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
