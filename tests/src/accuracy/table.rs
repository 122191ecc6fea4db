//! The comparisons as a table.

use comfy_table::Table;

use super::{Comparison, Comparisons};

/// One row for each counter that either of the two has counted, of each capture.
pub fn table<'a>(captures: impl IntoIterator<Item = (&'a str, &'a Comparisons)>) -> Table {
    let mut table = Table::new();
    table.set_header([
        "capture",
        "counter",
        "direction",
        "ours",
        "tshark",
        "difference",
        "rules",
    ]);
    for (capture, comparisons) in captures {
        for ((kind, direction), comparison) in comparisons {
            let Comparison {
                ours,
                tshark,
                rules,
            } = comparison;
            if *ours == 0 && *tshark == 0 {
                continue;
            }
            let rules: Vec<_> = rules
                .iter()
                .map(|(rule, frames)| format!("{} × {frames}", rule.name()))
                .collect();
            table.add_row([
                capture.to_owned(),
                kind.name().to_owned(),
                direction.name().to_owned(),
                ours.to_string(),
                tshark.to_string(),
                match ours.cast_signed() - tshark.cast_signed() {
                    0 => "0".to_owned(),
                    difference => format!("{difference:+}"),
                },
                rules.join(", "),
            ]);
        }
    }
    table
}
