//! `cargo xtask accuracy`: how counts compare with tshark's.

use crate::{
    run::{cargo, command, run, target},
    setup::setup,
};

/// Prints the table.
pub(crate) fn accuracy() -> anyhow::Result<()> {
    setup()?;
    run(cargo().args(["build", "--quiet", "--package", "sstpulse-tests", "--bins"]))?;
    run(&mut command(&target("debug/accuracy").to_string_lossy()))
}
