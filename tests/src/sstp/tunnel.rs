//! What both ends do with SSTP and PPP: packets in and out, echoes, and timers.

use std::time::Duration;

use tokio::select;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::ended::{End, Phase, Session};
use super::manners::{Keepalive, Timers};
use super::message::{Message, Packet};
use super::ppp::{Frame, Link, Stage, code, protocol};
use super::wire::{Closed, Wire};

/// What happens that the two ends treat each in its own way.
#[derive(Debug)]
pub(super) enum Event {
    /// The time that was waited for has come.
    Deadline,
    /// A message that is none of echo, abort and disconnect.
    Message(Message),
    /// PPP has gone on.
    Ppp,
    /// An IP packet.
    Ip(Vec<u8>),
}

/// One end of a tunnel.
pub(super) struct Tunnel {
    pub(super) wire: Wire,
    pub(super) link: Link,
    pub(super) session: Session,
    pub(super) timers: Timers,
    pub(super) keepalive: Keepalive,
    hello: Hello,
    lcp_echo: Echoes,
    restart: Instant,
    /// Time that a client lets pass before everything it sends in the set-up.
    pub(super) pace: Duration,
    /// Turns true when the server is shut down.
    stopping: Option<watch::Receiver<bool>>,
}

/// The hello timer ([MS-SSTP], 3.1.2).
#[derive(Debug, Default)]
struct Hello {
    /// When the timer was started; it runs in a tunnel that is up and being read.
    started: Option<Instant>,
    /// When an echo was asked for that hasn't come.
    asked: Option<Instant>,
}

/// LCP's echoes.
#[derive(Debug, Default)]
struct Echoes {
    next: Option<Instant>,
    asked: Option<Instant>,
    unanswered: u32,
}

impl Tunnel {
    pub(super) fn new(
        wire: Wire,
        link: Link,
        session: Session,
        timers: Timers,
        keepalive: Keepalive,
    ) -> Self {
        Self {
            wire,
            link,
            session,
            timers,
            keepalive,
            hello: Hello::default(),
            lcp_echo: Echoes::default(),
            restart: Instant::now() + timers.restart,
            pace: Duration::ZERO,
            stopping: None,
        }
    }

    /// Ends the session in good order as soon as `stopping` turns true.
    pub(super) fn stop_with(&mut self, stopping: watch::Receiver<bool>) {
        self.stopping = Some(stopping);
    }

    /// Sends a message.
    pub(super) fn send(&mut self, message: Message) {
        self.wire.send(&Packet::Control(message));
    }

    /// Sends an IP packet.
    pub(super) fn send_ip(&mut self, packet: Vec<u8>) {
        let frame = Frame {
            protocol: protocol::IPV4,
            payload: packet,
        };
        self.wire.send(&Packet::Data(frame.encode()));
    }

    /// The tunnel is up: its timers run from now on. What the peer waits for is sent before,
    /// whatever comes next.
    pub(super) async fn connected(&mut self) -> Result<(), End> {
        self.send_link().await;
        if let Err(closed) = self.wire.flush().await {
            return Err(self.closed(closed).await);
        }
        self.session.enter(Phase::Connected);
        self.pace = Duration::ZERO;
        self.resume_timers();
        Ok(())
    }

    /// Starts the timers of a tunnel that is up, or starts them again.
    pub(super) fn resume_timers(&mut self) {
        let now = Instant::now();
        self.hello = Hello {
            started: self.keepalive.hello.map(|_| now),
            asked: None,
        };
        self.lcp_echo = Echoes {
            next: self.keepalive.lcp_echo.map(|echo| now + echo.every),
            ..Echoes::default()
        };
    }

    /// Stops the timers: an end that doesn't read can't tell whether the other is silent.
    pub(super) fn suspend_timers(&mut self) {
        self.hello = Hello::default();
        self.lcp_echo = Echoes::default();
    }

    /// Waits for the next event. An error is the end of the session; the socket is closed by then,
    /// or waits to be dropped.
    pub(super) async fn step(&mut self, deadline: Option<Instant>) -> Result<Event, End> {
        loop {
            self.send_link().await;
            let due = [deadline, self.due()].into_iter().flatten().min();
            select! {
                received = self.wire.next() => {
                    if let Some(event) = self.receive(received).await? {
                        return Ok(event);
                    }
                }
                () = sleep_until_some(due) => {
                    let now = Instant::now();
                    if deadline.is_some_and(|deadline| deadline <= now) {
                        return Ok(Event::Deadline);
                    }
                    self.fire(now).await?;
                }
                () = stopped(&mut self.stopping) => return Err(self.disconnect().await),
            }
        }
    }

    /// Sends what PPP has to say.
    pub(super) async fn send_link(&mut self) {
        for frame in self.link.take_output() {
            if !self.pace.is_zero() {
                tokio::time::sleep(self.pace).await;
            }
            self.wire.send(&Packet::Data(frame.encode()));
        }
    }

    /// When the next of the timers runs out.
    fn due(&self) -> Option<Instant> {
        let negotiating = self.link.stage() < Stage::Opened;
        let hello = self.hello.started.zip(self.keepalive.hello);
        [
            negotiating.then_some(self.restart),
            hello.and_then(|(started, hello)| started.checked_add(hello)),
            self.lcp_echo.next,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    async fn fire(&mut self, now: Instant) -> Result<(), End> {
        if self.link.stage() < Stage::Opened && self.restart <= now {
            self.link.restart();
            self.restart = now + self.timers.restart;
        }
        self.fire_hello(now).await?;
        self.fire_lcp_echo(now).await
    }

    async fn fire_hello(&mut self, now: Instant) -> Result<(), End> {
        let (Some(started), Some(hello)) = (self.hello.started, self.keepalive.hello) else {
            return Ok(());
        };
        if now < started + hello {
            return Ok(());
        }
        if self.hello.asked.is_some() {
            return Err(self.give_up("no answer to an SSTP echo").await);
        }
        self.hello = Hello {
            started: Some(now),
            asked: Some(now),
        };
        self.send(Message::EchoRequest);
        Ok(())
    }

    async fn fire_lcp_echo(&mut self, now: Instant) -> Result<(), End> {
        let (Some(next), Some(echo)) = (self.lcp_echo.next, self.keepalive.lcp_echo) else {
            return Ok(());
        };
        if now < next {
            return Ok(());
        }
        if self.lcp_echo.unanswered >= echo.failures.max(1) {
            return Err(self.give_up("no answer to LCP echoes").await);
        }
        self.link.echo();
        self.lcp_echo = Echoes {
            next: Some(now + echo.every),
            asked: Some(now),
            unanswered: self.lcp_echo.unanswered + 1,
        };
        Ok(())
    }

    async fn receive(&mut self, received: Result<Packet, Closed>) -> Result<Option<Event>, End> {
        let packet = match received {
            Ok(packet) => packet,
            Err(closed) => return Err(self.closed(closed).await),
        };
        if let Some(started) = &mut self.hello.started {
            *started = Instant::now();
        }
        let message = match packet {
            Packet::Data(bytes) => return Ok(self.receive_frame(&bytes)),
            Packet::Control(message) => message,
        };
        // Any packet is a sign of life; only the answer tells how long it took.
        let asked = self.hello.asked.take();
        match message {
            Message::EchoRequest => {
                if self.keepalive.answers {
                    self.send(Message::EchoResponse);
                }
            }
            Message::EchoResponse => {
                if let Some(asked) = asked {
                    self.session.note_echo(asked.elapsed());
                }
            }
            Message::CallDisconnect(_) => return Err(self.disconnected().await),
            Message::CallAbort(status) => return Err(self.aborted(status).await),
            // The answer to nothing.
            Message::CallDisconnectAck => {}
            other => return Ok(Some(Event::Message(other))),
        }
        Ok(None)
    }

    fn receive_frame(&mut self, bytes: &[u8]) -> Option<Event> {
        self.hello.asked = None;
        let frame = Frame::decode(bytes)?;
        if frame.protocol == protocol::IPV4 {
            // IP before its time is dropped (RFC 1661, section 3.5).
            let open = self.link.stage() == Stage::Opened;
            return open.then_some(Event::Ip(frame.payload));
        }
        let echo =
            frame.protocol == protocol::LCP && frame.payload.first() == Some(&code::ECHO_REQUEST);
        if echo && !self.keepalive.answers {
            return None;
        }
        if self.link.receive(&frame)
            && let Some(asked) = self.lcp_echo.asked.take()
        {
            self.lcp_echo.unanswered = 0;
            self.session.note_echo(asked.elapsed());
        }
        Some(Event::Ppp)
    }
}

/// Waits until then; for ever if there is no time.
async fn sleep_until_some(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Waits until the server is shut down, if it ever is.
async fn stopped(stopping: &mut Option<watch::Receiver<bool>>) {
    if let Some(stopping) = stopping
        && stopping.wait_for(|stop| *stop).await.is_ok()
    {
        return;
    }
    std::future::pending::<()>().await;
}
