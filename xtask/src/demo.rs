//! `cargo xtask demo`: sstpulse at work.

use clap::Args;

use crate::{
    run::{cargo, command, run, target},
    setup::setup,
};

/// Arguments of the demo.
#[derive(Args)]
pub(crate) struct Arguments {
    /// How long the sessions go on
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u64).range(15..=600))]
    seconds: u64,
    /// Leave the lab up at the end until Ctrl-C, and say how to enter it
    #[arg(long)]
    keep: bool,
}

/// Builds everything, and runs the demo.
pub(crate) fn demo(arguments: &Arguments) -> anyhow::Result<()> {
    setup()?;
    run(cargo().args([
        "build",
        "--package",
        "sstpulse",
        "--package",
        "sstpulse-tests",
    ]))?;
    let mut demo = command(&target("debug/demo").to_string_lossy());
    demo.arg("--seconds").arg(arguments.seconds.to_string());
    if arguments.keep {
        demo.arg("--keep");
    }
    run(&mut demo)
}
