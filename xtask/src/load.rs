//! `cargo xtask load`: many SSTP sessions to a server.

use clap::Args;

use crate::{
    run::{cargo, command, run, target},
    setup::setup,
};

/// Arguments of `load`.
#[derive(Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Arguments {
    /// What the load is to be: `--help` shows it
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Builds what makes the load, and runs it.
pub(crate) fn load(arguments: &Arguments) -> anyhow::Result<()> {
    setup()?;
    run(cargo().args([
        "build",
        "--quiet",
        "--package",
        "sstpulse-tests",
        "--bin",
        "load",
    ]))?;
    run(command(&target("debug/load").to_string_lossy()).args(&arguments.arguments))
}
