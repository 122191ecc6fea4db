//! The agent at work: real kernel, real sockets, real faults.

mod anomalies;
mod counting;
mod detaching;
mod flood;
mod host_health;
mod lifecycle;
mod lines;
mod replayed;
mod stall;
mod tcp_info;
mod transfer;
mod usage;

use std::net::SocketAddr;

use lab::{SERVER_INTERFACE, SERVER_V4, SERVER_V6};

/// The watched port.
const PORT: u16 = 443;

/// Arguments of an agent on the server's interface.
const WATCH: [&str; 4] = ["--interface", SERVER_INTERFACE, "--interval", "200ms"];

fn server_v4() -> SocketAddr {
    SocketAddr::from((SERVER_V4, PORT))
}

fn server_v6() -> SocketAddr {
    SocketAddr::from((SERVER_V6, PORT))
}
