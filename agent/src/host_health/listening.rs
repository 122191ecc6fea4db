//! The sockets that listen, over `sock_diag`.

use std::net::IpAddr;

use anyhow::{Context as _, bail};
use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_sock_diag::{
    SockDiagMessage,
    constants::{AF_INET, AF_INET6, IPPROTO_TCP},
    inet::{ExtensionFlags, InetRequest, InetResponseHeader, SocketId, StateFlags},
};
use netlink_sys::{Socket, protocols::NETLINK_SOCK_DIAG};

/// Room for one datagram of an answer, in bytes: the kernel fills up to 32 KiB.
const DATAGRAM: usize = 64 * 1024;

/// How many listening sockets are looked at. Who watches a port above 1023 may meet any number,
/// made by any user of the host.
const MOST_SOCKETS: usize = 256;

/// A TCP socket that listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListeningSocket {
    /// Its port.
    pub port: u16,
    /// Its address; unspecified if it listens on all.
    pub address: IpAddr,
    /// The kernel's number for it, the same as in `/proc/PID/fd`.
    pub inode: u64,
    /// Connections that wait to be accepted.
    pub queue: u32,
    /// How many may wait, less one.
    pub queue_limit: u32,
}

/// The sockets that listen on these ports in this network namespace, by port and address; 256 at
/// most. The kernel is asked for these alone: its tables of connections are not read
/// (`inet_diag_dump_icsk` in `net/ipv4/inet_diag.c`). Takes no privileges. Fails if the kernel
/// has no `sock_diag` for TCP.
pub fn listening_sockets(
    ports: impl IntoIterator<Item = u16>,
) -> anyhow::Result<Vec<ListeningSocket>> {
    let mut sockets = Vec::new();
    for port in ports {
        for (family, id) in [
            (AF_INET, SocketId::new_v4()),
            (AF_INET6, SocketId::new_v6()),
        ] {
            ask(family, id, port, &mut sockets).with_context(|| {
                format!(
                    "can't ask the kernel who listens on port {port} (modules tcp_diag, inet_diag)"
                )
            })?;
        }
    }
    sockets.sort_unstable();
    Ok(sockets)
}

/// Adds the sockets of one address family that listen on a port.
fn ask(
    family: u8,
    mut id: SocketId,
    port: u16,
    found: &mut Vec<ListeningSocket>,
) -> anyhow::Result<()> {
    id.source_port = port;
    let request = InetRequest {
        family,
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::empty(),
        states: StateFlags::LISTEN,
        socket_id: id,
    };
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);

    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.send(&bytes, 0)?;
    let mut datagram = Vec::with_capacity(DATAGRAM);
    loop {
        datagram.clear();
        socket.recv(&mut datagram, 0)?;
        if read(&datagram, found)? {
            return Ok(());
        }
    }
}

/// Adds what a datagram tells of, and returns whether it is the last.
fn read(datagram: &[u8], found: &mut Vec<ListeningSocket>) -> anyhow::Result<bool> {
    let mut rest = datagram;
    while !rest.is_empty() {
        let message = NetlinkMessage::<SockDiagMessage>::deserialize(rest)?;
        match message.payload {
            NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                if found.len() < MOST_SOCKETS {
                    found.push(listening(&response.header));
                }
            }
            NetlinkPayload::Done(_) => return Ok(true),
            NetlinkPayload::Error(error) => return Err(error.to_io().into()),
            _ => bail!("the kernel answers with a message that was not asked for"),
        }
        // Messages begin at multiples of 4 bytes (`NLMSG_ALIGN`).
        let length = usize::try_from(message.header.length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

fn listening(header: &InetResponseHeader) -> ListeningSocket {
    ListeningSocket {
        port: header.socket_id.source_port,
        address: header.socket_id.source_address,
        inode: header.inode.into(),
        queue: header.recv_queue,
        queue_limit: header.send_queue,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream},
        thread,
        time::{Duration, Instant},
    };

    use super::*;

    fn sockets(listener: &TcpListener) -> anyhow::Result<Vec<ListeningSocket>> {
        listening_sockets([listener.local_addr()?.port()])
    }

    #[test]
    fn a_listening_socket_is_told_with_its_queue() -> anyhow::Result<()> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let [before] = &sockets(&listener)?[..] else {
            panic!("one socket");
        };
        assert_eq!(before.address, address.ip());
        assert_eq!(before.port, address.port());
        assert_eq!(before.queue, 0);
        assert!(before.queue_limit > 0);
        // The connection is complete, and nobody accepts it: one waits.
        let _stream = TcpStream::connect(address)?;
        // The last ACK may still be on its way to it.
        let deadline = Instant::now() + Duration::from_secs(10);
        while sockets(&listener)?[0].queue != 1 {
            assert!(Instant::now() < deadline, "nothing waits");
            thread::yield_now();
        }
        assert_eq!(sockets(&listener)?[0].inode, before.inode);
        Ok(())
    }

    #[test]
    fn both_address_families_are_told_and_only_listening_sockets() -> anyhow::Result<()> {
        let six = TcpListener::bind((Ipv6Addr::LOCALHOST, 0))?;
        let port = six.local_addr()?.port();
        let _stream = TcpStream::connect((Ipv6Addr::LOCALHOST, port))?;
        let told = sockets(&six)?;
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0].address, Ipv6Addr::LOCALHOST);
        drop(six);
        assert_eq!(listening_sockets([port])?, []);
        Ok(())
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        let mut found = Vec::new();
        for bytes in [&[0][..], &[0; 16], &[255; 72]] {
            assert!(read(bytes, &mut found).is_err(), "{bytes:?}");
        }
        assert_eq!(found, []);
    }
}
