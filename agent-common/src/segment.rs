//! One TCP segment, or several that an offload keeps in one buffer.

use crate::TcpOptions;

/// Which end sent a segment. The names need no vantage point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Side {
    /// The end that opened the connection.
    Client = 0,
    /// The end on the watched port.
    Server = 1,
}

/// The control bits of the TCP header (RFC 9293, section 3.1), low byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// No more data from sender.
    pub const FIN: u8 = 0x01;
    /// Synchronize sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// Push function.
    pub const PSH: u8 = 0x08;
    /// Acknowledgment field is significant.
    pub const ACK: u8 = 0x10;

    /// Whether FIN is set.
    #[inline(always)]
    pub const fn fin(self) -> bool {
        self.0 & Self::FIN != 0
    }

    /// Whether SYN is set.
    #[inline(always)]
    pub const fn syn(self) -> bool {
        self.0 & Self::SYN != 0
    }

    /// Whether RST is set.
    #[inline(always)]
    pub const fn rst(self) -> bool {
        self.0 & Self::RST != 0
    }

    /// Whether ACK is set.
    #[inline(always)]
    pub const fn ack(self) -> bool {
        self.0 & Self::ACK != 0
    }
}

/// What one buffer at the interface says: headers of a segment, and how many segments on
/// the wire it stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// Sequence number of the first byte (of the SYN, if set).
    pub seq: u32,
    /// Acknowledgment number; meaningful with the ACK bit.
    pub ack: u32,
    /// Payload of all segments in the buffer, in bytes, from the headers' lengths.
    pub payload: u32,
    /// Segments on the wire: one, or what segmentation offload makes of the buffer.
    pub segments: u32,
    /// Payload of each segment but the last, in bytes; equal to `payload` without offload.
    pub segment_size: u32,
    /// Index of the interface that saw it.
    pub ifindex: u32,
    /// Window field, unscaled.
    pub window: u16,
    /// Control bits.
    pub flags: TcpFlags,
    /// IPv4 time to live or IPv6 hop limit, as seen at the interface.
    pub ttl: u8,
    /// Whether this host passes it on for another, instead of sending it itself. Only
    /// known of what leaves the host.
    pub forwarded: bool,
    /// Whether it was read from a capture, which may lack others.
    pub from_capture: bool,
    /// Options of a SYN; empty otherwise.
    pub options: TcpOptions,
    /// Bytes that its D-SACK block reports as received twice; 0 without one.
    pub duplicate: u32,
    /// It reports that bytes beyond its acknowledgment number have arrived (SACK, RFC 2018).
    pub hole_reported: bool,
}

impl Segment {
    /// Sequence number after the last byte; SYN and FIN take one each (RFC 9293, 3.4).
    #[inline(always)]
    pub const fn end(&self) -> u32 {
        self.seq
            .wrapping_add(self.payload)
            .wrapping_add(self.flags.syn() as u32)
            .wrapping_add(self.flags.fin() as u32)
    }
}
