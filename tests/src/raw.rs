//! Frames of one's own on an interface, as if a program or the wire had sent them.

use std::{
    io,
    os::fd::{AsRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result};
use nix::{
    ifaddrs::getifaddrs,
    sys::socket::{
        AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, send, socket,
    },
};

use crate::Namespace;

/// Sends Ethernet frames out of an interface, past the IP stack but through tc.
pub struct RawSender(OwnedFd);

impl RawSender {
    /// On an interface of the namespace.
    pub fn open(namespace: &Namespace, interface: &str) -> Result<Self> {
        namespace
            .run(|| open(interface))
            .with_context(|| format!("can't send frames on {interface}"))
    }

    /// Sends a frame.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        let sent = send(self.0.as_raw_fd(), frame, MsgFlags::empty()).map_err(io::Error::from)?;
        anyhow::ensure!(sent == frame.len(), "only {sent} bytes were sent");
        Ok(())
    }
}

fn open(interface: &str) -> Result<RawSender> {
    let socket = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        // Receives nothing.
        None::<SockProtocol>,
    )?;
    bind(socket.as_raw_fd(), &address(interface)?)?;
    Ok(RawSender(socket))
}

/// The link-layer address of an interface, which holds its index.
fn address(interface: &str) -> Result<LinkAddr> {
    getifaddrs()?
        .filter(|found| found.interface_name == interface)
        .find_map(|found| found.address?.as_link_addr().copied())
        .context("the interface has no link-layer address")
}
