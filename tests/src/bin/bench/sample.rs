//! Something measured several times.

use std::fmt;

use serde::{Serialize, Serializer};

/// Something measured several times: as JSON its median, as text its spread, too.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample(Vec<f64>);

impl Sample {
    /// One more.
    pub(crate) fn push(&mut self, value: f64) {
        let at = self.0.partition_point(|other| *other < value);
        self.0.insert(at, value);
    }

    /// The median; of two in the middle, the lower.
    pub(crate) fn median(&self) -> f64 {
        let middle = self.0.len().saturating_sub(1) / 2;
        self.0.get(middle).copied().unwrap_or(f64::NAN)
    }

    /// The least.
    pub(crate) fn least(&self) -> f64 {
        self.0.first().copied().unwrap_or(f64::NAN)
    }
}

impl Serialize for Sample {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // What a measurement is not exact to, nobody need read.
        let rounded = (self.median() * 1_000.0).round() / 1_000.0;
        serializer.serialize_f64(rounded)
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |value: f64| match value.abs() {
            1_000.0.. => format!("{value:.0}"),
            10.0.. => format!("{value:.1}"),
            _ => format!("{value:.2}"),
        };
        let text = match self.0.as_slice() {
            [least, .., most] => format!(
                "{} ({} to {})",
                number(self.median()),
                number(*least),
                number(*most)
            ),
            _ => number(self.median()),
        };
        formatter.pad(&text)
    }
}
