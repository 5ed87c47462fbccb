//! The router's only source of randomness, seeded by the driver.
//!
//! One ChaCha20 generator per router; each subsystem gets its own by
//! [`Rng::fork`], so that one more draw in one place changes no other.

use std::fmt;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng};

/// A seeded cryptographic generator. The same seed gives the same run.
#[derive(Clone)]
pub struct Rng(ChaCha20Rng);

impl Rng {
    /// The generator that this seed defines.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(ChaCha20Rng::from_seed(seed))
    }

    /// An independent generator for a subsystem.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self::from_seed(self.bytes())
    }

    /// Fills `buf` with random bytes.
    pub fn fill(&mut self, buf: &mut [u8]) {
        self.0.fill_bytes(buf);
    }

    /// `N` random bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        self.fill(&mut out);
        out
    }

    /// Any 32-bit number.
    pub fn u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// Any 64-bit number.
    pub fn u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Any 32-bit number but zero, which no tunnel id or reply token may be.
    pub fn nonzero_u32(&mut self) -> std::num::NonZeroU32 {
        loop {
            if let Some(n) = std::num::NonZeroU32::new(self.u32()) {
                return n;
            }
        }
    }

    /// A number from 0 to `max`, both included, without bias.
    pub fn up_to(&mut self, max: u64) -> u64 {
        let Some(range) = max.checked_add(1) else { return self.u64() };
        let reject_above = u64::MAX - (u64::MAX % range + 1) % range;
        loop {
            let n = self.u64();
            if n <= reject_above {
                return n % range;
            }
        }
    }

    /// A number from `min` to `max`, both included; `min` if they cross.
    pub fn between(&mut self, min: u64, max: u64) -> u64 {
        min + self.up_to(max.saturating_sub(min))
    }

    /// A duration from `min` to `max`, in microsecond steps.
    pub fn duration(&mut self, min: crate::Duration, max: crate::Duration) -> crate::Duration {
        let us = |d: crate::Duration| u64::try_from(d.as_micros()).unwrap_or(u64::MAX);
        crate::Duration::from_micros(self.between(us(min), us(max)))
    }

    /// True `num` times in `den`.
    pub fn chance(&mut self, num: u64, den: u64) -> bool {
        den > 0 && self.up_to(den - 1) < num
    }

    /// One of the items; none if there are none.
    pub fn choose<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        let last = items.len().checked_sub(1)?;
        items.get(self.index(last))
    }

    /// Puts the items in a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.index(i));
        }
    }

    fn index(&mut self, max: usize) -> usize {
        self.up_to(max as u64) as usize
    }
}

impl fmt::Debug for Rng {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rng(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closed_intervals_hold_and_are_reached() {
        let mut rng = Rng::from_seed([7; 32]);
        let mut seen = [false; 3];
        for _ in 0..200 {
            seen[rng.up_to(2) as usize] = true;
            assert!((5..=9).contains(&rng.between(5, 9)));
        }
        assert_eq!(seen, [true; 3]);
        assert_eq!(rng.up_to(0), 0);
        let _ = rng.up_to(u64::MAX);
    }

    #[test]
    fn a_fork_is_independent_and_replayable() {
        let (mut a, mut b) = (Rng::from_seed([1; 32]), Rng::from_seed([1; 32]));
        let (mut fa, mut fb) = (a.fork(), b.fork());
        let _ = fa.u64();
        assert_eq!(a.u64(), b.u64());
        let _ = fb.u64();
        assert_eq!(fa.u64(), fb.u64());
    }
}
