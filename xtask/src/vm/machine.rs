//! A virtual machine: a kernel, a folder that is its root, and what it says.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};

use crate::run::command;

/// The program that emulates it.
pub(crate) const QEMU: &str = "qemu-system-x86_64";

/// Packs a folder as a kernel's first root. The archive appears when it is whole.
pub(crate) fn pack(folder: &Path, archive: &Path) -> anyhow::Result<()> {
    let partial = archive.with_extension("partial");
    let list = "set -e; list=$(mktemp); find . -print0 > $list; \
        cpio --null --create --format=newc --owner=0:0 --quiet < $list; rm $list";
    let packed =
        File::create(&partial).with_context(|| format!("can't write {}", partial.display()))?;
    let status = command("sh")
        .args(["-c", list])
        .current_dir(folder)
        .stdout(packed)
        .status()
        .context("can't run cpio")?;
    ensure!(
        status.success(),
        "packing {} ended with {status}",
        folder.display()
    );
    fs::rename(&partial, archive).with_context(|| format!("can't make {}", archive.display()))
}

/// A machine that is to be booted.
pub(crate) struct Machine<'a> {
    /// The kernel's image.
    pub(crate) kernel: &'a Path,
    /// Its root, and the job of the first process.
    pub(crate) root: &'a Path,
    pub(crate) job: &'a str,
    /// Memory, in MiB.
    pub(crate) memory: u32,
    /// Where to keep what the kernel says.
    pub(crate) console: PathBuf,
    /// Further options of the emulator.
    pub(crate) options: Vec<String>,
    /// When to give up.
    pub(crate) patience: Duration,
}

impl Machine<'_> {
    /// Boots it and hands over each line of its report, until it is off.
    pub(crate) fn run(&self, mut told: impl FnMut(String)) -> anyhow::Result<()> {
        let deadline = Instant::now() + self.patience;
        let mut child = Guard(self.start()?);
        let (sender, lines) = mpsc::channel();
        let stdout = child
            .0
            .stdout
            .take()
            .context("the emulator has no output")?;
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        loop {
            let rest = deadline.saturating_duration_since(Instant::now());
            match lines.recv_timeout(rest) {
                Ok(line) => told(line.trim_end().to_owned()),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    bail!(
                        "the machine is not done after {:?}\n{}",
                        self.patience,
                        self.last_words()
                    );
                }
            }
        }
        let status = child.0.wait().context("can't wait for the emulator")?;
        ensure!(status.success(), "{QEMU} ended with {status}");
        Ok(())
    }

    fn start(&self) -> anyhow::Result<Child> {
        command(QEMU)
            .arg("-kernel")
            .arg(self.kernel)
            .arg("-initrd")
            .arg(self.root)
            .arg("-append")
            .arg(format!(
                "console=ttyS0 panic=-1 oops=panic quiet -- {}",
                self.job
            ))
            .args(["-m", &self.memory.to_string(), "-smp", "2", "-no-reboot"])
            .args(["-nodefaults", "-display", "none"])
            .args(["-serial", &format!("file:{}", self.console.display())])
            .args(["-serial", "stdio"])
            .args(&self.options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("can't run {QEMU}"))
    }

    /// The last lines that the kernel said.
    pub(crate) fn last_words(&self) -> String {
        let said = fs::read(&self.console).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let lines: Vec<&str> = said.lines().collect();
        let last = lines[lines.len().saturating_sub(30)..].join("\n");
        format!("{last}\n(all of it: {})", self.console.display())
    }
}

/// The emulator, ended when dropped.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // Fails only if it has ended, which is what is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
