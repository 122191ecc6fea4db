//! What the agent sets before it loads the programs. The kernel freezes these, so the
//! verifier knows them as constants, and drops the branches they rule out.

use core::{hint::black_box, ptr};

use sstpulse_common::{
    Told,
    index::{Geometry, Multipliers},
    packet::MOST_OFFSET,
};

/// Which ports are watched: bit `port % 8` of byte `port / 8`.
#[unsafe(no_mangle)]
static PORTS: [u8; 8192] = [0; 8192];

/// 1 to take a packet's time from its timestamp instead of the clock, for tests that run
/// a program on packets of their own.
#[unsafe(no_mangle)]
static TIME_FROM_PACKET: u8 = 0;

/// What flows are hashed with. Not frozen: nothing depends on the verifier knowing them.
#[unsafe(no_mangle)]
static mut MULTIPLIERS: Multipliers = [1; 9];

/// How many buckets the index has.
#[unsafe(no_mangle)]
static mut BUCKETS: u32 = 1;

/// Slots of a bucket.
#[unsafe(no_mangle)]
static mut PLACES: u32 = 1;

/// Whether a server's port is watched.
#[inline(always)]
pub fn watches(port: u16) -> bool {
    // The compiler knows that 13 bits remain and would leave out the mask; the verifier
    // knows no bounds of what a change of byte order yields (before Linux 6.18).
    let index = black_box(usize::from(port >> 3)) & (PORTS.len() - 1);
    // SAFETY: the index is below 8192. Volatile, or the compiler would take the zeros
    // here for what will be there at run time.
    let byte = unsafe { ptr::read_volatile(PORTS.as_ptr().add(index)) };
    byte & (1 << (port & 7)) != 0
}

/// Whether time comes from the packet's timestamp.
#[inline(always)]
pub fn time_from_packet() -> bool {
    // SAFETY: a static; volatile as above.
    unsafe { ptr::read_volatile(&raw const TIME_FROM_PACKET) != 0 }
}

/// What flows are hashed with.
#[inline(always)]
pub fn multipliers() -> &'static Multipliers {
    // SAFETY: nobody writes it once the programs are loaded.
    unsafe { &*ptr::addr_of!(MULTIPLIERS) }
}

/// How large the index is.
#[inline(always)]
pub fn geometry() -> Geometry {
    // SAFETY: as above.
    unsafe {
        Geometry {
            buckets: BUCKETS,
            places: PLACES,
        }
    }
}

/// Always 0. It is not frozen, so the verifier doesn't know.
#[unsafe(no_mangle)]
static mut ZERO: usize = 0;

/// See [`sstpulse_common::Tables::forget`].
#[inline(always)]
pub fn forget_told(told: Told) -> Told {
    // SAFETY: nobody writes it.
    let zero = unsafe { ptr::read_volatile(&raw const ZERO) };
    Told(told.0.wrapping_add(zero as u32))
}

/// See [`sstpulse_common::Bytes::forget`]. One load, of a line that stays in the cache.
#[inline(always)]
pub fn forget(offset: usize) -> Option<usize> {
    // SAFETY: nobody writes it.
    let zero = unsafe { ptr::read_volatile(&raw const ZERO) };
    (offset <= MOST_OFFSET).then_some((offset + zero) & MOST_OFFSET)
}
