//! `cargo xtask lint`: formatting and lints of both halves.

use crate::{
    run::{cargo, run},
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
        ])
        .args(["--target", "bpfel-unknown-none", "-Z", "build-std=core"])
        .args(["--", "--deny", "warnings"])
        .env("RUSTC_BOOTSTRAP", "1"))
}
