//! What the kernel's TCP counted: `/proc/net/netstat`.

use std::collections::HashMap;

use anyhow::{Context as _, ensure};

use super::{counts::Counts, files};
use crate::event::{Count, TcpCounters};

/// The file (`netstat_seq_show` in `net/ipv4/proc.c`). It is that of this network namespace.
const PATH: &str = "/proc/net/netstat";

/// The counters of this network namespace.
pub(super) fn read(counts: &mut Counts) -> anyhow::Result<TcpCounters> {
    let text = files::text(PATH)?;
    let totals = parse(&text)?;
    let mut count = |name: &str| -> Option<Count> {
        let total = totals.get(name)?;
        Some(counts.count(name, *total))
    };
    Ok(TcpCounters {
        listen_overflows: count("ListenOverflows"),
        listen_drops: count("ListenDrops"),
        tcp_req_q_full_drop: count("TCPReqQFullDrop"),
        tcp_req_q_full_do_cookies: count("TCPReqQFullDoCookies"),
        syncookies_sent: count("SyncookiesSent"),
        syncookies_failed: count("SyncookiesFailed"),
        tcp_abort_on_memory: count("TCPAbortOnMemory"),
        tcp_abort_on_timeout: count("TCPAbortOnTimeout"),
        tcp_memory_pressures: count("TCPMemoryPressures"),
        tcp_backlog_drop: count("TCPBacklogDrop"),
        tcp_rcv_q_drop: count("TCPRcvQDrop"),
        tcp_time_wait_overflow: count("TCPTimeWaitOverflow"),
    })
}

/// The counters of the section `TcpExt`, by name: a line of names, and one of values in the same
/// order. Which there are depends on the kernel (`snmp4_net_list` in `net/ipv4/proc.c`).
fn parse(text: &str) -> anyhow::Result<HashMap<&str, u64>> {
    let mut lines = text
        .lines()
        .filter_map(|line| line.strip_prefix("TcpExt:"))
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let (names, values) = lines
        .next()
        .zip(lines.next())
        .with_context(|| format!("{PATH} has no section TcpExt"))?;
    ensure!(
        names.len() == values.len(),
        "{PATH} has {} names and {} values in its section TcpExt",
        names.len(),
        values.len()
    );
    let mut totals = HashMap::new();
    for (name, value) in names.into_iter().zip(values) {
        let total = value
            .parse()
            .with_context(|| format!("{PATH} says {value:?} for {name}, which is no counter"))?;
        totals.insert(name, total);
    }
    Ok(totals)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From Linux 6.18, with most columns left out.
    const REAL: &str = "\
TcpExt: SyncookiesSent SyncookiesRecv SyncookiesFailed EmbryonicRsts ListenOverflows ListenDrops \
TCPAbortOnMemory TCPBacklogDrop TCPReqQFullDoCookies TCPReqQFullDrop
TcpExt: 0 0 3 103 16 20 0 0 0 18446744073709551615
IpExt: InNoRoutes InTruncatedPkts ListenDrops
IpExt: 1 2 3
";

    #[test]
    fn values_go_with_the_names_above_them() -> anyhow::Result<()> {
        let totals = parse(REAL)?;
        assert_eq!(totals.len(), 10);
        assert_eq!(totals["ListenOverflows"], 16);
        assert_eq!(totals["ListenDrops"], 20, "and not those of IpExt");
        assert_eq!(totals["TCPReqQFullDrop"], u64::MAX);
        Ok(())
    }

    #[test]
    fn what_is_no_counter_is_an_error() {
        for wrong in [
            "",
            "IpExt: InNoRoutes\nIpExt: 1\n",
            "TcpExt: ListenDrops\n",
            "TcpExt: ListenDrops ListenOverflows\nTcpExt: 1\n",
            "TcpExt: ListenDrops\nTcpExt: 1 2\n",
            "TcpExt: ListenDrops\nTcpExt: many\n",
            "TcpExt: ListenDrops\nTcpExt: -1\n",
            "TcpExt: ListenDrops\nTcpExt: 18446744073709551616\n",
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn this_kernel_has_every_counter() -> anyhow::Result<()> {
        let mut counts = Counts::default();
        let read = serde_json::to_value(read(&mut counts)?)?;
        let counters = read.as_object().context("an object")?;
        assert_eq!(counters.len(), 12);
        for (name, count) in counters {
            assert!(count["total"].is_u64(), "{name}: {count}");
        }
        Ok(())
    }
}
