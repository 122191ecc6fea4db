//! TCP options of a SYN or SYN-ACK.

use core::hint::black_box;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{Bytes, View as _};

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
}

impl OptionReader {
    /// Reads the `length` bytes of options at `start`; `None` if they are not all there.
    /// Options of a wrong length are passed over; what follows a broken one is not read.
    #[inline(always)]
    pub fn read<B: Bytes + ?Sized>(
        &mut self,
        bytes: &B,
        start: usize,
        length: u32,
    ) -> Option<TcpOptions> {
        for index in 0..MOST_OPTIONS / 4 {
            if index * 4 >= length as usize {
                break;
            }
            self.words[index] = bytes.view::<4>(start + index * 4)?.be32(0);
        }
        self.length = length;
        self.at = 0;
        self.options = TcpOptions::default();
        // Each turn moves on by at least one byte.
        for _ in 0..MOST_OPTIONS {
            if !black_box(&mut *self).step() {
                break;
            }
        }
        Some(black_box(&mut *self).options)
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
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads options, filled up to whole words as in a header.
    fn read(bytes: &[u8]) -> TcpOptions {
        let mut padded = [0; MOST_OPTIONS];
        padded[..bytes.len()].copy_from_slice(bytes);
        let bytes = &padded[..bytes.len().next_multiple_of(4)];
        OptionReader::default()
            .read(bytes, 0, u32::try_from(bytes.len()).unwrap())
            .unwrap()
    }

    #[test]
    fn options_of_common_stacks() {
        let linux = [
            2, 4, 0x05, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7,
        ];
        let windows = [2, 4, 0x05, 0xb4, 1, 3, 3, 8, 1, 1, 4, 2];
        assert_eq!(
            read(&linux),
            TcpOptions {
                mss: 1460,
                window_scale: 7,
                present: 7
            }
        );
        assert_eq!(
            read(&windows),
            TcpOptions {
                mss: 1460,
                window_scale: 8,
                present: TcpOptions::WINDOW_SCALE | TcpOptions::SACK_PERMITTED
            }
        );
    }

    #[test]
    fn hostile_options_end_quietly() {
        assert_eq!(read(&[]), TcpOptions::default());
        assert_eq!(read(&[2]), TcpOptions::default());
        assert_eq!(read(&[2, 0, 5, 0xb4]), TcpOptions::default());
        assert_eq!(read(&[2, 40, 5, 0xb4]), TcpOptions::default());
        assert_eq!(read(&[2, 3, 5, 4, 2]).mss, 0);
        assert_eq!(read(&[3, 3, 255]).window_scale, 14);
        assert_eq!(read(&[1; 40]), TcpOptions::default());
    }
}
