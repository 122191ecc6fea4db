//! The load that `cargo xtask load` makes.

use std::fs::File;
use std::process::{Command, Output};

use anyhow::Result;
use lab::sstp::{Method, SstpServer};
use serde_json::Value;
use tempfile::tempdir;

use crate::{LOOPBACK, Setup};

/// Runs the load; returns what it printed and what it wrote.
fn load(arguments: &[&str]) -> Result<(Output, Value)> {
    let folder = tempdir()?;
    let json = folder.path().join("load.json");
    let output = Command::new(env!("CARGO_BIN_EXE_load"))
        .args(arguments)
        .args(["--minutes", "0.01", "--per-second", "50", "--json"])
        .arg(&json)
        .output()?;
    Ok((output, serde_json::from_reader(File::open(&json)?)?))
}

#[test]
fn a_load_on_its_own_server_goes_well() -> Result<()> {
    let (output, told) = load(&["--serve", "--sessions", "5"])?;
    assert!(output.status.success(), "{output:?}");
    for what in ["begun", "established", "disconnected"] {
        assert_eq!(told[what], 5, "{told}");
    }
    assert!(told["pings"]["count"].as_u64() >= Some(5), "{told}");
    let table = String::from_utf8(output.stdout)?;
    assert!(table.contains("disconnected in good order"), "{table}");
    Ok(())
}

#[test]
fn a_load_says_that_a_server_wants_ms_chap() -> Result<()> {
    let mut setup = Setup::new()?;
    setup.server.authentication.method = Method::MsChapV2;
    let server = SstpServer::start_here(LOOPBACK, &setup.server)?;
    let to = server.address().to_string();
    let target = ["--server", &to, "--insecure-certificate"];
    let (output, told) = load(&[&target[..], &["--sessions", "2"]].concat())?;
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(told["established"], 0);
    let table = String::from_utf8(output.stdout)?;
    assert!(table.contains("MS-CHAPv2"), "{table}");
    Ok(())
}

#[test]
fn a_load_tells_phase_and_reason_of_failures() -> Result<()> {
    let setup = Setup::new()?;
    let server = SstpServer::start_here(LOOPBACK, &setup.server)?;
    let to = server.address().to_string();
    let wrong = ["--password", "guess", "--sessions", "3"];
    let target = ["--server", &to, "--insecure-certificate"];
    let (output, told) = load(&[&target[..], &wrong].concat())?;
    assert_eq!(output.status.code(), Some(1));
    let failed = told["failed"].as_object().expect("an object");
    let [(reason, count)] = &failed.iter().collect::<Vec<_>>()[..] else {
        panic!("one reason: {told}");
    };
    assert!(reason.starts_with("Authentication: Rejected"), "{reason}");
    assert_eq!(*count, 3);
    Ok(())
}
