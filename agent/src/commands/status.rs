//! `sstpulse status`: what is attached now, with its counters.

use comfy_table::{Table, presets::UTF8_HORIZONTAL_ONLY};
use serde::Serialize;
use sstpulse_common::counters::Counter;

use super::print;
use crate::{
    cli::StatusArgs,
    failure::Failure,
    host,
    instance::{self, Owner},
    interface,
    kernel::{Attached, Hook, attached},
};

/// One attached program.
#[derive(Serialize)]
struct Row {
    interface: String,
    direction: &'static str,
    hook: Hook,
    program: String,
    program_id: u32,
    /// The agent that watches the interface, in words.
    #[serde(skip)]
    agent: Option<String>,
    /// The same by number; null if it was killed, or runs in another PID namespace.
    agent_pid: Option<i32>,
    /// Slots of its session table.
    capacity: Option<u32>,
    /// Counted by the programs of this agent, on all its interfaces.
    counters: Option<CounterRow>,
}

#[derive(Serialize)]
struct CounterRow {
    sessions_started: u64,
    table_full_segments: u64,
    notices_lost: u64,
    out_of_window: u64,
    malformed: u64,
    fragments: u64,
}

/// Shows what is attached.
pub(super) async fn status(arguments: &StatusArgs) -> Result<(), Failure> {
    host::require_insight().map_err(Failure::host)?;
    let mut rows = Vec::new();
    let interfaces = interface::all().await?;
    for name in instance::watched()? {
        let is_gone = interfaces.iter().all(|interface| interface.name != name);
        if is_gone && let Some(owner) = instance::owner(&name)? {
            eprintln!("{owner} waits for {name}, which is gone, to come back");
        }
    }
    for interface in interfaces {
        let owner = instance::owner(&interface.name)?;
        let found = attached(&interface).await?;
        rows.extend(
            found
                .into_iter()
                .map(|program| Row::new(program, owner.as_ref())),
        );
    }
    if arguments.json {
        return print(format!("{}\n", serde_json::to_string_pretty(&rows)?).as_bytes());
    }
    if rows.is_empty() {
        return print(b"nothing of sstpulse is attached in this network namespace\n");
    }
    print(format!("{}\n", table(&rows)).as_bytes())
}

impl Row {
    fn new(attached: Attached, owner: Option<&Owner>) -> Self {
        Self {
            interface: attached.interface.name,
            direction: attached.direction,
            hook: attached.hook,
            program: attached.name,
            program_id: attached.program_id,
            agent: owner.map(Owner::to_string),
            agent_pid: owner.and_then(|owner| owner.pid),
            capacity: attached.capacity,
            counters: attached.counters.map(|counters| CounterRow {
                sessions_started: counters.get(Counter::SessionsFromHandshake)
                    + counters.get(Counter::SessionsMidstream),
                table_full_segments: counters.get(Counter::TableFull),
                notices_lost: counters.get(Counter::NoticesLost),
                out_of_window: counters.get(Counter::OutOfWindow),
                malformed: counters.get(Counter::Malformed),
                fragments: counters.get(Counter::Fragments),
            }),
        }
    }
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY).set_header([
        "interface",
        "direction",
        "hook",
        "program",
        "agent",
        "sessions begun",
        "table full",
        "notices lost",
        "out of window",
    ]);
    for row in rows {
        let counter = |get: fn(&CounterRow) -> u64| {
            row.counters
                .as_ref()
                .map_or_else(|| "?".into(), |counters| get(counters).to_string())
        };
        table.add_row([
            row.interface.clone(),
            row.direction.into(),
            row.hook.to_string(),
            format!("{} (id {})", row.program, row.program_id),
            match (&row.agent, row.hook) {
                (Some(agent), _) => agent.clone(),
                (None, Hook::Tcx) => "runs, not found".into(),
                (None, Hook::Clsact) => "killed".into(),
            },
            counter(|counters| counters.sessions_started),
            counter(|counters| counters.table_full_segments),
            counter(|counters| counters.notices_lost),
            counter(|counters| counters.out_of_window),
        ]);
    }
    table
}
