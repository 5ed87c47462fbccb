//! Networks of `Tunnels` that exchange their outputs as routers would, under
//! virtual time.

mod budgets;
mod builds;
mod hop;
mod pools;

use aioli_core::crypto::{Secret, noise_n, one_time, x25519};
use aioli_core::{Date, Duration, Now};
use aioli_wire::build::{BandwidthWish, random_tunnel_id};
use aioli_wire::garlic::{Block, blocks};
use aioli_wire::i2np::{DeliveryStatus, Garlic};
use aioli_wire::{MessageId, SessionTag, Wire};
use proptest::prelude::{any, prop_assert, proptest};

use super::*;

const TICK: Duration = Duration::from_millis(5);

/// One router's tunnels, and what a router does around them.
struct Node {
    tunnels: Tunnels,
    key: x25519::PrivateKey,
    rng: Rng,
    replies: BTreeMap<SessionTag, [u8; 32]>,
    received: Vec<(PoolId, Message)>,
    events: Vec<Output>,
}

/// Messages under way: when they arrive, from whom, to whom.
struct Network {
    nodes: BTreeMap<RouterHash, Node>,
    under_way: VecDeque<(Instant, RouterHash, RouterHash, Vec<Message>)>,
    dead: BTreeSet<RouterHash>,
    mono: Instant,
    tamper: bool,
    /// Every link takes this much longer.
    slow: Duration,
    /// One bit is flipped: of which build message, at which bit.
    flip: Option<(usize, usize)>,
    /// From whom, to whom; what came out of garlic is from itself.
    sent: Vec<(RouterHash, RouterHash, Message)>,
}

struct Everyone(Vec<Hop>);

impl Peers for Everyone {
    fn choose_hops(&self, request: &HopRequest, rng: &mut Rng) -> Option<Vec<Hop>> {
        let mut hops = self.0.clone();
        rng.shuffle(&mut hops);
        hops.truncate(usize::from(request.length));
        let place = if request.inbound { hops.len().saturating_sub(1) } else { 0 };
        let free = |hop: &&Hop| {
            !request.spent.contains(&hop.hash) && hops.iter().all(|other| other.hash != hop.hash)
        };
        if hops.get(place).is_some_and(|hop| request.spent.contains(&hop.hash))
            && let Some(other) = rng.choose(&self.0.iter().filter(free).collect::<Vec<_>>())
        {
            hops[place] = (*other).clone();
        }
        (hops.len() == usize::from(request.length)).then_some(hops)
    }
}

impl Network {
    fn new(size: u8, limits: &Limits) -> Self {
        let mut nodes = BTreeMap::new();
        for n in 1..=size {
            let mut rng = Rng::from_seed([n; 32]);
            let key = x25519::PrivateKey::generate(&mut rng);
            let hash = RouterHash::new([n; 32]);
            let config = Config { limits: limits.clone(), ..Config::new(hash, key.clone()) };
            let tunnels = Tunnels::new(config, rng.fork());
            let node = Node {
                tunnels,
                key,
                rng,
                replies: BTreeMap::new(),
                received: Vec::new(),
                events: Vec::new(),
            };
            nodes.insert(hash, node);
        }
        Self {
            nodes,
            under_way: VecDeque::new(),
            dead: BTreeSet::new(),
            mono: Instant::from_micros(1),
            tamper: false,
            slow: Duration::ZERO,
            flip: None,
            sent: Vec::new(),
        }
    }

    fn now(&self) -> Now {
        let wall = Date::from_secs(1_780_000_000) + self.mono.since(Instant::ZERO);
        Now { mono: self.mono, wall }
    }

    fn hops(&self, but: RouterHash) -> Vec<Hop> {
        let others = self.nodes.iter().filter(|(hash, _)| **hash != but && !self.dead.contains(*hash));
        others.map(|(hash, node)| Hop { hash: *hash, encryption_key: node.key.public() }).collect()
    }

    fn with<T>(&mut self, at: RouterHash, f: impl FnOnce(&mut Tunnels, &mut Cx<'_>) -> T) -> T {
        let now = self.now();
        let node = self.nodes.get_mut(&at).unwrap();
        let result = f(&mut node.tunnels, &mut Cx { now, rng: &mut node.rng });
        self.drain(at);
        result
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "all other outputs are kept to be looked at")]
    fn drain(&mut self, at: RouterHash) {
        let now = self.now();
        loop {
            let node = self.nodes.get_mut(&at).unwrap();
            node.tunnels.flush(&mut Cx { now, rng: &mut node.rng });
            let Some(output) = node.tunnels.poll_output() else { return };
            match output {
                Output::Send { to, mut messages, .. } => {
                    if self.tamper {
                        for message in &mut messages {
                            let middle = message.body.len() / 2;
                            message.body[middle] ^= 1;
                        }
                    }
                    for message in &mut messages {
                        flip(&mut self.flip, message);
                    }
                    self.sent.extend(messages.iter().map(|m| (at, to, m.clone())));
                    self.under_way.push_back((self.mono + TICK + self.slow, at, to, messages));
                }
                Output::Received { pool, message, .. } if message.kind == MessageType::Garlic => {
                    self.open(at, None, message, Some(pool));
                }
                // The endpoint was the gateway of the reply tunnel as well: nothing to hide from itself.
                Output::Received { message, .. } if message.kind == MessageType::OutboundTunnelBuildReply => {
                    self.dispatch(at, at, message);
                }
                Output::Received { pool, message, .. } => node.received.push((pool, message)),
                Output::ExpectReply { tag, key, .. } => {
                    node.replies.insert(tag, *key.as_bytes());
                }
                event => node.events.push(event),
            }
        }
    }

    /// Garlic, as a router opens it.
    fn open(&mut self, at: RouterHash, from: Option<RouterHash>, message: Message, pool: Option<PoolId>) {
        let Some(node) = self.nodes.get_mut(&at) else { return };
        let Ok(garlic) = Garlic::from_bytes(&message.body) else { return };
        let mut sealed = garlic.bytes.to_vec();
        let tag = sealed.first_chunk::<8>().copied().map(SessionTag);
        let plain = match tag.and_then(|tag| node.replies.remove(&tag)) {
            Some(key) => one_time::open(&key, &sealed).ok(),
            None => noise_n::open(&node.key, &mut sealed).ok().map(|(plain, _)| plain.to_vec()),
        };
        let Some(plain) = plain else {
            if let Some(pool) = pool {
                node.received.push((pool, message));
            }
            return;
        };
        for block in blocks(&plain).flatten() {
            let Block::Clove(clove) = block else { continue };
            let inner = Message {
                kind: MessageType::from_code(clove.kind),
                id: MessageId(clove.id),
                expires: clove.expires,
                body: clove.body.to_vec(),
            };
            self.sent.push((at, at, inner.clone()));
            self.dispatch(at, from.unwrap_or(at), inner);
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "all other kinds are for tunnels")]
    fn dispatch(&mut self, at: RouterHash, from: RouterHash, message: Message) {
        match message.kind {
            MessageType::Garlic => self.open(at, Some(from), message, None),
            MessageType::OutboundTunnelBuildReply => {
                self.with(at, |t, cx| t.handle_build_reply(&message, cx))
            }
            MessageType::DeliveryStatus => {
                let id = DeliveryStatus::from_bytes(&message.body).unwrap().id.0;
                self.with(at, |t, cx| t.handle_delivery_status(id, cx));
            }
            MessageType::Data => self.nodes.get_mut(&at).unwrap().received.push((PoolId(99), message)),
            _ => self.with(at, |t, cx| t.handle_message(from, vec![message], cx, &Nowhere)),
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.mono + time;
        while self.mono < end {
            self.mono += TICK;
            while self.under_way.front().is_some_and(|(at, ..)| *at <= self.mono) {
                let Some((_, from, to, messages)) = self.under_way.pop_front() else { break };
                if self.dead.contains(&to) || self.dead.contains(&from) {
                    continue;
                }
                let (data, others): (Vec<_>, Vec<_>) =
                    messages.into_iter().partition(|m| m.kind == MessageType::TunnelData);
                if !data.is_empty() {
                    self.with(to, |t, cx| t.handle_message(from, data, cx, &Nowhere));
                }
                for message in others {
                    self.dispatch(to, from, message);
                }
            }
            let due: Vec<_> = self
                .nodes
                .iter()
                .filter(|(_, n)| n.tunnels.next_timeout().is_some_and(|(at, _)| at <= self.mono))
                .map(|(hash, _)| *hash)
                .collect();
            for at in due {
                let peers = Everyone(self.hops(at));
                self.with(at, |t, cx| t.handle_timeout(cx, &peers));
            }
        }
    }

    fn pool(&mut self, at: RouterHash, id: PoolId, length: u8, quantity: u8) {
        let side = Side {
            length,
            variance: 0,
            quantity,
            backup: 0,
            allow_zero_hop: id == PoolId::EXPLORATORY,
            bandwidth: BandwidthWish::default(),
        };
        let kind = if id == PoolId::EXPLORATORY { PoolKind::Exploratory } else { PoolKind::Client };
        let config = PoolConfig { kind, inbound: side, outbound: side, order_key: [3; 32] };
        self.with(at, |t, cx| t.create_pool(id, config, cx));
    }

    fn stats(&self, at: RouterHash) -> Stats {
        self.nodes[&at].tunnels.stats()
    }

    /// Sends `bytes` from one pool of `at` into the same of `to`; what arrived there.
    fn carry(&mut self, at: RouterHash, to: RouterHash, pool: PoolId, bytes: &[u8]) -> Vec<Vec<u8>> {
        self.carry_between((at, pool), (to, pool), bytes)
    }

    fn carry_between(
        &mut self,
        (at, from_pool): (RouterHash, PoolId),
        (to, pool): (RouterHash, PoolId),
        bytes: &[u8],
    ) -> Vec<Vec<u8>> {
        let lease = *self.nodes[&to].tunnels.leases(pool).first().unwrap();
        let message = Message {
            kind: MessageType::Data,
            id: MessageId(7),
            expires: self.now().wall + Duration::from_secs(30),
            body: bytes.to_vec(),
        };
        let deliveries = vec![(Delivery::Tunnel(lease.gateway, lease.tunnel), message)];
        self.with(at, |t, cx| t.send(from_pool, None, deliveries, cx)).unwrap();
        self.run(Duration::from_millis(100));
        let received = &mut self.nodes.get_mut(&to).unwrap().received;
        std::mem::take(received).into_iter().map(|(_, m)| m.body).collect()
    }
}

/// Damages the build message that is due for it.
fn flip(flip: &mut Option<(usize, usize)>, message: &mut Message) {
    if message.kind != MessageType::ShortTunnelBuild {
        return;
    }
    match flip {
        Some((0, bit)) => {
            let at = 1 + *bit / 8 % (message.body.len() - 1);
            message.body[at] ^= 1 << (*bit % 8);
            *flip = None;
        }
        Some((n, _)) => *n -= 1,
        None => {}
    }
}

const A: RouterHash = RouterHash::new([1; 32]);
const B: RouterHash = RouterHash::new([2; 32]);
const POOL: PoolId = PoolId(5);

#[test]
fn tunnels_of_every_length_carry_every_size() {
    for length in 0..=7 {
        let mut net = Network::new(10, &Limits::default());
        for at in [A, B] {
            net.pool(at, PoolId::EXPLORATORY, 1, 1);
            net.pool(at, POOL, length, 1);
        }
        net.run(Duration::from_secs(2));
        for size in [1, 500, 961, 1_000, 1_900, 20_000, 62_000] {
            let bytes: Vec<u8> = (0..size).map(|i: u32| (i % 251) as u8).collect();
            assert_eq!(net.carry(A, B, POOL, &bytes), [bytes], "{size} bytes over {length} hops each way");
        }
    }
}

#[test]
fn a_pool_reaches_its_quantity_at_once_and_keeps_it() {
    let mut net = Network::new(8, &Limits::default());
    let all: Vec<_> = net.nodes.keys().copied().collect();
    for at in &all {
        net.pool(*at, PoolId::EXPLORATORY, 2, 2);
    }
    net.run(Duration::from_millis(500));
    net.pool(A, POOL, 3, 3);
    net.run(Duration::from_secs(1));
    assert_eq!(net.nodes[&A].tunnels.leases(POOL).len(), 3);
    let mut largest = [0; 2];
    for minute in 0..30 {
        net.run(Duration::from_secs(60));
        for at in &all {
            let leases = net.nodes[at].tunnels.leases(PoolId::EXPLORATORY).len();
            assert!(
                leases >= 2 && net.nodes[at].tunnels.has_outbound(PoolId::EXPLORATORY),
                "minute {minute}"
            );
            let stats = net.stats(*at);
            assert_eq!((stats.tests_failed, stats.builds_timed_out, stats.malformed), (0, 0, 0), "{stats:?}");
            let table = &mut largest[usize::from(minute >= 15)];
            *table = (*table).max(stats.transit + stats.inbound + stats.outbound + stats.fragments_held);
        }
        assert!(net.nodes[&A].tunnels.leases(POOL).len() >= 3);
        net.sent.clear();
    }
    assert!(largest[1] <= largest[0] + largest[0] / 2, "{largest:?}");
}

#[test]
fn tunnels_through_a_dead_router_are_found_out_and_replaced() {
    let mut net = Network::new(8, &Limits::default());
    net.pool(A, PoolId::EXPLORATORY, 2, 3);
    net.run(Duration::from_secs(2));
    let victim = net.nodes[&A].tunnels.outbound.values().next().unwrap().hops[0];
    net.dead.insert(victim);
    net.run(Duration::from_secs(120));
    let stats = net.stats(A);
    assert!(stats.tests_failed >= 2, "{stats:?}");
    let tunnels = &net.nodes[&A].tunnels;
    let through = tunnels.outbound.values().map(|t| &t.hops).chain(tunnels.inbound.values().map(|t| &t.hops));
    assert!(through.into_iter().all(|hops| !hops.contains(&victim)));
    assert_eq!(tunnels.leases(PoolId::EXPLORATORY).len(), 3);
}

#[test]
fn a_build_that_someone_changes_on_the_way_makes_no_tunnel() {
    let mut net = Network::new(8, &Limits::default());
    net.tamper = true;
    net.pool(A, PoolId::EXPLORATORY, 3, 2);
    net.run(Duration::from_secs(30));
    let stats = net.stats(A);
    assert!(stats.builds_started > 0 && stats.builds_succeeded == 0, "{stats:?}");
}

#[test]
fn a_full_router_refuses_and_says_who() {
    let mut net = Network::new(4, &Limits { transit_tunnels: 0, ..Limits::default() });
    net.pool(A, PoolId::EXPLORATORY, 2, 1);
    net.run(Duration::from_secs(1));
    let refused = net.nodes[&A].events.iter().any(|e| {
        matches!(e, Output::BuildDone { result: BuildResult::Rejected { by }, hops, .. } if by.len() == hops.len())
    });
    assert!(refused, "{:?}", net.nodes[&A].events);
}

#[test]
fn a_message_passes_once_and_only_from_the_previous_hop() {
    let mut net = Network::new(8, &Limits::default());
    for at in [A, B] {
        net.pool(at, POOL, 2, 1);
        net.pool(at, PoolId::EXPLORATORY, 1, 1);
    }
    net.run(Duration::from_secs(2));
    net.sent.clear();
    assert_eq!(net.carry(A, B, POOL, b"once").len(), 1);
    let data = net.sent.iter().find(|(_, _, m)| m.kind == MessageType::TunnelData).cloned();
    let (from, to, message) = data.unwrap();
    net.with(to, |t, cx| t.handle_message(from, vec![message.clone()], cx, &Nowhere));
    assert_eq!(net.stats(to).duplicates, 1);
    net.with(to, |t, cx| t.handle_message(RouterHash::new([77; 32]), vec![message], cx, &Nowhere));
    assert_eq!(net.stats(to).wrong_previous_hop, 1);
}

#[test]
fn a_build_record_works_once() {
    let mut net = Network::new(6, &Limits::default());
    net.pool(A, PoolId::EXPLORATORY, 2, 1);
    net.run(Duration::from_secs(1));
    let build = net.sent.iter().find(|(from, _, m)| *from == A && m.kind == MessageType::ShortTunnelBuild);
    let (from, to, message) = build.cloned().unwrap();
    net.with(to, |t, cx| t.handle_message(from, vec![message], cx, &Nowhere));
    assert_eq!(net.stats(to).builds_replayed, 1);
}

#[test]
fn a_neighbour_that_floods_us_with_builds_is_held_to_its_share() {
    let mut throttle = Throttle::new(4, 40);
    let admitted = (0..200).filter(|_| throttle.admit(&A, 0)).count();
    assert!((30..100).contains(&admitted), "{admitted}");
    assert!(throttle.admit(&B, 0));
    throttle.expire(Instant::from_micros(200_000_000));
    assert!(throttle.admit(&A, 0));
}

#[test]
fn what_never_comes_whole_is_forgotten() {
    use aioli_wire::tunnel::{Fragment, TunnelDelivery};
    let mut reassembly = Reassembly::new(10_000, 20_000);
    let first = Fragment::First { delivery: TunnelDelivery::Local, id: Some(1), data: &[1; 900] };
    assert_eq!(reassembly.push(1, &first, Instant::ZERO), None);
    let last = Fragment::FollowOn { id: 1, number: 1, last: true, data: &[2; 10] };
    assert_eq!(reassembly.push(2, &last, Instant::ZERO), None, "of another tunnel");
    assert_eq!(reassembly.expire(Instant::ZERO + Duration::from_secs(46)), 2);
    for id in 0..100 {
        let part = Fragment::FollowOn { id, number: 1, last: true, data: &[2; 900] };
        assert_eq!(reassembly.push(1, &part, Instant::ZERO), None);
    }
    assert_eq!((reassembly.len(), reassembly.evicted), (8, 92));
}

proptest! {
    #[test]
    fn no_message_makes_it_panic(kind in 18_u8..27, body in proptest::collection::vec(any::<u8>(), 0..1_300), seed: [u8; 32]) {
        let mut net = Network::new(2, &Limits::default());
        let expires = net.now().wall;
        let body = if kind == 18 { let mut b = body; b.resize(1028, 7); b } else { body };
        let message = Message { kind: MessageType::from_code(kind), id: MessageId(u32::from(seed[0])), expires, body };
        net.with(A, |t, cx| {
            t.handle_message(B, vec![message.clone()], cx, &Nowhere);
            t.handle_build_reply(&message, cx);
        });
        prop_assert!(net.stats(A).transit == 0);
    }
}
