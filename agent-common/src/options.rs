//! TCP options: what a SYN announces, and what a SACK option reports.

use core::hint::black_box;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{Bytes, Segment, View as _, sequence::after};

/// The most bytes options take: the header's length has four bits, and counts words
/// (RFC 9293, section 3.1).
pub const MOST_OPTIONS: usize = 40;

/// What one side announced in its SYN.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct TcpOptions {
    /// Maximum segment size in bytes (RFC 9293, 3.7.1); 0 if not announced.
    pub mss: u16,
    /// Shift count of the window (RFC 7323, 2.2), 0 to 14; see [`Self::WINDOW_SCALE`].
    pub window_scale: u8,
    /// Which options were there, as the constants of this type.
    pub present: u8,
}

impl TcpOptions {
    /// The window scale option was there.
    pub const WINDOW_SCALE: u8 = 1;
    /// SACK permitted (RFC 2018).
    pub const SACK_PERMITTED: u8 = 2;
    /// Timestamps (RFC 7323, section 3).
    pub const TIMESTAMPS: u8 = 4;
    /// There may have been any: they could not be read.
    pub const UNREAD: u8 = 8;

    /// The largest shift count; a larger one is used as 14 (RFC 7323, 2.3).
    pub const MAX_WINDOW_SCALE: u8 = 14;

    /// Whether the option with this constant was there.
    #[inline(always)]
    pub const fn has(self, option: u8) -> bool {
        self.present & option != 0
    }
}

/// Reads options: the header's bytes, and how far it has come.
///
/// It lives in memory that the kernel's verifier does not look into, and is taken from
/// there anew for each option. So all ways through the loop look alike to the verifier,
/// which would otherwise follow every mix of options there can be.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct OptionReader {
    /// The options, as words in host order. A power of two of them lets an index be
    /// masked, which is the proof of bounds that the verifier understands best.
    words: [u32; 16],
    /// Bytes of options.
    length: u32,
    /// The next one.
    at: u32,
    options: TcpOptions,
    /// How many SACK blocks there are, and the first two of them: start and end each.
    blocks: u32,
    sack: [u32; 4],
}

impl OptionReader {
    /// Reads the `length` bytes of options at `start`, as far as they are there; false if none
    /// are. What of a SYN's is missing is marked as [unread](TcpOptions::UNREAD).
    /// Options of a wrong length are passed over; what follows a broken one is not read.
    #[inline(always)]
    #[must_use]
    pub fn read<B: Bytes + ?Sized>(&mut self, bytes: &B, start: usize, length: u32) -> bool {
        let (mut there, mut missing) = (0, 0);
        for index in 0..MOST_OPTIONS / 4 {
            if index * 4 >= length as usize {
                break;
            }
            let Some(word) = bytes.view::<4>(start + index * 4) else {
                missing = TcpOptions::UNREAD;
                break;
            };
            self.words[index] = word.be32(0);
            there += 4;
        }
        self.length = length.min(there);
        self.at = 0;
        self.options = TcpOptions::default();
        self.blocks = 0;
        // Each turn moves on by at least one byte.
        for _ in 0..MOST_OPTIONS {
            if !black_box(&mut *self).step() {
                break;
            }
        }
        self.options.present |= missing;
        there != 0 || missing == 0
    }

    /// Completes a SYN whose options could not be read.
    #[inline(always)]
    pub fn complete_unread(segment: &mut Segment) {
        if segment.flags.syn() {
            segment.options.present = TcpOptions::UNREAD;
        }
    }

    /// Completes a segment with what was read of its options.
    #[inline(always)]
    pub fn complete(&self, segment: &mut Segment) {
        if segment.flags.syn() {
            segment.options = self.options;
        } else {
            segment.duplicate = self.duplicate(segment.ack);
            segment.hole_reported = self.hole(segment.ack);
        }
    }

    /// How many bytes a segment that acknowledges `ack` reports as received twice: the
    /// first SACK block does if it lies below that, or within the second (RFC 2883,
    /// section 4). 0 if it doesn't.
    #[inline(always)]
    fn duplicate(&self, ack: u32) -> u32 {
        let [start, end, around_start, around_end] = self.sack;
        if self.blocks == 0 {
            return 0;
        }
        let within =
            self.blocks > 1 && after(start, around_start) >= 0 && after(around_end, end) >= 0;
        let length = after(end, start);
        // The byte of a keepalive, as Windows sends it, is reported as received twice, too.
        let keepalive = length == 1 && end == ack;
        if length > 0 && !keepalive && (after(ack, start) > 0 || within) {
            length.unsigned_abs()
        } else {
            0
        }
    }

    /// Whether one of the first two SACK blocks lies beyond `ack`.
    #[inline(always)]
    fn hole(&self, ack: u32) -> bool {
        let [first, _, second, _] = self.sack;
        (self.blocks > 0 && after(first, ack) > 0) || (self.blocks > 1 && after(second, ack) > 0)
    }

    /// Takes note of the next option; false if there is none.
    #[inline(always)]
    fn step(&mut self) -> bool {
        const END: u8 = 0;
        const NO_OPERATION: u8 = 1;

        let at = self.at;
        if at >= self.length {
            return false;
        }
        let kind = self.byte(at);
        let size = match kind {
            END => return false,
            NO_OPERATION => 1,
            _ => self.byte(at + 1),
        };
        if size == 0 || at + u32::from(size) > self.length {
            return false;
        }
        match (kind, size) {
            (2, 4) => {
                self.options.mss = u16::from_be_bytes([self.byte(at + 2), self.byte(at + 3)]);
            }
            (3, 3) => {
                self.options.window_scale = self.byte(at + 2).min(TcpOptions::MAX_WINDOW_SCALE);
                self.options.present |= TcpOptions::WINDOW_SCALE;
            }
            (4, 2) => self.options.present |= TcpOptions::SACK_PERMITTED,
            (8, 10) => self.options.present |= TcpOptions::TIMESTAMPS,
            (5, 10 | 18 | 26 | 34) => {
                self.blocks = u32::from(size) / 8;
                self.sack = [
                    self.word(at + 2),
                    self.word(at + 6),
                    self.word(at + 10),
                    self.word(at + 14),
                ];
            }
            _ => {}
        }
        self.at = at + u32::from(size);
        true
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the lowest byte is meant")]
    fn byte(&self, at: u32) -> u8 {
        let word = self.words[(at as usize / 4) & 15];
        (word >> (24 - 8 * (at & 3))) as u8
    }

    /// The four bytes at `at`, which need not be aligned.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
    fn word(&self, at: u32) -> u32 {
        let high = self.words[(at as usize / 4) & 15];
        let low = self.words[(at as usize / 4 + 1) & 15];
        let both = u64::from(high) << 32 | u64::from(low);
        (both >> (32 - 8 * (at & 3))) as u32
    }
}

#[cfg(test)]
mod tests {
    use std::{vec, vec::Vec};

    use super::*;

    /// Reads options, filled up to whole words as in a header.
    fn read(bytes: &[u8]) -> OptionReader {
        let mut padded = [0; MOST_OPTIONS];
        padded[..bytes.len()].copy_from_slice(bytes);
        let bytes = &padded[..bytes.len().next_multiple_of(4)];
        let mut reader = OptionReader::default();
        assert!(reader.read(bytes, 0, u32::try_from(bytes.len()).unwrap()));
        reader
    }

    /// What a SYN with these options announces.
    fn announced(bytes: &[u8]) -> TcpOptions {
        read(bytes).options
    }

    /// SACK blocks, after the two bytes of padding that stacks put before them.
    fn sack(blocks: &[(u32, u32)]) -> Vec<u8> {
        let size = u8::try_from(2 + 8 * blocks.len()).unwrap();
        let mut bytes = vec![1, 1, 5, size];
        for (start, end) in blocks {
            bytes.extend(start.to_be_bytes());
            bytes.extend(end.to_be_bytes());
        }
        bytes
    }

    #[test]
    fn a_block_below_the_acknowledgment_or_within_the_second_is_a_duplicate() {
        let cases: [(&[(u32, u32)], u32); 7] = [
            (&[(2_000, 3_000)], 0),
            (&[(500, 900)], 400),
            (&[(500, 900), (2_000, 3_000)], 400),
            (&[(2_000, 2_700), (2_000, 3_000)], 700),
            (&[(2_000, 3_100), (2_000, 3_000)], 0),
            (&[(900, 500)], 0),
            (&[(999, 1_000)], 0),
        ];
        for (blocks, duplicate) in cases {
            assert_eq!(
                read(&sack(blocks)).duplicate(1_000),
                duplicate,
                "{blocks:?}"
            );
        }
        let around_zero = sack(&[(u32::MAX - 99, 100)]);
        assert_eq!(read(&around_zero).duplicate(100), 200);
    }

    #[test]
    fn options_of_common_stacks() {
        let linux = [
            2, 4, 0x05, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7,
        ];
        let windows = [2, 4, 0x05, 0xb4, 1, 3, 3, 8, 1, 1, 4, 2];
        assert_eq!(
            announced(&linux),
            TcpOptions {
                mss: 1460,
                window_scale: 7,
                present: 7
            }
        );
        assert_eq!(
            announced(&windows),
            TcpOptions {
                mss: 1460,
                window_scale: 8,
                present: TcpOptions::WINDOW_SCALE | TcpOptions::SACK_PERMITTED
            }
        );
    }

    #[test]
    fn hostile_options_end_quietly() {
        assert_eq!(announced(&[]), TcpOptions::default());
        assert_eq!(announced(&[2]), TcpOptions::default());
        assert_eq!(announced(&[2, 0, 5, 0xb4]), TcpOptions::default());
        assert_eq!(announced(&[2, 40, 5, 0xb4]), TcpOptions::default());
        assert_eq!(announced(&[2, 3, 5, 4, 2]).mss, 0);
        assert_eq!(announced(&[3, 3, 255]).window_scale, 14);
        assert_eq!(announced(&[1; 40]), TcpOptions::default());
    }
}
