//! What the programs tell through ring buffers: notices, and openings of sessions.

use std::{io, os::fd::AsRawFd as _};

use aya::maps::{MapData, RingBuf};
use sstpulse_common::{ChunkHeader, Notice};
use tokio::io::{Interest, unix::AsyncFd};
use zerocopy::FromBytes as _;

use super::programs::KernelError;
use crate::report::{Message, Opening};

/// Messages that are taken at once: what they bring takes about a millisecond.
const MOST: usize = 256;

/// A ring buffer the programs write to.
pub struct Messages {
    ring: AsyncFd<RingBuf<MapData>>,
    read: fn(&[u8]) -> Option<Message>,
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
        read: fn(&[u8]) -> Option<Message>,
    ) -> Result<Self, KernelError> {
        tracing::debug!(fd = ring.as_raw_fd(), "listening to a ring buffer");
        // SAFETY: the ring owns its descriptor, keeps it while it lives, and has no other.
        #[expect(
            unsafe_code,
            reason = "the ring has no safe way to lend its descriptor"
        )]
        let ring = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) };
        ring.map(|ring| Self { ring, read })
            .map_err(|error| KernelError::new("can't listen to the ring buffer", &error))
    }

    /// Waits until there are messages, and takes as many as take no long time. Dropping the
    /// future loses none.
    pub async fn wait(&mut self) -> io::Result<Vec<Message>> {
        let mut ready = self.ring.readable_mut().await?;
        let messages = read(ready.get_inner_mut(), self.read, MOST);
        if messages.len() < MOST {
            ready.clear_ready();
        }
        Ok(messages)
    }

    /// Takes as many as take no long time, without waiting.
    pub fn take_some(&mut self) -> Vec<Message> {
        read(self.ring.get_mut(), self.read, MOST)
    }

    /// Takes all there are, without waiting.
    pub fn take_all(&mut self) -> Vec<Message> {
        read(self.ring.get_mut(), self.read, usize::MAX)
    }
}

fn read(
    ring: &mut RingBuf<MapData>,
    read: fn(&[u8]) -> Option<Message>,
    most: usize,
) -> Vec<Message> {
    let mut messages = Vec::new();
    while messages.len() < most
        && let Some(item) = ring.next()
    {
        if let Some(message) = read(&item) {
            messages.push(message);
        } else {
            tracing::error!(bytes = item.len(), "a message of the wrong size");
        }
    }
    messages
}

fn notice(bytes: &[u8]) -> Option<Message> {
    Notice::read_from_bytes(bytes).ok().map(Message::Notice)
}

fn opening(bytes: &[u8]) -> Option<Message> {
    let (header, bytes) = ChunkHeader::read_from_prefix(bytes).ok()?;
    Some(Message::Opening(Opening {
        header,
        bytes: bytes.into(),
    }))
}
