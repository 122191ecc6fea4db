//! `cargo xtask vm`: the same binary on the kernels that operators run.

pub(crate) mod image;
pub(crate) mod kernels;
pub(crate) mod machine;

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use comfy_table::{Table, presets::ASCII_MARKDOWN};
use serde::Deserialize;

use self::{
    image::Image,
    kernels::{KERNELS, Kernel},
    machine::{Machine, QEMU},
};
use crate::programs;

/// Arguments of `vm`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Try this kernel, such as 6.1; more than once for more of them [default: 5.10, 6.1, 6.12]
    #[arg(long, value_name = "VERSION")]
    kernel: Vec<String>,
    /// Try all kernels: the default ones, and the newest that Debian has
    #[arg(long, conflicts_with = "kernel")]
    all: bool,
}

/// Kernels that are tried unless told otherwise: those of Debian's releases.
const USUAL: usize = 3;

/// Longest that one kernel may take; emulated, all takes ten times as long.
const PATIENCE: Duration = Duration::from_mins(10);

/// What a machine reports in the end.
#[derive(Deserialize)]
struct Report {
    release: String,
    hook: String,
    load_ms: u64,
    attach_ms: u64,
    detach_ms: u64,
    verifier: Vec<Verified>,
    failed: u32,
}

/// What a program costs the verifier.
#[derive(Deserialize)]
struct Verified {
    program: String,
    instructions: u32,
    stack: Vec<u32>,
}

/// Tries the kernels, and fails if anything fails on any.
pub(crate) fn vm(arguments: &Arguments) -> anyhow::Result<()> {
    let chosen = choose(arguments)?;
    install_programs()?;
    let binaries = image::binaries()?;
    let mut archive = None;
    let mut suites: Vec<&str> = chosen.iter().map(|kernel| kernel.suite).collect();
    suites.sort_unstable();
    suites.dedup();
    let mut reports = Vec::new();
    for kernel in &chosen {
        let began = Instant::now();
        let fetched = kernel.fetch(&mut archive, &suites)?;
        let image = image::build(kernel, fetched, &binaries)?;
        let report = boot(kernel, &image)?;
        reports.push((report, began.elapsed()));
    }
    println!("{}", kernel_table(&reports));
    println!("\n{}", verifier_table(&reports));
    let failed: u32 = reports.iter().map(|(report, _)| report.failed).sum();
    ensure!(failed == 0, "{failed} steps failed; see above");
    Ok(())
}

/// Installs what it takes to boot a machine.
pub(crate) fn install_programs() -> anyhow::Result<()> {
    programs::install(&PROGRAMS, "to boot kernels")?;
    for (program, package) in PROGRAMS {
        if !programs::exists(program) {
            bail!("{program} is missing, without which no kernel boots here; install {package}");
        }
    }
    Ok(())
}

fn choose(arguments: &Arguments) -> anyhow::Result<Vec<&'static Kernel>> {
    if arguments.all {
        return Ok(KERNELS.iter().collect());
    }
    if arguments.kernel.is_empty() {
        return Ok(KERNELS.iter().take(USUAL).collect());
    }
    let known: Vec<&str> = KERNELS.iter().map(|kernel| kernel.version).collect();
    arguments
        .kernel
        .iter()
        .map(|version| {
            KERNELS
                .iter()
                .find(|kernel| kernel.version == version)
                .with_context(|| format!("no kernel {version:?}; there are {}", known.join(", ")))
        })
        .collect()
}

fn boot(kernel: &Kernel, image: &Image) -> anyhow::Result<Report> {
    eprintln!("\nLinux {}", kernel.version);
    let machine = Machine {
        kernel: &image.kernel,
        root: &image.root,
        job: "kernels",
        memory: 1024,
        console: image.folder.join("console"),
        options: Vec::new(),
        patience: PATIENCE,
    };
    let mut report = None;
    machine.run(|line| match serde_json::from_str(&line) {
        Ok(read) => report = Some(read),
        Err(_) => eprintln!("  {line}"),
    })?;
    report.with_context(|| format!("the machine went off early\n{}", machine.last_words()))
}

fn kernel_table(reports: &[(Report, Duration)]) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header([
        "kernel", "hook", "load", "attach", "detach", "result", "time",
    ]);
    for (report, time) in reports {
        let result = match report.failed {
            0 => "ok".to_owned(),
            failed => format!("{failed} steps failed"),
        };
        table.add_row([
            report.release.clone(),
            report.hook.clone(),
            format!("{} ms", report.load_ms),
            format!("{} ms", report.attach_ms),
            format!("{} ms", report.detach_ms),
            result,
            format!("{:.0} s", time.as_secs_f64()),
        ]);
    }
    table
}

/// Instructions and stack of each program on each kernel.
fn verifier_table(reports: &[(Report, Duration)]) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header([
        "kernel",
        "program",
        "instructions",
        "stack, bytes",
    ]);
    for (report, _) in reports {
        for program in &report.verifier {
            let stack: Vec<String> = program.stack.iter().map(u32::to_string).collect();
            table.add_row([
                report.release.clone(),
                program.program.clone(),
                program.instructions.to_string(),
                stack.join(" + "),
            ]);
        }
    }
    table
}

/// Programs of others that this takes, and their packages in Debian.
const PROGRAMS: [(&str, &str); 4] = [
    (QEMU, "qemu-system-x86"),
    ("modprobe", "kmod"),
    ("cpio", "cpio"),
    ("xz", "xz-utils"),
];
