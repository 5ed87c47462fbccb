//! Packets of sessions that we know nothing of, soon after our start: who was connected to the router that ran here
//! before sends on into nothing until its own timers tell it, half a minute of builds and streams that fail. SSU2 has
//! no reset; a new session with such a peer takes the old one's place.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use aioli_core::{Duration, Instant};

/// No session outlives our end for longer: that is when idle ones end.
const WINDOW: Duration = Duration::from_secs(330);
/// The same address is told again after this, as the dial may have failed.
const AGAIN: Duration = Duration::from_secs(20);
/// Addresses that are told. Anyone can forge a packet from anywhere.
const MAX: usize = 256;

/// Where such packets came from.
#[derive(Debug, Default)]
pub(super) struct Strays {
    /// When the first packet of all came.
    began: Option<Instant>,
    told: BTreeMap<SocketAddr, Instant>,
}

impl Strays {
    /// A packet came.
    pub(super) fn begin(&mut self, now: Instant) {
        self.began.get_or_insert(now);
    }

    /// A packet came of which nothing is known: whether to tell where from, which is seldom done.
    pub(super) fn is_news(&mut self, from: SocketAddr, now: Instant) -> bool {
        if self.began.is_none_or(|began| now.since(began) > WINDOW) {
            self.told.clear();
            return false;
        }
        let news = match self.told.get(&from) {
            Some(last) => now.since(*last) >= AGAIN,
            None => self.told.len() < MAX,
        };
        if news {
            self.told.insert(from, now);
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_is_told_seldom_and_neither_for_ever_nor_without_a_limit() {
        let at = |n: usize| SocketAddr::from(([198, 18, (n >> 8) as u8, n as u8], 9_000));
        let mut strays = Strays::default();
        let start = Instant::ZERO + Duration::from_secs(1_000);
        strays.begin(start);
        assert_eq!((strays.is_news(at(1), start), strays.is_news(at(1), start)), (true, false));
        assert!(!strays.is_news(at(1), start + AGAIN / 2) && strays.is_news(at(1), start + AGAIN));
        assert_eq!((2..2_000).filter(|n| strays.is_news(at(*n), start)).count(), MAX - 1);
        let mut strays = Strays::default();
        strays.begin(start);
        assert!(!strays.is_news(at(1), start + WINDOW + Duration::from_secs(1)));
    }
}
