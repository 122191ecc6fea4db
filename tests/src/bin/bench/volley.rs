//! A script that is played in many flows at once: the driver in the kernel makes each of its
//! packets for all of them, in one system call.

use std::{ops::Range, path::Path};

use anyhow::Result;
use aya::programs::ProgramFd;
use sstpulse_common::Side;

use crate::{
    driver::{Driver, Told, drive},
    traffic::Step,
};

/// What plays packets to an agent that runs.
pub(crate) struct Volley {
    driver: Driver,
}

impl Volley {
    /// To these programs: the one that sees what clients send, and the other. The bench object
    /// is in the file `object`.
    pub(crate) fn new(object: &Path, programs: &[ProgramFd; 2]) -> Result<Self> {
        let mut driver = Driver::new(object, 1)?;
        for (side, program) in [Side::Client, Side::Server].into_iter().zip(programs) {
            driver.hand_to(side, program)?;
        }
        Ok(Self { driver })
    }

    /// Plays each step in all flows, and then the next step.
    pub(crate) fn play(&mut self, steps: &[Step], flows: Range<u32>) -> Result<()> {
        let count = flows.end - flows.start;
        for step in steps {
            let mut told = match step.side {
                Side::Client => Told::new(flows.start, drive::CLIENT, step.seq, step.ack),
                Side::Server => Told::new(flows.start, drive::SERVER, step.ack, step.seq),
            };
            self.driver.run(&mut told, &step.bytes, count)?;
        }
        Ok(())
    }
}
