//! Everything down again, whatever happened; and nothing of anybody else.

use std::{
    fs::{self, Permissions},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Agent, Lab, SERVER_INTERFACE,
    agent::{binary, execute},
    links, require_root, wait_until,
};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::{WATCH, server_v4};

/// What `tc`, which is not ours, says about the interface.
fn tc(lab: &Lab, arguments: &[&str]) -> Result<String> {
    let output = lab
        .server
        .run(|| Command::new("tc").args(arguments).output())
        .context("can't run tc; install iproute2")?;
    ensure!(
        output.status.success(),
        "tc {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn filters(lab: &Lab) -> Result<String> {
    let mut all = String::new();
    for direction in ["ingress", "egress"] {
        all += &tc(lab, &["filter", "show", "dev", SERVER_INTERFACE, direction])?;
    }
    Ok(all)
}

fn has_clsact(lab: &Lab) -> Result<bool> {
    Ok(tc(lab, &["qdisc", "show", "dev", SERVER_INTERFACE])?.contains("clsact"))
}

fn with_hook(hook: &str) -> Vec<&str> {
    [&WATCH[..], &["--hook", hook]].concat()
}

#[test]
fn nothing_remains_of_an_agent_that_ends() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    for hook in ["tcx", "clsact"] {
        let lab = Lab::new()?;
        let agent = Agent::start(&lab.server, &with_hook(hook))?;
        let status = execute(&lab.server, &["status"])?.stdout;
        assert_eq!(status.matches(hook).count(), 2, "{status}");
        agent.stop()?;
        assert_nothing_of_ours(&lab)?;
        assert!(!has_clsact(&lab)?, "we made the qdisc, we remove it");
    }
    Ok(())
}

#[test]
fn nothing_remains_of_an_agent_that_was_killed_once_detached() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    for hook in ["tcx", "clsact"] {
        let lab = Lab::new()?;
        Agent::start(&lab.server, &with_hook(hook))?.kill()?;
        if hook == "clsact" {
            assert!(
                filters(&lab)?.contains("sstpulse_in"),
                "a filter outlives its maker"
            );
        }
        let detached = execute(&lab.server, &["detach"])?;
        assert!(detached.status.success(), "{}", detached.stderr);
        assert_nothing_of_ours(&lab)?;
        assert!(!has_clsact(&lab)?);
    }
    Ok(())
}

#[test]
fn the_next_agent_removes_what_a_killed_one_left() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let lab = Lab::new()?;
    Agent::start(&lab.server, &with_hook("clsact"))?.kill()?;
    let agent = Agent::start(&lab.server, &with_hook("clsact"))?;
    let of_ours = |line: &&str| line.contains("handle") && line.contains("sstpulse_in");
    assert_eq!(filters(&lab)?.lines().filter(of_ours).count(), 1);
    agent.stop()?;
    assert_nothing_of_ours(&lab)?;
    assert!(!has_clsact(&lab)?);
    Ok(())
}

#[test]
fn what_others_attached_stays_untouched() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    for hook in ["tcx", "clsact"] {
        let lab = Lab::new()?;
        tc(&lab, &["qdisc", "add", "dev", SERVER_INTERFACE, "clsact"])?;
        for direction in ["ingress", "egress"] {
            // A classic BPF program that matches nothing.
            let program = ["bpf", "bytecode", "1,6 0 0 0,", "flowid", "1:1"];
            let place = ["filter", "add", "dev", SERVER_INTERFACE, direction];
            tc(&lab, &[&place[..], &program].concat())?;
        }
        let before = filters(&lab)?;
        Agent::start(&lab.server, &with_hook(hook))?.kill()?;
        execute(&lab.server, &["detach"])?;
        assert_eq!(filters(&lab)?, before, "with {hook}");
        Agent::start(&lab.server, &with_hook(hook))?.stop()?;
        assert_eq!(filters(&lab)?, before, "with {hook}");
        assert!(has_clsact(&lab)?, "it was there before us");
    }
    Ok(())
}

#[test]
fn filters_of_others_that_end_a_packets_way_hide_nothing() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let lab = Lab::new()?;
    tc(&lab, &["qdisc", "add", "dev", SERVER_INTERFACE, "clsact"])?;
    for direction in ["ingress", "egress"] {
        // A classic BPF program that lets everything pass at once.
        let program = ["bpf", "da", "bytecode", "1,6 0 0 0,"];
        let place = ["filter", "add", "dev", SERVER_INTERFACE, direction];
        tc(
            &lab,
            &[&place[..], &["prio", "1", "handle", "1"], &program].concat(),
        )?;
    }
    let agent = Agent::start(&lab.server, &with_hook("clsact"))?;
    one_session(&lab)?;
    agent.wait_for("session.end", |line| line.session_end().is_some())?;
    agent.stop()?;
    Ok(())
}

/// What `check` takes for an agent with clsact.
const CLSACT: [&str; 4] = ["-i", SERVER_INTERFACE, "--hook", "clsact"];

#[test]
fn an_ingress_qdisc_in_the_way_of_clsact_is_told() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let lab = Lab::new()?;
    tc(&lab, &["qdisc", "add", "dev", SERVER_INTERFACE, "ingress"])?;
    let ended = execute(&lab.server, &[&["run"], &with_hook("clsact")[..]].concat())?;
    assert_eq!(ended.status.code(), Some(3), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("it has an ingress qdisc"),
        "{}",
        ended.stderr
    );
    let checked = execute(&lab.server, &[&["check"], &CLSACT[..]].concat())?;
    assert_eq!(checked.status.code(), Some(3), "{}", checked.stdout);
    assert!(checked.stdout.contains("has an ingress qdisc"));
    assert_nothing_of_ours(&lab)?;
    // TCX needs no qdisc.
    let agent = Agent::start(&lab.server, &with_hook("tcx"))?;
    one_session(&lab)?;
    agent.wait_for("session.end", |line| line.session_end().is_some())?;
    agent.stop()?;
    Ok(())
}

#[test]
fn detach_lets_an_agent_alone_that_it_cannot_see() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let lab = Lab::new()?;
    let mut agent = Agent::start(&lab.server, &WATCH)?;
    // In a PID namespace of its own, as in a container.
    let mut command = Command::new("unshare");
    command
        .args(["--pid", "--fork"])
        .arg(binary("sstpulse")?)
        .arg("detach");
    let output = lab.server.run(|| command.output())?;
    let told = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("another PID namespace"), "{told}");
    assert!(agent.is_running()?, "it was let alone");
    agent.stop()?;
    Ok(())
}

#[test]
fn an_agent_of_a_service_user_is_found_by_root() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    for hook in ["tcx", "clsact"] {
        let lab = Lab::new()?;
        // A copy that the user may execute, wherever this is built.
        let folder = TempDir::with_prefix_in("sstpulse-", "/tmp")?;
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
        let program = folder.path().join("sstpulse");
        fs::copy(binary("sstpulse")?, &program)?;
        let mut service = Command::new("setpriv");
        service
            .args([
                "--reuid",
                "65534",
                "--regid",
                "65534",
                "--clear-groups",
                "--no-new-privs",
            ])
            .args(["--inh-caps", "-all,+bpf,+perfmon,+net_admin"])
            .args(["--ambient-caps", "-all,+bpf,+perfmon,+net_admin"])
            .arg(program)
            .arg("run")
            .args(with_hook(hook));
        let agent = Agent::start_command(&lab.server, &mut service)?;
        one_session(&lab)?;
        agent.wait_for("session.end", |line| line.session_end().is_some())?;
        let status = execute(&lab.server, &["status"])?.stdout;
        let process = format!("process {}", agent.pid());
        assert_eq!(status.matches(&process).count(), 2, "{status}");
        let detached = execute(&lab.server, &["detach"])?;
        assert!(detached.stderr.contains(&process), "{}", detached.stderr);
        assert!(agent.wait()?.success());
        assert_nothing_of_ours(&lab)?;
    }
    Ok(())
}

#[test]
fn what_somebody_else_takes_off_is_put_back() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let lab = Lab::new()?;
    let agent = Agent::start(&lab.server, &with_hook("clsact"))?;
    tc(&lab, &["qdisc", "del", "dev", SERVER_INTERFACE, "clsact"])?;
    let back = || filters(&lab).is_ok_and(|filters| filters.contains("sstpulse_out"));
    wait_until(Duration::from_secs(10), "the programs are back", back)?;
    agent.stop()?;
    assert_nothing_of_ours(&lab)
}

#[test]
fn a_qdisc_of_ours_goes_too_when_one_filter_was_taken_off() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let lab = Lab::new()?;
    let agent = Agent::start(&lab.server, &with_hook("clsact"))?;
    let place = [
        "filter",
        "del",
        "dev",
        SERVER_INTERFACE,
        "ingress",
        "pref",
        "1",
    ];
    tc(&lab, &place)?;
    let back = || filters(&lab).is_ok_and(|filters| filters.contains("sstpulse_in"));
    wait_until(Duration::from_secs(10), "the program is back", back)?;
    tc(&lab, &place)?;
    agent.stop()?;
    assert_nothing_of_ours(&lab)?;
    assert!(!has_clsact(&lab)?, "we made the qdisc, we remove it");
    Ok(())
}

#[test]
fn a_stranger_on_the_name_of_an_agent_keeps_none_from_running() -> Result<()> {
    const NOBODY: u32 = 65_534;
    if !require_root() {
        return Ok(());
    }
    let lab = Lab::new()?;
    // Python, as another user, takes the abstract name by which agents find each other.
    let stranger = "import socket, sys; s = socket.socket(socket.AF_UNIX); \
        s.bind('\\0sstpulse/eth0'); s.listen(); print('ready', flush=True); sys.stdin.read()";
    let mut stranger = lab.server.spawn_process(
        Command::new("python3")
            .args(["-c", stranger])
            .uid(NOBODY)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped()),
    )?;
    stranger.wait_for_line("ready")?;
    let agent = Agent::start(&lab.server, &WATCH)?;
    let detached = execute(&lab.server, &["detach"])?;
    assert!(detached.status.success(), "{}", detached.stderr);
    assert!(stranger.try_wait()?.is_none(), "strangers are let alone");
    agent.stop()?;
    Ok(())
}

#[test]
fn detach_stops_a_running_agent() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let lab = Lab::new()?;
    let agent = Agent::start(&lab.server, &WATCH)?;
    let detached = execute(&lab.server, &["detach", "-i", SERVER_INTERFACE])?;
    assert!(detached.status.success(), "{}", detached.stderr);
    assert!(
        detached.stderr.contains(&agent.pid().to_string()),
        "{}",
        detached.stderr
    );
    assert!(agent.wait()?.success());
    assert_nothing_of_ours(&lab)
}

#[test]
fn an_agent_on_several_interfaces_is_stopped_if_all_are_named() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let lab = Lab::new()?;
    let other = "side0";
    lab.server.run(|| links::add_bridge(other))?;
    let agent = Agent::start(&lab.server, &[&WATCH[..], &["-i", other]].concat())?;
    let one = execute(&lab.server, &["detach", "-i", other])?;
    assert_eq!(one.status.code(), Some(1), "{}", one.stderr);
    let says = format!("watches {SERVER_INTERFACE} as well as {other}");
    assert!(one.stderr.contains(&says), "{}", one.stderr);
    let both = execute(
        &lab.server,
        &["detach", "-i", SERVER_INTERFACE, "-i", other],
    )?;
    assert!(both.status.success(), "{}", both.stderr);
    let names = [SERVER_INTERFACE, other];
    assert!(names.iter().all(|name| both.stderr.contains(name)));
    assert!(agent.wait()?.success());
    assert_nothing_of_ours(&lab)
}

#[test]
fn an_agent_whose_interface_is_gone_is_found() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let lab = Lab::new()?;
    let gone = "side0";
    lab.server.run(|| links::add_bridge(gone))?;
    let agent = Agent::start(&lab.server, &["-i", gone])?;
    lab.server.run(|| links::delete(gone))?;
    let status = execute(&lab.server, &["status"])?;
    let waits = format!("process {} waits for {gone}", agent.pid());
    assert!(status.stderr.contains(&waits), "{}", status.stderr);
    let detached = execute(&lab.server, &["detach", "-i", gone])?;
    assert!(detached.status.success(), "{}", detached.stderr);
    assert!(detached.stderr.contains(&format!("ran on {gone}")));
    assert!(agent.wait()?.success());
    Ok(())
}

#[test]
fn detach_says_how_to_end_an_agent_that_is_stopped() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let lab = Lab::new()?;
    let agent = Agent::start(&lab.server, &WATCH)?;
    agent.signal(Signal::SIGSTOP)?;
    let stat = format!("/proc/{}/stat", agent.pid());
    let is_stopped = || fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") T "));
    wait_until(Duration::from_secs(10), "the agent is stopped", is_stopped)?;
    let detached = execute(&lab.server, &["detach"])?;
    assert_eq!(detached.status.code(), Some(1), "{}", detached.stderr);
    let advice = format!("`kill -CONT {}`", agent.pid());
    assert!(detached.stderr.contains(&advice), "{}", detached.stderr);
    agent.signal(Signal::SIGCONT)?;
    assert!(agent.wait()?.success());
    assert_nothing_of_ours(&lab)
}

#[test]
fn traffic_passes_as_before_with_either_hook() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let exchange = lab::Exchange {
        from_client: 100_000,
        from_server: 2_000_000,
    };
    for hook in ["tcx", "clsact"] {
        let lab = Lab::new()?;
        let agent = Agent::start(&lab.server, &with_hook(hook))?;
        let server = lab::PlainServer::start(&lab.server, server_v4(), exchange)?;
        lab::plain::exchange_many(&lab.client, server.address(), exchange, 20, 4)?;
        agent.wait_for_count(Duration::from_secs(20), "ends", 20, |line| {
            line.session_end().is_some()
        })?;
        agent.stop()?;
    }
    Ok(())
}

fn one_session(lab: &Lab) -> Result<()> {
    let exchange = lab::Exchange {
        from_client: 1_000,
        from_server: 10_000,
    };
    let server = lab::PlainServer::start(&lab.server, server_v4(), exchange)?;
    lab::plain::exchange_many(&lab.client, server.address(), exchange, 1, 1)?;
    Ok(())
}

fn assert_nothing_of_ours(lab: &Lab) -> Result<()> {
    let status = execute(&lab.server, &["status"])?;
    assert_eq!(
        status.stdout,
        "nothing of sstpulse is attached in this network namespace\n"
    );
    assert!(!filters(lab)?.contains("sstpulse"));
    Ok(())
}
