//! Bytes of a packet, as the parser reads them.
//!
//! The kernel lends a program the packet as two pointers and checks each access against
//! the end; a capture is a slice. Both offer [`Bytes`], so the parser exists once.

/// A packet whose headers can be looked at.
pub trait Bytes {
    /// A checked piece of the packet, `N` bytes long.
    type View<const N: usize>: View;

    /// The `N` bytes from `offset`; `None` if they are not all there.
    fn view<const N: usize>(&self, offset: usize) -> Option<Self::View<N>>;

    /// `offset` itself, if it is at most [`MOST_OFFSET`].
    ///
    /// Inside the kernel, it comes back as if nothing were known of it but that. So the
    /// many ways to come to an offset (tags, extension headers) are one way to the
    /// verifier, which would otherwise follow each to the program's end.
    #[inline(always)]
    fn forget(&self, offset: usize) -> Option<usize> {
        (offset <= MOST_OFFSET).then_some(offset)
    }
}

/// Where the last header may begin: beyond any sane chain of extension headers.
pub const MOST_OFFSET: usize = 511;

/// A checked piece of a packet. Offsets count from its start and are constants of the
/// parser, below the piece's length.
pub trait View: Copy {
    /// The byte at `at`.
    fn byte(self, at: usize) -> u8;
    /// The two bytes at `at`, as they stand on the wire, as a number in host order.
    fn be16(self, at: usize) -> u16;
    /// The four bytes at `at`, big-endian, as a number in host order.
    fn be32(self, at: usize) -> u32;
    /// The four bytes at `at`, unswapped: their image in memory.
    fn word(self, at: usize) -> u32;
}

impl Bytes for [u8] {
    type View<const N: usize> = [u8; N];

    #[inline]
    fn view<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.get(offset..)?.first_chunk().copied()
    }
}

impl<const N: usize> View for [u8; N] {
    #[inline]
    fn byte(self, at: usize) -> u8 {
        self[at]
    }

    #[inline]
    fn be16(self, at: usize) -> u16 {
        u16::from_be_bytes([self[at], self[at + 1]])
    }

    #[inline]
    fn be32(self, at: usize) -> u32 {
        u32::from_be(self.word(at))
    }

    #[inline]
    fn word(self, at: usize) -> u32 {
        u32::from_ne_bytes([self[at], self[at + 1], self[at + 2], self[at + 3]])
    }
}
