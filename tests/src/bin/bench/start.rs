//! From nothing to programs that watch an interface.

use std::{collections::BTreeSet, num::NonZeroU32, time::Instant};

use anyhow::{Context as _, Result};
use lab::{Lab, SERVER_INTERFACE};
use sstpulse::{
    interface,
    kernel::{HookChoice, Kernel, Limits},
};
use sstpulse_common::Framing;
use tokio::runtime;

use crate::{figures::Start, sample::Sample};

/// What the agent has room for unless it is told otherwise.
const LIMITS: Limits = Limits {
    sessions: NonZeroU32::MIN.saturating_add(65_535),
    half_open: NonZeroU32::MIN.saturating_add(65_535),
};

/// Measures it.
pub(crate) fn measure(runs: u32) -> Result<Start> {
    let lab = Lab::new()?;
    let mut start = Start {
        load_ms: Sample::default(),
        attach_ms: Sample::default(),
    };
    for _ in 0..runs {
        let (load_ms, attach_ms) = lab.server.run(once)?;
        start.load_ms.push(load_ms);
        start.attach_ms.push(attach_ms);
    }
    Ok(start)
}

fn once() -> Result<(f64, f64)> {
    runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(load_and_attach())
}

async fn load_and_attach() -> Result<(f64, f64)> {
    let interface = interface::all()
        .await?
        .into_iter()
        .find(|interface| interface.name == SERVER_INTERFACE)
        .context("the lab has no such interface")?;
    let began = Instant::now();
    let mut kernel = Kernel::load(&BTreeSet::from([443]), LIMITS)?;
    kernel.load_programs(Framing::Ethernet)?;
    let loaded = began.elapsed();
    let attachment = kernel.attach(&interface, HookChoice::Auto).await?;
    let attached = began.elapsed().saturating_sub(loaded);
    kernel.detach(attachment).await?;
    Ok((loaded.as_secs_f64() * 1e3, attached.as_secs_f64() * 1e3))
}
