//! A token bucket: bytes that come at a steady rate and are taken as they are used.
//!
//! More may be taken than there is; the debt is paid before anything else. So
//! one large message passes whole, and the mean rate still holds exactly.

use crate::{Duration, Instant};

/// Tokens are kept in millionths of a byte, so that no microsecond is lost to rounding.
const SCALE: i128 = 1_000_000;

/// Bytes that come at a steady rate.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    /// Bytes a second.
    rate: u64,
    /// Bytes that may pile up.
    burst: u64,
    /// Millionths of bytes.
    level: i128,
    at: Instant,
}

impl Bucket {
    /// A full bucket of `rate` bytes a second, which holds at most `burst` bytes.
    pub const fn new(rate: u64, burst: u64, now: Instant) -> Self {
        Self { rate, burst, level: burst as i128 * SCALE, at: now }
    }

    /// Bytes a second.
    pub const fn rate(&self) -> u64 {
        self.rate
    }

    /// Bytes that may pile up.
    pub const fn burst(&self) -> u64 {
        self.burst
    }

    /// Changes the rate from now on. What there is stays, within the new burst.
    pub fn set_rate(&mut self, rate: u64, burst: u64, now: Instant) {
        self.refill(now);
        self.rate = rate;
        self.burst = burst;
        self.level = self.level.min(i128::from(burst) * SCALE);
    }

    /// Bytes there are; none while in debt.
    pub fn available(&mut self, now: Instant) -> u64 {
        self.refill(now);
        u64::try_from(self.level / SCALE).unwrap_or(0)
    }

    /// Takes bytes, on credit if need be.
    pub fn take(&mut self, bytes: u64, now: Instant) {
        self.refill(now);
        self.level -= i128::from(bytes) * SCALE;
    }

    /// Takes bytes if there are as many.
    pub fn try_take(&mut self, bytes: u64, now: Instant) -> bool {
        let enough = self.available(now) >= bytes;
        if enough {
            self.take(bytes, now);
        }
        enough
    }

    /// Gives back what was taken and not used.
    pub fn give_back(&mut self, bytes: u64) {
        self.level = (self.level + i128::from(bytes) * SCALE).min(i128::from(self.burst) * SCALE);
    }

    /// When there will be so many bytes, or as many as it holds.
    pub fn ready_at(&self, bytes: u64) -> Instant {
        let missing = i128::from(bytes.min(self.burst)) * SCALE - self.level;
        if missing <= 0 {
            return self.at;
        }
        let rate = i128::from(self.rate.max(1));
        let micros = (missing + rate - 1) / rate;
        self.at + Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    fn refill(&mut self, now: Instant) {
        let micros = now.since(self.at).as_micros();
        self.at = self.at.max(now);
        let new = i128::from(self.rate) * i128::try_from(micros).unwrap_or(i128::MAX / (1 << 64));
        self.level = (self.level + new).min(i128::from(self.burst) * SCALE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    #[test]
    fn the_mean_rate_is_exact_whatever_is_taken() {
        let mut bucket = Bucket::new(100_000, 10_000, at(0));
        bucket.take(10_000, at(0));
        let mut taken = 0;
        for step in 1..=100_000 {
            let now = Instant::ZERO + Duration::from_micros(step * 137);
            if bucket.available(now) > 0 {
                let message = 1 + (step * 7_919) % 5_000;
                bucket.take(message, now);
                taken += message;
            }
        }
        let expected = 100_000 * 137 / 10;
        assert!(taken.abs_diff(expected) < 5_000, "{taken} of {expected}");
    }

    #[test]
    fn a_debt_is_paid_first_and_nothing_piles_up_beyond_the_burst() {
        let mut bucket = Bucket::new(1_000, 500, at(0));
        bucket.take(1_500, at(0));
        assert_eq!(bucket.available(at(900)), 0);
        assert_eq!(bucket.ready_at(200), at(1_200));
        assert_eq!(bucket.available(at(1_200)), 200);
        assert_eq!(bucket.available(at(60_000)), 500);
        assert_eq!(bucket.ready_at(10_000), at(60_000), "more than it holds is not waited for");
        bucket.give_back(400);
        assert_eq!(bucket.available(at(60_000)), 500);
        assert_eq!(bucket.available(Instant::FAR_FUTURE), 500);
    }
}
