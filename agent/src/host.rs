//! What this host can do.

use std::{fs, path::Path};

use anyhow::{Context as _, bail, ensure};
use caps::{CapSet, Capability};
use nix::sys::{
    resource::{RLIM_INFINITY, Resource, setrlimit},
    utsname::uname,
};

/// The oldest kernel that has all the programs need: the ring buffer (5.8), and what the
/// verifier understands since.
pub const OLDEST_KERNEL: (u32, u32) = (5, 10);

/// Release of the running kernel.
pub fn kernel_release() -> anyhow::Result<String> {
    let name = uname().context("can't ask for the kernel's release")?;
    Ok(name.release().to_string_lossy().into_owned())
}

/// Fails if the kernel is too old.
pub fn require_kernel() -> anyhow::Result<String> {
    let release = kernel_release()?;
    let (major, minor) = OLDEST_KERNEL;
    match version(&release) {
        Some(version) if version < OLDEST_KERNEL => {
            bail!("the kernel {release} is too old; sstpulse needs Linux {major}.{minor} or later")
        }
        _ => Ok(release),
    }
}

/// Fails if this process may not load programs and attach them.
///
/// `CAP_PERFMON` is for what the verifier forbids others: computing with pointers.
pub fn require_privileges() -> anyhow::Result<()> {
    ensure!(
        is_in_initial_user_namespace(),
        "this runs in a user namespace, as in a rootless container, where capabilities do not let \
         programs be loaded (user_namespaces(7)); run it on the host, or as its root"
    );
    let all = has(Capability::CAP_SYS_ADMIN);
    let bpf = all || has(Capability::CAP_BPF) && has(Capability::CAP_PERFMON);
    if bpf && has(Capability::CAP_NET_ADMIN) {
        return Ok(());
    }
    bail!(
        "this needs root, or the capabilities CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN; run it with \
         sudo, or grant them to the service"
    )
}

/// Whether the capabilities of this process hold for the whole host: its user numbers are the
/// host's, all of them. Where nobody can tell, loading will.
fn is_in_initial_user_namespace() -> bool {
    fs::read_to_string("/proc/self/uid_map").map_or(true, |map| {
        map.split_whitespace().eq(["0", "0", "4294967295"])
    })
}

/// Fails if /proc is not there.
pub fn require_proc() -> anyhow::Result<()> {
    ensure!(
        Path::new("/proc/self/stat").exists(),
        "/proc is not mounted here; mount it, since it tells what the agent itself takes, and who \
         listens on a port"
    );
    Ok(())
}

/// Fails if the kernel would not tell this process of programs that others have loaded.
pub fn require_insight() -> anyhow::Result<()> {
    require_privileges()?;
    if has(Capability::CAP_SYS_ADMIN) {
        return Ok(());
    }
    bail!("this needs root, or CAP_SYS_ADMIN: others are not told what is attached")
}

fn has(capability: Capability) -> bool {
    caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false)
}

/// Lifts the limit on locked memory, which kernels before 5.11 count maps against.
pub fn lift_memory_limit() {
    if let Err(error) = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY) {
        tracing::debug!(%error, "can't lift the limit on locked memory; newer kernels need it not");
    }
}

/// Major and minor number of a release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(['.', '-']);
    let major = numbers.next()?.parse().ok()?;
    let minor = numbers.next()?.parse().ok()?;
    Some((major, minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_compare_by_number() {
        assert_eq!(version("6.18.44-fc-v657"), Some((6, 18)));
        assert_eq!(version("5.10-rc1"), Some((5, 10)));
        assert!(version("5.4.0") < Some(OLDEST_KERNEL));
        assert_eq!(version("strange"), None);
    }
}
