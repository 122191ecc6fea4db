//! The lines as a contract: their schema, their numbers.

use anyhow::{Context as _, Result};
use lab::{Agent, Lab, agent::execute, events::Line, plain, require_root};
use serde_json::Value;

use crate::{WATCH, server_v4};

/// `seq` goes from 1 to the last line without a gap.
pub(crate) fn assert_no_gap(lines: &[Line]) {
    for (line, number) in lines.iter().zip(1..) {
        assert_eq!(line.seq(), number);
    }
}

#[test]
fn every_kind_of_line_fits_the_schema() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let lab = Lab::new()?;
    let agent = Agent::start(&lab.server, &WATCH)?;
    let exchange = plain::Exchange {
        from_client: 2_000,
        from_server: 50_000,
    };
    let server = plain::PlainServer::start(&lab.server, server_v4(), exchange)?;
    let stream = plain::connect(
        &lab.client,
        server.address(),
        &lab::ClientOptions::default(),
    )?;
    plain::exchange(&stream, exchange)?;
    agent.wait_for("session.health", |line| line.session_health().is_some())?;
    plain::close(&stream)?;
    agent.wait_for("session.end", |line| line.session_end().is_some())?;
    // Refused: nobody listens any more.
    drop(server);
    let refused = plain::connect(&lab.client, server_v4(), &lab::ClientOptions::default());
    assert!(refused.is_err());
    agent.wait_for("attempt.failed", |line| line.attempt_failed().is_some())?;
    agent.wait_for("agent.stats", |line| line.agent_stats().is_some())?;
    agent.wait_for("host.health", |line| line.host_health().is_some())?;
    let raw = {
        agent.signal(nix::sys::signal::Signal::SIGTERM)?;
        agent.wait_for("agent.stop", |line| line.agent_stop().is_some())?;
        agent.raw_lines()
    };

    let schema: Value = serde_json::from_str(&execute(&lab.server, &["schema"])?.stdout)?;
    let validator = jsonschema::validator_for(&schema).context("the schema is no schema")?;
    for line in &raw {
        let value: Value = serde_json::from_str(line)?;
        if let Err(error) = validator.validate(&value) {
            panic!("{line}\ndoes not fit the schema: {error}");
        }
    }
    let kind = |line: &Value| line["type"].as_str().map(str::to_owned);
    let seen: std::collections::BTreeSet<String> = raw
        .iter()
        .filter_map(|line| kind(&serde_json::from_str(line).ok()?))
        .collect();
    let all = [
        "agent.start",
        "agent.stats",
        "agent.stop",
        "attempt.failed",
        "host.health",
        "session.end",
        "session.health",
        "session.start",
    ];
    assert!(seen.iter().map(String::as_str).eq(all), "{seen:?}");
    // Something that is wrong must be told, or the validation above says nothing.
    let mut wrong: Value = serde_json::from_str(&raw[0])?;
    wrong["seq"] = "one".into();
    assert!(validator.validate(&wrong).is_err());
    Ok(())
}
