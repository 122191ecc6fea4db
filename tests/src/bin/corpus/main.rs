//! Makes the captures that counts are checked on: the table of segments written as one
//! capture, and sessions of real kernels in the lab, recorded on the server's interface.

mod scenarios;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use lab::{Lab, Server, Tls, capture, require_root};

use crate::scenarios::{SCENARIOS, Scenario, Stage};

/// Make the captures that counts are checked on.
#[derive(Debug, Parser)]
#[command(name = "corpus")]
struct Cli {
    /// Where they go
    folder: PathBuf,
    /// Only those whose names contain one of these; all of them if none is named
    only: Vec<String>,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let wanted = |name: &str| {
        cli.only.is_empty() || cli.only.iter().any(|part| name.contains(part.as_str()))
    };
    fs::create_dir_all(&cli.folder)
        .with_context(|| format!("can't make the folder {}", cli.folder.display()))?;
    if wanted(capture::ROWS) {
        let path = cli.folder.join(capture::ROWS);
        fs::write(&path, capture::of_rows())
            .with_context(|| format!("can't write {}", path.display()))?;
        println!("{}: the table of segments", capture::ROWS);
    }
    let scenarios: Vec<_> = SCENARIOS
        .iter()
        .filter(|scenario| wanted(scenario.name))
        .collect();
    if !scenarios.is_empty() && !require_root() {
        bail!("the lab makes network namespaces, and needs root; run it with sudo");
    }
    for scenario in scenarios {
        let path = cli.folder.join(format!("{}.pcap", scenario.name));
        record(scenario, &path).with_context(|| format!("can't record {}", scenario.name))?;
        let size = fs::metadata(&path).map_or(0, |file| file.len());
        println!("{}.pcap: {}, {size} bytes", scenario.name, scenario.what);
    }
    Ok(())
}

/// Plays a scenario, and writes what passed the server's interface to `path`.
fn record(scenario: &Scenario, path: &Path) -> Result<()> {
    let lab = Lab::builder()
        .tso(scenario.tso)
        .exact(!scenario.tail_loss_probes)
        .build()?;
    let tls = Tls::new()?;
    let server = Server::start(&lab.server, scenario.server.address(), &tls)?;
    let mut stage = Stage::new(lab, tls, server, path);
    if !scenario.starts_later {
        stage.begin(scenario.link)?;
    }
    (scenario.play)(&mut stage)?;
    stage.end()
}
