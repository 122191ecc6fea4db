//! A server's part of the set-up: TLS, HTTP, Call Connect, PPP, and the check of the binding.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;

use super::Connection;
use super::options::{Gate, Refusal};
use crate::sstp::binding::{Binding, NO_KEY, Nonce};
use crate::sstp::ended::{By, End, How, Phase};
use crate::sstp::ending::end_of;
use crate::sstp::http::{self, Request};
use crate::sstp::message::{Message, Packet, Status};
use crate::sstp::ppp::{Decision, Link, Stage};
use crate::sstp::setup::{phase, tls_failed, too_slow};
use crate::sstp::socket::Tcp;
use crate::sstp::tunnel::{Event, Tunnel};
use crate::sstp::wire::{Closed, Wire};

impl Connection {
    /// The TLS handshake.
    pub(super) async fn secure(&self, tcp: Tcp) -> Result<Wire, End> {
        if let Gate::Hang(time) = self.options.gate {
            sleep(time).await;
        }
        self.session.enter(Phase::Tls);
        let acceptor = TlsAcceptor::from(Arc::clone(&self.options.tls.config));
        let accepting = acceptor.accept(tcp);
        let stream = match timeout(self.options.timers.negotiation, accepting).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(tls_failed(error)),
            Err(_) => return Err(too_slow("the TLS handshake")),
        };
        let mut wire = Wire::new(stream.into());
        if self.options.split_header {
            wire.split_headers();
        }
        Ok(wire)
    }

    /// All that follows TLS.
    pub(super) async fn tunnel(&self, mut wire: Wire) -> Result<Tunnel, End> {
        self.session.enter(Phase::Http);
        match timeout(self.options.timers.negotiation, self.http(&mut wire)).await {
            Ok(Ok(())) => {}
            Ok(Err(closed)) => {
                wire.close(true, self.options.timers.close).await;
                return Err(end_of(&closed));
            }
            Err(_) => {
                wire.close(true, self.options.timers.close).await;
                return Err(too_slow("HTTP"));
            }
        }
        self.session.enter(Phase::Call);
        let deadline = Instant::now() + self.options.timers.negotiation;
        let nonce = self.call(&mut wire, deadline).await?;
        self.session.enter(Phase::Lcp);
        let authentication = &self.options.authentication;
        let link = Link::server(
            authentication.method,
            authentication.credentials.clone(),
            self.options.inside,
            self.assigned,
        );
        let (timers, keepalive) = (self.options.timers, self.options.keepalive);
        let mut tunnel = Tunnel::new(wire, link, self.session.clone(), timers, keepalive);
        tunnel.stop_with(self.stopping.clone());
        Negotiation {
            connection: self,
            tunnel,
            deadline,
            nonce,
            decide_at: None,
            bound: false,
        }
        .run()
        .await
    }

    /// Answers ordinary requests until one for SSTP comes.
    async fn http(&self, wire: &mut Wire) -> Result<(), Closed> {
        loop {
            match wire.head(http::read_request).await? {
                Request::Sstp => {
                    wire.send_text(http::sstp_response());
                    return wire.flush().await;
                }
                Request::Ordinary { body } => {
                    wire.skip(body).await?;
                    wire.send_text(http::not_found());
                    wire.flush().await?;
                }
            }
        }
    }

    /// Waits for a Call Connect Request and answers it.
    async fn call(&self, wire: &mut Wire, deadline: Instant) -> Result<Nonce, End> {
        let end = match timeout_at(deadline, wire.next()).await {
            Ok(Ok(Packet::Control(Message::CallConnectRequest))) => {
                let mut nonce = Nonce::default();
                fastrand::fill(&mut nonce);
                wire.send(&Packet::Control(Message::CallConnectAck {
                    sha256: true,
                    nonce,
                }));
                return Ok(nonce);
            }
            Ok(Ok(other)) => {
                let refusal = Message::CallConnectNak(Some(Status::VALUE_NOT_SUPPORTED));
                wire.send(&Packet::Control(refusal));
                let why = format!("instead of Call Connect Request comes {other:?}");
                End::with(How::Nak, By::Own, why)
            }
            Ok(Err(closed)) => end_of(&closed),
            Err(_) => {
                let abort = Message::CallAbort(Some(Status::NEGOTIATION_TIMEOUT));
                wire.send(&Packet::Control(abort));
                too_slow("the wait for Call Connect Request")
            }
        };
        wire.close(true, self.options.timers.close).await;
        Err(end)
    }
}

/// PPP, and the wait for Call Connected.
struct Negotiation<'a> {
    connection: &'a Connection,
    tunnel: Tunnel,
    deadline: Instant,
    nonce: Nonce,
    /// When the backend will have decided about the credentials.
    decide_at: Option<(Instant, Decision)>,
    /// The right Call Connected has come.
    bound: bool,
}

impl Negotiation<'_> {
    async fn run(mut self) -> Result<Tunnel, End> {
        loop {
            let stage = self.tunnel.link.stage();
            self.tunnel.session.enter(phase(stage));
            if self.bound && stage == Stage::Opened {
                self.tunnel.connected().await?;
                return Ok(self.tunnel);
            }
            if let Some(why) = self.tunnel.link.unwilling() {
                self.tunnel.disconnect().await;
                return Err(End::with(How::Unwilling, By::Peer, why));
            }
            let deadline = self.deadline();
            match self.tunnel.step(Some(deadline)).await? {
                Event::Deadline => self.overdue().await?,
                Event::Ppp => self.note_credentials(),
                Event::Message(Message::CallConnected(binding)) => self.bind(&binding).await?,
                Event::Message(other) => {
                    let end = self.tunnel.abort(Status::UNACCEPTED_FRAME).await;
                    let why = format!("an unexpected message: {other:?}");
                    return Err(End::with(end.how, end.by, why));
                }
                // No IP before the client is bound ([MS-SSTP], 3.3.7).
                Event::Ip(_) => {}
            }
        }
    }

    /// When there is something to be done without the client.
    fn deadline(&self) -> Instant {
        let decided = self.decide_at.map(|(at, _)| at);
        decided.unwrap_or(self.deadline).min(self.deadline)
    }

    async fn overdue(&mut self) -> Result<(), End> {
        let now = Instant::now();
        if let Some((at, decision)) = self.decide_at
            && at <= now
        {
            self.decide_at = None;
            return self.decide(decision).await;
        }
        if self.deadline > now {
            return Ok(());
        }
        self.tunnel.abort(Status::NEGOTIATION_TIMEOUT).await;
        Err(too_slow("the negotiation"))
    }

    /// The backend begins to think as soon as there are credentials.
    fn note_credentials(&mut self) {
        let delay: Duration = self.connection.options.authentication.delay;
        if self.decide_at.is_none()
            && let Some(decision) = self.tunnel.link.pending()
        {
            self.decide_at = Some((Instant::now() + delay, decision));
        }
    }

    async fn decide(&mut self, decision: Decision) -> Result<(), End> {
        let authentication = &self.connection.options.authentication;
        let accept = decision.fits && !authentication.refuses_all;
        self.tunnel.link.decide(accept);
        if accept {
            return Ok(());
        }
        match authentication.refusal {
            Refusal::Disconnect => self.tunnel.disconnect().await,
            Refusal::Abort => self.tunnel.abort(Status::NO_ERROR).await,
            Refusal::Close => self.tunnel.close(true).await,
        };
        Err(End::new(How::Rejected, By::Own))
    }

    /// Checks the client's binding ([MS-SSTP], 3.3.5.2.3); a client that isn't authenticated has
    /// nothing to be bound by.
    async fn bind(&mut self, binding: &Binding) -> Result<(), End> {
        let options = &self.connection.options;
        let early = self.tunnel.link.stage() < Stage::Network;
        let fits = binding.fits(&NO_KEY, self.nonce, &options.tls.certificate);
        if early || (options.checks_binding && !fits) {
            self.tunnel.abort(Status::VALUE_NOT_SUPPORTED).await;
            return Err(End::new(How::Binding, By::Own));
        }
        self.bound = true;
        Ok(())
    }
}
