//! Where `cluster.anomaly` draws its lines.

use std::{num::NonZeroU32, time::Duration};

use serde::{Deserialize, Deserializer, de::Error as _};

use super::thresholds::{duration, percent};

/// Where `cluster.anomaly` draws its lines: the `[limits]` of the configuration. The defaults
/// are for servers small and large: what a few sessions do is no cluster, nor what a few of
/// many do.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ClusterLimits {
    /// Segments that one side, all sessions taken together, may send again, of hundred.
    #[serde(deserialize_with = "percent")]
    pub retransmits_percent: f32,
    /// The average of round-trip times that is accepted.
    #[serde(deserialize_with = "duration")]
    pub rtt: Duration,
    /// Tunnels that may be dropped, of hundred that end.
    #[serde(deserialize_with = "percent")]
    pub drops_percent: f32,
    /// How many times the usual share of drops, or of failures, is too much.
    #[serde(deserialize_with = "factor")]
    pub baseline_factor: f32,
    /// Fewer drops, failures, attempts or sessions than this say nothing about a rate.
    #[serde(deserialize_with = "at_least_one")]
    pub least: u32,
    /// A cluster has at least this share of the sessions that were open, in percent: on a large
    /// server, a few always fail alike.
    #[serde(deserialize_with = "percent")]
    pub share_percent: f32,
    /// What has been away for so long is over.
    #[serde(deserialize_with = "duration")]
    pub calm: Duration,
}

impl Default for ClusterLimits {
    fn default() -> Self {
        Self {
            retransmits_percent: 5.0,
            rtt: Duration::from_millis(500),
            drops_percent: 50.0,
            baseline_factor: 4.0,
            least: 10,
            share_percent: 5.0,
            calm: Duration::from_mins(5),
        }
    }
}

fn at_least_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    NonZeroU32::deserialize(deserializer).map(NonZeroU32::get)
}

fn factor<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f32, D::Error> {
    let given = f32::deserialize(deserializer)?;
    if given.is_finite() && given > 1.0 {
        Ok(given)
    } else {
        Err(D::Error::custom(format!(
            "{given} is not above 1; the usual itself would be too much"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_refused() {
        for wrong in [
            "drops-percent = 101",
            "drops-percent = nan",
            "retransmits-percent = -1",
            "share-percent = \"all\"",
            "baseline-factor = 1.0",
            "baseline-factor = inf",
            "least = -1",
            "least = 0",
            "calm = \"0s\"",
            "rtt = \"-1s\"",
            "rtts = \"1s\"",
        ] {
            assert!(toml::from_str::<ClusterLimits>(wrong).is_err(), "{wrong}");
        }
        let one: ClusterLimits = toml::from_str("least = 3").unwrap();
        let others = ClusterLimits {
            least: 3,
            ..ClusterLimits::default()
        };
        assert_eq!(one, others);
    }
}
