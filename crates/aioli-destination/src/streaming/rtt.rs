//! Round-trip estimation: smoothed value and deviation (RFC 6298), and a
//! windowed minimum that stands for the path without queues.

use aioli_core::{Duration, Instant};

/// How long a minimum counts before it must be confirmed.
pub(super) const MIN_WINDOW: Duration = Duration::from_secs(10);
/// Timeout before the first sample.
pub(super) const INITIAL_TIMEOUT: Duration = Duration::from_millis(2500);
/// No timeout is shorter.
const MIN_TIMEOUT: Duration = Duration::from_millis(150);
/// No timeout is longer, however often it doubled.
pub(super) const MAX_TIMEOUT: Duration = Duration::from_secs(20);
/// The first is no longer, unless the path without queues takes a third of it:
/// a path that stalled for seconds looks slow, and the first repetitions cost little.
const MAX_FIRST_TIMEOUT: Duration = Duration::from_secs(4);
/// Samples above this are measuring something else.
const MAX_SAMPLE: Duration = Duration::from_secs(60);
/// Deviation below this is the clock of the peer's event loop.
const MIN_DEVIATION: Duration = Duration::from_millis(5);

/// What is known of the round trip.
#[derive(Clone, Debug, Default)]
pub(super) struct Rtt {
    smoothed: Option<Duration>,
    deviation: Duration,
    min: Option<(Duration, Instant)>,
}

impl Rtt {
    /// An estimate taken over from an earlier stream to the same destination.
    pub(super) fn shared(smoothed: Duration, deviation: Duration) -> Self {
        Self { smoothed: Some(smoothed), deviation: deviation.max(smoothed / 4), min: None }
    }

    /// Counts a sample, mean and least of one acknowledgement.
    pub(super) fn sample(&mut self, mean: Duration, least: Duration, now: Instant) {
        let rtt = mean.clamp(Duration::from_micros(1), MAX_SAMPLE);
        match self.smoothed {
            Some(s) => {
                self.deviation = (self.deviation * 3 + s.abs_diff(rtt)) / 4;
                self.smoothed = Some((s * 7 + rtt) / 8);
            }
            None => {
                self.smoothed = Some(rtt);
                self.deviation = rtt / 2;
            }
        }
        let least = least.clamp(Duration::from_micros(1), rtt);
        if self.min.is_none_or(|(min, _)| least <= min) {
            self.min = Some((least, now));
        }
    }

    /// The smoothed value.
    pub(super) fn smoothed(&self) -> Option<Duration> {
        self.smoothed
    }

    /// The smoothed value, or a guess.
    pub(super) fn or_guess(&self) -> Duration {
        self.smoothed.unwrap_or(Duration::from_millis(500))
    }

    /// The deviation.
    pub(super) fn deviation(&self) -> Duration {
        self.deviation
    }

    /// The least sample of the window.
    pub(super) fn min(&self) -> Option<Duration> {
        self.min.map(|(min, _)| min)
    }

    /// Whether the minimum is older than its window.
    pub(super) fn min_expired(&self, now: Instant) -> bool {
        self.min.is_some_and(|(_, at)| now.since(at) > MIN_WINDOW)
    }

    /// Replaces the minimum by what was measured with the queue drained.
    pub(super) fn set_min(&mut self, rtt: Duration, now: Instant) {
        self.min = Some((rtt, now));
    }

    /// The path changed: the minimum says nothing about the new one.
    pub(super) fn forget_path(&mut self) {
        self.min = None;
        self.deviation = self.deviation.max(self.or_guess() / 2);
    }

    /// How long to wait for an acknowledgement that the peer may hold back for `ack_delay`.
    pub(super) fn timeout(&self, ack_delay: Duration, doublings: u32) -> Duration {
        let base = self.smoothed.map_or(INITIAL_TIMEOUT, |s| {
            let longest = MAX_FIRST_TIMEOUT.max(self.min().unwrap_or(s) * 3);
            (s + self.deviation.max(MIN_DEVIATION) * 4 + ack_delay).clamp(MIN_TIMEOUT, longest)
        });
        base.saturating_mul(1 << doublings.min(8)).min(MAX_TIMEOUT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timeout_follows_samples_and_doubles_up_to_its_limit() {
        let ms = Duration::from_millis;
        let mut rtt = Rtt::default();
        assert_eq!(rtt.timeout(ms(0), 0), INITIAL_TIMEOUT);
        assert_eq!(rtt.timeout(ms(0), 1), INITIAL_TIMEOUT * 2);
        for _ in 0..100 {
            rtt.sample(ms(400), ms(400), Instant::ZERO);
        }
        let settled = rtt.timeout(ms(100), 0);
        assert!(settled >= ms(500) && settled < ms(560), "{settled:?}");
        assert_eq!(rtt.timeout(ms(100), 30), MAX_TIMEOUT);
        assert!(rtt.min_expired(Instant::ZERO + Duration::from_secs(11)));
    }
}
