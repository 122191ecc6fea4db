//! The same events from a capture: the tracker of the kernel, run natively, with the
//! capture's clock.

mod capture;
mod config;
mod input;
mod link;
mod tables;
mod timeline;
mod watched;

use std::{
    io::{self, IsTerminal as _, Read},
    ops::ControlFlow,
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Context as _, anyhow, bail};
use tokio::{
    signal::unix::{SignalKind, signal},
    task::spawn_blocking,
};

pub use capture::{CaptureError, CaptureEvent, Packet, read};
pub use config::{Config, ReplayArgs};
pub use link::{Inner, Unreadable, inner};
pub use tables::{Buffer, Limits, Tables};
pub use timeline::{Summary, Timeline};
pub use watched::{Server, Watched};

use crate::{
    event::ReplayStopReason,
    failure::Failure,
    output::{Output, WhenFull},
};

/// Replays a capture as told, until its end or a signal.
pub async fn run(arguments: ReplayArgs) -> Result<(), Failure> {
    let config = Config::resolve(&arguments).map_err(Failure::usage)?;
    let stop = Arc::new(AtomicBool::new(false));
    let input = input::open(arguments.path(), &stop).map_err(Failure::usage)?;
    let output = arguments.output.as_deref();
    different(arguments.path(), output).map_err(Failure::usage)?;
    let progress = input.progress(output.is_some() || !io::stdout().is_terminal());
    let output = Output::open(output, WhenFull::Wait).map_err(Failure::usage)?;
    let mut interrupt = signal(SignalKind::interrupt()).context("can't listen to signals")?;
    let mut terminate = signal(SignalKind::terminate()).context("can't listen to signals")?;

    let name = name(arguments.path());
    let live = input.is_live();
    let timeline = Timeline::new(config, arguments.path(), output, live);
    let stopping = Arc::clone(&stop);
    let mut work = spawn_blocking(move || {
        let input = progress.wrap_read(input);
        let result = replay(timeline, input, live, &stopping, &name);
        progress.finish_and_clear();
        result
    });
    loop {
        tokio::select! {
            result = &mut work => return result.context("the replay has failed")?,
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if stop.swap(true, Ordering::Relaxed) {
            // The first one waits for what was told to be read. Nobody may read it.
            tracing::error!("told twice to stop; lines that nobody has read are lost");
            std::process::exit(1);
        }
    }
}

/// Reads the capture into the timeline.
fn replay(
    mut timeline: Timeline,
    input: impl Read,
    live: bool,
    stop: &AtomicBool,
    name: &str,
) -> Result<(), Failure> {
    // A pipe ends by itself.
    let result = timeline.read(input, || !live && stop.load(Ordering::Relaxed));
    let (reason, error) = match &result {
        _ if timeline.output_is_closed() => (ReplayStopReason::OutputClosed, None),
        // Asked to stop, it may have broken off within a packet.
        _ if stop.load(Ordering::Relaxed) => (ReplayStopReason::Signal, None),
        Ok(()) => (ReplayStopReason::EndOfCapture, None),
        Err(error) => (ReplayStopReason::Failure, Some(error)),
    };
    let unreadable = timeline.unreadable();
    timeline.finish(reason, error.map(ToString::to_string).as_deref())?;
    if let Some(error) = error {
        return Err(anyhow!("can't read {name} to its end: {error}").into());
    }
    match unreadable {
        Some(link) => Err(anyhow!(
            "can't look into {name}: its link type is {link}, and sstpulse reads Ethernet, \
             Linux cooked, raw IP and loopback"
        )
        .into()),
        None => Ok(()),
    }
}

/// Fails if events were to be appended to the very capture.
fn different(capture: Option<&Path>, output: Option<&Path>) -> anyhow::Result<()> {
    let identity = |path: &Path| {
        let metadata = path.metadata().ok()?;
        Some((metadata.dev(), metadata.ino()))
    };
    let (capture, output) = (capture.and_then(identity), output.and_then(identity));
    if capture.is_some() && capture == output {
        bail!("the output is the capture itself; name another file with -o");
    }
    Ok(())
}

fn name(path: Option<&Path>) -> String {
    path.map_or_else(
        || "the capture on standard input".into(),
        |path| path.display().to_string(),
    )
}

/// Goes on unless told to stop.
fn unless(stop: bool) -> ControlFlow<()> {
    if stop {
        ControlFlow::Break(())
    } else {
        ControlFlow::Continue(())
    }
}
