//! An agent that was killed, and what `sstpulse detach` leaves of it.

use anyhow::{Result, ensure};
use lab::{Agent, Lab, SERVER_INTERFACE, agent::execute};

use super::hooks::nothing_left;

/// Kills the agent with SIGKILL, and takes down what is left.
pub(super) fn leaves_nothing() -> Result<String> {
    let lab = Lab::new()?;
    for hook in ["auto", "clsact"] {
        Agent::start(
            &lab.server,
            &["--interface", SERVER_INTERFACE, "--hook", hook],
        )?
        .kill()?;
        let detached = execute(&lab.server, &["detach"])?;
        ensure!(detached.status.success(), "{}", detached.stderr);
        nothing_left(&lab.server, SERVER_INTERFACE)?;
    }
    Ok("nothing left once detached".into())
}
