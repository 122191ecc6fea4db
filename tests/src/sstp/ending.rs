//! How a tunnel is ended, by this end and by the other.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::ended::{By, End, How};
use super::manners::GiveUp;
use super::message::{Message, Packet, Status};
use super::tunnel::{Event, Tunnel};
use super::wire::Closed;

impl Tunnel {
    /// The peer has closed, or something broke.
    pub(super) async fn closed(&mut self, closed: Closed) -> End {
        let end = end_of(&closed);
        match closed {
            Closed::Malformed(_) => {
                // Unreliable streams are left without a word ([MS-SSTP], 3.1.5.1).
                self.wire.close(true, self.timers.close).await;
            }
            Closed::CloseNotify | Closed::Fin => {
                self.wire.close(true, self.timers.close).await;
            }
            _ => {}
        }
        end
    }

    /// Answers a Call Disconnect; the other end closes, or this one after a while.
    pub(super) async fn disconnected(&mut self) -> End {
        self.send(Message::CallDisconnectAck);
        self.linger(self.timers.disconnect_linger).await;
        End::new(How::Disconnect { acknowledged: true }, By::Peer)
    }

    /// Answers a Call Abort in the same way.
    pub(super) async fn aborted(&mut self, status: Option<Status>) -> End {
        self.send(Message::CallAbort(Some(Status::NO_ERROR)));
        self.linger(self.timers.abort_linger).await;
        let status = status.map(|Status(status)| status);
        End::new(How::Abort { status }, By::Peer)
    }

    /// Waits for the other end to close, and closes.
    async fn linger(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while let Ok(Ok(_)) = timeout_at(until, self.wire.next()).await {}
        self.wire.close(true, self.timers.close).await;
    }

    /// Ends the session by Call Disconnect.
    pub(super) async fn disconnect(&mut self) -> End {
        self.send_link().await;
        self.send(Message::CallDisconnect(Some(Status::NO_ERROR)));
        let until = Instant::now() + self.timers.disconnect;
        let acknowledged = self
            .wait_for(until, |message| *message == Message::CallDisconnectAck)
            .await;
        self.wire.close(true, self.timers.close).await;
        End::new(How::Disconnect { acknowledged }, By::Own)
    }

    /// Ends the session by Call Abort.
    pub(super) async fn abort(&mut self, status: Status) -> End {
        self.send_link().await;
        self.send(Message::CallAbort(Some(status)));
        let until = Instant::now() + self.timers.abort;
        self.wait_for(until, |message| matches!(message, Message::CallAbort(_)))
            .await;
        self.wire.close(true, self.timers.close).await;
        let Status(status) = status;
        let status = Some(status);
        End::new(How::Abort { status }, By::Own)
    }

    /// Leaves a peer that answers no echo.
    pub(super) async fn give_up(&mut self, why: &str) -> End {
        match self.keepalive.give_up {
            GiveUp::Abort => drop(self.abort(Status::RETRY_COUNT_EXCEEDED).await),
            GiveUp::Close => self.wire.close(true, self.timers.close).await,
        }
        End::with(How::Silence, By::Own, why)
    }

    /// Ends the session by `close_notify` and FIN, or by FIN alone.
    pub(super) async fn close(&mut self, notify: bool) -> End {
        self.send_link().await;
        self.wire.close(notify, self.timers.close).await;
        let how = if notify { How::CloseNotify } else { How::Fin };
        End::new(how, By::Own)
    }

    /// Waits for LCP to be terminated by both ends.
    pub(super) async fn terminate(&mut self) -> Result<(), End> {
        self.link.terminate();
        let until = Instant::now() + self.timers.disconnect;
        while !self.link.is_terminated() {
            if let Event::Deadline = self.step(Some(until)).await? {
                break;
            }
        }
        Ok(())
    }

    /// Passes over what comes until a message is the one; false if it doesn't come.
    async fn wait_for(&mut self, until: Instant, wanted: impl Fn(&Message) -> bool) -> bool {
        loop {
            match timeout_at(until, self.wire.next()).await {
                Ok(Ok(Packet::Control(message))) if wanted(&message) => return true,
                // Both ends may want to leave at the same time.
                Ok(Ok(Packet::Control(Message::CallDisconnect(_)))) => {
                    self.send(Message::CallDisconnectAck);
                }
                Ok(Ok(_)) => {}
                Ok(Err(_)) | Err(_) => return false,
            }
        }
    }
}

/// What the end of a session is if this is why nothing more is read.
pub(super) fn end_of(closed: &Closed) -> End {
    match closed {
        Closed::CloseNotify => End::new(How::CloseNotify, By::Peer),
        Closed::Fin => End::new(How::Fin, By::Peer),
        Closed::Reset => End::new(How::Reset, By::Peer),
        Closed::TimedOut => End::new(How::TimedOut, By::Network),
        Closed::Malformed(malformed) => {
            End::with(How::Failed, By::Own, format!("the peer sends {malformed}"))
        }
        Closed::NoHttp(what) => End::with(How::Http { status: None }, By::Own, what),
        Closed::Failed(error) => End::with(How::Failed, By::Network, error.to_string()),
    }
}
