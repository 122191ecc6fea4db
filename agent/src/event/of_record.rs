//! What a record says, as events say it.

use sstpulse_common::{DirectionRecord, FlowKey, HalfOpen, SessionRecord, TcpOptions, record};

use super::{
    CommunityId,
    session::{
        AttemptOutcome, Counters, DirectionTotals, Endpoint, Handshake, HandshakeSide, Mss,
        Network, NetworkType, Rtt, Ttl, ZeroWindow,
    },
};

impl Endpoint {
    /// The client's end of a flow.
    pub fn client(key: &FlowKey) -> Self {
        Self {
            address: key.client.into(),
            port: key.client_port,
        }
    }

    /// The server's end of a flow.
    pub fn server(key: &FlowKey) -> Self {
        Self {
            address: key.server.into(),
            port: key.server_port,
        }
    }
}

impl Network {
    /// What carries a flow.
    pub fn of(key: &FlowKey) -> Self {
        Self {
            kind: if key.is_ipv4() {
                NetworkType::Ipv4
            } else {
                NetworkType::Ipv6
            },
            community_id: CommunityId::of(key),
        }
    }
}

impl Handshake {
    /// What the record keeps of the handshake; `None` if it was not seen.
    pub fn of(record: &SessionRecord) -> Option<Self> {
        (!record.is_midstream()).then(|| Self {
            rtt_us: known(record.head.rtt.handshake_us),
            from_client: HandshakeSide::of(&record.from_client),
            from_server: HandshakeSide::of(&record.from_server),
        })
    }
}

impl HandshakeSide {
    fn of(side: &DirectionRecord) -> Self {
        let options = TcpOptions {
            mss: side.mss,
            window_scale: side.window_scale,
            present: side.options,
        };
        let told = |option| match options.has(option) {
            false if options.has(TcpOptions::UNREAD) => None,
            known => Some(known),
        };
        let scale = options
            .has(TcpOptions::WINDOW_SCALE)
            .then_some(side.window_scale);
        Self {
            syn_retransmits: side.syn_retransmits,
            mss: known(side.mss),
            window_scale: scale,
            sack_permitted: told(TcpOptions::SACK_PERMITTED),
            timestamps: told(TcpOptions::TIMESTAMPS),
        }
    }
}

impl From<record::Rtt> for Rtt {
    fn from(rtt: record::Rtt) -> Self {
        Self {
            handshake: known(rtt.handshake_us),
            min: known(rtt.min_us),
            smoothed: known(rtt.smoothed_us),
            max: known(rtt.max_us),
        }
    }
}

impl Counters {
    /// What a record counts of one side at `now` (monotonic, nanoseconds).
    pub fn of(side: &DirectionRecord, peer: &DirectionRecord, now: u64) -> Self {
        let stalling_ms = side.stalling_ms(now);
        Self {
            bytes: side.bytes,
            segments: side.segments,
            retransmitted_bytes: side.retransmitted_bytes,
            retransmits: side.retransmits,
            spurious_retransmits: spurious_retransmits(side, peer),
            out_of_order: side.out_of_order,
            duplicate_acks: side.duplicate_acks,
            zero_window: ZeroWindow {
                segments: side.zero_window_segments,
                stalls: side.zero_window_stalls,
                stalled_ms: side.stalled_ms.saturating_add(stalling_ms),
                longest_ms: side.longest_stall_ms.max(stalling_ms),
            },
            window_probes: side.window_probes,
            keepalives: side.keepalives,
            resets: side.resets,
            fins: side.fins,
        }
    }

    /// Segments that were sent again because they were lost, as far as is known: copies that
    /// turned out needless are left out.
    pub const fn lost(&self) -> u32 {
        self.retransmits.saturating_sub(self.spurious_retransmits)
    }

    /// What came since `earlier`. The longest stall is that of the whole session.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let Self {
            bytes,
            segments,
            retransmitted_bytes,
            retransmits,
            spurious_retransmits,
            out_of_order,
            duplicate_acks,
            zero_window,
            window_probes,
            keepalives,
            resets,
            fins,
        } = *earlier;
        Self {
            bytes: self.bytes.saturating_sub(bytes),
            segments: self.segments.saturating_sub(segments),
            retransmitted_bytes: self.retransmitted_bytes.saturating_sub(retransmitted_bytes),
            retransmits: self.retransmits.wrapping_sub(retransmits),
            spurious_retransmits: self.spurious_retransmits.wrapping_sub(spurious_retransmits),
            out_of_order: self.out_of_order.wrapping_sub(out_of_order),
            duplicate_acks: self.duplicate_acks.wrapping_sub(duplicate_acks),
            zero_window: self.zero_window.since(&zero_window),
            window_probes: self.window_probes.wrapping_sub(window_probes),
            keepalives: self.keepalives.wrapping_sub(keepalives),
            resets: self.resets.saturating_sub(resets),
            fins: self.fins.saturating_sub(fins),
        }
    }
}

/// Two witnesses, neither complete: acknowledgments that had passed us, and what the peer
/// reported as received twice. The latter tells of copies that the network made as well.
fn spurious_retransmits(side: &DirectionRecord, peer: &DirectionRecord) -> u32 {
    let reported = peer.dsack_dups.min(side.retransmits);
    side.spurious_retransmits.max(reported)
}

impl ZeroWindow {
    fn since(&self, earlier: &Self) -> Self {
        Self {
            segments: self.segments.wrapping_sub(earlier.segments),
            stalls: self.stalls.wrapping_sub(earlier.stalls),
            // The end of a stall may round down what was reported while it lasted.
            stalled_ms: self.stalled_ms.saturating_sub(earlier.stalled_ms),
            longest_ms: self.longest_ms,
        }
    }
}

impl DirectionTotals {
    /// Everything a record has of one side.
    pub fn of(side: &DirectionRecord, peer: &DirectionRecord, now: u64) -> Self {
        Self {
            counters: Counters::of(side, peer, now),
            syn_retransmits: side.syn_retransmits,
            mss: Mss {
                announced: known(side.mss),
                largest_seen: side.largest_segment,
            },
            ttl: Ttl {
                usual: known(side.ttl_usual),
                last: known(side.ttl_last),
            },
        }
    }
}

impl AttemptOutcome {
    /// What became of an attempt that nothing more is expected of.
    pub fn of(half_open: &HalfOpen) -> Self {
        match (half_open.reset_by, half_open.syn_acks) {
            (HalfOpen::RESET_BY_CLIENT, _) => Self::ResetByClient,
            (HalfOpen::RESET_BY_SERVER, _) => Self::ResetByServer,
            (_, 0) => Self::SynUnanswered,
            _ => Self::SynAckUnanswered,
        }
    }
}

/// A number that is 0 while unknown.
pub(crate) fn known<T: Default + PartialEq>(value: T) -> Option<T> {
    (value != T::default()).then_some(value)
}
