//! When to acknowledge (`ssu2#generating-acks`, `ssu2#ack-frequency`).

use aioli_core::{Duration, Instant};

/// Packets that elicit an acknowledgement and wait for it at most.
const MOST_WAITING: u32 = 2;
const MIN_DELAY: Duration = Duration::from_millis(10);
/// The longest that a peer holds an acknowledgement back.
pub(super) const MAX_DELAY: Duration = Duration::from_millis(150);
const MAX_IMMEDIATE: Duration = Duration::from_millis(5);

/// When to acknowledge.
#[derive(Debug, Default)]
pub(super) struct Acks {
    /// Eliciting packets since the last acknowledgement.
    waiting: u32,
    deadline: Option<Instant>,
    /// Highest number of an eliciting packet.
    highest: Option<u32>,
}

impl Acks {
    /// Notes an eliciting packet. `gap` if numbers below it are missing.
    pub(super) fn on_eliciting(
        &mut self,
        number: u32,
        gap: bool,
        immediate: bool,
        rtt: Duration,
        now: Instant,
    ) {
        self.waiting += 1;
        let reordered = self.highest.is_some_and(|h| number < h);
        let jumped = gap && self.highest.is_some_and(|h| number > h.saturating_add(1));
        self.highest = self.highest.max(Some(number));
        let delay = if self.waiting >= MOST_WAITING || reordered || jumped {
            Duration::ZERO
        } else if immediate {
            (rtt / 16).min(MAX_IMMEDIATE)
        } else {
            (rtt / 6).clamp(MIN_DELAY, MAX_DELAY)
        };
        let at = now + delay;
        self.deadline = Some(self.deadline.map_or(at, |d| d.min(at)));
    }

    /// One must be sent now, whatever has come.
    pub(super) fn at_once(&mut self, now: Instant) {
        self.waiting = self.waiting.max(1);
        self.deadline = Some(now);
    }

    /// Whether one must be sent now.
    pub(super) fn due(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|d| d <= now)
    }

    /// Whether one is wanted, in a packet that is sent anyway.
    pub(super) const fn wanted(&self) -> bool {
        self.waiting > 0
    }

    /// When one must be sent.
    pub(super) const fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// One is sent.
    pub(super) fn sent(&mut self) {
        self.waiting = 0;
        self.deadline = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_follow_the_rules() {
        let ms = Duration::from_millis;
        let at = |n| Instant::ZERO + ms(n);
        type Packets = &'static [(u32, bool, bool)];
        let cases: [(Packets, u64); 6] = [
            (&[(5, false, false)], 20),
            (&[(5, false, false), (6, false, false)], 0),
            (&[(5, false, true)], 5),
            (&[(5, false, false), (8, true, false)], 0),
            (&[(5, false, false), (4, false, false)], 0),
            (&[(5, true, false)], 20),
        ];
        for (packets, expected) in cases {
            let mut acks = Acks::default();
            for (number, gap, immediate) in packets {
                acks.on_eliciting(*number, *gap, *immediate, ms(120), at(0));
            }
            assert_eq!(acks.deadline(), Some(at(expected)), "{packets:?}");
            assert!(acks.due(at(expected)) && acks.wanted());
            acks.sent();
            assert!(!acks.due(at(1_000)) && !acks.wanted());
        }
    }
}
