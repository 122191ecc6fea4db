//! What the kernel knows of a process: the programs it holds, and the time it took.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use anyhow::{Context as _, Result};
use aya::programs::{ProgramInfo, loaded_programs};
use procfs::{CurrentSI as _, KernelStats};

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

/// What threads took of the CPUs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CpuTime {
    /// Time they ran.
    pub(crate) ran: Duration,
    /// Time they could have run, had there been a CPU for them.
    pub(crate) waited: Duration,
}

/// Of all threads of a process.
pub(crate) fn cpu_time(process: u32) -> Result<CpuTime> {
    let mut time = CpuTime::default();
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        let CpuTime { ran, waited } = time_of(&task?.path())?;
        time.ran += ran;
        time.waited += waited;
    }
    Ok(time)
}

/// Of this thread.
pub(crate) fn own_cpu_time() -> Result<CpuTime> {
    time_of(Path::new("/proc/thread-self"))
}

/// Time, since the machine began, that its CPUs could have run, and the hypervisor ran others.
pub(crate) fn stolen() -> Result<Duration> {
    let stats = KernelStats::current().context("can't read /proc/stat")?;
    let ticks = stats.total.steal.unwrap_or_default();
    Ok(Duration::from_millis(
        ticks * 1_000 / procfs::ticks_per_second(),
    ))
}

impl CpuTime {
    /// What was taken since then.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            ran: self.ran.saturating_sub(earlier.ran),
            waited: self.waited.saturating_sub(earlier.waited),
        }
    }
}

fn time_of(task: &Path) -> Result<CpuTime> {
    let path = task.join("schedstat");
    let text =
        fs::read_to_string(&path).with_context(|| format!("can't read {}", path.display()))?;
    let mut words = text.split_whitespace();
    let mut next = || {
        let word = words.next().context("no time")?;
        anyhow::Ok(Duration::from_nanos(word.parse()?))
    };
    Ok(CpuTime {
        ran: next()?,
        waited: next()?,
    })
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
