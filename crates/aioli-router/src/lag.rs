//! How far the router is behind with its work: how late what is due gets done.

use aioli_core::{Duration, Instant};

/// A timeout counts for one part in so many.
const WEIGHT: u32 = 8;
/// And for no more than this: one long pause, like that of a machine which
/// slept, must not look like a busy router.
const MOST: Duration = Duration::from_secs(2);

/// The mean lateness of timeouts of late.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lag(Duration);

impl Lag {
    /// What was due at `due` gets done now. Before its time it tells nothing.
    pub(crate) fn note(&mut self, due: Instant, now: Instant) {
        if due <= now {
            self.0 = self.0 * (WEIGHT - 1) / WEIGHT + now.since(due).min(MOST) / WEIGHT;
        }
    }

    pub(crate) const fn mean(self) -> Duration {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lasting_lateness_counts() {
        let mut lag = Lag::default();
        let at = |ms: u64| Instant::from_micros(ms * 1_000);
        lag.note(at(0), at(3_600_000));
        assert!(lag.mean() <= Duration::from_millis(250), "a sleep: {:?}", lag.mean());
        for _ in 0..40 {
            lag.note(at(0), at(600));
        }
        assert!(lag.mean() > Duration::from_millis(590), "{:?}", lag.mean());
        let busy = lag.mean();
        lag.note(at(9), at(8));
        assert_eq!(lag.mean(), busy, "not due yet");
        for _ in 0..40 {
            lag.note(at(5), at(5));
        }
        assert!(lag.mean() < Duration::from_millis(5), "{:?}", lag.mean());
    }
}
