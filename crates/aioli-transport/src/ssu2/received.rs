//! Which packet numbers have come: runs of them, from the highest down.
//!
//! The oldest runs are forgotten; numbers at or below them count as repeated,
//! so that no packet is ever taken twice.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

/// Runs that are kept.
const MAX_RUNS: usize = 96;
/// An acknowledgement reaches so far down from the highest: dozens of them have said what is below.
const REACH: u32 = 1_024;

/// Packet numbers that have come.
#[derive(Debug, Default)]
pub(super) struct Received {
    /// From the highest down; neither touching nor overlapping.
    runs: VecDeque<(u32, u32)>,
    /// Numbers below this count as come.
    floor: u32,
    /// All below is acknowledged and known to be.
    settled: u32,
    /// How many have come.
    count: u64,
}

impl Received {
    /// Whether the number has not come yet, as far as is known.
    pub(super) fn is_new(&self, n: u32) -> bool {
        n >= self.floor && !self.runs.iter().take_while(|(_, high)| *high >= n).any(|(low, _)| *low <= n)
    }

    /// Notes a number that is new.
    pub(super) fn insert(&mut self, n: u32) {
        self.count += 1;
        // The first run that does not lie wholly above.
        let at = self.runs.iter().position(|(low, _)| *low <= n.saturating_add(1)).unwrap_or(self.runs.len());
        match self.runs.get_mut(at) {
            Some((low, _)) if *low == n.saturating_add(1) => {
                *low = n;
                self.join(at);
            }
            Some((_, high)) if high.saturating_add(1) == n => *high = n,
            _ => self.runs.insert(at, (n, n)),
        }
        while self.runs.len() > MAX_RUNS {
            if let Some((_, high)) = self.runs.pop_back() {
                self.floor = self.floor.max(high.saturating_add(1));
            }
        }
    }

    /// Joins the run with the next lower one if they touch now.
    fn join(&mut self, at: usize) {
        let (Some((low, _)), Some((next_low, next_high))) =
            (self.runs.get(at).copied(), self.runs.get(at + 1).copied())
        else {
            return;
        };
        if next_high.saturating_add(1) == low {
            self.runs.remove(at + 1);
            if let Some(run) = self.runs.get_mut(at) {
                run.0 = next_low;
            }
        }
    }

    /// The highest number that has come.
    pub(super) fn highest(&self) -> Option<u32> {
        self.runs.front().map(|(_, high)| *high)
    }

    /// Whether a number is missing below the highest since `settled`.
    pub(super) fn has_gap(&self) -> bool {
        self.runs.len() > 1
    }

    /// How many have come.
    pub(super) const fn count(&self) -> u64 {
        self.count
    }

    /// The peer knows of everything up to `through`.
    pub(super) fn settle(&mut self, through: u32) {
        self.settled = self.settled.max(through.saturating_add(1));
    }

    /// Runs to acknowledge, from the highest down.
    pub(super) fn runs(&self) -> impl Iterator<Item = RangeInclusive<u32>> + '_ {
        let highest = self.highest().unwrap_or_default();
        let floor = self.settled.max(highest.saturating_sub(REACH)).min(highest);
        let worth = self.runs.iter().copied().take_while(move |(_, high)| *high >= floor);
        worth.map(move |(low, high)| low.max(floor)..=high)
    }
}

#[cfg(test)]
mod tests {
    use aioli_core::Rng;

    use super::*;

    #[test]
    fn any_order_gives_the_same_runs() {
        let mut rng = Rng::from_seed([5; 32]);
        let mut numbers = (0..60).filter(|n| n % 7 != 3).collect::<Vec<u32>>();
        for _ in 0..50 {
            rng.shuffle(&mut numbers);
            let mut received = Received::default();
            for n in &numbers {
                assert!(received.is_new(*n));
                received.insert(*n);
                assert!(!received.is_new(*n));
            }
            let mut all = received.runs().flatten().collect::<Vec<_>>();
            all.sort_unstable();
            let mut expected = numbers.clone();
            expected.sort_unstable();
            assert_eq!(all, expected);
            assert_eq!(received.runs.len(), 9);
            assert!(received.is_new(3) && received.is_new(60));
        }
    }

    #[test]
    fn old_runs_are_forgotten_and_their_numbers_stay_taken() {
        let mut received = Received::default();
        for n in 0..1_000 {
            received.insert(n * 2);
        }
        assert_eq!(received.runs.len(), MAX_RUNS);
        assert!(!received.is_new(1) && !received.is_new(101), "below the floor");
        assert!(received.is_new(1_997) && !received.is_new(1_998));
        received.settle(1_990);
        assert_eq!(
            received.runs().collect::<Vec<_>>(),
            [1_998..=1_998, 1_996..=1_996, 1_994..=1_994, 1_992..=1_992]
        );
        received.insert(u32::MAX);
        assert!(!received.is_new(u32::MAX));
        assert_eq!(received.runs().collect::<Vec<_>>(), [u32::MAX..=u32::MAX], "what is far below is old");
        let mut received = Received::default();
        (0..5_000).for_each(|n| received.insert(n));
        assert_eq!(received.runs().collect::<Vec<_>>(), [4_999 - REACH..=4_999]);
        received.settle(4_990);
        assert_eq!(received.runs().collect::<Vec<_>>(), [4_991..=4_999]);
        received.settle(5_001);
        assert_eq!(received.runs().collect::<Vec<_>>(), [4_999..=4_999]);
    }
}
