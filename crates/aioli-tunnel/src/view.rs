//! What there is to see of our own tunnels, for whoever looks after the router.

use std::collections::BTreeSet;

use aioli_core::{Duration, Instant};
use aioli_wire::RouterHash;

use crate::Tunnels;
use crate::types::PoolId;

/// One of our tunnels, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelView {
    /// Whose.
    pub pool: PoolId,
    /// Towards us.
    pub inbound: bool,
    /// Its hops, the gateway first.
    pub hops: Vec<RouterHash>,
    /// Until its end.
    pub left: Duration,
    /// Its last test failed.
    pub in_doubt: bool,
    /// Another is to take its place.
    pub is_old: bool,
}

impl Tunnels {
    /// Our tunnels, so many of them at most, pool by pool.
    pub fn views(&self, most: usize, now: Instant) -> Vec<TunnelView> {
        let view =
            |pool, inbound, hops: &Vec<RouterHash>, ends: Instant, health: &crate::own::Health| TunnelView {
                pool,
                inbound,
                hops: hops.clone(),
                left: ends.since(now),
                in_doubt: health.failures > 0,
                is_old: health.replace_at <= now,
            };
        let inbound = self.inbound.values().map(|t| view(t.pool, true, &t.hops, t.ends, &t.health));
        let outbound = self.outbound.values().map(|t| view(t.pool, false, &t.hops, t.ends, &t.health));
        let mut all: Vec<_> = inbound.chain(outbound).collect();
        all.sort_by_key(|t| (t.pool, !t.inbound, t.left));
        all.truncate(most);
        all
    }

    /// Who brings us what comes out of our own tunnels.
    pub fn senders(&self) -> BTreeSet<RouterHash> {
        self.inbound.values().filter_map(|tunnel| tunnel.hops.last().copied()).collect()
    }

    /// The tunnels of a pool that can be used, towards us and away from us. Those without hops count only where they
    /// were asked for: elsewhere they stand in for others.
    pub fn usable(&self, pool: PoolId) -> (usize, usize) {
        let Some(p) = self.pools.get(&pool) else { return (0, 0) };
        let (of_in, of_out) = (p.config.inbound.length == 0, p.config.outbound.length == 0);
        let inbound = |id| of_in || self.inbound.get(id).is_some_and(|t| !t.hops.is_empty());
        let outbound = |id| of_out || self.outbound.get(id).is_some_and(|t| !t.hops.is_empty());
        (
            p.inbound.iter().filter(|id| inbound(id)).count(),
            p.outbound.iter().filter(|id| outbound(id)).count(),
        )
    }

    /// How long a message takes out of one tunnel of ours and into another, smoothed, as tests show.
    pub const fn round_trip(&self) -> Option<Duration> {
        self.test_rtt
    }
}
