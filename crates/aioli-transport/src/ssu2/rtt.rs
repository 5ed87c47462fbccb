//! Round-trip estimation: smoothed value and deviation (RFC 9002, section 5),
//! and a windowed minimum that stands for the path without queues.

use aioli_core::{Duration, Instant};

use super::acks::MAX_DELAY;

/// How long a minimum counts before it must be confirmed.
const MIN_WINDOW: Duration = Duration::from_secs(10);
/// Before the first sample.
const INITIAL: Duration = Duration::from_millis(500);
/// Deviation below this is the clock of the peer's event loop.
const MIN_DEVIATION: Duration = Duration::from_millis(5);
/// No probe timeout is shorter.
const MIN_TIMEOUT: Duration = Duration::from_millis(100);
/// No probe timeout is longer, however often it doubled.
const MAX_TIMEOUT: Duration = Duration::from_secs(10);
/// Samples above this are measuring something else.
const MAX_SAMPLE: Duration = Duration::from_secs(30);

/// What is known of the round trip.
#[derive(Clone, Debug, Default)]
pub(super) struct Rtt {
    smoothed: Option<Duration>,
    deviation: Duration,
    latest: Duration,
    min: Option<(Duration, Instant)>,
}

impl Rtt {
    /// Counts a sample.
    pub(super) fn sample(&mut self, rtt: Duration, now: Instant) {
        let rtt = rtt.clamp(Duration::from_micros(1), MAX_SAMPLE);
        self.latest = rtt;
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
        if self.min.is_none_or(|(min, _)| rtt <= min) {
            self.min = Some((rtt, now));
        }
    }

    /// The smoothed value, or a guess.
    pub(super) fn or_guess(&self) -> Duration {
        self.smoothed.unwrap_or(INITIAL)
    }

    /// The deviation.
    pub(super) const fn deviation(&self) -> Duration {
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

    /// Time after which a packet is lost if a later one has come, in eighths of a round trip.
    pub(super) fn loss_delay(&self, eighths: u32) -> Duration {
        (self.or_guess().max(self.latest) * eighths / 8).max(Duration::from_millis(2))
    }

    /// How long to wait for an acknowledgement before asking for one.
    pub(super) fn timeout(&self, doublings: u32) -> Duration {
        let base = self.or_guess() + self.deviation.max(MIN_DEVIATION) * 4 + MAX_DELAY;
        base.max(MIN_TIMEOUT).saturating_mul(1 << doublings.min(8)).min(MAX_TIMEOUT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timeout_follows_samples_and_doubles_up_to_its_limit() {
        let ms = Duration::from_millis;
        let mut rtt = Rtt::default();
        assert_eq!(rtt.timeout(0), ms(670));
        for _ in 0..100 {
            rtt.sample(ms(80), Instant::ZERO);
        }
        assert_eq!(rtt.timeout(0), ms(80 + 20 + 150));
        assert_eq!(rtt.timeout(2), ms(1_000));
        assert_eq!(rtt.timeout(30), MAX_TIMEOUT);
        assert_eq!(rtt.loss_delay(9), ms(90));
        assert!(rtt.min_expired(Instant::ZERO + Duration::from_secs(11)));
    }
}
