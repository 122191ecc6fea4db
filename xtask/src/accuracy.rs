//! `cargo xtask accuracy`: how counts compare with tshark's, and with the kernel's own.

use crate::{
    run::{cargo, command, run, target},
    setup::setup,
};

/// The test that counts live flows beside both sockets and the path between.
const LIVE: &str = "tcp_info::";

/// Prints the table of captures, and then that of live flows.
pub(crate) fn accuracy() -> anyhow::Result<()> {
    setup()?;
    run(cargo().args(["build", "--quiet"]))?;
    run(&mut command(&target("debug/accuracy").to_string_lossy()))?;
    eprintln!("xtask: sending flows through the lab; takes about a minute, and root");
    run(cargo()
        .args(["test", "--quiet", "--package", "sstpulse-tests"])
        .args(["--test", "agent", LIVE, "--", "--nocapture"]))
}
