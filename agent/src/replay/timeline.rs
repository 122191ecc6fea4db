//! A capture as time goes by in it: packets, and what the agent does in between.

use std::{
    borrow::Cow, collections::HashMap, convert::Infallible, io::Read, ops::ControlFlow, path::Path,
};

use pcap_parser::Linktype;
use sstpulse_common::Skip;

use super::{
    Buffer, CaptureError, CaptureEvent, Config, Packet, Tables, Unreadable, Watched, capture,
    inner, unless,
};
use crate::{
    clock::Clock,
    counted::counted,
    event::{CaptureStats, Event, ReplayStart, ReplayStop, ReplayStopReason, Totals},
    output::Output,
    report::{
        self, Across, Attempts, Flows as _, InterfaceNames, Lines, Periods, Sessions, Teller,
    },
};

/// What the agent knows and tells, at some time of the capture.
pub struct Timeline {
    config: Config,
    file: Option<String>,
    watched: Watched,
    tables: Tables,
    sessions: Sessions,
    attempts: Attempts,
    across: Across,
    lines: Lines,
    interfaces: Names,
    capture: CaptureStats,
    /// The last packet whose link type is not read.
    unknown_link: Option<Linktype>,
    /// Lines are to be out before the next packet is waited for.
    prompt: bool,
    /// Time of the last packet, in nanoseconds since 1970; 0 before the first.
    now_ns: u64,
    next_tick_ns: u64,
    /// When there is something to do next besides taking packets in.
    next_ns: u64,
}

/// What a replay brought, as its last line says.
#[derive(Clone, Copy, Debug)]
pub struct Summary {
    /// What the capture holds.
    pub capture: CaptureStats,
    /// What came of it.
    pub totals: Totals,
}

impl Timeline {
    /// Before the first packet.
    pub fn new(config: Config, file: Option<&Path>, output: Output, prompt: bool) -> Self {
        Self {
            watched: config.watched(),
            tables: Tables::new(config.limits),
            sessions: Sessions::new(
                config.limits.sessions,
                report::run_number(),
                config.thresholds.clone(),
                Periods {
                    interval: config.interval,
                    dead_after: config.dead_after,
                },
            ),
            attempts: Attempts::default(),
            across: Across::new(&config.thresholds, &config.cluster_limits),
            lines: Lines::new(output, Clock::of_day()),
            config,
            file: file.map(|path| path.display().to_string()),
            interfaces: Names::default(),
            capture: CaptureStats::default(),
            unknown_link: None,
            prompt,
            now_ns: 0,
            next_tick_ns: 0,
            next_ns: 0,
        }
    }

    /// Takes a capture in, to its end or until `stop` says so.
    pub fn read(&mut self, input: impl Read, stop: impl Fn() -> bool) -> Result<(), CaptureError> {
        capture::read(input, |event| match event {
            CaptureEvent::Interface(index, name) => {
                self.interfaces.0.insert(index, name.to_owned());
                ControlFlow::Continue(())
            }
            CaptureEvent::Packet(packet) => {
                self.take(packet);
                unless(stop() || self.output_is_closed())
            }
        })
    }

    /// Takes a packet in, after what was due before it.
    fn take(&mut self, packet: Packet<'_>) {
        self.advance(packet.time_ns);
        self.capture.packets += 1;
        self.capture.bytes += u64::from(packet.length);
        match inner(packet.link, packet.bytes, packet.length) {
            Ok(inner) => {
                let buffer = Buffer {
                    time_ns: self.now_ns,
                    length: inner.length,
                    ifindex: inner.ifindex.map_or(packet.interface, of_kernel),
                    from_capture: true,
                    ..Buffer::default()
                };
                let result = self
                    .tables
                    .take(&self.watched, inner.framing, inner.bytes, &buffer);
                match result {
                    Ok((_, parsed)) => {
                        let cut = inner.bytes.len() < inner.length as usize;
                        self.capture.payload_cut += u64::from(cut && parsed.segment.payload > 0);
                    }
                    Err(Skip::Fragment | Skip::Malformed) => {}
                    Err(Skip::NotOurs) => self.capture.other += 1,
                    Err(Skip::Truncated) => self.capture.truncated += 1,
                }
            }
            Err(Unreadable::Truncated) => self.capture.truncated += 1,
            Err(Unreadable::OtherProtocol) => self.capture.other += 1,
            Err(Unreadable::LinkType) => {
                self.capture.unknown_link_type += 1;
                self.unknown_link = Some(packet.link);
            }
        }
        if self.tables.has_messages() {
            self.take_messages();
        }
    }

    /// Lets time pass until a packet's.
    fn advance(&mut self, time_ns: Option<u64>) {
        if time_ns.is_none_or(|time_ns| time_ns < self.now_ns) {
            self.capture.time_corrected += 1;
        }
        // 0 means "never" in the records.
        let time_ns = time_ns.unwrap_or_default().max(1);
        if self.now_ns == 0 {
            return self.begin(time_ns);
        }
        while self.next_ns <= time_ns {
            self.pass(time_ns);
        }
        if time_ns > self.now_ns {
            self.now_ns = time_ns;
        }
    }

    fn begin(&mut self, first_ns: u64) {
        self.now_ns = first_ns;
        self.next_tick_ns = first_ns.saturating_add(self.interval_ns());
        self.next_ns = self.next_tick_ns;
        self.capture.first = Some(self.lines.time(first_ns));
        self.tell_start();
    }

    /// Does the next thing that is due before `until`.
    fn pass(&mut self, until: u64) {
        let at = self.next_ns;
        if at < self.next_tick_ns {
            self.settle(at);
        } else {
            self.scan(at);
            self.across.tell(&mut self.lines, at);
            // What no packet changes, only time does: then the last look before the next
            // packet finds as much as all in between.
            let interval = self.interval_ns();
            let missed = (until - at) / interval;
            let next = at.saturating_add(interval);
            self.next_tick_ns = next.max(at.saturating_add(missed.saturating_mul(interval)));
        }
        self.plan();
    }

    fn plan(&mut self) {
        let due = self.sessions.next_due().unwrap_or(u64::MAX);
        self.next_ns = self.next_tick_ns.min(due);
        if self.prompt {
            self.lines.flush();
        }
    }

    fn settle(&mut self, now: u64) {
        let mut teller = Teller {
            lines: &mut self.lines,
            interfaces: &self.interfaces,
            across: &mut self.across,
        };
        let Ok(()) = self.sessions.settle(&mut self.tables, &mut teller, now);
    }

    fn take_messages(&mut self) {
        let mut teller = Teller {
            lines: &mut self.lines,
            interfaces: &self.interfaces,
            across: &mut self.across,
        };
        for message in self.tables.take_messages() {
            self.sessions.take(&mut self.tables, &mut teller, &message);
        }
        self.plan();
    }

    /// What each interval brings.
    fn scan(&mut self, now: u64) {
        let tables = &mut self.tables;
        let mut teller = Teller {
            lines: &mut self.lines,
            interfaces: &self.interfaces,
            across: &mut self.across,
        };
        let Ok(()) = self.sessions.scan(tables, &mut teller, now);
        let Ok(()) = self.attempts.sweep(tables, &mut teller, now);
    }

    fn tell_start(&mut self) {
        let file = self.file.as_deref().map(Cow::Borrowed);
        self.lines.write(self.now_ns, None, |head| {
            Event::ReplayStart(ReplayStart {
                head,
                version: env!("CARGO_PKG_VERSION"),
                file,
                ports: self.watched.ports().collect(),
                servers: self
                    .config
                    .servers
                    .iter()
                    .map(ToString::to_string)
                    .collect(),
                interval_ms: report::milliseconds(self.config.interval),
                dead_after_ms: report::milliseconds(self.config.dead_after),
            })
        });
    }

    /// Whether nobody reads the output any more.
    pub fn output_is_closed(&self) -> bool {
        self.lines.output().is_closed()
    }

    /// The link type, if no packet had one that is read.
    pub fn unreadable(&self) -> Option<i32> {
        let CaptureStats {
            packets,
            unknown_link_type,
            ..
        } = self.capture;
        let link = self.unknown_link?;
        (packets == unknown_link_type).then_some(link.0)
    }

    /// Tells what is left to tell: what the last interval brought, the sessions that go on
    /// beyond the end, and what there was in all.
    pub fn finish(
        mut self,
        reason: ReplayStopReason,
        error: Option<&str>,
    ) -> anyhow::Result<Summary> {
        if self.now_ns == 0 {
            // Without a packet, there is no other time.
            self.now_ns = Clock::now_of_day_ns();
            self.tell_start();
        } else {
            self.capture.last = Some(self.lines.time(self.now_ns));
        }
        let now = self.now_ns;
        self.scan(now);
        let mut teller = Teller {
            lines: &mut self.lines,
            interfaces: &self.interfaces,
            across: &mut self.across,
        };
        let Ok(()) = self
            .sessions
            .end_lingering(&mut self.tables, &mut teller, now);
        self.sessions.leave_open(&self.tables, &mut teller);
        self.across.tell_last(&mut self.lines, now);

        let counters: Result<_, Infallible> = self.tables.counters();
        let Ok(counters) = counters;
        let totals = report::totals(
            &counters,
            &self.sessions,
            &self.attempts,
            &self.across,
            &self.lines,
        );
        let rates = self.across.rates();
        let capture = self.capture;
        tracing::info!(
            "{}: {}, {} of them still open; {}",
            counted(capture.packets, "packet"),
            counted(totals.sessions.started, "session"),
            totals.sessions.live,
            counted(totals.attempts.failed, "failed attempt"),
        );
        self.hint(totals.passed_over.no_session, totals.sessions.started);
        self.lines.write(now, None, |head| {
            Event::ReplayStop(ReplayStop {
                head,
                reason,
                error,
                capture,
                totals,
                rates,
            })
        });
        self.lines.finish()?;
        Ok(Summary { capture, totals })
    }

    /// Says what may be wrong with a capture, or with what was asked.
    fn hint(&self, no_session: u64, sessions: u64) {
        let CaptureStats {
            packets,
            other,
            truncated,
            payload_cut,
            time_corrected,
            ..
        } = self.capture;
        if time_corrected > 0 {
            tracing::warn!(
                "{} without a time, or with one before that of an earlier packet, passed together \
                 with it as far as is told here: durations are wrong if a clock was",
                counted(time_corrected, "packet"),
            );
        }
        if payload_cut > 0 {
            tracing::warn!(
                "{} cut within the payload: what is counted is right, but TLS, SSTP and the \
                 verdicts that rest on them can't be seen; keep whole packets (tcpdump -s 0)",
                counted(payload_cut, "packet"),
            );
        }
        if sessions > 0 || packets == 0 {
            return;
        }
        if other == packets {
            tracing::warn!("no packet is of a watched server; see --port and --server");
        } else if truncated > 0 {
            tracing::warn!(
                "{} cut within the headers; keep whole packets (tcpdump -s 0)",
                counted(truncated, "packet"),
            );
        } else if no_session > 0 {
            tracing::warn!(
                "{no_session} packets are of connections that the server is not seen to take part \
                 in; capture both directions"
            );
        }
    }

    fn interval_ns(&self) -> u64 {
        nanoseconds(self.config.interval)
    }
}

fn nanoseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX / 4)
}

/// An interface that has the kernel's number, apart from those that have the capture's.
const fn of_kernel(ifindex: u32) -> u32 {
    ifindex | 1 << 31
}

/// Names of interfaces, by their numbers in the capture.
#[derive(Default)]
struct Names(HashMap<u32, String>);

impl InterfaceNames for Names {
    fn name(&self, index: u32) -> Option<&str> {
        self.0.get(&index).map(String::as_str)
    }
}
