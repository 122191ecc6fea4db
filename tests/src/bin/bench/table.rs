//! The figures, each beside what is wanted of it.

use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};

use crate::{
    figures::{Events, Figures, Memory, Scan, Start, Throughput},
    flood, kernel,
    sample::Sample,
    stats,
};

/// A row: what was measured, the figure, what it should be, and whether it is.
type Row = (String, String, &'static str, Option<bool>);

/// The figures as a table.
pub(crate) fn of(figures: &Figures) -> Table {
    let mut table = Table::new();
    table
        .load_style(UTF8_FULL_CONDENSED)
        .set_header(["what", "median (spread)", "target", ""]);
    for (what, figure, target, met) in rows(figures) {
        let met = match met {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "",
        };
        table.add_row([what, figure, target.to_owned(), met.to_owned()]);
    }
    table
}

fn rows(figures: &Figures) -> Vec<Row> {
    let Figures {
        kernel,
        scan,
        events,
        memory,
        throughput,
        start,
        stats,
        flood,
    } = figures;
    let mut rows = Vec::new();
    rows.extend(kernel.iter().flat_map(of_kernel));
    rows.extend(scan.iter().flatten().flat_map(of_scan));
    rows.extend(events.iter().flat_map(of_events));
    rows.extend(memory.iter().flat_map(of_memory));
    rows.extend(throughput.iter().flat_map(of_throughput));
    rows.extend(start.iter().flat_map(of_start));
    rows.extend(stats.iter().flatten().flat_map(of_stats));
    rows.extend(flood.iter().flatten().flat_map(of_flood));
    rows
}

fn of_kernel(kernel: &kernel::Figures) -> Vec<Row> {
    let plain = |what: &str, sample: &Sample| (what.to_owned(), format!("{sample} ns"), "", None);
    let beside = |what: &str, sample: &Sample, floor: &Sample, most: f64, target| {
        let ratio = sample.median() / floor.median();
        let figure = format!("{sample} ns, {ratio:.2} × floor");
        (what.to_owned(), figure, target, Some(ratio <= most))
    };
    let few = |what, sample| beside(what, sample, &kernel.floor_ns, 1.3, "≤ 1.3 × floor");
    let many = |what, sample| beside(what, sample, &kernel.floor_1m_ns, 0.6, "≤ 0.6 × floor");
    let not_ours = &kernel.not_ours_ns;
    vec![
        plain("empty program", &kernel.empty_ns),
        plain("floor, few flows", &kernel.floor_ns),
        few("segment, few flows, IPv4", &kernel.established_v4_ns),
        few("segment, few flows, IPv6", &kernel.established_v6_ns),
        few("… IPv4, on all CPUs at once", &kernel.on_all_cpus_ns),
        plain("floor, 1M flows", &kernel.floor_1m_ns),
        many("segment, 1M flows, IPv4", &kernel.established_1m_v4_ns),
        many("segment, 1M flows, IPv6", &kernel.established_1m_v6_ns),
        (
            "packet not ours".into(),
            format!("{not_ours} ns"),
            "≤ 10 ns",
            Some(not_ours.median() <= 10.0),
        ),
        plain("SYN of a flood", &kernel.syn_ns),
    ]
}

fn of_scan(scan: &Scan) -> [Row; 3] {
    let ratio = scan.batch_lookup_ms.median() / scan.scan_ms.median();
    let of = format!(
        "{} sessions, {} % active",
        scan.sessions, scan.active_percent
    );
    let target = scan.active_percent == 1;
    [
        (
            format!("scan of {of}"),
            format!("{} ms, {ratio:.0} × faster", scan.scan_ms),
            if target { "≥ 30 × batch lookup" } else { "" },
            target.then_some(ratio >= 30.0),
        ),
        (
            "… batch lookup of as many".into(),
            format!("{} ms", scan.batch_lookup_ms),
            "",
            None,
        ),
        (
            "… with session.health lines".into(),
            format!("{} ms", scan.with_lines_ms),
            "",
            None,
        ),
    ]
}

fn of_events(events: &Events) -> [Row; 3] {
    let health = &events.health_lines_per_s;
    [
        (
            "session.health lines a second".into(),
            health.to_string(),
            "≥ 400,000",
            Some(health.median() >= 400_000.0),
        ),
        (
            "session.end lines a second".into(),
            events.end_lines_per_s.to_string(),
            "",
            None,
        ),
        (
            "start, TLS and SSTP set-up of a session".into(),
            format!("{} µs", events.opening_us),
            "",
            None,
        ),
    ]
}

fn of_memory(memory: &Memory) -> [Row; 4] {
    let (all, index) = (
        memory.kernel_bytes_per_session,
        memory.index_bytes_per_session,
    );
    [
        (
            "kernel memory of a session".into(),
            format!("{all:.0} bytes"),
            "≤ 400 bytes",
            Some(all <= 400.0),
        ),
        (
            "… without its index".into(),
            format!("{:.0} bytes", all - index),
            "≤ 320 bytes",
            Some(all - index <= 320.0),
        ),
        (
            "agent, without a session".into(),
            megabytes(memory.agent_rss_idle_bytes),
            "≤ 20 MB",
            Some(memory.agent_rss_idle_bytes <= 20_000_000),
        ),
        (
            format!("agent, with {} sessions", memory.sessions),
            megabytes(memory.agent_rss_1m_bytes),
            "≤ 150 MB (1M sessions)",
            Some(memory.agent_rss_1m_bytes <= 150_000_000),
        ),
    ]
}

fn of_throughput(throughput: &Throughput) -> [Row; 3] {
    let (without, with) = (&throughput.without_gbps, &throughput.with_gbps);
    let row = |who: &str, gbps: &Sample, cpu: &Sample| {
        (format!("iperf3{who}"), format!("{gbps} Gbit/s, {cpu} CPUs"))
    };
    let (what, figure) = row("", without, &throughput.without_cpu);
    let (what_with, figure_with) = row(" with the agent", with, &throughput.with_cpu);
    let tcpdump = (&throughput.tcpdump_gbps, &throughput.tcpdump_cpu);
    let (what_tcpdump, figure_tcpdump) = row(" with tcpdump", tcpdump.0, tcpdump.1);
    let per_bit = |cpu: f64, gbps: f64| cpu / gbps;
    let cheaper = per_bit(throughput.with_cpu.median(), with.median())
        < per_bit(throughput.tcpdump_cpu.median(), tcpdump.0.median());
    let as_fast = with.median() >= without.least();
    [
        (what, figure, "", None),
        (
            what_with,
            figure_with,
            "no loss, less CPU than tcpdump",
            Some(as_fast && cheaper),
        ),
        (what_tcpdump, figure_tcpdump, "", None),
    ]
}

fn of_start(start: &Start) -> [Row; 2] {
    [
        ("load".into(), format!("{} ms", start.load_ms), "", None),
        ("attach".into(), format!("{} ms", start.attach_ms), "", None),
    ]
}

fn of_stats(stats: &stats::Figures) -> [Row; 3] {
    let (floor, ours) = (&stats.floor_ns, &stats.ours_ns);
    let ratio = ours.median() / floor.median();
    [
        (
            stats.what.clone(),
            format!("{ours} ns, {ratio:.2} × floor"),
            "",
            None,
        ),
        ("… floor".into(), format!("{floor} ns"), "", None),
        (
            "… empty program".into(),
            format!(
                "{} ns, {:.0} runs a second",
                stats.empty_ns,
                stats.runs_per_s.median()
            ),
            "",
            None,
        ),
    ]
}

fn of_flood(flood: &flood::Figures) -> [Row; 6] {
    let flood::Scene {
        answered,
        round_trip,
    } = flood.scene;
    let answers = if answered { "answered" } else { "unanswered" };
    let ns = |ns: f64| format!("{ns:.0} ns");
    let answer = flood.answer_ns.map_or("none".into(), ns);
    let all_told = |what: &str, fate: &flood::Fate| {
        let flood::Fate {
            sessions,
            exact,
            midstream,
            lost,
        } = fate;
        (
            what.to_owned(),
            format!("{exact} of {sessions} exact, {midstream} seen midstream, {lost} lost"),
            "all exact",
            Some(exact == sessions),
        )
    };
    let attempts = &flood.totals.attempts;
    let (displaced, failed, unreported) =
        (attempts.displaced, attempts.failed, attempts.unreported);
    let plain = |what: &str, figure: String| (what.to_owned(), figure, "", None);
    [
        plain(
            &format!("{answers} SYNs, clients {round_trip:?} away"),
            format!(
                "{:.0} a second on {} CPUs; {}, answer {answer}",
                flood.syns_per_s,
                flood.cpus,
                ns(flood.syn_ns)
            ),
        ),
        all_told("… sessions that live meanwhile", &flood.steady),
        all_told("… sessions that begin meanwhile", &flood.new),
        (
            "… sessions that are none".into(),
            flood.false_sessions.to_string(),
            "0",
            Some(flood.false_sessions == 0),
        ),
        plain(
            "… attempts pushed out, failed, not told of",
            format!("{displaced}, {failed}, {unreported}"),
        ),
        plain(
            "… agent",
            format!("{:.1} % of a CPU", flood.agent_cpu * 100.0),
        ),
    ]
}

#[expect(clippy::cast_precision_loss, reason = "a size to be read by people")]
fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
