//! Packets on their way from the devices to the network stack: `/proc/net/softnet_stat`.

use anyhow::Context as _;

use super::{counts::Counts, files};
use crate::event::Softnet;

/// The file (`softnet_seq_show` in `net/core/net-procfs.c`), the same in all network namespaces.
const PATH: &str = "/proc/net/softnet_stat";

/// The counters, summed over all CPUs that are on.
pub(super) fn read(counts: &mut Counts) -> anyhow::Result<Softnet> {
    let text = files::text(PATH)?;
    let (dropped, time_squeeze) =
        parse(&text).with_context(|| format!("{PATH} is not what the kernel writes"))?;
    Ok(Softnet {
        dropped: counts.count("softnet dropped", dropped),
        time_squeeze: counts.count("softnet time_squeeze", time_squeeze),
    })
}

/// The sums of the second and third column. A line is a CPU's: counters of 32 bits, in
/// hexadecimal, of which newer kernels have more.
fn parse(text: &str) -> Option<(u64, u64)> {
    let mut sums = (0_u64, 0_u64);
    for line in text.lines() {
        let mut columns = line
            .split_whitespace()
            .map(|column| u32::from_str_radix(column, 16).ok());
        let (dropped, time_squeeze) = (columns.nth(1)??, columns.next()??);
        sums.0 += u64::from(dropped);
        sums.1 += u64::from(time_squeeze);
    }
    Some(sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From Linux 6.18.
    const REAL: &str = "\
0a82d3be 00005552 0000001d 00000000 00000000 00000000 00000000 00000000 00000000 006c0ce6 \
00000000 00000000 00000000 00000000 00000000
0a41b1d1 00002fd5 0000001a 00000000 00000000 00000000 00000000 00000000 00000000 0071a9de \
00000000 00000000 00000001 00000000 00000000
";

    #[test]
    fn drops_and_squeezes_of_all_cpus_are_summed() {
        assert_eq!(parse(REAL), Some((0x5552 + 0x2fd5, 0x1d + 0x1a)));
    }

    #[test]
    fn sums_go_beyond_32_bits() {
        let full = "ffffffff ffffffff ffffffff\nffffffff ffffffff ffffffff\n";
        let sum = 2 * u64::from(u32::MAX);
        assert_eq!(parse(full), Some((sum, sum)));
    }

    #[test]
    fn what_is_no_line_of_counters_is_none() {
        for wrong in [
            "\n",
            "0 1\n",
            "0 x 1\n",
            "0 1 100000000\n",
            "0 1 2\n0 1\n",
            "0 -1 2\n",
        ] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn this_kernel_has_the_file() -> anyhow::Result<()> {
        read(&mut Counts::default())?;
        Ok(())
    }
}
