//! What the agent knows of a session besides its record.

use std::borrow::Cow;

use sstpulse_common::{
    ChunkHeader, DirectionRecord, Notice, SessionRecord, Side, Told as NoticeTold,
    record::Attention,
};

use super::{
    Opening,
    compact::{Moment, low, whole},
    names::{NameId, Names},
    told::{Rare, Told},
    watched::{Look, Watched},
};
use crate::{
    diagnosis::{Facts, HostFacts, Neighbours, Quiet, Reset, Sayings, Timeouts},
    event::{Counters, Ending},
    tls::{Chunk, Dialogue, Message, Phase, RecordSize, Suite, TlsFacts},
};

/// Silence both ways from which on it is remembered.
const QUIET_NS: u64 = 5_000_000_000;

/// A stall of this length is worth counting.
const STALL_NS: u64 = 1_000_000_000;

/// RSTs of the client that are remembered.
const MOST_RESETS: usize = 8;

/// What the agent knows of a session besides its record. There may be a million of them: what
/// most don't have is in boxes.
#[derive(Debug)]
pub(super) struct Known {
    /// What was told of its counts.
    pub(super) told: Told,
    aside: Option<Box<Aside>>,
    /// When the last segment was seen, at the last look.
    seen: Moment,
    /// When the client was last seen to have sent data.
    client_spoke: Moment,
    /// When the last look was.
    looked: Moment,
    /// The end of the last time that nothing was sent either way for long; 0 if there was none.
    quiet_until: Moment,
    /// How long that lasted, in milliseconds.
    quiet_ms: u32,
    /// Which session of the run it is: the last 32 bits of that.
    number: u32,
    /// What matters of an opening that led to a tunnel long ago: what the cipher makes of
    /// lengths, and which server the client asked for.
    settled: Option<Suite>,
    server: Option<NameId>,
    /// It has ended, and lingers.
    pub(super) ending: bool,
    /// The line about TLS is written.
    pub(super) tls_told: bool,
    /// It is to be looked at when it will have been silent for too long.
    pub(super) look_planned: bool,
}

/// What sessions have that come up, or that have met with trouble.
#[derive(Debug, Default)]
struct Aside {
    opening: Option<Seen>,
    trouble: Option<Box<Trouble>>,
}

/// A beginning that was seen, and is not settled.
#[derive(Debug)]
enum Seen {
    /// It goes on.
    GoesOn(Box<Dialogue>),
    /// It is over.
    Over(Box<TlsFacts>),
}

/// What is known of a session's beginning.
enum OpeningOf<'a> {
    /// It was not seen.
    Unseen,
    /// It goes on.
    GoesOn(&'a Dialogue),
    /// It is over.
    Over(&'a TlsFacts),
    /// It led to a tunnel, long ago.
    Settled(Suite),
}

/// What most sessions never have.
#[derive(Debug, Default)]
struct Trouble {
    /// It is looked at again and again.
    watched: Option<Box<Watched>>,
    /// What was told of both sides.
    told: Option<Box<[Rare; 2]>>,
    resets: Vec<Reset>,
    timeouts: Option<Box<Timeouts>>,
    stalls: u32,
    /// When the first FIN or RST was seen; 0 if none was.
    closing_ns: u64,
    /// How long the round-trip time was inflated.
    inflated_ns: u64,
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
        let aside = (!record.is_midstream()).then(|| {
            Box::new(Aside {
                opening: Some(Seen::GoesOn(Box::default())),
                trouble: None,
            })
        });
        Self {
            told: Told::default(),
            aside,
            seen: Moment::of(start_ns),
            client_spoke: Moment::of(start_ns),
            looked: Moment::of(start_ns),
            quiet_until: Moment::default(),
            quiet_ms: 0,
            number: low(number),
            settled: None,
            server: None,
            ending: false,
            tls_told: false,
            look_planned: false,
        }
    }

    /// Which session of the run it is, if so many have begun.
    pub(super) const fn number(&self, begun: u64) -> u64 {
        whole(self.number, begun)
    }

    /// What came of a side since it was last told of, by what its record counts now.
    pub(super) fn tell(&mut self, side: Side, now: &Counters) -> Counters {
        let told = self.troubles().and_then(|trouble| trouble.told.as_deref());
        let earlier = told.map_or_else(Rare::default, |told| told[side as usize]);
        let mut rare = earlier;
        let since = self.told.tell(side, now, &mut rare);
        if rare != earlier {
            self.trouble().told.get_or_insert_default()[side as usize] = rare;
        }
        since
    }

    fn opening_of(&self) -> OpeningOf<'_> {
        let seen = self
            .aside
            .as_deref()
            .and_then(|aside| aside.opening.as_ref());
        match (seen, self.settled) {
            (Some(Seen::GoesOn(dialogue)), _) => OpeningOf::GoesOn(dialogue),
            (Some(Seen::Over(facts)), _) => OpeningOf::Over(facts),
            (None, Some(suite)) => OpeningOf::Settled(suite),
            (None, None) => OpeningOf::Unseen,
        }
    }

    /// A beginning that was seen, and is not settled.
    fn seen_mut(&mut self) -> Option<&mut Seen> {
        self.aside.as_deref_mut()?.opening.as_mut()
    }

    /// Takes a piece of the session's opening in. True if nothing more is wanted of it.
    pub(super) fn opening(&mut self, opening: &Opening) -> bool {
        let Some(Seen::GoesOn(dialogue)) = self.seen_mut() else {
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
        if let Some(seen) = self.seen_mut()
            && let Seen::GoesOn(dialogue) = seen
        {
            let dialogue = std::mem::take(&mut **dialogue);
            *seen = Seen::Over(Box::new(dialogue.into_facts()));
        }
    }

    /// What TLS and the set-up of SSTP showed so far, as far as it still matters.
    pub(super) fn tls(&self) -> Option<Cow<'_, TlsFacts>> {
        match self.opening_of() {
            OpeningOf::Unseen => None,
            OpeningOf::GoesOn(dialogue) => Some(Cow::Borrowed(dialogue.facts())),
            OpeningOf::Over(facts) => Some(Cow::Borrowed(facts)),
            OpeningOf::Settled(suite) => Some(Cow::Owned(TlsFacts::settled(suite))),
        }
    }

    /// Forgets how the tunnel came up, if that was by `then_ns` and nothing has come of it.
    pub(super) fn settle(&mut self, then_ns: u64, names: &mut Names) {
        let facts = match self.opening_of() {
            OpeningOf::GoesOn(dialogue) => dialogue.facts(),
            OpeningOf::Over(facts) => facts,
            OpeningOf::Unseen | OpeningOf::Settled(_) => return,
        };
        let suite = facts.settles(then_ns);
        if suite.is_none() || self.closing_ns().is_some() {
            return;
        }
        let name = facts.hellos.server_name.as_deref();
        let server = name.and_then(|name| names.keep(name));
        // Of too many names, none is lost.
        if name.is_some() == server.is_some() {
            (self.settled, self.server) = (suite, server);
            self.forget_opening();
        }
    }

    fn forget_opening(&mut self) {
        if let Some(aside) = &mut self.aside {
            aside.opening = None;
            if aside.trouble.is_none() {
                self.aside = None;
            }
        }
    }

    /// The server that the client asked for.
    pub(super) fn server_name<'a>(&'a self, names: &'a Names) -> Option<&'a str> {
        let facts = match self.opening_of() {
            OpeningOf::Unseen => return None,
            OpeningOf::GoesOn(dialogue) => dialogue.facts(),
            OpeningOf::Over(facts) => facts,
            OpeningOf::Settled(_) => return self.server.map(|name| names.get(name)),
        };
        facts.hellos.server_name.as_deref()
    }

    /// How far the session has come.
    pub(super) fn phase(&self) -> Option<Phase> {
        if self.closing_ns().is_some() {
            return Some(Phase::Closing);
        }
        self.reached()
    }

    /// How far it has come, whether it is closing or not.
    pub(super) fn reached(&self) -> Option<Phase> {
        match self.opening_of() {
            OpeningOf::Unseen => None,
            OpeningOf::GoesOn(dialogue) => Some(dialogue.phase()),
            OpeningOf::Over(facts) => Some(facts.phase()),
            OpeningOf::Settled(_) => Some(Phase::Up),
        }
    }

    /// What the programs are to tell of the session from now on, and how long its small
    /// segments are.
    pub(super) fn attention(&self) -> (u8, u8) {
        let payload = match self.opening_of() {
            OpeningOf::GoesOn(_) => 0,
            OpeningOf::Unseen | OpeningOf::Over(_) | OpeningOf::Settled(_) => Attention::NO_PAYLOAD,
        };
        let watched = if self.watched().is_some() {
            Attention::WATCHED
        } else {
            0
        };
        (payload | watched, small(self.record_size()))
    }

    fn record_size(&self) -> RecordSize {
        /// What is right for most where nothing is known.
        const USUAL: RecordSize = RecordSize::Tls13 { tag: 16 };

        let size = match self.opening_of() {
            OpeningOf::Unseen => None,
            OpeningOf::GoesOn(dialogue) => dialogue.facts().record_size(),
            OpeningOf::Over(facts) => facts.record_size(),
            OpeningOf::Settled(suite) => suite.record_size(),
        };
        size.unwrap_or(USUAL)
    }

    /// Takes in what a notice tells, as the record stands after it.
    pub(super) fn notice(&mut self, notice: &Notice, record: &SessionRecord) {
        self.look(record, notice.time_ns, Some(notice.time_ns));
        if notice.tells(NoticeTold::CLOSING) && self.closing_ns().is_none() {
            self.trouble().closing_ns = notice.time_ns;
        }
        if notice.tells(NoticeTold::TIMEOUT) {
            self.timeout(notice, record);
        }
        if notice.tells(NoticeTold::RESET) && notice.side() == Side::Client {
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
        trouble.timeouts = Some(Box::new(Timeouts::first(notice, record)));
    }

    /// Takes a look at the record at `now`; `passed_ns` is when the segment passed that is
    /// the reason, if one is.
    pub(super) fn look(&mut self, record: &SessionRecord, now: u64, passed_ns: Option<u64>) {
        let (client, server) = (&record.from_client, &record.from_server);
        if record.head.rtt.inflated(record.head.rtt.smoothed_us) {
            let since_ns = self.looked.ns();
            self.trouble().inflated_ns += now.saturating_sub(since_ns);
        }
        let seen_ns = client.last_seen_ns.max(server.last_seen_ns);
        let earlier_ns = self.seen_ns();
        if Moment::of(seen_ns).ns() > earlier_ns {
            // Without a notice, all that is known is that nothing came before the last look;
            // unless it was data of the server, whose time is kept until it is acknowledged.
            let sent_ns = Some(server.mark.since_ns).filter(|sent| *sent > earlier_ns);
            let until_ns = passed_ns
                .or(sent_ns)
                .unwrap_or(self.looked.ns())
                .min(seen_ns);
            let quiet = Quiet {
                since_ns: earlier_ns,
                until_ns,
            };
            // Between timeouts, the server waits for an answer: that is no idleness.
            if quiet.lasted_ns() >= QUIET_NS && self.timeouts(record).is_none() {
                self.quiet_until = Moment::of(quiet.until_ns);
                self.quiet_ms = u32::try_from(quiet.lasted_ns() / 1_000_000).unwrap_or(u32::MAX);
            }
            self.seen = Moment::of(seen_ns);
        }
        if let Some(trouble) = self.troubles_mut() {
            trouble.count_stall(client.ack, now);
        }
        let spoke_clock = DirectionRecord::data_clock(self.client_spoke.ns());
        if client.data_seen != spoke_clock && client.data_seen != 0 {
            // A notice may be older than the record.
            let now = now.max(client.last_seen_ns);
            let spoke_ns = now.saturating_sub(client.without_data_ns(now));
            let spoke_ns = spoke_ns.min(client.last_seen_ns);
            self.client_spoke = Moment::of(spoke_ns);
        }
        self.looked = Moment::of(now.max(self.looked.ns()));
    }

    /// The timeouts in a row after which the client has acknowledged nothing.
    pub(super) fn timeouts(&self, record: &SessionRecord) -> Option<Timeouts> {
        let timeouts = *self.troubles()?.timeouts.as_deref()?;
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

    /// The looks at it, while it is looked at again and again.
    pub(super) fn watched(&self) -> Option<&Watched> {
        self.troubles()?.watched.as_deref()
    }

    /// The same, to look.
    pub(super) fn watched_mut(&mut self) -> Option<&mut Watched> {
        self.troubles_mut()?.watched.as_deref_mut()
    }

    /// Begins to look at it again and again, or ends that.
    pub(super) fn watch(&mut self, watched: Option<Watched>) {
        self.trouble().watched = watched.map(Box::new);
    }

    /// The last time that nothing was sent either way for long.
    fn quiet(&self) -> Option<Quiet> {
        let lasted_ns = u64::from(self.quiet_ms) * 1_000_000;
        let until_ns = self.quiet_until.ns();
        (until_ns != 0).then(|| Quiet {
            since_ns: until_ns.saturating_sub(lasted_ns),
            until_ns,
        })
    }

    /// What trouble it has met with, if any.
    fn troubles(&self) -> Option<&Trouble> {
        self.aside.as_deref()?.trouble.as_deref()
    }

    /// The same, to change it.
    fn troubles_mut(&mut self) -> Option<&mut Trouble> {
        self.aside.as_deref_mut()?.trouble.as_deref_mut()
    }

    /// The same, of which there is some from now on.
    fn trouble(&mut self) -> &mut Trouble {
        let aside = self.aside.get_or_insert_default();
        aside.trouble.get_or_insert_default()
    }

    /// When the last segment was seen, at the last look.
    pub(super) const fn seen_ns(&self) -> u64 {
        self.seen.ns()
    }

    /// When the first FIN or RST was seen.
    pub(super) fn closing_ns(&self) -> Option<u64> {
        let closing_ns = self.troubles()?.closing_ns;
        (closing_ns != 0).then_some(closing_ns)
    }

    /// Everything that is known, as the rules want it; `tls` is [`Self::tls`].
    pub(super) fn facts<'a>(
        &'a self,
        record: &'a SessionRecord,
        tls: Option<&'a TlsFacts>,
        end: Ending,
        neighbours: Neighbours,
        host: HostFacts,
    ) -> Facts<'a> {
        let (client, server) = (&record.from_client, &record.from_server);
        let end_ns = client.last_seen_ns.max(server.last_seen_ns);
        let was_up = self.reached().is_none_or(|phase| phase >= Phase::Up);
        let closing_ns = self.closing_ns();
        let sayings = Sayings::of(record, self.record_size(), end_ns, was_up, closing_ns);
        let trouble = self.troubles();
        let timeouts = trouble.and_then(|trouble| trouble.timeouts.as_deref().copied());
        Facts {
            end,
            record,
            from_client: Counters::of(client, server, end_ns),
            from_server: Counters::of(server, client, end_ns),
            tls,
            sayings,
            end_ns,
            closing_ns,
            client_spoke_ns: self.client_spoke.ns(),
            resets: trouble.map_or(&[], |trouble| trouble.resets.as_slice()),
            timeouts,
            stalls: trouble.map_or(0, |trouble| trouble.stalls),
            quiet: self.quiet(),
            rtt_inflated_percent: crate::diagnosis::percent(
                trouble.map_or(0, |trouble| trouble.inflated_ns),
                end_ns.saturating_sub(record.head.start_ns),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_of_them_fit_into_memory() {
        assert!(size_of::<Known>() <= 96, "{}", size_of::<Known>());
    }
}
