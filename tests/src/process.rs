//! Child processes that do not outlive their test.

use std::io::{BufRead, BufReader};
use std::ops::{Deref, DerefMut};
use std::process::{Child, ChildStdout};

use anyhow::{Context, Result, bail};

/// A child process, killed and reaped when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// Kept between lines: what is read ahead is not lost, and the child can go on printing.
    stdout: Option<BufReader<ChildStdout>>,
}

impl Process {
    /// Takes the child into care.
    pub fn new(mut child: Child) -> Self {
        let stdout = child.stdout.take().map(BufReader::new);
        Self { child, stdout }
    }

    /// The child's standard output, for the caller to read; `None` if it is not a pipe.
    pub fn take_stdout(&mut self) -> Option<BufReader<ChildStdout>> {
        self.stdout.take()
    }

    /// Waits for the child to print a line that begins with `start`, and returns that line. The
    /// child must have been started with a piped standard output.
    pub fn wait_for_line(&mut self, start: &str) -> Result<String> {
        let stdout = self
            .stdout
            .as_mut()
            .context("the child's output is not a pipe")?;
        loop {
            let mut line = String::new();
            let length = stdout
                .read_line(&mut line)
                .context("cannot read the child's output")?;
            if length == 0 {
                bail!("the child ended before it printed `{start}`");
            }
            if line.starts_with(start) {
                return Ok(line.trim_end().to_owned());
            }
        }
    }
}

impl Deref for Process {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.child
    }
}

impl DerefMut for Process {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.child
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only for a child that has ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
