//! `cargo xtask dist`: the binary as it is released, which needs nothing of its host.

use std::{fs, path::PathBuf};

use anyhow::Context as _;

use crate::{
    run::{cargo, run, target},
    setup,
};

/// What releases are built for.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The C library comes along, whatever the host has: a variable of cargo's for that target alone,
/// so that what is built on the way and run here is built as ever.
const STATIC: (&str, &str) = (
    "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS",
    "-Ctarget-feature=+crt-static",
);

/// Builds the binary, says where it is and how large, and returns where.
pub(crate) fn dist() -> anyhow::Result<PathBuf> {
    let binary = build("sstpulse", "sstpulse")?;
    let size = fs::metadata(&binary)
        .with_context(|| format!("can't find {}", binary.display()))?
        .len();
    eprintln!("xtask: {} is {:.1} MB", binary.display(), mega(size));
    Ok(binary)
}

/// Builds a binary of a package the way that releases are.
pub(crate) fn build(package: &str, binary: &str) -> anyhow::Result<PathBuf> {
    setup::setup()?;
    run(cargo()
        .env(STATIC.0, STATIC.1)
        .args(["build", "--locked", "--profile", "dist", "--target", TARGET])
        .args(["--package", package, "--bin", binary]))?;
    Ok(target(TARGET).join("dist").join(binary))
}

#[expect(clippy::cast_precision_loss, reason = "a size to be read by people")]
fn mega(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
