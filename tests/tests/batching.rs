//! Properties of counts, on streams of segments whose truth is known.
//!
//! Streams are made by a model that decides what is lost, late or sent again, and counts it
//! itself, segment by segment, with all of the past in memory. The tracker, which remembers
//! next to nothing, must come to the same; and however segments are merged on their way (GRO)
//! or not yet cut (TSO), the records must not differ in a single field.

use std::num::NonZeroUsize;

use proptest::{collection::vec, prelude::*};
use sstpulse::replay::{Limits, Tables};
use sstpulse_common::{FlowKey, Segment, SessionRecord, Side, TcpFlags, observe};

/// Segments are this large, or multiples of it.
const UNIT: u32 = 100;

/// The round trip that the handshake measures, in nanoseconds.
const ROUND_TRIP_NS: u64 = 20_000_000;

const BEGINNING_NS: u64 = 1_000_000_000;

/// A segment with data; numbers count from the sender's first byte, in units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Data {
    start: u32,
    units: u32,
    fin: bool,
}

/// Segments of one side that pass at the same time, and then the other side's answer.
#[derive(Clone, Debug)]
struct Step {
    wait_ns: u64,
    segments: Vec<Data>,
    /// How far the other side acknowledges after them, in units; `None` if it says nothing.
    acknowledged: Option<u32>,
}

/// A connection under way, with a stream from one side.
struct Stream {
    tables: Tables,
    key: FlowKey,
    side: Side,
    isn: u32,
    now_ns: u64,
    acknowledged: u32,
}

impl Stream {
    /// After a handshake whose round trip is [`ROUND_TRIP_NS`].
    fn begin(side: Side, isn: u32) -> Self {
        let mut stream = Self {
            tables: Tables::new(Limits {
                sessions: 4,
                half_open: NonZeroUsize::MIN,
            }),
            key: FlowKey::new(
                "192.0.2.12:40000".parse().expect("an address"),
                "192.0.2.5:443".parse().expect("an address"),
            ),
            side,
            isn,
            now_ns: BEGINNING_NS,
            acknowledged: 0,
        };
        stream.say(Side::Client, TcpFlags::SYN, u32::MAX, 0);
        stream.say(Side::Server, TcpFlags::SYN | TcpFlags::ACK, u32::MAX, 0);
        stream.now_ns += ROUND_TRIP_NS;
        stream.say(Side::Client, TcpFlags::ACK, 0, 0);
        stream
    }

    /// A segment without data, `seq` from its side's first byte on.
    fn say(&mut self, side: Side, flags: u8, seq: u32, ack: u32) {
        let segment = Segment {
            seq: self.isn.wrapping_add(1).wrapping_add(seq),
            ack: self.isn.wrapping_add(1).wrapping_add(ack),
            ..self.empty(flags)
        };
        self.observe(side, &segment);
    }

    fn empty(&self, flags: u8) -> Segment {
        Segment {
            segments: 1,
            window: u16::MAX,
            flags: TcpFlags(flags),
            ifindex: 1,
            ttl: 64,
            ack: self.isn.wrapping_add(1),
            ..Segment::default()
        }
    }

    fn observe(&mut self, side: Side, segment: &Segment) {
        observe(
            &mut self.tables,
            side,
            &self.key,
            segment,
            &[],
            &self.now_ns,
        );
    }

    /// Plays a step, its segments merged into runs of these lengths.
    fn play(&mut self, step: &Step, runs: &mut impl Iterator<Item = usize>) {
        self.now_ns += step.wait_ns;
        let mut rest = &step.segments[..];
        while !rest.is_empty() {
            let most = runs.next().unwrap_or(1);
            let run = mergeable(rest).min(most).max(1);
            let (merged, later) = rest.split_at(run);
            self.send(merged);
            rest = later;
        }
        if let Some(acknowledged) = step.acknowledged {
            self.acknowledged = self.acknowledged.max(acknowledged);
            let other = match self.side {
                Side::Client => Side::Server,
                Side::Server => Side::Client,
            };
            self.say(other, TcpFlags::ACK, 0, self.acknowledged * UNIT);
        }
    }

    fn send(&mut self, merged: &[Data]) {
        let payload: u32 = merged.iter().map(|data| data.units * UNIT).sum();
        let fin = merged.iter().any(|data| data.fin);
        let segment = Segment {
            seq: self
                .isn
                .wrapping_add(1)
                .wrapping_add(merged[0].start * UNIT),
            payload,
            segments: u32::try_from(merged.len()).expect("a few"),
            segment_size: merged[0].units * UNIT,
            ..self.empty(TcpFlags::ACK | if fin { TcpFlags::FIN } else { 0 })
        };
        self.observe(self.side, &segment);
    }

    fn record(&self) -> SessionRecord {
        *self.tables.session(&self.key).expect("a session")
    }
}

/// How many segments, from the first on, GRO would merge: they follow one another, all but
/// the last are as large as the first, and nothing comes after a FIN.
fn mergeable(segments: &[Data]) -> usize {
    let mut count = 1;
    for pair in segments.windows(2) {
        let [one, next] = pair else { break };
        let follows = next.start == one.start + one.units;
        if !follows || one.fin || one.units != segments[0].units || next.units > one.units {
            break;
        }
        count += 1;
    }
    count
}

/// A step of anything: new data, old data, holes, parts of both.
fn any_step() -> impl Strategy<Value = Step> {
    let run =
        (0..40_u32, 1..4_u32, 1..8_u32, any::<bool>()).prop_map(|(start, units, count, fin)| {
            (0..count)
                .map(|index| Data {
                    start: start + index * units,
                    // The last may be shorter.
                    units: if index + 1 == count {
                        1 + (units - 1) / 2
                    } else {
                        units
                    },
                    fin: fin && index + 1 == count,
                })
                .collect::<Vec<_>>()
        });
    (
        0..40_000_000_u64,
        vec(run, 1..4),
        proptest::option::of(0..60_u32),
    )
        .prop_map(|(wait_ns, runs, acknowledged)| Step {
            wait_ns,
            segments: runs.into_iter().flatten().collect(),
            acknowledged,
        })
}

fn any_side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::Client), Just(Side::Server)]
}

/// What became of a segment that a client sent, in the model.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Arrives,
    /// Arrives after this many later ones, well within half a round trip.
    Overtaken(usize),
    /// Is sent again, and arrives, this many round trips later.
    Lost(u64),
    /// Arrives, and is sent again needlessly a round trip later.
    Repeated,
}

fn any_fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        6 => Just(Fate::Arrives),
        1 => (1..4_usize).prop_map(Fate::Overtaken),
        1 => (1..4_u64).prop_map(Fate::Lost),
        1 => Just(Fate::Repeated),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 20_000,
        // What fails is printed, with the shortest stream that does.
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn counts_do_not_depend_on_how_segments_are_batched(
        side in any_side(),
        isn in any::<u32>(),
        steps in vec(any_step(), 1..12),
        runs in vec(1..8_usize, 64),
    ) {
        let mut alone = Stream::begin(side, isn);
        let mut merged = Stream::begin(side, isn);
        let mut lengths = runs.into_iter().cycle();
        for step in &steps {
            alone.play(step, &mut std::iter::repeat(1));
            merged.play(step, &mut lengths);
            prop_assert_eq!(alone.record(), merged.record(), "after {:?}", step);
        }
    }

    #[test]
    fn what_the_server_sends_again_is_counted_to_the_byte(
        isn in any::<u32>(),
        steps in vec(any_step(), 1..20),
        runs in vec(1..8_usize, 64),
    ) {
        let mut stream = Stream::begin(Side::Server, isn);
        let mut lengths = runs.into_iter().cycle();
        let (mut highest, mut retransmits, mut bytes, mut needless) = (0, 0, 0, 0);
        let mut acknowledged = 0;
        for step in &steps {
            for data in &step.segments {
                let end = data.start + data.units;
                let again = highest.min(end).saturating_sub(data.start);
                if again > 0 {
                    retransmits += 1;
                    bytes += u64::from(again * UNIT);
                    needless += u32::from(acknowledged >= data.start + again);
                }
                highest = highest.max(end);
            }
            // A client acknowledges what it has been sent.
            let step = Step {
                segments: without_fin(&step.segments),
                acknowledged: step.acknowledged.map(|upto| upto.min(highest)),
                ..*step
            };
            acknowledged = acknowledged.max(step.acknowledged.unwrap_or_default());
            stream.play(&step, &mut lengths);
        }
        let sent = stream.record().from_server;
        prop_assert_eq!(sent.retransmits, retransmits);
        prop_assert_eq!(sent.retransmitted_bytes, bytes);
        prop_assert_eq!(sent.spurious_retransmits, needless);
        prop_assert_eq!(sent.out_of_order, 0);
        prop_assert_eq!((sent.keepalives, sent.window_probes), (0, 0));
    }

    #[test]
    fn what_a_client_sends_again_is_told_from_what_is_overtaken(
        isn in any::<u32>(),
        fates in vec(any_fate(), 1..30),
    ) {
        let mut stream = Stream::begin(Side::Client, isn);
        let mut truth = Truth::default();
        for (index, fate) in (0..).zip(fates) {
            // Each fault is over before the next: four segments, of which the first has it.
            for (wait_ns, number) in truth.arrivals(fate) {
                let segment = Data { start: index * 4 + number, units: 1, fin: false };
                truth.received.insert(segment.start);
                let contiguous = (0..=u32::MAX).find(|unit| !truth.received.contains(unit));
                let step = Step { wait_ns, segments: vec![segment], acknowledged: contiguous };
                stream.play(&step, &mut std::iter::repeat(1));
            }
        }
        let record = stream.record();
        let came = record.from_client;
        prop_assert_eq!(came.out_of_order, truth.overtaken);
        prop_assert_eq!(came.retransmits, truth.lost + truth.repeated);
        prop_assert_eq!(came.spurious_retransmits, truth.repeated);
        prop_assert_eq!(came.bytes, u64::from(UNIT) * truth.arrived);
        prop_assert_eq!((came.keepalives, came.window_probes), (0, 0));
    }
}

/// What the model knows of a client's stream.
#[derive(Default)]
struct Truth {
    received: std::collections::BTreeSet<u32>,
    arrived: u64,
    overtaken: u32,
    lost: u32,
    repeated: u32,
}

impl Truth {
    /// The next four segments as they arrive, the first of them with this fate: how long
    /// after the one before, and which of the four.
    fn arrivals(&mut self, fate: Fate) -> Vec<(u64, u32)> {
        const NEXT_NS: u64 = 100_000;
        let mut arrivals: Vec<_> = (0..4).map(|number| (NEXT_NS, number)).collect();
        match fate {
            Fate::Arrives => {}
            Fate::Overtaken(by) => {
                let late = arrivals.remove(0);
                arrivals.insert(by, late);
                self.overtaken += 1;
            }
            Fate::Lost(round_trips) => {
                arrivals.remove(0);
                arrivals.push((ROUND_TRIP_NS * round_trips, 0));
                self.lost += 1;
            }
            Fate::Repeated => {
                arrivals.push((ROUND_TRIP_NS, 0));
                self.repeated += 1;
            }
        }
        self.arrived += arrivals.len() as u64;
        arrivals
    }
}

fn without_fin(segments: &[Data]) -> Vec<Data> {
    segments
        .iter()
        .map(|data| Data {
            fin: false,
            ..*data
        })
        .collect()
}
