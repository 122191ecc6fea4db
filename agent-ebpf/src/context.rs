//! The packet as the kernel hands it over.

use core::hint::black_box;

use aya_ebpf::{
    helpers::{bpf_jiffies64, bpf_ktime_get_ns, bpf_skb_load_bytes},
    programs::TcContext,
};
use sstpulse_common::{Bytes, Clock, Segment, View};

use crate::{config, maps};

/// A packet, its headers read where they are.
pub struct Packet<'a> {
    context: &'a TcContext,
    data: usize,
    data_end: usize,
}

impl<'a> Packet<'a> {
    /// The packet of this run.
    #[inline(always)]
    pub fn new(context: &'a TcContext) -> Self {
        Self {
            context,
            data: context.data(),
            data_end: context.data_end(),
        }
    }

    /// Its whole length, in bytes.
    #[inline(always)]
    pub fn length(&self) -> u32 {
        self.context.len()
    }

    /// Completes a segment with what only the buffer knows: the interface, and how many
    /// segments offload makes of it, or made it of.
    #[inline(always)]
    pub fn offload(&self, segment: &mut Segment) {
        let skb = self.context.skb.skb;
        // SAFETY: the kernel hands over a valid context for the time of the run.
        let (ifindex, came_by, size, segments) = unsafe {
            (
                (*skb).ifindex,
                (*skb).ingress_ifindex,
                (*skb).gso_size,
                (*skb).gso_segs,
            )
        };
        segment.ifindex = ifindex;
        segment.forwarded = came_by != 0;
        if size != 0 && segment.payload > size {
            segment.segment_size = size;
            segment.segments = if segments == 0 {
                segment.payload.div_ceil(size)
            } else {
                segments
            };
        }
    }

    #[inline(always)]
    fn timestamp(&self) -> u64 {
        // SAFETY: the context is valid, as above.
        unsafe { (*self.context.skb.skb).tstamp }
    }
}

/// The clock, in a run.
pub struct Time {
    /// The packet's own, if that is the time.
    timestamp: u64,
    tick: *mut Tick,
}

/// The last tick in which this CPU has judged a packet, and when it did so first.
#[repr(C)]
pub struct Tick {
    jiffies: u64,
    ns: u64,
}

impl Time {
    /// The time of this packet; `tick` is this CPU's.
    #[inline(always)]
    pub fn new(packet: &Packet<'_>, tick: &'static mut Tick) -> Self {
        let timestamp = if config::time_from_packet() {
            packet.timestamp()
        } else {
            0
        };
        Self { timestamp, tick }
    }
}

impl Clock for Time {
    /// The kernel counts ticks in a word of memory, where its own coarse clock
    /// (`bpf_ktime_get_coarse_ns`) takes 13 ns.
    #[inline(always)]
    fn coarse_ns(&self) -> u64 {
        if config::time_from_packet() {
            return self.timestamp;
        }
        // SAFETY: has no precondition.
        let jiffies = unsafe { bpf_jiffies64() };
        // SAFETY: this CPU's, and nothing interrupts a program on its CPU.
        let tick = unsafe { &mut *self.tick };
        if tick.jiffies != jiffies {
            tick.jiffies = jiffies;
            tick.ns = self.exact_ns();
        }
        tick.ns
    }

    #[inline(always)]
    fn exact_ns(&self) -> u64 {
        if config::time_from_packet() {
            return self.timestamp;
        }
        // SAFETY: has no precondition.
        unsafe { bpf_ktime_get_ns() }
    }
}

impl Bytes for Packet<'_> {
    type View<const N: usize> = Checked<N>;

    #[inline(always)]
    fn view<const N: usize>(&self, offset: usize) -> Option<Checked<N>> {
        let start = self.data + offset;
        if start + N > self.data_end {
            return None;
        }
        Some(Checked(start as *const u8))
    }

    #[inline(always)]
    fn forget(&self, offset: usize) -> Option<usize> {
        config::forget(offset)
    }
}

/// `N` bytes whose bounds were checked; valid while the program runs.
#[derive(Clone, Copy)]
pub struct Checked<const N: usize>(*const u8);

impl<const N: usize> Checked<N> {
    /// Reads a number where it stands.
    ///
    /// It may not be aligned. The verifier knows where each CPU wants alignment, and
    /// rejects the program there; a load byte by byte would cost four times as much
    /// everywhere.
    #[inline(always)]
    fn read<T: Copy>(self, at: usize) -> T {
        // SAFETY: the parser reads below N, and N bytes from the start were checked.
        unsafe { *self.0.add(at).cast::<T>() }
    }
}

impl<const N: usize> View for Checked<N> {
    #[inline(always)]
    fn byte(self, at: usize) -> u8 {
        self.read(at)
    }

    #[inline(always)]
    fn be16(self, at: usize) -> u16 {
        u16::from_be(self.read(at))
    }

    #[inline(always)]
    fn be32(self, at: usize) -> u32 {
        u32::from_be(self.read(at))
    }

    #[inline(always)]
    fn word(self, at: usize) -> u32 {
        self.read(at)
    }
}

/// How much of a packet [`Headers`] holds: every header the parser reads, but for the
/// longest chains of extension headers.
const HEADERS: usize = 256;

/// Room for them, and for the longest piece the parser asks for after the last offset.
pub type Scratch = [u8; HEADERS + 64];

/// The first bytes of a packet, copied.
pub struct Headers {
    bytes: &'static Scratch,
    length: usize,
}

impl Headers {
    /// Copies what there is from `start` on, up to 256 bytes; `None` if there is nothing.
    #[inline(always)]
    pub fn copy(packet: &Packet<'_>, start: u32) -> Option<Self> {
        let scratch = maps::scratch()?;
        let beyond_first = packet.length().checked_sub(start + 1)? as usize;
        // Masked for the verifier, which must see that there is a byte and room for all;
        // hidden from the compiler, which would leave the mask out.
        let length = (black_box(beyond_first.min(HEADERS - 1)) & (HEADERS - 1)) + 1;
        // SAFETY: the scratch space holds HEADERS bytes, and only this run uses it: a
        // program is not interrupted by another on the same CPU.
        let result = unsafe {
            bpf_skb_load_bytes(
                packet.context.skb.skb.cast(),
                start,
                scratch.cast(),
                length as u32,
            )
        };
        if result != 0 {
            return None;
        }
        Some(Self {
            // SAFETY: as above; per-CPU map values live as long as the map.
            bytes: unsafe { &*scratch },
            length,
        })
    }

    /// The bytes that this run copied last, and how many they were.
    #[inline(always)]
    pub fn again(length: usize) -> Option<Self> {
        let scratch = maps::scratch()?;
        Some(Self {
            // SAFETY: as above.
            bytes: unsafe { &*scratch },
            length: length.min(HEADERS),
        })
    }

    /// How many there are.
    #[inline(always)]
    pub fn length(&self) -> usize {
        self.length
    }
}

impl Bytes for Headers {
    type View<const N: usize> = Checked<N>;

    #[inline(always)]
    fn view<const N: usize>(&self, offset: usize) -> Option<Checked<N>> {
        if offset + N > self.length {
            return None;
        }
        // Masked for the verifier, which does not see the bounds.
        let at = config::forget(offset)? & (HEADERS - 1);
        // SAFETY: N bytes from `offset` lie within the first `length` of the array, and
        // any N from a masked one within the array.
        Some(Checked(unsafe { self.bytes.as_ptr().add(at) }))
    }

    #[inline(always)]
    fn forget(&self, offset: usize) -> Option<usize> {
        config::forget(offset)
    }
}
