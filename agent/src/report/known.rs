//! What the agent knows of a session besides its record.

use sstpulse_common::{
    ChunkHeader, Notice, SessionRecord, Side, Told,
    record::Attention,
};

use super::{
    Opening,
    watched::{Look, Watched},
};
use crate::{
    diagnosis::{Facts, HostFacts, Neighbours, Quiet, Reset, Sayings, Timeouts},
    event::{Counters, Ending},
    tls::{Chunk, Dialogue, Message, Phase, RecordSize, TlsFacts},
};

/// Silence both ways from which on it is remembered.
const QUIET_NS: u64 = 5_000_000_000;

/// A stall of this length is worth counting.
const STALL_NS: u64 = 1_000_000_000;

/// RSTs of the client that are remembered.
const MOST_RESETS: usize = 8;

/// What the agent knows of a session besides its record.
#[derive(Debug)]
pub(super) struct Known {
    /// Makes its identifier.
    pub(super) number: u64,
    /// When its record was made.
    pub(super) start_ns: u64,
    /// What was told of both sides.
    pub(super) from_client: Counters,
    pub(super) from_server: Counters,
    /// Segments at the last scan.
    pub(super) segments: u64,
    /// When they were seen to have changed.
    pub(super) changed_ns: u64,
    /// It has ended, and lingers.
    pub(super) ending: bool,
    /// The line about TLS is written.
    pub(super) tls_told: bool,
    /// It is looked at again and again.
    pub(super) watched: Option<Box<Watched>>,
    /// It is to be looked at when it will have been silent for too long.
    pub(super) look_planned: bool,
    opening: OpeningOf,
    /// When the last segment was seen, at the last look.
    seen_ns: u64,
    /// When that look was.
    looked_ns: u64,
    /// What the client had sent then, in bytes.
    client_bytes: u64,
    /// When the client was last seen to have sent data.
    client_spoke_ns: u64,
    /// When the first FIN or RST was seen; 0 if none was.
    closing_ns: u64,
    /// How long the round-trip time was inflated.
    inflated_ns: u64,
    trouble: Option<Box<Trouble>>,
}

/// What is known of a session's beginning.
#[derive(Debug)]
enum OpeningOf {
    /// It was not seen.
    Unseen,
    /// It goes on.
    GoesOn(Box<Dialogue>),
    /// It is over.
    Over(Box<TlsFacts>),
}

/// What most sessions never have.
#[derive(Debug, Default)]
struct Trouble {
    resets: Vec<Reset>,
    timeouts: Option<Timeouts>,
    stalls: u32,
    quiet: Option<Quiet>,
}

impl Trouble {
    /// Counts the last timeouts as a stall once the client has acknowledged something, and if
    /// that took long.
    fn count_stall(&mut self, acknowledged: u32, now: u64) {
        let Some(timeouts) = &mut self.timeouts else {
            return;
        };
        if timeouts.over || acknowledged == timeouts.acknowledged {
            return;
        }
        timeouts.over = true;
        self.stalls += u32::from(now.saturating_sub(timeouts.first_ns) >= STALL_NS);
    }
}

impl Known {
    pub(super) fn new(number: u64, record: &SessionRecord) -> Self {
        let start_ns = record.head.start_ns;
        let opening = if record.is_midstream() {
            OpeningOf::Unseen
        } else {
            OpeningOf::GoesOn(Box::default())
        };
        Self {
            number,
            start_ns,
            from_client: Counters::default(),
            from_server: Counters::default(),
            segments: 0,
            changed_ns: start_ns,
            ending: false,
            tls_told: false,
            watched: None,
            look_planned: false,
            opening,
            seen_ns: start_ns,
            looked_ns: start_ns,
            client_bytes: 0,
            client_spoke_ns: start_ns,
            closing_ns: 0,
            inflated_ns: 0,
            trouble: None,
        }
    }

    /// Takes a piece of the session's opening in. True if nothing more is wanted of it.
    pub(super) fn opening(&mut self, opening: &Opening) -> bool {
        let OpeningOf::GoesOn(dialogue) = &mut self.opening else {
            return false;
        };
        let header = &opening.header;
        dialogue.take(&chunk(header, &opening.bytes));
        let done = dialogue.is_done();
        if done {
            self.finish_opening();
        }
        done
    }

    /// Nothing more is to come of the session's opening.
    pub(super) fn finish_opening(&mut self) {
        if let OpeningOf::GoesOn(dialogue) = &mut self.opening {
            let dialogue = std::mem::take(dialogue);
            self.opening = OpeningOf::Over(Box::new(dialogue.into_facts()));
        }
    }

    /// What TLS and the set-up of SSTP showed so far.
    pub(super) fn tls(&self) -> Option<&TlsFacts> {
        match &self.opening {
            OpeningOf::Unseen => None,
            OpeningOf::GoesOn(dialogue) => Some(dialogue.facts()),
            OpeningOf::Over(facts) => Some(facts),
        }
    }

    /// How far the session has come.
    pub(super) fn phase(&self) -> Option<Phase> {
        if self.closing_ns != 0 {
            return Some(Phase::Closing);
        }
        self.tls().map(TlsFacts::phase)
    }

    /// What the programs are to tell of the session from now on, and how long its small
    /// segments are.
    pub(super) fn attention(&self) -> (u8, u8) {
        let payload = match self.opening {
            OpeningOf::GoesOn(_) => 0,
            OpeningOf::Unseen | OpeningOf::Over(_) => Attention::NO_PAYLOAD,
        };
        let watched = if self.watched.is_some() {
            Attention::WATCHED
        } else {
            0
        };
        (payload | watched, small(self.record_size()))
    }

    fn record_size(&self) -> RecordSize {
        /// What is right for most where nothing is known.
        const USUAL: RecordSize = RecordSize::Tls13 { tag: 16 };

        self.tls().and_then(TlsFacts::record_size).unwrap_or(USUAL)
    }

    /// Takes in what a notice tells, as the record stands after it.
    pub(super) fn notice(&mut self, notice: &Notice, record: &SessionRecord) {
        self.look(record, notice.time_ns, Some(notice.time_ns));
        if notice.tells(Told::CLOSING) && self.closing_ns == 0 {
            self.closing_ns = notice.time_ns;
        }
        if notice.tells(Told::TIMEOUT) {
            self.timeout(notice, record);
        }
        if notice.tells(Told::RESET) && notice.side() == Side::Client {
            let resets = &mut self.trouble().resets;
            if resets.len() < MOST_RESETS {
                resets.push(Reset::of(notice, record));
            }
        }
    }

    fn timeout(&mut self, notice: &Notice, record: &SessionRecord) {
        let trouble = self.trouble();
        if let Some(timeouts) = &mut trouble.timeouts
            && timeouts.another(notice, record)
        {
            return;
        }
        trouble.timeouts = Some(Timeouts::first(notice, record));
    }

    /// Takes a look at the record at `now`; `passed_ns` is when the segment passed that is
    /// the reason, if one is.
    pub(super) fn look(&mut self, record: &SessionRecord, now: u64, passed_ns: Option<u64>) {
        let (client, server) = (&record.from_client, &record.from_server);
        if record.head.rtt.inflated(record.head.rtt.smoothed_us) {
            self.inflated_ns += now.saturating_sub(self.looked_ns);
        }
        let seen_ns = client.last_seen_ns.max(server.last_seen_ns);
        if seen_ns > self.seen_ns {
            // Without a notice, all that is known is that nothing came before the last look;
            // unless it was data of the server, whose time is kept until it is acknowledged.
            let sent_ns = Some(server.mark.since_ns).filter(|sent| *sent > self.seen_ns);
            let until_ns = passed_ns.or(sent_ns).unwrap_or(self.looked_ns).min(seen_ns);
            let quiet = Quiet {
                since_ns: self.seen_ns,
                until_ns,
            };
            // Between timeouts, the server waits for an answer: that is no idleness.
            if quiet.lasted_ns() >= QUIET_NS && self.timeouts(record).is_none() {
                self.trouble().quiet = Some(quiet);
            }
            self.seen_ns = seen_ns;
        }
        if let Some(trouble) = &mut self.trouble {
            trouble.count_stall(client.ack, now);
        }
        if client.bytes != self.client_bytes {
            self.client_bytes = client.bytes;
            let silent_ns = client.without_data_ns(now);
            self.client_spoke_ns = now.saturating_sub(silent_ns).min(client.last_seen_ns);
        }
        self.looked_ns = now.max(self.looked_ns);
    }

    /// The timeouts in a row after which the client has acknowledged nothing.
    pub(super) fn timeouts(&self, record: &SessionRecord) -> Option<Timeouts> {
        let timeouts = self.trouble.as_deref()?.timeouts?;
        (timeouts.acknowledged == record.from_client.ack).then_some(timeouts)
    }

    /// Whether the client has sent something since the timeouts began.
    fn client_lives(&self, record: &SessionRecord) -> bool {
        self.timeouts(record)
            .is_some_and(|timeouts| record.from_client.last_seen_ns > timeouts.first_ns)
    }

    /// What there is to look at.
    pub(super) fn to_look_at<'a>(
        &self,
        record: &'a SessionRecord,
        now: u64,
        silence_ns: u64,
    ) -> Look<'a> {
        Look {
            record,
            timeouts: self.timeouts(record),
            client_lives: self.client_lives(record),
            silence_ns: self.is_up().then_some(silence_ns),
            now,
        }
    }

    /// Whether the tunnel is up, as far as is known.
    pub(super) fn is_up(&self) -> bool {
        self.phase().is_none_or(|phase| phase == Phase::Up)
    }

    fn trouble(&mut self) -> &mut Trouble {
        self.trouble.get_or_insert_default()
    }

    /// When the last segment was seen, at the last look.
    pub(super) const fn seen_ns(&self) -> u64 {
        self.seen_ns
    }

    /// When the first FIN or RST was seen.
    pub(super) fn closing_ns(&self) -> Option<u64> {
        (self.closing_ns != 0).then_some(self.closing_ns)
    }

    /// Everything that is known, as the rules want it.
    pub(super) fn facts<'a>(
        &'a self,
        record: &'a SessionRecord,
        end: Ending,
        neighbours: Neighbours,
        host: HostFacts,
    ) -> Facts<'a> {
        let (client, server) = (&record.from_client, &record.from_server);
        let end_ns = client.last_seen_ns.max(server.last_seen_ns);
        let was_up = self.tls().is_none_or(|tls| tls.phase() >= Phase::Up);
        let closing_ns = self.closing_ns();
        let sayings = Sayings::of(record, self.record_size(), end_ns, was_up, closing_ns);
        let trouble = self.trouble.as_deref();
        let timeouts = trouble.and_then(|trouble| trouble.timeouts);
        Facts {
            end,
            record,
            from_client: Counters::of(client, server, end_ns),
            from_server: Counters::of(server, client, end_ns),
            tls: self.tls(),
            sayings,
            end_ns,
            closing_ns,
            client_spoke_ns: self.client_spoke_ns,
            resets: trouble.map_or(&[], |trouble| trouble.resets.as_slice()),
            timeouts,
            stalls: trouble.map_or(0, |trouble| trouble.stalls),
            quiet: trouble.and_then(|trouble| trouble.quiet),
            rtt_inflated_percent: crate::diagnosis::percent(
                self.inflated_ns,
                end_ns.saturating_sub(self.start_ns),
            ),
            neighbours,
            host,
        }
    }
}

fn chunk<'a>(header: &ChunkHeader, bytes: &'a [u8]) -> Chunk<'a> {
    Chunk {
        side: header.side(),
        offset: header.offset,
        length: header.length,
        bytes,
        time_ns: header.time_ns,
    }
}

/// The longest payload of a segment that holds words of the tunnel alone: a disconnect and
/// an alert.
fn small(size: RecordSize) -> u8 {
    use sstpulse_common::{payload::SMALL, tls::HEADER};

    let length = |message: Message| usize::from(size.sealed(message.length())) + HEADER;
    let both = length(Message::AbortOrDisconnect) + length(Message::Alert);
    u8::try_from(both.min(SMALL)).unwrap_or(u8::MAX)
}
