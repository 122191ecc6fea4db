//! Delay and loss by the kernel's own emulator (`sch_netem`), on what an interface of the
//! namespace the calling thread is in sends.
//!
//! Call these through [`Namespace::run`](crate::Namespace::run).

use std::time::Duration;

use anyhow::{Context, Result};
use futures::StreamExt;
use rtnetlink::packet_core::{DefaultNla, NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST};
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::tc::{TcAttribute, TcHandle, TcMessage};
use zerocopy::{Immutable, IntoBytes};

use crate::links;

/// Packets it holds at most: more than the windows of the laboratory's connections.
const QUEUE: u32 = 10_000;

/// `TCA_OPTIONS` of `linux/rtnetlink.h`.
const OPTIONS: u16 = 2;

/// `struct tc_netem_qopt` of `linux/pkt_sched.h`; native byte order.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Options {
    /// In ticks of 64 ns.
    latency: u32,
    /// Packets held at most.
    limit: u32,
    /// Share of `u32::MAX`.
    loss: u32,
    gap: u32,
    duplicate: u32,
    jitter: u32,
}

/// Holds every packet for `delay`, and loses this share of them (0 to 1), at random.
pub fn emulate(interface: &str, delay: Duration, loss: f64) -> Result<()> {
    let options = Options {
        latency: u32::try_from(delay.as_nanos() >> 6).context("a delay beyond 274 s")?,
        limit: QUEUE,
        loss: share(loss),
        gap: 0,
        duplicate: 0,
        jitter: 0,
    };
    let mut message = TcMessage::with_index(i32::try_from(links::index(interface)?)?);
    message.header.parent = TcHandle::ROOT;
    message.attributes = vec![
        TcAttribute::Kind("netem".into()),
        // Other than most, it begins with a structure, where the crate expects attributes.
        TcAttribute::Other(DefaultNla::new(OPTIONS, options.as_bytes().to_vec())),
    ];
    let mut request = NetlinkMessage::from(RouteNetlinkMessage::NewQueueDiscipline(message));
    request.header.flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
    links::with_handle(async |mut handle| {
        let mut answers = handle.request(request)?;
        while let Some(answer) = answers.next().await {
            if let NetlinkPayload::Error(error) = answer.payload
                && error.code.is_some()
            {
                return Err(error.to_io().into());
            }
        }
        Ok(())
    })
    .with_context(|| format!("cannot emulate a path on {interface}; the kernel needs sch_netem"))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 0 and u32::MAX, by the clamp"
)]
fn share(loss: f64) -> u32 {
    (loss.clamp(0.0, 1.0) * f64::from(u32::MAX)) as u32
}
