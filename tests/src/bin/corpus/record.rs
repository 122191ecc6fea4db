//! A session in the lab, recorded by tcpdump on the server's interface.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use lab::{Lab, Process, SERVER_INTERFACE, Server, Tls, wait_until};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::scenarios::{Scenario, Stage};

/// Bytes kept of each packet: all headers, and no payload to speak of.
const SNAP_LENGTH: &str = "120";

const PATIENCE: Duration = Duration::from_secs(10);

/// Plays a scenario, and writes what passed the server's interface to `path`.
pub(crate) fn record(scenario: &Scenario, path: &Path) -> Result<()> {
    let lab = Lab::builder()
        .tso(scenario.tso)
        .exact(!scenario.tail_loss_probes)
        .build()?;
    let tls = Tls::new()?;
    let server = Server::start(&lab.server, scenario.server.address(), &tls)?;
    let mut stage = Stage::new(lab, tls, server, path);
    if !scenario.starts_later {
        stage.begin(scenario.link)?;
    }
    (scenario.play)(&mut stage)?;
    stage.end()
}

/// tcpdump at work.
pub(crate) struct Recorder {
    process: Process,
}

impl Recorder {
    /// Begins to record, and waits until it does.
    pub(crate) fn begin(lab: &Lab, link: Option<&str>, path: &Path) -> Result<Self> {
        let mut command = Command::new("tcpdump");
        match link {
            Some(link) => command.args(["-i", "any", "-y", link]),
            None => command.args(["-i", SERVER_INTERFACE]),
        };
        command
            .args(["-n", "-U", "--immediate-mode", "-s", SNAP_LENGTH])
            // Written by this process: tcpdump gives up its rights, and could not.
            .args(["-w", "-"])
            .arg("tcp port 443")
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
        Ok(Self { process })
    }

    /// Ends the recording once nothing has been added to it for a while.
    pub(crate) fn end(mut self, path: &Path) -> Result<()> {
        const QUIET: Duration = Duration::from_millis(300);
        let size = || std::fs::metadata(path).map_or(0, |file| file.len());
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
