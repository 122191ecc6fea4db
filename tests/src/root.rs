//! What a test does where it may not make namespaces, and the limits it needs raised.

use std::env;
use std::fs::OpenOptions;
use std::io::Write;
use std::thread;

use anyhow::{Context, Result};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Uid;

/// Names the file to which skipped tests are added, one `test: reason` per line.
pub const SKIPPED_FILE: &str = "SSTPULSE_SKIPPED";

/// Open files that 10,000 connections with both ends in this process want, with room to spare.
const OPEN_FILES: u64 = 65_536;

/// Whether the test may go on. Where not, it says so on standard output and in the file named by
/// `SSTPULSE_SKIPPED`; the test then returns, and passes.
pub fn require_root() -> bool {
    if Uid::effective().is_root() {
        return true;
    }
    skip("needs root");
    false
}

/// Notes that the running test is skipped, and why.
pub fn skip(reason: &str) {
    println!("skipped: {reason}");
    let Some(file) = env::var_os(SKIPPED_FILE) else {
        return;
    };
    // The test harness names each thread after its test.
    let current = thread::current();
    let line = format!("{}: {reason}\n", current.name().unwrap_or("test"));
    let opened = OpenOptions::new().create(true).append(true).open(&file);
    if let Err(error) = opened.and_then(|mut open| open.write_all(line.as_bytes())) {
        eprintln!(
            "cannot note the skipped test in {}: {error}",
            file.display()
        );
    }
}

/// Lifts this process's limit of open files to what many connections need, or as far as this
/// process may: a container's root may not pass the hard limit. Each connection with both ends in
/// this process takes two.
pub fn raise_open_files() -> Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("cannot read the file limit")?;
    if soft >= OPEN_FILES {
        return Ok(());
    }
    setrlimit(Resource::RLIMIT_NOFILE, OPEN_FILES, hard.max(OPEN_FILES))
        .or_else(|_| setrlimit(Resource::RLIMIT_NOFILE, hard.min(OPEN_FILES), hard))
        .context("cannot raise the limit of open files")
}
