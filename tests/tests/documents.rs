//! What the documents show is what the program does.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context as _, Result};
use lab::events::Line;
use serde_json::Value;

fn read(file: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// The blocks of a Markdown file that are marked as JSON.
fn json_blocks(text: &str) -> Vec<&str> {
    text.split("```json\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect()
}

#[test]
fn each_sample_of_an_event_fits_the_schema_and_the_contract() -> Result<()> {
    let schema: Value = serde_json::from_str(&read("docs/events.schema.json")?)?;
    let validator = jsonschema::validator_for(&schema)?;
    let document = read("docs/events.md")?;
    let mut kinds = BTreeSet::new();
    for block in json_blocks(&document) {
        let sample: Value = serde_json::from_str(block)?;
        if let Err(error) = validator.validate(&sample) {
            panic!("{block}\ndoes not fit the schema: {error}");
        }
        serde_json::from_str::<Line>(block).context(block.to_owned())?;
        kinds.insert(sample["type"].as_str().unwrap_or_default().to_owned());
    }
    assert_eq!(kinds.len(), 10, "one sample of each type: {kinds:?}");
    Ok(())
}
