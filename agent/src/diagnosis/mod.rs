//! Why did it end? From the facts of a session to a verdict.
//!
//! [`judge`] is a pure function of [`Facts`] and [`Thresholds`]: the rules are a table
//! ([`rules::RULES`]), in order of precedence, which `docs/verdicts.md` explains. Who gathers
//! the facts, live or from a capture, is no concern of this module.

mod advice;
mod facts;
mod health;
mod limits;
mod rules;
mod said;
mod thresholds;

pub use advice::advice;
pub(crate) use facts::percent;
pub use facts::{Facts, HostFacts, Neighbours, Quiet, Reset, Timeouts};
pub use health::{Interval, health};
pub use limits::ClusterLimits;
pub use rules::{RULES, Rule, Word, ended_by_server, judge, judge_attempt, judge_ongoing};
pub use said::{Parting, Said, Sayings};
pub use thresholds::Thresholds;
