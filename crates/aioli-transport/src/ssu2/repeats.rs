//! When something that no one acknowledges is sent again.

use aioli_core::{Duration, Instant};

/// What is sent several times, and is over in the end.
#[derive(Debug)]
pub(super) struct Repeats {
    /// When it is sent for the first time.
    began: Instant,
    /// When it is sent again, after the first time: what is left of it.
    again: &'static [Duration],
    /// When it is over, after the first time.
    over: Duration,
}

impl Repeats {
    pub(super) const fn new(again: &'static [Duration], over: Duration, now: Instant) -> Self {
        Self { began: now, again, over }
    }

    /// Nothing is sent any more until it is over.
    pub(super) const fn stop(&mut self) {
        self.again = &[];
    }

    /// Whether it is due again, or none if it is over.
    pub(super) fn on_timeout(&mut self, now: Instant) -> Option<bool> {
        if now >= self.began + self.over {
            return None;
        }
        let Some((next, later)) = self.again.split_first() else { return Some(false) };
        let is_due = self.began + *next <= now;
        if is_due {
            self.again = later;
        }
        Some(is_due)
    }

    /// When to call [`Self::on_timeout`].
    pub(super) fn deadline(&self) -> Instant {
        self.began + self.again.first().copied().unwrap_or(self.over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGAIN: &[Duration] = &[Duration::from_secs(1), Duration::from_secs(3)];

    fn at(secs: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(secs)
    }

    #[test]
    fn it_is_sent_at_its_times_and_then_over() {
        let mut repeats = Repeats::new(AGAIN, Duration::from_secs(9), at(0));
        for (secs, due) in [(0, false), (1, true), (2, false), (3, true), (4, false), (8, false)] {
            assert_eq!(repeats.on_timeout(at(secs)), Some(due), "{secs}");
        }
        assert_eq!((repeats.deadline(), repeats.on_timeout(at(9))), (at(9), None));
        let mut repeats = Repeats::new(AGAIN, Duration::from_secs(9), at(0));
        assert_eq!(repeats.deadline(), at(1));
        repeats.stop();
        assert_eq!((repeats.deadline(), repeats.on_timeout(at(5))), (at(9), Some(false)));
    }
}
