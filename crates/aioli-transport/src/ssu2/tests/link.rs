//! The network of the tests: a bottleneck in front of every node, and what else
//! happens to datagrams.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use aioli_core::{Cx, Duration, Instant, Now, Rng};
use aioli_wire::RouterHash;
use aioli_wire::i2np::Message;
use aioli_wire::router_info::RouterInfo;
use aioli_wire::ssu2::ip_overhead;
use aioli_wire::verified::Verified;

use super::super::{Config, Endpoint, Output};
use super::nat::Nat;
use super::{Keys, START, message};
use crate::Lane;

/// What happens to datagrams.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) delay: Duration,
    /// In ten thousand.
    pub(super) loss: u64,
    /// In ten thousand.
    pub(super) repeat: u64,
    /// In ten thousand; such a one takes up to twice the delay more.
    pub(super) late: u64,
    /// Bytes a second into each node, IP and UDP headers included; 0 for no limit.
    pub(super) rate: u64,
    /// What the queue at the bottleneck holds.
    pub(super) queue: Duration,
    pub(super) mtu: usize,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            delay: Duration::from_millis(20),
            loss: 0,
            repeat: 0,
            late: 0,
            rate: 0,
            queue: Duration::from_millis(100),
            mtu: 1_500,
        }
    }
}

/// A router with nothing but an endpoint.
pub(super) struct Node {
    pub(super) endpoint: Endpoint,
    pub(super) keys: Keys,
    pub(super) hash: RouterHash,
    pub(super) info: Arc<Verified<RouterInfo>>,
    /// Where its datagrams seem to come from, and where it gets some.
    pub(super) addr: SocketAddr,
    rng: Rng,
    /// Its clock minus the true one, seconds.
    pub(super) skew: i64,
    pub(super) told: Vec<Output>,
    pub(super) messages: Vec<(RouterHash, Message)>,
    busy_until: Instant,
    pub(super) nat: Option<Nat>,
}

/// A stream of messages from one node to another, as fast as they are taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) size: usize,
    pub(super) next: u32,
    pub(super) last: u32,
}

/// Whether a datagram is lost: how many were sent before it, from where, and its bytes.
type Filter = Box<dyn FnMut(u64, SocketAddr, &[u8]) -> bool>;

/// Nodes, and what is on its way between them.
pub(super) struct World {
    pub(super) now: Instant,
    pub(super) nodes: Vec<Node>,
    pub(super) link: Link,
    pub(super) flows: Vec<Flow>,
    /// All datagrams that were sent, if kept: from, to, bytes.
    pub(super) wire: Option<Vec<(SocketAddr, SocketAddr, Vec<u8>)>>,
    pub(super) filter: Filter,
    flying: BTreeMap<(Instant, u64), (SocketAddr, SocketAddr, Vec<u8>)>,
    sent: u64,
    pub(super) rng: Rng,
    pub(super) dropped_by_queue: u64,
}

impl World {
    pub(super) fn new(seed: u8, count: u16, link: Link) -> Self {
        Self::with(seed, count, link, |_| {})
    }

    pub(super) fn with(seed: u8, count: u16, link: Link, change: impl Fn(&mut Config)) -> Self {
        let mut rng = Rng::from_seed([seed; 32]);
        let nodes = (0..count).map(|n| {
            let keys = Keys::new(n, &mut rng);
            let mut config = keys.config();
            change(&mut config);
            let mut endpoint = Endpoint::new(config, &mut rng);
            let ri = keys.router_info(|_| {});
            endpoint.set_router_info(ri.clone());
            let (hash, addr) = (ri.hash(), keys.addr);
            let (rng, told, messages) = (rng.fork(), Vec::new(), Vec::new());
            Node {
                endpoint,
                keys,
                hash,
                info: ri,
                addr,
                rng,
                skew: 0,
                told,
                messages,
                busy_until: Instant::ZERO,
                nat: None,
            }
        });
        let nodes = nodes.collect();
        Self {
            now: Instant::ZERO + Duration::from_secs(1_000),
            nodes,
            link,
            flows: Vec::new(),
            wire: None,
            filter: Box::new(|_, _, _| false),
            flying: BTreeMap::new(),
            sent: 0,
            rng,
            dropped_by_queue: 0,
        }
    }

    /// Ends node `n` without a word and starts it again, with the keys that it had.
    pub(super) fn restart(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        node.endpoint = Endpoint::new(node.keys.config(), &mut node.rng);
        node.endpoint.set_router_info(Arc::clone(&node.info));
        node.told.clear();
        node.messages.clear();
    }

    /// The time as node `n` sees it.
    pub(super) fn clock(&self, n: usize) -> Now {
        let wall = START + self.now.since(Instant::ZERO);
        let shift = Duration::from_secs(self.nodes[n].skew.unsigned_abs());
        let wall = if self.nodes[n].skew < 0 { wall - shift } else { wall + shift };
        Now { mono: self.now, wall }
    }

    /// Calls an endpoint, then takes what it puts out.
    pub(super) fn on<R>(&mut self, n: usize, call: impl FnOnce(&mut Endpoint, &mut Cx<'_>) -> R) -> R {
        let now = self.clock(n);
        let node = &mut self.nodes[n];
        let mut cx = Cx { now, rng: &mut node.rng };
        let result = call(&mut node.endpoint, &mut cx);
        let mut sent = VecDeque::new();
        while let Some(output) = node.endpoint.poll_output(&mut cx) {
            match output {
                Output::Datagram { to, bytes } => sent.push_back((to, bytes)),
                Output::Messages { from, messages } => {
                    node.messages.extend(messages.into_iter().map(|m| (from, m)));
                }
                other @ (Output::Established { .. }
                | Output::Disconnected { .. }
                | Output::ConnectFailed { .. }
                | Output::RouterInfo { .. }
                | Output::ObservedAddress { .. }
                | Output::Moved { .. }
                | Output::Stray { .. }
                | Output::Refused { .. }
                | Output::PeerClock { .. }
                | Output::Visitor { .. }
                | Output::PeerTested { .. }
                | Output::WantRouterInfo { .. }
                | Output::RelayTag { .. }
                | Output::ClockSkew { .. }) => node.told.push(other),
            }
        }
        let now = self.now;
        for (to, bytes) in sent {
            let node = &mut self.nodes[n];
            let from = node.nat.as_mut().map_or(node.addr, |nat| nat.outward(to, now));
            self.send(from, to, bytes);
        }
        result
    }

    /// Puts a datagram on its way.
    pub(super) fn send(&mut self, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        self.sent += 1;
        if let Some(wire) = &mut self.wire {
            wire.push((from, to, bytes.clone()));
        }
        if (self.filter)(self.sent - 1, from, &bytes) || self.rng.chance(self.link.loss, 10_000) {
            return;
        }
        let size = bytes.len() + ip_overhead(&to.ip());
        if size > self.link.mtu {
            return;
        }
        let mut at = self.now + self.link.delay;
        if self.link.rate > 0
            && let Some(node) = self.nodes.iter_mut().find(|n| n.addr == to)
        {
            let begin = node.busy_until.max(self.now);
            if begin.since(self.now) > self.link.queue {
                self.dropped_by_queue += 1;
                return;
            }
            node.busy_until = begin + Duration::from_micros(size as u64 * 1_000_000 / self.link.rate);
            at = node.busy_until + self.link.delay;
        }
        if self.rng.chance(self.link.late, 10_000) {
            at += self.rng.duration(Duration::ZERO, self.link.delay * 2);
        }
        if self.rng.chance(self.link.repeat, 10_000) {
            let again = at + self.rng.duration(Duration::ZERO, self.link.delay);
            self.flying.insert((again, self.sent * 2 + 1), (from, to, bytes.clone()));
        }
        self.flying.insert((at, self.sent * 2), (from, to, bytes));
    }

    pub(super) fn connect(&mut self, from: usize, to: usize) {
        let remote = self.nodes[to].keys.remote(self.nodes[to].hash);
        let info = self.nodes[to].info.clone();
        self.on(from, |e, cx| {
            e.connect(remote, cx).unwrap();
            e.learn(info, cx);
        });
    }

    /// A world whose first node has a session with each other one.
    pub(super) fn connected(seed: u8, count: u16, link: Link) -> Self {
        let mut world = Self::new(seed, count, link);
        for n in 1..usize::from(count) {
            world.connect(0, n);
        }
        world.run(Duration::from_secs(20));
        for n in 1..usize::from(count) {
            let (a, b) = (world.nodes[0].hash, world.nodes[n].hash);
            assert!(world.nodes[0].endpoint.is_connected(&b) && world.nodes[n].endpoint.is_connected(&a));
        }
        world
    }

    fn feed(&mut self) {
        for i in 0..self.flows.len() {
            let flow = self.flows[i];
            let peer = self.nodes[flow.to].hash;
            let now = self.clock(flow.from).wall;
            let mut next = flow.next;
            let room = |w: &Self| w.nodes[flow.from].endpoint.queued_bytes(&peer) < 512 << 10;
            if next >= flow.last || !room(self) {
                continue;
            }
            while next < flow.last && room(self) {
                let message = message(next, flow.size, now);
                self.nodes[flow.from].endpoint.send(&peer, Lane::Own, message).unwrap();
                next += 1;
            }
            self.flows[i].next = next;
            self.on(flow.from, |_, _| ());
        }
    }

    /// Gives every node another address.
    pub(super) fn readdress(&mut self, address: impl Fn(u16) -> SocketAddr) {
        for (n, node) in self.nodes.iter_mut().enumerate() {
            node.addr = address(n as u16);
            node.keys.addr = node.addr;
            node.info = node.keys.router_info(|_| {});
            node.endpoint.set_router_info(node.info.clone());
        }
    }

    /// Runs for so long.
    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        let mut calls = 0_u64;
        loop {
            self.feed();
            let arrival = self.flying.keys().next().map(|(at, _)| *at);
            let timer = |(i, n): (usize, &Node)| n.endpoint.next_timeout().map(|(at, _)| (at, i));
            let timer = self.nodes.iter().enumerate().filter_map(timer).min();
            let next = arrival.into_iter().chain(timer.map(|(at, _)| at)).min();
            let Some(next) = next.filter(|at| *at <= end) else {
                self.now = end;
                return;
            };
            calls = if next > self.now { 0 } else { calls + 1 };
            assert!(
                calls < 100_000,
                "time stands still: {:?}",
                self.nodes.iter().map(|n| n.endpoint.next_timeout()).collect::<Vec<_>>()
            );
            self.now = self.now.max(next);
            if arrival == Some(next) {
                let Some((_, (from, to, mut bytes))) = self.flying.pop_first() else { return };
                let now = self.now;
                let takes = |n: &Node| match &n.nat {
                    Some(nat) => nat.inward(to, from, now),
                    None => n.addr == to,
                };
                if let Some(n) = self.nodes.iter().position(takes) {
                    self.on(n, |e, cx| e.handle_datagram(from, &mut bytes, cx));
                }
            } else if let Some((_, n)) = timer {
                self.on(n, |e, cx| e.handle_timeout(cx));
            }
        }
    }

    /// Whether messages `0..count` of this size came to node `n` exactly once each, whole.
    pub(super) fn assert_exactly_once(&self, n: usize, count: u32, size: usize) {
        let mut ids = self.nodes[n].messages.iter().map(|(_, m)| m.id.get()).collect::<Vec<_>>();
        ids.sort_unstable();
        assert_eq!(ids, (0..count).collect::<Vec<_>>());
        for (_, m) in &self.nodes[n].messages {
            assert_eq!(m.body, message(m.id.get(), size, START).body);
        }
    }
}
