//! A tunnel that is up: traffic, answers to the other end's, and the timeline.

use tokio::time::{Instant, sleep};

use super::ended::{By, End, How};
use super::inner::{self, Addresses, Meaning};
use super::message::Status;
use super::timeline::{Ending, Step, Timeline, Traffic};
use super::tunnel::{Event, Tunnel};

/// The most datagrams that one request is answered with.
const MOST_DATAGRAMS: u16 = 128;

/// Plays the timeline; returns how the session ended.
pub(super) async fn play(mut tunnel: Tunnel, timeline: &Timeline) -> End {
    let mut player = Player {
        tunnel: &mut tunnel,
        sequence: 0,
        asked: None,
    };
    let end = match player.play(timeline).await {
        Ok(end) | Err(end) => end,
    };
    if end.how == How::Reset && end.by == By::Own {
        tunnel.wire.reset_on_close();
    }
    end
}

struct Player<'a> {
    tunnel: &'a mut Tunnel,
    /// Sequence number of the last ICMP echo.
    sequence: u16,
    /// When that was sent, if it hasn't been answered.
    asked: Option<Instant>,
}

impl Player<'_> {
    async fn play(&mut self, timeline: &Timeline) -> Result<End, End> {
        for step in &timeline.steps {
            match *step {
                Step::Carry { traffic, lasts } => {
                    self.carry(traffic, Instant::now().checked_add(lasts))
                        .await?;
                }
                Step::StopReading { traffic, lasts } => {
                    self.tunnel.suspend_timers();
                    self.tunnel.wire.set_reading(false);
                    self.carry(traffic, Instant::now().checked_add(lasts))
                        .await?;
                    self.tunnel.wire.set_reading(true);
                    self.tunnel.resume_timers();
                }
                Step::Hang(lasts) => {
                    sleep(lasts).await;
                    self.tunnel.resume_timers();
                }
            }
        }
        self.end(timeline.ending).await
    }

    async fn end(&mut self, ending: Ending) -> Result<End, End> {
        Ok(match ending {
            Ending::Disconnect => self.tunnel.disconnect().await,
            Ending::Terminate => {
                self.tunnel.terminate().await?;
                self.tunnel.disconnect().await
            }
            Ending::Abort => self.tunnel.abort(Status::NO_ERROR).await,
            Ending::CloseNotify => self.tunnel.close(true).await,
            Ending::Fin => self.tunnel.close(false).await,
            Ending::Kill => End::new(How::Killed, By::Own),
            Ending::Reset => End::new(How::Reset, By::Own),
            Ending::ByPeer(traffic) => {
                self.carry(traffic, None).await?;
                End::new(How::Killed, By::Own)
            }
        })
    }

    /// Sends this, and answers, until then.
    async fn carry(&mut self, traffic: Traffic, until: Option<Instant>) -> Result<(), End> {
        let mut next = traffic.every().map(|_| Instant::now());
        loop {
            let deadline = [next, until].into_iter().flatten().min();
            match self.tunnel.step(deadline).await? {
                Event::Deadline => {
                    let now = Instant::now();
                    if until.is_some_and(|until| until <= now) {
                        return Ok(());
                    }
                    self.emit(traffic);
                    // What could not be sent in time is not made up for.
                    next = traffic.every().map(|every| now + every);
                }
                Event::Ip(packet) => self.answer(&packet),
                Event::Ppp => {}
                Event::Message(message) => {
                    let end = self.tunnel.abort(Status::UNACCEPTED_FRAME).await;
                    let why = format!("an unexpected message: {message:?}");
                    return Err(End::with(end.how, end.by, why));
                }
            }
        }
    }

    fn addresses(&self) -> Addresses {
        Addresses {
            own: self.tunnel.link.own_address(),
            peer: self.tunnel.link.peer_address(),
        }
    }

    fn emit(&mut self, traffic: Traffic) {
        let addresses = self.addresses();
        match traffic {
            Traffic::Idle => {}
            Traffic::Ping { bytes, .. } => {
                self.sequence = self.sequence.wrapping_add(1);
                self.asked = Some(Instant::now());
                self.tunnel
                    .send_ip(inner::echo(addresses, self.sequence, bytes));
            }
            Traffic::Send {
                datagrams, bytes, ..
            } => self.send(addresses, datagrams, bytes),
            Traffic::Fetch {
                datagrams, bytes, ..
            } => self
                .tunnel
                .send_ip(inner::request(addresses, datagrams, bytes)),
        }
    }

    fn send(&mut self, addresses: Addresses, datagrams: u16, bytes: u16) {
        for _ in 0..datagrams {
            self.tunnel.send_ip(inner::filler(addresses, bytes));
        }
    }

    fn answer(&mut self, packet: &[u8]) {
        match inner::read(packet) {
            Meaning::Answer(answer) => self.tunnel.send_ip(answer),
            Meaning::Echoed(sequence) if sequence == self.sequence => {
                if let Some(asked) = self.asked.take() {
                    self.tunnel.session.note_ping(asked.elapsed());
                }
            }
            Meaning::Wanted(datagrams, bytes) => {
                let addresses = self.addresses();
                self.send(addresses, datagrams.min(MOST_DATAGRAMS), bytes);
            }
            Meaning::Echoed(_) | Meaning::Nothing => {}
        }
    }
}
