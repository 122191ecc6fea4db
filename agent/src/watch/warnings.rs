//! What the log warns of while the agent runs.

use crate::{clock::monotonic_ns, counted::counted, event::Totals, output::Output};

/// Segments without a session that are no chance.
const MANY: u64 = 100;

/// How long an output may take nothing until that is worth a word.
const PATIENCE_NS: u64 = 5_000_000_000;

/// What the log has warned of.
#[derive(Default)]
pub(super) struct Warnings {
    /// Segments of connections that found no room.
    without_room: u64,
    /// Only one direction may pass here.
    half_blind: bool,
    /// What the output has taken while more waits, and since when it has taken no more.
    taken: Option<(u64, u64)>,
    /// The output takes nothing.
    stuck: bool,
}

impl Warnings {
    /// Warns of what an interval has brought, if there is anything to warn of.
    pub(super) fn tell(&mut self, totals: &Totals, output: &Output) {
        self.without_room(totals.lost.table_full_segments);
        self.half_blind(totals);
        self.stuck(output);
    }

    fn without_room(&mut self, segments: u64) {
        if segments > self.without_room {
            tracing::warn!(
                "the session table is full: {} more segments were of connections it has no room \
                 for; raise --max-sessions",
                segments - self.without_room
            );
            self.without_room = segments;
        }
    }

    fn half_blind(&mut self, totals: &Totals) {
        let unseen = totals.passed_over.no_session;
        if totals.sessions.started == 0 && unseen >= MANY && !self.half_blind {
            self.half_blind = true;
            tracing::warn!(
                "{unseen} segments came of connections that the server is not seen to answer; if \
                 what it sends leaves by another interface, name that one as well"
            );
        }
    }

    fn stuck(&mut self, output: &Output) {
        let (waiting, taken, now) = (output.waiting(), output.taken(), monotonic_ns());
        if waiting == 0 {
            self.taken = None;
        } else if self.taken.is_none_or(|(before, _)| before != taken) {
            self.taken = Some((taken, now));
        }
        let since_ns = self.taken.map_or(now, |(_, since_ns)| since_ns);
        let was_stuck = self.stuck;
        self.stuck = since_ns < now && (was_stuck || now - since_ns >= PATIENCE_NS);
        if self.stuck && !was_stuck {
            tracing::warn!(
                "the output takes no lines, and {} wait; see whether it is read. What it has no \
                 room for in the end is counted as lines_dropped",
                counted(waiting as u64, "byte")
            );
        } else if was_stuck && !self.stuck {
            tracing::info!("the output takes lines again");
        }
    }
}
