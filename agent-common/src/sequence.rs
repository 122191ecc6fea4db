//! Arithmetic on sequence numbers: modulo 2³², compared as signed differences
//! (RFC 9293, section 3.4).

/// How far `a` lies after `b`; negative when it lies before.
///
/// Right for numbers less than 2³¹ apart, which every window guarantees (RFC 7323,
/// section 2.3: at most 2³⁰).
#[inline(always)]
#[expect(
    clippy::cast_possible_wrap,
    reason = "sequence numbers compare as signed differences"
)]
pub const fn after(a: u32, b: u32) -> i32 {
    a.wrapping_sub(b) as i32
}

/// Whether `number` lies in `[from, to]`, going round.
#[inline(always)]
pub const fn within(number: u32, from: u32, to: u32) -> bool {
    number.wrapping_sub(from) <= to.wrapping_sub(from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_go_round() {
        assert_eq!(after(5, 3), 2);
        assert_eq!(after(3, 5), -2);
        assert_eq!(after(1, u32::MAX), 2);
        assert_eq!(after(u32::MAX, 1), -2);
    }

    #[test]
    fn ranges_go_round() {
        assert!(within(0, u32::MAX, 3));
        assert!(within(3, 3, 3));
        assert!(!within(4, u32::MAX, 3));
        assert!(!within(u32::MAX - 1, u32::MAX, 3));
    }
}
