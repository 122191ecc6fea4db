//! The benchmark measures what it says it does: a rare run of all of it takes minutes, so a short
//! one of some of it is made with each change. What the figures are is not judged here.

use std::{fs, process::Command};

use anyhow::Result;
use lab::require_root;
use serde_json::Value;
use tempfile::TempDir;

#[test]
fn scan_events_and_start_are_measured() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let folder = TempDir::new()?;
    let json = folder.path().join("figures.json");
    // More sessions than fit into a bucket, so that there are slots to spare.
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["scan", "events", "start", "--runs", "1"])
        .args(["--sessions", "1000", "--json"])
        .arg(&json)
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let figures: Value = serde_json::from_slice(&fs::read(&json)?)?;
    let active: Vec<_> = figures["scan"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|scan| (scan["sessions"].as_u64(), scan["active_percent"].as_u64()))
        .collect();
    let expected = [0, 1, 10, 100].map(|percent| (Some(1_000), Some(percent)));
    assert_eq!(active, expected);
    for (section, figure) in [
        ("events", "health_lines_per_s"),
        ("events", "end_lines_per_s"),
        ("start", "load_ms"),
        ("start", "attach_ms"),
    ] {
        let figure = figures[section][figure].as_f64();
        assert!(figure.is_some_and(|figure| figure > 0.0), "{figures}");
    }
    Ok(())
}
