//! The machine itself: file systems, kernel modules, and the way to turn it off.

use std::{
    ffi::CString,
    fs::{self, File},
    path::Path,
};

use anyhow::{Context as _, Result};
use lab::links;
use nix::{
    kmod::{ModuleInitFlags, finit_module},
    mount::{MsFlags, mount},
    sys::reboot::{RebootMode, reboot},
    unistd::sync,
};

/// Kernel modules, in the order of their names.
const MODULES: &str = "/modules";

/// Makes of a bare kernel what programs expect.
pub(crate) fn bring_up() -> Result<()> {
    for (kind, place) in [
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("devtmpfs", "/dev"),
        ("tmpfs", "/tmp"),
        ("tmpfs", "/run"),
    ] {
        fs::create_dir_all(place).with_context(|| format!("cannot make {place}"))?;
        mount(
            Some(kind),
            place,
            Some(kind),
            MsFlags::empty(),
            None::<&str>,
        )
        .with_context(|| format!("cannot mount {place}"))?;
    }
    load_modules()?;
    links::set_up("lo")
}

fn load_modules() -> Result<()> {
    let mut modules = fs::read_dir(MODULES)
        .context("cannot list the modules")?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()?;
    modules.sort();
    for module in modules {
        load(&module).with_context(|| format!("cannot load {}", module.display()))?;
    }
    Ok(())
}

fn load(module: &Path) -> Result<()> {
    let file = File::open(module)?;
    finit_module(file, &CString::default(), ModuleInitFlags::empty())?;
    Ok(())
}

/// Ends the machine, and with it this process.
pub(crate) fn power_off() -> ! {
    sync();
    let Err(error) = reboot(RebootMode::RB_POWER_OFF);
    panic!("cannot turn the machine off: {error}");
}
