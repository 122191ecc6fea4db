//! Which processes hold a socket open.
//!
//! The kernel tells it one way only: every descriptor of every process names its socket. So who
//! holds one is searched for once, and remembered with the descriptor, which one link confirms.

use std::{
    collections::{BTreeSet, HashMap},
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use procfs::{
    ProcError,
    process::{LimitValue, Process, all_processes},
};

/// How many processes are told for each socket.
const MOST_PROCESSES: usize = 16;

/// When processes are searched through although nothing seems to have changed: a socket may have
/// been handed on to more processes, and one that was not found may be by now.
const SEARCH_ANEW: Duration = Duration::from_mins(10);

/// A search reads every link of every process, which takes about 5 us each. It waits for this
/// many times what the last one took: if something changed, so that sockets that come and go
/// can't keep a CPU busy, ...
const REST_IF_CHANGED: u32 = 20;
/// ... and if nothing did.
const REST: u32 = 500;

/// A process that holds a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The process's number.
    pub pid: i32,
    /// The descriptor it holds the socket by, below `/proc/PID/fd`.
    descriptor: PathBuf,
}

/// Sockets, and the processes that hold them.
#[derive(Default)]
pub struct Holders {
    by_inode: HashMap<u64, Vec<Holder>>,
    /// Whether there were processes that this user may not look into.
    hidden: bool,
    last: Option<Search>,
}

/// A search through all processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Search {
    ended: Instant,
    took: Duration,
}

impl Holders {
    /// Sees to it that the holders of these sockets are known, given by their inodes. Searches
    /// all processes if a socket is new or a holder has let go of one, and every ten minutes;
    /// later if searches take long. Fails if `/proc` can't be listed.
    pub fn update(&mut self, inodes: &BTreeSet<u64>) -> anyhow::Result<()> {
        let changed = !self.are_current(inodes);
        if self.last.is_some_and(|last| !last.next_is_due(changed)) {
            return Ok(());
        }
        let start = Instant::now();
        self.search(inodes).context("can't list the processes")?;
        self.last = Some(Search {
            ended: Instant::now(),
            took: start.elapsed(),
        });
        Ok(())
    }

    /// The processes that hold a socket, by number, 16 at most; `None` if they were not
    /// searched for yet.
    pub fn of(&self, inode: u64) -> Option<&[Holder]> {
        self.by_inode.get(&inode).map(Vec::as_slice)
    }

    /// Whether there were processes that this user may not look into.
    pub const fn hidden(&self) -> bool {
        self.hidden
    }

    fn are_current(&self, inodes: &BTreeSet<u64>) -> bool {
        inodes.iter().all(|inode| {
            let known = self.by_inode.get(inode);
            known.is_some_and(|all| all.iter().all(|holder| holder.holds(*inode)))
        })
    }

    fn search(&mut self, inodes: &BTreeSet<u64>) -> Result<(), ProcError> {
        // Those that nobody is found for are known too, to be held by nobody.
        self.by_inode = inodes.iter().map(|inode| (*inode, Vec::new())).collect();
        self.hidden = false;
        if inodes.is_empty() {
            return Ok(());
        }
        // A process that can't be opened has just ended.
        for process in all_processes()?.flatten() {
            if let Err(error) = self.search_in(process.pid) {
                self.hidden |= error.kind() == io::ErrorKind::PermissionDenied;
            }
        }
        Ok(())
    }

    fn search_in(&mut self, pid: i32) -> io::Result<()> {
        for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
            let descriptor = entry?.path();
            let inode = match socket_behind(&descriptor) {
                Ok(inode) => inode,
                // Just closed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let Some(holders) = inode.and_then(|inode| self.by_inode.get_mut(&inode)) else {
                continue;
            };
            let known = holders.iter().any(|holder| holder.pid == pid);
            if !known && holders.len() < MOST_PROCESSES {
                holders.push(Holder { pid, descriptor });
            }
        }
        Ok(())
    }
}

/// The inode of the socket that a descriptor below `/proc/PID/fd` stands for; `None` if it
/// stands for something else (`sockfs_dname` in `net/socket.c`).
fn socket_behind(descriptor: &Path) -> io::Result<Option<u64>> {
    let target = fs::read_link(descriptor)?;
    let number = |target: &str| {
        target
            .strip_prefix("socket:[")?
            .strip_suffix(']')?
            .parse()
            .ok()
    };
    Ok(target.to_str().and_then(number))
}

impl Search {
    /// Whether it is time for the next one.
    fn next_is_due(&self, changed: bool) -> bool {
        let rest = if changed {
            self.took.saturating_mul(REST_IF_CHANGED)
        } else {
            SEARCH_ANEW.max(self.took.saturating_mul(REST))
        };
        self.ended.elapsed() >= rest
    }
}

impl Holder {
    /// Name of the process, cut to 15 bytes by the kernel; `None` if it has ended.
    pub fn name(&self) -> Option<String> {
        let name = fs::read(format!("/proc/{}/comm", self.pid)).ok()?;
        Some(String::from_utf8_lossy(&name).trim_end().to_owned())
    }

    /// How many descriptors the process has open; `None` if this user may not know.
    pub fn open_files(&self) -> Option<u64> {
        let folder = format!("/proc/{}/fd", self.pid);
        // Its size is their number since Linux 6.2 (`proc_fd_getattr` in `fs/proc/fd.c`), and 0
        // before. A process that holds a socket has at least one.
        match fs::metadata(&folder).ok()?.len() {
            0 => u64::try_from(fs::read_dir(&folder).ok()?.count()).ok(),
            number => Some(number),
        }
    }

    /// How many descriptors the process may have open: its soft `RLIMIT_NOFILE`. `None` if it
    /// has ended.
    pub fn open_files_limit(&self) -> Option<u64> {
        let limits = Process::new(self.pid).ok()?.limits().ok()?;
        match limits.max_open_files.soft_limit {
            LimitValue::Value(limit) => Some(limit),
            LimitValue::Unlimited => None,
        }
    }

    /// Whether it holds this socket still. Another process of the same number would not.
    fn holds(&self, inode: u64) -> bool {
        socket_behind(&self.descriptor).is_ok_and(|socket| socket == Some(inode))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{Ipv4Addr, TcpListener},
        os::{fd::AsRawFd as _, unix::fs::MetadataExt as _},
        process,
    };

    use nix::sys::resource::{Resource, getrlimit};

    use super::*;

    fn listen() -> anyhow::Result<(TcpListener, BTreeSet<u64>)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let link = format!("/proc/self/fd/{}", listener.as_raw_fd());
        let inodes = BTreeSet::from([fs::metadata(link)?.ino()]);
        Ok((listener, inodes))
    }

    fn pids(holders: &Holders, inodes: &BTreeSet<u64>) -> Vec<i32> {
        let holders = inodes.iter().filter_map(|inode| holders.of(*inode));
        holders.flatten().map(|holder| holder.pid).collect()
    }

    /// Whether an update searches; a long rest after the last search apart.
    fn searches(holders: &mut Holders, inodes: &BTreeSet<u64>) -> anyhow::Result<bool> {
        if let Some(last) = &mut holders.last {
            last.took = Duration::ZERO;
        }
        let before = holders.last;
        holders.update(inodes)?;
        Ok(holders.last != before)
    }

    #[test]
    fn the_process_behind_a_socket_is_found() -> anyhow::Result<()> {
        let (listener, inodes) = listen()?;
        let mut holders = Holders::default();
        holders.update(&inodes)?;
        let me = i32::try_from(process::id())?;
        assert_eq!(pids(&holders, &inodes), [me]);

        let inode = inodes.first().context("a socket")?;
        let holder = &holders.of(*inode).context("its holders")?[0];
        let descriptor = format!("/proc/{me}/fd/{}", listener.as_raw_fd());
        assert_eq!(holder.descriptor, Path::new(&descriptor));
        let name = fs::read_to_string("/proc/self/comm")?;
        assert_eq!(holder.name().as_deref(), Some(name.trim_end()));
        let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
        assert_eq!(holder.open_files_limit(), Some(soft));
        assert!(
            holder
                .open_files()
                .is_some_and(|open| open > 3 && open < soft)
        );
        Ok(())
    }

    #[test]
    fn processes_are_searched_only_when_something_changed() -> anyhow::Result<()> {
        let (first, mut inodes) = listen()?;
        let mut holders = Holders::default();
        assert!(searches(&mut holders, &inodes)?);
        assert!(!searches(&mut holders, &inodes)?);

        let (_second, more) = listen()?;
        inodes.extend(more);
        assert!(searches(&mut holders, &inodes)?, "a socket is new");
        assert_eq!(pids(&holders, &inodes).len(), 2);

        drop(first);
        assert!(searches(&mut holders, &inodes)?, "a holder has let go");
        assert_eq!(pids(&holders, &inodes).len(), 1);
        // That nobody holds the first is known now.
        assert!(!searches(&mut holders, &inodes)?);
        Ok(())
    }

    #[test]
    fn searches_that_take_long_come_seldom() -> anyhow::Result<()> {
        let search = |seconds_ago, took| {
            let ended = Instant::now().checked_sub(Duration::from_secs(seconds_ago));
            let took = Duration::from_millis(took);
            ended.map(|ended| Search { ended, took }).context("a time")
        };
        assert!(!search(19, 1_000)?.next_is_due(true));
        assert!(search(20, 1_000)?.next_is_due(true));
        // Ten minutes, and 500 times a quick search is less.
        assert!(!search(599, 5)?.next_is_due(false));
        assert!(search(600, 5)?.next_is_due(false));
        assert!(!search(999, 2_000)?.next_is_due(false));
        assert!(search(1_000, 2_000)?.next_is_due(false));
        Ok(())
    }

    #[test]
    fn a_socket_that_is_new_while_the_search_rests_is_unknown() -> anyhow::Result<()> {
        let (_first, inodes) = listen()?;
        let mut holders = Holders::default();
        holders.update(&inodes)?;
        if let Some(last) = &mut holders.last {
            last.took = Duration::from_mins(1);
        }
        let (_second, more) = listen()?;
        holders.update(&more)?;
        assert_eq!(holders.of(*more.first().context("a socket")?), None);
        Ok(())
    }
}
