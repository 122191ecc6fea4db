//! A thread that runs many sessions, inside a namespace.

use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::namespace::Namespace;

/// An event loop on a thread of its own. Dropping it drops all that runs on it, and closes its
/// sockets.
#[derive(Debug)]
pub(super) struct EventLoop {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl EventLoop {
    /// Starts the thread in the namespace, or in that of the calling thread.
    pub(super) fn start(namespace: Option<&Namespace>) -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("cannot start an event loop")?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let job = move || {
            // Told to stop, or its owner is gone: both are the end.
            let _ = runtime.block_on(stopped);
        };
        let thread = match namespace {
            Some(namespace) => namespace.spawn(job),
            None => thread::spawn(job),
        };
        Ok(Self {
            handle,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Has the future run on the thread.
    pub(super) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        drop(self.handle.spawn(future));
    }

    /// Runs the future on the thread and waits for what it returns.
    pub(super) fn call<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Result<T> {
        let (sender, receiver) = mpsc::channel();
        self.spawn(async move {
            // The receiver waits below.
            let _ = sender.send(future.await);
        });
        receiver.recv().context("the event loop has stopped")
    }
}

impl Drop for EventLoop {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
