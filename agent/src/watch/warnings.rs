//! What the log warns of while the agent runs, each thing once as long as it lasts.

use crate::{counted::counted, event::Totals, output::Output};

/// Segments without a session that are no chance.
const MANY: u64 = 100;

/// What the log has warned of.
#[derive(Default)]
pub(super) struct Warnings {
    /// Segments of connections that found no room.
    without_room: u64,
    /// Only one direction may pass here.
    half_blind: bool,
    /// What the output had taken at the last look, if more waited then.
    taken: Option<u64>,
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
        let (taken, waiting) = (output.taken(), output.waiting());
        let before = self.taken.replace(taken);
        if waiting == 0 {
            self.taken = None;
        }
        if before == Some(taken) && !self.stuck {
            self.stuck = true;
            tracing::warn!(
                "the output takes no lines, and {} wait; see whether it is read. What it has no \
                 room for in the end is counted as lines_dropped",
                counted(waiting as u64, "byte")
            );
        } else if before != Some(taken) && self.stuck {
            self.stuck = false;
            tracing::info!("the output takes lines again");
        }
    }
}
