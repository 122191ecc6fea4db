//! Small TLS records, which are noted, and openings, which are handed over.

use sstpulse_common::{
    Side,
    counters::Counter,
    payload::{OPENING_FROM_CLIENT, SMALL, SMALL_AT_FIRST},
    tls::{ContentType, HEADER},
};

use super::{ACK, FIN, RST, Row, rows};
use crate::conversation::{c, s};

const DATA: u8 = ContentType::APPLICATION_DATA;
const ALERT: u8 = ContentType::ALERT;

/// A record of this type, with as many bytes after its header (RFC 8446, section 5.1).
fn record(content_type: u8, length: u8) -> Vec<u8> {
    let mut bytes = vec![content_type, 3, 3, 0, length];
    bytes.resize(HEADER + usize::from(length), 0xee);
    bytes
}

/// The header alone.
fn header(content_type: u8, version: [u8; 2], length: u16) -> Vec<u8> {
    [&[content_type][..], &version, &length.to_be_bytes()].concat()
}

#[rustfmt::skip]
#[expect(clippy::too_many_lines, reason = "it is a table")]
pub(super) fn records() -> Vec<Row> {
    rows! {
        "a small record of each side is noted, with its time": |t| {
            t.handshake().send(c(0, 0, 30).content(0, &record(DATA, 25)));
            t.wait_ms(20).send(s(0, 30, 24).content(0, &record(ALERT, 19)));
        } => |left| {
            assert_eq!(left.small_records(Side::Client), [(DATA, 25)]);
            assert_eq!(left.small_records(Side::Server), [(ALERT, 19)]);
            let (client, server) = (left.session().client_trail, left.session().server_trail);
            // 20 ms are 305.2 of its units.
            assert!((305..=306).contains(&(server.seen[0] - client.seen[0])));
        }
        "two small records in one segment are noted, each for itself": |t| {
            let both = [record(DATA, 37), record(ALERT, 19)].concat();
            t.handshake().send(c(0, 0, both.len()).content(0, &both));
        } => |left| {
            assert_eq!(left.small_records(Side::Client), [(ALERT, 19), (DATA, 37)]);
        }
        "of five small records the last four are kept": |t| {
            t.handshake();
            for length in 21..26 {
                let seq = u32::from(length - 21) * 100;
                let record = record(DATA, length);
                t.send(c(seq, 0, record.len()).content(0, &record));
            }
        } => |left| {
            assert_eq!(left.small_records(Side::Client), [25, 24, 23, 22].map(|length| (DATA, length)));
            assert_eq!(left.session().client_trail.written, 5);
        }
        "of five records in one segment the first four are looked at": |t| {
            let five = [0, 1, 2, 3, 4].map(|length| record(DATA, length)).concat();
            t.handshake().send(c(0, 0, five.len()).content(0, &five));
        } => |left| {
            assert_eq!(left.small_records(Side::Client), [3, 2, 1, 0].map(|length| (DATA, length)));
        }
        "a small record in the last segment of a buffer is noted": |t| {
            t.handshake().send(s(0, 0, 2_830).gso(1_400).content(2_800, &record(DATA, 25)));
        } => |left| {
            assert_eq!(left.server().segments, 4);
            assert_eq!(left.small_records(Side::Server), [(DATA, 25)]);
        }
        "what looks like a record elsewhere in a buffer is not": |t| {
            t.handshake().send(s(0, 0, 2_830).gso(1_400).content(1_400, &record(DATA, 25)));
        } => |left| {
            assert_eq!(left.small_records(Side::Server), []);
        }
        "a segment as long as small ones may be is looked into, one byte longer it is not": |t| {
            let most = SMALL_AT_FIRST;
            let longest = record(DATA, most - 5);
            let longer = record(DATA, most - 4);
            t.handshake().send(c(0, 0, longest.len()).content(0, &longest));
            t.send(c(u32::from(most), 0, longer.len()).content(0, &longer));
        } => |left| {
            assert_eq!(left.small_records(Side::Client), [(DATA, SMALL_AT_FIRST - 5)]);
        }
        "a large segment is not looked into, whatever it begins with": |t| {
            t.handshake().send(c(0, 0, 1_400).content(0, &record(DATA, 25)));
        } => |left| {
            assert_eq!(left.small_records(Side::Client), []);
        }
        "where a segment holds the end of a larger record, small ones behind it are noted": |t| {
            let both = [vec![0xee; 9], record(DATA, 25), record(ALERT, 19)].concat();
            t.handshake().send(c(0, 0, both.len()).content(0, &both));
        } => |left| {
            assert_eq!(left.small_records(Side::Client), [(ALERT, 19), (DATA, 25)]);
        }
        "small records at the end of a large segment are noted if it bears the FIN": |t| {
            let last = [record(DATA, 37), record(ALERT, 19)].concat();
            let at = 1_400 - last.len();
            t.handshake().send(c(0, 0, 1_400).content(at, &last));
            t.send(s(0, 1_400, 1_400).flags(FIN | ACK).content(at, &last));
        } => |left| {
            assert_eq!(left.small_records(Side::Client), []);
            assert_eq!(left.small_records(Side::Server), [(ALERT, 19), (DATA, 37)]);
        }
        "or if the other side has closed": |t| {
            let alert = record(ALERT, 19);
            t.handshake().send(c(0, 0, 0).flags(FIN | ACK));
            t.send(s(0, 1, 3_000).gso(1_400).content(3_000 - alert.len(), &alert));
            t.send(s(3_000, 1, 1_400));
        } => |left| {
            assert_eq!(left.small_records(Side::Server), [(ALERT, 19)]);
        }
        "of records that are further from the end than small ones may be, none is noted": |t| {
            let alert = record(ALERT, 19);
            let at = 1_400 - SMALL;
            t.handshake().send(c(0, 0, 1_400).flags(FIN | ACK).content(at - 1, &alert));
            t.send(s(0, 1_401, 1_400).flags(FIN | ACK).content(at, &alert));
        } => |left| {
            assert_eq!(left.small_records(Side::Client), []);
            assert_eq!(left.small_records(Side::Server), [(ALERT, 19)]);
        }
        "of two sides' records within a tick of the clock, the later finds the other noted": |t| {
            let alert = record(ALERT, 19);
            t.handshake().send(c(0, 0, 24).content(0, &alert)).send(s(0, 24, 24).content(0, &alert));
        } => |left| {
            let (client, server) = (left.small_record(Side::Client, 0), left.small_record(Side::Server, 0));
            assert!(client.was_noted_before(&server) && !server.was_noted_before(&client));
            assert!(!client.other.closed && !server.other.closed);
        }
        "who was first is known however many records there were": |t| {
            let echo = record(DATA, 25);
            t.handshake();
            for seq in (0..40).map(|number| number * 30) {
                t.send(s(seq, seq, 30).content(0, &echo)).send(c(seq, seq + 30, 30).content(0, &echo));
            }
        } => |left| {
            for before in 0..4 {
                let (client, server) = (left.small_record(Side::Client, before), left.small_record(Side::Server, before));
                assert!(server.was_noted_before(&client) && !client.was_noted_before(&server));
                assert_eq!(usize::from(server.number), (39 - before) % 16);
            }
        }
        "a record knows whether the other side had closed": |t| {
            let alert = record(ALERT, 19);
            t.handshake().send(c(0, 0, 24).content(0, &alert)).send(s(0, 24, 0).flags(FIN | ACK));
            t.send(c(24, 1, 24).flags(FIN | ACK).content(0, &alert));
        } => |left| {
            assert!(left.small_record(Side::Client, 0).other.closed);
            assert!(!left.small_record(Side::Client, 1).other.closed);
        }
        "a small record that is sent again is noted once": |t| {
            let echo = record(DATA, 25);
            t.handshake().send(s(0, 0, 30).content(0, &echo)).wait_ms(300).send(s(0, 0, 30).content(0, &echo));
            t.send(c(0, 30, 30).content(0, &echo)).wait_ms(300).send(c(0, 30, 30).content(0, &echo));
        } => |left| {
            assert_eq!((left.client().retransmits, left.server().retransmits), (1, 1));
            assert_eq!(left.small_records(Side::Server), [(DATA, 25)]);
            assert_eq!(left.small_records(Side::Client), [(DATA, 25)]);
        }
        "what only looks like a header is none": |t| {
            let beyond = (1 << 14) + 2049;
            let headers = [
                header(19, [3, 3], 5), header(25, [3, 3], 5), header(DATA, [2, 3], 5),
                header(DATA, [3, 5], 5), header(DATA, [3, 3], beyond),
            ];
            t.handshake();
            for (index, header) in (0..).zip(headers) {
                t.send(c(index * 10, 0, 10).content(0, &header));
            }
        } => |left| {
            assert_eq!(left.client().bytes, 50);
            assert_eq!(left.small_records(Side::Client), []);
        }
        "a record longer than its segment is not noted, the one before it is": |t| {
            t.handshake().send(c(0, 0, 29).content(0, &header(DATA, [3, 3], 25)));
            let begun = [record(DATA, 21), header(DATA, [3, 3], 1_000)].concat();
            t.send(s(0, 29, begun.len()).content(0, &begun));
        } => |left| {
            assert_eq!(left.small_records(Side::Client), []);
            assert_eq!(left.small_records(Side::Server), [(DATA, 21)]);
        }
        "what fills a frame up is no part of a record": |t| {
            t.handshake().send(c(0, 0, 5).content(0, &header(DATA, [3, 3], 1)).padded(20));
        } => |left| {
            assert_eq!(left.client().bytes, 5);
            assert_eq!(left.small_records(Side::Client), []);
        }
        "a RST with data, and data that no window allows, are not looked into": |t| {
            let alert = record(ALERT, 2);
            t.handshake().send(c(20_000_000, 0, 7).content(0, &alert));
            t.send(s(0, 0, 7).flags(RST).content(0, &alert));
        } => |left| {
            assert_eq!(left.counters.get(Counter::OutOfWindow), 1);
            assert_eq!(left.small_records(Side::Client), []);
            assert_eq!(left.small_records(Side::Server), []);
        }
        "of a session older than the agent, small records are noted, and no opening is handed over": |t| {
            t.send(s(0, 0, 30).content(0, &record(DATA, 25))).send(c(0, 30, 30).content(0, &record(DATA, 25)));
        } => |left| {
            assert_eq!(left.small_records(Side::Server), [(DATA, 25)]);
            assert_eq!(left.small_records(Side::Client), [(DATA, 25)]);
            assert_eq!((left.opening(Side::Client), left.opening(Side::Server)), (vec![], vec![]));
        }
        "the opening is handed over with its place in the stream, repetitions as well": |t| {
            t.handshake().send(c(0, 0, 300)).send(s(0, 300, 1_000)).wait_ms(300).send(s(0, 300, 1_000));
            t.send(c(300, 1_000, 80)).send(c(380, 1_000, 0));
        } => |left| {
            assert_eq!(left.opening(Side::Client), [(0, 300), (300, 80)]);
            assert_eq!(left.opening(Side::Server), [(0, 1_000), (0, 1_000)]);
        }
        "of a buffer of many segments the opening is handed over at once": |t| {
            t.handshake().send(s(0, 0, 3_000).gso(1_400));
        } => |left| {
            assert_eq!(left.opening(Side::Server), [(0, 3_000)]);
        }
        "an opening goes no further than what may be one": |t| {
            t.handshake();
            for seq in 0..10 {
                t.send(c(seq * 1_024, 0, 1_024)).send(s(0, (seq + 1) * 1_024, 0));
            }
        } => |left| {
            let pieces = left.opening(Side::Client);
            assert_eq!(pieces.last(), Some(&(7 * 1_024, 1_024)));
            assert_eq!(pieces.len() as u64, OPENING_FROM_CLIENT / 1_024);
        }
    }
}
