//! Wrong usage: one clear sentence, the right exit code, nothing left behind.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs::{File, Permissions},
    io::{self, BufRead as _, BufReader, Read as _},
    os::unix::{
        fs::{PermissionsExt as _, symlink},
        process::CommandExt as _,
    },
    process::{Command, Stdio},
};

use anyhow::Result;
use lab::{
    Agent, Lab,
    agent::{PATIENCE, binary, execute},
    require_root, wait_until,
};
use nix::{
    fcntl::{FcntlArg, fcntl},
    sys::stat::Mode,
    unistd::mkfifo,
};
use tempfile::TempDir;

use crate::WATCH;

const USAGE: i32 = 2;
const HOST: i32 = 3;

#[test]
fn wrong_usage_gets_one_sentence_and_its_exit_code() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let lab = Lab::new()?;
    let folder = TempDir::new()?;
    let configuration = |name: &str, text: &str| -> Result<String> {
        let path = folder.path().join(name);
        std::fs::write(&path, text)?;
        Ok(path.to_string_lossy().into_owned())
    };
    let config = configuration("wrong.toml", "interfaces = [\"eth0\"]\n")?;
    let nowhere = configuration("nowhere.toml", "output = \"\"\n")?;
    let upside_down = configuration("upside-down.toml", "[thresholds]\nloss-percent = 6.0\n")?;
    let daily = configuration("daily.toml", "interval = \"1d\"\n")?;
    let fifo = folder.path().join("fifo");
    mkfifo(&fifo, Mode::S_IRWXU)?;
    let fifo = fifo.to_string_lossy().into_owned();
    let unread = format!("nobody reads {fifo} yet");
    let folder = folder.path().to_string_lossy().into_owned();
    let cases: [(&[&str], i32, &str); 18] = [
        (&["-i", "nosuch0"], HOST, "no interface \"nosuch0\""),
        (
            &["-i", "eth0", "-p", "0"],
            USAGE,
            "that is no port; it goes from 1 to 65535",
        ),
        (&["-i", "eth0", "-p", "443,https"], USAGE, "https"),
        (&["-i", "eth0", "-p", "70000"], USAGE, "70000"),
        (&["-i", "eth0", "-i", "eth0"], USAGE, "eth0 is named twice"),
        (&["-i", "eth0,eth0"], USAGE, "eth0 is named twice"),
        (&["-i", "eth0", "--frobnicate"], USAGE, "--frobnicate"),
        (&[], USAGE, "no interface is named"),
        (
            &["-i", "eth0", "-o", &folder],
            USAGE,
            "can't open the output file",
        ),
        (
            &["-i", "eth0", "-o", "/nonexistent/x"],
            USAGE,
            "can't open the output file",
        ),
        (&["-i", "eth0", "--interval", "0s"], USAGE, "interval"),
        (
            &["-i", "eth0", "--max-sessions", "0"],
            USAGE,
            "max-sessions 0 is out of range; it goes from 1 to 4000000",
        ),
        (&["-i", "eth0", "-c", &config], USAGE, "interfaces"),
        (
            &["-i", "eth0", "-c", &nowhere],
            USAGE,
            "output names no file",
        ),
        (
            &["-i", "eth0", "-c", &upside_down],
            USAGE,
            "loss-percent is 6, above loss-critical-percent, which is 5",
        ),
        (
            &["-i", "eth0", "-c", &daily],
            USAGE,
            "\"1d\" is no time; write it with its unit",
        ),
        (
            &["-i", "eth0", "--log", "inof"],
            USAGE,
            "\"inof\" is no level",
        ),
        (&["-i", "eth0", "-o", &fifo], USAGE, &unread),
    ];
    for (arguments, code, says) in cases {
        let ended = execute(&lab.server, &[&["run"], arguments].concat())?;
        println!("{arguments:?}: {}", ended.stderr.trim_end());
        assert_eq!(
            ended.status.code(),
            Some(code),
            "{arguments:?}: {}",
            ended.stderr
        );
        assert!(
            ended.stderr.contains(says),
            "{arguments:?}: {}",
            ended.stderr
        );
        assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
        assert_eq!(ended.stdout, "", "{arguments:?}");
    }
    assert_nothing_attached(&lab)
}

#[test]
fn a_user_namespace_is_told_in_one_sentence() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let ended = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net"])
        .arg(binary("sstpulse")?)
        .args(["run", "-i", "lo"])
        .output()?;
    let stderr = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(HOST), "{stderr}");
    assert!(stderr.contains("runs in a user namespace"), "{stderr}");
    Ok(())
}

#[test]
fn an_old_kernel_is_told_in_one_sentence() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let lab = Lab::new()?;
    for arguments in [&["run", "-i", "eth0"][..], &["check", "-i", "eth0"]] {
        // The kernel then says that it is a Linux 2.6 (`UNAME26` of personality(2)).
        let mut command = Command::new("setarch");
        command
            .args(["x86_64", "--uname-2.6"])
            .arg(binary("sstpulse")?)
            .args(arguments);
        let output = lab.server.run(|| command.output())?;
        assert_eq!(output.status.code(), Some(HOST), "{arguments:?}");
        let told = String::from_utf8([output.stdout, output.stderr].concat())?;
        let old = "is too old; sstpulse needs Linux 5.10 or later";
        assert_eq!(told.matches(old).count(), 1, "{told}");
        assert!(!told.contains("refuses"), "{told}");
    }
    assert_nothing_attached(&lab)
}

#[test]
fn without_privileges_it_says_what_it_needs() -> Result<()> {
    const NOBODY: u32 = 65_534;
    if !require_root() {
        return Ok(());
    }
    let lab = Lab::new()?;
    // A copy that others may run, wherever this one was built.
    let folder = TempDir::new()?;
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
    let copy = folder.path().join("sstpulse");
    std::fs::copy(binary("sstpulse")?, &copy)?;
    for arguments in [["run", "-i", "eth0"], ["check", "-i", "eth0"]] {
        let mut command = Command::new(&copy);
        command
            .args(arguments)
            .uid(NOBODY)
            .gid(NOBODY)
            .stdin(Stdio::null());
        let output = lab.server.run(|| command.output())?;
        let said = String::from_utf8_lossy(&output.stderr);
        println!("{arguments:?}: {}", said.trim_end());
        assert_eq!(output.status.code(), Some(HOST), "{said}");
        let all = format!("{said}{}", String::from_utf8_lossy(&output.stdout));
        assert!(
            all.contains("CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"),
            "{all}"
        );
    }
    assert_nothing_attached(&lab)
}

#[test]
fn a_second_agent_on_the_same_interface_is_refused_and_leaves_no_file() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let lab = Lab::new()?;
    let folder = TempDir::new()?;
    let output = folder.path().join("events");
    let agent = Agent::start(&lab.server, &WATCH)?;
    let second = execute(
        &lab.server,
        &["run", "-i", "eth0", "-o", &output.to_string_lossy()],
    )?;
    assert!(!output.exists());
    assert_eq!(second.status.code(), Some(HOST), "{}", second.stderr);
    assert!(
        second.stderr.contains(&format!("process {}", agent.pid())),
        "{}",
        second.stderr
    );
    agent.stop()?;
    Ok(())
}

#[test]
fn a_fit_host_is_said_to_be_fit() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let lab = Lab::new()?;
    let fit = execute(&lab.server, &["check", "-i", "eth0", "--json"])?;
    assert!(fit.status.success(), "{}{}", fit.stdout, fit.stderr);
    let findings: serde_json::Value = serde_json::from_str(&fit.stdout)?;
    assert!(
        findings
            .as_array()
            .is_some_and(|findings| findings.len() >= 7)
    );
    let unfit = execute(&lab.server, &["check", "-i", "nosuch0"])?;
    assert_eq!(unfit.status.code(), Some(HOST));
    assert!(
        unfit.stdout.contains("no interface \"nosuch0\""),
        "{}",
        unfit.stdout
    );
    assert_nothing_attached(&lab)
}

#[test]
fn a_check_of_the_output_leaves_nothing_behind() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let lab = Lab::new()?;
    let folder = TempDir::new()?;
    let place = |name: &str| folder.path().join(name);
    std::fs::write(place("there"), "a line\n")?;
    symlink("not-there", place("link"))?;
    symlink("no-folder/file", place("astray"))?;
    mkfifo(&place("fifo"), Mode::S_IRWXU)?;
    let names = || -> Result<BTreeSet<OsString>> {
        let entries = std::fs::read_dir(folder.path())?;
        Ok(entries
            .map(|entry| Ok(entry?.file_name()))
            .collect::<io::Result<_>>()?)
    };
    let before = names()?;
    for (name, says) in [
        ("not-there", "can be written"),
        ("there", "can be written"),
        ("link", "can be written"),
        ("astray", "No such file"),
        ("no-folder/file", "No such file"),
        ("there/file", "Not a directory"),
        ("fifo", "nobody reads"),
    ] {
        let config = TempDir::new()?;
        let config = config.path().join("sstpulse.toml");
        std::fs::write(&config, format!("output = {:?}\n", place(name)))?;
        let config = config.to_string_lossy().into_owned();
        let checked = execute(&lab.server, &["check", "-i", "eth0", "-c", &config])?;
        let fit = says == "can be written";
        assert_eq!(checked.status.success(), fit, "{name}: {}", checked.stdout);
        assert!(checked.stdout.contains(says), "{name}: {}", checked.stdout);
        assert_eq!(names()?, before, "{name}");
    }
    assert_eq!(std::fs::read_to_string(place("there"))?, "a line\n");
    Ok(())
}

#[test]
fn a_fifo_that_is_read_gets_the_lines() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let lab = Lab::new()?;
    let folder = TempDir::new()?;
    let fifo = folder.path().join("fifo");
    mkfifo(&fifo, Mode::S_IRWXU)?;
    // To open it for both waits for nobody.
    let reader = File::options().read(true).write(true).open(&fifo)?;
    let mut command = Command::new(binary("sstpulse")?);
    command.arg("run").args(WATCH).arg("-o").arg(&fifo);
    let agent = lab.server.spawn_process(&mut command)?;
    let mut line = String::new();
    BufReader::new(reader).read_line(&mut line)?;
    assert!(line.contains("\"agent.start\""), "{line}");
    drop(agent);
    Ok(())
}

#[test]
fn an_output_that_nobody_reads_is_warned_of_while_the_agent_runs() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let lab = Lab::new()?;
    let folder = TempDir::new()?;
    let (fifo, log) = (folder.path().join("fifo"), folder.path().join("log"));
    mkfifo(&fifo, Mode::S_IRWXU)?;
    let mut reader = File::options().read(true).write(true).open(&fifo)?;
    // Some lines fill it.
    fcntl(&reader, FcntlArg::F_SETPIPE_SZ(4_096))?;
    let mut command = Command::new(binary("sstpulse")?);
    command.arg("run").args(WATCH).arg("-o").arg(&fifo);
    command.stderr(File::create(&log)?);
    let agent = lab.server.spawn_process(&mut command)?;
    let said = |what: &str| std::fs::read_to_string(&log).is_ok_and(|log| log.contains(what));
    wait_until(PATIENCE, "a warning", || said("the output takes no lines"))?;
    assert!(!said("the output takes lines again"));
    let mut some = [0; 4_096];
    wait_until(PATIENCE, "all is well", || {
        reader.read(&mut some).is_ok() && said("the output takes lines again")
    })?;
    drop(agent);
    Ok(())
}

#[test]
fn the_log_ends_with_why_and_what_was_lost() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let lab = Lab::new()?;
    let folder = TempDir::new()?;
    let log = folder.path().join("log");
    let mut command = Command::new(binary("sstpulse")?);
    command.arg("run").args(WATCH).stderr(File::create(&log)?);
    let lines = Agent::start_command(&lab.server, &mut command)?.stop()?;
    let log = std::fs::read_to_string(log)?;
    let last = log.lines().last().unwrap_or_default();
    let said = format!(
        "INFO ended, since a signal or `sstpulse detach` asked for it; 0 sessions seen, {} lines \
         written; nothing was lost",
        lines.len()
    );
    assert!(last.ends_with(&said), "{log}");
    Ok(())
}

#[test]
fn what_others_generate_from_the_command_line_is_there() -> Result<()> {
    for (arguments, contains) in [
        (["completions", "bash"].as_slice(), "_sstpulse"),
        (&["man"], ".TH sstpulse"),
        (&["man", "run"], "dead\\-after"),
        (&["--version"], "sstpulse "),
    ] {
        let output = Command::new(binary("sstpulse")?).args(arguments).output()?;
        assert!(output.status.success());
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains(contains), "{arguments:?}: {said}");
    }
    Ok(())
}

fn assert_nothing_attached(lab: &Lab) -> Result<()> {
    let status = execute(&lab.server, &["status"])?;
    assert_eq!(
        status.stdout,
        "nothing of sstpulse is attached in this network namespace\n"
    );
    Ok(())
}
