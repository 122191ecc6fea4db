//! iperf3 between the router and the server of the lab.

use std::{
    fs,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use lab::{Namespace, Process, SERVER_V4, wait_until};
use serde_json::Value;

/// How long it may take to begin.
const PATIENCE: Duration = Duration::from_secs(10);

/// The port of the server, which is watched.
const PORT: &str = "443";

/// Starts the server, and waits until it listens.
pub(crate) fn serve(namespace: &Namespace) -> Result<Process> {
    let mut command = Command::new("iperf3");
    command.args(["--server", "--port", PORT]);
    let server = namespace.spawn_process(quiet(&mut command))?;
    wait_until(PATIENCE, "iperf3 listens", || namespace.run(listens))?;
    Ok(server)
}

/// A client of that server, which tells of itself in JSON.
pub(crate) fn client(seconds: u32, options: &[&str]) -> Command {
    let mut command = Command::new("iperf3");
    command
        .args(["--client", &SERVER_V4.to_string(), "--port", PORT, "--json"])
        .args(["--time", &seconds.to_string()])
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command
}

/// What the client's output tells, to its end.
pub(crate) fn told(output: &[u8]) -> Result<Value> {
    let json: Value = serde_json::from_slice(output).context("iperf3 writes no JSON")?;
    match json.get("error") {
        Some(error) => bail!("iperf3 says {error}"),
        None => Ok(json),
    }
}

/// Without a terminal, and nothing to hear of it.
pub(crate) fn quiet(command: &mut Command) -> &mut Command {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
}

/// Whether someone listens on its port; iperf3 takes both versions of IP on one socket.
fn listens() -> bool {
    ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"]
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .any(|text| {
            text.lines()
                .any(|line| line.contains(":01BB") && line.contains(" 0A "))
        })
}
