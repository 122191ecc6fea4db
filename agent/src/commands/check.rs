//! `sstpulse check`: is this host fit, and what would be watched.

use std::{collections::BTreeSet, fmt, num::NonZeroU32, path::Path};

use anyhow::{Context as _, anyhow};
use comfy_table::{Cell, Color, Table, presets::NOTHING};
use procfs::{Current as _, Meminfo};
use serde::Serialize;
use sstpulse_common::Framing;

use super::print;
use crate::{
    cli::CheckArgs,
    counted::counted,
    failure::Failure,
    host,
    host_health::{Holders, listening_sockets},
    instance, interface,
    kernel::{HookChoice, Kernel, Limits, has_tcx},
    output,
    settings::Config,
};

/// What was looked at, and found.
#[derive(Serialize)]
struct Finding {
    what: &'static str,
    grade: Grade,
    detail: String,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Grade {
    /// As it should be.
    Ok,
    /// Works, but look at it.
    Warning,
    /// `run` would fail.
    Failure,
}

impl fmt::Display for Grade {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failure => "failure",
        })
    }
}

/// Looks at everything, and fails if `run` would.
pub(super) async fn check(arguments: CheckArgs) -> Result<(), Failure> {
    let config = Config::resolve(arguments.settings, &arguments.file)?;
    let mut findings = vec![kernel_release(), privileges(), programs(&config)];
    findings.extend(proc());
    findings.push(hook(config.hook));
    for name in &config.interfaces {
        findings.push(watched_interface(name, config.hook).await?);
    }
    for port in &config.ports {
        findings.push(listener(*port));
    }
    findings.push(memory(config.limits));
    if let Some(path) = &config.output {
        findings.push(output(path));
    }
    let text = if arguments.json {
        serde_json::to_string_pretty(&findings)?
    } else {
        table(&findings).to_string()
    };
    print(format!("{text}\n").as_bytes())?;
    let failures = findings
        .iter()
        .filter(|finding| finding.grade == Grade::Failure)
        .count();
    if failures > 0 {
        let error = anyhow!(
            "this host is not fit: {failures} of the findings above would keep `run` from working"
        );
        return Err(Failure::host(error));
    }
    Ok(())
}

impl Finding {
    fn new(what: &'static str, grade: Grade, detail: impl Into<String>) -> Self {
        Self {
            what,
            grade,
            detail: detail.into(),
        }
    }

    fn of(what: &'static str, result: anyhow::Result<String>) -> Self {
        match result {
            Ok(detail) => Self::new(what, Grade::Ok, detail),
            Err(error) => Self::new(what, Grade::Failure, format!("{error:#}")),
        }
    }
}

fn kernel_release() -> Finding {
    Finding::of("kernel", host::require_kernel())
}

fn privileges() -> Finding {
    let granted = || "may load programs and attach them".to_owned();
    Finding::of("privileges", host::require_privileges().map(|()| granted()))
}

/// Most hosts have it, and need not read of it.
fn proc() -> Option<Finding> {
    let error = host::require_proc().err()?;
    Some(Finding::of("/proc", Err(error)))
}

/// Loads the programs for a moment, so that the verifier has seen them; attaches nothing.
fn programs(config: &Config) -> Finding {
    const FEW: Limits = Limits {
        sessions: NonZeroU32::MIN,
        half_open: NonZeroU32::MIN,
    };
    if host::require_kernel().is_err() {
        return unexamined("programs", "on a kernel this old");
    }
    if host::require_privileges().is_err() {
        return unexamined("programs", "without privileges");
    }
    host::lift_memory_limit();
    let loaded = Kernel::load(&config.ports, FEW)
        .and_then(|mut kernel| {
            kernel.load_programs(Framing::Ethernet)?;
            kernel.load_programs(Framing::Ip)
        })
        .map(|()| "the verifier accepts them".to_owned())
        .context("the kernel refuses the programs");
    Finding::of("programs", loaded)
}

fn hook(choice: HookChoice) -> Finding {
    if host::require_privileges().is_err() {
        return unexamined("hook", "without privileges");
    }
    let none = "this kernel has no TCX, which came with Linux 6.6";
    let (grade, detail) = match (choice, has_tcx()) {
        (HookChoice::Clsact, _) => (Grade::Ok, "clsact".to_owned()),
        (_, true) => (Grade::Ok, "tcx".to_owned()),
        (HookChoice::Auto, false) => (Grade::Ok, format!("clsact: {none}")),
        (HookChoice::Tcx, false) => (Grade::Failure, none.to_owned()),
    };
    Finding::new("hook", grade, detail)
}

fn unexamined(what: &'static str, why: &str) -> Finding {
    Finding::new(what, Grade::Warning, format!("not examined {why}"))
}

async fn watched_interface(name: &str, choice: HookChoice) -> Result<Finding, Failure> {
    let found = interface::find(name).await?;
    let Some(interface) = found else {
        let detail =
            format!("there is no interface {name:?} here; `ip link` lists those there are");
        return Ok(Finding::new("interface", Grade::Failure, detail));
    };
    if let Some(owner) = instance::owner(name)? {
        let detail = format!("{name} is watched already, by {owner}");
        return Ok(Finding::new("interface", Grade::Failure, detail));
    }
    let clsact = choice == HookChoice::Clsact || choice == HookChoice::Auto && !has_tcx();
    if clsact && interface::has_ingress_qdisc(&interface).await? {
        let detail = format!("{name} has an ingress qdisc, which takes the place of clsact");
        return Ok(Finding::new("interface", Grade::Failure, detail));
    }
    let detail = format!(
        "{name}, index {}, {:?} framing",
        interface.index, interface.framing
    );
    Ok(Finding::new("interface", Grade::Ok, detail))
}

/// Who listens on a port.
fn listener(port: u16) -> Finding {
    match listening_processes(port) {
        Ok(names) if names.is_empty() => Finding::new(
            "listener",
            Grade::Warning,
            format!("nobody listens on port {port} yet"),
        ),
        Ok(names) => {
            let names: Vec<String> = names.into_iter().collect();
            Finding::new(
                "listener",
                Grade::Ok,
                format!("port {port}: {}", names.join(", ")),
            )
        }
        Err(error) => Finding::new("listener", Grade::Warning, format!("{error:#}")),
    }
}

fn listening_processes(port: u16) -> anyhow::Result<BTreeSet<String>> {
    let sockets = listening_sockets([port])?;
    let inodes: BTreeSet<u64> = sockets.iter().map(|socket| socket.inode).collect();
    let mut holders = Holders::default();
    holders.update(&inodes)?;
    let mut names: BTreeSet<String> = inodes
        .iter()
        .filter_map(|inode| holders.of(*inode))
        .flatten()
        .filter_map(|holder| Some(format!("{} (process {})", holder.name()?, holder.pid)))
        .collect();
    if names.is_empty() && !inodes.is_empty() {
        names.insert("a process that this user can't see".into());
    }
    Ok(names)
}

fn memory(limits: Limits) -> Finding {
    let needed = limits.bytes();
    let text = format!(
        "{} MiB of kernel memory for {}",
        needed >> 20,
        counted(limits.sessions.get(), "session")
    );
    let available = Meminfo::current()
        .ok()
        .and_then(|memory| memory.mem_available);
    match available {
        Some(available) if needed > available / 2 => Finding::new(
            "memory",
            Grade::Warning,
            format!("{text}, of {} MiB available", available >> 20),
        ),
        _ => Finding::new("memory", Grade::Ok, text),
    }
}

fn output(path: &Path) -> Finding {
    let probed = output::probe(path).map(|()| format!("{} can be written", path.display()));
    Finding::of("output", probed)
}

fn table(findings: &[Finding]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    for finding in findings {
        // The crate leaves out colours where there is no terminal.
        let color = match finding.grade {
            Grade::Ok => Color::Green,
            Grade::Warning => Color::Yellow,
            Grade::Failure => Color::Red,
        };
        table.add_row([
            Cell::new(finding.grade).fg(color),
            Cell::new(finding.what),
            Cell::new(&finding.detail),
        ]);
    }
    table
}
