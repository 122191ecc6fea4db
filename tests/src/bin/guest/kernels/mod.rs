//! Tries everything that depends on the kernel.

mod devices;
mod hooks;
mod killed;
mod lossy;
mod report;

use std::{process::Command, time::Duration};

use anyhow::{Result, ensure};
use lab::{
    agent::binary,
    rows::{Ran, run_in_kernel},
    verifier,
};

use self::report::{Report, Verified};
use crate::Steps;

/// Takes all steps, and reports.
pub(crate) fn try_all(steps: &mut Steps) -> Result<()> {
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
    steps.tell(&serde_json::to_string(&report)?)?;
    Ok(())
}

/// The agent finds this kernel fit.
fn check() -> Result<String> {
    let output = Command::new(binary("sstpulse")?)
        .args(["--log", "debug", "check", "--interface", "lo"])
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let log = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{text}\n{}", last_lines(&log, 60));
    Ok("fit".into())
}

/// The last lines of a text: of what the verifier says, those that tell why.
fn last_lines(text: &str, count: usize) -> &str {
    let start = text.rmatch_indices('\n').nth(count);
    start.map_or(text, |(start, _)| &text[start + 1..])
}

fn verify(report: &mut Report) -> Result<String> {
    let verified = verifier::measure()?;
    let most = verified.iter().map(|program| program.instructions).max();
    report.verifier = verified.into_iter().map(Verified::from).collect();
    Ok(format!("at most {} instructions", most.unwrap_or_default()))
}

/// The segment table, through the programs in this kernel.
fn segments() -> Result<String> {
    // The rings are read with it.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let within = runtime.enter();
    let Ran { rows, left_out } = run_in_kernel()?;
    drop(within);
    Ok(format!(
        "{rows} rows as the native tracker has them, {left_out} left out that this kernel can't play"
    ))
}

/// Whole milliseconds, for the report.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
