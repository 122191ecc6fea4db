//! Trouble while it lasts. A session that a notice makes suspicious is looked at again and
//! again, until it has been calm for a while.
//!
//! Each kind of trouble has two lines to tell: that it began, and that it is over. Over is what
//! has been calm for [`CALM_NS`], and each time it comes back, it has to be calm for longer.

use std::collections::VecDeque;

use sstpulse_common::{DirectionRecord, SessionRecord, Side};

use crate::{
    diagnosis::Timeouts,
    event::{AnomalyCode, AnomalyEvidence, AnomalyState},
};

/// Time between two looks.
pub(super) const LOOK_NS: u64 = 200_000_000;

/// The same of a session that is silent: what has no traffic has no hurry.
const LOOK_AT_SILENT_NS: u64 = 800_000_000;

/// Looks at what has not changed grow rarer: by this part of the time since it has.
const RARER: u64 = 64;

/// How long trouble must have been away to be over.
const CALM_NS: u64 = 3_000_000_000;

/// The longest that it may come to.
const MOST_CALM_NS: u64 = 300_000_000_000;

/// A window that is closed for so long is worth a word, in milliseconds.
const STALLED_MS: u32 = 500;

/// Segments sent again within a second that are a storm, if they are at least one in
/// [`STORM_SHARE`].
const STORM: u32 = 16;
const STORM_SHARE: u64 = 20;

/// Timeouts in a row that are worth a word.
const TIMEOUTS: u32 = 3;

/// How far back counts are compared.
const BACK_NS: u64 = 1_000_000_000;

/// A session that is looked at.
#[derive(Debug)]
pub(super) struct Watched {
    /// What was counted at the last looks, the oldest first.
    snapshots: VecDeque<Snapshot>,
    /// Since when there has been nothing of note.
    calm_since_ns: u64,
    troubles: Vec<Trouble>,
}

#[derive(Clone, Copy, Debug)]
struct Snapshot {
    at_ns: u64,
    segments: [u64; 2],
    retransmits: [u32; 2],
}

/// A kind of trouble of one side, that was there at least once.
#[derive(Debug)]
struct Trouble {
    code: AnomalyCode,
    side: Option<Side>,
    /// It was told, and is not over.
    active: bool,
    since_ns: u64,
    last_ns: u64,
    calm_ns: u64,
    evidence: AnomalyEvidence,
}

/// What there is to tell.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    pub(super) code: AnomalyCode,
    pub(super) state: AnomalyState,
    pub(super) side: Option<Side>,
    pub(super) since_ns: u64,
    /// From then to the last look that found it.
    pub(super) lasted_ns: u64,
    pub(super) evidence: AnomalyEvidence,
}

/// Trouble that is there at a look.
#[derive(Clone, Copy)]
struct Sign {
    code: AnomalyCode,
    side: Option<Side>,
    since_ns: u64,
    evidence: AnomalyEvidence,
}

/// What a look is at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look<'a> {
    pub(super) record: &'a SessionRecord,
    /// The timeouts in a row that are not over.
    pub(super) timeouts: Option<Timeouts>,
    /// The client has said something since the first of them.
    pub(super) client_lives: bool,
    /// Silence from which on it is too long; `None` before the tunnel is up.
    pub(super) silence_ns: Option<u64>,
    pub(super) now: u64,
}

impl Watched {
    pub(super) fn new(now: u64) -> Self {
        Self {
            snapshots: VecDeque::new(),
            calm_since_ns: now,
            troubles: Vec::new(),
        }
    }

    /// Whether there is nothing to be looked at any more.
    pub(super) fn is_calm(&self, now: u64) -> bool {
        now.saturating_sub(self.calm_since_ns) >= CALM_NS && !self.has_trouble()
    }

    /// Whether trouble was told that is not over.
    pub(super) fn has_trouble(&self) -> bool {
        self.troubles.iter().any(|trouble| trouble.active)
    }

    /// Whether all that is known to be wrong is that nobody says anything.
    fn is_silent(&self) -> bool {
        self.troubles
            .iter()
            .filter(|trouble| trouble.active)
            .all(|trouble| trouble.code == AnomalyCode::Silent)
            && self.has_trouble()
    }

    /// The time until the next look at a session of which nothing has been seen for so long:
    /// less than a second in its first minute, and what is not much then.
    pub(super) fn pause_ns(&self, unseen_ns: u64) -> u64 {
        let least_ns = if self.is_silent() {
            LOOK_AT_SILENT_NS
        } else {
            LOOK_NS
        };
        least_ns.max(unseen_ns / RARER)
    }

    /// Looks at the session, and tells what has changed.
    pub(super) fn look(&mut self, look: &Look<'_>) -> Vec<Change> {
        let signs = self.signs(look);
        self.remember(look);
        if !signs.is_empty() {
            self.calm_since_ns = look.now;
        }
        let mut changes = Vec::new();
        for sign in signs {
            changes.extend(self.there(sign, look.now));
        }
        for trouble in &mut self.troubles {
            changes.extend(trouble.over(look.now));
        }
        changes
    }

    fn remember(&mut self, look: &Look<'_>) {
        let (client, server) = (&look.record.from_client, &look.record.from_server);
        while self
            .snapshots
            .get(1)
            .is_some_and(|next| look.now.saturating_sub(next.at_ns) >= BACK_NS)
        {
            self.snapshots.pop_front();
        }
        self.snapshots.push_back(Snapshot {
            at_ns: look.now,
            segments: [client.segments, server.segments],
            retransmits: [client.retransmits, server.retransmits],
        });
    }

    fn there(&mut self, sign: Sign, now: u64) -> Option<Change> {
        let Sign {
            code,
            side,
            since_ns,
            evidence,
        } = sign;
        let known = self
            .troubles
            .iter_mut()
            .find(|trouble| trouble.code == code && trouble.side == side);
        let trouble = if let Some(trouble) = known {
            trouble.last_ns = now;
            trouble.evidence = evidence;
            if trouble.active {
                return None;
            }
            trouble.active = true;
            trouble.since_ns = since_ns;
            trouble.calm_ns = (trouble.calm_ns * 2).min(MOST_CALM_NS);
            trouble
        } else {
            self.troubles.push(Trouble {
                code,
                side,
                active: true,
                since_ns,
                last_ns: now,
                calm_ns: CALM_NS,
                evidence,
            });
            self.troubles.last()?
        };
        Some(trouble.change(AnomalyState::Onset))
    }

    fn signs(&self, look: &Look<'_>) -> Vec<Sign> {
        let sides = [Side::Client, Side::Server];
        sides
            .into_iter()
            .filter_map(|side| window(look, side))
            .chain(sides.into_iter().filter_map(|side| self.storm(look, side)))
            .chain(timeouts(look))
            .chain(silent(look))
            .chain(inflated(look))
            .collect()
    }

    /// Many segments sent again within the last second.
    fn storm(&self, look: &Look<'_>, side: Side) -> Option<Sign> {
        let before = self.snapshots.front()?;
        let own = look.record.sent_by(side);
        let retransmits = own
            .retransmits
            .saturating_sub(before.retransmits[side as usize]);
        let segments = own.segments.saturating_sub(before.segments[side as usize]);
        let many = retransmits >= STORM && u64::from(retransmits) * STORM_SHARE >= segments;
        many.then_some(Sign {
            code: AnomalyCode::RetransmissionStorm,
            side: Some(side),
            since_ns: before.at_ns,
            evidence: AnomalyEvidence {
                retransmits: Some(retransmits),
                segments: Some(segments),
                ..AnomalyEvidence::default()
            },
        })
    }
}

impl Trouble {
    /// Tells that it is over, if it is.
    fn over(&mut self, now: u64) -> Option<Change> {
        let calm_ns = now.saturating_sub(self.last_ns);
        if !self.active || calm_ns == 0 || calm_ns < self.calm_needed_ns() {
            return None;
        }
        self.active = false;
        Some(self.change(AnomalyState::Cleared))
    }

    /// What ends at a certain moment is over at once, unless it has come back before.
    const fn calm_needed_ns(&self) -> u64 {
        let ends_at_once = matches!(
            self.code,
            AnomalyCode::Silent | AnomalyCode::PathStalled | AnomalyCode::BlackholeSuspected
        );
        if ends_at_once && self.calm_ns == CALM_NS {
            0
        } else {
            self.calm_ns
        }
    }

    const fn change(&self, state: AnomalyState) -> Change {
        Change {
            code: self.code,
            state,
            side: self.side,
            since_ns: self.since_ns,
            lasted_ns: self.last_ns.saturating_sub(self.since_ns),
            evidence: self.evidence,
        }
    }
}

/// A closed window.
fn window(look: &Look<'_>, side: Side) -> Option<Sign> {
    let own: &DirectionRecord = look.record.sent_by(side);
    let stalled_ms = own.stalling_ms(look.now);
    (stalled_ms >= STALLED_MS).then(|| Sign {
        code: AnomalyCode::WindowStalled,
        side: Some(side),
        since_ns: look.now.saturating_sub(u64::from(stalled_ms) * 1_000_000),
        evidence: AnomalyEvidence {
            stalled_ms: Some(stalled_ms),
            ..AnomalyEvidence::default()
        },
    })
}

/// Nothing is acknowledged.
fn timeouts(look: &Look<'_>) -> Option<Sign> {
    let timeouts = look
        .timeouts
        .filter(|timeouts| timeouts.count >= TIMEOUTS)?;
    let code = if timeouts.hole_reported || look.client_lives {
        AnomalyCode::BlackholeSuspected
    } else {
        AnomalyCode::PathStalled
    };
    Some(Sign {
        code,
        side: None,
        since_ns: timeouts.first_ns,
        evidence: AnomalyEvidence {
            timeouts: Some(timeouts.count),
            largest_lost: Some(timeouts.largest),
            ..AnomalyEvidence::default()
        },
    })
}

/// Nobody says anything.
fn silent(look: &Look<'_>) -> Option<Sign> {
    let (client, server) = (&look.record.from_client, &look.record.from_server);
    let last_ns = client.last_seen_ns.max(server.last_seen_ns);
    let silent_ns = look.now.saturating_sub(last_ns);
    (silent_ns >= look.silence_ns?).then(|| Sign {
        code: AnomalyCode::Silent,
        side: None,
        since_ns: last_ns,
        evidence: AnomalyEvidence {
            silent_ms: Some(silent_ns / 1_000_000),
            ..AnomalyEvidence::default()
        },
    })
}

/// Round trips take too long.
fn inflated(look: &Look<'_>) -> Option<Sign> {
    let rtt = look.record.head.rtt;
    rtt.inflated(rtt.smoothed_us).then(|| Sign {
        code: AnomalyCode::RttInflated,
        side: None,
        since_ns: look.now,
        evidence: AnomalyEvidence {
            rtt_min_us: Some(rtt.min_us),
            rtt_smoothed_us: Some(rtt.smoothed_us),
            ..AnomalyEvidence::default()
        },
    })
}
