//! First process of the virtual machines that `cargo xtask vm` and `cargo xtask captures` boot.
//!
//! It brings the machine up and does the job that it is told to, `kernels` or `sstp`. It
//! reports on the second serial port: lines for people, and a last one of JSON for the command.
//! Then the machine is off.

mod kernels;
mod machine;
mod sstp;

use std::{
    env,
    fs::File,
    io::{self, Write as _},
    time::Instant,
};

use anyhow::{Context as _, Result, bail};

/// Where the command on the host reads the report.
const REPORT: &str = "/dev/ttyS1";

fn main() {
    if let Err(error) = work() {
        eprintln!("the machine can't do its work: {error:#}");
    }
    machine::power_off();
}

fn work() -> Result<()> {
    machine::bring_up()?;
    let mut steps = Steps::begin()?;
    match env::args().nth(1).as_deref() {
        Some("kernels") => kernels::try_all(&mut steps),
        Some("sstp") => sstp::record_all(&mut steps),
        job => bail!("no such job: {job:?}"),
    }
}

/// Takes one step after the other, and tells of each.
struct Steps {
    out: File,
    failed: u32,
}

impl Steps {
    fn begin() -> Result<Self> {
        let out = File::options().write(true).open(REPORT);
        Ok(Self {
            out: out.with_context(|| format!("cannot open {REPORT}"))?,
            failed: 0,
        })
    }

    /// Takes a step, which returns what is worth telling.
    fn take(&mut self, name: &str, step: impl FnOnce() -> Result<String>) -> io::Result<()> {
        let began = Instant::now();
        let told = match step() {
            Ok(told) => told,
            Err(error) => {
                self.failed += 1;
                format!("FAILED: {error:#}")
            }
        };
        let seconds = began.elapsed().as_secs_f64();
        self.tell(&format!("{name} ({seconds:.1} s): {told}"))
    }

    fn tell(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.out, "{line}")
    }
}
