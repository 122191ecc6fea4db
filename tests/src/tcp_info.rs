//! What the kernel tells about TCP sockets, over `sock_diag`.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP};
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{
    ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags,
};
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_SOCK_DIAG;

use crate::namespace::Namespace;

pub use netlink_packet_sock_diag::inet::nlas::TcpInfo;

/// Value of `tcpi_state` and [`TcpSocket::state`] of an established connection.
pub const ESTABLISHED: u8 = 1;
/// Value of [`TcpSocket::state`] of a socket that has sent its SYN.
pub const SYN_SENT: u8 = 2;
/// Value of [`TcpSocket::state`] of a connection whose SYN was answered.
pub const SYN_RECV: u8 = 3;
/// Value of [`TcpSocket::state`] of a connection in TIME-WAIT.
pub const TIME_WAIT: u8 = 6;
/// Value of [`TcpSocket::state`] of a listening socket.
pub const LISTEN: u8 = 10;

/// Room for one datagram of a dump, in bytes: the kernel fills up to 32 KiB.
const DATAGRAM: usize = 64 * 1024;

/// A TCP socket of a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpSocket {
    /// Its own address and port.
    pub local: SocketAddr,
    /// Address and port of the other end; unspecified for a listening socket.
    pub remote: SocketAddr,
    /// State, as `TCP_*` in `linux/tcp_states.h`.
    pub state: u8,
    /// Its counters; sockets in TIME-WAIT and half-open ones have none.
    pub info: Option<TcpInfo>,
}

/// Counters of the connection between these two ends, as its `local` side in the namespace has
/// them.
pub fn tcp_info(namespace: &Namespace, local: SocketAddr, remote: SocketAddr) -> Result<TcpInfo> {
    let id = SocketId {
        source_port: local.port(),
        destination_port: remote.port(),
        source_address: local.ip(),
        destination_address: remote.ip(),
        interface_id: 0,
        // INET_DIAG_NOCOOKIE: whichever socket has these addresses.
        cookie: [0xff; 8],
    };
    let sockets = namespace
        .run(|| query(family(local), id, NLM_F_REQUEST))
        .with_context(|| format!("cannot look up the connection {local} to {remote}"))?;
    // Without such a connection the kernel answers with the socket that listens on the port.
    sockets
        .into_iter()
        .find(|socket| socket.remote == remote)
        .and_then(|socket| socket.info)
        .with_context(|| format!("there is no connection {local} to {remote}"))
}

/// All TCP sockets of the namespace, of both address families.
pub fn tcp_sockets(namespace: &Namespace) -> Result<Vec<TcpSocket>> {
    namespace
        .run(|| {
            let mut sockets = query(AF_INET, SocketId::new_v4(), NLM_F_REQUEST | NLM_F_DUMP)?;
            sockets.extend(query(
                AF_INET6,
                SocketId::new_v6(),
                NLM_F_REQUEST | NLM_F_DUMP,
            )?);
            anyhow::Ok(sockets)
        })
        .context("cannot list the TCP sockets")
}

fn family(address: SocketAddr) -> u8 {
    if address.is_ipv4() { AF_INET } else { AF_INET6 }
}

fn query(family: u8, socket_id: SocketId, flags: u16) -> Result<Vec<TcpSocket>> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG).context("cannot open a sock_diag socket")?;
    socket
        .bind_auto()
        .context("cannot bind the sock_diag socket")?;
    let request = InetRequest {
        family,
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::INFO,
        states: StateFlags::all(),
        socket_id,
    };
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0).context("cannot ask sock_diag")?;
    answers(&socket, flags & NLM_F_DUMP != 0)
}

/// Reads the answer to one request: one message, or for a dump all up to its end.
fn answers(socket: &Socket, dump: bool) -> Result<Vec<TcpSocket>> {
    let mut sockets = Vec::new();
    let mut buffer = Vec::with_capacity(DATAGRAM);
    loop {
        buffer.clear();
        socket
            .recv(&mut buffer, 0)
            .context("cannot read from sock_diag")?;
        let mut rest = &buffer[..];
        while !rest.is_empty() {
            let message = NetlinkMessage::<SockDiagMessage>::deserialize(rest)
                .context("sock_diag answers what is no message")?;
            match message.payload {
                NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                    sockets.push(socket_of(*response));
                }
                NetlinkPayload::Done(_) => return Ok(sockets),
                NetlinkPayload::Error(error) => return Err(error.to_io()).context("sock_diag"),
                _ => bail!("sock_diag answers with an unexpected message"),
            }
            let length = usize::try_from(message.header.length).unwrap_or(usize::MAX);
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        if !dump {
            return Ok(sockets);
        }
    }
}

fn socket_of(response: InetResponse) -> TcpSocket {
    let id = response.header.socket_id;
    TcpSocket {
        local: SocketAddr::new(id.source_address, id.source_port),
        remote: SocketAddr::new(id.destination_address, id.destination_port),
        state: response.header.state,
        info: response.nlas.into_iter().find_map(|nla| match nla {
            Nla::TcpInfo(info) => Some(info),
            _ => None,
        }),
    }
}
