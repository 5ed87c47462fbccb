//! Local destinations that reach each other through tunnels that lose,
//! reorder and break.

use std::collections::BTreeSet;

use aioli_core::crypto::ed25519::SigningKey;
use aioli_core::{Date, Now};
use aioli_wire::garlic::{Clove, CloveDelivery};
use aioli_wire::i2np::MessageType;
use aioli_wire::lease_set::{LeaseSet2, LeaseSet2Parts, LeaseSetFlags};
use aioli_wire::{Mapping, MessageId, RouterHash};

use super::*;

struct Node {
    local: LocalDestination,
    rng: Rng,
    events: Vec<StreamEvent>,
    rest: Vec<Output>,
    received: Vec<u8>,
    /// Bytes still to be sent, per stream.
    to_send: BTreeMap<StreamId, Vec<u8>>,
}

struct World {
    now: Now,
    nodes: Vec<Node>,
    net: Rng,
    netdb: BTreeMap<DestinationHash, Arc<Verified<LeaseSet>>>,
    flying: BTreeMap<(Instant, u64), (usize, Message)>,
    seq: u64,
    loss: u64,
    broken: BTreeSet<(RouterHash, TunnelId)>,
    lookups: u64,
}

fn lease(node: usize, n: u32, end: Date) -> Lease {
    Lease { gateway: RouterHash::new([node as u8; 32]), tunnel: TunnelId::new(n).unwrap(), end }
}

fn config(seed: u8, publish: bool) -> (Config, Rng) {
    let mut rng = Rng::from_seed([seed; 32]);
    let key = SigningKey::generate(&mut rng);
    let destination = Destination::create(&key.public(), &rng.bytes());
    let config = Config {
        streaming: streaming::Config::new(streaming::Identity::new(destination, key)),
        encryption: PrivateKey::generate(&mut rng),
        publish,
        ratchet: ratchet::Limits::default(),
        limits: Limits::default(),
    };
    (config, rng)
}

impl World {
    /// One node per flag, published or not, each with three inbound tunnels.
    fn new(publish: &[bool]) -> Self {
        let now = Now { mono: Instant::ZERO, wall: Date::from_secs(1_800_000_000) };
        let nodes = publish.iter().enumerate().map(|(i, publish)| {
            let (config, mut rng) = config(i as u8 + 1, *publish);
            let local = LocalDestination::new(config, &mut rng);
            Node { local, rng, events: vec![], rest: vec![], received: vec![], to_send: BTreeMap::new() }
        });
        let mut w = Self {
            now,
            nodes: nodes.collect(),
            net: Rng::from_seed([99; 32]),
            netdb: BTreeMap::new(),
            flying: BTreeMap::new(),
            seq: 0,
            loss: 0,
            broken: BTreeSet::new(),
            lookups: 0,
        };
        for i in 0..publish.len() {
            w.give_leases(i, &[1, 2, 3]);
        }
        w
    }

    fn hash(&self, node: usize) -> DestinationHash {
        self.nodes[node].local.hash()
    }

    fn with<T>(&mut self, node: usize, f: impl FnOnce(&mut LocalDestination, &mut Cx<'_>) -> T) -> T {
        let n = &mut self.nodes[node];
        let result = f(&mut n.local, &mut Cx { now: self.now, rng: &mut n.rng });
        self.outputs(node);
        result
    }

    fn give_leases(&mut self, node: usize, tunnels: &[u32]) {
        let end = self.now.wall + Duration::from_secs(600);
        let leases = tunnels.iter().map(|n| lease(node, *n, end)).collect();
        self.with(node, |d, cx| d.set_leases(leases, cx));
    }

    fn outputs(&mut self, node: usize) {
        while let Some(output) = self.nodes[node].local.poll_output() {
            match output {
                Output::Send { to, lease, message, .. } => {
                    assert!(lease.end > self.now.wall);
                    self.with(node, |d, _| d.sent_via(&to, TunnelId::new(5).unwrap()));
                    let broken = self.broken.contains(&(lease.gateway, lease.tunnel));
                    if broken || self.net.chance(self.loss, 100) {
                        continue;
                    }
                    let delay = 100_000 + self.net.up_to(5_000);
                    let at = self.now.mono + Duration::from_micros(delay);
                    let to = usize::from(lease.gateway.as_bytes()[0]);
                    self.seq += 1;
                    self.flying.insert((at, self.seq), (to, message));
                }
                Output::Lookup(hash) => {
                    self.lookups += 1;
                    match self.netdb.get(&hash).cloned() {
                        Some(set) => self.with(node, |d, cx| d.handle_lease_set(set, cx)),
                        None => self.with(node, |d, cx| d.lookup_failed(&hash, cx)),
                    }
                }
                Output::Suspect => {}
                Output::Publish(set) => drop(self.netdb.insert(set.key(), set)),
                Output::Stream(event) => self.nodes[node].events.push(event),
                other @ (Output::ForRouter(_) | Output::Datagram { .. } | Output::LookupDone { .. }) => {
                    self.nodes[node].rest.push(other);
                }
            }
        }
    }

    /// Applications: send what is to be sent, read what can be read.
    fn work(&mut self, node: usize) {
        let ids: Vec<StreamId> = self.nodes[node].to_send.keys().copied().collect();
        for id in ids {
            let bytes = self.nodes[node].to_send[&id].clone();
            let n = self.with(node, |d, cx| d.send(id, &bytes, cx));
            self.nodes[node].to_send.get_mut(&id).unwrap().drain(..n);
            if n == bytes.len() {
                self.nodes[node].to_send.remove(&id);
            }
        }
        for event in self.nodes[node].events.clone() {
            if let StreamEvent::Readable(id) = event {
                while let Some(chunk) = self.with(node, |d, cx| d.recv_chunk(id, cx)) {
                    self.nodes[node].received.extend(chunk);
                }
            }
        }
        self.nodes[node].events.retain(|e| !matches!(e, StreamEvent::Readable(_)));
    }

    fn run(&mut self, time: Duration) {
        let end = self.now.mono + time;
        loop {
            for node in 0..self.nodes.len() {
                self.work(node);
            }
            let flight = self.flying.first_key_value().map(|((at, _), _)| *at);
            let timers = self.nodes.iter().filter_map(|n| n.local.next_timeout()).map(|(at, _)| at).min();
            let next = flight.into_iter().chain(timers).min().filter(|at| *at <= end).unwrap_or(end);
            let step = next.since(self.now.mono);
            self.now = Now { mono: self.now.mono + step, wall: self.now.wall + step };
            if next >= end {
                return;
            }
            while let Some(entry) = self.flying.first_entry().filter(|e| e.key().0 <= next) {
                let (to, message) = entry.remove();
                self.with(to, |d, cx| d.handle_message(message, cx));
            }
            for node in 0..self.nodes.len() {
                self.with(node, |d, cx| d.handle_timeout(cx));
            }
        }
    }

    fn connect(&mut self, from: usize, to: usize) -> StreamId {
        let target = Target::Hash(self.hash(to));
        self.with(from, |d, cx| d.connect(target, Ports::default(), None, cx)).unwrap()
    }

    /// The first incoming stream at a node.
    fn incoming(&self, node: usize) -> StreamId {
        let id = |e: &StreamEvent| if let StreamEvent::Incoming { id, .. } = e { Some(*id) } else { None };
        self.nodes[node].events.iter().find_map(id).expect("a stream came in")
    }

    fn ends(&self, node: usize) -> Vec<EndReason> {
        let reason =
            |e: &StreamEvent| if let StreamEvent::Closed { reason, .. } = e { Some(*reason) } else { None };
        self.nodes[node].events.iter().filter_map(reason).collect()
    }

    fn stats(&self, node: usize) -> Stats {
        self.nodes[node].local.stats()
    }
}

fn noise(len: usize, seed: u8) -> Vec<u8> {
    let mut out = vec![0; len];
    Rng::from_seed([seed; 32]).fill(&mut out);
    out
}

const S: Duration = Duration::from_secs(1);

/// Alice, whom nobody can look up, connects to Bob by his hash; both send a
/// megabyte through tunnels that lose two percent.
#[test]
fn streams_cross_lossy_tunnels_both_ways() {
    let mut w = World::new(&[false, true]);
    w.nodes[1].local.listen(true);
    w.loss = 2;
    let id = w.connect(0, 1);
    let (up, down) = (noise(1_000_000, 1), noise(1_000_000, 2));
    w.nodes[0].to_send.insert(id, up.clone());
    w.run(5 * S);
    let at_bob = w.incoming(1);
    w.nodes[1].to_send.insert(at_bob, down.clone());
    w.run(120 * S);
    assert!(w.nodes[1].received == up, "{} of {}", w.nodes[1].received.len(), up.len());
    assert!(w.nodes[0].received == down, "{} of {}", w.nodes[0].received.len(), down.len());
    assert!(w.nodes[0].events.contains(&StreamEvent::Connected(id)));
    let (a, b) = (w.stats(0), w.stats(1));
    assert_eq!((w.lookups, b.lookups), (1, 0), "Bob learned Alice's LeaseSet from Alice");
    assert!(a.ratchet.new_sessions_sent < 10 && b.ratchet.new_sessions_sent == 0, "{a:?}");
    assert!(b.ratchet.existing_sent > 500, "{b:?}");
    assert_eq!((a.malformed, a.unexpected, b.malformed, b.unexpected, b.bundled_refused), (0, 0, 0, 0, 0));
    w.with(0, |d, cx| d.close(id, cx));
    w.run(10 * S);
    w.with(1, |d, cx| d.close(at_bob, cx));
    w.run(30 * S);
    assert_eq!((w.ends(0), w.ends(1)), (vec![EndReason::Finished], vec![EndReason::Finished]));
}

#[test]
fn unknown_and_unsupported_destinations_say_why() {
    let mut w = World::new(&[true]);
    let nobody = DestinationHash::new([7; 32]);
    w.with(0, |d, cx| d.connect(Target::Hash(nobody), Ports::default(), None, cx)).unwrap();
    w.run(10 * S);
    assert_eq!((w.ends(0), w.lookups), (vec![], 4), "it may have just come up");
    w.run(10 * S);
    assert_eq!(w.ends(0), [EndReason::NotFound]);
    let key = SigningKey::from_seed([5; 32].into());
    let destination = Destination::create(&key.public(), &[0; 32]);
    let parts = LeaseSet2Parts {
        destination: destination.clone(),
        published: w.now.wall,
        expires: w.now.wall + 600 * S,
        flags: LeaseSetFlags::default(),
        offline: None,
        properties: Mapping::default(),
        keys: vec![(0, vec![7; 256])],
        leases: vec![lease(0, 9, w.now.wall + 600 * S)],
    };
    let old = Arc::new(LeaseSet2::create(parts, &key));
    w.netdb.insert(destination.hash(), old);
    let target = Target::Destination(Box::new(destination));
    w.with(0, |d, cx| d.connect(target, Ports::default(), None, cx)).unwrap();
    w.run(5 * S);
    assert_eq!(w.ends(0), [EndReason::NotFound, EndReason::Encryption]);
    w.with(0, |d, cx| d.lookup(nobody, cx));
    w.run(60 * S);
    let w0 = &w.nodes[0];
    assert!(matches!(w0.rest[..], [Output::LookupDone { destination: None, .. }]), "{:?}", w0.rest);
    assert_eq!(w0.local.pending, 0);
}

#[test]
fn a_destination_that_has_just_come_up_is_found() {
    let mut w = World::new(&[false, true]);
    w.nodes[1].local.listen(true);
    let bob = w.nodes[1].local.hash();
    let set = w.netdb.remove(&bob).unwrap();
    let id = w.connect(0, 1);
    w.run(5 * S);
    w.netdb.insert(bob, set);
    w.run(5 * S);
    assert!(w.nodes[0].events.contains(&StreamEvent::Connected(id)), "{:?}", w.nodes[0].events);
}

/// The lease and then every lease but one breaks in the middle of a transfer.
#[test]
fn a_stream_survives_tunnels_that_break() {
    let mut w = World::new(&[false, true]);
    w.nodes[1].local.listen(true);
    let id = w.connect(0, 1);
    w.run(5 * S);
    let up = noise(3_000_000, 1);
    w.nodes[0].to_send.insert(id, up.clone());
    w.run(Duration::from_millis(600));
    for tunnel in [1, 2] {
        w.broken.insert((RouterHash::new([1; 32]), TunnelId::new(tunnel).unwrap()));
    }
    w.run(240 * S);
    assert!(w.nodes[1].received == up, "{} of {}, {:?}", w.nodes[1].received.len(), up.len(), w.stats(0));
    assert_eq!(w.ends(0), []);
}

/// Both replace their tunnels every few minutes and tell each other; at most
/// now and then a tunnel breaks before the peer knows of the next.
#[test]
fn new_tunnels_are_told_in_band() {
    let mut w = World::new(&[false, true]);
    w.nodes[1].local.listen(true);
    let id = w.connect(0, 1);
    let mut all = Vec::new();
    for round in 0..20u32 {
        for node in 0..2 {
            w.give_leases(node, &[round * 2 + 1, round * 2 + 2, round * 2 + 3, round * 2 + 4]);
        }
        let part = noise(20_000, round as u8);
        all.extend_from_slice(&part);
        w.nodes[0].to_send.insert(id, part);
        w.run(120 * S);
        let old = round * 2 + 2;
        for node in 0..2u8 {
            w.broken.insert((RouterHash::new([node; 32]), TunnelId::new(old).unwrap()));
        }
    }
    assert!(w.nodes[1].received == all, "{} of {}", w.nodes[1].received.len(), all.len());
    assert_eq!(w.ends(0), []);
    assert!(w.stats(1).lookups <= 5, "{:?}", w.stats(1));
    assert!(w.stats(1).bundled >= 10 && w.stats(0).bundled >= 10, "{:?}", w.stats(1));
    assert!(w.stats(0).lease_sets >= 10);
}

#[test]
fn a_restarted_peer_is_reached_again() {
    let mut w = World::new(&[false, true]);
    w.nodes[1].local.listen(true);
    let first = w.connect(0, 1);
    w.nodes[0].to_send.insert(first, noise(5_000, 1));
    w.run(10 * S);
    assert_eq!(w.nodes[1].received.len(), 5_000);
    // The same identity, a new encryption key, new tunnels.
    let (mut fresh, mut rng) = config(2, true);
    fresh.encryption = PrivateKey::generate(&mut rng);
    w.nodes[1].local = LocalDestination::new(fresh, &mut rng);
    w.nodes[1].local.listen(true);
    w.nodes[1].received.clear();
    w.run(S);
    w.give_leases(1, &[11, 12, 13]);
    for n in 1..=3 {
        w.broken.insert((RouterHash::new([1; 32]), TunnelId::new(n).unwrap()));
    }
    let second = w.connect(0, 1);
    w.nodes[0].to_send.insert(second, noise(5_000, 2));
    w.run(60 * S);
    assert!(w.nodes[1].received == noise(5_000, 2), "{:?}", w.stats(0));
}

#[test]
fn a_destination_talks_to_itself_without_tunnels() {
    let mut w = World::new(&[true]);
    w.nodes[0].local.listen(true);
    let to = w.nodes[0].local.lease_set().unwrap().destination().unwrap().clone();
    let target = Target::Destination(Box::new(to));
    let id = w.with(0, |d, cx| d.connect(target, Ports::default(), None, cx)).unwrap();
    w.nodes[0].to_send.insert(id, noise(100_000, 3));
    w.run(20 * S);
    assert!(w.nodes[0].received == noise(100_000, 3));
    assert_eq!(w.stats(0).sent, 0);
}

#[test]
fn datagrams_arrive_with_their_sender_and_ports() {
    let mut w = World::new(&[true, true]);
    let (alice, bob) = (w.hash(0), w.hash(1));
    let sent = Ports { source: 5, destination: 6 };
    w.with(0, |d, cx| d.send_datagram(bob, sent, 18, b"raw", cx));
    w.run(S);
    let [Output::Datagram { from, ports, protocol, payload }] = &w.nodes[1].rest[..] else { panic!() };
    assert_eq!((*from, *ports, *protocol, &payload[..]), (Some(alice), sent, 18, &b"raw"[..]));
}

/// A peer may not use us to reach others, nor tell us about others.
#[test]
fn cloves_that_have_no_business_here_are_refused() {
    let mut w = World::new(&[true, true, true]);
    let key = w.nodes[1].local.sessions.public_key();
    let other = w.nodes[2].local.lease_set().unwrap().clone();
    let store = DatabaseStore::lease_set(&other, None).to_bytes();
    let clove = |delivery, kind: MessageType, body| Clove {
        delivery,
        kind: kind.code(),
        id: 1,
        expires: Date::from_secs(1_800_000_060),
        body,
    };
    let data = [0, 0, 0, 1, 9];
    let cloves = [
        clove(CloveDelivery::Local, MessageType::DatabaseStore, &store[..]),
        clove(CloveDelivery::Router([1; 32]), MessageType::Data, &data),
        clove(CloveDelivery::Tunnel([1; 32], 7.try_into().unwrap()), MessageType::Data, &data),
        clove(CloveDelivery::Destination([1; 32]), MessageType::Data, &data),
        clove(CloveDelivery::Local, MessageType::ShortTunnelBuild, &data),
        clove(CloveDelivery::Local, MessageType::DatabaseLookup, &data),
        clove(CloveDelivery::Local, MessageType::Data, &data),
        clove(CloveDelivery::Local, MessageType::DeliveryStatus, &data),
    ];
    let body = w.with(0, |d, cx| d.sessions.seal(&key, &cloves, cx)).unwrap();
    let expires = w.now.wall + 60 * S;
    let message = Message { kind: MessageType::Garlic, id: MessageId(1), expires, body };
    w.with(1, |d, cx| d.handle_message(message, cx));
    let stats = w.stats(1);
    assert_eq!((stats.bundled, stats.bundled_refused), (1, 1), "Alice's own is kept, the other is not");
    assert_eq!((stats.unexpected, stats.malformed), (5, 1));
    assert!(!w.nodes[1].local.remotes.contains_key(&other.key()));
    assert!(matches!(&w.nodes[1].rest[..], [Output::ForRouter(m)] if m.kind == MessageType::DeliveryStatus));
}

#[test]
fn what_waits_is_bounded_and_gives_up() {
    let mut w = World::new(&[true]);
    let n = &mut w.nodes[0];
    n.local.limits.waiting = 10;
    n.local.limits.remotes = 5;
    for i in 0..20u8 {
        let to = DestinationHash::new([i; 32]);
        for _ in 0..3 {
            let mut cx = Cx { now: w.now, rng: &mut n.rng };
            n.local.send_datagram(to, Ports::default(), 18, b"x", &mut cx);
        }
        assert!(n.local.remotes.len() <= 5 && n.local.waiting <= 10);
    }
    while n.local.poll_output().is_some() {} // the lookups are never answered
    w.run(61 * S);
    let n = &w.nodes[0];
    assert_eq!((n.local.waiting, n.local.stats().waiting_dropped > 0), (0, true));
    w.run(25 * 60 * S);
    assert_eq!((w.stats(0).remotes, w.nodes[0].local.next_timeout()), (0, None));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(32))]
    #[test]
    fn no_message_panics(code: u8, body: Vec<u8>) {
        let mut w = World::new(&[true, true]);
        let key = w.nodes[1].local.sessions.public_key();
        let inner = Clove {
            delivery: CloveDelivery::Local, kind: code, id: 1, expires: w.now.wall + S, body: &body,
        };
        let sealed = w.with(0, |d, cx| d.sessions.seal(&key, &[inner], cx)).unwrap();
        for (kind, body) in [(MessageType::from_code(code), body.clone()), (MessageType::Garlic, sealed)] {
            let message = Message { kind, id: MessageId(1), expires: w.now.wall, body };
            w.with(1, |d, cx| d.handle_message(message, cx));
        }
    }
}
