//! Programs of others, installed where there is a Debian to do so.

use std::env;

use crate::run::{command, run, status};

/// Installs those of `programs` that are missing; each is named with its package in Debian.
/// Elsewhere, says so, with `why` they are wanted.
pub(crate) fn install(programs: &[(&str, &str)], why: &str) -> anyhow::Result<()> {
    let missing: Vec<&str> = programs
        .iter()
        .filter(|(program, _)| !exists(program))
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !exists("apt-get") {
        eprintln!("xtask: install these {why}: {}", missing.join(", "));
        return Ok(());
    }
    eprintln!("xtask: installing {} with apt-get", missing.join(", "));
    // A list that is out of date is no reason to stop; the installation will tell.
    let _ = status(command("apt-get").args(["update", "--quiet"]));
    run(command("apt-get")
        .args(["install", "--yes", "--quiet", "--no-install-recommends"])
        .args(missing)
        .env("DEBIAN_FRONTEND", "noninteractive"))
}

/// Whether a program is to be found.
pub(crate) fn exists(program: &str) -> bool {
    env::var_os("PATH")
        .is_some_and(|path| env::split_paths(&path).any(|folder| folder.join(program).exists()))
}
