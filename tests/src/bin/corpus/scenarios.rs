//! What is recorded: one fault of the path, or one habit of a peer, in each.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use lab::{
    Action, Client, ClientOptions, Direction, Faults, Lab, Loss, Match, Reorder, Rule,
    SERVER_INTERFACE, SERVER_V4, SERVER_V6, Server, Tls, craft, links,
    recorder::{Recorder, Recording},
};
use socket2::{SockRef, TcpKeepalive};

/// Bytes kept of each packet: all headers, and no payload to speak of.
const SNAP_LENGTH: u32 = 120;

/// One capture.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// What happens, in a few words.
    pub(crate) what: &'static str,
    pub(crate) server: Family,
    /// The server's kernel hands over buffers of many segments.
    pub(crate) tso: bool,
    /// Kernels probe for lost tails, whose copies then depend on timing.
    pub(crate) tail_loss_probes: bool,
    /// Recorded on all interfaces, with this link type.
    pub(crate) link: Option<&'static str>,
    /// The scenario itself says when the recording begins.
    pub(crate) starts_later: bool,
    pub(crate) play: fn(&mut Stage) -> Result<()>,
}

#[derive(Clone, Copy)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) const fn address(self) -> SocketAddr {
        match self {
            Self::V4 => SocketAddr::new(IpAddr::V4(SERVER_V4), 443),
            Self::V6 => SocketAddr::new(IpAddr::V6(SERVER_V6), 443),
        }
    }
}

const PLAIN: Scenario = Scenario {
    name: "",
    what: "",
    server: Family::V4,
    tso: false,
    tail_loss_probes: false,
    link: None,
    starts_later: false,
    play: |_| Ok(()),
};

/// Enough for a few dozen full segments.
const LENGTH: u64 = 150_000;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "lab-loss-from-server",
        what: "a download that loses 3 %",
        play: |stage| {
            stage.faults(|faults| faults.from_server.loss = random(0.03, 7));
            stage.download()
        },
        ..PLAIN
    },
    Scenario {
        name: "lab-loss-from-client",
        what: "an upload that loses 3 %, over IPv6",
        server: Family::V6,
        play: |stage| {
            stage.faults(|faults| faults.from_client.loss = random(0.03, 11));
            stage.upload()
        },
        ..PLAIN
    },
    Scenario {
        name: "lab-loss-of-acks",
        what: "an upload and a download whose ACKs are lost, one in ten",
        tail_loss_probes: true,
        play: |stage| {
            stage.faults(|faults| {
                faults.from_server.loss = random(0.1, 3);
                faults.from_client.loss = random(0.1, 5);
            });
            let mut client = stage.connect()?;
            client.upload(LENGTH / 2)?;
            client.download(LENGTH / 2)?;
            client.close()
        },
        ..PLAIN
    },
    Scenario {
        name: "lab-burst-loss",
        what: "a download and an upload that lose several segments in a row",
        play: |stage| {
            stage.faults(|faults| {
                faults.from_server.rules = drop_data(20..26);
                faults.from_client.rules = drop_data(20..26);
            });
            let mut client = stage.connect()?;
            client.download(LENGTH)?;
            client.upload(LENGTH)?;
            client.close()
        },
        ..PLAIN
    },
    Scenario {
        name: "lab-reordering-from-client",
        what: "an upload of which every ninth packet is held for 4 ms",
        play: |stage| {
            stage.faults(|faults| faults.from_client.reorder = Some(held()));
            stage.upload()
        },
        ..PLAIN
    },
    Scenario {
        name: "lab-reordering-from-server",
        what: "a download of which every ninth packet is held for 4 ms",
        play: |stage| {
            stage.faults(|faults| faults.from_server.reorder = Some(held()));
            stage.download()
        },
        ..PLAIN
    },
    Scenario {
        name: "lab-reordering-with-loss",
        what: "an upload with held and with lost packets, over IPv6",
        server: Family::V6,
        tail_loss_probes: true,
        play: |stage| {
            stage.faults(|faults| {
                faults.from_client.reorder = Some(held());
                faults.from_client.loss = random(0.02, 17);
            });
            stage.upload()
        },
        ..PLAIN
    },
    Scenario {
        name: "lab-duplicates",
        what: "every tenth packet comes twice, both ways",
        play: |stage| {
            stage.faults(|faults| {
                faults.from_client.duplicate_every = 10;
                faults.from_server.duplicate_every = 10;
            });
            let mut client = stage.connect()?;
            client.download(LENGTH / 2)?;
            client.upload(LENGTH / 2)?;
            client.close()
        },
        ..PLAIN
    },
    Scenario {
        name: "lab-lost-handshake",
        what: "the first SYN and the first SYN-ACK are lost",
        play: |stage| {
            stage.faults(|faults| {
                faults.from_client.rules = vec![drop_nth(Match::Syn, 1)];
                faults.from_server.rules = vec![drop_nth(Match::SynAck, 1)];
            });
            stage.connect()?.close()
        },
        ..PLAIN
    },
    Scenario {
        name: "lab-stall",
        what: "a client that does not read for two seconds; Linux probes the closed window",
        play: |stage| {
            let options = ClientOptions {
                receive_buffer: Some(32 << 10),
                ..ClientOptions::default()
            };
            let mut client = stage.connect_with(&options)?;
            client.request_download_unread(100_000)?;
            thread::sleep(Duration::from_secs(2));
            client.read_download(100_000)?;
            client.close()
        },
        ..PLAIN
    },
    Scenario {
        name: "lab-keepalives",
        what: "an idle client whose kernel sends keepalives each second",
        play: |stage| {
            let mut client = stage.connect()?;
            let each = Duration::from_secs(1);
            let keepalive = TcpKeepalive::new().with_time(each).with_interval(each);
            SockRef::from(client.socket()).set_tcp_keepalive(&keepalive)?;
            client.download(1_000)?;
            thread::sleep(Duration::from_millis(3_500));
            client.close()
        },
        ..PLAIN
    },
    Scenario {
        name: "lab-half-close",
        what: "the client closes its half, and the server goes on for a while",
        play: |stage| {
            let mut client = stage.connect()?;
            client.download(1_000)?;
            client.close_without_notify()
        },
        ..PLAIN
    },
    Scenario {
        name: "lab-abort",
        what: "the client ends with a RST amid a download",
        play: |stage| {
            let mut client = stage.connect()?;
            client.request_download_unread(LENGTH)?;
            client.read_for(Duration::from_millis(20))?;
            client.abort()
        },
        ..PLAIN
    },
    Scenario {
        name: "lab-refused",
        what: "a SYN to a port where nobody listens",
        play: |stage| {
            stage.server = None;
            // Refused, which is what is wanted.
            let _ = stage.connect();
            Ok(())
        },
        ..PLAIN
    },
    Scenario {
        name: "lab-forged-resets",
        what: "RSTs with wrong numbers, which change nothing, then one with the right number",
        play: |stage| {
            let mut client = stage.connect()?;
            client.download(5_000)?;
            for distance in [1_000_000, 2_000_000] {
                stage.forge_reset(&client, distance)?;
            }
            client.download(5_000)?;
            stage.forge_reset(&client, 0)
        },
        ..PLAIN
    },
    Scenario {
        name: "lab-black-hole",
        what: "a path that swallows large packets without a word, then tells of it",
        play: |stage| {
            let mut client = stage.connect()?;
            stage.faults(|faults| faults.from_server.mtu = Some(1_300));
            client.request_download_unread(20_000)?;
            client.read_for(Duration::from_millis(900))?;
            stage.faults(|faults| faults.from_server.icmp = true);
            client.read_download(20_000)?;
            client.close()
        },
        ..PLAIN
    },
    Scenario {
        name: "lab-midstream",
        what: "a session that is older than the recording",
        starts_later: true,
        play: |stage| {
            let mut client = stage.connect()?;
            client.download(5_000)?;
            stage.begin(None)?;
            client.download(20_000)?;
            client.upload(20_000)?;
            client.close()
        },
        ..PLAIN
    },
    Scenario {
        name: "lab-offload",
        what: "a lossy download with segmentation offload: buffers of two segments",
        tso: true,
        play: |stage| {
            stage.limit_offload(2)?;
            stage.faults(|faults| faults.from_server.loss = random(0.05, 24));
            stage.download()
        },
        ..PLAIN
    },
    Scenario {
        name: "lab-cooked",
        what: "recorded on all interfaces, Linux cooked v1",
        link: Some("LINUX_SLL"),
        play: |stage| {
            stage.faults(|faults| faults.from_server.loss = random(0.03, 29));
            stage.download()
        },
        ..PLAIN
    },
    Scenario {
        name: "lab-cooked-v2",
        what: "recorded on all interfaces, Linux cooked v2, over IPv6",
        server: Family::V6,
        link: Some("LINUX_SLL2"),
        play: |stage| {
            stage.faults(|faults| faults.from_server.loss = random(0.03, 31));
            stage.download()
        },
        ..PLAIN
    },
];

const fn random(probability: f64, seed: u64) -> Loss {
    Loss::Random { probability, seed }
}

const fn held() -> Reorder {
    Reorder {
        every: 9,
        hold: Duration::from_millis(4),
    }
}

const fn drop_nth(what: Match, nth: u32) -> Rule {
    Rule {
        what,
        nth,
        action: Action::Drop,
    }
}

fn drop_data(which: std::ops::Range<u32>) -> Vec<Rule> {
    which.map(|nth| drop_nth(Match::Data, nth)).collect()
}

/// What a scenario plays on: a lab with 10 ms each way, and a TLS server.
pub(crate) struct Stage {
    lab: Lab,
    tls: Tls,
    pub(crate) server: Option<Server>,
    address: SocketAddr,
    path: PathBuf,
    recorder: Option<Recorder>,
}

impl Stage {
    pub(crate) fn new(lab: Lab, tls: Tls, server: Server, path: &Path) -> Self {
        let stage = Self {
            lab,
            tls,
            address: server.address(),
            server: Some(server),
            path: path.to_owned(),
            recorder: None,
        };
        stage.faults(|_| {});
        stage
    }

    /// Begins to record.
    pub(crate) fn begin(&mut self, link: Option<&str>) -> Result<()> {
        let recording = Recording {
            link,
            snap_length: Some(SNAP_LENGTH),
            filter: "tcp port 443",
        };
        self.recorder = Some(Recorder::begin(&self.lab, recording, &self.path)?);
        Ok(())
    }

    /// Ends the recording once the path is quiet.
    pub(crate) fn end(mut self) -> Result<()> {
        let recorder = self.recorder.take().context("nothing was recorded")?;
        recorder.end()
    }

    fn faults(&self, change: impl FnOnce(&mut Faults)) {
        self.lab.path.update(|faults| {
            faults.from_client.delay = Duration::from_millis(10);
            faults.from_server.delay = Duration::from_millis(10);
            change(faults);
        });
    }

    /// Lets the server's kernel hand over at most this many segments in a buffer.
    fn limit_offload(&self, segments: u32) -> Result<()> {
        let limit = || links::set_gso_max_segments(SERVER_INTERFACE, segments);
        self.lab.server.run(limit)
    }

    fn connect(&self) -> Result<Client> {
        self.connect_with(&ClientOptions::default())
    }

    fn connect_with(&self, options: &ClientOptions) -> Result<Client> {
        Client::connect_with(&self.lab.client, self.address, &self.tls, options)
    }

    fn download(&self) -> Result<()> {
        let mut client = self.connect()?;
        client.download(LENGTH)?;
        client.close()
    }

    fn upload(&self) -> Result<()> {
        let mut client = self.connect()?;
        client.upload(LENGTH)?;
        client.close()
    }

    /// A RST to the server as if from the client, this far from the number it expects.
    fn forge_reset(&self, client: &Client, distance: u32) -> Result<()> {
        let observed = self.lab.path.observed(client.local_addr());
        let reset = craft::Segment::rst_from(&observed, Direction::FromClient)
            .context("the path has not seen the client")?;
        let sequence = reset.sequence.wrapping_add(distance);
        let packet = reset.sequence(sequence).packet()?;
        self.lab.path.inject(Direction::FromClient, &packet)
    }
}
