//! What `run` is told, and what comes of it.
//!
//! [`Settings`] is what was said, by flag, environment or file; [`Config`] is what holds,
//! checked and complete. Only the latter travels.

use std::{
    collections::BTreeSet,
    fs,
    num::NonZeroU32,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use clap::Args;
use jiff::SignedDuration;
use serde::{Deserialize, Deserializer};

use crate::{
    cli::ConfigFile,
    diagnosis::{ClusterLimits, Thresholds},
    failure::Failure,
    kernel::{HookChoice, Limits},
};

/// What was said. Flag over environment over file over default.
#[derive(Clone, Debug, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// The interface clients come in by; several by repeating it or with commas
    #[arg(
        short,
        long,
        env = "SSTPULSE_INTERFACE",
        value_name = "IFACE",
        value_delimiter = ','
    )]
    #[serde(default, deserialize_with = "one_or_many")]
    pub interface: Vec<String>,

    /// The server's TCP port; several by repeating it or with commas [default: 443]
    #[arg(
        short,
        long,
        env = "SSTPULSE_PORT",
        value_name = "PORT",
        value_delimiter = ',',
        value_parser = port
    )]
    #[serde(default, deserialize_with = "one_or_many")]
    pub port: Vec<u16>,

    /// Append events to this file instead of writing them to stdout
    #[arg(short, long, env = "SSTPULSE_OUTPUT", value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Time between two looks at all sessions, and between their health lines [default: 10s]
    #[arg(long, env = "SSTPULSE_INTERVAL", value_name = "TIME", value_parser = crate::duration::parse)]
    #[serde(default, deserialize_with = "given")]
    pub interval: Option<SignedDuration>,

    /// A session with no segment either way for this long counts as dead [default: 15m]
    #[arg(long, env = "SSTPULSE_DEAD_AFTER", value_name = "TIME", value_parser = crate::duration::parse)]
    #[serde(default, deserialize_with = "given")]
    pub dead_after: Option<SignedDuration>,

    /// Sessions that can be followed at once; each takes some 400 bytes of kernel memory
    /// [default: 65536]
    #[arg(long, env = "SSTPULSE_MAX_SESSIONS", value_name = "COUNT")]
    pub max_sessions: Option<u64>,

    /// How to attach to the kernel [default: auto]
    #[arg(long, env = "SSTPULSE_HOOK", value_name = "HOOK")]
    pub hook: Option<HookChoice>,

    /// Where verdicts draw their lines; in the configuration alone.
    #[arg(skip)]
    pub thresholds: Option<Thresholds>,

    /// Where `cluster.anomaly` draws its lines; in the configuration alone.
    #[arg(skip)]
    pub limits: Option<ClusterLimits>,
}

/// What holds.
#[derive(Clone, Debug)]
pub struct Config {
    /// Names of the interfaces; at least one, none twice.
    pub interfaces: Vec<String>,
    /// The server's ports; at least one.
    pub ports: BTreeSet<u16>,
    /// The output file; `None` for stdout.
    pub output: Option<PathBuf>,
    /// Time between two scans.
    pub interval: Duration,
    /// Silence after which a session counts as dead.
    pub dead_after: Duration,
    /// Sizes of the kernel's tables.
    pub limits: Limits,
    /// How to attach.
    pub hook: HookChoice,
    /// Where verdicts draw their lines.
    pub thresholds: Thresholds,
    /// Where `cluster.anomaly` draws its lines.
    pub cluster_limits: ClusterLimits,
}

/// The port that is watched if none is named.
pub(crate) const DEFAULT_PORT: u16 = 443;
const DEFAULT_INTERVAL: Duration = Duration::from_secs(10);
const DEFAULT_DEAD_AFTER: Duration = Duration::from_mins(15);
const DEFAULT_MAX_SESSIONS: u32 = 65_536;

/// More records than this the kernel can't keep in one array.
pub(crate) const MOST_SESSIONS: u32 = 4_000_000;

/// Below this, the agent would be busy with itself.
const LEAST_TIME: Duration = Duration::from_millis(100);
/// An interval above this shows nobody what happens while it happens.
const MOST_INTERVAL: Duration = Duration::from_hours(1);
/// A slot is kept for a session this long after its last segment.
const MOST_DEAD_AFTER: Duration = Duration::from_hours(30 * 24);

/// Half-open connections remembered: an hour of an attempt a second on a small host, and
/// a second of a flood on any.
const HALF_OPEN: NonZeroU32 = NonZeroU32::new(65_536).unwrap();

impl Config {
    /// Puts together flags, environment and file.
    pub fn resolve(flags: Settings, file: &ConfigFile) -> Result<Self, Failure> {
        let file = read(file).map_err(Failure::usage)?;
        Self::check(flags.over(file)).map_err(Failure::usage)
    }

    fn check(settings: Settings) -> anyhow::Result<Self> {
        let Settings {
            interface: interfaces,
            port: ports,
            output,
            interval,
            dead_after,
            max_sessions,
            hook,
            thresholds,
            limits: cluster_limits,
        } = settings;
        if interfaces.iter().all(String::is_empty) {
            bail!("no interface is named; say which one clients come in by, as in `-i eth0`");
        }
        if let Some(name) = twice(&interfaces) {
            bail!("interface {name} is named twice; name it once");
        }
        if output
            .as_ref()
            .is_some_and(|path| path.as_os_str().is_empty())
        {
            bail!("output names no file; leave it out to write to stdout");
        }
        if ports.contains(&0) {
            bail!("port 0 can't be watched; name a port from 1 to 65535");
        }
        let ports = if ports.is_empty() {
            BTreeSet::from([DEFAULT_PORT])
        } else {
            ports.into_iter().collect()
        };
        let sessions = max_sessions.unwrap_or(DEFAULT_MAX_SESSIONS.into());
        let in_range = u32::try_from(sessions).ok().and_then(NonZeroU32::new);
        let Some(sessions) = in_range.filter(|sessions| sessions.get() <= MOST_SESSIONS) else {
            bail!("max-sessions {sessions} is out of range; it goes from 1 to {MOST_SESSIONS}");
        };
        Ok(Self {
            interfaces,
            ports,
            output,
            interval: self::interval(interval)?,
            dead_after: self::dead_after(dead_after)?,
            limits: Limits {
                sessions,
                half_open: HALF_OPEN,
            },
            hook: hook.unwrap_or_default(),
            thresholds: thresholds.unwrap_or_default(),
            cluster_limits: cluster_limits.unwrap_or_default(),
        })
    }
}

impl Settings {
    /// These settings, and where they say nothing, those of `other`.
    fn over(self, other: Self) -> Self {
        fn either<T>(first: Vec<T>, second: Vec<T>) -> Vec<T> {
            if first.is_empty() { second } else { first }
        }
        Self {
            interface: either(self.interface, other.interface),
            port: either(self.port, other.port),
            output: self.output.or(other.output),
            interval: self.interval.or(other.interval),
            dead_after: self.dead_after.or(other.dead_after),
            max_sessions: self.max_sessions.or(other.max_sessions),
            hook: self.hook.or(other.hook),
            thresholds: self.thresholds.or(other.thresholds),
            limits: self.limits.or(other.limits),
        }
    }
}

/// What a configuration says; nothing if there is none.
pub(crate) fn read(file: &ConfigFile) -> anyhow::Result<Settings> {
    let Some(path) = &file.config else {
        return Ok(Settings::default());
    };
    read_from(path)
}

fn read_from(path: &Path) -> anyhow::Result<Settings> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("can't read the configuration {}", path.display()))?;
    let wrong = || format!("the configuration {} is wrong", path.display());
    let settings: Settings = toml::from_str(&text).with_context(wrong)?;
    if let Some(thresholds) = &settings.thresholds {
        thresholds.check().with_context(wrong)?;
    }
    Ok(settings)
}

/// The time between two scans.
pub(crate) fn interval(given: Option<SignedDuration>) -> anyhow::Result<Duration> {
    duration("interval", given, DEFAULT_INTERVAL, MOST_INTERVAL)
}

/// The silence after which a session counts as dead.
pub(crate) fn dead_after(given: Option<SignedDuration>) -> anyhow::Result<Duration> {
    duration("dead-after", given, DEFAULT_DEAD_AFTER, MOST_DEAD_AFTER)
}

fn duration(
    name: &str,
    given: Option<SignedDuration>,
    default: Duration,
    most: Duration,
) -> anyhow::Result<Duration> {
    let Some(given) = given else {
        return Ok(default);
    };
    match Duration::try_from(given) {
        Ok(duration) if (LEAST_TIME..=most).contains(&duration) => Ok(duration),
        _ => bail!(
            "{name} {given:#} is out of range; it goes from 100ms to {}h",
            most.as_secs() / 3_600
        ),
    }
}

/// Reads a port from the command line.
pub(crate) fn port(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(
            "that is no port; it goes from 1 to 65535, and several are named with commas".into(),
        ),
    }
}

/// Reads a list, or one thing for a list of it.
fn one_or_many<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    #[derive(Deserialize)]
    #[serde(
        untagged,
        expecting = "expected one (a name in quotes, a port without), or several in brackets"
    )]
    enum OneOrMany<T> {
        One(T),
        Many(Vec<T>),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(one) => vec![one],
        OneOrMany::Many(many) => many,
    })
}

fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SignedDuration>, D::Error> {
    crate::duration::deserialize(deserializer).map(Some)
}

fn twice(names: &[String]) -> Option<&String> {
    let mut seen = BTreeSet::new();
    names.iter().find(|name| !seen.insert(*name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_may_be_one_thing() {
        let one: Settings = toml::from_str("interface = \"eth0\"\nport = 443").unwrap();
        let many: Settings = toml::from_str("interface = [\"eth0\"]\nport = [443]").unwrap();
        assert_eq!(one.interface, many.interface);
        assert_eq!(one.port, many.port);
    }

    #[test]
    fn flags_go_before_the_file() {
        let flags: Settings = toml::from_str("port = 8443").unwrap();
        let file: Settings = toml::from_str("interface = \"eth0\"\nport = 443").unwrap();
        let config = Config::check(flags.over(file)).unwrap();
        assert_eq!(config.ports, BTreeSet::from([8443]));
        assert_eq!(config.interfaces, ["eth0"]);
        assert_eq!(config.interval, DEFAULT_INTERVAL);
    }

    #[test]
    fn what_is_out_of_range_is_refused() {
        for wrong in [
            "interface = \"\"",
            "interface = [\"a\", \"a\"]",
            "interface = \"a\"\noutput = \"\"",
            "interface = \"a\"\nport = 0",
            "interface = \"a\"\ninterval = \"1ms\"",
            "interface = \"a\"\ndead-after = \"-5s\"",
            "interface = \"a\"\nmax-sessions = 4000001",
        ] {
            let settings: Settings = toml::from_str(wrong).unwrap();
            assert!(Config::check(settings).is_err(), "{wrong}");
        }
        assert!(toml::from_str::<Settings>("interfaces = \"a\"").is_err());
    }
}
