//! Where the rules draw their lines.

use std::time::Duration;

use anyhow::ensure;
use serde::{Deserialize, Deserializer, de::Error as _};

/// Where the rules draw their lines: the `[thresholds]` of the configuration. The defaults
/// are right for servers with the usual hello of 60 s.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Thresholds {
    /// The interval of the server's hello (SSTP echo request): [MS-SSTP], section 3.1.2.
    #[serde(deserialize_with = "duration")]
    pub hello: Duration,
    /// How long the server allows from the HTTP request to Call Connected: [MS-SSTP],
    /// section 3.3.2.
    #[serde(deserialize_with = "duration")]
    pub negotiation: Duration,
    /// How long before the first FIN or RST a goodbye may be and still be what ended the
    /// session.
    #[serde(deserialize_with = "duration")]
    pub goodbye: Duration,
    /// Silence of the client from which on a path can be dead.
    #[serde(deserialize_with = "duration")]
    pub path_silence: Duration,
    /// Idleness from which on it can be what ended a session.
    #[serde(deserialize_with = "duration")]
    pub idle: Duration,
    /// How long bytes must have been missing while later ones arrived.
    #[serde(deserialize_with = "duration")]
    pub hole: Duration,
    /// How long a client may take over the server's certificate.
    #[serde(deserialize_with = "duration")]
    pub certificate_check: Duration,
    /// How long a server may take to answer in the PPP phase until that is worth a word.
    #[serde(deserialize_with = "duration")]
    pub backend_slow: Duration,
    /// How long it may take until that is what failed.
    #[serde(deserialize_with = "duration")]
    pub backend_failing: Duration,
    /// Silence after a `ClientHello` that means it was filtered.
    #[serde(deserialize_with = "duration")]
    pub client_hello_silence: Duration,
    /// How long after a session died its client may come back and have roamed.
    #[serde(deserialize_with = "duration")]
    pub roaming: Duration,
    /// Sessions that end alike within this time end for the same reason.
    #[serde(deserialize_with = "duration")]
    pub together: Duration,
    /// How many sessions must end alike for that.
    #[serde(deserialize_with = "several")]
    pub alike: u32,
    /// Segments sent again, of hundred, from which on a session suffers.
    #[serde(deserialize_with = "percent")]
    pub loss_percent: f32,
    /// The same from which on it is unusable.
    #[serde(deserialize_with = "percent")]
    pub loss_critical_percent: f32,
    /// By how much the TTL of a RST must differ to be somebody else's.
    pub ttl_difference: u8,
    /// Time the window may be closed in a minute.
    #[serde(deserialize_with = "duration")]
    pub stalled_per_minute: Duration,
    /// How long a window must be closed each time, on average, for three times to be too often.
    /// The default is the least that a sender waits before it asks (`TCP_RTO_MIN` of Linux).
    #[serde(deserialize_with = "duration")]
    pub stall: Duration,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            hello: Duration::from_mins(1),
            negotiation: Duration::from_mins(1),
            goodbye: Duration::from_secs(6),
            path_silence: Duration::from_secs(15),
            idle: Duration::from_secs(30),
            hole: Duration::from_secs(3),
            certificate_check: Duration::from_secs(5),
            backend_slow: Duration::from_secs(1),
            backend_failing: Duration::from_secs(3),
            client_hello_silence: Duration::from_secs(3),
            roaming: Duration::from_mins(2),
            together: Duration::from_secs(2),
            alike: 3,
            loss_percent: 2.0,
            loss_critical_percent: 5.0,
            ttl_difference: 3,
            stalled_per_minute: Duration::from_secs(1),
            stall: Duration::from_millis(200),
        }
    }
}

impl Thresholds {
    /// Whether what is worse comes after what is bad.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        ensure!(
            self.loss_percent <= self.loss_critical_percent,
            "loss-percent is {}, above loss-critical-percent, which is {}; it is where a session \
             begins to suffer",
            self.loss_percent,
            self.loss_critical_percent
        );
        ensure!(
            self.backend_slow <= self.backend_failing,
            "backend-slow is longer than backend-failing; it is where a word is worth it"
        );
        Ok(())
    }
}

/// The longest time that makes sense: nothing is waited for longer than a day.
const MOST: Duration = Duration::from_hours(24);

/// Reads a time of a millisecond to a day.
pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let given = crate::duration::deserialize(deserializer)?;
    match Duration::try_from(given) {
        Ok(time) if (Duration::from_millis(1)..=MOST).contains(&time) => Ok(time),
        _ => Err(D::Error::custom(format!(
            "{given:#} is no such time; it goes from 1ms to 24h"
        ))),
    }
}

/// Reads a share of 0 to 100.
pub(super) fn percent<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f32, D::Error> {
    let given = f32::deserialize(deserializer)?;
    if (0.0..=100.0).contains(&given) {
        Ok(given)
    } else {
        Err(D::Error::custom(format!(
            "{given} is no percentage; it goes from 0 to 100"
        )))
    }
}

/// Reads how many are several.
fn several<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    match u32::deserialize(deserializer)? {
        few @ (0 | 1) => Err(D::Error::custom(format!(
            "{few} is not several; it goes from 2 on"
        ))),
        several => Ok(several),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_refused() {
        for wrong in [
            "hello = \"0s\"",
            "hello = \"-1s\"",
            "hello = \"9000000h\"",
            "stall = \"0s\"",
            "alike = 0",
            "alike = 1",
            "loss-percent = -1.0",
            "loss-percent = nan",
            "loss-critical-percent = 101.0",
            "helo = \"60s\"",
        ] {
            assert!(toml::from_str::<Thresholds>(wrong).is_err(), "{wrong}");
        }
        for (given, makes_sense) in [
            ("loss-percent = 5.0", true),
            ("loss-percent = 5.1", false),
            ("loss-critical-percent = 1.9", false),
            ("backend-slow = \"3s\"", true),
            ("backend-slow = \"3001ms\"", false),
        ] {
            let thresholds: Thresholds = toml::from_str(given).unwrap();
            assert_eq!(thresholds.check().is_ok(), makes_sense, "{given}");
        }
        let given: Thresholds = toml::from_str("hello = \"24h\"\nalike = 2").unwrap();
        assert_eq!((given.hello, given.alike), (MOST, 2));
    }
}
