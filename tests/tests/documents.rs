//! What the documents show is what the program does.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    ops::RangeInclusive,
    path::Path,
    process::Command,
};

use anyhow::{Context as _, Result, anyhow};
use lab::{accuracy::captures_folder, agent::binary, events::Line};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use sstpulse::{
    cli::ConfigFile,
    diagnosis::{ClusterLimits, RULES, Thresholds, advice},
    event::{ClusterCode, Code},
    settings::{Config, Settings},
};

fn read(file: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// The blocks of a Markdown file that are marked as `language`.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    text.split(&format!("```{language}\n"))
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect()
}

/// The sections of a Markdown file whose headings are code, by heading.
fn sections(text: &str) -> BTreeMap<String, String> {
    text.split("\n### `")
        .skip(1)
        .filter_map(|rest| rest.split_once("`\n"))
        .map(|(heading, text)| (heading.to_owned(), one_line(text)))
        .collect()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn schema() -> Result<Value> {
    Ok(serde_json::from_str(&read("docs/events.schema.json")?)?)
}

/// The codes of verdicts, as the schema has them.
fn codes() -> Result<Vec<String>> {
    variants("Code")
}

/// The values of an enum, as the schema has them.
fn variants(name: &str) -> Result<Vec<String>> {
    let schema = schema()?;
    let codes = schema["$defs"][name]["oneOf"].as_array();
    let codes = codes.context("the schema has no codes")?.iter();
    codes
        .map(|code| Ok(code["const"].as_str().context("no constant")?.to_owned()))
        .collect()
}

#[test]
fn each_sample_of_an_event_fits_the_schema_and_the_contract() -> Result<()> {
    let validator = jsonschema::validator_for(&schema()?)?;
    let document = read("docs/events.md")?;
    let mut kinds = BTreeSet::new();
    for block in blocks(&document, "json") {
        let sample: Value = serde_json::from_str(block)?;
        if let Err(error) = validator.validate(&sample) {
            panic!("{block}\ndoes not fit the schema: {error}");
        }
        serde_json::from_str::<Line>(block).context(block.to_owned())?;
        kinds.insert(sample["type"].as_str().unwrap_or_default().to_owned());
    }
    assert_eq!(kinds.len(), 13, "one sample of each type: {kinds:?}");
    Ok(())
}

#[test]
fn the_verdict_that_the_readme_shows_is_the_one_of_that_capture() -> Result<()> {
    let readme = read("README.md")?;
    let [shown] = blocks(&readme, "json")[..] else {
        panic!("there is one sample of a verdict");
    };
    let output = Command::new(binary("sstpulse")?)
        .arg("replay")
        .arg(captures_folder().join("sstp-mtu-black-hole.pcap"))
        .output()?;
    let mut lines = output.stdout.split(|byte| *byte == b'\n');
    let verdict = lines.find_map(|line| {
        let line: Value = serde_json::from_slice(line).ok()?;
        line.get("verdict").cloned()
    });
    assert_eq!(Some(serde_json::from_str(shown)?), verdict);
    Ok(())
}

#[test]
fn each_code_of_a_verdict_has_its_section_and_each_section_its_code() -> Result<()> {
    let codes: BTreeSet<_> = codes()?.into_iter().collect();
    let described: BTreeSet<_> = sections(&read("docs/verdicts.md")?).into_keys().collect();
    assert_eq!(codes, described);
    Ok(())
}

#[test]
fn each_section_gives_the_advice_of_its_code() -> Result<()> {
    let sections = sections(&read("docs/verdicts.md")?);
    // Two codes come from no rule: one is for attempts alone, the other for want of a rule.
    let others = [Code::SynUnanswered, Code::Unknown];
    let mut advised = BTreeSet::new();
    for code in RULES.iter().map(|rule| rule.code).chain(others) {
        let name = name_of(code)?;
        let section = sections.get(&name).context(name.clone())?;
        assert!(section.contains(advice(code)), "{name}: {}", advice(code));
        advised.insert(name);
    }
    assert_eq!(advised, sections.into_keys().collect());
    Ok(())
}

/// The code as lines have it.
fn name_of(code: impl Serialize) -> Result<String> {
    let name = serde_json::to_value(code)?;
    Ok(name.as_str().context("no name")?.to_owned())
}

#[test]
fn the_order_of_the_rules_is_the_one_that_is_told() -> Result<()> {
    let document = read("docs/verdicts.md")?;
    let (_, order) = document
        .split_once("## Which one it is")
        .context("no order is told")?;
    let (order, _) = order.split_once("\n## ").context("it has no end")?;
    let list = order.split("\n\n").find(|part| part.starts_with("1. "));
    let codes = codes()?;
    let told = list.context("it is no list")?.split('`');
    let told: Vec<_> = told
        .filter(|word| codes.iter().any(|code| code == word))
        .collect();
    let rules: Result<Vec<_>> = RULES.iter().map(|rule| name_of(rule.code)).collect();
    assert_eq!(told, rules?);
    Ok(())
}

#[test]
fn everything_that_can_be_evidence_is_named() -> Result<()> {
    let document = read("docs/verdicts.md")?;
    let schema = schema()?;
    let evidence = schema["$defs"]["Evidence"]["properties"].as_object();
    for name in evidence.context("the schema has no evidence")?.keys() {
        assert!(document.contains(&format!("`{name}`")), "{name}");
    }
    Ok(())
}

#[test]
fn each_threshold_is_named_with_its_default() -> Result<()> {
    let document = read("docs/verdicts.md")?;
    let [block] = blocks(&document, "toml")[..] else {
        panic!("there is one sample of a configuration");
    };
    let settings: Settings = toml::from_str(block)?;
    assert_eq!(settings.thresholds, Some(Thresholds::default()));
    for name in names::<Thresholds>() {
        assert!(
            block.contains(&format!("\n{name} = ")),
            "{name} is not in {block}"
        );
        assert!(document.contains(&format!("| `{name}` |")), "{name}");
    }
    Ok(())
}

/// What the tables take in the kernel, in bytes.
fn kernel_bytes(max_sessions: Option<u32>) -> Result<u64> {
    let settings = Settings {
        interface: vec!["eth0".into()],
        max_sessions: max_sessions.map(u64::from),
        ..Settings::default()
    };
    let config = Config::resolve(settings, &ConfigFile { config: None });
    let config = config.map_err(|failure| anyhow!("{failure}"))?;
    Ok(config.limits.bytes())
}

#[test]
fn kernel_memory_is_what_is_told() -> Result<()> {
    /// Some 400.
    const SOME: RangeInclusive<u64> = 395..=400;
    let bytes = kernel_bytes(None)?;
    let default = format!("{} MiB by default", bytes >> 20);
    assert!(
        read("docs/compatibility.md")?.contains(&default),
        "{default}"
    );
    let events = read("docs/events.md")?;
    let start: Value = blocks(&events, "json")
        .into_iter()
        .map(serde_json::from_str)
        .find(|sample: &serde_json::Result<Value>| {
            sample
                .as_ref()
                .is_ok_and(|sample| sample["type"] == "agent.start")
        })
        .context("there is no sample")??;
    assert_eq!(start["kernel_bytes"], bytes);

    let readme = one_line(&read("README.md")?);
    let told = "some 400 bytes of kernel memory for each of `--max-sessions`, and at most 32 MiB";
    assert!(readme.contains(told));
    for doublings in 0..22 {
        for sessions in [1 << doublings, (1 << doublings) + 1] {
            let bytes = kernel_bytes(Some(sessions))?;
            let most = u64::from(sessions) * SOME.end() + (32 << 20);
            assert!(bytes <= most, "{bytes} bytes for {sessions} sessions");
        }
    }
    let more = kernel_bytes(Some(4_000_000))? - kernel_bytes(Some(2_000_000))?;
    assert!(SOME.contains(&(more / 2_000_000)), "{more} bytes");
    Ok(())
}

/// The names of all settings of a kind: what is told of one that does not exist.
fn names<T: DeserializeOwned + std::fmt::Debug>() -> Vec<String> {
    let error = toml::from_str::<T>("no-such-setting = 1").expect_err("there is none");
    let names: Vec<_> = error
        .message()
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| *name != "no-such-setting")
        .map(str::to_owned)
        .collect();
    assert!(names.len() > 1, "{error}");
    names
}

#[test]
fn each_limit_is_named_with_its_default() -> Result<()> {
    let document = read("docs/clusters.md")?;
    let [block] = blocks(&document, "toml")[..] else {
        panic!("there is one sample of a configuration");
    };
    let settings: Settings = toml::from_str(block)?;
    assert_eq!(settings.limits, Some(ClusterLimits::default()));
    for name in names::<ClusterLimits>() {
        assert!(
            block.contains(&format!("\n{name} = ")),
            "{name} is not in {block}"
        );
        assert!(document.contains(&format!("| `{name}` |")), "{name}");
    }
    Ok(())
}

#[test]
fn each_kind_of_cluster_has_its_section_with_its_advice() -> Result<()> {
    let sections = sections(&read("docs/clusters.md")?);
    let codes: BTreeSet<_> = variants("ClusterCode")?.into_iter().collect();
    assert_eq!(codes, sections.keys().cloned().collect());
    let mut advised = BTreeSet::new();
    for code in ClusterCode::ALL {
        let name = name_of(code)?;
        let section = sections.get(&name).context(name.clone())?;
        assert!(section.contains(code.advice()), "{name}: {}", code.advice());
        advised.insert(name);
    }
    assert_eq!(advised, codes);
    Ok(())
}

#[test]
fn everything_that_shows_a_cluster_is_named() -> Result<()> {
    let document = read("docs/clusters.md")?;
    let schema = schema()?;
    for (kind, what) in [("ClusterEvidence", "evidence"), ("Rate", "rates")] {
        let names = schema["$defs"][kind]["properties"].as_object();
        for name in names.context(what)?.keys() {
            assert!(document.contains(&format!("`{name}`")), "{name}");
        }
    }
    Ok(())
}
