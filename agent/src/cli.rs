//! The command line. Help, man page and completions come from these definitions.

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::{replay::ReplayArgs, settings::Settings};

/// Why do SSTP VPN sessions drop?
///
/// sstpulse follows every TCP connection to a server's port from inside the kernel, in
/// both directions, and writes what happens to each as JSON lines: retransmissions,
/// resets, stalled windows, round-trip times, and who ended it.
#[derive(Debug, Parser)]
#[command(name = "sstpulse", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    #[expect(missing_docs, reason = "documented where it is defined")]
    pub command: Command,

    /// What is logged on stderr: error, warn, info, debug, trace, or a tracing filter
    #[arg(
        long,
        global = true,
        env = "SSTPULSE_LOG",
        default_value = "info",
        value_name = "LEVEL"
    )]
    pub log: String,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch interfaces, and write events until stopped
    ///
    /// Takes root, or the capabilities `CAP_BPF`, `CAP_PERFMON` and `CAP_NET_ADMIN`. Events
    /// go to stdout or to a file, logs to stderr. SIGINT and SIGTERM end it; SIGHUP opens the
    /// output file anew, for log rotation.
    Run(Box<RunArgs>),
    /// Read a capture, and write the events it holds
    ///
    /// Takes no privileges. Reads pcap and pcapng: Ethernet, Linux cooked, raw IP and loopback.
    /// The times of all events are the capture's. `tcpdump -w - tcp port 443 | sstpulse
    /// replay -` watches live where the agent can't run.
    Replay(Box<ReplayArgs>),
    /// Tell whether this host is fit to run sstpulse, and what would be watched
    Check(Box<CheckArgs>),
    /// Show what is attached now, with its counters
    Status(StatusArgs),
    /// Stop a running agent, and take off whatever one has left behind
    Detach(DetachArgs),
    /// Print the JSON Schema of the events
    Schema,
    /// Print a shell's completion script
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print a man page, in roff
    Man {
        /// The command it is about; sstpulse as a whole if none is named
        command: Option<String>,
    },
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "documented where it is defined")]
    pub settings: Settings,
    #[command(flatten)]
    #[expect(missing_docs, reason = "documented where it is defined")]
    pub file: ConfigFile,
}

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "documented where it is defined")]
    pub settings: Settings,
    #[command(flatten)]
    #[expect(missing_docs, reason = "documented where it is defined")]
    pub file: ConfigFile,
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

/// Where settings come from that neither a flag nor the environment gives.
#[derive(Clone, Debug, Args)]
pub struct ConfigFile {
    /// Read settings from a TOML file; its keys are the names of the flags
    #[arg(short, long, env = "SSTPULSE_CONFIG", value_name = "FILE")]
    pub config: Option<std::path::PathBuf>,
}

/// Arguments of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `detach`.
#[derive(Debug, Args)]
pub struct DetachArgs {
    /// Only this interface; all of them if none is named. An agent that watches several stops if
    /// all of them are named
    #[arg(short, long, value_name = "IFACE", value_delimiter = ',')]
    pub interface: Vec<String>,
}
