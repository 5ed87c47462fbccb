//! Two or three transports, pipes that cut streams anywhere, and virtual time.

mod happy;
mod hostile;
mod limits;
mod shaping;
mod udp;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use aioli_core::crypto::ed25519::SigningKey;
use aioli_core::crypto::x25519::PrivateKey;
use aioli_core::{Cx, Date, Duration, Instant, Now, Rng};
use aioli_wire::i2np::{Message, MessageType};
use aioli_wire::router_info::{RouterInfo, RouterInfoParts};
use aioli_wire::ssu2::Ssu2Parts;
use aioli_wire::verified::Verified;
use aioli_wire::{Mapping, MessageId, RouterAddress, RouterHash, RouterIdentity};

use crate::{Config, ConnId, Lane, Output, Transmit, Transport};

pub(super) const START: Date = Date::from_secs(1_780_000_000);

pub(super) fn addr(n: u8) -> SocketAddr {
    SocketAddr::from(([198, 18, 0, n], 9_000 + u16::from(n)))
}

/// The keys of a test router.
pub(super) struct Keys {
    pub(super) static_key: PrivateKey,
    pub(super) iv: [u8; 16],
    signing: SigningKey,
    identity: RouterIdentity,
    pub(super) addr: SocketAddr,
}

impl Keys {
    pub(super) fn new(n: u8, rng: &mut Rng) -> Self {
        let signing = SigningKey::generate(rng);
        let encryption = PrivateKey::generate(rng);
        let identity = RouterIdentity::create(&encryption.public(), &signing.public(), &rng.bytes());
        Self { static_key: PrivateKey::generate(rng), iv: rng.bytes(), signing, identity, addr: addr(n) }
    }

    fn ssu2_address(&self, keys: &crate::Ssu2Keys) -> RouterAddress {
        let parts = Ssu2Parts {
            cost: 8,
            static_key: &keys.static_key.public(),
            intro_key: &keys.intro_key.0,
            host: Some(self.addr),
            caps: "",
            mtu: keys.mtu,
            introducers: &[],
        };
        parts.address().unwrap()
    }

    pub(super) fn router_info(
        &self,
        published: Date,
        change: impl FnOnce(&mut RouterInfoParts),
    ) -> Arc<Verified<RouterInfo>> {
        let address =
            RouterAddress::ntcp2(10, &self.static_key.public(), Some((self.addr, self.iv))).unwrap();
        let options =
            Mapping::from_pairs([("caps", "LR"), ("netId", "99"), ("router.version", "0.9.67")]).unwrap();
        let mut parts =
            RouterInfoParts { identity: self.identity.clone(), published, addresses: vec![address], options };
        change(&mut parts);
        Arc::new(RouterInfo::create(parts, &self.signing))
    }
}

/// A router with nothing but a transport.
pub(super) struct Node {
    pub(super) t: Transport,
    pub(super) keys: Keys,
    pub(super) ri: Arc<Verified<RouterInfo>>,
    pub(super) rng: Rng,
    /// Its clock minus the true one, seconds.
    pub(super) skew: i64,
    /// What it told its router.
    pub(super) told: Vec<Output>,
    pub(super) closes: Vec<bool>,
}

impl Node {
    pub(super) fn hash(&self) -> RouterHash {
        self.ri.hash()
    }
}

/// How streams are cut on their way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cut {
    Whole,
    Bytes,
    Random,
}

type End = (usize, ConnId);

pub(super) struct Net {
    pub(super) nodes: Vec<Node>,
    pub(super) now: Instant,
    pub(super) cut: Cut,
    /// Flips a bit of this byte that node `.0` sends.
    pub(super) tamper: Option<(usize, usize)>,
    /// All that each node sent, over all its connections.
    pub(super) sent: Vec<Vec<u8>>,
    /// Addresses whose dials neither succeed nor fail.
    pub(super) silent: Vec<SocketAddr>,
    /// The same for datagrams.
    pub(super) silent_udp: Vec<SocketAddr>,
    /// Datagrams given together at most.
    pub(super) largest_batch: usize,
    datagrams: Vec<(SocketAddr, SocketAddr, Vec<u8>)>,
    /// Holds bytes back.
    pub(super) frozen: bool,
    links: BTreeMap<End, End>,
    flight: BTreeMap<End, Vec<u8>>,
    rng: Rng,
}

impl Net {
    pub(super) fn new(seed: u8, n: usize, config: impl Fn(&mut Config)) -> Self {
        let mut rng = Rng::from_seed([seed; 32]);
        let nodes = (0..n)
            .map(|i| {
                let keys = Keys::new(i as u8 + 1, &mut rng);
                let mut c = Config::new(keys.static_key.clone(), keys.iv);
                (c.net_id, c.private_network) = (99, true);
                config(&mut c);
                let ri = keys.router_info(START, |parts| {
                    if !c.ntcp2 {
                        parts.addresses.clear();
                    }
                    parts.addresses.extend(c.ssu2.as_ref().map(|ssu2| keys.ssu2_address(ssu2)));
                });
                let mut t = Transport::new(c, rng.fork());
                t.set_local(Arc::clone(&ri));
                Node { t, keys, ri, rng: rng.fork(), skew: 0, told: Vec::new(), closes: Vec::new() }
            })
            .collect();
        Self {
            nodes,
            now: Instant::from_micros(1_000_000),
            cut: Cut::Whole,
            tamper: None,
            sent: vec![Vec::new(); n],
            silent: Vec::new(),
            silent_udp: Vec::new(),
            largest_batch: 0,
            datagrams: Vec::new(),
            frozen: false,
            links: BTreeMap::new(),
            flight: BTreeMap::new(),
            rng,
        }
    }

    pub(super) fn clock(&self, n: usize) -> Now {
        let true_ms = START.as_millis() + self.now.as_micros() / 1000;
        let wall = Date::from_millis(true_ms.saturating_add_signed(self.nodes[n].skew * 1000));
        Now { mono: self.now, wall }
    }

    pub(super) fn message(&self, id: u32, len: usize) -> Message {
        let expires = self.clock(0).wall + Duration::from_secs(30);
        Message { kind: MessageType::TunnelData, id: MessageId(id), expires, body: vec![id as u8; len] }
    }

    pub(super) fn send(&mut self, from: usize, to: usize, id: u32, len: usize) {
        let message = self.message(id, len);
        let ri = Arc::clone(&self.nodes[to].ri);
        let now = self.clock(from);
        let node = &mut self.nodes[from];
        node.t.send(&ri, Lane::Own, message, &mut Cx { now, rng: &mut node.rng });
    }

    pub(super) fn with<T>(&mut self, n: usize, f: impl FnOnce(&mut Transport, &mut Cx<'_>) -> T) -> T {
        let now = self.clock(n);
        let node = &mut self.nodes[n];
        f(&mut node.t, &mut Cx { now, rng: &mut node.rng })
    }

    /// Until nothing moves.
    pub(super) fn run(&mut self) {
        loop {
            let mut moved = false;
            for n in 0..self.nodes.len() {
                while let Some(output) = self.nodes[n].t.poll_output() {
                    moved = true;
                    self.output(n, output);
                }
            }
            if !self.frozen {
                moved |= self.deliver() | self.deliver_datagrams();
            }
            if !moved {
                return;
            }
        }
    }

    fn output(&mut self, n: usize, output: Output) {
        match output {
            Output::Dial { conn, to } => {
                if self.silent.contains(&to) {
                    return;
                }
                let target = self.nodes.iter().position(|m| m.keys.addr == to);
                let from = self.nodes[n].keys.addr;
                let accepted =
                    target.and_then(|m| self.with(m, |t, cx| t.handle_accepted(from, cx)).map(|c| (m, c)));
                match accepted {
                    Some(end) => {
                        self.links.insert((n, conn), end);
                        self.links.insert(end, (n, conn));
                        self.with(n, |t, cx| t.handle_connected(conn, cx));
                    }
                    None => self.with(n, |t, cx| t.handle_connect_failed(conn, cx)),
                }
            }
            Output::Transmit(conn) => loop {
                let mut bytes = Vec::new();
                if !self.with(n, |t, cx| t.poll_transmit(conn, &mut bytes, 40_000, cx)) {
                    return;
                }
                if let Some((who, at)) = self.tamper
                    && who == n
                    && (self.sent[n].len()..self.sent[n].len() + bytes.len()).contains(&at)
                {
                    let offset = at - self.sent[n].len();
                    bytes[offset] ^= 1 << (at % 8);
                }
                self.sent[n].extend_from_slice(&bytes);
                if let Some(end) = self.links.get(&(n, conn)) {
                    self.flight.entry(*end).or_default().extend_from_slice(&bytes);
                }
            },
            Output::Close { conn, reset } => {
                self.nodes[n].closes.push(reset);
                self.flight.remove(&(n, conn));
                let Some(end) = self.links.remove(&(n, conn)) else { return };
                if reset {
                    self.flight.remove(&end);
                } else {
                    self.deliver_to(end);
                }
                self.links.remove(&end);
                self.with(end.0, |t, cx| t.handle_closed(end.1, cx));
            }
            Output::Datagrams => self.datagrams(n),
            Output::ReadMore(conn) => drop(self.deliver_to((n, conn))),
            other @ (Output::Established { .. }
            | Output::Disconnected { .. }
            | Output::HandshakeFailed { .. }
            | Output::Lost { .. }
            | Output::Silent { .. }
            | Output::DialFailed { .. }
            | Output::Messages { .. }
            | Output::RouterInfo { .. }
            | Output::PeerClock { .. }
            | Output::ObservedAddress { .. }
            | Output::Visitor { .. }
            | Output::PeerTested { .. }
            | Output::RelayTag { .. }
            | Output::WantRouterInfo { .. }
            | Output::WantIntroducers { .. }
            | Output::Stray { .. }
            | Output::ClockSkew { .. }) => self.nodes[n].told.push(other),
        }
    }

    fn datagrams(&mut self, n: usize) {
        let from = self.nodes[n].keys.addr;
        let mut out = Vec::new();
        while let Some(Transmit { to, segment }) = self.with(n, |t, cx| t.poll_datagrams(&mut out, 16, cx)) {
            let black_hole = self.silent_udp.contains(&to);
            let packets = out.chunks(segment).map(<[u8]>::to_vec);
            self.datagrams.extend(packets.filter(|_| !black_hole).map(|packet| (from, to, packet)));
            self.largest_batch = self.largest_batch.max(out.len() / segment);
            out.clear();
        }
    }

    fn deliver_datagrams(&mut self) -> bool {
        let mut moved = false;
        for (from, to, mut packet) in std::mem::take(&mut self.datagrams) {
            if let Some(m) = self.nodes.iter().position(|node| node.keys.addr == to) {
                moved = true;
                self.with(m, |t, cx| t.handle_datagram(from, &mut packet, cx));
            }
        }
        moved
    }

    fn deliver(&mut self) -> bool {
        let ends: Vec<End> = self.flight.keys().copied().collect();
        let mut moved = false;
        for end in ends {
            moved |= self.deliver_to(end);
        }
        moved
    }

    fn deliver_to(&mut self, end: End) -> bool {
        let Some(mut bytes) = self.flight.remove(&end) else { return false };
        let mut rest = bytes.as_mut_slice();
        let mut moved = false;
        while !rest.is_empty() {
            let n = match self.cut {
                Cut::Whole => rest.len(),
                Cut::Bytes => 1,
                Cut::Random => self.rng.between(1, 1 + rest.len() as u64 / 3) as usize,
            };
            let (now, later) = rest.split_at_mut(n);
            rest = later;
            let (now, held) = match self.with(end.0, |t, cx| t.read_room(end.1, cx)) {
                room if room < now.len() => now.split_at_mut(room),
                _ => (now, &mut [][..]),
            };
            if !now.is_empty() {
                moved = true;
                self.with(end.0, |t, cx| t.handle_bytes(end.1, now, cx));
            }
            if !held.is_empty() {
                // The rest stays with the kernel.
                let rest = [&*held, &*rest].concat();
                self.flight.insert(end, rest);
                return moved;
            }
        }
        true
    }

    /// Lets time pass, with every timeout on the way.
    pub(super) fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        loop {
            self.run();
            let next =
                (0..self.nodes.len()).filter_map(|n| self.nodes[n].t.next_timeout()).map(|(at, _)| at).min();
            let Some(at) = next.filter(|at| *at <= end) else { break };
            self.now = self.now.max(at);
            for n in 0..self.nodes.len() {
                self.with(n, |t, cx| t.handle_timeout(cx));
            }
        }
        self.now = end;
        self.run();
    }

    /// The connections of a node that still have another end.
    pub(super) fn conns(&self, n: usize) -> Vec<ConnId> {
        self.links.keys().filter(|(m, _)| *m == n).map(|(_, c)| *c).collect()
    }

    pub(super) fn inject(&mut self, n: usize, conn: ConnId, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        self.with(n, |t, cx| t.handle_bytes(conn, &mut bytes, cx));
    }

    /// Message numbers that a node received, in order.
    pub(super) fn received(&self, n: usize) -> Vec<u32> {
        let mut out = Vec::new();
        for told in &self.nodes[n].told {
            if let Output::Messages { messages, .. } = told {
                out.extend(messages.iter().map(|m| m.id.0));
            }
        }
        out
    }

    pub(super) fn count(&self, n: usize, f: impl Fn(&Output) -> bool) -> usize {
        self.nodes[n].told.iter().filter(|o| f(o)).count()
    }

    pub(super) fn connected(&self, a: usize, b: usize) -> bool {
        self.nodes[a].t.is_connected(&self.nodes[b].hash())
    }
}
