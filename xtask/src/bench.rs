//! `cargo xtask bench`: what sstpulse costs, beside what it may cost.

use std::path::PathBuf;

use clap::Args;

use crate::{
    dist, programs,
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

/// Builds the agent as it is released and what measures it, and has it measured.
pub(crate) fn bench(arguments: &Arguments) -> anyhow::Result<()> {
    setup()?;
    programs::install(
        &[("iperf3", "iperf3"), ("tcpdump", "tcpdump")],
        "to measure throughput",
    )?;
    run(cargo().args(["build", "--quiet", "--release"]).args([
        "--package",
        "sstpulse-tests",
        "--bin",
        "bench",
    ]))?;
    let agent = dist::build("sstpulse", "sstpulse")?;
    let programs = programs_to_compare()?;
    run(command(&target("release/bench").to_string_lossy())
        .env("SSTPULSE_BINARY", agent)
        .arg("--programs")
        .arg(programs)
        .args(&arguments.arguments))
}

/// Builds the object with the programs that ours are measured beside.
fn programs_to_compare() -> anyhow::Result<PathBuf> {
    const TARGET: &str = "bpfel-unknown-none";
    const NAME: &str = "bench";

    // Where the agent's build has put the other object, and the core library.
    let folder = target("ebpf");
    run(cargo()
        .args([
            "build",
            "--quiet",
            "--release",
            "--package",
            "sstpulse-ebpf",
        ])
        .args(["--bin", NAME, "--features", NAME])
        .args(["--target", TARGET, "-Z", "build-std=core", "--target-dir"])
        .arg(&folder)
        .env("RUSTC_BOOTSTRAP", "1"))?;
    Ok(folder.join(TARGET).join("release").join(NAME))
}
