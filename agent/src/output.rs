//! Where lines go. A thread of its own writes them, so that a slow disk or reader holds
//! up nobody; what it can't take is dropped, in batches of whole lines, and each counted.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    mem,
    os::{
        fd::AsFd as _,
        unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc::{self, Receiver, SyncSender, TrySendError},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, bail};
use nix::{
    fcntl::{AT_FDCWD, AtFlags, FcntlArg, OFlag, fcntl},
    unistd::{AccessFlags, faccessat},
};
use tokio::sync::Notify;

use crate::counted::counted;

/// Bytes that may wait to be written: seconds of a busy host's lines.
const MOST_WAITING: usize = 32 << 20;

/// Batches that may wait. The bytes decide; this only has to be more than enough.
const MOST_BATCHES: usize = 16_384;

/// Batches that may wait when there is time to wait for them.
const MOST_BATCHES_AWAITED: usize = 64;

/// Buffers that are kept to be filled again.
const MOST_SPARE: usize = 4;

/// How long the end of the agent waits for a reader that doesn't read.
const PATIENCE: Duration = Duration::from_secs(3);

/// What to do with lines while too many wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// Drop the new ones, and count them: traffic doesn't wait.
    Drop,
    /// Wait for the reader: a capture does.
    Wait,
}

/// Lines on their way out.
pub struct Output {
    when_full: WhenFull,
    batches: Option<SyncSender<Message>>,
    shared: Arc<Shared>,
    done: Receiver<()>,
    writer: Option<JoinHandle<()>>,
}

enum Message {
    Lines(Vec<u8>),
    Reopen,
}

#[derive(Default)]
struct Shared {
    waiting: AtomicUsize,
    taken: AtomicU64,
    dropped: AtomicU64,
    failed: AtomicU64,
    failing: AtomicBool,
    closed: AtomicBool,
    closing: Notify,
    /// Buffers that were written, to be filled again.
    spare: Mutex<Vec<Vec<u8>>>,
}

impl Shared {
    /// An empty buffer.
    fn spare(&self) -> Vec<u8> {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        spare.pop().unwrap_or_default()
    }

    /// Keeps a buffer to be filled again.
    fn keep(&self, mut buffer: Vec<u8>) {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < MOST_SPARE {
            buffer.clear();
            spare.push(buffer);
        }
    }
}

impl Output {
    /// Begins to write to a file, or to stdout if there is none.
    pub fn open(path: Option<&Path>, when_full: WhenFull) -> anyhow::Result<Self> {
        let file = match path {
            Some(path) => open(path)?,
            // A descriptor of our own: the standard library's would look for line ends.
            None => File::from(
                io::stdout()
                    .as_fd()
                    .try_clone_to_owned()
                    .context("can't write to stdout")?,
            ),
        };
        let shared = Arc::new(Shared::default());
        let (batches, queue) = mpsc::sync_channel(match when_full {
            WhenFull::Drop => MOST_BATCHES,
            WhenFull::Wait => MOST_BATCHES_AWAITED,
        });
        let (finished, done) = mpsc::channel();
        let writer = Writer {
            file,
            path: path.map(Path::to_owned),
            shared: Arc::clone(&shared),
            torn: false,
            removed: false,
        };
        let writer = thread::Builder::new()
            .name("output".into())
            .spawn(move || {
                writer.run(&queue);
                // Nobody waits for it unless the agent ends.
                let _ = finished.send(());
            })
            .context("can't start the thread that writes the output")?;
        Ok(Self {
            when_full,
            batches: Some(batches),
            shared,
            done,
            writer: Some(writer),
        })
    }

    /// An output that takes everything and keeps nothing: for those who look at what is
    /// counted, and not at the lines.
    pub fn discard() -> Self {
        let (_, done) = mpsc::channel();
        Self {
            when_full: WhenFull::Wait,
            batches: None,
            shared: Arc::default(),
            done,
            writer: None,
        }
    }

    /// Hands over whole lines, and leaves an empty buffer in their place. If too many wait,
    /// waits or counts them as dropped, as told.
    pub fn send(&self, lines: &mut Vec<u8>) {
        let Some(batches) = &self.batches else {
            lines.clear();
            return;
        };
        let lines = mem::replace(lines, self.shared.spare());
        if self.when_full == WhenFull::Wait {
            self.shared
                .waiting
                .fetch_add(lines.len(), Ordering::Relaxed);
            // The thread ends only after this side has; if it failed, the end tells.
            let _ = batches.send(Message::Lines(lines));
            return;
        }
        let (size, count) = (lines.len(), line_count(&lines));
        let waiting = self.shared.waiting.load(Ordering::Relaxed);
        if waiting == 0 || waiting + size <= MOST_WAITING {
            self.shared.waiting.fetch_add(size, Ordering::Relaxed);
            match batches.try_send(Message::Lines(lines)) {
                Ok(()) => return,
                Err(TrySendError::Full(message) | TrySendError::Disconnected(message)) => {
                    self.shared.waiting.fetch_sub(size, Ordering::Relaxed);
                    if let Message::Lines(lines) = message {
                        self.shared.keep(lines);
                    }
                }
            }
        } else {
            self.shared.keep(lines);
        }
        self.shared.dropped.fetch_add(count, Ordering::Relaxed);
    }

    /// Opens the file anew, after what waits is written.
    pub fn reopen(&self) {
        if let Some(batches) = &self.batches
            && batches.try_send(Message::Reopen).is_err()
        {
            tracing::warn!("the output is too slow to be opened anew now; ask again");
        }
    }

    /// Bytes that wait to be written.
    pub(crate) fn waiting(&self) -> usize {
        self.shared.waiting.load(Ordering::Relaxed)
    }

    /// Batches of lines that have been dealt with, well or not: while some wait and this stands
    /// still, so does the reader.
    pub(crate) fn taken(&self) -> u64 {
        self.shared.taken.load(Ordering::Relaxed)
    }

    /// Lines dropped because too many waited.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Lines that could not be written.
    pub fn failed(&self) -> u64 {
        self.shared.failed.load(Ordering::Relaxed)
    }

    /// Whether nobody reads the output any more.
    pub fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::Acquire)
    }

    /// Waits until nobody reads the output any more.
    pub async fn closed(&self) {
        let closing = self.shared.closing.notified();
        if !self.is_closed() {
            closing.await;
        }
    }

    /// Writes what waits, and ends.
    pub fn finish(mut self) -> anyhow::Result<()> {
        self.batches = None;
        let Some(writer) = self.writer.take() else {
            return Ok(());
        };
        let in_time = match self.when_full {
            WhenFull::Drop => self.done.recv_timeout(PATIENCE).is_ok(),
            WhenFull::Wait => self.done.recv().is_ok(),
        };
        if !in_time {
            bail!(
                "the output does not take the last {} bytes; they are lost",
                self.shared.waiting.load(Ordering::Relaxed)
            );
        }
        if writer.join().is_err() {
            bail!("the thread that writes the output has failed; lines may be lost");
        }
        if self.shared.failing.load(Ordering::Relaxed) {
            bail!(
                "the last lines could not be written; lost in all: {}",
                counted(self.failed(), "line")
            );
        }
        Ok(())
    }
}

struct Writer {
    file: File,
    /// The file's path; `None` for stdout.
    path: Option<PathBuf>,
    shared: Arc<Shared>,
    /// The last write ended within a line.
    torn: bool,
    /// It was said that the file is in no folder any more.
    removed: bool,
}

impl Writer {
    fn run(mut self, queue: &Receiver<Message>) {
        while let Ok(message) = queue.recv() {
            match message {
                Message::Lines(lines) => {
                    self.write(&lines);
                    self.shared
                        .waiting
                        .fetch_sub(lines.len(), Ordering::Relaxed);
                    self.shared.taken.fetch_add(1, Ordering::Relaxed);
                    self.shared.keep(lines);
                }
                Message::Reopen => self.reopen(),
            }
        }
    }

    fn write(&mut self, lines: &[u8]) {
        if self.shared.closed.load(Ordering::Relaxed) {
            return;
        }
        let mut rest = lines;
        let result = self.mend().and_then(|()| self.write_all(&mut rest));
        match result {
            Ok(()) => {
                if self.shared.failing.swap(false, Ordering::Relaxed) {
                    tracing::info!("the output takes lines again");
                }
                self.warn_if_removed();
            }
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.shared.closed.store(true, Ordering::Release);
                self.shared.closing.notify_one();
            }
            Err(error) => {
                let written = &lines[..lines.len() - rest.len()];
                let tail = written.len() - memchr::memrchr(b'\n', written).map_or(0, |at| at + 1);
                self.torn = self.torn || (tail > 0 && !self.take_back(tail));
                self.shared
                    .failed
                    .fetch_add(line_count(rest), Ordering::Relaxed);
                if !self.shared.failing.swap(true, Ordering::Relaxed) {
                    tracing::error!(%error, "can't write events to {}; lines are lost", self.name());
                }
            }
        }
    }

    /// Takes back the last `length` bytes, the beginning of a line that the disk had no room
    /// for; false if the output is no file that can be cut.
    fn take_back(&self, length: usize) -> bool {
        let Ok(metadata) = self.file.metadata() else {
            return false;
        };
        let whole = metadata.len().saturating_sub(length as u64);
        metadata.is_file() && self.path.is_some() && self.file.set_len(whole).is_ok()
    }

    /// Ends a line that an earlier failure left unfinished.
    fn mend(&mut self) -> io::Result<()> {
        if self.torn {
            let mut end: &[u8] = b"\n";
            self.write_all(&mut end)?;
            self.torn = false;
        }
        Ok(())
    }

    /// Writes everything, taking off `rest` what is written.
    fn write_all(&mut self, rest: &mut &[u8]) -> io::Result<()> {
        while !rest.is_empty() {
            match self.file.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => *rest = &rest[written..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn reopen(&mut self) {
        let Some(path) = &self.path else {
            return;
        };
        match open(path) {
            Ok(file) => {
                self.file = file;
                self.torn = false;
                self.removed = false;
            }
            Err(error) => tracing::error!("{error:#}; going on with the old file"),
        }
    }

    /// Says once if the file was removed: what goes to it, nobody will find.
    fn warn_if_removed(&mut self) {
        if self.path.is_none() || self.removed {
            return;
        }
        self.removed = self.file.metadata().is_ok_and(|file| file.nlink() == 0);
        if self.removed {
            tracing::warn!(
                "the output file {} was removed, and lines go where nobody finds them; a SIGHUP \
                 has it made anew",
                self.name()
            );
        }
    }

    fn name(&self) -> String {
        self.path
            .as_ref()
            .map_or_else(|| "stdout".into(), |path| path.display().to_string())
    }
}

/// Opens a file to be appended to. One that isn't there is made.
fn open(path: &Path) -> anyhow::Result<File> {
    open_or(path, true).with_context(|| describe(path))
}

/// Whether a file could be opened to be appended to. Makes none.
pub fn probe(path: &Path) -> anyhow::Result<()> {
    match open_or(path, false) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => may_be_made(path),
        opened => opened.map(|_| ()),
    }
    .with_context(|| describe(path))
}

fn describe(path: &Path) -> String {
    format!("can't open the output file {}", path.display())
}

/// Opens a file to be appended to, and makes it if it isn't there and may be made. A FIFO that
/// nobody reads would hold up whoever opens it until somebody does.
fn open_or(path: &Path, make: bool) -> io::Result<File> {
    let opened = OpenOptions::new()
        .append(true)
        .create(make)
        .custom_flags(libc::O_NONBLOCK)
        .open(path);
    let file = match opened {
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) && is_fifo(path) => {
            let unread = format!("nobody reads {} yet", path.display());
            return Err(io::Error::new(io::ErrorKind::NotConnected, unread));
        }
        opened => opened?,
    };
    // The thread that writes may wait for a reader.
    let flags = OFlag::from_bits_retain(fcntl(&file, FcntlArg::F_GETFL)?);
    fcntl(&file, FcntlArg::F_SETFL(flags - OFlag::O_NONBLOCK))?;
    Ok(file)
}

fn is_fifo(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo())
}

/// Whether the kernel would let this process make a file that isn't there.
fn may_be_made(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    // A link to what isn't there: the file would be made where it leads.
    if let Ok(target) = fs::read_link(path) {
        return may_be_made(&folder.join(target));
    }
    let mode = AccessFlags::W_OK | AccessFlags::X_OK;
    Ok(faccessat(AT_FDCWD, folder, mode, AtFlags::AT_EACCESS)?)
}

fn line_count(lines: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', lines).count() as u64
}
