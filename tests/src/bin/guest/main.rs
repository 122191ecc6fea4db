//! First process of the virtual machines in which `cargo xtask vm` tries kernels.
//!
//! It brings the machine up, tries everything, and reports on the second serial port: a line
//! per step for people, and a last one of JSON for the command. Then the machine is off.

mod devices;
mod hooks;
mod killed;
mod lossy;
mod machine;
mod report;

use std::{
    fs::File,
    io::Write as _,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use lab::{
    agent::binary,
    rows::{Ran, run_in_kernel},
    verifier,
};

use report::{Report, Verified};

/// Where the command on the host reads the report.
const REPORT: &str = "/dev/ttyS1";

fn main() {
    if let Err(error) = machine::bring_up().and_then(|()| report()) {
        eprintln!("the machine can't do its work: {error:#}");
    }
    machine::power_off();
}

fn report() -> Result<()> {
    let mut steps = Steps {
        out: File::options()
            .write(true)
            .open(REPORT)
            .with_context(|| format!("cannot open {REPORT}"))?,
        failed: 0,
    };
    let mut report = Report {
        release: sstpulse::host::kernel_release()?,
        ..Report::default()
    };
    steps.take("check", check)?;
    steps.take("verifier", || verify(&mut report))?;
    steps.take("attach and detach", || hooks::try_all(&mut report))?;
    steps.take("segments", segments)?;
    steps.take("lossy session", lossy::session)?;
    steps.take("killed agent", killed::leaves_nothing)?;
    steps.take("devices", devices::carry_sessions)?;
    report.failed = steps.failed;
    writeln!(steps.out, "{}", serde_json::to_string(&report)?)?;
    Ok(())
}

/// Takes one step after the other, and tells of each.
struct Steps {
    out: File,
    failed: u32,
}

impl Steps {
    /// Takes a step, which returns what is worth telling.
    fn take(&mut self, name: &str, step: impl FnOnce() -> Result<String>) -> Result<()> {
        let began = Instant::now();
        let told = match step() {
            Ok(told) => told,
            Err(error) => {
                self.failed += 1;
                format!("FAILED: {error:#}")
            }
        };
        let seconds = began.elapsed().as_secs_f64();
        writeln!(self.out, "{name} ({seconds:.1} s): {told}")?;
        Ok(())
    }
}

/// The agent finds this kernel fit.
fn check() -> Result<String> {
    let output = Command::new(binary("sstpulse")?)
        .args(["check", "--interface", "lo"])
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{text}");
    Ok("fit".into())
}

fn verify(report: &mut Report) -> Result<String> {
    let verified = verifier::measure()?;
    let most = verified.iter().map(|program| program.instructions).max();
    report.verifier = verified.into_iter().map(Verified::from).collect();
    Ok(format!("at most {} instructions", most.unwrap_or_default()))
}

/// The segment table, through the programs in this kernel.
fn segments() -> Result<String> {
    let Ran { rows, left_out } = run_in_kernel()?;
    let mut told = format!("{rows} rows as the native tracker has them");
    if left_out > 0 {
        told += &format!("; {left_out} that this kernel can't play left out");
    }
    Ok(told)
}

/// Whole milliseconds, for the report.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
