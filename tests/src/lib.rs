//! Network laboratory: a server, a router and a client in three network namespaces, joined by a
//! path whose faults a test chooses while traffic runs.
//!
//! Directions are named by who sent the packet: `from_client` and `from_server`.

mod accept;
pub mod accuracy;
pub mod agent;
pub mod capture;
pub mod chunks;
mod client;
pub mod conversation;
pub mod craft;
pub mod ends;
pub mod events;
pub mod faults;
mod judge;
pub mod lab;
pub mod links;
pub mod namespace;
pub mod netem;
pub mod offloads;
pub mod path;
mod pattern;
pub mod peer;
pub mod plain;
pub mod process;
pub mod raw;
pub mod recorder;
mod relay;
mod release;
pub mod reporter;
pub mod root;
pub mod rows;
pub mod segment;
mod server;
pub mod sstp;
pub mod tcp_info;
pub mod tls;
pub mod verifier;
pub mod wait;
pub mod witness;

pub use agent::Agent;
pub use faults::{Action, Direction, DirectionFaults, Faults, Loss, Match, Reorder, Rule};
pub use lab::{
    CLIENT_V4, CLIENT_V6, HOP_V4, HOP_V6, Lab, LabBuilder, ROUTER_INTERFACE, ROUTER_V4, ROUTER_V6,
    SERVER_INTERFACE, SERVER_V4, SERVER_V6,
};
pub use namespace::Namespace;
pub use path::{Counts, DirectionCounts, Path};
pub use peer::{Client, ClientOptions, Outcomes, Server};
pub use plain::{Exchange, PlainServer};
pub use process::Process;
pub use reporter::Reporter;
pub use root::require_root;
pub use segment::{Flags, Seen};
pub use tls::Tls;
pub use wait::wait_until;
pub use witness::Witnessed;
