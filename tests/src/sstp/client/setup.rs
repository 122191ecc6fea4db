//! A client's set-up: TLS, HTTP, Call Connect, PPP, Call Connected.

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConnection;
use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;

use super::options::{ClientFault, ClientOptions};
use crate::sstp::binding::{Binding, NO_KEY, Nonce};
use crate::sstp::ended::{By, End, How, Phase, Session};
use crate::sstp::ending::end_of;
use crate::sstp::http;
use crate::sstp::message::{Message, Packet, Status};
use crate::sstp::ppp::{Link, Stage};
use crate::sstp::setup::{phase, tls_failed, too_slow};
use crate::sstp::socket::Tcp;
use crate::sstp::tunnel::{Event, Tunnel};
use crate::sstp::wire::{Closed, Wire};

/// The alert `unknown_ca` in a record of its own (RFC 8446, sections 5.1 and 6).
const UNKNOWN_CA: [u8; 7] = [21, 3, 3, 0, 2, 2, 48];

/// What comes of a set-up.
pub(super) enum Ready {
    /// A tunnel that is up.
    Tunnel(Box<Tunnel>),
    /// An end, as intended.
    Over(End),
}

/// The TLS handshake.
pub(super) async fn secure(mut tcp: Tcp, options: &ClientOptions) -> Result<Wire, End> {
    if let Some(ClientFault::StallAtCertificate(time)) = options.fault {
        tcp.stall(time);
    }
    let connector = TlsConnector::from(Arc::clone(&options.tls.config));
    let connecting = connector.connect(options.tls.name.clone(), tcp);
    match timeout(options.timers.negotiation, connecting).await {
        Ok(Ok(stream)) => Ok(Wire::new(stream.into())),
        Ok(Err(error)) => Err(tls_failed(error)),
        Err(_) => Err(too_slow("the TLS handshake")),
    }
}

/// Sends a real `ClientHello`, waits for the server's part, and refuses it unread.
pub(super) async fn refuse_in_clear(mut tcp: Tcp, options: &ClientOptions) -> Result<End, End> {
    let failed = |error: String| End::with(How::Failed, By::Own, error);
    let config = Arc::clone(&options.tls.config);
    let mut session = ClientConnection::new(config, options.tls.name.clone())
        .map_err(|error| failed(error.to_string()))?;
    let mut hello = Vec::new();
    session
        .write_tls(&mut hello)
        .map_err(|error| failed(error.to_string()))?;
    let refuse = async {
        tcp.write_all(&hello).await?;
        tcp.readable().await?;
        tcp.write_all(&UNKNOWN_CA).await?;
        tcp.shutdown().await?;
        tcp.drain().await
    };
    match timeout(options.timers.negotiation, refuse).await {
        Ok(Ok(())) => Ok(End::with(How::Tls, By::Own, "refused in clear")),
        Ok(Err(error)) => Err(end_of(&Closed::from(error))),
        Err(_) => Err(too_slow("the TLS handshake")),
    }
}

/// All that follows TLS.
pub(super) async fn tunnel(
    mut wire: Wire,
    session: &Session,
    options: &ClientOptions,
) -> Result<Ready, End> {
    sleep(options.pace).await;
    session.enter(Phase::Http);
    match options.fault {
        Some(ClientFault::CloseAfterTls) => {
            wire.close(true, options.timers.close).await;
            return Ok(Ready::Over(End::new(How::CloseNotify, By::Own)));
        }
        Some(ClientFault::Browse { requests, every }) => {
            let end = browse(&mut wire, requests, every, options).await?;
            return Ok(Ready::Over(end));
        }
        _ => {}
    }
    let status = ask(&mut wire, http::sstp_request(&host(options)), options).await?;
    if status != 200 {
        wire.close(true, options.timers.close).await;
        let how = How::Http {
            status: Some(status),
        };
        return Err(End::with(how, By::Peer, "the server does not take SSTP"));
    }
    negotiate(wire, session, options)
        .await
        .map(|tunnel| Ready::Tunnel(Box::new(tunnel)))
}

/// Sends ordinary requests, one after the other.
async fn browse(
    wire: &mut Wire,
    requests: u32,
    every: Duration,
    options: &ClientOptions,
) -> Result<End, End> {
    let mut last = 0;
    for request in 0..requests {
        if request > 0 {
            sleep(every).await;
        }
        last = ask(wire, http::ordinary_request(&host(options)), options).await?;
    }
    wire.close(true, options.timers.close).await;
    let detail = format!("{requests} answers, the last {last}");
    Ok(End::with(How::CloseNotify, By::Own, detail))
}

fn host(options: &ClientOptions) -> String {
    options.tls.name.to_str().into_owned()
}

/// Sends an HTTP request and reads the answer; returns its status.
async fn ask(wire: &mut Wire, request: String, options: &ClientOptions) -> Result<u16, End> {
    wire.send_text(request);
    let asking = async {
        let response = wire.head(http::read_response).await?;
        wire.skip(response.body).await?;
        Ok(response.status)
    };
    match timeout(options.timers.negotiation, asking).await {
        Ok(answer) => answer.map_err(|closed: Closed| end_of(&closed)),
        Err(_) => Err(too_slow("HTTP")),
    }
}

async fn negotiate(
    mut wire: Wire,
    session: &Session,
    options: &ClientOptions,
) -> Result<Tunnel, End> {
    let deadline = Instant::now() + options.timers.negotiation;
    sleep(options.pace).await;
    session.enter(Phase::Call);
    wire.send(&Packet::Control(Message::CallConnectRequest));
    let nonce = call(&mut wire, deadline).await?;
    let certificate = wire.peer_certificate();
    session.enter(Phase::Lcp);
    let mut tunnel = Tunnel::new(
        wire,
        Link::client(options.credentials.clone()),
        session.clone(),
        options.timers,
        options.keepalive,
    );
    tunnel.pace = options.pace;
    // Such a client waits for what the server does about it.
    let silent = options.fault == Some(ClientFault::NeverCallConnected);
    let deadline = (!silent).then_some(deadline);
    let mut binding = Some(Binding::new(&NO_KEY, nonce, &certificate));
    if let (Some(binding), Some(ClientFault::WrongBinding)) = (&mut binding, options.fault) {
        binding.compound_mac[0] ^= 1;
    }
    if silent {
        binding = None;
    }
    loop {
        advance(&mut tunnel, &mut binding, options).await;
        if tunnel.link.stage() == Stage::Opened && !silent {
            tunnel.connected().await?;
            return Ok(tunnel);
        }
        if let Some(why) = tunnel.link.unwilling() {
            tunnel.disconnect().await;
            return Err(End::with(How::Unwilling, By::Own, why));
        }
        match tunnel.step(deadline).await {
            Ok(Event::Deadline) => {
                tunnel.abort(Status::NEGOTIATION_TIMEOUT).await;
                return Err(too_slow("the negotiation"));
            }
            Ok(Event::Message(Message::CallConnectNak(_))) => {
                return Err(End::new(How::Nak, By::Peer));
            }
            Ok(_) => {}
            Err(end) => return Err(why_ended(&tunnel, end)),
        }
    }
}

/// Waits for the answer to a Call Connect Request.
async fn call(wire: &mut Wire, deadline: Instant) -> Result<Nonce, End> {
    let answer = tokio::time::timeout_at(deadline, wire.next()).await;
    let packet = match answer {
        Ok(Ok(packet)) => packet,
        Ok(Err(closed)) => return Err(end_of(&closed)),
        Err(_) => return Err(too_slow("the answer to Call Connect")),
    };
    match packet {
        Packet::Control(Message::CallConnectAck {
            sha256: true,
            nonce,
        }) => Ok(nonce),
        Packet::Control(Message::CallConnectAck { sha256: false, .. }) => {
            let why = "the server takes SHA-1 alone for the crypto binding";
            Err(End::with(How::Unwilling, By::Own, why))
        }
        Packet::Control(Message::CallConnectNak(_)) => Err(End::new(How::Nak, By::Peer)),
        other => {
            let why = format!("instead of Call Connect Ack the server sends {other:?}");
            Err(End::with(How::Failed, By::Own, why))
        }
    }
}

/// Enters the phase that PPP is in; sends Call Connected once the client is authenticated
/// ([MS-SSTP], 3.2.7.1).
async fn advance(tunnel: &mut Tunnel, binding: &mut Option<Binding>, options: &ClientOptions) {
    let phase = phase(tunnel.link.stage());
    tunnel.session.enter(phase);
    if phase == Phase::Network
        && let Some(binding) = binding.take()
    {
        sleep(options.pace).await;
        tunnel.send(Message::CallConnected(binding));
    }
}

/// The server ends a session that PPP has refused before by whatever means it has.
fn why_ended(tunnel: &Tunnel, end: End) -> End {
    if tunnel.link.is_rejected() {
        let detail = format!("the server refuses name or password, then {:?}", end.how);
        return End::with(How::Rejected, By::Peer, detail);
    }
    if let Some(why) = tunnel.link.disagreement() {
        return End::with(How::Unwilling, end.by, why);
    }
    end
}
