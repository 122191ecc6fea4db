//! Times as people write them, on the command line and in the configuration.

use jiff::SignedDuration;
use serde::{Deserialize, Deserializer, de::Error as _};

/// Reads a time.
pub(crate) fn parse(text: &str) -> Result<SignedDuration, String> {
    text.parse().map_err(|_| {
        format!("{text:?} is no time; write it with its unit, as in 10s, 500ms, 15m or 24h")
    })
}

/// Reads a time from a configuration.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<SignedDuration, D::Error> {
    /// A number is not wrong yet, but has no unit.
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a time with its unit, in quotes, as in \"10s\"")]
    enum Given {
        Text(String),
    }
    let Given::Text(text) = Given::deserialize(deserializer)?;
    parse(&text).map_err(D::Error::custom)
}
