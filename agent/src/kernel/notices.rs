//! What the programs tell through ring buffers: notices, and openings of sessions.

use std::{io, os::fd::AsRawFd as _};

use aya::maps::{MapData, RingBuf};
use bytes::BytesMut;
use sstpulse_common::{ChunkHeader, Notice};
use tokio::io::{Interest, unix::AsyncFd};
use zerocopy::FromBytes as _;

use super::programs::KernelError;
use crate::report::{Message, Opening};

/// Messages that are taken at once: what they bring takes about a millisecond.
const MOST: usize = 256;

/// Bytes of openings that are taken at once.
const BYTES: usize = 256 << 10;

/// Room without which no more are taken: for as much of an opening as is handed over at all
/// (`OPENING_FROM_SERVER`). Where it does not do, the buffer grows.
const LONGEST: usize = 16 << 10;

/// A ring buffer the programs write to.
pub struct Messages {
    ring: AsyncFd<RingBuf<MapData>>,
    batch: Batch,
}

/// Messages that were taken together, in buffers that are used again.
struct Batch {
    read: fn(&[u8], &mut BytesMut) -> Option<Message>,
    messages: Vec<Message>,
    /// What follows the bytes of openings that are among them.
    bytes: BytesMut,
}

impl Messages {
    /// The ring with notices.
    pub(super) fn notices(ring: RingBuf<MapData>) -> Result<Self, KernelError> {
        Self::new(ring, notice)
    }

    /// The ring with openings.
    pub(super) fn openings(ring: RingBuf<MapData>) -> Result<Self, KernelError> {
        Self::new(ring, opening)
    }

    fn new(
        ring: RingBuf<MapData>,
        read: fn(&[u8], &mut BytesMut) -> Option<Message>,
    ) -> Result<Self, KernelError> {
        tracing::debug!(fd = ring.as_raw_fd(), "listening to a ring buffer");
        // SAFETY: the ring owns its descriptor, keeps it while it lives, and has no other.
        #[expect(
            unsafe_code,
            reason = "the ring has no safe way to lend its descriptor"
        )]
        let ring = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) };
        let batch = Batch {
            read,
            messages: Vec::with_capacity(MOST),
            bytes: BytesMut::new(),
        };
        ring.map(|ring| Self { ring, batch })
            .map_err(|error| KernelError::new("can't listen to the ring buffer", &error))
    }

    /// Waits until there are messages, and takes as many as take no long time. Dropping the
    /// future loses none.
    pub async fn wait(&mut self) -> io::Result<&[Message]> {
        let mut ready = self.ring.readable_mut().await?;
        if self.batch.fill(ready.get_inner_mut()) {
            ready.clear_ready();
        }
        Ok(&self.batch.messages)
    }

    /// Takes as many as take no long time, without waiting.
    pub fn take_some(&mut self) -> &[Message] {
        self.batch.fill(self.ring.get_mut());
        &self.batch.messages
    }

    /// Takes all there are, without waiting, and calls `take` with some after others.
    pub fn take_all(&mut self, mut take: impl FnMut(&[Message])) {
        let mut is_last = false;
        while !is_last {
            is_last = self.batch.fill(self.ring.get_mut());
            take(&self.batch.messages);
        }
    }
}

impl Batch {
    /// Reads messages in place of those that are there. Whether there are no more.
    fn fill(&mut self, ring: &mut RingBuf<MapData>) -> bool {
        self.messages.clear();
        // Nobody refers to the bytes of the last ones any more: there is room for others.
        self.bytes.reserve(BYTES);
        while self.messages.len() < MOST && self.bytes.capacity() >= LONGEST {
            let Some(item) = ring.next() else {
                return true;
            };
            if let Some(message) = (self.read)(&item, &mut self.bytes) {
                self.messages.push(message);
            } else {
                tracing::error!(bytes = item.len(), "a message of the wrong size");
            }
        }
        false
    }
}

fn notice(bytes: &[u8], _: &mut BytesMut) -> Option<Message> {
    Notice::read_from_bytes(bytes).ok().map(Message::Notice)
}

fn opening(bytes: &[u8], buffer: &mut BytesMut) -> Option<Message> {
    let (header, bytes) = ChunkHeader::read_from_prefix(bytes).ok()?;
    buffer.extend_from_slice(bytes);
    Some(Message::Opening(Opening {
        header,
        bytes: buffer.split().freeze(),
    }))
}
