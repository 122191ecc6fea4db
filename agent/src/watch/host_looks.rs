//! Looks at the host, beside the event loop.
//!
//! A look can take longer than a session's start may wait to be told. So a thread looks, and the
//! loop asks and listens.

use std::{
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use anyhow::Context as _;
use tokio::sync::mpsc;

use crate::{event::HostState, host_health::HostWatch, interface::Statistics};

/// Counters of the watched interfaces, or why there are none.
type Interfaces = anyhow::Result<Vec<Statistics>>;

/// A thread that looks when asked to.
pub(super) struct HostLooks {
    questions: SyncSender<Interfaces>,
    states: mpsc::Receiver<HostState>,
}

impl HostLooks {
    /// Starts the thread. It looks at once, so that what is told first is what came since.
    pub(super) fn start(watch: HostWatch, interfaces: Interfaces) -> anyhow::Result<Self> {
        let (questions, asked) = sync_channel(0);
        let (answer, states) = mpsc::channel(1);
        thread::Builder::new()
            .name("host".into())
            .spawn(move || look(watch, interfaces, &asked, &answer))
            .context("can't start the thread that looks at the host")?;
        Ok(Self { questions, states })
    }

    /// Asks how the host does, with these counters of the interfaces. Whoever still looks is
    /// not asked again: the next interval will do.
    pub(super) fn ask(&self, interfaces: Interfaces) {
        if self.questions.try_send(interfaces).is_err() {
            tracing::debug!("the last look at the host is not done yet");
        }
    }

    /// The answer, when it is there; `None` if the thread has ended.
    pub(super) async fn next(&mut self) -> Option<HostState> {
        self.states.recv().await
    }
}

/// Looks, until nobody asks any more.
fn look(
    mut watch: HostWatch,
    first: Interfaces,
    asked: &Receiver<Interfaces>,
    answer: &mpsc::Sender<HostState>,
) {
    watch.look(first);
    while let Ok(interfaces) = asked.recv() {
        if answer.blocking_send(watch.look(interfaces)).is_err() {
            return;
        }
    }
}
