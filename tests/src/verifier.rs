//! How much of the verifier's limits the programs use, and may use.
//!
//! The kernel gives up at 1,000,000 instructions over all paths, and at 512 bytes of stack in a
//! chain of calls. What a program takes differs between kernels; the limits here hold on all
//! that are tried, and are close, so that growth is noticed.

use std::{collections::BTreeSet, num::NonZeroU32};

use anyhow::{Result, ensure};
use sstpulse::kernel::{Limits, Verified, verify};

/// Instructions that the verifier may look at in one program, over all paths.
const MOST_INSTRUCTIONS: u32 = 300_000;

/// Stack of one program and all its functions, in bytes. Those that do not call one another are
/// counted in, so this is more than any chain of calls takes.
const MOST_STACK: u32 = 1_050;

/// Has the kernel verify the programs, and fails if one takes more than it may.
pub fn measure() -> Result<Vec<Verified>> {
    let limits = Limits {
        sessions: NonZeroU32::MIN,
        half_open: NonZeroU32::MIN,
    };
    let verified = verify(&BTreeSet::from([443]), limits)?;
    for one in &verified {
        let Verified {
            program,
            instructions,
            stack,
        } = one;
        let stack: u32 = stack.iter().sum();
        ensure!(
            *instructions <= MOST_INSTRUCTIONS,
            "the verifier looks at {instructions} instructions of {program}; the limit here is \
             {MOST_INSTRUCTIONS}"
        );
        ensure!(
            stack <= MOST_STACK,
            "{program} and its functions take {stack} bytes of stack; the limit here is \
             {MOST_STACK}"
        );
    }
    Ok(verified)
}
