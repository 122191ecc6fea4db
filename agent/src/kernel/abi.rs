//! The types shared with the kernel, as aya wants them.

use zerocopy::{FromBytes, IntoBytes};

/// A type of `sstpulse-common` as key or value of a map.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub(super) struct Abi<T>(pub(super) T);

// SAFETY: `IntoBytes` and `FromBytes` say that there is no padding and that any bytes
// are a value, which is what plain old data means.
#[expect(unsafe_code, reason = "aya's trait for plain old data")]
unsafe impl<T: Copy + FromBytes + IntoBytes + 'static> aya::Pod for Abi<T> {}
