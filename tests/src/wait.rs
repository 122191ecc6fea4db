//! Waiting for a condition that nothing signals, such as a counter inside the kernel.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Time between two looks.
const PERIOD: Duration = Duration::from_millis(2);

/// Looks again and again until `condition` holds; an error that names `what` after `timeout`.
pub fn wait_until(
    timeout: Duration,
    what: &str,
    mut condition: impl FnMut() -> bool,
) -> Result<()> {
    let deadline = Instant::now() + timeout;
    while !condition() {
        if Instant::now() >= deadline {
            bail!("{what}: not within {timeout:?}");
        }
        thread::sleep(PERIOD);
    }
    Ok(())
}
