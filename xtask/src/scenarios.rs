//! `cargo xtask scenarios`: every way in which a session ends, and its verdict.

use clap::Args;

use crate::{
    programs,
    run::{build_all, command, run, target},
    setup::setup,
};

/// Which scenarios, and how.
#[derive(Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Arguments {
    /// Names of scenarios, or parts of them; `--help` shows the rest
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Plays the scenarios, live and again from captures.
pub(crate) fn scenarios(arguments: &Arguments) -> anyhow::Result<()> {
    setup()?;
    programs::install(&[("tcpdump", "tcpdump")], "to record the scenarios")?;
    run(build_all().arg("--quiet"))?;
    eprintln!("xtask: playing scenarios in the lab; all of them take about two minutes, and root");
    let scenarios = target("debug/scenarios");
    run(command(&scenarios.to_string_lossy()).args(&arguments.arguments))
}
