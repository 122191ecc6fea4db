//! `cargo xtask corpus`: the captures that counts are checked on, made anew.

use clap::Args;

use crate::{
    oracle, programs,
    run::{cargo, command, root, run, target},
    setup::setup,
};

/// Arguments of `corpus`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Only captures whose names contain one of these
    only: Vec<String>,
}

/// Makes the captures, and asks tshark about them.
pub(crate) fn corpus(arguments: &Arguments) -> anyhow::Result<()> {
    setup()?;
    programs::install(&[("tcpdump", "tcpdump")], "to record the corpus")?;
    run(cargo().args(["build", "--package", "sstpulse-tests", "--bins"]))?;
    run(command(&target("debug/corpus").to_string_lossy())
        .arg(root().join(oracle::CAPTURES))
        .args(&arguments.only))?;
    oracle::oracle(&oracle::Arguments { check: false })
}
