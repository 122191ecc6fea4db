//! What all sessions together sent in the last minutes, and how long round trips took.

use sstpulse_common::Side;

use crate::{diagnosis::percent, event::Counters};

/// Minutes that are looked at.
const MINUTES: usize = 5;

/// Fewer segments than this say nothing.
const LEAST_SEGMENTS: u64 = 1_000;

/// What all sessions together sent.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    minutes: [Minute; MINUTES],
    present: u64,
    /// Sessions that sent something since the last look.
    sessions: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Minute {
    /// By side.
    segments: [u64; 2],
    retransmits: [u64; 2],
    /// Sums of smoothed round-trip times, and how many they are.
    rtt_us: u64,
    samples: u64,
    /// The most at one look.
    sessions: u32,
}

/// What the last minutes brought.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sent {
    pub(super) sessions: u32,
    /// Segments sent again by the side that did so more, of hundred; `None` of too few.
    pub(super) retransmits_percent: Option<f32>,
    /// The average round-trip time.
    pub(super) rtt_us: Option<u64>,
}

impl Traffic {
    /// What an interval brought of a session.
    pub(super) fn add(&mut self, from_client: &Counters, from_server: &Counters, rtt_us: u32) {
        self.sessions += 1;
        let minute = &mut self.minutes[slot(self.present)];
        for (side, counters) in [(Side::Client, from_client), (Side::Server, from_server)] {
            minute.segments[side as usize] += counters.segments;
            minute.retransmits[side as usize] += u64::from(counters.retransmits);
        }
        // 0 is unknown.
        if rtt_us > 0 {
            minute.rtt_us += u64::from(rtt_us);
            minute.samples += 1;
        }
    }

    /// The interval is over, and it is this minute now.
    pub(super) fn pass(&mut self, minute: u64) {
        let present = &mut self.minutes[slot(self.present)];
        present.sessions = present.sessions.max(std::mem::take(&mut self.sessions));
        for _ in 0..minute.saturating_sub(self.present).min(MINUTES as u64) {
            self.present += 1;
            self.minutes[slot(self.present)] = Minute::default();
        }
        self.present = minute;
    }

    pub(super) fn sent(&self) -> Sent {
        let sum = |what: fn(&Minute) -> u64| self.minutes.iter().map(what).sum::<u64>();
        let sides = [
            (sum(|it| it.retransmits[0]), sum(|it| it.segments[0])),
            (sum(|it| it.retransmits[1]), sum(|it| it.segments[1])),
        ];
        Sent {
            sessions: self.minutes.iter().map(|it| it.sessions).max().unwrap_or(0),
            retransmits_percent: sides
                .into_iter()
                .filter(|(_, segments)| *segments >= LEAST_SEGMENTS)
                .map(|(retransmits, segments)| percent(retransmits, segments))
                .max_by(f32::total_cmp),
            rtt_us: sum(|it| it.rtt_us).checked_div(sum(|it| it.samples)),
        }
    }
}

/// Where a minute is counted.
const fn slot(minute: u64) -> usize {
    #[expect(clippy::cast_possible_truncation, reason = "there are five")]
    let slot = (minute % MINUTES as u64) as usize;
    slot
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(segments: u64, retransmits: u32) -> Counters {
        Counters {
            segments,
            retransmits,
            ..Counters::default()
        }
    }

    #[test]
    fn the_worse_side_counts_and_five_minutes() {
        let mut traffic = Traffic::default();
        let nothing = Sent {
            sessions: 0,
            retransmits_percent: None,
            rtt_us: None,
        };
        assert_eq!(traffic.sent(), nothing);
        traffic.add(&sent(1_000, 10), &sent(1_000, 60), 100);
        traffic.add(&sent(1_000, 10), &sent(1_000, 40), 0);
        traffic.pass(0);
        traffic.add(&sent(10, 10), &sent(0, 0), 300);
        traffic.pass(4);
        let bad = Sent {
            sessions: 2,
            retransmits_percent: Some(5.0),
            rtt_us: Some(200),
        };
        assert_eq!(traffic.sent(), bad);
        traffic.pass(5);
        assert_eq!(traffic.sent(), nothing);
    }

    #[test]
    fn few_segments_say_nothing() {
        let mut traffic = Traffic::default();
        traffic.add(&sent(999, 999), &sent(1_000, 0), 1);
        traffic.pass(0);
        assert_eq!(traffic.sent().retransmits_percent, Some(0.0));
    }
}
