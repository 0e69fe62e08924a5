//! Chance that can be repeated: SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).

pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Even over `[0, below)`.
    pub(crate) fn below(&mut self, below: u32) -> u32 {
        u32::try_from((u128::from(self.next()) * u128::from(below)) >> 64).unwrap()
    }

    /// Even over `[from, to)`.
    pub(crate) fn between(&mut self, from: u32, to: u32) -> u32 {
        from + self.below(to - from)
    }

    /// Even over `[0, 1)`.
    pub(crate) fn unit(&mut self) -> f64 {
        f64::from(self.below(1 << 30)) / f64::from(1 << 30)
    }

    /// Zipf with exponent 1 over the ranks `[0, ranks)`: P(rank) falls with 1 / (rank + 1).
    pub(crate) fn zipf(&mut self, ranks: u32) -> u32 {
        let rank = (self.unit() * f64::from(ranks).ln()).exp() - 1.0;
        whole(rank).min(ranks - 1)
    }
}

/// The whole part of a small positive number.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub(crate) fn whole(number: f64) -> u32 {
    number.max(0.0) as u32
}
