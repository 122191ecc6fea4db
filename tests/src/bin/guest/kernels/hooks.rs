//! Every program, on every hook this kernel has: loaded, attached, taken off again.

use std::{
    collections::BTreeSet,
    num::NonZeroU32,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use lab::{Lab, Namespace, SERVER_INTERFACE, links, path::CLIENT_TUN, wait_until};
use sstpulse::{
    interface,
    kernel::{Hold, Hook, HookChoice, Kernel, Limits, attached, has_tcx, loaded},
};

use super::{millis, report::Report};

/// As many sessions as the agent holds unless told otherwise.
const LIMITS: Limits = Limits {
    sessions: NonZeroU32::new(65_536).unwrap(),
    half_open: NonZeroU32::new(65_536).unwrap(),
};

/// Tries both kinds of interfaces, the programs of which are different.
pub(super) fn try_all(report: &mut Report) -> Result<String> {
    let lab = Lab::new()?;
    let mut hooks = vec![HookChoice::Clsact];
    if has_tcx() {
        hooks.push(HookChoice::Tcx);
    }
    for (namespace, interface) in [(&lab.server, SERVER_INTERFACE), (&lab.client, CLIENT_TUN)] {
        for &hook in &hooks {
            attach(namespace, interface, hook)
                .with_context(|| format!("{hook:?} on {interface}"))?;
        }
    }
    let times = attach(&lab.server, SERVER_INTERFACE, HookChoice::Auto)?;
    report.hook = times.hook.to_string();
    report.load_ms = millis(times.load);
    report.attach_ms = millis(times.attach);
    report.detach_ms = millis(times.detach);
    Ok(format!(
        "{}, load {} ms ({} of it for the maps), attach {} ms, detach {} ms",
        report.hook,
        report.load_ms,
        millis(times.maps),
        report.attach_ms,
        report.detach_ms
    ))
}

/// What was used, and how long each part took.
struct Times {
    hook: Hook,
    /// Making the maps, which is a part of loading.
    maps: Duration,
    load: Duration,
    attach: Duration,
    detach: Duration,
}

/// Loads, attaches and detaches, and fails if anything is left of it.
fn attach(namespace: &Namespace, name: &str, choice: HookChoice) -> Result<Times> {
    let times = namespace.run(|| {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(attach_here(name, choice))
    })?;
    nothing_left(namespace, name)?;
    Ok(times)
}

async fn attach_here(name: &str, choice: HookChoice) -> Result<Times> {
    let found = interface::find(name).await?.context("no interface")?;
    let began = Instant::now();
    let mut kernel = Kernel::load(&BTreeSet::from([443]), LIMITS)?;
    let maps = began.elapsed();
    kernel.load_programs(found.framing)?;
    let loaded = Instant::now();
    let attachment = kernel.attach(&found, choice).await?;
    let hangs = Instant::now();
    let hold = kernel.hold(&attachment).await?;
    ensure!(hold == Hold::First, "it hangs there: {hold:?}");
    ensure!(attached(&found).await?.len() == 2, "it is not found there");
    let hook = attachment.hook();
    let detaching = Instant::now();
    kernel.detach(attachment).await?;
    drop(kernel);
    Ok(Times {
        hook,
        maps,
        load: loaded - began,
        attach: hangs - loaded,
        detach: detaching.elapsed(),
    })
}

/// Fails if a program, a filter or a qdisc of ours remains.
pub(super) fn nothing_left(namespace: &Namespace, interface: &str) -> Result<()> {
    // The kernel frees programs a moment after their last user is gone.
    wait_until(Duration::from_secs(5), "the programs are gone", || {
        loaded() == 0
    })?;
    let qdiscs = namespace.run(|| links::qdiscs(interface))?;
    ensure!(
        !qdiscs.iter().any(|kind| kind == "clsact"),
        "a clsact qdisc is left on {interface}"
    );
    Ok(())
}
