//! Where a capture comes from: a file, or a pipe that may be live.

use std::{
    fs::File,
    io::{self, IsTerminal as _, Read},
    os::fd::AsFd as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// How long a read of an idle pipe goes on before it looks whether it is to stop, in
/// milliseconds.
const PATIENCE_MS: u16 = 200;

/// How long a pipe may go on when it is to stop.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A capture to be read.
pub(super) struct Input {
    file: File,
    /// Its size in bytes; `None` for a pipe.
    size: Option<u64>,
    stop: Arc<AtomicBool>,
    /// Since when it is to stop.
    stopped: Option<Instant>,
}

/// Opens a file, or standard input if there is none. It ends early once `stop` is set.
pub(super) fn open(path: Option<&Path>, stop: &Arc<AtomicBool>) -> anyhow::Result<Input> {
    let file = match path {
        Some(path) => File::open(path).with_context(|| format!("can't open {}", path.display()))?,
        None if io::stdin().is_terminal() => {
            bail!("standard input is a terminal; pipe a capture in, as `tcpdump -w -` writes it")
        }
        None => File::from(
            io::stdin()
                .as_fd()
                .try_clone_to_owned()
                .context("can't read standard input")?,
        ),
    };
    let metadata = file.metadata().context("can't look at the capture")?;
    if metadata.is_dir() {
        bail!(
            "{} is a folder; name a capture",
            path.unwrap_or(Path::new("-")).display()
        );
    }
    Ok(Input {
        size: metadata.is_file().then_some(metadata.len()),
        file,
        stop: Arc::clone(stop),
        stopped: None,
    })
}

impl Input {
    /// Whether it may be written while it is read.
    pub(super) const fn is_live(&self) -> bool {
        self.size.is_none()
    }

    /// A progress bar on stderr, if that is a terminal and `wanted`.
    pub(super) fn progress(&self, wanted: bool) -> ProgressBar {
        let target = if wanted {
            // Draws nothing unless stderr is a terminal.
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let (bar, template) = match self.size {
            Some(size) => (
                ProgressBar::with_draw_target(Some(size), target),
                "{bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left",
            ),
            None => (
                ProgressBar::with_draw_target(None, target),
                "{spinner} {bytes}, {bytes_per_sec}",
            ),
        };
        match ProgressStyle::with_template(template) {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        }
    }
}

impl Input {
    /// Whether a pipe is still worth waiting for: who writes it is told to stop by the same
    /// Ctrl-C, and then writes what it has.
    fn goes_on(&mut self) -> bool {
        if !self.stop.load(Ordering::Relaxed) {
            return true;
        }
        let stopped = *self.stopped.get_or_insert_with(Instant::now);
        stopped.elapsed() < LAST_WORDS
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.is_live() {
            return self.file.read(buffer);
        }
        while self.goes_on() {
            let mut ready = [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)];
            match poll(&mut ready, PollTimeout::from(PATIENCE_MS)) {
                Ok(0) | Err(nix::errno::Errno::EINTR) => {}
                Ok(_) => return self.file.read(buffer),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(0)
    }
}
