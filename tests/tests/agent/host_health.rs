//! What the host knows: a queue that nobody empties, the process behind it, an interface anew.

use std::{
    fs::{self, Permissions},
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result};
use lab::{
    Agent, ClientOptions, Lab, Process, SERVER_INTERFACE,
    agent::{binary, execute},
    events::{Count, HostHealth, Line, Listener, TcpCounters},
    links, plain, require_root,
};
use tempfile::TempDir;

use crate::{PORT, WATCH, server_v4};

/// Connections that the server's socket lets wait.
const BACKLOG: u32 = 3;

/// The limit of open files of the process that listens.
const OPEN_FILES: u64 = 777;

/// A server that listens, and accepts nothing.
fn deaf_server(lab: &Lab) -> Result<Process> {
    let mut server = lab.server.spawn_process(
        Command::new("prlimit")
            .arg(format!("--nofile={OPEN_FILES}:4096"))
            .arg(binary("peer")?)
            .args(["deaf", "--listen", &server_v4().to_string()])
            .args(["--backlog", &BACKLOG.to_string()])
            .stdout(Stdio::piped()),
    )?;
    server.wait_for_line("ready")?;
    Ok(server)
}

/// The only socket that listens on the watched port.
fn listener(health: &HostHealth) -> Option<&Listener> {
    match health.listeners.as_deref()? {
        [listener] => Some(listener),
        _ => None,
    }
}

/// Waits for a `host.health` of which this holds.
fn wait_for_health(
    agent: &Agent,
    what: &str,
    is: impl Fn(&HostHealth) -> bool,
) -> Result<HostHealth> {
    let line = agent.wait_for(what, |line| line.host_health().is_some_and(&is))?;
    line.host_health().cloned().context("a host.health")
}

/// What a counter of the kernel's TCP says in each of these lines.
fn each(lines: &[Line], counter: impl Fn(&TcpCounters) -> &Option<Count>) -> Result<Vec<Count>> {
    lines
        .iter()
        .filter_map(Line::host_health)
        .map(|health| {
            let counters = health.tcp.as_ref().context("no counters")?;
            counter(counters).clone().context("no such counter")
        })
        .collect()
}

#[test]
fn a_full_accept_queue_and_what_it_costs_are_told() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let lab = Lab::new()?;
    let _server = deaf_server(&lab)?;
    let agent = Agent::start(&lab.server, &WATCH)?;
    let empty = wait_for_health(&agent, "an empty queue", |health| {
        listener(health).is_some()
    })?;
    let empty = listener(&empty).context("a listener")?;
    assert_eq!((empty.queue, empty.queue_limit), (0, BACKLOG));

    // The kernel takes one more than the limit.
    let options = ClientOptions {
        timeout: Duration::from_millis(500),
        ..ClientOptions::default()
    };
    let connect = || plain::connect(&lab.client, server_v4(), &options);
    let waiting = (0..=BACKLOG).map(|_| connect());
    let _waiting = waiting.collect::<Result<Vec<_>>>()?;
    let is_full = |health: &HostHealth| {
        listener(health).is_some_and(|listener| listener.queue == BACKLOG + 1)
    };
    wait_for_health(&agent, "a full queue", is_full)?;
    assert!(connect().is_err(), "the server had room for one more");
    wait_for_health(&agent, "an overflow", |health| {
        let tcp = health.tcp.as_ref();
        let overflows = tcp.and_then(|tcp| tcp.listen_overflows.as_ref());
        is_full(health) && overflows.is_some_and(|count| count.since_last > Some(0))
    })?;

    let lines = agent.stop()?;
    let overflows = each(&lines, |tcp| &tcp.listen_overflows)?;
    let drops = each(&lines, |tcp| &tcp.listen_drops)?;
    let first = overflows.first().context("a line")?;
    assert_eq!((first.total, first.since_last), (0, Some(0)));
    let since: u64 = overflows.iter().filter_map(|count| count.since_last).sum();
    let last = overflows.last().context("a line")?;
    assert_eq!(last.total, since, "the namespace began with the test");
    for (overflow, drop) in overflows.iter().zip(&drops) {
        assert!(drop.total >= overflow.total, "overflows are drops too");
    }
    Ok(())
}

#[test]
fn the_process_that_listens_is_told_with_its_files() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let lab = Lab::new()?;
    let server = deaf_server(&lab)?;
    let agent = Agent::start(&lab.server, &WATCH)?;
    let of = |health: &HostHealth, pid: u32| {
        let mut processes = listener(health)?.processes.clone()?;
        processes.retain(|process| process.pid == pid);
        processes.pop()
    };
    let health = wait_for_health(&agent, "the server's process", |health| {
        of(health, server.id()).is_some()
    })?;
    let told = of(&health, server.id()).context("the process")?;
    let listener = listener(&health).context("a listener")?;
    assert_eq!(listener.processes.as_ref().map(Vec::len), Some(1));
    assert_eq!((listener.address, listener.port), (server_v4().ip(), PORT));
    assert_eq!(told.name, "peer");
    let open = fs::read_dir(format!("/proc/{}/fd", server.id()))?.count();
    assert_eq!(told.open_files, Some(u64::try_from(open)?));
    assert_eq!(told.open_files_limit, Some(OPEN_FILES));

    let check = execute(&lab.server, &["check", "-i", SERVER_INTERFACE])?;
    let says = format!("port {PORT}: peer (process {})", server.id());
    assert!(check.stdout.contains(&says), "{}", check.stdout);

    // It ends, and another takes its place.
    drop(server);
    wait_for_health(&agent, "no listener", |health| {
        health.listeners.as_ref().is_some_and(Vec::is_empty)
    })?;
    let check = execute(&lab.server, &["check", "-i", SERVER_INTERFACE])?;
    assert!(check.stdout.contains("nobody listens"), "{}", check.stdout);
    let server = deaf_server(&lab)?;
    wait_for_health(&agent, "the new server's process", |health| {
        of(health, server.id()).is_some()
    })?;
    agent.stop()?;
    Ok(())
}

#[test]
fn an_interface_that_came_back_counts_anew() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let lab = Lab::new()?;
    let agent = Agent::start(&lab.server, &WATCH)?;
    let dropped = |line: &Line| {
        let interfaces = line.host_health()?.interfaces.as_ref()?;
        let own = interfaces.iter().find(|one| one.name == SERVER_INTERFACE)?;
        Some(own.rx_dropped.clone())
    };
    let first = agent.wait_for("the interface", |line| dropped(line).is_some())?;
    assert_eq!(dropped(&first).and_then(|count| count.since_last), Some(0));
    lab.server.run(|| links::delete(SERVER_INTERFACE))?;
    wait_for_health(&agent, "no interface", |health| {
        health.interfaces.as_ref().is_some_and(Vec::is_empty)
    })?;
    lab.server
        .run(|| links::add_veth(SERVER_INTERFACE, "another0", &lab.router))?;
    agent.wait_for("the interface's return", |line| {
        dropped(line).is_some_and(|count| count.total == 0 && count.since_last.is_none())
    })?;
    agent.stop()?;
    Ok(())
}

#[test]
fn without_the_privilege_the_process_is_null_and_the_log_says_so_once() -> Result<()> {
    const GRANTED: &str = "-all,+bpf,+perfmon,+net_admin";
    if !require_root() {
        return Ok(());
    }
    let lab = Lab::new()?;
    let _server = deaf_server(&lab)?;
    // A copy that the user may execute, wherever this is built.
    let folder = TempDir::with_prefix_in("sstpulse-", "/tmp")?;
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
    let program = folder.path().join("sstpulse");
    fs::copy(binary("sstpulse")?, &program)?;
    let mut agent = lab.server.spawn_process(
        Command::new("setpriv")
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
            .args(["--inh-caps", GRANTED, "--ambient-caps", GRANTED])
            .arg(program)
            .arg("run")
            .args(WATCH)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped()),
    )?;
    let stderr = agent.stderr.take().context("no stderr")?;
    let mut healths = Vec::new();
    while healths.len() < 3 {
        let line = agent.wait_for_line("{\"type\":\"host.health\"")?;
        healths.push(serde_json::from_str::<Line>(&line)?);
    }
    agent.kill()?;
    for line in &healths {
        let health = line.host_health().context("a host.health")?;
        let listener = listener(health).context("a listener")?;
        assert!(listener.processes.is_none());
        assert_eq!(listener.queue_limit, BACKLOG, "which takes no privilege");
    }
    let said: Vec<String> = BufReader::new(stderr).lines().collect::<Result<_, _>>()?;
    let advice = said.iter().filter(|line| line.contains("CAP_SYS_PTRACE"));
    assert_eq!(advice.count(), 1, "{said:?}");
    Ok(())
}
