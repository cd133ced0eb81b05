//! How long to wait before the next attempt: twice as long each time, up to a limit, and never all lanes at once.

use std::time::Duration;

pub(super) struct Pauses {
    first: Duration,
    longest: Duration,
    next: Duration,
    random: u64,
}

impl Pauses {
    pub(super) fn new(first: Duration, longest: Duration, seed: u64) -> Self {
        Self { first, longest, next: first, random: seed }
    }

    /// All is well again.
    pub(super) fn reset(&mut self) {
        self.next = self.first;
    }

    /// Between half and all of the pause whose turn it is.
    pub(super) fn next(&mut self) -> Duration {
        let pause = self.next.min(self.longest);
        self.next = (pause * 2).min(self.longest);
        self.around(pause)
    }

    /// Between half and all of a pause.
    pub(super) fn around(&mut self, pause: Duration) -> Duration {
        pause / 2 + (pause / 2).mul_f64(self.fraction())
    }

    /// From 0 up to 1: SplitMix64, which is good enough to tell lanes apart.
    fn fraction(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        (mixed >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let millis = Duration::from_millis;
        let mut pauses = Pauses::new(millis(100), millis(5_000), 7);
        for full in [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000, 5_000] {
            let pause = pauses.next();
            assert!(pause >= millis(full / 2) && pause <= millis(full), "{pause:?} of {full} ms");
        }
        pauses.reset();
        assert!(pauses.next() <= millis(100));
        let other = Pauses::new(millis(100), millis(5_000), 8).next();
        assert_ne!(Pauses::new(millis(100), millis(5_000), 7).next(), other, "lanes don't go in step");
    }
}
