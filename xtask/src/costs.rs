//! `cargo xtask costs`: instructions, and whether there are more of them than there were.

use clap::Args;

use crate::{
    programs,
    run::{cargo, command, root, run, target},
    setup::setup,
};

/// Arguments of `costs`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Keep what is counted, for later runs to compare with
    #[arg(long)]
    write: bool,
}

/// Counts instructions, and compares with what they were.
pub(crate) fn costs(arguments: &Arguments) -> anyhow::Result<()> {
    setup()?;
    programs::install(&[("valgrind", "valgrind")], "to count instructions")?;
    run(cargo().args(["build", "--quiet", "--locked"]))?;
    let mut counting = command(&target("debug/costs").to_string_lossy());
    counting.arg("--sstpulse").arg(target("debug/sstpulse"));
    counting
        .arg("--baseline")
        .arg(root().join("tests/costs.json"));
    if arguments.write {
        counting.arg("--write");
    }
    run(&mut counting)
}
