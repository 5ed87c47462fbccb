//! The link: delay, jitter (which reorders), loss, duplication, and per
//! receiver a bottleneck with a finite queue. Same seed, same run.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use aioli_core::crypto::ed25519::SigningKey;
use aioli_core::{Cx, Date, Duration, Instant, Now, Rng};
use aioli_wire::client_payload::Ports;
use aioli_wire::{Destination, DestinationHash};

use super::super::*;

#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    pub(super) delay: Duration,
    pub(super) jitter: Duration,
    /// Of a million packets.
    pub(super) loss: u64,
    pub(super) duplicates: u64,
    /// Bytes per second; 0 for no bottleneck.
    pub(super) rate: u64,
    /// Bytes that may wait for the bottleneck.
    pub(super) queue: u64,
}

impl Default for Path {
    fn default() -> Self {
        Self {
            delay: Duration::from_millis(100),
            jitter: Duration::ZERO,
            loss: 0,
            duplicates: 0,
            rate: 0,
            queue: 0,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Flight {
    at: Instant,
    n: u64,
    to: usize,
    from: DestinationHash,
    source: u16,
    destination: u16,
    bytes: Vec<u8>,
}

/// What an application at a node does.
#[derive(Clone, Debug, Default)]
pub(super) struct App {
    /// Bytes still to be written, by stream.
    pub(super) to_send: BTreeMap<StreamId, u64>,
    pub(super) written: BTreeMap<StreamId, u64>,
    pub(super) read: BTreeMap<StreamId, u64>,
    /// Does not read while set.
    pub(super) paused: bool,
    /// Closes its side when all is written.
    pub(super) close_when_done: bool,
    /// Closes its side when the peer did.
    pub(super) close_after_peer: bool,
    pub(super) incoming: Vec<StreamId>,
    pub(super) events: Vec<Output>,
}

pub(super) struct Node {
    pub(super) streams: Streams,
    pub(super) hash: DestinationHash,
    pub(super) destination: Destination,
    pub(super) app: App,
    /// Sessions tell who sent a packet.
    pub(super) vouched: bool,
    busy_until: Instant,
}

pub(super) type Filter = Box<dyn FnMut(usize, &[u8]) -> bool>;

pub(super) struct World {
    pub(super) now: Instant,
    rng: Rng,
    pub(super) nodes: Vec<Node>,
    flights: BinaryHeap<Reverse<Flight>>,
    n: u64,
    /// By receiving node.
    pub(super) paths: Vec<Path>,
    pub(super) dropped: u64,
    pub(super) queue_drops: u64,
    /// Packets put on the link, by sending node.
    pub(super) sent: Vec<u64>,
    /// Drops packets for which this is true: (to, bytes).
    pub(super) filter: Option<Filter>,
}

pub(super) fn pattern(offset: u64) -> u8 {
    (offset ^ offset >> 8 ^ offset >> 17) as u8
}

pub(super) fn identity(n: u8) -> Identity {
    let mut rng = Rng::from_seed([n; 32]);
    let key = SigningKey::generate(&mut rng);
    Identity::new(Destination::create(&key.public(), &[n; 32]), key)
}

impl World {
    pub(super) fn new(paths: &[Path], configure: impl Fn(usize, &mut Config)) -> Self {
        let mut rng = Rng::from_seed([77; 32]);
        let nodes = (0..paths.len())
            .map(|i| {
                let mut config = Config::new(identity(i as u8 + 1));
                configure(i, &mut config);
                let destination = config.identity.destination.clone();
                let mut streams = Streams::new(config, rng.fork());
                streams.listen(true);
                Node {
                    streams,
                    hash: destination.hash(),
                    destination,
                    app: App { close_after_peer: true, ..App::default() },
                    vouched: true,
                    busy_until: Instant::ZERO,
                }
            })
            .collect::<Vec<_>>();
        let sent = vec![0; paths.len()];
        Self {
            now: Instant::from_micros(1_000_000),
            rng,
            nodes,
            flights: BinaryHeap::new(),
            n: 0,
            paths: paths.to_vec(),
            dropped: 0,
            queue_drops: 0,
            sent,
            filter: None,
        }
    }

    pub(super) fn pair(path: Path) -> Self {
        Self::new(&[path, path], |_, _| {})
    }

    pub(super) fn with<T>(&mut self, node: usize, f: impl FnOnce(&mut Streams, &mut Cx<'_>) -> T) -> T {
        let wall = Date::from_millis(1_700_000_000_000 + self.now.as_micros() / 1000);
        let mut cx = Cx { now: Now { mono: self.now, wall }, rng: &mut self.rng };
        f(&mut self.nodes[node].streams, &mut cx)
    }

    pub(super) fn connect(&mut self, from: usize, to: usize) -> StreamId {
        let remote = self.nodes[to].destination.clone();
        let ports = Ports { source: 7, destination: 80 };
        self.with(from, |s, cx| s.connect(remote, ports, None, cx)).unwrap()
    }

    /// Connects and sends so many bytes of the pattern.
    pub(super) fn upload(&mut self, from: usize, to: usize, bytes: u64) -> StreamId {
        let id = self.connect(from, to);
        self.nodes[from].app.to_send.insert(id, bytes);
        self.write(from, id);
        id
    }

    pub(super) fn write(&mut self, node: usize, id: StreamId) {
        loop {
            let app = &mut self.nodes[node].app;
            let left = app.to_send.get(&id).copied().unwrap_or(0);
            let done = app.written.get(&id).copied().unwrap_or(0);
            let close = app.close_when_done;
            if left == 0 {
                if close {
                    self.with(node, |s, cx| s.close_write(id, cx));
                }
                return;
            }
            let chunk: Vec<u8> = (done..done + left.min(16_384)).map(pattern).collect();
            let n = self.with(node, |s, cx| s.send(id, &chunk, cx)) as u64;
            let app = &mut self.nodes[node].app;
            app.to_send.insert(id, left - n);
            app.written.insert(id, done + n);
            if n < chunk.len() as u64 {
                return;
            }
        }
    }

    pub(super) fn read(&mut self, node: usize, id: StreamId) {
        let mut buf = vec![0; 65_536];
        loop {
            let n = self.with(node, |s, cx| s.recv(id, &mut buf, cx));
            if n == 0 {
                return;
            }
            let at = self.nodes[node].app.read.entry(id).or_default();
            for (i, b) in buf[..n].iter().enumerate() {
                assert_eq!(*b, pattern(*at + i as u64), "byte {} of {id:?}", *at + i as u64);
            }
            *at += n as u64;
        }
    }

    fn drain(&mut self, node: usize) {
        while let Some(out) = self.nodes[node].streams.poll_output() {
            match &out {
                Output::Packet { .. } => {
                    self.launch(node, out);
                    continue;
                }
                Output::Connected(id) | Output::Writable(id) => self.write(node, *id),
                Output::Incoming { id, .. } => {
                    self.nodes[node].app.incoming.push(*id);
                    self.with(node, |s, _| s.accept(*id));
                }
                Output::Readable(id) if !self.nodes[node].app.paused => self.read(node, *id),
                Output::PeerClosed(id) if self.nodes[node].app.close_after_peer => {
                    self.read(node, *id);
                    self.with(node, |s, cx| s.close_write(*id, cx));
                }
                Output::Readable(_)
                | Output::PeerClosed(_)
                | Output::Closed { .. }
                | Output::PathSuspect { .. }
                | Output::Pong { .. } => {}
            }
            self.nodes[node].app.events.push(out);
        }
    }

    fn launch(&mut self, node: usize, out: Output) {
        let Output::Packet { to, bytes, ports, .. } = out else { return };
        let Some(to) = self.nodes.iter().position(|n| n.hash == to) else { return };
        self.sent[node] += 1;
        let path = self.paths[to];
        let filtered = self.filter.as_mut().is_some_and(|f| f(to, &bytes));
        if filtered || self.rng.chance(path.loss, 1_000_000) {
            self.dropped += 1;
            return;
        }
        let copies = 1 + u64::from(self.rng.chance(path.duplicates, 1_000_000));
        for _ in 0..copies {
            let mut leave = self.now;
            if path.rate > 0 {
                let start = self.nodes[to].busy_until.max(self.now);
                let waiting = start.since(self.now).as_micros() as u64 * path.rate / 1_000_000;
                if waiting > path.queue {
                    self.queue_drops += 1;
                    continue;
                }
                leave = start + Duration::from_micros((bytes.len() as u64 + 40) * 1_000_000 / path.rate);
                self.nodes[to].busy_until = leave;
            }
            let jitter = self.rng.duration(Duration::ZERO, path.jitter);
            self.n += 1;
            self.flights.push(Reverse(Flight {
                at: leave + path.delay + jitter,
                n: self.n,
                to,
                from: self.nodes[node].hash,
                source: ports.source,
                destination: ports.destination,
                bytes: bytes.clone(),
            }));
        }
    }

    pub(super) fn deliver(&mut self, to: usize, from: DestinationHash, ports: Ports, bytes: &[u8]) {
        let from = self.nodes[to].vouched.then_some(from);
        self.with(to, |s, cx| s.handle_packet(from, ports, bytes, cx));
    }

    /// Runs until `done`, at most until `end` from the start.
    pub(super) fn run(&mut self, end: Duration, mut done: impl FnMut(&Self) -> bool) -> bool {
        let end = Instant::from_micros(1_000_000) + end;
        loop {
            for node in 0..self.nodes.len() {
                self.drain(node);
            }
            if done(self) {
                return true;
            }
            let timer = self.nodes.iter().filter_map(|n| n.streams.next_timeout()).map(|(at, _)| at).min();
            let flight = self.flights.peek().map(|Reverse(f)| f.at);
            let Some(next) = timer.into_iter().chain(flight).min() else {
                self.now = end;
                return false;
            };
            if next > end {
                self.now = end;
                return false;
            }
            self.now = self.now.max(next);
            while self.flights.peek().is_some_and(|Reverse(f)| f.at <= self.now) {
                let Some(Reverse(f)) = self.flights.pop() else { break };
                let ports = Ports { source: f.source, destination: f.destination };
                self.deliver(f.to, f.from, ports, &f.bytes);
            }
            for node in 0..self.nodes.len() {
                let due = self.nodes[node].streams.next_timeout().is_some_and(|(at, _)| at <= self.now);
                if due {
                    self.with(node, |s, cx| s.handle_timeout(cx));
                }
            }
        }
    }

    pub(super) fn received(&self, node: usize) -> u64 {
        self.nodes[node].app.read.values().sum()
    }

    pub(super) fn closed(&self, node: usize) -> Vec<CloseReason> {
        let reason = |o: &Output| if let Output::Closed { reason, .. } = o { Some(*reason) } else { None };
        self.nodes[node].app.events.iter().filter_map(reason).collect()
    }
}
