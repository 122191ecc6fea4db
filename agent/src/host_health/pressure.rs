//! Pressure stall information: `/proc/pressure`.

use anyhow::Context as _;
use procfs::{PressureRecord, parse_pressure_record};

use super::files::{self, Told};
use crate::event::{Pressure, Stall};

/// What the host waits for.
pub(super) fn read(told: &mut Told) -> Pressure {
    // One sentence for all three: where one is missing, all are.
    let mut of = |resource| told.take("pressure", stall(resource).map(Some));
    Pressure {
        cpu: of("cpu"),
        memory: of("memory"),
        io: of("io"),
    }
}

/// The file (`psi_show` in `kernel/sched/psi.c`) is not there in a kernel without
/// `CONFIG_PSI`, and can't be opened if it is off.
fn stall(resource: &str) -> anyhow::Result<Stall> {
    let path = format!("/proc/pressure/{resource}");
    let text = files::text(&path)
        .context("this kernel has no pressure stall information; boot it with psi=1")?;
    parse(&text).with_context(|| format!("{path} is not what the kernel writes"))
}

/// Lines such as `some avg10=0.00 avg60=0.05 avg300=1.69 total=331382804`. Before Linux 5.13
/// there is no line `full` for the CPU.
fn parse(text: &str) -> Option<Stall> {
    let mut lines = text.lines();
    let some_avg10 = avg10(lines.next()?, "some ")?;
    let full_avg10 = match lines.next() {
        Some(line) => Some(avg10(line, "full ")?),
        None => None,
    };
    Some(Stall {
        some_avg10,
        full_avg10,
    })
}

fn avg10(line: &str, kind: &str) -> Option<f32> {
    // The crate takes the blank behind the word for granted.
    let record: Option<PressureRecord> = line
        .starts_with(kind)
        .then(|| parse_pressure_record(line).ok())?;
    // JSON has no way to write infinity.
    record
        .map(|record| record.avg10)
        .filter(|percent| percent.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_and_full_are_told() {
        let text = "\
some avg10=12.50 avg60=0.05 avg300=1.69 total=331382804
full avg10=0.25 avg60=0.05 avg300=1.50 total=245234667
";
        let stall = Stall {
            some_avg10: 12.5,
            full_avg10: Some(0.25),
        };
        assert_eq!(parse(text), Some(stall));
    }

    #[test]
    fn the_cpu_had_no_full_before_linux_5_13() {
        let text = "some avg10=100.00 avg60=0.03 avg300=1.32 total=5642741830\n";
        let stall = Stall {
            some_avg10: 100.0,
            full_avg10: None,
        };
        assert_eq!(parse(text), Some(stall));
    }

    #[test]
    fn what_is_no_pressure_is_none() {
        for wrong in [
            "",
            "some\n",
            "some",
            "so",
            "full avg10=0.25 avg60=0.05 avg300=1.50 total=1\n",
            "some avg60=0.05 avg300=1.50 total=1\n",
            "some avg10=x avg60=0.05 avg300=1.50 total=1\n",
            "some avg10=inf avg60=0.05 avg300=1.50 total=1\n",
            "some avg10=NaN avg60=0.05 avg300=1.50 total=1\n",
            "some avg10=0.00 avg60=0.05 avg300=1.50 total=18446744073709551616\n",
            "some avg10=0.00 avg60=0.05 avg300=1.50 total=1\nmore\n",
            "some avg10=0.00 avg60=0.05 avg300=1.50 total=1\nsome avg10=0.00\n",
            "somé avg10=0.00 avg60=0.05 avg300=1.50 total=1\n",
        ] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }
}
