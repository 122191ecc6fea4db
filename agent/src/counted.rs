//! Numbers with what they count, for people to read.

/// `1 session`, `2 sessions`.
pub(crate) fn counted(count: impl Into<u64>, noun: &str) -> String {
    match count.into() {
        1 => format!("1 {noun}"),
        count => format!("{count} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn one_is_no_plural() {
        assert_eq!(counted(0_u64, "session"), "0 sessions");
        assert_eq!(counted(1_u64, "session"), "1 session");
        assert_eq!(counted(2_u32, "session"), "2 sessions");
    }
}
