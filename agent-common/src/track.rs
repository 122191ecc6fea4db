//! One segment of a session: what it means, and what it adds to the record.
//!
//! We stand on the server's host. What the server sends passes us right after its TCP
//! sent it, so a number seen before is a retransmission. What the client sends passes us
//! right before the server's TCP takes it, so a number seen before is a needless copy or
//! fills a gap, and a gap filled well within a round trip was overtaken on the way and not lost.
//!
//! A packet can pass several watched interfaces (bond and slave, VLAN and parent). The
//! interface that sees a direction first owns it and counts it; another takes over when
//! the owner has been silent for [`OWNERSHIP_NS`].

use crate::{
    Clock, DirectionRecord, Segment, SessionRecord, Side, TcpFlags, Told,
    half_open::microseconds,
    record::{Mark, SessionHead},
    repeated::{Part, Repeated},
    sequence::{after, within},
};

/// How long the owner of a direction must be silent before another interface takes over.
pub const OWNERSHIP_NS: u64 = 1_000_000_000;

/// How long, and a round trip more, the server must have sent no data before it sends some
/// again for that to be a timeout, and no answer to what the client reports. The timer takes
/// 200 ms and a round trip at least (`TCP_RTO_MIN` in `include/net/tcp.h`); the clock that this
/// is measured with has a unit of 67 ms.
pub const PAUSE_NS: u64 = 2 << DirectionRecord::DATA_CLOCK_SHIFT;

/// Segments sent again that make one notice.
pub const REPETITIONS: u32 = 16;

/// RSTs of one side that are told one by one.
const MOST_RESETS_TOLD: u16 = 8;

/// What stands for a round trip while none has been measured (Wireshark's limit).
const OVERTAKEN_NS: u64 = 3_000_000;

/// The least that is taken for a window: a SYN's window can be tiny, and an ACK may
/// trail behind by as much (Linux conntrack's `MAXACKWINDOW`).
const LEAST_WINDOW: u32 = 66_000;

/// Counts a segment that `side` sent in the session's record, and says what there is to tell
/// of it. SYNs don't come here.
#[inline(always)]
pub fn track(
    record: &mut SessionRecord,
    side: Side,
    segment: &Segment,
    clock: &impl Clock,
) -> Told {
    // When a session ended is told to the nanosecond.
    let now = if segment.flags.0 & (TcpFlags::FIN | TcpFlags::RST) == 0 {
        clock.coarse_ns()
    } else {
        clock.exact_ns()
    };
    let SessionRecord {
        head,
        from_client,
        from_server,
        client_trail: _,
        server_trail: _,
    } = record;
    match side {
        Side::Client => {
            if !owns(from_client, segment, now) {
                return Told::OTHER_INTERFACE;
            }
            if !plausible(from_client, from_server, segment, now) {
                if segment.flags.rst() {
                    // Without effect, but whoever forges RSTs shows by their number.
                    from_client.resets = from_client.resets.saturating_add(1);
                    return Told::OUT_OF_WINDOW | tell_reset(from_client);
                }
                return Told::OUT_OF_WINDOW;
            }
            let inflated = measure(head, from_client, from_server, segment, clock);
            catch_up(from_client, from_server);
            count(from_client, segment, now);
            if segment.flags.rst() {
                let effective = expected(from_client, from_server, segment);
                return reset(from_client, from_server, effective);
            }
            acknowledge(from_client, from_server, segment);
            let received = receive(head, from_client, from_server, segment, clock);
            inflated | received | finish(from_client, from_server, segment)
        }
        Side::Server => {
            if !owns(from_server, segment, now) {
                return Told::OTHER_INTERFACE;
            }
            let silent_ns = from_server.without_data_ns(now);
            count(from_server, segment, now);
            if segment.flags.rst() {
                // A firewall of this host can answer a forged segment with a RST that
                // bears the forger's numbers.
                let effective = within(segment.seq, from_client.ack, from_server.seq_next);
                return reset(from_server, from_client, effective);
            }
            acknowledge(from_server, from_client, segment);
            let sent = send(
                head,
                from_server,
                from_client,
                segment,
                silent_ns,
                now,
                clock,
            );
            sent | finish(from_server, from_client, segment)
        }
    }
}

/// Whether this interface counts this direction.
#[inline(always)]
fn owns(own: &mut DirectionRecord, segment: &Segment, now: u64) -> bool {
    if own.ifindex == segment.ifindex {
        return true;
    }
    let silent = now.saturating_sub(own.last_seen_ns) >= OWNERSHIP_NS;
    if own.ifindex == 0 || silent {
        own.ifindex = segment.ifindex;
        return true;
    }
    false
}

/// Whether the client can have sent this, as RFC 9293 (3.10.7.4) and RFC 5961 (5.2) have
/// it: data within the server's window, an acknowledgment within its own. Without this,
/// one forged segment would throw the count of a session off.
#[inline(always)]
fn plausible(
    client: &DirectionRecord,
    server: &DirectionRecord,
    segment: &Segment,
    now: u64,
) -> bool {
    let server_window = server.largest_window().max(LEAST_WINDOW);
    let client_window = client.largest_window().max(LEAST_WINDOW);
    let beyond = after(segment.seq, server.ack.wrapping_add(server_window)) > 0;
    let before = after(segment.end(), client.seq_next.wrapping_sub(server_window)) < 0;
    if beyond || before {
        return false;
    }
    if !segment.flags.ack() {
        return segment.flags.rst();
    }
    let old = after(segment.ack, client.ack.wrapping_sub(client_window)) < 0;
    if old || after(segment.ack, server.seq_next) <= 0 {
        return !old;
    }
    // A probe of one byte may have been taken for data, which does not move SND.NXT.
    if server.window_probes != 0 && after(segment.ack, server.seq_next) == 1 {
        return true;
    }
    // It acknowledges what we have not seen: possible only if the server sends through an
    // interface that nobody watches, and therefore not through this one; or if a capture
    // lacks it.
    let highest = if after(client.ack, server.seq_next) > 0 {
        client.ack
    } else {
        server.seq_next
    };
    (segment.from_capture || now.saturating_sub(server.last_seen_ns) >= OWNERSHIP_NS)
        && after(segment.ack, highest.wrapping_add(client_window)) <= 0
}

/// The server acknowledged what has passed us by: the client has sent it all the same.
#[inline(always)]
fn catch_up(client: &mut DirectionRecord, server: &DirectionRecord) {
    if after(server.ack, client.seq_next) > 0 {
        client.seq_next = server.ack;
    }
}

/// Whether the server expects a RST with this number: only the next one it is to receive
/// resets (RFC 5961, section 3.2). That lies between what it has acknowledged and the
/// first gap, or the end of what has passed here.
#[inline(always)]
fn expected(client: &DirectionRecord, server: &DirectionRecord, segment: &Segment) -> bool {
    let end = match gap(client, server) {
        Some(gap) => gap.start,
        None => client.seq_next,
    };
    // macOS resets with the number of its FIN; Linux takes that (`tcp_reset_check` in
    // `net/ipv4/tcp_input.c`).
    let at_its_fin = client.has(DirectionRecord::FIN_SENT)
        && segment.seq.wrapping_add(1) == client.seq_next
        && server.ack == client.seq_next;
    within(segment.seq, server.ack, end) || segment.seq == client.seq_next || at_its_fin
}

/// What every segment counts.
#[inline(always)]
fn count(own: &mut DirectionRecord, segment: &Segment, now: u64) {
    own.segments += u64::from(segment.segments);
    own.bytes += u64::from(segment.payload);
    own.last_seen_ns = now;
    if segment.payload != 0 {
        own.data_seen = DirectionRecord::data_clock(now);
    }
    let size = segment.segment_size.min(segment.payload).min(0xffff) as u16;
    if size > own.largest_segment {
        own.largest_segment = size;
    }
    if segment.flags.rst() {
        own.resets = own.resets.saturating_add(1);
        own.ttl_last = segment.ttl;
        return;
    }
    // Two in a row make the usual one; a RST never does, since a forged one shows by it.
    if own.ttl_last == segment.ttl || own.ttl_usual == 0 {
        own.ttl_usual = segment.ttl;
    }
    own.ttl_last = segment.ttl;
}

/// Takes an RTT sample if this is the client's first acknowledgment of the marked stretch,
/// and tells if it is inflated.
#[inline(always)]
fn measure(
    head: &mut SessionHead,
    client: &DirectionRecord,
    server: &DirectionRecord,
    segment: &Segment,
    clock: &impl Clock,
) -> Told {
    // Copied before our acknowledgment number moves on: after that, egress may mark anew.
    let mark = server.mark;
    let crosses = after(segment.ack, mark.end) >= 0 && after(client.ack, mark.end) < 0;
    if mark.since_ns == 0 || !crosses || !segment.flags.ack() {
        return Told::NOTHING;
    }
    let now = clock.exact_ns();
    // A mark from the future was set by another CPU just now.
    if mark.since_ns >= now {
        return Told::NOTHING;
    }
    let rtt_us = microseconds(now - mark.since_ns);
    let inflated = head.rtt.inflated(rtt_us);
    head.rtt.sample(rtt_us);
    Told::RTT_INFLATED.when(inflated)
}

/// A RST. One without effect is counted, and the session goes on.
#[inline(always)]
fn reset(own: &mut DirectionRecord, peer: &DirectionRecord, effective: bool) -> Told {
    if !effective {
        return tell_reset(own);
    }
    let closing = close_first(own, peer);
    own.flags |= DirectionRecord::RESET;
    let ended = end(own, peer);
    if ended != Told::NOTHING {
        own.flags |= DirectionRecord::RESET_ENDED;
    }
    closing | ended | tell_reset(own)
}

/// Tells of a RST that has just been counted, unless there were too many.
#[inline(always)]
fn tell_reset(own: &DirectionRecord) -> Told {
    Told::RESET.when(own.resets <= MOST_RESETS_TOLD)
}

/// Marks the side whose FIN or RST came first.
#[inline(always)]
fn close_first(own: &mut DirectionRecord, peer: &DirectionRecord) -> Told {
    const CLOSED: u8 = DirectionRecord::FIN_SENT | DirectionRecord::RESET;
    if (own.flags | peer.flags) & CLOSED != 0 {
        return Told::NOTHING;
    }
    own.flags |= DirectionRecord::FIRST_TO_CLOSE;
    Told::CLOSING
}

/// Ends the session, once.
#[inline(always)]
fn end(own: &mut DirectionRecord, peer: &DirectionRecord) -> Told {
    if (own.flags | peer.flags) & DirectionRecord::ENDED != 0 {
        return Told::NOTHING;
    }
    own.flags |= DirectionRecord::ENDED;
    Told::SESSION_END
}

/// Acknowledgment number and window.
#[inline(always)]
fn acknowledge(own: &mut DirectionRecord, peer: &DirectionRecord, segment: &Segment) {
    if !segment.flags.ack() {
        return;
    }
    if segment.duplicate != 0 {
        let reported = received_twice(own, peer, segment);
        own.dsack_dups = own.dsack_dups.saturating_add(reported);
    }
    let advance = after(segment.ack, own.ack);
    if advance > 0 {
        own.ack = segment.ack;
        own.flags &= !DirectionRecord::HOLE_REPORTED;
    }
    if segment.hole_reported {
        own.flags |= DirectionRecord::HOLE_REPORTED;
    }
    if advance > 0 {
        // Something new arrived.
    } else if advance == 0
        && segment.payload == 0
        && !segment.flags.fin()
        && segment.window == own.window
        && segment.window != 0
        && segment.seq == own.seq_next
        && after(peer.seq_next, segment.ack) > 0
    {
        own.duplicate_acks += segment.segments;
    }
}

/// Segments of the other side that this one reports as received twice. Counted as Linux
/// counts `tcpi_dsack_dups` (`tcp_dsack_seen` in `net/ipv4/tcp_input.c`).
#[inline(always)]
fn received_twice(own: &DirectionRecord, peer: &DirectionRecord, segment: &Segment) -> u32 {
    let bytes = segment.duplicate;
    // What lies before the window is dropped, its report unread (`tcp_sequence`).
    let dropped = after(peer.ack, segment.end()) > 0;
    let size = u32::from(peer.largest_segment);
    let impossible = bytes > own.largest_window().max(LEAST_WINDOW);
    if impossible || dropped {
        0
    } else if size == 0 {
        1
    } else {
        bytes.div_ceil(size)
    }
}

/// The receive window this segment offers, and the stalls it begins or ends. Tells if one
/// begins.
#[inline(always)]
fn offer(own: &mut DirectionRecord, segment: &Segment, clock: &impl Clock) -> Told {
    if !segment.flags.ack() {
        return Told::NOTHING;
    }
    // Of a segment that was overtaken, the window is no more (RFC 9293, 3.10.7.4).
    let current = after(segment.ack, own.ack) >= 0;
    // A stall that goes on shows here as well, in the line that every segment touches.
    let was_closed = own.window == 0;
    if current {
        own.window = segment.window;
    }
    if segment.window > own.max_window {
        own.max_window = segment.window;
    }
    if segment.window == 0 {
        // Of a buffer, only the last segment bears the FIN.
        let without_fin = segment.segments - u32::from(segment.flags.fin());
        if without_fin == 0 {
            return Told::NOTHING;
        }
        own.zero_window_segments += without_fin;
        if own.stall_since_ms == 0 && current {
            own.stall_since_ms = DirectionRecord::stall_clock_ms(clock.exact_ns());
            own.zero_window_stalls += 1;
            return Told::WINDOW_CLOSED;
        }
    } else if was_closed && current && own.stall_since_ms != 0 {
        let stalled_ms = own.stalling_ms(clock.exact_ns());
        own.stalled_ms = own.stalled_ms.saturating_add(stalled_ms);
        if stalled_ms > own.longest_stall_ms {
            own.longest_stall_ms = stalled_ms;
        }
        own.stall_since_ms = 0;
    }
    Told::NOTHING
}

/// Whether a segment is a keepalive or a probe of the other side's window, and counts it.
///
/// Both have the same shape, 0 or 1 byte at SND.NXT − 1; other stacks probe with 1 byte
/// at SND.NXT. Only the other side's window tells them apart. One byte that was never
/// acknowledged is data sent again.
#[inline(always)]
fn probes(own: &mut DirectionRecord, peer: &DirectionRecord, segment: &Segment) -> bool {
    // Right before SND.NXT there is this side's FIN, once it was sent: what lacks it was
    // overtaken by it.
    let after_fin = own.has(DirectionRecord::FIN_SENT) && segment.payload == 0;
    if segment.payload > 1 || segment.flags.fin() || after_fin {
        return false;
    }
    let at = after(segment.seq, own.seq_next);
    let peer_closed = peer.window == 0 && peer.last_seen_ns != 0;
    let acknowledged = after(peer.ack, own.seq_next) >= 0;
    if at == -1 && (segment.payload == 0 || acknowledged) {
        if peer_closed {
            own.window_probes += 1;
        } else {
            own.keepalives += 1;
        }
        return true;
    }
    if at == 0 && segment.payload == 1 && peer_closed {
        own.window_probes += 1;
        return true;
    }
    false
}

/// Data from the server: we stand at the sender. Tells what trouble it shows.
#[inline(always)]
fn send(
    head: &SessionHead,
    own: &mut DirectionRecord,
    peer: &DirectionRecord,
    segment: &Segment,
    silent_ns: u64,
    now: u64,
    clock: &impl Clock,
) -> Told {
    let probe = probes(own, peer, segment);
    let mut told = offer(own, segment, clock);
    if probe || (segment.payload == 0 && !segment.flags.fin()) {
        return told;
    }
    let repeated = Repeated::of(segment, own.seq_next);
    if let Some(repeated) = repeated {
        told = told
            | retransmit(own, repeated.all(), repeated.acknowledged(peer.ack))
            | Told::TIMEOUT.when(silent_ns >= PAUSE_NS + u64::from(head.rtt.smoothed_us) * 1_000);
        // Karn's rule: what is acknowledged now may be either copy.
        if after(peer.ack, own.mark.end) < 0 {
            own.mark.since_ns = 0;
        }
    }
    let end = segment.end();
    if after(end, own.seq_next) <= 0 {
        return told;
    }
    // One sample in a tick is enough, and the next would need the exact time again.
    let marked =
        own.mark.since_ns >= now || own.mark.since_ns != 0 && after(peer.ack, own.mark.end) < 0;
    let skip = repeated.map_or(0, |repeated| repeated.whole_segments());
    if !marked && skip < segment.payload {
        let start = segment.seq.wrapping_add(skip);
        own.mark = Mark {
            since_ns: clock.exact_ns(),
            start,
            end: start.wrapping_add(segment.segment_size.min(segment.payload - skip)),
        };
    }
    own.seq_next = end;
    told
}

/// Counts segments that were sent before, and those among them that were acknowledged. Tells
/// if that makes [`REPETITIONS`] more.
#[inline(always)]
fn retransmit(own: &mut DirectionRecord, part: Part, acknowledged: u32) -> Told {
    let before = own.retransmits;
    own.retransmits = before.saturating_add(part.segments);
    own.retransmitted_bytes += u64::from(part.bytes);
    own.spurious_retransmits = own.spurious_retransmits.saturating_add(acknowledged);
    Told::REPETITIONS.when(before / REPETITIONS != own.retransmits / REPETITIONS)
}

/// Data from the client: we stand at the receiver. Tells what trouble it shows.
#[inline(always)]
fn receive(
    head: &SessionHead,
    own: &mut DirectionRecord,
    peer: &DirectionRecord,
    segment: &Segment,
    clock: &impl Clock,
) -> Told {
    let probe = probes(own, peer, segment);
    let mut told = offer(own, segment, clock);
    if probe || (segment.payload == 0 && !segment.flags.fin()) {
        return told;
    }
    if own.has(DirectionRecord::RESET_ENDED) && after(segment.end(), own.seq_next) > 0 {
        own.flags |= DirectionRecord::AFTERWARDS;
    }
    // Numbers go round: a gap that is no more would come back after half a turn.
    if gap(own, peer).is_none() {
        own.mark.since_ns = 0;
    }
    if let Some(repeated) = Repeated::of(segment, own.seq_next) {
        told = told | repair(head, own, peer, repeated, clock);
    } else if after(segment.seq, own.seq_next) > 0 {
        own.mark = Mark {
            end: segment.seq,
            ..gap(own, peer).unwrap_or(Mark {
                since_ns: clock.exact_ns(),
                start: own.seq_next,
                end: segment.seq,
            })
        };
    }
    let end = segment.end();
    if after(end, own.seq_next) > 0 {
        own.seq_next = end;
    }
    told
}

/// Data below SND.NXT of the client: it fills the gap, or is a copy of what had come. Tells
/// if it makes [`REPETITIONS`] more copies.
#[inline(always)]
fn repair(
    head: &SessionHead,
    own: &mut DirectionRecord,
    peer: &DirectionRecord,
    repeated: Repeated,
    clock: &impl Clock,
) -> Told {
    let gap = gap(own, peer);
    let overtaken = match gap {
        Some(gap) if clock.exact_ns().saturating_sub(gap.since_ns) < overtaking_ns(head) => {
            repeated.inside(gap.start, gap.end)
        }
        _ => Part::default(),
    };
    own.out_of_order = own.out_of_order.saturating_add(overtaken.segments);
    let all = repeated.all();
    let rest = Part {
        segments: all.segments - overtaken.segments,
        bytes: all.bytes - overtaken.bytes,
    };
    let told = retransmit(own, rest, repeated.acknowledged(peer.ack));
    if let Some(gap) = gap {
        own.mark = rest_of(gap, repeated.start(), repeated.end());
    }
    told
}

/// What is left of a gap after `[start, end)` has come: a gap is known by its first number,
/// and ends with its last.
#[inline(always)]
fn rest_of(gap: Mark, start: u32, end: u32) -> Mark {
    if after(start, gap.start) > 0 || after(end, gap.start) <= 0 {
        gap
    } else if after(gap.end, end) > 0 {
        Mark { start: end, ..gap }
    } else {
        Mark::NONE
    }
}

/// Data that comes sooner than this after what it should have gone before was overtaken,
/// and not lost: the client can't have known, and repeated it, within a round trip.
///
/// Half the shortest one measured. A sample is never shorter than the path but often longer,
/// above all where the handshake's is the only one, since a server that only receives gives
/// no other.
#[inline(always)]
fn overtaking_ns(head: &SessionHead) -> u64 {
    if head.rtt.min_us == 0 {
        OVERTAKEN_NS
    } else {
        u64::from(head.rtt.min_us) * 1_000 / 2
    }
}

/// The stretch of the client's numbers from the first that is missing to the last, if any
/// is. What lies between may have come in part; the server's acknowledgments shorten it.
#[inline(always)]
fn gap(client: &DirectionRecord, server: &DirectionRecord) -> Option<Mark> {
    let mut gap = client.mark;
    if after(server.ack, gap.start) > 0 {
        gap.start = server.ack;
    }
    (gap.since_ns != 0 && after(gap.end, gap.start) > 0).then_some(gap)
}

/// FINs, and whether both are acknowledged.
#[inline(always)]
fn finish(own: &mut DirectionRecord, peer: &DirectionRecord, segment: &Segment) -> Told {
    let mut told = Told::NOTHING;
    if segment.flags.fin() {
        own.fins = own.fins.saturating_add(1);
        told = close_first(own, peer);
        own.flags |= DirectionRecord::FIN_SENT;
    }
    if own.flags & peer.flags & DirectionRecord::FIN_SENT == 0 {
        return told;
    }
    let acknowledged = after(own.ack, peer.seq_next) >= 0 && after(peer.ack, own.seq_next) >= 0;
    if acknowledged {
        told | end(own, peer)
    } else {
        told
    }
}
