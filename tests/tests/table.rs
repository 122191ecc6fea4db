//! The kernel's table of sessions: every slot can be used, and every flow is found, whatever
//! comes and goes.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
};

use anyhow::{Context as _, Result};
use lab::{
    conversation::{Conversation, PORT, c},
    require_root,
};
use sstpulse::{
    kernel::{Kernel, Limits, PacketContext},
    report::Flows as _,
};
use sstpulse_common::{counters::Counter, index::Geometry, record::SlotState};

/// A table in the kernel, and the ports of the clients that it must know.
struct Table {
    kernel: Kernel,
    ports: BTreeSet<u16>,
    slots: usize,
}

/// A session that is in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Session {
    slot: u32,
    /// Segments that the client has sent.
    segments: u64,
}

impl Table {
    fn new(sessions: u32) -> Result<Self> {
        let limits = Limits {
            sessions: NonZeroU32::new(sessions).context("no sessions")?,
            half_open: NonZeroU32::new(1_024).context("no attempts")?,
        };
        Ok(Self {
            kernel: Kernel::load_for_test_runs(&BTreeSet::from([PORT]), limits)?,
            ports: BTreeSet::new(),
            slots: Geometry::of(sessions).slots() as usize,
        })
    }

    /// Plays the packets of a conversation from one on.
    fn play(&mut self, conversation: &Conversation, from: usize) -> Result<()> {
        for packet in &conversation.packets()[from..] {
            let context = PacketContext {
                time_ns: packet.buffer.time_ns,
                ..PacketContext::default()
            };
            let framing = conversation.framing();
            self.kernel
                .run(framing, packet.side, &packet.bytes, context)?;
        }
        Ok(())
    }

    /// Opens a session from a port; if there is no room, that must be counted.
    fn open(&mut self, port: u16) -> Result<()> {
        let before = self.kernel.counters()?.get(Counter::TableFull);
        self.play(Conversation::new(port).handshake(), 0)?;
        let refused = self.kernel.counters()?.get(Counter::TableFull) > before;
        let is_full = self.ports.len() == self.slots;
        assert_eq!(refused, is_full, "port {port}, {} live", self.ports.len());
        if !refused {
            self.ports.insert(port);
        }
        Ok(())
    }

    /// Fails unless a segment of each session counts in its record, and nowhere else.
    fn check(&mut self) -> Result<()> {
        let before = self.sessions();
        assert!(before.keys().eq(&self.ports), "others live than should");
        for port in self.ports.clone() {
            let mut conversation = Conversation::new(port);
            let handshake = conversation.handshake().packets().len();
            self.play(conversation.send(c(0, 0, 100)), handshake)?;
        }
        let after = self.sessions();
        for (port, Session { slot, segments }) in before {
            let segments = segments + 1;
            assert_eq!(after[&port], Session { slot, segments }, "port {port}");
        }
        Ok(())
    }

    /// Ends those sessions, and frees their slots.
    fn close(&mut self, wanted: impl Fn(u16) -> bool) -> Result<()> {
        let sessions = self.sessions();
        let slots: Vec<_> = sessions
            .into_iter()
            .filter(|(port, _)| wanted(*port))
            .map(|(_, session)| session.slot)
            .collect();
        self.kernel.retire(&slots)?;
        self.kernel.release(&slots)?;
        self.ports.retain(|port| !wanted(*port));
        Ok(())
    }

    /// What lives in the table, by the client's port.
    fn sessions(&self) -> BTreeMap<u16, Session> {
        (0..self.kernel.capacity())
            .map(|slot| (slot, self.kernel.read(slot)))
            .filter(|(_, record)| record.head.state == SlotState::LIVE)
            .map(|(slot, record)| {
                let segments = record.from_client.segments;
                (record.head.key.client_port, Session { slot, segments })
            })
            .collect()
    }
}

#[tokio::test]
async fn every_slot_can_be_used_and_every_flow_is_found() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    // A bucket, a bucket to the last place, two of them, and several.
    for sessions in [1, 56, 57, 300] {
        println!("{sessions} sessions");
        let mut table = Table::new(sessions)?;
        let ports = 10_000..;
        let more = table.slots + 20;
        for port in ports.clone().take(more) {
            table.open(port)?;
        }
        table.check()?;
        for round in 2..5 {
            table.close(|port| port % round == 0)?;
            table.check()?;
            for port in ports.clone().skip(1_000 * usize::from(round)).take(more) {
                table.open(port)?;
            }
            table.check()?;
        }
        table.close(|_| true)?;
        assert_eq!(table.sessions().len(), 0);
        for port in ports.take(table.slots) {
            table.open(port)?;
        }
        table.check()?;
    }
    Ok(())
}

#[tokio::test]
async fn as_many_sessions_as_were_asked_for_find_a_slot() -> Result<()> {
    /// More buckets than a flow looks into.
    const SESSIONS: u16 = 20_000;

    if !require_root() {
        return Ok(());
    }
    let mut table = Table::new(SESSIONS.into())?;
    for port in 1..=SESSIONS {
        table.open(port)?;
    }
    table.check()?;
    for round in 1..3 {
        table.close(|port| port % 2 == 0)?;
        for port in (1..u16::MAX).skip(usize::from(SESSIONS * round)) {
            if table.ports.len() == usize::from(SESSIONS) {
                break;
            }
            table.open(port)?;
        }
        table.check()?;
    }
    Ok(())
}
