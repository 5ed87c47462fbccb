//! Spreads packets over time, so that no burst fills a queue on the way.

use aioli_core::{Duration, Instant};

/// Bytes that may be sent at once, whatever the rate.
const LEAST_BURST: f64 = 2.0 * 1_500.0;
/// A burst is what the rate allows in this time: as exact as timers are.
const BURST_TIME: f64 = 0.002;

/// How much may be sent now.
#[derive(Debug)]
pub(super) struct Pacer {
    credit: f64,
    at: Instant,
}

impl Pacer {
    pub(super) const fn new(now: Instant) -> Self {
        Self { credit: LEAST_BURST, at: now }
    }

    /// Whether a packet may be sent now, at this rate in bytes a second.
    pub(super) fn may_send(&mut self, rate: f64, now: Instant) -> bool {
        let burst = (rate * BURST_TIME).max(LEAST_BURST);
        self.credit = (self.credit + rate * now.since(self.at).as_secs_f64()).min(burst);
        self.at = self.at.max(now);
        self.credit > 0.0
    }

    /// A packet was sent.
    pub(super) fn on_sent(&mut self, size: usize) {
        self.credit -= size as f64;
    }

    /// When a packet may be sent.
    pub(super) fn ready_at(&self, rate: f64) -> Instant {
        if self.credit > 0.0 {
            return self.at;
        }
        let wait = (-self.credit + 1.0) / rate.max(1.0);
        self.at + Duration::from_secs_f64(wait.min(10.0)) + Duration::from_micros(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_rate_is_kept() {
        let (mut now, mut sent) = (Instant::ZERO, 0);
        let mut pacer = Pacer::new(now);
        while now < Instant::ZERO + Duration::from_secs(10) {
            if pacer.may_send(1e6, now) {
                pacer.on_sent(1_400);
                sent += 1_400;
            } else {
                now = pacer.ready_at(1e6);
            }
        }
        assert!((9_990_000..10_010_000).contains(&sent), "{sent}");
    }
}
