//! `cargo xtask bench`: what sstpulse costs, beside what it may cost.

use clap::Args;

use crate::{
    programs,
    run::{cargo, command, run, target},
    setup::setup,
};

/// What is measured, and how.
#[derive(Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Arguments {
    /// Names of sections; `--help` shows them, and the rest
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Builds everything as it is released, and measures it.
pub(crate) fn bench(arguments: &Arguments) -> anyhow::Result<()> {
    setup()?;
    programs::install(
        &[("iperf3", "iperf3"), ("tcpdump", "tcpdump")],
        "to measure throughput",
    )?;
    run(cargo()
        .args(["build", "--quiet", "--release"])
        .args(["--package", "sstpulse", "--package", "sstpulse-tests"])
        .args(["--bin", "sstpulse", "--bin", "bench"]))?;
    run(command(&target("release/bench").to_string_lossy()).args(&arguments.arguments))
}
