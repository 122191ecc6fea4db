//! What the build needs beyond a Rust toolchain, installed once.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::run::{cargo, command, output, run, target};

/// The linker has to use the very LLVM that rustc uses; this version finds it in rustc.
const BPF_LINKER: &str = "0.10.3";

/// Builds what libFuzzer runs.
const CARGO_FUZZ: &str = "0.13.2";

/// Installs what is lacking, and says so.
pub(crate) fn setup() -> anyhow::Result<()> {
    rust_source()?;
    bpf_linker()
}

/// `core` is built from source for the BPF target.
fn rust_source() -> anyhow::Result<()> {
    component("rust-src", Path::new("src/rust/library/core")).map(drop)
}

/// The folder of LLVM's tools, as rustc comes with them.
pub(crate) fn llvm_tools() -> anyhow::Result<PathBuf> {
    component("llvm-tools", &Path::new(&host()?).join("bin/llvm-cov")).map(|tool| {
        // It has a parent: the folder that it was joined to.
        tool.parent().map(Path::to_owned).unwrap_or_default()
    })
}

/// The target that rustc builds for unless told otherwise.
pub(crate) fn host() -> anyhow::Result<String> {
    output(command("rustc").arg("-vV"))?
        .lines()
        .find_map(|line| line.strip_prefix("host: ").map(str::to_owned))
        .context("rustc does not say what it builds for")
}

/// Where the toolchain keeps its libraries, those of each target in a folder.
fn rustlib() -> anyhow::Result<PathBuf> {
    let sysroot = output(command("rustc").args(["--print", "sysroot"]))?;
    Ok(Path::new(sysroot.trim()).join("lib/rustlib"))
}

/// Installs a component of the toolchain unless `file` of it is there, and says where.
fn component(name: &str, file: &Path) -> anyhow::Result<PathBuf> {
    let file = rustlib()?.join(file);
    if !file.exists() {
        eprintln!("xtask: installing {name} through rustup");
        run(command("rustup").args(["component", "add", name]))?;
    }
    Ok(file)
}

fn bpf_linker() -> anyhow::Result<()> {
    tool("bpf-linker", BPF_LINKER, "about 1 minute")
}

/// Installs cargo-fuzz, which only fuzzing needs.
pub(crate) fn cargo_fuzz() -> anyhow::Result<()> {
    tool("cargo-fuzz", CARGO_FUZZ, "less than 1 minute")
}

/// Installs this version of a tool under `target/tools`, unless it is there.
fn tool(name: &str, version: &str, takes: &str) -> anyhow::Result<()> {
    let tools = target("tools");
    let program = tools.join("bin").join(name);
    if program.exists() {
        let installed = output(command(&program.to_string_lossy()).arg("--version"))?;
        if installed.split_whitespace().any(|word| word == version) {
            return Ok(());
        }
    }
    eprintln!("xtask: installing {name} {version} under target/tools; takes {takes}");
    run(cargo()
        .args(["install", name, "--version", version, "--locked", "--force"])
        // Neither has much to do itself: it is LLVM that works. So it is not worth optimising.
        .arg("--debug")
        .arg("--root")
        .arg(tools)
        // Its own artifacts go with the others, so that a second try goes on.
        .arg("--target-dir")
        .arg(target("tools/build")))?;
    anyhow::ensure!(
        program.exists(),
        "{} is not there after all",
        program.display()
    );
    Ok(())
}
