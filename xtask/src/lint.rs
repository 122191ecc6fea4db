//! `cargo xtask lint`: formatting and lints of both halves, and of the fuzzing.

use crate::{
    fuzz,
    run::{cargo, run, target},
    setup::setup,
};

/// Checks formatting and lints; warnings are errors.
pub(crate) fn lint() -> anyhow::Result<()> {
    setup()?;
    run(cargo().args(["fmt", "--all", "--check"]))?;
    run(cargo()
        .args(["clippy", "--quiet", "--all-targets", "--locked"])
        .args(["--", "--deny", "warnings"]))?;
    run(cargo()
        .args([
            "clippy",
            "--quiet",
            "--release",
            "--locked",
            "--package",
            "sstpulse-ebpf",
            "--all-features",
        ])
        .args(["--target", "bpfel-unknown-none", "-Z", "build-std=core"])
        .args(["--", "--deny", "warnings"])
        .env("RUSTC_BOOTSTRAP", "1"))?;
    fuzzing()
}

/// The fuzzing is a workspace of its own.
fn fuzzing() -> anyhow::Result<()> {
    fuzz::compiler()?;
    run(cargo().args(["fmt", "--manifest-path", fuzz::MANIFEST, "--check"]))?;
    run(cargo()
        .args(["clippy", "--quiet", "--all-targets", "--locked"])
        .args(["--manifest-path", fuzz::MANIFEST, "--target-dir"])
        .arg(target(""))
        .args(["--", "--deny", "warnings"]))
}
