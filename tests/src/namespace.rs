//! Network namespaces: made, entered by threads, and taken away.

use std::fs::{self, File};
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, anyhow};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

use crate::links;
use crate::process::Process;

/// Where `ip netns` looks for named namespaces.
const DIRECTORY: &str = "/run/netns";

/// First part of the name of every namespace of the laboratory; the creator's process id follows.
pub const PREFIX: &str = "sstpulse-";

/// A named network namespace, gone when dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    handle: Arc<File>,
    kept: bool,
}

impl Namespace {
    /// Makes a namespace with its loopback up and binds it at `/run/netns/<name>`, so that
    /// `ip netns exec <name>` finds it.
    pub fn create(name: &str) -> Result<Self> {
        prepare_directory()?;
        let place = place(name);
        File::create_new(&place).with_context(|| format!("cannot make {}", place.display()))?;
        // From here on the value exists, so that any failure takes the file away again.
        let mut namespace = Self {
            name: name.to_owned(),
            handle: Arc::new(File::open(&place).context("cannot open the new namespace's file")?),
            kept: false,
        };
        in_thread(|| bind_new(&place))
            .with_context(|| format!("cannot make the network namespace {name}"))?;
        namespace.handle = Arc::new(File::open(&place).context("cannot open the namespace")?);
        namespace.run(|| links::set_up("lo"))?;
        Ok(namespace)
    }

    /// Name below `/run/netns`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `job` on a thread inside the namespace and returns what it returns; its panic goes on
    /// in the caller.
    pub fn run<T: Send>(&self, job: impl FnOnce() -> T + Send) -> T {
        in_thread(|| {
            enter(&self.handle);
            job()
        })
    }

    /// Starts a thread that lives inside the namespace, as do the threads it starts.
    pub fn spawn<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let handle = Arc::clone(&self.handle);
        thread::spawn(move || {
            enter(&handle);
            job()
        })
    }

    /// Starts a child process inside the namespace; it is killed when the value is dropped.
    pub fn spawn_process(&self, command: &mut Command) -> Result<Process> {
        let program = command.get_program().to_string_lossy().into_owned();
        let child = self
            .run(|| command.spawn())
            .with_context(|| format!("cannot start {program} in {}", self.name))?;
        Ok(Process::new(child))
    }

    /// Sets a value below `/proc/sys`, `key` written with slashes.
    ///
    /// `/proc/sys/net` shows the namespace of the thread that looks, hence the thread inside.
    pub fn set_sysctl(&self, key: &str, value: &str) -> Result<()> {
        self.run(|| fs::write(sysctl(key), value))
            .with_context(|| format!("cannot set {key} to {value} in {}", self.name))
    }

    /// Reads a value below `/proc/sys`, without the newline.
    pub fn sysctl(&self, key: &str) -> Result<String> {
        self.run(|| fs::read_to_string(sysctl(key)))
            .map(|value| value.trim_end().to_owned())
            .with_context(|| format!("cannot read {key} in {}", self.name))
    }

    /// Sets an attribute of an interface, as below `/sys/class/net`.
    ///
    /// What is mounted at `/sys` shows the namespace of whoever mounted it, hence a thread that
    /// mounts its own.
    pub fn set_attribute(&self, interface: &str, key: &str, value: &str) -> Result<()> {
        let set = || {
            mount_own_sys()?;
            fs::write(format!("/sys/class/net/{interface}/{key}"), value)?;
            anyhow::Ok(())
        };
        self.run(set)
            .with_context(|| format!("cannot set {key} of {interface} to {value}"))
    }

    /// Leaves the namespace up after the value, and after the process.
    pub fn keep(&mut self) {
        self.kept = true;
    }

    /// Removes namespaces of the laboratory whose creating process lives no more, and returns how
    /// many they were.
    pub fn remove_stale() -> Result<usize> {
        let Ok(entries) = fs::read_dir(DIRECTORY) else {
            return Ok(0);
        };
        let mut removed = 0;
        for entry in entries {
            let name = entry.context("cannot list the namespaces")?.file_name();
            let name = name.to_string_lossy();
            if creator(&name).is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
                unbind(&place(&name));
                removed += 1;
            }
        }
        Ok(removed)
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if !self.kept {
            unbind(&place(&self.name));
        }
    }
}

/// Process that made the namespace of that name, if it is one of the laboratory.
fn creator(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok()
}

fn place(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}

fn sysctl(key: &str) -> PathBuf {
    Path::new("/proc/sys").join(key)
}

/// Gives this thread a namespace of its own and binds that to `place`.
fn bind_new(place: &Path) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET).context("cannot unshare the network")?;
    mount(
        Some("/proc/thread-self/ns/net"),
        place,
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )
    .with_context(|| format!("cannot bind the namespace to {}", place.display()))
}

/// Makes the directory a mount of its own whose mounts are shared, as `ip netns` does: it
/// would otherwise do so later, and hide what is mounted there by then.
fn prepare_directory() -> Result<()> {
    fs::create_dir_all(DIRECTORY).with_context(|| format!("cannot make {DIRECTORY}"))?;
    let change = |source, flags| {
        let none = None::<&str>;
        mount(source, DIRECTORY, none, flags | MsFlags::MS_REC, none)
    };
    if change(None::<&str>, MsFlags::MS_SHARED).is_ok() {
        return Ok(());
    }
    change(Some(DIRECTORY), MsFlags::MS_BIND)
        .and_then(|()| change(None, MsFlags::MS_SHARED))
        .with_context(|| format!("cannot make {DIRECTORY} a mount of its own"))
}

/// Takes away all that is mounted at `place` and then the file. There is nobody to tell of a
/// failure: what remains, `remove_stale` finds.
fn unbind(place: &Path) {
    while umount2(place, MntFlags::MNT_DETACH).is_ok() {}
    let _ = fs::remove_file(place);
}

/// Gives this thread mounts of its own, among them one of sysfs; they vanish with the thread.
fn mount_own_sys() -> Result<()> {
    let none = None::<&str>;
    unshare(CloneFlags::CLONE_NEWNS).context("cannot unshare the mounts")?;
    mount(none, "/", none, MsFlags::MS_PRIVATE | MsFlags::MS_REC, none)
        .context("cannot keep mounts private")?;
    mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), none)
        .context("cannot mount sysfs")
}

/// Moves this thread into the namespace.
fn enter(handle: &File) {
    setns(handle, CloneFlags::CLONE_NEWNET).expect("setns into an open namespace as root");
}

/// A thread of its own, so that the namespace of the caller's thread stays what it was.
fn in_thread<T: Send>(job: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| scope.spawn(job).join()).unwrap_or_else(|panic| resume_unwind(panic))
}

/// Runs a future to its end on this thread, inside whatever namespace the thread is in.
pub(crate) fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| anyhow!("cannot start an event loop: {error}"))?
        .block_on(future)
}
