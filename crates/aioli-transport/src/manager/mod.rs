//! The transport: all connections, who is behind them, and what waits for whom.
//!
//! ```text
//! peers:  RouterHash ─► queue, active session, spare session, older session, dial
//! conns:  ConnId ─► dialling ─► handshake ─► session ─► closing      (NTCP2)
//! udp:    ConnId ─► session, all in one endpoint                     (SSU2)
//! ```
//!
//! A peer's queue belongs to the peer, not to a session: when a session
//! replaces another, nothing has to be handed over.

mod conn;
mod dial;
mod lifecycle;
mod reach;
mod session;
mod shaping;
#[cfg(test)]
mod tests;
mod timeouts;
mod udp;
mod view;

pub use self::view::SessionView;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use aioli_core::map::{Table, table};
use aioli_core::{Cx, Instant, Rng, Timers};
use aioli_wire::RouterHash;
use aioli_wire::i2np::{Message, MessageType};
use aioli_wire::ip::is_public;
use aioli_wire::ntcp2::TerminationReason;
use aioli_wire::router_info::RouterInfo;
use aioli_wire::verified::Verified;

use self::conn::{Conn, IpGroup, State};
use self::dial::Dial;
use self::session::Room;
use self::udp::Udp;
use crate::back_off::BackOff;
use crate::ntcp2::Local;
use crate::pace::Pace;
use crate::queue::SendQueue;
use crate::replay::ReplayCache;
use crate::shaper::{Allowance, Shaper};
use crate::ssu2::Endpoint;
use crate::{Config, ConnId, DialError, Lane, Output, Stats, Why};

/// Of the bytes that a prober may still send, at most so many are read.
const PROBE_BYTES: u64 = 1024;

/// All sessions with other routers.
#[derive(Debug)]
pub struct Transport {
    config: Config,
    local: Option<Arc<Local>>,
    ipv4: bool,
    ipv6: bool,
    /// SSU2, if we speak it.
    udp: Option<Udp>,
    conns: Table<ConnId, Conn>,
    /// The keys of `conns`, in order.
    conn_ids: BTreeSet<ConnId>,
    next_conn: u64,
    peers: Table<RouterHash, Peer>,
    per_ip: BTreeMap<IpGroup, usize>,
    inbound: usize,
    pending_inbound: usize,
    pending_outbound: usize,
    sessions: usize,
    queued: usize,
    /// Relayed messages among them.
    queued_transit: usize,
    shaper: Shaper,
    /// Who is read first, within the limit on receiving.
    read_first: BTreeSet<RouterHash>,
    pace: Pace,
    back_off: BackOff,
    /// Routers that we dialled last over SSU2, with success.
    last_by_ssu2: BTreeSet<RouterHash>,
    banned: BTreeMap<RouterHash, Instant>,
    replay: ReplayCache,
    timers: Timers<(Why, ConnId)>,
    /// When the next way to a router is tried beside those under way.
    head_starts: Timers<RouterHash>,
    outputs: VecDeque<Output>,
    stats: Stats,
}

/// A router that we have, had a moment ago or try to have a session with.
#[derive(Debug, Default)]
struct Peer {
    queue: SendQueue,
    /// What we send on.
    active: Option<ConnId>,
    /// A session over the other transport, begun later: it listens, and takes over when the active one ends.
    spare: Option<ConnId>,
    /// What was replaced and still listens for a moment.
    older: Option<ConnId>,
    dial: Option<Dial>,
}

impl Transport {
    /// Without connections. Nothing is accepted or dialled before [`Self::set_local`].
    pub fn new(mut config: Config, mut rng: Rng) -> Self {
        let limits = &mut config.limits;
        if config.private_network {
            limits.min_version = (0, 0, 0);
        }
        let back_off_entries = limits.back_off_entries;
        let udp = config.ssu2_config().map(|ssu2| Udp::new(Endpoint::new(ssu2, &mut rng), back_off_entries));
        let limits = &config.limits;
        Self {
            local: None,
            udp,
            last_by_ssu2: BTreeSet::new(),
            head_starts: Timers::new(),
            ipv4: true,
            ipv6: true,
            conns: table(&mut rng),
            conn_ids: BTreeSet::new(),
            next_conn: 0,
            peers: table(&mut rng),
            per_ip: BTreeMap::new(),
            inbound: 0,
            pending_inbound: 0,
            pending_outbound: 0,
            sessions: 0,
            queued: 0,
            queued_transit: 0,
            shaper: Shaper::new(&config.bandwidth, Instant::ZERO),
            read_first: BTreeSet::new(),
            pace: Pace::new(limits),
            back_off: BackOff::new(limits.back_off_entries),
            banned: BTreeMap::new(),
            replay: ReplayCache::new(limits.replay_entries),
            timers: Timers::new(),
            outputs: VecDeque::new(),
            stats: Stats::default(),
            config,
        }
    }

    /// Our own current RouterInfo: for handshakes from now on and, within 25 to
    /// 50 minutes, for the sessions that stand.
    pub fn set_local(&mut self, ri: Arc<Verified<RouterInfo>>) {
        self.local = Some(Arc::new(Local {
            hash: ri.hash(),
            static_key: self.config.ntcp2_static.clone(),
            iv: self.config.ntcp2_iv,
            net_id: self.config.net_id,
            router_info: Arc::clone(&ri),
        }));
        if let Some(udp) = &mut self.udp {
            udp.endpoint.set_router_info(ri);
        }
    }

    /// Which address families can be dialled; both at first.
    pub const fn set_families(&mut self, ipv4: bool, ipv6: bool) {
        self.ipv4 = ipv4;
        self.ipv6 = ipv6;
    }

    /// Queues the message for the router; dials it if there is no session.
    pub fn send(&mut self, to: &Arc<Verified<RouterInfo>>, lane: Lane, message: Message, cx: &mut Cx<'_>) {
        let peer = to.hash();
        let Err(message) = self.send_to(&peer, lane, message, cx) else { return };
        match self.dial(to, cx) {
            Ok(()) => {
                if let Err(message) = self.send_to(&peer, lane, message, cx) {
                    // It has failed already: it was a limit.
                    let reason = DialError::Limit;
                    self.outputs.push_back(Output::DialFailed { peer, reason, dropped: vec![message] });
                }
            }
            Err(reason) => {
                self.outputs.push_back(Output::DialFailed { peer, reason, dropped: vec![message] });
            }
        }
    }

    /// Queues the message if there is a session with the router or one is
    /// under way. A full queue drops it.
    ///
    /// # Errors
    /// Gives the message back if there is neither.
    pub fn send_to(
        &mut self,
        to: &RouterHash,
        lane: Lane,
        message: Message,
        cx: &mut Cx<'_>,
    ) -> Result<(), Message> {
        let Some(peer) = self.peers.get_mut(to) else { return Err(message) };
        let limits = &self.config.limits;
        let data = matches!(message.kind, MessageType::TunnelData | MessageType::TunnelGateway);
        if data && lane == Lane::Transit && self.shaper.drops_early(self.queued_transit, cx.rng) {
            self.stats.dropped_early += 1;
            return Ok(());
        }
        let mut own =
            if peer.active.is_some() { limits.queue_bytes_per_peer } else { limits.queue_bytes_dialling };
        if data && lane == Lane::Own {
            // What builds tunnels and looks up must not be lost for what fills them.
            own = own.min(self.shaper.room(lane));
        }
        let (before, of_lane) = (peer.queue.bytes(), peer.queue.bytes_of(lane));
        let limit = own.min(of_lane + limits.queue_bytes_total.saturating_sub(self.queued));
        let pushed = peer.queue.push(lane, message, limit, cx.now.wall);
        self.queued = self.queued + peer.queue.bytes() - before;
        if lane == Lane::Transit {
            self.queued_transit = self.queued_transit + peer.queue.bytes_of(lane) - of_lane;
        }
        self.stats.dropped_expired += pushed.expired;
        self.stats.dropped_full += u64::from(!pushed.accepted);
        if let Some(conn) = peer.active {
            if lane == Lane::Own {
                self.prefer(conn);
            }
            self.wake_any(conn);
        }
        Ok(())
    }

    /// Dials the router if there is no session with it.
    pub fn connect(&mut self, to: &Arc<Verified<RouterInfo>>, cx: &mut Cx<'_>) {
        let peer = to.hash();
        if !self.peers.contains_key(&peer)
            && let Err(reason) = self.dial(to, cx)
        {
            self.outputs.push_back(Output::DialFailed { peer, reason, dropped: Vec::new() });
        }
    }

    /// Whether there is a session with the router.
    pub fn is_connected(&self, peer: &RouterHash) -> bool {
        self.peers.get(peer).is_some_and(|p| p.active.is_some())
    }

    /// Whether a session with the router is being set up, or a second one.
    pub fn is_dialled(&self, peer: &RouterHash) -> bool {
        self.peers.get(peer).is_some_and(|p| p.dial.is_some())
    }

    /// Whether [`Self::send`] would fail because the router could not be reached lately.
    pub fn is_backed_off(&self, peer: &RouterHash, now: Instant) -> bool {
        // What is not known of a router is where it can be reached: either may be all it has.
        self.back_off.holds(peer, now) && self.udp.as_ref().is_none_or(|udp| udp.back_off.holds(peer, now))
    }

    /// The routers that there is a session with: those over NTCP2 and those over SSU2, each oldest first.
    pub fn peers(&self) -> impl Iterator<Item = RouterHash> {
        let over_ntcp2 = self.conn_ids.iter().filter_map(|id| match self.conns.get(id) {
            Some(Conn { state: State::Established(session), .. }) => Some((*id, session.peer)),
            Some(_) | None => None,
        });
        let sessions = self.udp.iter().flat_map(|udp| &udp.sessions);
        let all = over_ntcp2.chain(sessions.map(|(id, session)| (*id, session.peer)));
        all.filter(|(id, hash)| self.peers.get(hash).is_some_and(|p| p.active == Some(*id)))
            .map(|(_, hash)| hash)
    }

    /// How many sessions there are over SSU2.
    pub fn ssu2_sessions(&self) -> usize {
        self.udp_sessions()
    }

    /// How many routers there is a session with.
    pub const fn sessions(&self) -> usize {
        self.sessions
    }

    /// Bytes that wait for the router.
    pub fn queued(&self, peer: &RouterHash) -> usize {
        self.peers.get(peer).map_or(0, |p| p.queue.bytes())
    }

    /// Ends the session with the router, saying why.
    pub fn close(&mut self, peer: &RouterHash, reason: TerminationReason, cx: &mut Cx<'_>) {
        self.give_up_dial(*peer);
        let Some(entry) = self.peers.get(peer) else { return };
        for conn in [entry.older, entry.spare, entry.active].into_iter().flatten() {
            if self.is_udp(conn) {
                self.disconnect_udp(peer, reason, cx);
            } else {
                self.terminate(conn, reason, cx);
            }
        }
    }

    /// Ends all sessions and dials, and refuses new ones.
    pub fn shut_down(&mut self, cx: &mut Cx<'_>) {
        self.local = None;
        self.close_all(TerminationReason::RouterShutdown, cx);
        if let Some(udp) = &mut self.udp {
            udp.endpoint.close_for_good();
        }
    }

    /// Ends all sessions and dials. Nobody is blamed, and new ones may begin at once.
    pub fn close_all(&mut self, reason: TerminationReason, cx: &mut Cx<'_>) {
        for conn in self.conn_ids.clone() {
            match self.conns.get(&conn).map(|c| &c.state) {
                Some(State::Established(_)) => self.terminate(conn, reason, cx),
                Some(State::Closing) | None => {}
                Some(_) => {
                    let peer = self.conns.get(&conn).filter(|c| !c.inbound).and_then(|c| c.peer);
                    self.drop_conn(conn, Some(true));
                    if let Some(peer) = peer {
                        self.give_up_dial(peer);
                    }
                }
            }
        }
        self.close_all_udp(reason, cx);
    }

    /// Refuses the router until then, and ends its session.
    pub fn ban(&mut self, peer: RouterHash, until: Instant, cx: &mut Cx<'_>) {
        if !self.banned.contains_key(&peer) && self.banned.len() >= self.config.limits.banned_entries {
            self.stats.banned_full += 1;
            self.banned.pop_first();
        }
        self.banned.insert(peer, until);
        self.sweep_soon(cx.now.mono);
        self.close(&peer, TerminationReason::Banned, cx);
    }

    /// A connection was accepted. None: refuse it.
    pub fn handle_accepted(&mut self, from: SocketAddr, cx: &mut Cx<'_>) -> Option<ConnId> {
        let Some(local) = self.local.clone() else {
            self.stats.refused_not_ready += 1;
            return None;
        };
        let public = is_public(from.ip().to_canonical());
        if !public && !self.config.private_network {
            self.stats.refused_not_public += 1;
            return None;
        }
        let limits = &self.config.limits;
        let (all, inbound) = (self.conns.len() + self.udp_sessions(), self.inbound + self.inbound_udp());
        if all >= limits.connections || inbound >= limits.inbound_connections || !self.config.ntcp2 {
            self.stats.refused_connections += 1;
            return None;
        }
        if self.pending_inbound >= limits.pending_inbound {
            self.stats.refused_pending += 1;
            return None;
        }
        let group = public.then(|| IpGroup::of(from));
        if !self.admit(group, cx.now.mono) {
            return None;
        }
        let state = State::AwaitSessionRequest(crate::ntcp2::responder::AwaitSessionRequest { local });
        let mut conn = Conn::new(state, true, cx.now.mono, None, group);
        conn.from = Some(from.ip());
        let conn = self.add_conn(conn);
        self.set_handshake_timer(conn, cx);
        Some(conn)
    }

    /// Bytes came. They are decrypted where they are.
    pub fn handle_bytes(&mut self, conn: ConnId, bytes: &mut [u8], cx: &mut Cx<'_>) {
        self.stats.bytes_received += bytes.len() as u64;
        let Some(c) = self.conns.get_mut(&conn) else { return };
        self.shaper.settle(std::mem::take(&mut c.granted), bytes.len(), cx.now.mono);
        match &mut c.state {
            State::Established(_) => self.receive(conn, bytes, cx),
            State::Probed { left } => {
                *left = left.saturating_sub(bytes.len());
                if *left == 0 {
                    self.drop_conn(conn, Some(true));
                }
            }
            State::Dialling(_) | State::Closing => {}
            State::AwaitSessionCreated(_)
            | State::AwaitCreatedPadding(_)
            | State::AwaitSessionRequest(_)
            | State::AwaitRequestPadding(_)
            | State::AwaitSessionConfirmed(_) => {
                c.rx.extend_from_slice(bytes);
                self.handshake(conn, cx);
            }
        }
    }

    /// Appends bytes to write, about `max`: a single message may be larger.
    /// False if there is nothing more for now.
    pub fn poll_transmit(&mut self, conn: ConnId, out: &mut Vec<u8>, max: usize, cx: &mut Cx<'_>) -> bool {
        let start = out.len();
        let transit_before = self.stats.transit_bytes_sent;
        let Some(c) = self.conns.get_mut(&conn) else { return false };
        if c.tx.len() <= max {
            out.append(&mut c.tx);
        } else {
            out.extend(c.tx.drain(..max));
        }
        let mut drained = c.tx.is_empty();
        if drained && let State::Established(session) = &mut c.state {
            let mut peer = self.peers.get_mut(&session.peer).filter(|p| p.active == Some(conn));
            let before = peer.as_ref().map_or((0, 0), |p| waiting(&p.queue));
            let own = self.local.as_ref().map(|l| &*l.router_info);
            out.reserve(before.0.min(max) + before.0.min(max) / 64);
            drained = false;
            let full = self.config.limits.frame_payload;
            let mut allowance =
                if c.parked.is_some() { Allowance::NONE } else { self.shaper.allowance(cx.now.mono) };
            // Room for less than half a frame is left for the next call.
            while !drained && (out.len() == start || out.len() - start + full / 2 < max) {
                let room = Room { payload: full.min(max.saturating_sub(out.len() - start)), allowance };
                let queue = peer.as_mut().map(|p| &mut p.queue);
                drained = !session.write_frame(queue, own, out, room, &mut self.stats, cx);
                if self.shaper.limits_sending() {
                    // One quantum, then it is somebody else's turn.
                    allowance = Allowance::NONE;
                }
            }
            let left = peer.map_or((0, 0), |p| waiting(&p.queue));
            self.queued = self.queued + left.0 - before.0;
            self.queued_transit = self.queued_transit + left.1 - before.1;
        }
        if drained {
            c.transmit = false;
            if matches!(c.state, State::Closing) {
                self.drop_conn(conn, Some(false));
            }
        }
        let wrote = out.len() - start;
        self.stats.bytes_sent += wrote as u64;
        if self.shaper.limits_sending() {
            let transit = self.stats.transit_bytes_sent - transit_before;
            self.sent(conn, wrote, transit as usize, cx.now.mono);
        }
        wrote > 0
    }

    /// What the driver and the router are to do next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Self::handle_timeout`] must be called, and what for.
    pub fn next_timeout(&self) -> Option<(Instant, Why)> {
        let timers = self.timers.next().map(|(at, (why, _))| (at, *why));
        let head_start = self.head_starts.next().map(|(at, _)| (at, Why::HeadStart));
        [timers, head_start, self.next_udp_timeout()].into_iter().flatten().min()
    }

    /// Counters and gauges.
    pub fn stats(&self) -> Stats {
        let stats = Stats {
            sessions: self.sessions as u64,
            connections: self.conns.len() as u64,
            queued_bytes: self.queued as u64,
            replay_cache_full: self.replay.full,
            back_off_full: self.back_off.full,
            ..self.stats
        };
        match &self.udp {
            Some(udp) => stats.with_ssu2(&udp.endpoint.stats(), udp.back_off.full),
            None => stats,
        }
    }
}

/// Bytes that wait, and those of relayed messages among them.
const fn waiting(queue: &SendQueue) -> (usize, usize) {
    (queue.bytes(), queue.bytes_of(Lane::Transit))
}
