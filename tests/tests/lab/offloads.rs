//! Offloads do what they say.

use std::fs;

use anyhow::{Context as _, Result};
use lab::{Lab, Namespace, require_root};

use crate::{MEGABYTE, Setup};

#[test]
fn received_segments_are_merged_if_wanted() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    for gro in [false, true] {
        let setup = Setup::with(Lab::builder().gro(gro).build()?)?;
        for mut client in [setup.connect()?, setup.connect_v6()?] {
            let before = received(&setup.lab.server)?;
            client.upload(4 * MEGABYTE)?;
            let info = setup.info(&client)?;
            let buffers = received(&setup.lab.server)? - before;
            println!("{} segments in {buffers} buffers", info.segs_in);
            assert_eq!(gro, buffers < u64::from(info.segs_in) / 2);
            client.close()?;
        }
    }
    Ok(())
}

/// Buffers that TCP has taken in, whatever many segments they hold.
fn received(namespace: &Namespace) -> Result<u64> {
    let text = namespace.run(|| fs::read_to_string("/proc/thread-self/net/snmp"))?;
    let mut lines = text.lines().filter(|line| line.starts_with("Tcp:"));
    let (names, values) = (lines.next().context("no names")?, lines.next());
    let place = names.split(' ').position(|name| name == "InSegs");
    let value = place
        .zip(values)
        .and_then(|(at, values)| values.split(' ').nth(at));
    Ok(value.context("no InSegs")?.parse()?)
}
