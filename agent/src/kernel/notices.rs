//! Beginnings and endings, as the programs tell them.

use std::{io, os::fd::AsRawFd as _};

use aya::maps::{MapData, RingBuf};
use sstpulse_common::Notice;
use tokio::io::{Interest, unix::AsyncFd};
use zerocopy::FromBytes as _;

use super::programs::KernelError;

/// The ring buffer the programs write to.
pub struct Notices {
    ring: AsyncFd<RingBuf<MapData>>,
}

impl Notices {
    pub(super) fn new(ring: RingBuf<MapData>) -> Result<Self, KernelError> {
        tracing::debug!(fd = ring.as_raw_fd(), "listening to the ring buffer");
        // SAFETY: the ring owns its descriptor, keeps it while it lives, and has no other.
        #[expect(
            unsafe_code,
            reason = "the ring has no safe way to lend its descriptor"
        )]
        let ring = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) };
        ring.map(|ring| Self { ring })
            .map_err(|error| KernelError::new("can't listen to the ring buffer", &error))
    }

    /// Waits until there are notices, and hands over all there are. Dropping the future
    /// loses none.
    pub async fn drain(&mut self, mut take: impl FnMut(Notice)) -> io::Result<()> {
        let mut ready = self.ring.readable_mut().await?;
        read(ready.get_inner_mut(), &mut take);
        ready.clear_ready();
        Ok(())
    }

    /// Hands over all there are, without waiting.
    pub fn take_all(&mut self, mut take: impl FnMut(Notice)) {
        read(self.ring.get_mut(), &mut take);
    }
}

fn read(ring: &mut RingBuf<MapData>, take: &mut impl FnMut(Notice)) {
    while let Some(item) = ring.next() {
        if let Ok(notice) = Notice::read_from_bytes(&item) {
            take(notice);
        } else {
            tracing::error!(bytes = item.len(), "a notice of the wrong size");
        }
    }
}
