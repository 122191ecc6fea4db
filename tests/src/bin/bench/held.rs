//! The programs that a process holds, as the kernel knows them.

use std::{collections::BTreeSet, fs};

use anyhow::{Context as _, Result};
use aya::programs::{ProgramInfo, loaded_programs};

/// The programs of these names that a process has open.
pub(crate) fn programs(process: u32, names: [&str; 2]) -> Result<[ProgramInfo; 2]> {
    let held = program_numbers(process)?;
    let find = |name: &str| {
        loaded_programs()
            .filter_map(Result::ok)
            .find(|program| held.contains(&program.id()) && program.name() == name.as_bytes())
            .with_context(|| format!("process {process} holds no program {name}"))
    };
    Ok([find(names[0])?, find(names[1])?])
}

/// The numbers of all programs that a process has open.
fn program_numbers(process: u32) -> Result<BTreeSet<u32>> {
    let mut numbers = BTreeSet::new();
    for entry in fs::read_dir(format!("/proc/{process}/fdinfo"))? {
        // It may be closed by now.
        let Ok(text) = fs::read_to_string(entry?.path()) else {
            continue;
        };
        let number = text.lines().find_map(|line| line.strip_prefix("prog_id:"));
        numbers.extend(number.and_then(|number| number.trim().parse::<u32>().ok()));
    }
    Ok(numbers)
}
