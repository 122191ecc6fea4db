//! What the build needs beyond a Rust toolchain, installed once.

use std::path::Path;

use crate::run::{cargo, command, output, run, target};

/// The linker has to use the very LLVM that rustc uses; this version finds it in rustc.
const BPF_LINKER: &str = "0.10.3";

/// Installs what is lacking, and says so.
pub(crate) fn setup() -> anyhow::Result<()> {
    rust_source()?;
    bpf_linker()
}

/// `core` is built from source for the BPF target.
fn rust_source() -> anyhow::Result<()> {
    let sysroot = output(command("rustc").args(["--print", "sysroot"]))?;
    let source = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core");
    if source.exists() {
        return Ok(());
    }
    eprintln!("xtask: installing rust-src through rustup");
    run(command("rustup").args(["component", "add", "rust-src"]))
}

fn bpf_linker() -> anyhow::Result<()> {
    let tools = target("tools");
    let linker = tools.join("bin/bpf-linker");
    if linker.exists() {
        let version = output(command(&linker.to_string_lossy()).arg("--version"))?;
        if version.split_whitespace().any(|word| word == BPF_LINKER) {
            return Ok(());
        }
    }
    eprintln!("xtask: installing bpf-linker {BPF_LINKER} under target/tools; takes 2 to 3 minutes");
    run(cargo()
        .args([
            "install",
            "bpf-linker",
            "--version",
            BPF_LINKER,
            "--locked",
            "--force",
        ])
        .arg("--root")
        .arg(tools)
        // Its own artifacts go with the others, so that a second try goes on.
        .arg("--target-dir")
        .arg(target("tools/build")))?;
    anyhow::ensure!(
        linker.exists(),
        "{} is not there after all",
        linker.display()
    );
    Ok(())
}
