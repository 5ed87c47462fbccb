//! Dialling: over which transport, which address, how long, and what when it fails (docs/transports.md).

use std::net::SocketAddr;
use std::sync::Arc;

use aioli_core::map::Table;
use aioli_core::{Cx, Duration, Instant, Now};
use aioli_wire::RouterHash;
use aioli_wire::ip::is_public;
use aioli_wire::ntcp2::TerminationReason;
use aioli_wire::router_info::RouterInfo;
use aioli_wire::verified::Verified;

use super::conn::{Conn, NO_CONN, State};
use super::udp::{Udp, Way};
use super::{Output, Peer, Transport};
use crate::PeerMisbehaved;
use crate::ntcp2::initiator::{self, Remote};
use crate::{ConnId, DialError, Lane, Why, ssu2};

/// Addresses of one router that are tried at most, of each transport.
const MAX_ADDRESSES: usize = 4;

/// No router on the Internet listens below: such an address is there to make us knock elsewhere.
const MIN_PORT: u16 = 1024;

/// Only a session in which nothing has moved for this long is closed for another.
const IDLE_ENOUGH: Duration = Duration::from_secs(20);

/// The transport that is tried first is ahead of the other by this. Two round trips around the world and one
/// repetition of a lost packet take less.
pub(super) const HEAD_START: Duration = Duration::from_secs(2);

/// Where there is no other transport, a second address of SSU2 takes the place of the first after this.
const ADDRESS_PATIENCE: Duration = Duration::from_secs(5);

/// What a router may be dialled over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    Either,
    Ntcp2,
    Ssu2,
}

/// A router to which a session is being set up.
#[derive(Debug)]
pub(super) struct Dial {
    /// The NTCP2 connection under way.
    pub(super) tcp: Option<ConnId>,
    /// The SSU2 handshake under way, or waiting for its turn.
    pub(super) udp: Option<ConnId>,
    /// Where else it could go, best last.
    untried: Vec<Candidate>,
    /// Who it is.
    info: Arc<Verified<RouterInfo>>,
    /// What will be told if all fails.
    failed: Option<DialError>,
}

/// One way to a router.
#[derive(Debug)]
enum Candidate {
    Ntcp2(SocketAddr, Remote),
    Ssu2(Box<Way>),
}

impl Candidate {
    const fn is_ssu2(&self) -> bool {
        matches!(self, Self::Ssu2(_))
    }
}

impl Dial {
    const fn is_over(&self) -> bool {
        self.tcp.is_none() && self.udp.is_none()
    }

    /// The best way by a transport over which nothing is under way.
    fn next_idle(&self) -> Option<usize> {
        self.untried.iter().rposition(|c| if c.is_ssu2() { self.udp.is_none() } else { self.tcp.is_none() })
    }
}

impl Transport {
    /// Begins to dial the router, with which there is nothing yet.
    pub(super) fn dial(&mut self, to: &Arc<Verified<RouterInfo>>, cx: &mut Cx<'_>) -> Result<(), DialError> {
        self.dial_over(to, Over::Either, cx)
    }

    /// Begins to dial the router over one transport or either.
    pub(super) fn dial_over(
        &mut self,
        to: &Arc<Verified<RouterInfo>>,
        over: Over,
        cx: &mut Cx<'_>,
    ) -> Result<(), DialError> {
        let hash = to.hash();
        let ours = self.local.as_ref().ok_or(DialError::Refused)?.hash;
        if hash == ours || to.net_id() != Some(self.config.net_id) || self.is_banned(&hash, cx) {
            return Err(DialError::Refused);
        }
        let mut untried = self.candidates(to, cx.now)?;
        untried.retain(|c| match over {
            Over::Either => true,
            Over::Ntcp2 => !c.is_ssu2(),
            Over::Ssu2 => c.is_ssu2(),
        });
        if untried.is_empty() {
            return Err(DialError::NoAddress);
        }
        let limits = &self.config.limits;
        let pending = self.pending_outbound + self.udp.as_ref().map_or(0, |udp| udp.dials.len());
        if pending >= limits.pending_outbound
            || !self.pace.has_room(|conn| stands(&self.conns, self.udp.as_ref(), conn))
            || (self.conns.len() + self.udp_sessions() >= limits.connections && !self.make_room(cx))
        {
            self.stats.dials_limited += 1;
            return Err(DialError::Limit);
        }
        self.stats.dials += 1;
        let dial = Dial { tcp: None, udp: None, untried, info: Arc::clone(to), failed: None };
        self.peers.entry(hash).or_default().dial = Some(dial);
        self.start_next(hash, cx);
        Ok(())
    }

    /// Has a dial under way try NTCP2 as well, at once: one that was begun besides a session, over SSU2 alone, may wait for
    /// long for a router that does not answer there. False if there is no dial, or NTCP2 is being tried.
    pub(super) fn widen_dial(&mut self, to: &Arc<Verified<RouterInfo>>, cx: &mut Cx<'_>) -> bool {
        let hash = to.hash();
        let is_narrow = |p: &Peer| p.dial.as_ref().is_some_and(|dial| dial.tcp.is_none());
        if !self.peers.get(&hash).is_some_and(is_narrow) {
            return false;
        }
        let ways = self.ntcp2_addresses(to);
        self.set_dial(&hash, |dial| {
            dial.untried.retain(Candidate::is_ssu2);
            dial.untried.extend(ways.into_iter().map(|(to, remote)| Candidate::Ntcp2(to, remote)));
        });
        self.start_next(hash, cx)
    }

    /// All ways to the router that are worth a try now, best last.
    fn candidates(&mut self, to: &Arc<Verified<RouterInfo>>, now: Now) -> Result<Vec<Candidate>, DialError> {
        let hash = to.hash();
        let (tcp, udp) = (self.ntcp2_addresses(to), self.ssu2_addresses(to));
        let introduced = if udp.is_empty() { self.introduced(to, now.wall) } else { None };
        if tcp.is_empty() && udp.is_empty() && introduced.is_none() {
            self.stats.dials_no_address += 1;
            return Err(DialError::NoAddress);
        }
        let token = |remote: &ssu2::Remote| self.holds_token(&remote.address, now);
        let ssu2_first = udp.iter().any(token) || self.last_by_ssu2.contains(&hash);
        let tcp_waits = self.back_off.holds(&hash, now.mono);
        let udp_waits = self.udp.as_ref().is_none_or(|udp| udp.back_off.holds(&hash, now.mono));
        let tcp = tcp.into_iter().filter(|_| !tcp_waits).map(|(to, remote)| Candidate::Ntcp2(to, remote));
        let ways = udp.into_iter().map(Way::Direct).chain(introduced.map(Way::Introduced));
        let udp = ways.filter(|_| !udp_waits).map(|way| Candidate::Ssu2(Box::new(way)));
        let all: Vec<_> = if ssu2_first { tcp.chain(udp).collect() } else { udp.chain(tcp).collect() };
        if all.is_empty() {
            self.stats.dials_backed_off += 1;
            return Err(DialError::BackOff);
        }
        Ok(all)
    }

    /// Whether a router may be dialled there.
    fn is_usable(&self, at: SocketAddr) -> bool {
        let public = is_public(at.ip()) && at.port() >= MIN_PORT;
        (self.config.private_network || public) && if at.is_ipv4() { self.ipv4 } else { self.ipv6 }
    }

    /// Where the router can be dialled over NTCP2, best last.
    fn ntcp2_addresses(&self, to: &RouterInfo) -> Vec<(SocketAddr, Remote)> {
        if !self.config.ntcp2 {
            return Vec::new();
        }
        let hash = to.hash();
        let usable = to.ntcp2().filter_map(|a| {
            let (endpoint, iv) = a.published()?;
            let remote = Remote { hash, static_key: a.static_key, iv };
            self.is_usable(endpoint).then_some((a.cost, (endpoint, remote)))
        });
        best_last(usable)
    }

    /// Where the router can be dialled over SSU2, best last.
    fn ssu2_addresses(&self, to: &RouterInfo) -> Vec<ssu2::Remote> {
        let Some(udp) = &self.udp else { return Vec::new() };
        let hash = to.hash();
        let usable = to.ssu2().filter_map(|a| {
            let address =
                a.host.filter(|at| self.is_usable(*at) && if at.is_ipv4() { udp.ipv4 } else { udp.ipv6 })?;
            let (static_key, intro_key) = (a.static_key, ssu2::IntroKey(a.intro_key));
            Some((a.cost, ssu2::Remote { hash, static_key, intro_key, address, mtu: a.mtu }))
        });
        best_last(usable)
    }

    /// Begins the best way of an idle transport. False if there is none.
    fn start_next(&mut self, hash: RouterHash, cx: &mut Cx<'_>) -> bool {
        let Some(dial) = self.peers.get_mut(&hash).and_then(|p| p.dial.as_mut()) else { return false };
        let Some(next) = dial.next_idle() else { return false };
        let (conn, at) = match dial.untried.remove(next) {
            Candidate::Ntcp2(at, remote) => {
                let mut conn = Conn::new(State::Dialling(remote), false, cx.now.mono, Some(hash), None);
                conn.dialled = Some(at);
                let conn = self.add_conn(conn);
                self.set_dial(&hash, |dial| dial.tcp = Some(conn));
                (conn, at)
            }
            Candidate::Ssu2(way) => {
                let (conn, at) = (self.next_conn_id(), way.remote().address);
                self.line_up_udp(conn, *way);
                self.set_dial(&hash, |dial| dial.udp = Some(conn));
                (conn, at)
            }
        };
        self.pace.line_up(conn, at);
        self.arm_head_start(hash, cx.now.mono);
        self.dial_next(cx);
        self.stats.dials_paced += u64::from(self.pace.is_waiting(conn));
        true
    }

    /// Who is dialled.
    pub(super) fn dialled_info(&self, hash: &RouterHash) -> Option<Arc<Verified<RouterInfo>>> {
        self.peers.get(hash)?.dial.as_ref().map(|dial| Arc::clone(&dial.info))
    }

    fn set_dial(&mut self, hash: &RouterHash, change: impl FnOnce(&mut Dial)) {
        if let Some(dial) = self.peers.get_mut(hash).and_then(|p| p.dial.as_mut()) {
            change(dial);
        }
    }

    /// Sets when the next way is tried beside those under way.
    fn arm_head_start(&mut self, hash: RouterHash, now: Instant) {
        let Some(dial) = self.peers.get(&hash).and_then(|p| p.dial.as_ref()) else { return };
        if dial.next_idle().is_some() {
            self.head_starts.set(hash, now + HEAD_START);
        } else if dial.udp.is_some() && dial.untried.iter().any(Candidate::is_ssu2) {
            self.head_starts.set(hash, now + ADDRESS_PATIENCE);
        } else {
            self.head_starts.stop(&hash);
        }
    }

    /// What is under way has not answered yet.
    pub(super) fn head_start_over(&mut self, hash: RouterHash, cx: &mut Cx<'_>) {
        self.stats.dials_both += u64::from(self.start_next(hash, cx));
        let Some(dial) = self.peers.get_mut(&hash).and_then(|p| p.dial.as_mut()) else { return };
        if self.head_starts.get(&hash).is_none()
            && dial.untried.iter().any(Candidate::is_ssu2)
            && let Some(conn) = dial.udp.take()
        {
            self.cancel_udp(conn);
            self.start_next(hash, cx);
        }
    }

    /// Begins the dials whose turn it is.
    pub(super) fn dial_next(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now.mono;
        loop {
            let next = self.pace.next_dial(|conn| stands(&self.conns, self.udp.as_ref(), conn), now);
            let Some((conn, to)) = next else { break };
            if self.conns.contains_key(&conn) {
                self.timers.set((Why::Connect, conn), now + self.config.limits.connect_timeout);
                self.outputs.push_back(Output::Dial { conn, to });
            } else {
                self.connect_udp(conn, cx);
            }
        }
        if let Some(at) = self.pace.next_turn() {
            self.timers.set((Why::Pace, NO_CONN), at);
        }
    }

    /// Ends the session that has been idle longest, if one has been for long enough: a peer that
    /// we need is worth more. Never for a peer that wants in, which could empty the table so.
    fn make_room(&mut self, cx: &mut Cx<'_>) -> bool {
        let idle = self.conn_ids.iter().filter_map(|id| {
            let State::Established(session) = &self.conns.get(id)?.state else { return None };
            let waits = self.peers.get(&session.peer).is_some_and(|p| !p.queue.is_empty());
            let long = cx.now.mono.since(session.last_activity) >= IDLE_ENOUGH;
            (long && !waits).then_some((session.last_activity, *id))
        });
        let Some((_, conn)) = idle.min() else { return self.make_room_udp(IDLE_ENOUGH, cx) };
        self.stats.closed_for_room += 1;
        self.terminate(conn, TerminationReason::Normal, cx);
        true
    }

    /// The TCP connection of a dial stands.
    pub fn handle_connected(&mut self, conn: ConnId, cx: &mut Cx<'_>) {
        let Some(c) = self.conns.get_mut(&conn) else { return };
        let (State::Dialling(remote), Some(local)) = (&c.state, &self.local) else { return };
        let hash = remote.hash;
        match initiator::session_request(local, remote, cx) {
            Ok((message, next)) => {
                c.tx = message;
                c.state = State::AwaitSessionCreated(Box::new(next));
                self.timers.stop(&(Why::Connect, conn));
                self.set_handshake_timer(conn, cx);
                self.wake(conn);
            }
            Err(why) => {
                self.drop_conn(conn, Some(true));
                self.end_dial(hash, conn, DialError::Handshake(why), cx);
            }
        }
    }

    /// The TCP connection of a dial did not come about.
    pub fn handle_connect_failed(&mut self, conn: ConnId, cx: &mut Cx<'_>) {
        self.unreachable(conn, None, cx);
    }

    /// Tries the next address, or gives up.
    pub(super) fn unreachable(&mut self, conn: ConnId, close: Option<bool>, cx: &mut Cx<'_>) {
        let Some(c) = self.conns.get(&conn) else { return };
        let (State::Dialling(_), Some(hash)) = (&c.state, c.peer) else { return };
        self.stats.dials_unreachable += 1;
        self.drop_conn(conn, close);
        self.end_dial(hash, conn, DialError::Unreachable, cx);
    }

    /// This way gave no session; its connection is gone already. The next is tried, if there is one.
    pub(super) fn end_dial(&mut self, hash: RouterHash, conn: ConnId, reason: DialError, cx: &mut Cx<'_>) {
        let Some(peer) = self.peers.get_mut(&hash) else { return };
        let Some(dial) = &mut peer.dial else { return };
        let by_ssu2 = dial.udp == Some(conn);
        if by_ssu2 {
            dial.udp = None;
        } else if dial.tcp == Some(conn) {
            dial.tcp = None;
        } else {
            return;
        }
        if peer.active.is_some() {
            if dial.is_over() {
                peer.dial = None;
            }
            if by_ssu2 && reason.blames_peer() {
                self.note_failed(hash, true, cx);
            }
            return;
        }
        if reason != DialError::Unreachable {
            // It is there. At its other addresses it would say the same.
            dial.untried.retain(|c| c.is_ssu2() != by_ssu2 || (by_ssu2 && reason == DialError::Timeout));
        }
        let all_tried = !dial.untried.iter().any(|c| c.is_ssu2() == by_ssu2);
        dial.failed = dial.failed.filter(|before| before.blames_peer()).or(Some(reason));
        // What fails over SSU2 is counted and told by its endpoint.
        if let DialError::Handshake(why) = reason
            && !by_ssu2
        {
            self.stats.dials_failed += 1;
            if let PeerMisbehaved::ClockSkew(seconds) = why {
                self.stats.clock_skews += 1;
                self.outputs.push_back(Output::ClockSkew { seconds });
            }
        }
        if reason.blames_peer() && all_tried {
            self.note_failed(hash, by_ssu2, cx);
        }
        if self.start_next(hash, cx) {
            self.stats.dials_moved += 1;
            return;
        }
        self.head_starts.stop(&hash);
        if self.peers.get(&hash).and_then(|p| p.dial.as_ref()).is_some_and(Dial::is_over) {
            self.fail_dial(hash);
        }
    }

    fn note_failed(&mut self, hash: RouterHash, by_ssu2: bool, cx: &mut Cx<'_>) {
        let back_off = match &mut self.udp {
            Some(udp) if by_ssu2 => &mut udp.back_off,
            Some(_) | None => &mut self.back_off,
        };
        back_off.failed(hash, cx.now.mono, cx.rng);
        if by_ssu2 {
            self.last_by_ssu2.remove(&hash);
        }
        self.sweep_soon(cx.now.mono);
    }

    /// Nothing has led to the router.
    fn fail_dial(&mut self, hash: RouterHash) {
        let Some(peer) = self.peers.get_mut(&hash) else { return };
        let reason = peer.dial.take().and_then(|d| d.failed).unwrap_or(DialError::Refused);
        self.queued -= peer.queue.bytes();
        self.queued_transit -= peer.queue.bytes_of(Lane::Transit);
        let dropped = peer.queue.take();
        self.stats.dropped_disconnected += dropped.len() as u64;
        self.outputs.push_back(Output::DialFailed { peer: hash, reason, dropped });
        self.forget_if_unused(&hash);
    }

    /// Gives up all ways to the router; it is nobody's fault. Silent if there is a session.
    pub(super) fn give_up_dial(&mut self, hash: RouterHash) {
        let Some(peer) = self.peers.get_mut(&hash) else { return };
        let Some(dial) = &mut peer.dial else { return };
        let (tcp, udp, connected) = (dial.tcp.take(), dial.udp.take(), peer.active.is_some());
        dial.failed = Some(DialError::Refused);
        if connected {
            peer.dial = None;
        }
        self.head_starts.stop(&hash);
        if let Some(conn) = tcp {
            self.drop_conn(conn, Some(true));
        }
        if let Some(conn) = udp {
            self.cancel_udp(conn);
        }
        if !connected {
            self.fail_dial(hash);
        }
    }

    /// There is a session now: other ways to it are needless, unless they have come far.
    pub(super) fn settle_dial(&mut self, hash: RouterHash) {
        let over_udp = self.active_udp(&hash);
        let Some(dial) = self.peers.get_mut(&hash).and_then(|p| p.dial.as_mut()) else { return };
        dial.untried.clear();
        self.head_starts.stop(&hash);
        let udp = dial.udp.take();
        let near = |c: &Conn| matches!(c.state, State::Dialling(_));
        let tcp = dial.tcp.take_if(|conn| over_udp || self.conns.get(conn).is_none_or(near));
        if dial.is_over()
            && let Some(peer) = self.peers.get_mut(&hash)
        {
            peer.dial = None;
        }
        if let Some(conn) = udp {
            self.cancel_udp(conn);
        }
        if let Some(conn) = tcp {
            self.drop_conn(conn, Some(true));
        }
    }

    /// Arms the time limit of a handshake, with a jitter of a fifth.
    pub(super) fn set_handshake_timer(&mut self, conn: ConnId, cx: &mut Cx<'_>) {
        let limit = self.config.handshake_timeout;
        let at = cx.now.mono + limit + cx.rng.duration(Duration::ZERO, limit / 5);
        self.timers.set((Why::Handshake, conn), at);
    }
}

/// The first few ways, of which each has a cost, best last.
fn best_last<T>(usable: impl Iterator<Item = (u8, T)>) -> Vec<T> {
    let mut found: Vec<_> = usable.take(MAX_ADDRESSES).collect();
    found.sort_by_key(|(cost, _)| *cost);
    found.into_iter().rev().map(|(_, way)| way).collect()
}

/// Whether a dial that waits for its turn is still wanted.
fn stands(conns: &Table<ConnId, Conn>, udp: Option<&Udp>, conn: &ConnId) -> bool {
    conns.contains_key(conn) || udp.is_some_and(|udp| udp.dials.contains_key(conn))
}
