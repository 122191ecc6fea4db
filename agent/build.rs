//! Builds the kernel half (`agent-ebpf`) for the BPF target, for `include_bytes!`.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, exit},
};

const TARGET: &str = "bpfel-unknown-none";
const PACKAGE: &str = "sstpulse-ebpf";

fn main() {
    let root = Path::new(&variable("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the agent is a member of the workspace")
        .to_owned();
    for input in [
        "agent-ebpf",
        "agent-common",
        "Cargo.lock",
        ".cargo/config.toml",
    ] {
        println!("cargo::rerun-if-changed={}", root.join(input).display());
    }
    let linker = root.join("target/tools/bin/bpf-linker");
    println!("cargo::rerun-if-changed={}", linker.display());
    if !linker.exists() {
        fail("bpf-linker is not installed under target/tools: run `cargo xtask setup` once");
    }

    // A folder of its own: the cargo that runs this script holds the lock of the other. It is
    // the same for all profiles of the agent, as is what comes of it.
    let target = root.join("target/ebpf");
    let status = Command::new(variable("CARGO"))
        .current_dir(&root)
        .args(["build", "--release", "--package", PACKAGE])
        .args(["--target", TARGET, "-Z", "build-std=core", "--target-dir"])
        .arg(&target)
        // `core` has to be built for the BPF target, which a stable toolchain does only
        // when told to, for this one build.
        .env("RUSTC_BOOTSTRAP", "1")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTFLAGS")
        .env_remove("RUSTC")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .status();
    match status {
        Ok(status) if status.success() => {}
        Ok(status) => fail(&format!("building the kernel half ended with {status}")),
        Err(error) => fail(&format!(
            "can't run cargo to build the kernel half: {error}"
        )),
    }
    let built = target.join(TARGET).join("release/sstpulse");
    let object = PathBuf::from(variable("OUT_DIR")).join("sstpulse.o");
    if let Err(error) = fs::copy(&built, &object) {
        fail(&format!("can't copy {}: {error}", built.display()));
    }
    println!("cargo::rustc-env=SSTPULSE_OBJECT={}", object.display());
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| fail(&format!("cargo did not set {name}")))
}

fn fail(message: &str) -> ! {
    println!("cargo::error={message}");
    exit(1)
}
