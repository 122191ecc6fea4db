//! sstpulse: why do SSTP VPN sessions drop?
//!
//! The agent: it loads the [kernel half](kernel), attaches it to the server's public
//! interface, and turns what it counts into [events](event), one JSON line each. The same
//! code that counts in the kernel [replays](replay) captures.

pub mod cli;
pub mod clock;
pub mod commands;
mod counted;
pub mod diagnosis;
mod duration;
pub mod event;
pub mod failure;
pub mod host;
pub mod host_health;
pub mod instance;
pub mod interface;
pub mod kernel;
pub mod output;
pub mod replay;
pub mod report;
pub mod settings;
pub mod tls;
pub mod watch;
