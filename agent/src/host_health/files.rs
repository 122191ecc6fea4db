//! The kernel's files, and what the log says of those that can't be read.

use std::{collections::BTreeSet, fs, io};

use anyhow::Context as _;

/// What the log has told of.
#[derive(Default)]
pub(super) struct Told(BTreeSet<&'static str>);

impl Told {
    /// What was read, for the field `what` of the event. A failure is null, and told once.
    pub(super) fn take<T>(
        &mut self,
        what: &'static str,
        result: anyhow::Result<Option<T>>,
    ) -> Option<T> {
        result.unwrap_or_else(|error| {
            if self.0.insert(what) {
                tracing::warn!("host.health says null for {what}: {error:#}");
            }
            None
        })
    }
}

/// The text of a file of the kernel.
pub(super) fn text(path: &str) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("can't read {path}"))
}

/// The text of a file that not every host has; `None` if this one hasn't.
pub(super) fn text_if_any(path: &str) -> anyhow::Result<Option<String>> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        result => result
            .map(Some)
            .with_context(|| format!("can't read {path}")),
    }
}

/// The numbers of a file below `/proc/sys`, decimal, with white space between; `None` if there
/// is no such file.
pub(super) fn sysctl<const N: usize>(path: &str) -> anyhow::Result<Option<[u64; N]>> {
    let Some(text) = text_if_any(path)? else {
        return Ok(None);
    };
    let numbers = numbers(&text)
        .with_context(|| format!("{path} should hold {N} numbers, and says {:?}", text.trim()))?;
    Ok(Some(numbers))
}

/// Exactly so many decimal numbers.
fn numbers<const N: usize>(text: &str) -> Option<[u64; N]> {
    let numbers: Option<Vec<u64>> = text
        .split_whitespace()
        .map(|number| number.parse().ok())
        .collect();
    numbers?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_null_and_told_once() {
        let mut told = Told::default();
        assert_eq!(told.take("softnet", Ok(Some(1))), Some(1));
        assert_eq!(told.take("softnet", Ok(None::<u8>)), None);
        assert!(told.0.is_empty());
        for _ in 0..2 {
            assert_eq!(
                told.take::<u8>("softnet", text("/nonexistent").map(|_| None)),
                None
            );
            assert_eq!(told.0.len(), 1);
        }
    }

    #[test]
    fn a_sysctl_holds_as_many_numbers_as_it_should() {
        assert_eq!(
            numbers("22554\t30075\t45108\n"),
            Some([22_554, 30_075, 45_108])
        );
        assert_eq!(numbers("65536\n"), Some([65_536]));
        assert_eq!(numbers::<3>("22554\t30075\n"), None);
        assert_eq!(numbers::<1>("65536 1\n"), None);
        assert_eq!(numbers::<1>("-1\n"), None);
        assert_eq!(numbers::<1>("many\n"), None);
        assert_eq!(numbers::<1>("18446744073709551616\n"), None);
        assert_eq!(numbers::<1>(""), None);
    }

    #[test]
    fn a_sysctl_that_is_not_there_is_no_failure() {
        assert!(matches!(sysctl::<1>("/proc/sys/net/nonexistent"), Ok(None)));
        assert!(matches!(
            sysctl::<1>("/proc/sys/kernel/pid_max"),
            Ok(Some(_))
        ));
        assert!(sysctl::<1>("/proc/sys/kernel/ostype").is_err());
    }
}
