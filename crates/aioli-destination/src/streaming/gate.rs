//! Who may connect, and how often: limits per minute, hour and day, of one
//! peer and of all together.

use std::collections::BTreeMap;

use aioli_core::{Duration, Instant};
use aioli_wire::DestinationHash;

use super::config::Limits;

const SPANS: [Duration; 3] =
    [Duration::from_secs(60), Duration::from_secs(3600), Duration::from_secs(86_400)];
/// Peers whose connections are counted.
const MAX_PEERS: usize = 4096;
/// Over the limit by this factor, a peer gets no answer at all.
const SILENT: u32 = 2;

/// What to do with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Admit,
    Refuse,
    /// Not even a refusal: each costs us a signature.
    Ignore,
}

/// Connections in the current minute, hour and day.
#[derive(Clone, Copy, Debug, Default)]
struct Counts([(Instant, u32); 3]);

impl Counts {
    fn count(&mut self, limits: &[u32; 3], now: Instant) -> Verdict {
        let mut verdict = Verdict::Admit;
        for ((slot, span), limit) in self.0.iter_mut().zip(SPANS).zip(limits) {
            if now.since(slot.0) >= span {
                *slot = (now, 0);
            }
            slot.1 = slot.1.saturating_add(1);
            if *limit > 0 && slot.1 > *limit {
                let silent = slot.1 > limit.saturating_mul(SILENT);
                verdict =
                    if silent || verdict == Verdict::Ignore { Verdict::Ignore } else { Verdict::Refuse };
            }
        }
        verdict
    }
}

/// Counts connections.
#[derive(Clone, Debug, Default)]
pub(super) struct Gate {
    peers: BTreeMap<DestinationHash, Counts>,
    all: Counts,
    pings: (Instant, u32),
}

impl Gate {
    /// A peer connects.
    pub(super) fn connection(&mut self, peer: DestinationHash, limits: &Limits, now: Instant) -> Verdict {
        let total = self.all.count(&limits.total, now);
        if limits.per_peer == [0; 3] {
            return total;
        }
        if self.peers.len() >= MAX_PEERS && !self.peers.contains_key(&peer) {
            self.peers.retain(|_, c| c.0.iter().zip(SPANS).any(|(s, span)| s.1 > 0 && now.since(s.0) < span));
            if self.peers.len() >= MAX_PEERS {
                return Verdict::Refuse;
            }
        }
        let own = self.peers.entry(peer).or_default().count(&limits.per_peer, now);
        if own == Verdict::Admit { total } else { own }
    }

    /// A peer pings; whether to answer.
    pub(super) fn ping(&mut self, limits: &Limits, now: Instant) -> bool {
        if now.since(self.pings.0) >= Duration::from_secs(1) {
            self.pings = (now, 0);
        }
        self.pings.1 += 1;
        self.pings.1 <= limits.pings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_count_per_peer_and_in_total() {
        let limits = Limits { per_peer: [2, 0, 0], total: [0, 6, 0], ..Limits::default() };
        let (a, b) = (DestinationHash::new([1; 32]), DestinationHash::new([2; 32]));
        let mut gate = Gate::default();
        let at = |s: u64| Instant::from_micros(s * 1_000_000);
        let verdicts: Vec<_> = (0..5).map(|_| gate.connection(a, &limits, at(100))).collect();
        use Verdict::{Admit, Ignore, Refuse};
        assert_eq!(verdicts, [Admit, Admit, Refuse, Refuse, Ignore]);
        assert_eq!(gate.connection(b, &limits, at(100)), Admit);
        assert_eq!(gate.connection(b, &limits, at(101)), Refuse);
        assert_eq!(gate.connection(a, &limits, at(4000)), Admit);
    }
}
