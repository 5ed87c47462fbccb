//! The largest packet that the path carries: probed from above, with padding
//! that may be lost (RFC 8899; `ssu2#pmtu-discovery`).

use aioli_core::{Duration, Instant};
use aioli_wire::ssu2::MIN_MTU;

/// Sizes that paths have: Ethernet, PPPoE, tunnels of several kinds.
const CANDIDATES: [u16; 8] = [1500, 1492, 1480, 1460, 1420, 1400, 1360, 1320];
/// A size is too large when so many probes of it were lost.
const TRIES: u8 = 3;
/// The search begins anew after this: paths change.
const AGAIN: Duration = Duration::from_secs(600);
/// After a black hole, sooner.
const AFTER_BLACK_HOLE: Duration = Duration::from_secs(60);

/// The search for the largest packet.
#[derive(Debug)]
pub(super) struct MtuSearch {
    current: u16,
    limit: u16,
    /// The next candidate.
    next: usize,
    tries: u8,
    in_flight: bool,
    /// No probe before this.
    not_before: Instant,
}

impl MtuSearch {
    /// `limit` is the lesser of both ends'.
    pub(super) fn new(limit: u16, now: Instant) -> Self {
        Self {
            current: MIN_MTU,
            limit: limit.max(MIN_MTU),
            next: 0,
            tries: 0,
            in_flight: false,
            not_before: now,
        }
    }

    /// The largest IP packet that is known to pass.
    pub(super) const fn current(&self) -> u16 {
        self.current
    }

    /// A size to probe now.
    pub(super) fn probe(&mut self, now: Instant) -> Option<u16> {
        if self.in_flight || now < self.not_before {
            return None;
        }
        while let Some(size) = CANDIDATES.get(self.next) {
            let size = if self.next == 0 { self.limit } else { *size };
            if size <= self.current {
                break;
            }
            if size <= self.limit {
                self.in_flight = true;
                return Some(size);
            }
            self.next += 1;
        }
        self.next = 0;
        self.tries = 0;
        self.not_before = now + AGAIN;
        None
    }

    /// When the next probe is due; none while one is in flight.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let done = self.current >= self.limit;
        (!self.in_flight && !done).then_some(self.not_before)
    }

    /// A probe has come through.
    pub(super) fn on_acked(&mut self, size: u16, now: Instant) {
        self.in_flight = false;
        if size > self.current {
            self.current = size;
        }
        self.next = 0;
        self.tries = 0;
        self.not_before = now + AGAIN;
    }

    /// A probe was lost.
    pub(super) fn on_lost(&mut self, now: Instant) {
        self.in_flight = false;
        self.tries += 1;
        if self.tries >= TRIES {
            self.tries = 0;
            self.next += 1;
        }
        self.not_before = now;
    }

    /// Nothing large arrives any more, or the path is another: begin with what always passes.
    pub(super) fn reset(&mut self, black_hole: bool, now: Instant) {
        self.current = MIN_MTU;
        self.next = 0;
        self.tries = 0;
        self.in_flight = false;
        self.not_before = if black_hole { now + AFTER_BLACK_HOLE } else { now };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The MTU found on a path that carries `path`, between ends that take `limit`.
    fn search(limit: u16, path: u16) -> (u16, u32) {
        let now = Instant::ZERO;
        let (mut mtu, mut probes) = (MtuSearch::new(limit, now), 0);
        while let Some(size) = mtu.probe(now) {
            assert!(size > MIN_MTU && size <= limit);
            assert_eq!(mtu.probe(now), None, "one at a time");
            probes += 1;
            if size <= path { mtu.on_acked(size, now) } else { mtu.on_lost(now) }
        }
        (mtu.current(), probes)
    }

    #[test]
    fn the_largest_usual_size_is_found() {
        for (limit, path, found, probes) in [
            (1500, 1500, 1500, 1),
            (1500, 1492, 1492, 4),
            (1500, 1300, 1280, 24),
            (1280, 1500, 1280, 0),
            (1450, 1500, 1450, 1),
        ] {
            assert_eq!(search(limit, path), (found, probes), "{limit} {path}");
        }
    }

    #[test]
    fn a_black_hole_goes_back_to_what_always_passes() {
        let now = Instant::ZERO;
        let mut mtu = MtuSearch::new(1500, now);
        let size = mtu.probe(now).unwrap();
        mtu.on_acked(size, now);
        mtu.reset(true, now);
        assert_eq!((mtu.current(), mtu.probe(now)), (MIN_MTU, None));
        assert_eq!(mtu.probe(mtu.deadline().unwrap()), Some(1500));
    }
}
