//! The scenarios: what happens, and what the verdicts must be.

mod clusters;
mod endings;
mod lookalikes;
mod path;
mod peers;
mod setup;

use std::{sync::LazyLock, time::Duration};

use anyhow::Result;
use lab::sstp::{Ending, Timeline, Traffic};

use crate::stage::Stage;

/// A way in which sessions end.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// What happens, in a few words.
    pub(crate) what: &'static str,
    /// The verdict of each session and attempt, and the clusters that begin, in any order.
    pub(crate) expected: &'static [Expected],
    pub(crate) play: fn(&Stage) -> Result<()>,
}

impl Scenario {
    /// How many sessions and attempts end.
    pub(crate) fn ends(&self) -> usize {
        let ends = self.expected.iter().filter(|expected| !expected.is_cluster);
        ends.count()
    }
}

/// A verdict or cluster that must come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected {
    pub(crate) code: &'static str,
    /// How sure it must be, or how large the cluster; anything otherwise.
    pub(crate) confidence: Option<&'static str>,
    pub(crate) is_cluster: bool,
}

/// This verdict, however sure.
const fn is(code: &'static str) -> Expected {
    Expected {
        code,
        confidence: None,
        is_cluster: false,
    }
}

/// This verdict, as sure as this.
const fn surely(code: &'static str, confidence: &'static str) -> Expected {
    Expected {
        code,
        confidence: Some(confidence),
        is_cluster: false,
    }
}

/// A cluster of so many, with this scope.
const fn cluster(code: &'static str, size: &'static str) -> Expected {
    Expected {
        code,
        confidence: Some(size),
        is_cluster: true,
    }
}

/// All of them.
pub(crate) static SCENARIOS: LazyLock<Vec<Scenario>> = LazyLock::new(|| {
    [
        endings::SCENARIOS,
        setup::SCENARIOS,
        peers::SCENARIOS,
        path::SCENARIOS,
        clusters::SCENARIOS,
        lookalikes::SCENARIOS,
    ]
    .concat()
});

impl Clone for Scenario {
    fn clone(&self) -> Self {
        Self { ..*self }
    }
}

const fn millis(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Small packets inside the tunnel, and answers to them.
const PINGS: Traffic = Traffic::Ping {
    every: millis(50),
    bytes: 100,
};

/// Large packets inside the tunnel, for the other end to throw away.
const BULK: Traffic = Traffic::Send {
    every: millis(20),
    datagrams: 2,
    bytes: 1_200,
};

/// Pings for a moment, and then this ending.
fn briefly(ending: Ending) -> Timeline {
    Timeline::carry(PINGS, millis(600), ending)
}
