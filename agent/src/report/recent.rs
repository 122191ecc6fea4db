//! What happened lately: what verdicts on one session owe to others.

use std::ops::RangeInclusive;

use sstpulse_common::Address;

use super::{
    alike::{Alike, Times},
    lately::Lately,
    prefix::Prefix,
};
use crate::{
    diagnosis::Neighbours,
    event::{Previous, SessionId},
};

/// Clients that are remembered, and prefixes of clients: those that came last.
const MOST_CLIENTS: u32 = 65_536;

/// How far two ages, or two times of idleness, may be apart and still be the same, in
/// tenths of a second, to which they are compared.
const SAME: u64 = 20;
const TENTH_NS: u64 = 100_000_000;

/// Two clients of a prefix that come within this time are two.
const CROWDED_NS: u64 = 1_000_000_000;

/// For how long cut-off sessions of a prefix count together.
const CUT_OFF_NS: u64 = 600_000_000_000;

/// For how long sessions of the same age, or the same idleness, count together.
const LIKE_NS: u64 = 86_400_000_000_000;

/// What happened lately.
pub(super) struct Recent {
    /// When the server closed sessions without a word.
    died: Times,
    /// At what age the server said goodbye, in tenths of a second.
    ages: Alike<u64>,
    /// After what idleness it did, in tenths of a second.
    dismissed_idle: Alike<u64>,
    /// After what idleness sessions died or were reset, in tenths of a second.
    idles: Alike<u64>,
    /// Prefixes of clients that were cut off after their `ClientHello`.
    cut_off: Alike<Prefix>,
    clients: Lately<Address, Client>,
    prefixes: Lately<Prefix, Arrival>,
}

/// A session that the server says goodbye to, as another can be like it. In nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dismissed {
    /// How old it is.
    pub(super) age_ns: u64,
    /// How long it was idle before that, if that is worth comparing.
    pub(super) idle_ns: Option<u64>,
}

/// The last time that a client of a prefix opened a session.
#[derive(Clone, Copy, Debug, Default)]
struct Arrival {
    /// 0 before the first.
    at_ns: u64,
    from: Address,
    /// Another client of the prefix had come shortly before: who this one is can't be told.
    crowded: bool,
}

/// What is remembered of a client's address.
#[derive(Clone, Debug, Default)]
struct Client {
    /// When it last opened a session.
    came_ns: u64,
    /// Few have one.
    lost: Option<Box<Lost>>,
}

/// A session that a client lost.
#[derive(Clone, Debug)]
struct Lost {
    id: SessionId,
    heard_ns: u64,
    attempts: u32,
}

/// What there is to know of an ending, to compare it with others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Like {
    /// When the session was closed, or last heard of.
    pub(super) closed_ns: u64,
    /// How old it was, and how long it had been idle, as far as that is the server's doing.
    pub(super) dismissed: Dismissed,
    /// How long it had been idle before that.
    pub(super) idle_ns: Option<u64>,
    /// Who its client was.
    pub(super) client: Address,
    /// When its client was last heard of.
    pub(super) heard_ns: u64,
}

impl Default for Recent {
    fn default() -> Self {
        Self {
            died: Times::default(),
            ages: Alike::within(LIKE_NS),
            dismissed_idle: Alike::within(LIKE_NS),
            idles: Alike::within(LIKE_NS),
            cut_off: Alike::within(CUT_OFF_NS),
            clients: Lately::new(MOST_CLIENTS),
            prefixes: Lately::new(MOST_CLIENTS),
        }
    }
}

impl Recent {
    /// A server closed a session without a word.
    pub(super) fn died(&mut self, now: u64) {
        self.died.push(now);
    }

    /// A server said goodbye to a session.
    pub(super) fn dismissed(&mut self, now: u64, session: Dismissed) {
        self.ages.push(now, session.age_ns / TENTH_NS);
        if let Some(idle_ns) = session.idle_ns {
            self.dismissed_idle.push(now, idle_ns / TENTH_NS);
        }
    }

    /// A session died, or was reset, after an idleness.
    pub(super) fn idled(&mut self, now: u64, idle_ns: u64) {
        self.idles.push(now, idle_ns / TENTH_NS);
    }

    /// A session was cut off after its `ClientHello`.
    pub(super) fn cut_off(&mut self, now: u64, client: Address) {
        self.cut_off.push(now, Prefix::of(client));
    }

    /// How many sessions the server has ended at the same age, or after the same idleness:
    /// whichever are more.
    fn dismissed_alike(&mut self, now: u64, session: Dismissed) -> u32 {
        let aged = self.ages.count(now, same(session.age_ns));
        let idled = session
            .idle_ns
            .map_or(0, |idle_ns| self.dismissed_idle.count(now, same(idle_ns)));
        aged.max(idled)
    }

    /// How many sessions ended like this one, so far; itself included, if it is among them.
    pub(super) fn neighbours(&mut self, like: &Like, together_ns: u64) -> Neighbours {
        let Like {
            closed_ns,
            dismissed,
            idle_ns,
            client,
            heard_ns,
        } = *like;
        let prefix = Prefix::of(client);
        let came_ns = self.clients.get(&client).map(|client| client.came_ns);
        let roamed_ns = self
            .prefixes
            .get(&prefix)
            .filter(|arrival| arrival.from != client && !arrival.crowded)
            .map(|arrival| arrival.at_ns);
        Neighbours {
            died_together: self.died.around(closed_ns, together_ns),
            dismissed_alike: self.dismissed_alike(closed_ns, dismissed),
            same_idle: idle_ns.map_or(0, |idle_ns| self.idles.count(closed_ns, same(idle_ns))),
            cut_off_together: self.cut_off.count(closed_ns, prefix..=prefix),
            back_ns: [came_ns, roamed_ns]
                .into_iter()
                .flatten()
                .find(|came_ns| *came_ns > heard_ns),
        }
    }

    /// A client opened a session; tells what it had lost before, not longer ago than
    /// `roaming_ns`.
    pub(super) fn came(&mut self, client: Address, now: u64, roaming_ns: u64) -> Option<Previous> {
        let arrival = self.prefixes.come(Prefix::of(client));
        arrival.crowded = arrival.from != client
            && arrival.at_ns != 0
            && now.saturating_sub(arrival.at_ns) <= CROWDED_NS;
        (arrival.at_ns, arrival.from) = (now, client);
        let client = self.clients.come(client);
        client.came_ns = now;
        let lost = client.lost.as_mut()?;
        let away_ns = now.saturating_sub(lost.heard_ns);
        if away_ns > roaming_ns {
            client.lost = None;
            return None;
        }
        lost.attempts += 1;
        Some(Previous {
            id: lost.id,
            away_ms: away_ns / 1_000_000,
            attempt: lost.attempts,
        })
    }

    /// A client lost a session, and had last been heard of at `heard_ns`.
    pub(super) fn lost(&mut self, client: Address, id: SessionId, heard_ns: u64) {
        if let Some(client) = self.clients.get_mut(&client) {
            client.lost = Some(Box::new(Lost {
                id,
                heard_ns,
                attempts: 0,
            }));
        }
    }

    /// A client's session is up again: what it lost before is over.
    pub(super) fn is_back(&mut self, client: Address) {
        if let Some(client) = self.clients.get_mut(&client) {
            client.lost = None;
        }
    }
}

/// What is the same as this time, in tenths of a second.
const fn same(time_ns: u64) -> RangeInclusive<u64> {
    let tenths = time_ns / TENTH_NS;
    tenths.saturating_sub(SAME)..=tenths.saturating_add(SAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_dismissed_alike_at_the_same_age_or_after_the_same_idleness() {
        const SECOND_NS: u64 = 1_000_000_000;
        let session = |age: u64, idle: Option<u64>| Dismissed {
            age_ns: age * SECOND_NS,
            idle_ns: idle.map(|idle| idle * SECOND_NS),
        };
        for (one, other, alike) in [
            (session(3_600, None), session(3_602, None), 1),
            (session(3_600, None), session(3_603, None), 0),
            (session(3_600, Some(900)), session(7_000, Some(902)), 1),
            (session(3_600, Some(900)), session(7_000, Some(903)), 0),
            (session(3_600, Some(900)), session(7_000, None), 0),
            (session(3_600, Some(900)), session(3_601, Some(70)), 1),
        ] {
            for (earlier, later) in [(one, other), (other, one)] {
                let mut recent = Recent::default();
                recent.dismissed(SECOND_NS, earlier);
                let found = recent.dismissed_alike(2 * SECOND_NS, later);
                assert_eq!(found, alike, "{earlier:?}, {later:?}");
            }
        }
    }
}
