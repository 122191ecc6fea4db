//! iperf3 through the watched interface: alone, beside the agent, and beside tcpdump.

use std::{
    fs,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use lab::{Lab, Namespace, SERVER_INTERFACE, agent::binary};
use serde_json::Value;

use crate::{
    figures::Throughput,
    iperf::{self, quiet},
    sample::Sample,
};

/// How long each measurement lasts, in seconds.
const SECONDS: u32 = 4;

/// Who looks on.
#[derive(Clone, Copy)]
enum Watcher {
    Nobody,
    Agent,
    Tcpdump,
}

/// Measures it.
pub(crate) fn measure(runs: u32) -> Result<Throughput> {
    let lab = Lab::new()?;
    let _server = iperf::serve(&lab.server)?;
    let mut throughput = Throughput {
        without_gbps: Sample::default(),
        with_gbps: Sample::default(),
        without_cpu: Sample::default(),
        with_cpu: Sample::default(),
        tcpdump_cpu: Sample::default(),
        tcpdump_gbps: Sample::default(),
    };
    for run in 0..runs {
        eprintln!("bench: turn {} of {runs}", run + 1);
        let (gbps, cpu) = beside(&lab, Watcher::Nobody)?;
        throughput.without_gbps.push(gbps);
        throughput.without_cpu.push(cpu);
        let (gbps, cpu) = beside(&lab, Watcher::Agent)?;
        throughput.with_gbps.push(gbps);
        throughput.with_cpu.push(cpu);
        let (gbps, cpu) = beside(&lab, Watcher::Tcpdump)?;
        throughput.tcpdump_gbps.push(gbps);
        throughput.tcpdump_cpu.push(cpu);
    }
    Ok(throughput)
}

/// Gigabits a second, and CPUs that were busy.
fn beside(lab: &Lab, watcher: Watcher) -> Result<(f64, f64)> {
    let _watcher = match watcher {
        Watcher::Nobody => None,
        Watcher::Agent => {
            let mut command = Command::new(binary("sstpulse")?);
            command.args(["run", "--interface", SERVER_INTERFACE]);
            Some(lab.server.spawn_process(quiet(&mut command))?)
        }
        Watcher::Tcpdump => {
            let mut command = Command::new("tcpdump");
            command
                .args(["-i", SERVER_INTERFACE, "-s", "96", "-w", "/dev/null"])
                .args(["tcp", "port", "443"]);
            Some(lab.server.spawn_process(quiet(&mut command))?)
        }
    };
    // Both have begun well before this is over, and programs are loaded.
    thread::sleep(Duration::from_secs(1));
    let before = busy()?;
    let began = Instant::now();
    let gbps = iperf3(&lab.router)?;
    let cpu = busy()?
        .saturating_sub(before)
        .div_duration_f64(began.elapsed());
    Ok((gbps, cpu))
}

fn iperf3(namespace: &Namespace) -> Result<f64> {
    let mut command = iperf::client(SECONDS, &["--parallel", "2"]);
    let output = namespace
        .run(|| command.output())
        .context("can't run iperf3")?;
    let json = iperf::told(&output.stdout)?;
    let bits = json.pointer("/end/sum_received/bits_per_second");
    let bits = bits
        .and_then(Value::as_f64)
        .context("iperf3 tells no rate")?;
    Ok(bits / 1e9)
}

/// Time that all CPUs were busy, since boot.
fn busy() -> Result<Duration> {
    /// `USER_HZ`, which is the same on every architecture that matters.
    const TICKS_PER_SECOND: f64 = 100.0;

    let text = fs::read_to_string("/proc/stat").context("can't read /proc/stat")?;
    let first = text.lines().next().unwrap_or_default();
    let ticks: Vec<u32> = first
        .split_whitespace()
        .skip(1)
        .map_while(|word| word.parse().ok())
        .collect();
    // user, nice, system, idle, iowait, irq, softirq, steal.
    ensure!(
        ticks.len() >= 7,
        "/proc/stat is not what it should be: {first}"
    );
    let busy = [0, 1, 2, 5, 6]
        .iter()
        .map(|at| f64::from(ticks[*at]))
        .sum::<f64>();
    Ok(Duration::from_secs_f64(busy / TICKS_PER_SECOND))
}
