//! Short texts that lines are made of, written without asking for memory: a line has five of
//! them, and there may be hundreds of thousands of lines in a second.

use std::fmt;

use arrayvec::ArrayString;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::{
    Timestamp,
    fmt::{StdFmtWrite, temporal::DateTimePrinter},
};
use schemars::JsonSchema;
use serde::{Serialize, Serializer};
use sha1::{Digest as _, Sha1};
use sstpulse_common::FlowKey;
use zerocopy::IntoBytes as _;

/// A point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(transparent, extend("format" = "date-time"))]
pub struct Time(#[schemars(with = "String")] pub Timestamp);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(9));

        let mut text = ArrayString::<40>::new();
        // There is room for any year that there is a time in.
        let _ = PRINTER.print_timestamp(&self.0, StdFmtWrite(&mut text));
        serializer.serialize_str(&text)
    }
}

/// Which session: numbers of the run, and of the session in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String")]
pub struct SessionId {
    /// Makes the sessions of a run differ from those of others.
    pub run: u32,
    /// Makes a session differ from others of its run.
    pub number: u64,
}

impl fmt::Display for SessionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:08x}{:08x}", self.run, self.number)
    }
}

impl Serialize for SessionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut digits = [0; 24];
        let mut at = digits.len();
        let mut write = |mut value: u64, least: usize| {
            let end = at;
            while value > 0 || end - at < least {
                at -= 1;
                digits[at] = b"0123456789abcdef"[(value & 15) as usize];
                value >>= 4;
            }
        };
        write(self.number, 8);
        write(self.run.into(), 8);
        serializer.serialize_str(str::from_utf8(&digits[at..]).unwrap_or_default())
    }
}

/// The Community ID of a flow, version 1 with seed 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String")]
pub struct CommunityId([u8; 20]);

impl CommunityId {
    /// That of a flow.
    pub fn of(key: &FlowKey) -> Self {
        const TCP: [u8; 2] = [6, 0];

        // The smaller end comes first, as the bytes stand on the wire.
        let client = (key.client.0, key.client_port.to_be_bytes());
        let server = (key.server.0, key.server_port.to_be_bytes());
        let (first, second) = if (client.0.as_bytes(), client.1) < (server.0.as_bytes(), server.1) {
            (client, server)
        } else {
            (server, client)
        };
        // An IPv4 address is the last four bytes of a mapped one.
        let length = if key.is_ipv4() { 4 } else { 16 };
        let mut hash = Sha1::new();
        hash.update([0, 0]);
        hash.update(&first.0.as_bytes()[16 - length..]);
        hash.update(&second.0.as_bytes()[16 - length..]);
        hash.update(TCP);
        hash.update(first.1);
        hash.update(second.1);
        Self(hash.finalize().into())
    }
}

impl CommunityId {
    /// Calls `use_it` with how it is written.
    fn written<T>(&self, use_it: impl FnOnce(&str) -> T) -> T {
        let mut text = *b"1:............................";
        // 20 bytes make 28 characters.
        let _ = STANDARD.encode_slice(self.0, &mut text[2..]);
        use_it(str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Display for CommunityId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.written(|text| formatter.write_str(text))
    }
}

impl Serialize for CommunityId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.written(|text| serializer.serialize_str(text))
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn json(value: impl Serialize) -> String {
        serde_json::to_string(&value).unwrap()
    }

    #[test]
    fn community_ids_are_those_of_another_implementation() {
        for (client, server) in [
            ("192.0.2.7:40000", "198.51.100.1:443"),
            ("198.51.100.1:443", "192.0.2.7:40000"),
            ("198.51.100.1:40000", "198.51.100.1:443"),
            ("[2001:db8::7]:40000", "[2001:db8::1]:443"),
            ("[2001:db8::1]:40000", "[fd00::1]:443"),
        ] {
            let (client, server): (SocketAddr, SocketAddr) =
                (client.parse().unwrap(), server.parse().unwrap());
            let expected = community_id::calculate_community_id(
                0,
                client.ip(),
                server.ip(),
                Some(client.port()),
                Some(server.port()),
                6,
                false,
            );
            let id = CommunityId::of(&FlowKey::new(client, server));
            assert_eq!(json(id), format!("\"{}\"", expected.unwrap()));
        }
    }

    #[test]
    fn identifiers_are_written_as_they_are_shown() {
        for (run, number) in [(0, 0), (0xdead_beef, 1), (7, 0x1_2345_6789_abcd)] {
            let id = SessionId { run, number };
            assert_eq!(json(id), format!("\"{id}\""));
        }
    }

    #[test]
    fn times_have_nine_digits() {
        let time = |text: &str| json(Time(text.parse().unwrap()));
        let exact = "2026-11-23T03:20:51.014050102Z";
        assert_eq!(time(exact), format!("\"{exact}\""));
        assert_eq!(
            time("1970-01-01T00:00:00Z"),
            "\"1970-01-01T00:00:00.000000000Z\""
        );
        assert_eq!(json(Time(Timestamp::MAX)).len(), 32);
    }
}
