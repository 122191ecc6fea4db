//! What `replay` is told, and what comes of it.

use std::{
    collections::BTreeSet,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use jiff::SignedDuration;

use super::{
    tables::Limits,
    watched::{Server, Watched},
};
use crate::{
    cli::ConfigFile,
    diagnosis::{ClusterLimits, Thresholds},
    settings,
};

/// Arguments of `replay`.
#[derive(Clone, Debug, Args)]
pub struct ReplayArgs {
    /// The capture, pcap or pcapng; `-` for standard input
    pub file: PathBuf,

    /// The server's TCP port; several by repeating it or with commas [default: 443]
    #[arg(
        short,
        long,
        value_name = "PORT",
        value_delimiter = ',',
        value_parser = crate::settings::port
    )]
    pub port: Vec<u16>,

    /// Only this server, as ADDRESS or ADDRESS:PORT; several by repeating it or with commas
    ///
    /// Without it, whoever has a watched port is a server. Name it if the capture also holds
    /// connections of this host, or of VPN clients, to servers elsewhere.
    #[arg(short, long, value_name = "SERVER", value_delimiter = ',')]
    pub server: Vec<Server>,

    /// Append events to this file instead of writing them to stdout
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Time between two health lines of a session, by the capture's clock [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = crate::duration::parse)]
    pub interval: Option<SignedDuration>,

    /// A session with no segment either way for this long counts as dead [default: 15m]
    #[arg(long, value_name = "TIME", value_parser = crate::duration::parse)]
    pub dead_after: Option<SignedDuration>,

    #[command(flatten)]
    #[expect(missing_docs, reason = "documented where it is defined")]
    pub config: ConfigFile,
}

/// What holds for a replay.
#[derive(Clone, Debug)]
pub struct Config {
    /// The watched ports.
    pub ports: BTreeSet<u16>,
    /// The servers that were named.
    pub servers: Vec<Server>,
    /// Time between two scans.
    pub interval: Duration,
    /// Silence after which a session counts as dead.
    pub dead_after: Duration,
    /// Sizes of the tables.
    pub limits: Limits,
    /// Where verdicts draw their lines. Of a configuration, only these and the limits are taken:
    /// the rest is about the host it is for.
    pub thresholds: Thresholds,
    /// Where `cluster.anomaly` draws its lines.
    pub cluster_limits: ClusterLimits,
}

/// As many attempts as the agent remembers.
const HALF_OPEN: NonZeroUsize = NonZeroUsize::new(65_536).unwrap();

impl Config {
    /// Checks what was said, and adds what was not.
    pub fn resolve(arguments: &ReplayArgs) -> anyhow::Result<Self> {
        let named = arguments.server.iter().any(Server::has_port);
        let ports: BTreeSet<u16> = if arguments.port.is_empty() && !named {
            BTreeSet::from([settings::DEFAULT_PORT])
        } else {
            arguments.port.iter().copied().collect()
        };
        let said = settings::read(&arguments.config)?;
        Ok(Self {
            ports,
            servers: arguments.server.clone(),
            interval: settings::interval(arguments.interval)?,
            dead_after: settings::dead_after(arguments.dead_after)?,
            limits: Limits {
                sessions: settings::MOST_SESSIONS,
                half_open: HALF_OPEN,
            },
            thresholds: said.thresholds.unwrap_or_default(),
            cluster_limits: said.limits.unwrap_or_default(),
        })
    }

    /// The servers to look for.
    pub fn watched(&self) -> Watched {
        Watched::new(&self.ports, self.servers.clone())
    }
}

impl ReplayArgs {
    /// The capture's path; `None` for standard input.
    pub fn path(&self) -> Option<&Path> {
        (self.file.as_os_str() != "-").then_some(self.file.as_path())
    }
}
