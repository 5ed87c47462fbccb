//! A mesh of databases under virtual time: messages take a while and may be
//! lost, tunnels are a hop, some routers are dead or lie.

mod choice;
mod crowds;
mod mesh;
mod rules;
mod serving;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;

use aioli_core::crypto::ed25519::SigningKey;
use aioli_core::crypto::{Secret, x25519};
use aioli_core::{Cx, Date, Duration, Instant, Now, Rng};
use aioli_wire::i2np::{DatabaseSearchReply, DatabaseStore};
use aioli_wire::{
    Destination, DestinationHash, Lease, LeaseSet, LeaseSet2, LeaseSet2Parts, LeaseSetFlags, Mapping,
    Message, MessageType, RouterHash, RouterIdentity, RouterInfo, RouterInfoParts, SessionTag, TunnelId,
    Unverified, Verified, Wire,
};

use crate::{Config, Limits, LookupId, NetDb, Output, Published, Record, ReplyPaths, Source, Via, View};

pub(super) const NET: u8 = 99;
/// 2026-06-26 12:00 UTC.
pub(super) const NOON: u64 = 1_782_475_200;

pub(super) fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(super) fn rng(n: u8) -> Rng {
    Rng::from_seed([n; 32])
}

pub(super) fn now_at(s: u64) -> Now {
    Now { mono: Instant::ZERO + secs(s), wall: Date::from_secs(NOON + s) }
}

/// A router's keys.
pub(super) struct Keys {
    pub(super) signing: SigningKey,
    pub(super) identity: RouterIdentity,
}

impl Keys {
    pub(super) fn new(rng: &mut Rng) -> Self {
        let signing = SigningKey::generate(rng);
        let encryption = x25519::PrivateKey::generate(rng).public();
        let identity = RouterIdentity::create(&encryption, &signing.public(), &rng.bytes());
        Self { signing, identity }
    }

    pub(super) fn hash(&self) -> RouterHash {
        self.identity.hash()
    }

    pub(super) fn info(&self, caps: &str, published: Date) -> Arc<Verified<RouterInfo>> {
        self.info_with(&[("caps", caps), ("netId", "99"), ("router.version", "0.9.67")], published)
    }

    pub(super) fn info_with(&self, options: &[(&str, &str)], published: Date) -> Arc<Verified<RouterInfo>> {
        let options = Mapping::from_pairs(options.iter().copied()).unwrap();
        let parts =
            RouterInfoParts { identity: self.identity.clone(), published, addresses: Vec::new(), options };
        Arc::new(RouterInfo::create(parts, &self.signing))
    }
}

/// What anybody may claim to have received.
pub(super) fn received(info: &RouterInfo) -> Unverified<RouterInfo> {
    RouterInfo::decode_unverified(info.bytes()).unwrap()
}

/// A destination's keys.
pub(super) struct Dest {
    signing: SigningKey,
    destination: Destination,
}

impl Dest {
    pub(super) fn new(rng: &mut Rng) -> Self {
        let signing = SigningKey::generate(rng);
        let destination = Destination::create(&signing.public(), &rng.bytes());
        Self { signing, destination }
    }

    pub(super) fn hash(&self) -> DestinationHash {
        self.destination.hash()
    }

    pub(super) fn lease_set(&self, at: Date, life: Duration) -> Arc<Verified<LeaseSet>> {
        self.lease_set_with(at, life, LeaseSetFlags::default())
    }

    pub(super) fn lease_set_with(
        &self,
        at: Date,
        life: Duration,
        flags: LeaseSetFlags,
    ) -> Arc<Verified<LeaseSet>> {
        let lease =
            Lease { gateway: RouterHash::new([9; 32]), tunnel: TunnelId::new(7).unwrap(), end: at + life };
        let parts = LeaseSet2Parts {
            destination: self.destination.clone(),
            published: at,
            expires: at + life,
            flags,
            offline: None,
            properties: Mapping::new(),
            keys: vec![(4, vec![1; 32])],
            leases: vec![lease],
        };
        Arc::new(LeaseSet2::create(parts, &self.signing))
    }
}

pub(super) fn config(keys: &Keys) -> Config {
    Config {
        our_hash: keys.hash(),
        net_id: NET,
        floodfill: false,
        private_network: true,
        limits: Limits::default(),
    }
}

pub(super) fn message<'a>(kind: MessageType, body: &impl Wire<'a>) -> Message {
    Message { kind, id: 1.into(), expires: Date::from_secs(NOON + 60), body: body.to_bytes() }
}

/// Tunnels that are one hop: the gateway is the router itself, the id tells the view.
pub(super) struct Paths {
    pub(super) hash: RouterHash,
    pub(super) connected: bool,
    pub(super) tunnels: bool,
}

const fn tunnel_number(view: View) -> u32 {
    match view {
        View::Router => 1,
        View::Client(n) => 2 + n,
    }
}

const fn view_of(tunnel: TunnelId) -> View {
    match tunnel.get() {
        1 => View::Router,
        n => View::Client(n - 2),
    }
}

impl ReplyPaths for Paths {
    fn inbound(&self, view: View) -> Option<Lease> {
        let tunnel = TunnelId::new(tunnel_number(view))?;
        self.tunnels.then_some(Lease { gateway: self.hash, tunnel, end: Date::from_secs(u64::MAX / 1000) })
    }
    fn has_outbound(&self, _: View) -> bool {
        self.tunnels
    }
    fn is_connected(&self, _: &RouterHash) -> bool {
        self.connected
    }
}

/// How a router behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    Honest,
    /// Says nothing.
    Dead,
    /// Confirms every store and keeps none; knows nothing and names phantoms.
    Liar,
}

pub(super) struct Node {
    pub(super) keys: Keys,
    pub(super) caps: &'static str,
    pub(super) db: NetDb,
    pub(super) paths: Paths,
    pub(super) manner: Manner,
    rng: Rng,
    expected: BTreeMap<SessionTag, (View, Secret<32>)>,
    pub(super) disk: BTreeSet<RouterHash>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Found(LookupId, Arc<Verified<LeaseSet>>),
    NotFound(LookupId),
    Router(RouterHash),
    NoRouter(RouterHash),
    Published(Published, RouterHash, bool),
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Arrival {
    at: Instant,
    number: u64,
    to: usize,
}

pub(super) struct World {
    pub(super) now: Instant,
    pub(super) start: Date,
    pub(super) nodes: Vec<Node>,
    pub(super) seen: Vec<(Instant, usize, Seen)>,
    pub(super) loss: u64,
    pub(super) sent: u64,
    by_hash: BTreeMap<RouterHash, usize>,
    arrivals: BinaryHeap<Reverse<Arrival>>,
    mail: BTreeMap<u64, (Source, Message)>,
    number: u64,
    rng: Rng,
}

impl World {
    /// `floodfills` of `routers` hold the database. Each knows the first
    /// `known` floodfills.
    pub(super) fn new(routers: usize, floodfills: usize, known: usize, start: u64, seed: u8) -> Self {
        let mut rng = rng(seed);
        let start = Date::from_secs(start);
        let mut world = Self {
            now: Instant::ZERO,
            start,
            nodes: Vec::new(),
            seen: Vec::new(),
            loss: 0,
            sent: 0,
            by_hash: BTreeMap::new(),
            arrivals: BinaryHeap::new(),
            mail: BTreeMap::new(),
            number: 0,
            rng: rng.fork(),
        };
        for i in 0..routers {
            let keys = Keys::new(&mut rng);
            let paths = Paths { hash: keys.hash(), connected: true, tunnels: true };
            let db = NetDb::new(config(&keys), rng.fork());
            world.by_hash.insert(keys.hash(), i);
            world.nodes.push(Node {
                keys,
                caps: if i < floodfills { "XfR" } else { "XR" },
                db,
                paths,
                manner: Manner::Honest,
                rng: rng.fork(),
                expected: BTreeMap::new(),
                disk: BTreeSet::new(),
            });
        }
        let seeds: Vec<_> = world.nodes.iter().take(known).map(|n| n.keys.info(n.caps, start)).collect();
        for i in 0..routers {
            for info in &seeds {
                let info = info.bytes().to_vec();
                let _ = world.call(i, |db, cx, _| db.load(&info, cx));
            }
            world.renew(i);
        }
        world
    }

    pub(super) fn clocks(&self) -> Now {
        Now { mono: self.now, wall: self.start + self.now.since(Instant::ZERO) }
    }

    fn renew(&mut self, i: usize) {
        let wall = self.clocks().wall;
        let info = self.nodes[i].keys.info(self.nodes[i].caps, wall);
        self.call(i, |db, cx, _| db.set_local(info, cx));
    }

    /// Calls the database of router `i` and does what it wants.
    pub(super) fn call<T>(&mut self, i: usize, f: impl FnOnce(&mut NetDb, &mut Cx<'_>, &Paths) -> T) -> T {
        let now = self.clocks();
        let node = &mut self.nodes[i];
        let out = f(&mut node.db, &mut Cx { now, rng: &mut node.rng }, &node.paths);
        while let Some(output) = self.nodes[i].db.poll_output() {
            self.perform(i, output);
        }
        out
    }

    fn perform(&mut self, i: usize, output: Output) {
        let our_hash = self.nodes[i].keys.hash();
        match output {
            Output::Send { to, via, message, garlic } => {
                assert_eq!(garlic, via != Via::Direct, "through tunnels everything is wrapped");
                let source = if garlic { Source::Garlic } else { Source::Peer(our_hash) };
                self.post(i, to, source, message);
            }
            Output::SendTunnel { gateway, tunnel, message, wrap } => {
                let view = view_of(tunnel);
                if let Some((key, tag)) = wrap {
                    let Some(to) = self.by_hash.get(&gateway).copied() else { return };
                    let expected = self.nodes[to].expected.remove(&tag).expect("a tag that was announced");
                    assert!(expected.0 == view && expected.1.ct_eq(&key));
                }
                self.post(i, gateway, Source::Tunnel(view), message);
            }
            Output::ExpectReply { view, tag, key, .. } => {
                self.nodes[i].expected.insert(tag, (view, key));
            }
            Output::Found { id, lease_set, .. } => self.see(i, Seen::Found(id, lease_set)),
            Output::Silent(_) | Output::SearchEnded(_) => {}
            Output::NotFound { id, .. } => self.see(i, Seen::NotFound(id)),
            Output::RouterFound(info) => self.see(i, Seen::Router(info.hash())),
            Output::RouterNotFound(hash) => self.see(i, Seen::NoRouter(hash)),
            Output::Published { what, floodfill, verified } => {
                self.see(i, Seen::Published(what, floodfill, verified));
            }
            Output::RenewLocal => self.renew(i),
            Output::Record(Record::StoreRouter(hash, _)) => {
                self.nodes[i].disk.insert(hash);
            }
            Output::Record(Record::RemoveRouter(hash)) => {
                self.nodes[i].disk.remove(&hash);
            }
        }
    }

    fn see(&mut self, i: usize, what: Seen) {
        self.seen.push((self.now, i, what));
    }

    fn post(&mut self, from: usize, to: RouterHash, source: Source, message: Message) {
        self.sent += 1;
        let Some(to) = self.by_hash.get(&to).copied() else { return };
        let message = match self.nodes[from].manner {
            Manner::Dead => return,
            Manner::Liar => lie(message, self.nodes[from].keys.hash(), &mut self.rng),
            Manner::Honest => message,
        };
        if self.rng.chance(self.loss, 100) {
            return;
        }
        let wait = if matches!(source, Source::Peer(_)) { (20, 80) } else { (100, 300) };
        let at = self.now + self.rng.duration(Duration::from_millis(wait.0), Duration::from_millis(wait.1));
        self.number += 1;
        self.arrivals.push(Reverse(Arrival { at, number: self.number, to }));
        self.mail.insert(self.number, (source, message));
    }

    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let timer = (0..self.nodes.len())
                .filter_map(|i| self.nodes[i].db.next_timeout().map(|(at, _)| (at, i)))
                .min();
            let arrival = self.arrivals.peek().map(|Reverse(a)| a.at);
            let next = timer.map(|t| t.0).into_iter().chain(arrival).min();
            let Some(at) = next.filter(|at| *at <= end) else { break };
            self.now = self.now.max(at);
            if arrival == Some(at) {
                let Some(Reverse(arrival)) = self.arrivals.pop() else { break };
                let Some((source, message)) = self.mail.remove(&arrival.number) else { continue };
                if self.nodes[arrival.to].manner != Manner::Dead {
                    self.call(arrival.to, |db, cx, paths| db.handle_message(source, &message, cx, paths));
                }
            } else if let Some((_, i)) = timer {
                self.call(i, |db, cx, paths| db.handle_timeout(cx, paths));
            }
        }
        self.now = end;
    }

    pub(super) fn index(&self, hash: &RouterHash) -> usize {
        self.by_hash[hash]
    }

    pub(super) fn publish(&mut self, i: usize, client: u32, dest: &Dest) {
        let set = dest.lease_set(self.clocks().wall, secs(600));
        self.call(i, |db, cx, _| db.publish_lease_set(View::Client(client), set, cx));
    }

    /// Asks, waits, and says how long the answer took; none: not found.
    pub(super) fn find(&mut self, i: usize, client: u32, key: DestinationHash) -> Option<Duration> {
        let from = self.now;
        let id = self.call(i, |db, cx, _| db.find_lease_set(View::Client(client), key, cx));
        self.run(secs(20));
        for (at, _, seen) in self.seen.iter().rev() {
            match seen {
                Seen::Found(found, set) if *found == id => {
                    assert_eq!(set.key(), key);
                    return Some(at.since(from));
                }
                Seen::NotFound(asked) if *asked == id => return None,
                Seen::Found(..)
                | Seen::NotFound(_)
                | Seen::Router(_)
                | Seen::NoRouter(_)
                | Seen::Published(..) => {}
            }
        }
        panic!("every question is answered in time")
    }

    /// Which routers serve this LeaseSet.
    pub(super) fn holders(&self, key: &DestinationHash) -> BTreeSet<usize> {
        let now = self.clocks();
        (0..self.nodes.len()).filter(|i| self.nodes[*i].db.served_lease_set(key, now).is_some()).collect()
    }
}

/// Turns an answer into a referral to routers that do not exist.
fn lie(message: Message, liar: RouterHash, rng: &mut Rng) -> Message {
    if message.kind != MessageType::DatabaseStore {
        return message;
    }
    let Ok(store) = DatabaseStore::from_bytes(&message.body) else { return message };
    if store.reply.is_some() {
        return message; // its own RouterInfo
    }
    let peers = (0..3).map(|_| RouterHash::new(rng.bytes())).collect();
    let reply = DatabaseSearchReply { key: store.key, peers, from: liar };
    Message { kind: MessageType::DatabaseSearchReply, body: reply.to_bytes(), ..message }
}
