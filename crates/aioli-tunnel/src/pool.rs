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
use aioli_wire::build::{BandwidthWish, random_tunnel_id};
use aioli_wire::garlic::{Clove, CloveDelivery, PayloadWriter};
use aioli_wire::i2np::{DeliveryStatus, Garlic};
use aioli_wire::{Lease, Message, MessageId, MessageType, RouterHash, SessionTag, TunnelId, Wire};

use crate::build::Build;
use crate::own::{Health, Inbound, LIFETIME, Outbound, STOP_USING};
use crate::packer::Packer;
use crate::types::{Delivery, Hop, HopRequest, Output, Peers, PoolConfig, PoolId, Side};
use crate::{Timer, Tunnels};

/// A pool that lacks tunnels or builds some looks at them this often...
const MANAGE_EVERY: Duration = Duration::from_secs(1);
/// ...and any other when something is due, at least this often: an idle router wakes seldom.
const MANAGE_AT_LEAST: Duration = Duration::from_secs(10);
/// Builds begun for one direction of a pool while it is empty or after failures: doubles from here.
const BACKOFF: Duration = Duration::from_millis(250);
/// And at most.
const BACKOFF_MAX: Duration = Duration::from_secs(20);
/// A build that takes longer is likely lost; others are begun beside it where none stands.
const SLOW_BUILD: Duration = Duration::from_millis(1_500);
/// A first hop that was given its fill is not given another build within this time, even where nobody else is.
const NEIGHBOUR_SPACING: Duration = Duration::from_millis(100);
/// No peer is next to us in more builds within a window than this, of all pools and both ways. Java I2P
/// refuses beyond 4 with one neighbour in 220 s, and drops requests beyond 7 in 110 s, while it has few tunnels.
const NEIGHBOUR_BUILDS: u32 = 4;
/// That window.
pub(crate) const NEIGHBOUR_WINDOW: Duration = Duration::from_secs(220);
/// A test must be back within this time.
const TEST_TIMEOUT: Duration = Duration::from_secs(8);
/// Where tests use to take less, a test has so many times as long, and no less than that.
const TEST_PATIENCE: (u32, Duration) = (4, Duration::from_secs(3));
/// Tunnels tested since this long ago are not suspected again.
const JUST_TESTED: Duration = Duration::from_secs(5);
/// Failed tests in a row that end a tunnel.
const MAX_FAILURES: u8 = 2;
/// A tunnel is tested again this long after a test, or up to ten seconds later.
const TEST_EVERY: Duration = Duration::from_secs(40);
/// A failed test is repeated after this time.
const RETEST: Duration = Duration::from_secs(3);

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

impl Pool {
    /// What its tunnels of a direction ask of their hops.
    pub(crate) const fn wish(&self, inbound: bool) -> BandwidthWish {
        if inbound { self.config.inbound.bandwidth } else { self.config.outbound.bandwidth }
    }
}

/// How building goes in one direction.
#[derive(Clone, Copy, Debug, Default)]
struct Direction {
    under_way: usize,
    failures: u32,
    not_before: Instant,
}

/// The builds of late in which a peer was next to us.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Neighbour {
    pub(crate) since: Instant,
    last: Instant,
    builds: u32,
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
        self.start_sweeping(cx.now.mono);
    }

    /// Keeps so many tunnels each way from now on. Those that are too many end with their time.
    pub fn set_quantities(&mut self, id: PoolId, inbound: u8, outbound: u8, now: Instant) {
        if let Some(pool) = self.pools.get_mut(&id) {
            pool.config.inbound.quantity = inbound;
            pool.config.outbound.quantity = outbound;
            self.timers.set(Timer::Pool(id), now);
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
        self.timers.set_earlier(Timer::Pool(id), self.next_look(id, cx.now.mono));
    }

    /// When something of this pool is due next.
    fn next_look(&self, id: PoolId, now: Instant) -> Instant {
        let soon = now + MANAGE_EVERY;
        let Some(pool) = self.pools.get(&id) else { return soon };
        for (inbound, side, direction) in
            [(true, pool.config.inbound, pool.into), (false, pool.config.outbound, pool.out)]
        {
            let wanted = usize::from(side.quantity) + usize::from(side.backup);
            let lacks = side.length > 0 && self.lasting(id, inbound, now) < wanted;
            if lacks || direction.under_way > 0 {
                return soon;
            }
        }
        let outbound = self.outbound.values().filter(|t| t.pool == id).map(|t| (&t.health, t.ends));
        let inbound = self.inbound.values().filter(|t| t.pool == id).map(|t| (&t.health, t.ends));
        let due = outbound.chain(inbound).flat_map(|(health, ends)| {
            let later = |at: &Instant| *at > now;
            [
                Some(health.replace_at).filter(later),
                Some(ends - STOP_USING).filter(later),
                Some(health.test_at),
            ]
        });
        let first = due.flatten().min().unwrap_or(soon);
        first.clamp(soon, now + MANAGE_AT_LEAST)
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
            if id != PoolId::EXPLORATORY && !self.has_pair(id, inbound, cx) {
                // The router's tunnels come first; once there is one, this is called again.
                return;
            }
            let request = HopRequest {
                kind: pool.config.kind,
                inbound,
                length: vary(side, inbound, cx),
                exclude: self.busy_neighbours(inbound, now),
                apart: self.siblings(id, inbound, now),
                spent: self.spent_neighbours(now),
                building: self.builds.values().flat_map(|b| b.hops.iter().map(|hop| hop.hash)).collect(),
                builds: self.builds.len(),
                order_key: pool.config.order_key,
            };
            let hops = peers.choose_hops(&request, cx.rng);
            if let Some(hops) = &hops {
                self.note_neighbour(hops, inbound, now);
            }
            let begun = hops.is_some_and(|hops| self.start_build(id, inbound, &hops, cx));
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

    /// Peers that were next to us in as many builds as they may be.
    fn spent_neighbours(&self, now: Instant) -> Vec<RouterHash> {
        let spent = |n: &Neighbour| n.builds >= NEIGHBOUR_BUILDS && now.since(n.since) < NEIGHBOUR_WINDOW;
        self.neighbours.iter().filter(|(_, n)| spent(n)).map(|(hash, _)| *hash).collect()
    }

    /// Of these, first hops that were given a build a moment ago: in a small network the budget gives way.
    fn busy_neighbours(&self, inbound: bool, now: Instant) -> Vec<RouterHash> {
        if inbound {
            return Vec::new();
        }
        let busy = |n: &Neighbour| n.builds >= NEIGHBOUR_BUILDS && now.since(n.last) < NEIGHBOUR_SPACING;
        // Everyone may be busy; then the spacing gives way as well.
        self.neighbours.iter().filter(|(_, n)| busy(n)).map(|(hash, _)| *hash).take(2).collect()
    }

    fn note_neighbour(&mut self, hops: &[Hop], inbound: bool, now: Instant) {
        let Some(hop) = (if inbound { hops.last() } else { hops.first() }) else { return };
        let fresh = Neighbour { since: now, last: now, builds: 0 };
        let neighbour = self.neighbours.entry(hop.hash).or_insert(fresh);
        if now.since(neighbour.since) >= NEIGHBOUR_WINDOW {
            *neighbour = fresh;
        }
        neighbour.last = now;
        neighbour.builds += 1;
    }

    /// What fixes the order of hops in a pool.
    pub fn order_key(&self, id: PoolId) -> Option<&[u8; 32]> {
        self.pools.get(&id).map(|pool| &pool.config.order_key)
    }

    /// Who is a hop of this pool's other tunnels of a direction, standing or being built.
    fn siblings(&self, id: PoolId, inbound: bool, now: Instant) -> Vec<RouterHash> {
        let builds = self.builds.values().filter(|b| b.pool == id && b.inbound == inbound);
        let building = builds.flat_map(|b| b.hops.iter().map(|hop| hop.hash));
        let lasts = |health: &Health| health.replace_at > now;
        let standing: Vec<_> = if inbound {
            self.inbound.values().filter(|t| t.pool == id && lasts(&t.health)).map(|t| &t.hops).collect()
        } else {
            self.outbound.values().filter(|t| t.pool == id && lasts(&t.health)).map(|t| &t.hops).collect()
        };
        standing.into_iter().flatten().copied().chain(building).collect()
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
        if !ok {
            return;
        }
        self.refresh_at(id, now);
        if id == PoolId::EXPLORATORY {
            for pool in self.pools.keys() {
                self.timers.set_earlier(Timer::Pool(*pool), now);
            }
        }
    }

    /// Whether several builds of this direction have failed in a row.
    pub(crate) fn keeps_failing(&self, id: PoolId, inbound: bool) -> bool {
        self.pools.get(&id).is_some_and(|p| if inbound { p.into.failures } else { p.out.failures } >= 4)
    }

    /// Whether only tunnels without hops are there, in place of real ones.
    pub(crate) fn only_stand_ins(&self, id: PoolId, inbound: bool) -> bool {
        let Some(pool) = self.pools.get(&id) else { return false };
        let (side, told) =
            if inbound { (pool.config.inbound, pool.told.0) } else { (pool.config.outbound, pool.told.1) };
        side.length > 0 && told == 0
    }

    /// Recounts a pool's usable tunnels and tells what changed.
    pub(crate) fn refresh_pool(&mut self, id: PoolId) {
        self.refresh_at(id, self.latest);
        if self.pools.contains_key(&id) {
            self.timers.set_earlier(Timer::Pool(id), self.latest);
        }
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
        let due = |pool, hops: &[RouterHash], health: &Health, ends: Instant| {
            pool == id && !hops.is_empty() && health.test_at <= now && ends > now
        };
        let due_out = self.outbound.iter().filter(|(_, t)| due(t.pool, &t.hops, &t.health, t.ends));
        let (good_out, bad_out): (Vec<_>, Vec<_>) =
            due_out.map(|(i, t)| (*i, t.health.failures)).partition(|(_, failures)| *failures == 0);
        let due_in = self.inbound.iter().filter(|(_, t)| due(t.pool, &t.hops, &t.health, t.ends));
        let (mut good_in, bad_in): (Vec<_>, Vec<_>) =
            due_in.map(|(i, t)| (*i, t.health.failures)).partition(|(_, failures)| *failures == 0);
        for (outbound, _) in good_out {
            let partner = good_in.pop().map(|(i, _)| i).or_else(|| self.partner(id, true, cx));
            self.send_test(id, Some(outbound), partner, cx);
        }
        for (inbound, _) in good_in {
            let partner = self.partner(id, false, cx);
            self.send_test(id, partner, Some(inbound), cx);
        }
        for (outbound, _) in bad_out {
            let partner = self.partner_of_suspect(id, true, cx);
            self.send_test(id, Some(outbound), partner, cx);
        }
        for (inbound, _) in bad_in {
            let partner = self.partner_of_suspect(id, false, cx);
            self.send_test(id, partner, Some(inbound), cx);
        }
    }

    /// The other half of a test: a tunnel that did not fail of late, if there is one.
    fn partner(&self, id: PoolId, inbound: bool, cx: &mut Cx<'_>) -> Option<TunnelId> {
        let pool = self.pools.get(&id)?;
        let all = if inbound { &pool.inbound } else { &pool.outbound };
        cx.rng.choose(&self.good(all, inbound)).or_else(|| cx.rng.choose(all)).copied()
    }

    /// The same for a tunnel that failed. While all partners are suspect and
    /// others could find out about them, it waits.
    fn partner_of_suspect(&self, id: PoolId, inbound: bool, cx: &mut Cx<'_>) -> Option<TunnelId> {
        let pool = self.pools.get(&id)?;
        let (all, own) =
            if inbound { (&pool.inbound, &pool.outbound) } else { (&pool.outbound, &pool.inbound) };
        if self.good(all, inbound).is_empty() && !self.good(own, !inbound).is_empty() {
            return None;
        }
        self.partner(id, inbound, cx)
    }

    /// Those that did not fail of late.
    pub(crate) fn good(&self, tunnels: &[TunnelId], inbound: bool) -> Vec<TunnelId> {
        let failures = |tunnel: &TunnelId| {
            if inbound {
                self.inbound.get(tunnel).map_or(0, |t| t.health.failures)
            } else {
                self.outbound.get(tunnel).map_or(0, |t| t.health.failures)
            }
        };
        tunnels.iter().copied().filter(|t| failures(t) == 0).collect()
    }

    fn send_test(
        &mut self,
        pool: PoolId,
        outbound: Option<TunnelId>,
        inbound: Option<TunnelId>,
        cx: &mut Cx<'_>,
    ) {
        let Some((outbound, inbound)) = outbound.zip(inbound) else { return };
        let Some(target) = self.inbound.get(&inbound).map(Inbound::lease) else { return };
        self.postpone(outbound, inbound, cx);
        let id = cx.rng.nonzero_u32().get();
        let (key, tag) = (Secret::new(cx.rng.bytes()), SessionTag(cx.rng.bytes()));
        let patience = self
            .test_rtt
            .map_or(TEST_TIMEOUT, |rtt| (rtt * TEST_PATIENCE.0).clamp(TEST_PATIENCE.1, TEST_TIMEOUT));
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
        let until = cx.now.mono + patience;
        self.outputs.push_back(Output::ExpectReply { pool, tag, key, until });
        let delivery = Delivery::Tunnel(target.gateway, target.tunnel);
        if self.send(pool, Some(outbound), vec![(delivery, message)], cx).is_ok() {
            self.tests.insert(id, Test { outbound, inbound, sent: cx.now.mono });
            self.timers.set(Timer::Test(id), until);
        }
    }

    fn postpone(&mut self, outbound: TunnelId, inbound: TunnelId, cx: &mut Cx<'_>) {
        let s = Duration::from_secs;
        let next = cx.now.mono + cx.rng.duration(TEST_EVERY, TEST_EVERY + s(10));
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
        let rtt = cx.now.mono.since(test.sent);
        self.test_rtt = Some(self.test_rtt.map_or(rtt, |before| (before * 7 + rtt) / 8));
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
        let suspects = self.tested_health(&test).filter(|health| health.failures > 0).count();
        for health in self.tested_health(&test) {
            // If one of the two has failed with another partner as well, it is that one.
            if suspects != 1 || health.failures > 0 {
                health.failures += 1;
            }
            // Soon again, with another partner: which of the two was it?
            health.test_at = cx.now.mono + RETEST;
        }
        let pools = [
            self.outbound.get(&test.outbound).map(|t| t.pool),
            self.inbound.get(&test.inbound).map(|t| t.pool),
        ];
        for pool in pools.into_iter().flatten() {
            self.timers.set_earlier(Timer::Pool(pool), cx.now.mono + RETEST);
        }
        self.report_test(&test, false, cx);
        if self.outbound.get(&test.outbound).is_some_and(|t| t.health.failures >= MAX_FAILURES) {
            self.end_outbound(test.outbound);
        }
        if self.inbound.get(&test.inbound).is_some_and(|t| t.health.failures >= MAX_FAILURES) {
            self.end_entry(test.inbound.get());
        }
    }

    /// Somebody who sent through tunnels of this pool got no answer: all that
    /// were not tested just now are tested at once.
    pub fn suspect(&mut self, pool: PoolId, cx: &Cx<'_>) {
        let now = cx.now.mono;
        let lately = now + TEST_EVERY - JUST_TESTED;
        let outbound = self.outbound.values_mut().filter(|t| t.pool == pool).map(|t| &mut t.health);
        let inbound = self.inbound.values_mut().filter(|t| t.pool == pool).map(|t| &mut t.health);
        let mut any = false;
        for health in outbound.chain(inbound).filter(|h| h.test_at > now && h.test_at <= lately) {
            health.test_at = now;
            any = true;
        }
        if any {
            self.timers.set_earlier(Timer::Pool(pool), now);
        }
    }

    /// The first hop of these tunnels cannot be reached: another failure, and they are over.
    pub(crate) fn suspect_tunnels_from(&mut self, peer: &RouterHash, cx: &Cx<'_>) {
        let mut over = Vec::new();
        for (id, tunnel) in self.outbound.iter_mut().filter(|(_, t)| t.hops.first() == Some(peer)) {
            tunnel.health.failures += 1;
            tunnel.health.test_at = cx.now.mono;
            if tunnel.health.failures >= MAX_FAILURES {
                over.push((*id, tunnel.pool));
            }
        }
        for (id, pool) in over {
            self.end_outbound(id);
            self.timers.set_earlier(Timer::Pool(pool), cx.now.mono);
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

    /// Whether a router is next to us in our own tunnels: the first hop of an outbound one or the last of an inbound one.
    pub fn is_next_to_us(&self, router: &RouterHash) -> bool {
        let outbound = self.outbound.values().filter_map(|t| t.hops.first());
        let inbound = self.inbound.values().filter_map(|t| t.hops.last());
        outbound.chain(inbound).any(|hop| hop == router)
    }

    /// Tunnels of each pool, those without hops among them: (towards us, away from us).
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

/// The length of the next tunnel. Inbound, one of 8 records is ours.
fn vary(side: Side, inbound: bool, cx: &mut Cx<'_>) -> u8 {
    let most = if inbound { 7 } else { 8 };
    let span = u64::from(side.variance.unsigned_abs());
    let change = i64::try_from(cx.rng.up_to(span)).unwrap_or(0);
    let down = side.variance < 0 && cx.rng.chance(1, 2);
    let length = i64::from(side.length) + if down { -change } else { change };
    u8::try_from(length.clamp(1, most)).unwrap_or(side.length)
}
