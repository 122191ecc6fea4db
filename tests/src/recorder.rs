//! tcpdump at work on the server's interface.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{Lab, Process, SERVER_INTERFACE, wait_until};

const PATIENCE: Duration = Duration::from_secs(10);

/// What is recorded.
#[derive(Debug, Clone, Copy)]
pub struct Recording<'a> {
    /// Of all interfaces, with this link layer; of the server's alone, as it is, otherwise.
    pub link: Option<&'a str>,
    /// Bytes kept of each packet; all otherwise.
    pub snap_length: Option<u32>,
    /// Which packets, as tcpdump has it.
    pub filter: &'a str,
}

/// tcpdump at work.
pub struct Recorder {
    process: Process,
    path: PathBuf,
}

impl Recorder {
    /// Begins to record, and waits until it does.
    pub fn begin(lab: &Lab, recording: Recording<'_>, path: &Path) -> Result<Self> {
        let Recording {
            link,
            snap_length,
            filter,
        } = recording;
        let mut command = Command::new("tcpdump");
        match link {
            Some(link) => command.args(["-i", "any", "-y", link]),
            None => command.args(["-i", SERVER_INTERFACE]),
        };
        command
            .args(["-n", "-U", "--immediate-mode"])
            .args(["-s", &snap_length.unwrap_or_default().to_string()])
            // Written by this process: tcpdump gives up its rights, and could not.
            .args(["-w", "-"])
            .arg(filter)
            .stdout(File::create(path).with_context(|| format!("can't write {}", path.display()))?)
            .stderr(Stdio::piped());
        let mut process = lab.server.spawn_process(&mut command)?;
        let stderr = process.stderr.take().context("tcpdump has no stderr")?;
        let mut messages = BufReader::new(stderr);
        let mut said = String::new();
        while !said.contains("listening on") {
            said.clear();
            if messages.read_line(&mut said)? == 0 {
                bail!("tcpdump ended before it began");
            }
        }
        // Until it ends, so that it never waits for a reader.
        thread::spawn(move || io::copy(&mut messages, &mut io::sink()));
        Ok(Self {
            process,
            path: path.to_owned(),
        })
    }

    /// Ends the recording once nothing has been added to it for a while.
    pub fn end(mut self) -> Result<()> {
        const QUIET: Duration = Duration::from_millis(300);
        let size = || std::fs::metadata(&self.path).map_or(0, |file| file.len());
        let mut before = 0;
        while size() != before {
            before = size();
            thread::sleep(QUIET);
        }
        let pid = Pid::from_raw(self.process.id().try_into().context("a process's number")?);
        kill(pid, Signal::SIGINT).context("can't stop tcpdump")?;
        let mut status = None;
        wait_until(PATIENCE, "tcpdump ends", || {
            status = self.process.try_wait().ok().flatten();
            status.is_some()
        })?;
        ensure!(
            status.is_some_and(|status| status.success()),
            "tcpdump ended with {status:?}"
        );
        Ok(())
    }
}
