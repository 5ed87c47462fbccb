//! Pools: how many tunnels there are of each kind, when they are replaced,
//! and whether they work.
//!
//! A tunnel is replaced 60 to 90 s before it ends and gets no new work in its
//! last 30 s. Each is tested within half a minute, and every 40 to 50 s from
//! then on: a message out of one and into another, hidden from their hops by
//! a one-time key. Two failures in a row end a tunnel.

use std::collections::BTreeMap;

use aioli_core::crypto::{Secret, one_time};
use aioli_core::{Cx, Duration, Instant};
use aioli_wire::build::random_tunnel_id;
use aioli_wire::garlic::{Clove, CloveDelivery, PayloadWriter};
use aioli_wire::i2np::{DeliveryStatus, Garlic};
use aioli_wire::{Lease, Message, MessageId, MessageType, RouterHash, SessionTag, TunnelId, Wire};

use crate::build::Build;
use crate::own::{Health, Inbound, LIFETIME, Outbound, STOP_USING};
use crate::packer::Packer;
use crate::types::{Delivery, HopRequest, Output, Peers, PoolConfig, PoolId, Side};
use crate::{Timer, Tunnels};

/// A pool looks at its tunnels at least this often.
const MANAGE_EVERY: Duration = Duration::from_secs(1);
/// Builds begun for one direction of a pool while it is empty or after failures: doubles from here.
const BACKOFF: Duration = Duration::from_millis(250);
/// And at most.
const BACKOFF_MAX: Duration = Duration::from_secs(20);
/// A build that takes longer is likely lost; others are begun beside it where none stands.
const SLOW_BUILD: Duration = Duration::from_millis(1_500);
/// A first hop is not given builds faster than this, lest it drops them as a flood.
pub(crate) const FIRST_HOP_SPACING: Duration = Duration::from_millis(100);
/// A test must be back within this time.
const TEST_TIMEOUT: Duration = Duration::from_secs(8);
/// Failed tests in a row that end a tunnel.
const MAX_FAILURES: u8 = 2;

/// One owner's tunnels.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) config: PoolConfig,
    /// Usable tunnels towards us.
    pub(crate) inbound: Vec<TunnelId>,
    /// Usable tunnels away from us.
    pub(crate) outbound: Vec<TunnelId>,
    pub(crate) leases: Vec<Lease>,
    /// The numbers of usable tunnels that the owner was told last.
    told: (usize, usize),
    into: Direction,
    out: Direction,
}

/// How building goes in one direction.
#[derive(Clone, Copy, Debug, Default)]
struct Direction {
    under_way: usize,
    failures: u32,
    not_before: Instant,
}

/// A test under way.
#[derive(Debug)]
pub(crate) struct Test {
    outbound: TunnelId,
    inbound: TunnelId,
    sent: Instant,
}

/// When a tunnel that was begun at `started` is tested and replaced.
pub(crate) fn new_health(started: Instant, cx: &mut Cx<'_>) -> Health {
    let s = Duration::from_secs;
    Health {
        test_at: cx.now.mono + cx.rng.duration(s(5), s(25)),
        replace_at: started + LIFETIME - cx.rng.duration(s(60), s(90)),
        failures: 0,
    }
}

impl Tunnels {
    /// Begins to keep tunnels for an owner.
    pub fn create_pool(&mut self, id: PoolId, config: PoolConfig, cx: &mut Cx<'_>) {
        let pool = Pool {
            config,
            inbound: Vec::new(),
            outbound: Vec::new(),
            leases: Vec::new(),
            told: (0, 0),
            into: Direction::default(),
            out: Direction::default(),
        };
        self.pools.insert(id, pool);
        self.timers.set(Timer::Pool(id), cx.now.mono);
        if self.timers.get(&Timer::Sweep).is_none() {
            self.timers.set(Timer::Sweep, cx.now.mono + crate::types::SWEEP_INTERVAL);
        }
    }

    /// Ends an owner's tunnels.
    pub fn remove_pool(&mut self, id: PoolId, _cx: &mut Cx<'_>) {
        if self.pools.remove(&id).is_none() {
            return;
        }
        self.timers.stop(&Timer::Pool(id));
        let inbound: Vec<_> = self.inbound.iter().filter(|(_, t)| t.pool == id).map(|(i, _)| *i).collect();
        let outbound: Vec<_> = self.outbound.iter().filter(|(_, t)| t.pool == id).map(|(i, _)| *i).collect();
        for tunnel in inbound {
            self.end_entry(tunnel.get());
        }
        for tunnel in outbound {
            self.end_outbound(tunnel);
        }
    }

    /// Looks at one pool: ends, tests, replaces, builds.
    pub(crate) fn manage_pool(&mut self, id: PoolId, cx: &mut Cx<'_>, peers: &dyn Peers) {
        if !self.pools.contains_key(&id) {
            return;
        }
        self.stand_in(id, cx);
        for inbound in [true, false] {
            self.build_missing(id, inbound, cx, peers);
        }
        self.test_due(id, cx);
        self.refresh_at(id, cx.now.mono);
        self.timers.set_earlier(Timer::Pool(id), cx.now.mono + MANAGE_EVERY);
    }

    /// Tunnels without hops: where they are asked for, and where nothing else is there yet.
    fn stand_in(&mut self, id: PoolId, cx: &mut Cx<'_>) {
        let Some(pool) = self.pools.get(&id) else { return };
        let wanted = |side: &Side, have: usize| {
            let wanted =
                if side.length == 0 { usize::from(side.quantity) } else { usize::from(side.allow_zero_hop) };
            wanted.saturating_sub(have)
        };
        let (more_in, more_out) = (
            wanted(&pool.config.inbound, pool.inbound.len()),
            wanted(&pool.config.outbound, pool.outbound.len()),
        );
        for _ in 0..more_in {
            let own = random_tunnel_id(cx.rng);
            let tunnel = Inbound {
                pool: id,
                hops: Vec::new(),
                layers: Vec::new(),
                gateway: self.config.our_hash,
                gateway_tunnel: own,
                carried: 0,
                ends: cx.now.mono + LIFETIME,
                ends_wall: cx.now.wall + LIFETIME,
                health: new_health(cx.now.mono, cx),
            };
            self.add_inbound(own, tunnel);
        }
        for _ in 0..more_out {
            let tunnel = Outbound {
                pool: id,
                hops: Vec::new(),
                layers: Vec::new(),
                first_tunnel: random_tunnel_id(cx.rng),
                carried: 0,
                ends: cx.now.mono + LIFETIME,
                health: new_health(cx.now.mono, cx),
                packer: Packer::default(),
            };
            self.add_outbound(random_tunnel_id(cx.rng), tunnel);
        }
        if more_in + more_out > 0 {
            self.refresh_at(id, cx.now.mono);
        }
    }

    fn build_missing(&mut self, id: PoolId, inbound: bool, cx: &mut Cx<'_>, peers: &dyn Peers) {
        loop {
            let now = cx.now.mono;
            let Some(pool) = self.pools.get(&id) else { return };
            let (side, direction) =
                if inbound { (pool.config.inbound, pool.into) } else { (pool.config.outbound, pool.out) };
            let wanted = usize::from(side.quantity) + usize::from(side.backup);
            if side.length == 0 || direction.not_before > now {
                return;
            }
            let lasting = self.lasting(id, inbound, now);
            // Where nothing stands yet, a build that is slow is not waited for.
            let hoped = if lasting == 0 { self.hopeful(id, inbound, now) } else { direction.under_way };
            if lasting + hoped >= wanted || self.builds.len() >= self.config.limits.builds {
                return;
            }
            let request = HopRequest {
                kind: pool.config.kind,
                inbound,
                length: vary(side, cx),
                exclude: self.busy_first_hops(inbound, now),
                order_key: pool.config.order_key,
            };
            let begun = peers.choose_hops(&request, cx.rng).is_some_and(|hops| {
                let first = hops.first().map(|h| h.hash);
                let begun = self.start_build(id, inbound, &hops, cx);
                if let (true, false, Some(first)) = (begun, inbound, first) {
                    self.first_hop_used.insert(first, now);
                }
                begun
            });
            let Some(direction) = self.direction(id, inbound) else { return };
            if !begun {
                direction.fail(now);
                return;
            }
            direction.under_way += 1;
        }
    }

    /// Builds under way that are too young to be given up for slow.
    fn hopeful(&self, id: PoolId, inbound: bool, now: Instant) -> usize {
        let young = |b: &&Build| b.pool == id && b.inbound == inbound && now.since(b.started) < SLOW_BUILD;
        self.builds.values().filter(young).count()
    }

    /// First hops that were given a build a moment ago.
    fn busy_first_hops(&self, inbound: bool, now: Instant) -> Vec<RouterHash> {
        if inbound {
            return Vec::new();
        }
        let busy = self.first_hop_used.iter().filter(|(_, at)| now.since(**at) < FIRST_HOP_SPACING);
        // In a small network everyone may be busy; then the spacing gives way.
        busy.map(|(hash, _)| *hash).take(2).collect()
    }

    /// Tunnels with hops that need no replacement yet.
    fn lasting(&self, id: PoolId, inbound: bool, now: Instant) -> usize {
        let lasts = |hops: &[RouterHash], health: &Health| !hops.is_empty() && health.replace_at > now;
        if inbound {
            self.inbound.values().filter(|t| t.pool == id && lasts(&t.hops, &t.health)).count()
        } else {
            self.outbound.values().filter(|t| t.pool == id && lasts(&t.hops, &t.health)).count()
        }
    }

    fn direction(&mut self, id: PoolId, inbound: bool) -> Option<&mut Direction> {
        let pool = self.pools.get_mut(&id)?;
        Some(if inbound { &mut pool.into } else { &mut pool.out })
    }

    /// A build of this pool ended.
    pub(crate) fn on_build_ended(&mut self, id: PoolId, inbound: bool, ok: bool, cx: &Cx<'_>) {
        let now = cx.now.mono;
        let Some(direction) = self.direction(id, inbound) else { return };
        direction.under_way = direction.under_way.saturating_sub(1);
        if ok {
            direction.failures = 0;
            direction.not_before = now;
        } else {
            direction.fail(now);
        }
        let at = direction.not_before;
        self.timers.set_earlier(Timer::Pool(id), at.max(now));
        if ok {
            self.refresh_at(id, now);
        }
    }

    /// Recounts a pool's usable tunnels and tells what changed.
    pub(crate) fn refresh_pool(&mut self, id: PoolId) {
        self.refresh_at(id, self.latest);
    }

    fn refresh_at(&mut self, id: PoolId, now: Instant) {
        let Some(pool) = self.pools.get_mut(&id) else { return };
        let mut inbound: Vec<_> = self
            .inbound
            .iter()
            .filter(|(_, t)| t.pool == id && t.ends - STOP_USING > now)
            .map(|(i, t)| (*i, t.hops.is_empty(), t.lease()))
            .collect();
        let mut outbound: Vec<_> = self
            .outbound
            .iter()
            .filter(|(_, t)| t.pool == id && t.ends - STOP_USING > now)
            .map(|(i, t)| (*i, t.hops.is_empty()))
            .collect();
        // Tunnels without hops stand in only as long as there is nothing else.
        if inbound.iter().any(|(_, zero_hop, _)| !zero_hop) {
            inbound.retain(|(_, zero_hop, _)| !zero_hop);
        }
        if outbound.iter().any(|(_, zero_hop)| !zero_hop) {
            outbound.retain(|(_, zero_hop)| !zero_hop);
        }
        let zero_hop_in = inbound.iter().all(|(_, zero_hop, _)| *zero_hop);
        let zero_hop_out = outbound.iter().all(|(_, zero_hop)| *zero_hop);
        inbound.sort_by_key(|(_, _, lease)| std::cmp::Reverse(lease.end));
        let leases: Vec<_> = inbound.iter().map(|(_, _, lease)| *lease).collect();
        let before = pool.told;
        pool.inbound = inbound.into_iter().map(|(i, _, _)| i).collect();
        pool.outbound = outbound.into_iter().map(|(i, _)| i).collect();
        // What stands in is not counted: it gives no anonymity.
        let stand_in = |side: &Side, only_zero_hop: bool| side.length > 0 && only_zero_hop;
        let after = (
            if stand_in(&pool.config.inbound, zero_hop_in) { 0 } else { pool.inbound.len() },
            if stand_in(&pool.config.outbound, zero_hop_out) { 0 } else { pool.outbound.len() },
        );
        pool.told = after;
        if leases != pool.leases {
            pool.leases = leases.clone();
            self.outputs.push_back(Output::LeasesChanged { pool: id, leases });
        }
        if before != after {
            self.outputs.push_back(Output::PoolChanged { pool: id, inbound: after.0, outbound: after.1 });
        }
    }

    /// Sends the tests whose time has come, each through two tunnels.
    fn test_due(&mut self, id: PoolId, cx: &mut Cx<'_>) {
        let now = cx.now.mono;
        let due_out: Vec<_> = self
            .outbound
            .iter()
            .filter(|(_, t)| t.pool == id && !t.hops.is_empty() && t.health.test_at <= now)
            .map(|(i, _)| *i)
            .collect();
        let mut due_in: Vec<_> = self
            .inbound
            .iter()
            .filter(|(_, t)| t.pool == id && !t.hops.is_empty() && t.health.test_at <= now && t.ends > now)
            .map(|(i, _)| *i)
            .collect();
        for outbound in due_out {
            let partner = due_in.pop().or_else(|| self.any_inbound(id, cx));
            if let Some(inbound) = partner {
                self.send_test(id, outbound, inbound, cx);
            }
        }
        for inbound in due_in {
            let outbound = self.pools.get(&id).and_then(|p| cx.rng.choose(&p.outbound)).copied();
            if let Some(outbound) = outbound {
                self.send_test(id, outbound, inbound, cx);
            }
        }
    }

    fn any_inbound(&self, id: PoolId, cx: &mut Cx<'_>) -> Option<TunnelId> {
        cx.rng.choose(&self.pools.get(&id)?.inbound).copied()
    }

    fn send_test(&mut self, pool: PoolId, outbound: TunnelId, inbound: TunnelId, cx: &mut Cx<'_>) {
        let Some(target) = self.inbound.get(&inbound).map(Inbound::lease) else { return };
        self.postpone(outbound, inbound, cx);
        let id = cx.rng.nonzero_u32().get();
        let (key, tag) = (Secret::new(cx.rng.bytes()), SessionTag(cx.rng.bytes()));
        let expires = cx.now.wall + TEST_TIMEOUT;
        let status = DeliveryStatus { id: MessageId(id), time: cx.now.wall }.to_bytes();
        let mut w = PayloadWriter::new();
        w.clove(&Clove {
            delivery: CloveDelivery::Local,
            kind: MessageType::DeliveryStatus.code(),
            id: cx.rng.u32(),
            expires,
            body: &status,
        });
        let sealed = one_time::seal(key.as_bytes(), tag.0, &w.into_vec());
        let message = Message {
            kind: MessageType::Garlic,
            id: MessageId(cx.rng.u32()),
            expires,
            body: Garlic { bytes: &sealed }.to_bytes(),
        };
        let until = cx.now.mono + TEST_TIMEOUT;
        self.outputs.push_back(Output::ExpectReply { pool, tag, key, until });
        let delivery = Delivery::Tunnel(target.gateway, target.tunnel);
        if self.send(pool, Some(outbound), vec![(delivery, message)], cx).is_ok() {
            self.tests.insert(id, Test { outbound, inbound, sent: cx.now.mono });
            self.timers.set(Timer::Test(id), until);
        }
    }

    fn postpone(&mut self, outbound: TunnelId, inbound: TunnelId, cx: &mut Cx<'_>) {
        let s = Duration::from_secs;
        let next = cx.now.mono + cx.rng.duration(s(40), s(50));
        if let Some(tunnel) = self.outbound.get_mut(&outbound) {
            tunnel.health.test_at = next;
        }
        if let Some(tunnel) = self.inbound.get_mut(&inbound) {
            tunnel.health.test_at = next;
        }
    }

    /// A DeliveryStatus came through a tunnel. True: it was a test of ours.
    pub fn handle_delivery_status(&mut self, id: u32, cx: &mut Cx<'_>) -> bool {
        let Some(test) = self.tests.remove(&id) else { return false };
        self.timers.stop(&Timer::Test(id));
        self.stats.tests_passed += 1;
        for health in self.tested_health(&test) {
            health.failures = 0;
        }
        self.report_test(&test, true, cx);
        true
    }

    pub(crate) fn on_test_timeout(&mut self, id: u32, cx: &Cx<'_>) {
        let Some(test) = self.tests.remove(&id) else { return };
        tracing::debug!(?test, "test failed");
        self.stats.tests_failed += 1;
        let retry = cx.now.mono + Duration::from_secs(3);
        for health in self.tested_health(&test) {
            health.failures += 1;
            // Soon again, with another partner: which of the two was it?
            health.test_at = retry;
        }
        self.report_test(&test, false, cx);
        if self.outbound.get(&test.outbound).is_some_and(|t| t.health.failures >= MAX_FAILURES) {
            self.end_outbound(test.outbound);
        }
        if self.inbound.get(&test.inbound).is_some_and(|t| t.health.failures >= MAX_FAILURES) {
            self.end_entry(test.inbound.get());
        }
    }

    fn tested_health(&mut self, test: &Test) -> impl Iterator<Item = &mut Health> {
        let outbound = self.outbound.get_mut(&test.outbound).map(|t| &mut t.health);
        let inbound = self.inbound.get_mut(&test.inbound).map(|t| &mut t.health);
        outbound.into_iter().chain(inbound)
    }

    fn report_test(&mut self, test: &Test, ok: bool, cx: &Cx<'_>) {
        let outbound = self.outbound.get(&test.outbound).map(|t| t.hops.as_slice()).unwrap_or_default();
        let inbound = self.inbound.get(&test.inbound).map(|t| t.hops.as_slice()).unwrap_or_default();
        let hops = outbound.iter().chain(inbound).copied().collect();
        self.outputs.push_back(Output::TestDone { hops, ok, rtt: cx.now.mono.since(test.sent) });
    }

    /// Tunnels of each pool, for the console: (towards us, away from us).
    pub fn counts(&self) -> BTreeMap<PoolId, (usize, usize)> {
        self.pools.iter().map(|(id, p)| (*id, (p.inbound.len(), p.outbound.len()))).collect()
    }
}

impl Direction {
    fn fail(&mut self, now: Instant) {
        self.failures = (self.failures + 1).min(16);
        // The first few failures cost little: another set of hops may do.
        let doublings = self.failures.saturating_sub(3).min(10);
        self.not_before = now + (BACKOFF * (1 << doublings)).min(BACKOFF_MAX);
    }
}

/// The length of the next tunnel.
fn vary(side: Side, cx: &mut Cx<'_>) -> u8 {
    let span = u64::from(side.variance.unsigned_abs());
    let change = i64::try_from(cx.rng.up_to(span)).unwrap_or(0);
    let down = side.variance < 0 && cx.rng.chance(1, 2);
    let length = i64::from(side.length) + if down { -change } else { change };
    u8::try_from(length.clamp(1, 8)).unwrap_or(side.length)
}
