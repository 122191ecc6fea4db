//! tcpdump at work on the server's interface.

use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use memchr::memmem;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{Lab, Process, SERVER_INTERFACE, wait_until};

const PATIENCE: Duration = Duration::from_secs(10);

/// Room for packets that tcpdump has not come to yet, in KiB. Each takes as much as the largest,
/// so the usual 2 MiB are full after a dozen.
const BUFFER: &str = "32768";

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
    /// What it says in the end.
    last_words: JoinHandle<io::Result<String>>,
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
            .args(["-n", "-U", "--immediate-mode", "-B", BUFFER])
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
        let last_words = thread::spawn(move || {
            let mut words = String::new();
            messages.read_to_string(&mut words)?;
            Ok(words)
        });
        Ok(Self {
            process,
            path: path.to_owned(),
            last_words,
        })
    }

    /// Ends the recording once a packet that holds these bytes is in it, the last of interest.
    /// Fails if one was lost.
    pub fn end_with(self, last: &[u8]) -> Result<()> {
        wait_until(PATIENCE, "the capture holds the last packet", || {
            fs::read(&self.path).is_ok_and(|capture| memmem::find(&capture, last).is_some())
        })?;
        self.stop()
    }

    /// Ends the recording once nothing has been added to it for a while. Fails if a packet was
    /// lost.
    pub fn end(self) -> Result<()> {
        const QUIET: Duration = Duration::from_millis(300);
        let size = || fs::metadata(&self.path).map_or(0, |file| file.len());
        let mut before = 0;
        while size() != before {
            before = size();
            thread::sleep(QUIET);
        }
        self.stop()
    }

    fn stop(mut self) -> Result<()> {
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
        let words = self.last_words.join();
        let words = words.ok().context("nobody read what tcpdump says")??;
        ensure!(
            words
                .lines()
                .any(|line| line == "0 packets dropped by kernel"),
            "the capture lacks packets: {words}"
        );
        Ok(())
    }
}
