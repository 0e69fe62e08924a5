//! Serial number arithmetic of 32 bits (RFC 1982, as RFC 7143, 4.2.2.1 demands).

/// True when `a` comes before `b` on the circle.
pub(crate) fn before(a: u32, b: u32) -> bool {
    a != b && b.wrapping_sub(a) < 1 << 31
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn order_survives_the_wrap(a in any::<u32>(), step in 1u32..1 << 31) {
            prop_assert!(before(a, a.wrapping_add(step)));
            prop_assert!(!before(a.wrapping_add(step), a));
            prop_assert!(!before(a, a));
        }
    }
}
