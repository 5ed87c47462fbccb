//! One local destination: encrypted sessions, its own LeaseSet, those of its
//! peers, and streams, put together for the router.
//!
//! ```text
//!  client ─ connect, send, recv ─► streams ─ packets ─► ┌──────────────┐ ─ Send ─► tunnels
//!                                                       │ path, ratchet│
//!         ◄─ StreamEvent, Datagram ─ streams ◄───────── └──────────────┘ ◄─ Garlic ─ tunnels
//!
//!  tunnels ─ leases ─► own LeaseSet ─ Publish ─► NetDB ◄─ Lookup ─ unknown peers
//! ```
//!
//! Peers' LeaseSets come from the NetDB or, bundled and verified, from the
//! peers themselves; the latter also tell which destination owns a static key.

mod receive;
mod remote;
mod send;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use aioli_core::crypto::x25519::{PrivateKey, PublicKey};
use aioli_core::map::{Table, table};
use aioli_core::{Cx, Duration, Instant, Rng};
use aioli_wire::client_payload::Ports;
use aioli_wire::i2np::{DatabaseStore, Message};
use aioli_wire::lease_set::{Lease, LeaseSet};
use aioli_wire::{Destination, DestinationHash, TunnelId, Verified, Wire};

use self::remote::Remote;
use crate::lease_set::OwnLeaseSet;
use crate::ratchet::{self, Sessions};
use crate::streaming::{self, CloseReason, StreamId, Streams};

/// How often what is over is looked for.
const SWEEP: Duration = Duration::from_secs(30);
/// A peer unused for this long is forgotten.
const REMOTE_IDLE: Duration = Duration::from_secs(20 * 60);

/// How a local destination is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its identity and its streams.
    pub streaming: streaming::Config,
    /// The key that its LeaseSet names. A new one at each start is usual for
    /// clients; a server that keeps it stays reachable across a restart.
    pub encryption: PrivateKey,
    /// Whether others may find it in the network database.
    pub publish: bool,
    /// The bounds of its encrypted sessions.
    pub ratchet: ratchet::Limits,
    /// The bounds of the composition.
    pub limits: Limits,
}

/// The bounds of the composition.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Remote destinations known.
    pub remotes: usize,
    /// Messages that wait for the LeaseSet of one destination.
    pub waiting_per_remote: usize,
    /// Messages that wait for LeaseSets.
    pub waiting: usize,
    /// How long they wait.
    pub patience: Duration,
    /// Streams and lookups that wait for LeaseSets.
    pub pending: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            remotes: 10_000,
            waiting_per_remote: 128,
            waiting: 8_192,
            patience: Duration::from_secs(30),
            pending: 4_096,
        }
    }
}

/// What happened, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// The encrypted sessions.
    pub ratchet: ratchet::Stats,
    /// The streams.
    pub streaming: streaming::Stats,
    /// Remote destinations known.
    pub remotes: u64,
    /// Garlic messages sent.
    pub sent: u64,
    /// Messages that could not be sealed.
    pub not_sealed: u64,
    /// Payloads received.
    pub payloads: u64,
    /// Payloads that did not decode.
    pub malformed: u64,
    /// Messages and cloves of kinds that have no business here.
    pub unexpected: u64,
    /// Messages and cloves whose time had passed.
    pub expired: u64,
    /// LeaseSets that came from their owners.
    pub bundled: u64,
    /// LeaseSets in garlic that were not their sender's, or did not verify.
    pub bundled_refused: u64,
    /// Lookups asked for.
    pub lookups: u64,
    /// Lookups that found nothing.
    pub lookups_failed: u64,
    /// Paths left because they failed.
    pub paths_failed: u64,
    /// Messages dropped because too many waited, or for too long.
    pub waiting_dropped: u64,
    /// Peers, streams and lookups refused or forgotten early at a limit.
    pub refused: u64,
    /// LeaseSets of our own signed.
    pub lease_sets: u64,
}

/// Whom to connect to.
#[derive(Clone, Debug)]
pub enum Target {
    /// A full destination.
    Destination(Box<Destination>),
    /// Its hash: the destination itself is looked up.
    Hash(DestinationHash),
}

/// Why a stream is gone or did not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// Both sides closed it and everything arrived.
    Finished,
    /// One side reset it.
    Reset,
    /// The peer did not answer.
    TimedOut,
    /// The peer's LeaseSet was not found.
    NotFound,
    /// The peer offers no encryption that we support.
    Encryption,
    /// Too many streams.
    Limit,
}

/// What happened to a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamEvent {
    /// The peer answered our connection.
    Connected(StreamId),
    /// A peer opened a stream.
    Incoming {
        /// Its name.
        id: StreamId,
        /// Who, proven by a signature.
        from: Destination,
        /// Source is ours: the port that the peer connected to.
        ports: Ports,
    },
    /// There are bytes to read.
    Readable(StreamId),
    /// There is room again.
    Writable(StreamId),
    /// The peer sends no more; what came before may still be unread.
    PeerClosed(StreamId),
    /// The stream is gone.
    Closed {
        /// Which.
        id: StreamId,
        /// Why.
        reason: EndReason,
    },
    /// A ping was answered.
    Pong {
        /// What `ping` returned.
        id: u32,
        /// What the ping carried.
        payload: Vec<u8>,
    },
}

/// What a local destination wants done.
#[derive(Clone, Debug)]
pub enum Output {
    /// Send this Garlic message through an outbound tunnel into a lease.
    Send {
        /// For whom: the key for [`LocalDestination::sent_via`].
        to: DestinationHash,
        /// The gateway and tunnel to deliver to.
        lease: Lease,
        /// The outbound tunnel of ours that carried the messages before.
        via: Option<TunnelId>,
        /// An outbound tunnel that seems broken: take another if there is one.
        avoid: Option<TunnelId>,
        /// The message.
        message: Message,
    },
    /// Find this LeaseSet: [`LocalDestination::handle_lease_set`] or
    /// [`LocalDestination::lookup_failed`] answers.
    Lookup(DestinationHash),
    /// Nothing comes back on a path: our tunnels should be tested.
    Suspect,
    /// Publish our LeaseSet.
    Publish(Arc<Verified<LeaseSet>>),
    /// A message for the router's control plane that came through our tunnels:
    /// DatabaseStore, DatabaseSearchReply or DeliveryStatus.
    ForRouter(Message),
    /// A payload that is no stream.
    Datagram {
        /// Who sent it, where the session knows; the protocol may prove more.
        from: Option<DestinationHash>,
        /// Its ports; source is the peer's.
        ports: Ports,
        /// Its protocol.
        protocol: u8,
        /// The bytes.
        payload: Vec<u8>,
    },
    /// Something happened to a stream.
    Stream(StreamEvent),
    /// The answer to [`LocalDestination::lookup`].
    LookupDone {
        /// What was asked for.
        hash: DestinationHash,
        /// The destination, if it was found.
        destination: Option<Arc<Destination>>,
    },
}

/// Why a local destination wants to be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Sessions expire or owe a response.
    Ratchet,
    /// A stream's deadline.
    Streaming(streaming::Why),
    /// Our LeaseSet is due.
    LeaseSet,
    /// A destination that was not found is looked up again.
    Retry,
    /// What is over is forgotten.
    Sweep,
}

/// A stream whose destination is being looked up.
#[derive(Debug)]
struct PendingConnect {
    id: StreamId,
    ports: Ports,
    options: Option<streaming::Options>,
}

/// A destination of this router.
#[derive(Debug)]
pub struct LocalDestination {
    hash: DestinationHash,
    limits: Limits,
    sessions: Sessions,
    own: OwnLeaseSet,
    streams: Streams,
    remotes: BTreeMap<DestinationHash, Remote>,
    /// Which destination owns a static key; none if several do.
    owners: Table<PublicKey, Option<DestinationHash>>,
    connects: BTreeMap<DestinationHash, Vec<PendingConnect>>,
    lookups: BTreeMap<DestinationHash, ()>,
    pending: usize,
    waiting: usize,
    sweep_at: Instant,
    retry_at: Instant,
    out: VecDeque<Output>,
    stats: Stats,
}

impl LocalDestination {
    /// With no tunnels yet: nothing leaves before [`LocalDestination::set_leases`]
    /// and lookups bring leases of both sides.
    pub fn new(config: Config, rng: &mut Rng) -> Self {
        let identity = config.streaming.identity.clone();
        let public = config.encryption.public();
        Self {
            hash: identity.destination.hash(),
            limits: config.limits,
            sessions: Sessions::new(config.encryption, config.ratchet, rng),
            own: OwnLeaseSet::new(identity, public, config.publish),
            streams: Streams::new(config.streaming, rng.fork()),
            remotes: BTreeMap::new(),
            owners: table(rng),
            connects: BTreeMap::new(),
            lookups: BTreeMap::new(),
            pending: 0,
            waiting: 0,
            sweep_at: Instant::FAR_FUTURE,
            retry_at: Instant::FAR_FUTURE,
            out: VecDeque::new(),
            stats: Stats::default(),
        }
    }

    /// Its name.
    pub const fn hash(&self) -> DestinationHash {
        self.hash
    }

    /// Our newest LeaseSet.
    pub const fn lease_set(&self) -> Option<&Arc<Verified<LeaseSet>>> {
        self.own.current()
    }

    /// The inbound tunnels that stand now.
    pub fn set_leases(&mut self, leases: Vec<Lease>, cx: &mut Cx<'_>) {
        self.own.set_leases(leases, cx);
        self.renew_lease_set(cx);
        self.drain(cx);
    }

    /// A LeaseSet was found.
    pub fn handle_lease_set(&mut self, set: Arc<Verified<LeaseSet>>, cx: &mut Cx<'_>) {
        let hash = set.key();
        self.learn(set, cx);
        self.on_lookup_over(hash, cx);
        self.drain(cx);
    }

    /// A lookup found nothing.
    pub fn lookup_failed(&mut self, hash: &DestinationHash, cx: &mut Cx<'_>) {
        self.stats.lookups_failed += 1;
        self.on_lookup_over(*hash, cx);
        self.drain(cx);
    }

    /// A message came out of one of our inbound tunnels.
    pub fn handle_message(&mut self, message: Message, cx: &mut Cx<'_>) {
        self.receive(message, cx);
        self.drain(cx);
    }

    /// The outbound tunnel that took the last [`Output::Send`] for `to`.
    pub fn sent_via(&mut self, to: &DestinationHash, via: TunnelId) {
        if let Some(remote) = self.remotes.get_mut(to) {
            remote.on_sent_via(via);
        }
    }

    /// Opens a stream. Its name is valid at once; [`StreamEvent::Connected`],
    /// or `Closed` with the reason, follows. None at the limit of streams.
    pub fn connect(
        &mut self,
        target: Target,
        ports: Ports,
        options: Option<streaming::Options>,
        cx: &mut Cx<'_>,
    ) -> Option<StreamId> {
        let id = match target {
            // Its LeaseSet was of no use: perhaps a newer one is, and if not, that ends the stream.
            Target::Destination(remote) if self.is_unusable(&remote.hash()) => {
                self.connect_later(remote.hash(), ports, options, cx)
            }
            Target::Hash(hash) if self.is_unusable(&hash) => self.connect_later(hash, ports, options, cx),
            Target::Destination(remote) => self.streams.connect(*remote, ports, options, cx),
            Target::Hash(hash) => {
                let known =
                    self.remotes.get(&hash).and_then(|r| r.lease_set.as_ref()?.destination().cloned());
                match known {
                    Some(remote) => self.streams.connect(remote, ports, options, cx),
                    None => self.connect_later(hash, ports, options, cx),
                }
            }
        };
        self.drain(cx);
        id
    }

    /// Whether we know a LeaseSet of the destination that names no key that we support.
    fn is_unusable(&self, hash: &DestinationHash) -> bool {
        self.remotes.get(hash).is_some_and(|r| r.lease_set.is_some() && r.key.is_none())
    }

    fn connect_later(
        &mut self,
        hash: DestinationHash,
        ports: Ports,
        options: Option<streaming::Options>,
        cx: &Cx<'_>,
    ) -> Option<StreamId> {
        if !self.admit_pending() {
            return None;
        }
        let id = self.streams.reserve();
        self.connects.entry(hash).or_default().push(PendingConnect { id, ports, options });
        self.look_up(hash, cx);
        Some(id)
    }

    /// Whether peers may open streams to us.
    pub fn listen(&mut self, listening: bool) {
        self.streams.listen(listening);
    }

    /// The client takes an incoming stream.
    pub fn accept(&mut self, id: StreamId) {
        self.streams.accept(id);
    }

    /// Gives bytes to a stream; gives how many it took. If fewer than all,
    /// [`StreamEvent::Writable`] follows.
    pub fn send(&mut self, id: StreamId, data: &[u8], cx: &mut Cx<'_>) -> usize {
        let n = self.streams.send(id, data, cx);
        self.drain(cx);
        n
    }

    /// Reads from a stream; gives how many bytes.
    pub fn recv(&mut self, id: StreamId, buf: &mut [u8], cx: &mut Cx<'_>) -> usize {
        let n = self.streams.recv(id, buf, cx);
        self.drain(cx);
        n
    }

    /// Takes the next readable bytes of a stream without copying them.
    pub fn recv_chunk(&mut self, id: StreamId, cx: &mut Cx<'_>) -> Option<Vec<u8>> {
        let chunk = self.streams.recv_chunk(id, cx);
        self.drain(cx);
        chunk
    }

    /// Whether the peer has closed and everything was read.
    pub fn at_end(&self, id: StreamId) -> bool {
        !self.is_pending(id) && self.streams.at_end(id)
    }

    /// Half-close: what was sent still arrives, reading goes on.
    pub fn close_write(&mut self, id: StreamId, cx: &mut Cx<'_>) {
        self.streams.close_write(id, cx);
        self.drain(cx);
    }

    /// Closes a stream: what was sent still arrives; what arrives is dropped.
    pub fn close(&mut self, id: StreamId, cx: &mut Cx<'_>) {
        self.forget_pending(id);
        self.streams.close(id, cx);
        self.drain(cx);
    }

    /// Ends a stream at once.
    pub fn reset(&mut self, id: StreamId, cx: &mut Cx<'_>) {
        self.forget_pending(id);
        self.streams.reset(id, cx);
        self.drain(cx);
    }

    /// The streams, to look at.
    pub const fn streams(&self) -> &Streams {
        &self.streams
    }

    /// The settings of streams to come.
    pub fn streaming_config_mut(&mut self) -> &mut streaming::Config {
        self.streams.config_mut()
    }

    /// Sends a ping; gives its number.
    pub fn ping(&mut self, to: &DestinationHash, ports: Ports, payload: &[u8], cx: &mut Cx<'_>) -> u32 {
        let id = self.streams.ping(to, ports, payload);
        self.drain(cx);
        id
    }

    /// Sends a payload of another protocol.
    pub fn send_datagram(
        &mut self,
        to: DestinationHash,
        ports: Ports,
        protocol: u8,
        payload: &[u8],
        cx: &mut Cx<'_>,
    ) {
        self.send_payload(to, ports, protocol, payload, cx);
        self.drain(cx);
    }

    /// Finds a destination by its hash; [`Output::LookupDone`] answers.
    pub fn lookup(&mut self, hash: DestinationHash, cx: &mut Cx<'_>) {
        let known = self.remotes.get(&hash).and_then(|r| r.lease_set.as_ref()?.destination().cloned());
        if known.is_some() || !self.admit_pending() {
            self.out.push_back(Output::LookupDone { hash, destination: known.map(Arc::new) });
            return;
        }
        if self.lookups.insert(hash, ()).is_some() {
            self.pending -= 1;
        }
        self.look_up(hash, cx);
    }

    /// Deadlines that have come.
    pub fn handle_timeout(&mut self, cx: &mut Cx<'_>) {
        self.sessions.handle_timeout(cx);
        self.streams.handle_timeout(cx);
        self.renew_lease_set(cx);
        if self.retry_at <= cx.now.mono {
            self.retry_lookups(cx);
        }
        if self.sweep_at <= cx.now.mono {
            self.sweep(cx);
        }
        self.drain(cx);
    }

    /// What is to be done, until none is left.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When [`LocalDestination::handle_timeout`] wants to be called, and why.
    pub fn next_timeout(&self) -> Option<(Instant, Why)> {
        let ratchet = self.sessions.next_timeout().map(|at| (at, Why::Ratchet));
        let streaming = self.streams.next_timeout().map(|(at, why)| (at, Why::Streaming(why)));
        let lease_set = self.own.next_timeout().map(|at| (at, Why::LeaseSet));
        let set = |(at, _): &(Instant, Why)| *at < Instant::FAR_FUTURE;
        let retry = Some((self.retry_at, Why::Retry)).filter(set);
        let sweep = Some((self.sweep_at, Why::Sweep)).filter(set);
        [ratchet, streaming, lease_set, retry, sweep].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// Counters.
    pub fn stats(&self) -> Stats {
        Stats {
            ratchet: self.sessions.stats(),
            streaming: self.streams.stats(),
            remotes: self.remotes.len() as u64,
            lease_sets: self.own.versions(),
            ..self.stats
        }
    }

    fn renew_lease_set(&mut self, cx: &Cx<'_>) {
        if let Some(set) = self.own.poll(cx) {
            self.sessions.set_lease_set(Some(DatabaseStore::lease_set(&set, None).to_bytes().into()));
            if self.own.is_published() {
                self.out.push_back(Output::Publish(set));
            }
        }
    }

    fn is_pending(&self, id: StreamId) -> bool {
        !self.connects.is_empty() && self.connects.values().flatten().any(|c| c.id == id)
    }

    fn forget_pending(&mut self, id: StreamId) {
        for connects in self.connects.values_mut() {
            let before = connects.len();
            connects.retain(|c| c.id != id);
            self.pending -= before - connects.len();
        }
    }

    /// Makes room for one more stream or lookup that waits.
    const fn admit_pending(&mut self) -> bool {
        if self.pending >= self.limits.pending {
            self.stats.refused += 1;
            return false;
        }
        self.pending += 1;
        true
    }

    /// The state of a remote, made if it is new. At the limit the one unused
    /// for longest goes.
    fn remote(&mut self, hash: DestinationHash, now: Instant) -> &mut Remote {
        if !self.remotes.contains_key(&hash)
            && self.remotes.len() >= self.limits.remotes
            && let Some(oldest) = self.remotes.iter().min_by_key(|(_, r)| r.used).map(|(h, _)| *h)
        {
            self.stats.refused += 1;
            self.forget_remote(&oldest);
        }
        self.sweep_at = self.sweep_at.min(now + SWEEP);
        self.remotes.entry(hash).or_insert_with(|| Remote::new(now))
    }

    fn forget_remote(&mut self, hash: &DestinationHash) {
        if let Some(remote) = self.remotes.remove(hash) {
            self.waiting -= remote.waiting.len();
            if let Some(key) = remote.key {
                self.owners.remove(&key);
            }
        }
    }

    fn sweep(&mut self, cx: &Cx<'_>) {
        let now = cx.now.mono;
        let mut over = Vec::new();
        for (hash, remote) in &mut self.remotes {
            let before = remote.waiting.len();
            remote.waiting.retain(|(at, _)| now.since(*at) < self.limits.patience);
            let dropped = before - remote.waiting.len();
            self.waiting -= dropped;
            self.stats.waiting_dropped += dropped as u64;
            if remote.waiting.is_empty()
                && now.since(remote.used) >= REMOTE_IDLE
                && !remote.is_reachable(cx.now.wall)
            {
                over.push(*hash);
            }
        }
        over.iter().for_each(|hash| self.forget_remote(hash));
        self.sweep_at = if self.remotes.is_empty() { Instant::FAR_FUTURE } else { now + SWEEP };
    }

    /// Does what the streams and sessions want.
    fn drain(&mut self, cx: &mut Cx<'_>) {
        while let Some(output) = self.streams.poll_output() {
            self.on_streaming(output, cx);
        }
        while let Some(ratchet::Output::Respond(key)) = self.sessions.poll_output() {
            self.respond(&key, cx);
        }
    }

    fn on_streaming(&mut self, output: streaming::Output, cx: &mut Cx<'_>) {
        let event = match output {
            streaming::Output::Packet { to, bytes, ports, .. } => {
                return self.send_packet(to, ports, &bytes, cx);
            }
            streaming::Output::PathSuspect { id, to } => return self.on_path_suspect(id, to, cx),
            streaming::Output::Connected(id) => StreamEvent::Connected(id),
            streaming::Output::Incoming { id, from, ports } => StreamEvent::Incoming { id, from, ports },
            streaming::Output::Readable(id) => StreamEvent::Readable(id),
            streaming::Output::Writable(id) => StreamEvent::Writable(id),
            streaming::Output::PeerClosed(id) => StreamEvent::PeerClosed(id),
            streaming::Output::Closed { id, reason } => {
                let reason = match reason {
                    CloseReason::Finished => EndReason::Finished,
                    CloseReason::Reset => EndReason::Reset,
                    CloseReason::TimedOut => EndReason::TimedOut,
                    CloseReason::Unreachable => EndReason::NotFound,
                };
                StreamEvent::Closed { id, reason }
            }
            streaming::Output::Pong { id, payload } => StreamEvent::Pong { id, payload },
        };
        self.out.push_back(Output::Stream(event));
    }
}
