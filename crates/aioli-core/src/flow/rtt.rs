//! Round-trip estimation: smoothed value and deviation (RFC 6298), and a
//! windowed minimum that stands for the path without queues.

use crate::{Duration, Instant};

/// How long a minimum counts before it must be confirmed.
const MIN_WINDOW: Duration = Duration::from_secs(10);
/// The round trip before the first sample.
const GUESS: Duration = Duration::from_millis(500);
/// A timeout before it doubles is no longer, unless the path without queues takes a third of it:
/// a path that stalled for seconds looks slow, and the first repetitions cost little.
const MAX_FIRST_TIMEOUT: Duration = Duration::from_secs(4);
/// Samples above this are measuring something else.
const MAX_SAMPLE: Duration = Duration::from_secs(60);
/// Deviation below this is the clock of the peer's event loop.
const MIN_DEVIATION: Duration = Duration::from_millis(5);

/// Bounds of the time that an acknowledgement is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// Before the first sample.
    pub initial: Duration,
    /// None is shorter.
    pub least: Duration,
    /// None is longer, however often it doubled.
    pub most: Duration,
}

/// What is known of the round trip.
#[derive(Clone, Debug)]
pub struct Rtt {
    timeouts: Timeouts,
    smoothed: Option<Duration>,
    deviation: Duration,
    latest: Duration,
    min: Option<(Duration, Instant)>,
}

impl Rtt {
    /// Nothing is known.
    pub const fn new(timeouts: Timeouts) -> Self {
        Self { timeouts, smoothed: None, deviation: Duration::ZERO, latest: Duration::ZERO, min: None }
    }

    /// An estimate taken over from whoever used the same path before.
    pub fn shared(timeouts: Timeouts, smoothed: Duration, deviation: Duration) -> Self {
        let deviation = deviation.max(smoothed / 4);
        Self { smoothed: Some(smoothed), deviation, ..Self::new(timeouts) }
    }

    /// Counts a sample, mean and least of one acknowledgement.
    pub fn sample(&mut self, mean: Duration, least: Duration, now: Instant) {
        let rtt = mean.clamp(Duration::from_micros(1), MAX_SAMPLE);
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
        let least = least.clamp(Duration::from_micros(1), rtt);
        if self.min.is_none_or(|(min, _)| least <= min) {
            self.min = Some((least, now));
        }
    }

    /// The smoothed value.
    pub const fn smoothed(&self) -> Option<Duration> {
        self.smoothed
    }

    /// The smoothed value, or a guess.
    pub fn or_guess(&self) -> Duration {
        self.smoothed.unwrap_or(GUESS)
    }

    /// The deviation.
    pub const fn deviation(&self) -> Duration {
        self.deviation
    }

    /// The least sample of the window.
    pub fn min(&self) -> Option<Duration> {
        self.min.map(|(min, _)| min)
    }

    /// Whether the minimum is older than its window.
    pub(super) fn min_expired(&self, now: Instant) -> bool {
        self.min.is_some_and(|(_, at)| now.since(at) > MIN_WINDOW)
    }

    /// Replaces the minimum by what was measured with the queue drained.
    pub(super) const fn set_min(&mut self, rtt: Duration, now: Instant) {
        self.min = Some((rtt, now));
    }

    /// The path changed: the minimum says nothing about the new one.
    pub fn forget_path(&mut self) {
        self.min = None;
        self.deviation = self.deviation.max(self.or_guess() / 2);
    }

    /// Another path with nothing in common: everything is unknown again.
    pub const fn reset(&mut self) {
        *self = Self::new(self.timeouts);
    }

    /// Time after which a packet is lost if a later one has come, in eighths of a round trip
    /// (RFC 9002, section 6.1.2).
    pub fn loss_delay(&self, eighths: u32) -> Duration {
        (self.or_guess().max(self.latest) * eighths / 8).max(Duration::from_millis(2))
    }

    /// How long to wait for an acknowledgement that the peer may hold back for `ack_delay`.
    pub fn timeout(&self, ack_delay: Duration, doublings: u32) -> Duration {
        let base = self.smoothed.map_or(self.timeouts.initial, |s| {
            let longest = MAX_FIRST_TIMEOUT.max(self.min().unwrap_or(s) * 3);
            (s + self.deviation.max(MIN_DEVIATION) * 4 + ack_delay).clamp(self.timeouts.least, longest)
        });
        base.saturating_mul(1 << doublings.min(8)).min(self.timeouts.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timeout_follows_samples_and_doubles_up_to_its_limit() {
        let ms = Duration::from_millis;
        let timeouts = Timeouts { initial: ms(2_500), least: ms(150), most: ms(20_000) };
        let mut rtt = Rtt::new(timeouts);
        assert_eq!(rtt.timeout(ms(0), 0), timeouts.initial);
        assert_eq!(rtt.timeout(ms(0), 1), timeouts.initial * 2);
        for _ in 0..100 {
            rtt.sample(ms(400), ms(400), Instant::ZERO);
        }
        assert_eq!(rtt.timeout(ms(100), 0), ms(520));
        assert_eq!(rtt.timeout(ms(100), 30), timeouts.most);
        assert_eq!(rtt.loss_delay(9), ms(450));
        assert!(rtt.min_expired(Instant::ZERO + Duration::from_secs(11)));
        rtt.reset();
        assert_eq!((rtt.smoothed(), rtt.timeout(ms(0), 0)), (None, timeouts.initial));
    }
}
