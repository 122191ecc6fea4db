//! TCP sockets and tracked connections, and how many there may be.

use anyhow::Context as _;

use super::files::{self, sysctl};
use crate::event::{Conntrack, TcpMemoryLimit, TcpSockets};

/// Sockets over IPv4, and what concerns both versions (`sockstat_seq_show` in
/// `net/ipv4/proc.c`).
const SOCKSTAT: &str = "/proc/net/sockstat";
/// Sockets over IPv6 (`sockstat6_seq_show` in `net/ipv6/proc.c`); not there without IPv6.
const SOCKSTAT6: &str = "/proc/net/sockstat6";

/// The TCP sockets of this network namespace.
pub(super) fn tcp() -> anyhow::Result<TcpSockets> {
    let four = files::text(SOCKSTAT)?;
    let of_four = |name| {
        value(&four, "TCP:", name)
            .with_context(|| format!("{SOCKSTAT} doesn't tell how many {name:?} TCP has"))
    };
    let six = files::text_if_any(SOCKSTAT6)?.unwrap_or_default();
    let limit = sysctl("/proc/sys/net/ipv4/tcp_mem")?;
    Ok(TcpSockets {
        in_use: of_four("inuse")?.saturating_add(value(&six, "TCP6:", "inuse").unwrap_or(0)),
        orphans: of_four("orphan")?,
        orphans_limit: sysctl("/proc/sys/net/ipv4/tcp_max_orphans")?.map(|[limit]| limit),
        time_wait: of_four("tw")?,
        memory_pages: of_four("mem")?,
        memory_limit_pages: limit.map(|[min, pressure, max]| TcpMemoryLimit { min, pressure, max }),
    })
}

/// Connection tracking in this network namespace; `None` without its module.
pub(super) fn conntrack() -> anyhow::Result<Option<Conntrack>> {
    let count = sysctl("/proc/sys/net/netfilter/nf_conntrack_count")?;
    let max = sysctl("/proc/sys/net/netfilter/nf_conntrack_max")?;
    let both = count.zip(max);
    Ok(both.map(|([count], [max])| Conntrack { count, max }))
}

/// A value of a line such as `TCP: inuse 4 orphan 0 tw 0 alloc 12 mem 1`; `None` if it is not
/// there, or no number.
fn value(text: &str, line: &str, name: &str) -> Option<u64> {
    let mut words = text
        .lines()
        .find_map(|text| text.strip_prefix(line))?
        .split_whitespace();
    words.find(|word| *word == name)?;
    let value: i64 = words.next()?.parse().ok()?;
    // Sums over CPUs, each a little late: they can come out below 0.
    Some(u64::try_from(value).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From Linux 6.18.
    const REAL: &str = "\
sockets: used 11
TCP: inuse 4 orphan 2 tw 7 alloc 12 mem 175
UDP: inuse 9 mem 3
UDPLITE: inuse 0
RAW: inuse 0
FRAG: inuse 0 memory 0
";

    #[test]
    fn values_follow_their_names() {
        let tcp = |name| value(REAL, "TCP:", name);
        assert_eq!(tcp("inuse"), Some(4), "and not that of UDP");
        assert_eq!(tcp("orphan"), Some(2));
        assert_eq!(tcp("tw"), Some(7));
        assert_eq!(tcp("mem"), Some(175));
        assert_eq!(value("TCP6: inuse 3\n", "TCP6:", "inuse"), Some(3));
    }

    #[test]
    fn a_sum_below_zero_is_nothing() {
        assert_eq!(value("TCP: mem -3\n", "TCP:", "mem"), Some(0));
    }

    #[test]
    fn what_is_not_there_or_no_number_is_none() {
        for wrong in [
            "",
            "UDP: inuse 1\n",
            "TCP:\n",
            "TCP: orphan 1\n",
            "TCP: inuse\n",
            "TCP: inuse many\n",
            "TCP: inuse 9223372036854775808\n",
        ] {
            assert_eq!(value(wrong, "TCP:", "inuse"), None, "{wrong:?}");
        }
    }

    #[test]
    fn this_kernel_tells_of_its_sockets() -> anyhow::Result<()> {
        let _listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        assert!(tcp()?.in_use >= 1);
        Ok(())
    }
}
