//! All of one UDP socket: handshakes in both roles, sessions, and what they share.

mod dial;
mod introductions;
mod lifecycle;
mod receive;
mod relaying;
mod strays;
mod testing;
mod transmit;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use aioli_core::map::{Table, table};
use aioli_core::{Bucket, Cx, Duration, Instant, Rng, Timers};
use aioli_wire::RouterHash;
use aioli_wire::i2np::Message;
use aioli_wire::ip::is_public;
use aioli_wire::router_info::RouterInfo;
use aioli_wire::ssu2::{ConnectionId, MAX_MTU, MIN_MTU, TerminationReason};
use aioli_wire::verified::Verified;

use super::alice::SharedLocal;
use super::bob::AwaitSessionConfirmed;
use super::outbox::Pushed;
use super::reassembly::Budget;
use super::session::{Aside, Fate, Session, Shared};
use super::tokens::{HeldTokens, Tokens};
use super::{Config, ConnectError, Limits, Local, Output, Remote, SendError, SessionView, Stats, Why};
use crate::Lane;
use crate::replay::ReplayCache;
use dial::Dial;
pub use introductions::AWAIT;
use introductions::{Introductions, Offers};
use strays::Strays;
use transmit::Stalled;

/// Old replay entries are forgotten at these intervals.
const SWEEP: Duration = Duration::from_secs(300);

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Dial(SocketAddr),
    Pending(ConnectionId),
    Session(ConnectionId),
    Closing(ConnectionId),
    AliceTest(u32),
    BobTest(u32),
    CharlieTest(u32),
    Awaiting,
    Seek(RouterHash),
    Relayed(RouterHash, u32),
    Punch(u32),
    KeepAlive,
    Sweep,
}

/// What sessions share.
#[derive(Debug)]
struct Common {
    limits: Limits,
    stats: Stats,
    outputs: VecDeque<Output>,
    /// Packets that belong to no session.
    packets: VecDeque<(SocketAddr, Vec<u8>)>,
    budget: Budget,
    tokens: Tokens,
    held: HeldTokens,
    asides: VecDeque<Aside>,
    idle_timeout: Duration,
}

impl Common {
    fn shared(&mut self) -> Shared<'_> {
        Shared {
            limits: &self.limits,
            stats: &mut self.stats,
            outputs: &mut self.outputs,
            budget: &mut self.budget,
            tokens: &mut self.tokens,
            held: &mut self.held,
            asides: &mut self.asides,
            idle_timeout: self.idle_timeout,
        }
    }
}

/// A handshake of another, after its token was good.
#[derive(Debug)]
struct Pending {
    state: Box<AwaitSessionConfirmed>,
    began: Instant,
    resends: usize,
    /// Sent again because SessionRequest came again.
    repeats: u32,
    /// Data packets that came before SessionConfirmed.
    early: Vec<Vec<u8>>,
}

/// A session that has ended and may have to say so again.
#[derive(Debug)]
struct Closing {
    to: SocketAddr,
    packet: Vec<u8>,
    /// Packets that came since.
    came: u32,
}

/// All of one UDP socket. See the module's text.
#[derive(Debug)]
pub struct Endpoint {
    config: Config,
    local: Option<SharedLocal>,
    common: Common,
    replay: ReplayCache,
    sessions: Table<ConnectionId, Session>,
    by_peer: BTreeMap<RouterHash, ConnectionId>,
    dials: BTreeMap<SocketAddr, Dial>,
    dialled: BTreeMap<RouterHash, SocketAddr>,
    pending: BTreeMap<ConnectionId, Pending>,
    pending_ips: BTreeMap<IpAddr, usize>,
    closing: BTreeMap<ConnectionId, Closing>,
    /// Retry packets that may be sent.
    retries: Bucket,
    /// SessionRequests that may be decrypted.
    requests: Bucket,
    /// The session that the last packet of one was for.
    last: Option<ConnectionId>,
    /// Sessions that may have packets to send.
    ready: VecDeque<ConnectionId>,
    stalled: Stalled,
    intro: Introductions,
    strays: Strays,
    timers: Timers<Key>,
}

impl Endpoint {
    /// An endpoint without sessions.
    pub fn new(mut config: Config, rng: &mut Rng) -> Self {
        config.mtu = config.mtu.clamp(MIN_MTU, MAX_MTU);
        let mut limits = config.limits.clone();
        if config.private_network {
            limits.min_version = (0, 0, 0);
        }
        let common = Common {
            stats: Stats::default(),
            outputs: VecDeque::new(),
            packets: VecDeque::new(),
            budget: Budget { used: 0, limit: limits.reassembly_bytes_total },
            tokens: Tokens::new(limits.used_tokens, limits.issued_tokens),
            held: HeldTokens::new(limits.held_tokens),
            asides: VecDeque::new(),
            idle_timeout: config.idle_timeout,
            limits,
        };
        let per_second = |n: u64| Bucket::new(n, n, Instant::ZERO);
        Self {
            local: None,
            retries: per_second(common.limits.retries_per_second),
            requests: per_second(common.limits.requests_per_second),
            replay: ReplayCache::new(common.limits.replay_entries),
            common,
            config,
            sessions: table(rng),
            by_peer: BTreeMap::new(),
            dials: BTreeMap::new(),
            dialled: BTreeMap::new(),
            pending: BTreeMap::new(),
            pending_ips: BTreeMap::new(),
            closing: BTreeMap::new(),
            last: None,
            ready: VecDeque::new(),
            stalled: Stalled::default(),
            intro: Introductions::default(),
            strays: Strays::default(),
            timers: Timers::new(),
        }
    }

    /// What we say about ourselves from now on. Nothing happens before the first.
    pub fn set_router_info(&mut self, router_info: Arc<Verified<RouterInfo>>) {
        let before = self.local.as_ref().map(|local| &local.router_info);
        if before.is_some_and(|before| says_other(before, &router_info)) {
            self.for_all_sessions(Session::router_info_changed);
        }
        self.intro.offers = Offers::of(&router_info);
        self.local = Some(Arc::new(Local {
            hash: router_info.hash(),
            static_key: self.config.static_key.clone(),
            intro_key: self.config.intro_key,
            net_id: self.config.net_id,
            router_info,
        }));
    }

    /// Whether there is a session with the peer.
    pub fn is_connected(&self, peer: &RouterHash) -> bool {
        self.by_peer.contains_key(peer)
    }

    /// Whether a session with the peer is being set up by us.
    pub fn is_dialling(&self, peer: &RouterHash) -> bool {
        self.dialled.contains_key(peer) || self.intro.seeking.contains_key(peer)
    }

    /// Peers with which there are sessions.
    pub fn peers(&self) -> impl Iterator<Item = &RouterHash> {
        self.by_peer.keys()
    }

    /// Where the peer of a session is.
    pub fn address_of(&self, peer: &RouterHash) -> Option<SocketAddr> {
        self.by_peer.get(peer).and_then(|id| self.sessions.get(id)).map(|s| s.remote)
    }

    /// How the session with the peer goes.
    pub fn view_of(&self, peer: &RouterHash) -> Option<SessionView> {
        let session = self.by_peer.get(peer).and_then(|id| self.sessions.get(id))?;
        Some(SessionView {
            remote: session.remote,
            established: session.established,
            received: session.bytes.0,
            sent: session.bytes.1,
            round_trip: session.round_trip(),
        })
    }

    /// Bytes of messages that the peer has not acknowledged.
    pub fn queued_bytes(&self, peer: &RouterHash) -> usize {
        let session = self.by_peer.get(peer).and_then(|id| self.sessions.get(id));
        session.map_or(0, Session::queued_bytes)
    }

    /// Begins a session. Nothing happens if there is one, or one is coming.
    ///
    /// # Errors
    /// If it cannot even be tried. What comes of it is told by
    /// [`Output::Established`] or [`Output::ConnectFailed`].
    pub fn connect(&mut self, mut remote: Remote, cx: &mut Cx<'_>) -> Result<(), ConnectError> {
        remote.mtu = remote.mtu.clamp(MIN_MTU, self.config.mtu);
        let local = self.local.clone().ok_or(ConnectError::NotReady)?;
        if self.is_connected(&remote.hash) || self.is_dialling(&remote.hash) {
            return Ok(());
        }
        if remote.hash == local.hash || !self.is_allowed(remote.address) {
            return Err(ConnectError::Refused);
        }
        let limits = &self.common.limits;
        let full = self.dials.len() >= limits.pending_outbound || self.sessions.len() >= limits.sessions;
        if full || self.dials.contains_key(&remote.address) {
            return Err(ConnectError::Limit);
        }
        self.dial(&local, remote, cx)
    }

    /// Queues a message for a peer with whom there is a session, or to whom one is coming.
    ///
    /// # Errors
    /// If it was not taken; it is given back if there is no session.
    pub fn send(&mut self, peer: &RouterHash, lane: Lane, message: Message) -> Result<(), SendError> {
        let limits = &self.common.limits;
        let pushed = if let Some(id) = self.by_peer.get(peer).copied()
            && let Some(session) = self.sessions.get_mut(&id)
        {
            let pushed = session.push(lane, message, limits.queue_bytes_per_peer);
            self.enqueue(id);
            pushed
        } else if let Some(dial) = self.dialled.get(peer).and_then(|at| self.dials.get_mut(at)) {
            dial.waiting.push(lane, message, limits.queue_bytes_dialling)
        } else if let Some((_, waiting)) = self.intro.seeking.get_mut(peer) {
            waiting.push(lane, message, limits.queue_bytes_dialling)
        } else {
            return Err(SendError::NoSession(message));
        };
        match pushed {
            Pushed::Taken => Ok(()),
            Pushed::Full => {
                self.common.stats.dropped_full += 1;
                Err(SendError::Full)
            }
            Pushed::TooLarge => Err(SendError::TooLarge),
        }
    }

    /// Ends the session with a peer, or the attempt at one.
    pub fn disconnect(&mut self, peer: &RouterHash, reason: TerminationReason, cx: &mut Cx<'_>) {
        if let Some(id) = self.by_peer.get(peer).copied() {
            self.end(id, reason, cx);
        }
        self.cancel(peer);
    }

    /// Ends all sessions: the router stops.
    pub fn shut_down(&mut self, cx: &mut Cx<'_>) {
        let peers = self.by_peer.keys().copied().collect::<Vec<_>>();
        for peer in peers {
            self.disconnect(&peer, TerminationReason::RouterShutdown, cx);
        }
        while let Some(at) = self.dials.keys().next().copied() {
            self.forget_dial(&at);
        }
        while let Some(peer) = self.intro.seeking.keys().next().copied() {
            self.take_seek(&peer);
        }
    }

    /// Our own address may have changed: tokens bound to it are worth nothing, and
    /// peers should notice soon.
    pub fn addresses_changed(&mut self) {
        self.common.tokens.clear();
        self.common.held.clear();
        self.for_all_sessions(Session::ping);
    }

    fn for_all_sessions(&mut self, call: impl Fn(&mut Session)) {
        let ids = self.by_peer.values().copied().collect::<Vec<_>>();
        for id in ids {
            if let Some(session) = self.sessions.get_mut(&id) {
                call(session);
            }
            self.enqueue(id);
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, cx: &mut Cx<'_>) {
        while let Some(key) = self.timers.pop_expired(cx.now.mono) {
            match key {
                Key::Dial(at) => self.on_dial_timeout(at, cx),
                Key::Pending(id) => self.on_pending_timeout(id, cx),
                Key::Session(id) => self.on_session_timeout(id, cx),
                Key::Closing(id) => {
                    self.closing.remove(&id);
                }
                Key::AliceTest(nonce) => self.on_alice_test_timeout(nonce, cx),
                Key::BobTest(nonce) => self.on_bob_test_timeout(nonce, cx),
                Key::CharlieTest(nonce) => self.on_charlie_test_timeout(nonce, cx),
                Key::Awaiting => self.on_awaiting_timeout(cx),
                Key::Seek(peer) => self.seek_on(peer, cx),
                Key::Relayed(charlie, nonce) => {
                    self.intro.relayed.remove(&(charlie, nonce));
                }
                Key::Punch(nonce) => self.on_punch_timeout(nonce, cx),
                Key::KeepAlive => self.keep_alive(cx),
                Key::Sweep => {
                    self.replay.expire(cx.now.mono);
                    if !self.replay.is_empty() {
                        self.timers.set(Key::Sweep, cx.now.mono + SWEEP);
                    }
                }
            }
        }
    }

    fn on_session_timeout(&mut self, id: ConnectionId, cx: &mut Cx<'_>) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let fate = session.on_timeout(&mut self.common.shared(), cx);
        if fate == Fate::Open
            && session.refresh_is_due(cx)
            && let Some(local) = self.local.clone()
        {
            let peer = session.peer;
            self.common.stats.refreshes += 1;
            self.tell(&peer, &local.router_info, cx);
        }
        self.after(id, fate, cx);
    }

    /// The next output, datagrams among them. To be called until there is none, after every other call
    /// that takes a `Cx` and after [`Self::send`]; or else `poll_event` and `poll_datagrams`.
    pub fn poll_output(&mut self, cx: &mut Cx<'_>) -> Option<Output> {
        loop {
            if let Some(output) = self.common.outputs.pop_front() {
                return Some(output);
            }
            if let Some((to, bytes)) = self.common.packets.pop_front() {
                return Some(Output::Datagram { to, bytes });
            }
            let id = self.ready.pop_front()?;
            let Some(session) = self.sessions.get_mut(&id) else { continue };
            let mut bytes = Vec::new();
            if let Some(to) = session.poll_transmit(&mut bytes, &mut self.common.shared(), cx) {
                self.ready.push_back(id);
                self.note_sent(bytes.len());
                return Some(Output::Datagram { to, bytes });
            }
            session.queued = false;
            self.timers.set(Key::Session(id), session.deadline(self.common.idle_timeout));
        }
    }

    /// When to call [`Self::handle_timeout`], and what for.
    pub fn next_timeout(&self) -> Option<(Instant, Why)> {
        self.timers.next().map(|(at, key)| {
            let why = match key {
                Key::Dial(_) | Key::Pending(_) => Why::Handshake,
                Key::Session(_) => Why::Session,
                Key::Closing(_) => Why::Closing,
                Key::AliceTest(_)
                | Key::BobTest(_)
                | Key::CharlieTest(_)
                | Key::Awaiting
                | Key::Seek(_)
                | Key::Relayed(..)
                | Key::Punch(_)
                | Key::KeepAlive => Why::Introduction,
                Key::Sweep => Why::Sweep,
            };
            (at, why)
        })
    }

    /// Entries of all tables that strangers can fill.
    #[cfg(test)]
    pub(super) fn entries(&self) -> usize {
        let handshakes = self.pending.len() + self.pending_ips.len() + self.closing.len();
        handshakes + self.common.tokens.entries() + self.replay.len() + self.common.outputs.len()
    }

    /// Bytes of incomplete messages from all peers.
    #[cfg(test)]
    pub(super) const fn reassembly_bytes(&self) -> usize {
        self.common.budget.used
    }

    /// Counters and gauges.
    pub fn stats(&self) -> Stats {
        Stats {
            sessions: self.sessions.len() as u64,
            relay_tags: self.intro.tags.len() as u64,
            pending: (self.dials.len() + self.pending.len()) as u64,
            tokens_full: self.common.tokens.full + self.common.held.full,
            replay_cache_full: self.replay.full,
            ..self.common.stats
        }
    }

    /// Whether routers may be at this address at all.
    fn is_allowed(&self, address: SocketAddr) -> bool {
        address.port() != 0 && (self.config.private_network || is_public(address.ip()))
    }

    /// The session may have packets to send.
    fn enqueue(&mut self, id: ConnectionId) {
        if let Some(session) = self.sessions.get_mut(&id)
            && !std::mem::replace(&mut session.queued, true)
        {
            self.ready.push_back(id);
        }
    }

    const fn note_sent(&mut self, bytes: usize) {
        self.common.stats.packets_sent += 1;
        self.common.stats.bytes_sent += bytes as u64;
    }

    /// Sends a packet that belongs to no session.
    fn transmit(&mut self, to: SocketAddr, bytes: Vec<u8>) {
        if self.common.packets.len() >= self.common.limits.waiting_packets {
            self.common.stats.waiting_full += 1;
            return;
        }
        self.note_sent(bytes.len());
        self.common.packets.push_back((to, bytes));
    }

    /// Whether a connection id names anything here.
    fn is_taken(&self, id: ConnectionId) -> bool {
        self.sessions.contains_key(&id) || self.pending.contains_key(&id) || self.closing.contains_key(&id)
    }
}

/// Whether a RouterInfo says more than another date and other counts.
fn says_other(before: &RouterInfo, after: &RouterInfo) -> bool {
    before.addresses != after.addresses || before.options.get("caps") != after.options.get("caps")
}
