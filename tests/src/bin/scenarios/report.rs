//! What came of it: a line for each scenario, and the confusion matrix.

use std::{collections::BTreeMap, process::ExitCode, time::Duration};

use anyhow::Result;
use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};

use crate::{
    stage::Said,
    table::{Expected, Scenario},
};

/// A scenario that was played.
pub(crate) struct Played {
    pub(crate) scenario: &'static Scenario,
    /// Live, and of the capture.
    pub(crate) said: Result<(Said, Said)>,
    pub(crate) took: Duration,
}

impl Played {
    fn is_right(&self) -> bool {
        self.said.as_ref().is_ok_and(|(live, replayed)| {
            matches(self.scenario.expected, live) && matches(self.scenario.expected, replayed)
        })
    }

    /// For those who wait.
    pub(crate) fn one_line(&self) -> String {
        let Scenario { name, .. } = self.scenario;
        let seconds = self.took.as_secs_f32();
        match &self.said {
            Err(error) => format!("FAILED {name} ({seconds:.1} s): {error:#}"),
            Ok((live, replayed)) => {
                let right = if self.is_right() { "ok    " } else { "WRONG " };
                let (live, replayed) = (list(live), list(replayed));
                format!("{right} {name} ({seconds:.1} s): {live}; replayed: {replayed}")
            }
        }
    }
}

/// Whether the verdicts are the expected ones, in any order.
fn matches(expected: &[Expected], said: &Said) -> bool {
    let mut left: Vec<_> = expected.iter().collect();
    let verdicts = said.verdicts();
    let all = verdicts.iter().all(|(code, confidence)| {
        let found = left.iter().position(|expected| {
            expected.code == code && expected.confidence.is_none_or(|it| it == confidence)
        });
        found.map(|at| left.remove(at)).is_some()
    });
    all && left.is_empty()
}

fn list(said: &Said) -> String {
    let verdicts = said.verdicts();
    if verdicts.is_empty() {
        return "nothing".to_owned();
    }
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for (code, confidence) in verdicts {
        *counts.entry(format!("{code} ({confidence})")).or_default() += 1;
    }
    counts
        .into_iter()
        .map(|(verdict, count)| match count {
            1 => verdict,
            count => format!("{count} × {verdict}"),
        })
        .collect::<Vec<_>>()
        .join(", ")
}

/// Prints the table and the matrix; fails unless all is right.
pub(crate) fn print(played: &[Played], evidence: bool) -> ExitCode {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header(["scenario", "what happens", "live", "replayed", ""]);
    for one in played {
        let (live, replayed) = match &one.said {
            Ok((live, replayed)) => (list(live), list(replayed)),
            Err(error) => (format!("{error:#}"), String::new()),
        };
        let mark = if one.is_right() { "ok" } else { "WRONG" };
        table.add_row([one.scenario.name, one.scenario.what, &live, &replayed, mark]);
    }
    println!("{table}");
    if evidence {
        print_evidence(played);
    }
    print_matrix(played);
    let wrong = played.iter().filter(|one| !one.is_right()).count();
    println!("{} scenarios, {wrong} wrong", played.len());
    if wrong == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn print_evidence(played: &[Played]) {
    for one in played {
        let Ok((live, replayed)) = &one.said else {
            continue;
        };
        for (how, said) in [("live", live), ("replayed", replayed)] {
            for end in &said.ends {
                println!(
                    "{} {how}: {:?} {:?}",
                    one.scenario.name, end.end, end.verdict
                );
            }
            for line in &said.anomalies {
                println!("{} {how}: {:?}", one.scenario.name, line.anomaly);
            }
            for line in &said.clusters {
                println!("{} {how}: {:?}", one.scenario.name, line.cluster);
            }
        }
    }
}

/// How often what was expected was said, and what was said instead.
fn print_matrix(played: &[Played]) {
    let mut cells: BTreeMap<(&str, String), [usize; 2]> = BTreeMap::new();
    for one in played {
        let Ok((live, replayed)) = &one.said else {
            continue;
        };
        for (which, said) in [live, replayed].into_iter().enumerate() {
            for (expected, found) in paired(one.scenario.expected, said) {
                cells.entry((expected, found)).or_default()[which] += 1;
            }
        }
    }
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header(["expected", "verdict", "live", "replayed", ""]);
    for ((expected, found), [live, replayed]) in cells {
        let mark = if expected == found { "" } else { "WRONG" };
        table.add_row([
            expected,
            &found,
            &live.to_string(),
            &replayed.to_string(),
            mark,
        ]);
    }
    println!("{table}");
}

/// Each expected verdict with the one that was found for it: its like, or else another.
fn paired(expected: &[Expected], said: &Said) -> Vec<(&'static str, String)> {
    let mut found: Vec<_> = said.verdicts().into_iter().map(|(code, _)| code).collect();
    let mut pairs = Vec::new();
    let mut missed = Vec::new();
    for one in expected {
        match found.iter().position(|code| code == one.code) {
            Some(at) => pairs.push((one.code, found.remove(at))),
            None => missed.push(one.code),
        }
    }
    for code in missed {
        let instead = found.pop().unwrap_or_else(|| "nothing".to_owned());
        pairs.push((code, instead));
    }
    pairs.extend(found.into_iter().map(|code| ("nothing", code)));
    pairs
}
