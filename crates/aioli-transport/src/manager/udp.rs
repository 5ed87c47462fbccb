//! SSU2 beside NTCP2: its endpoint, and how its sessions take part in what both share: queues, limits, bandwidth.
//!
//! ```text
//!  peer's queue ──(feed: window, bandwidth, own before relayed)──► session ──► poll_datagrams ─► socket
//!  socket ─► handle_datagram ─(too much: large ones are dropped)─► endpoint ─► its outputs, translated
//! ```
//!
//! A session has a [`ConnId`] as a TCP connection has, so that a peer's session and a place in a line are the same
//! thing for both. No driver ever sees it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use aioli_core::{Cx, Date, Duration, Instant, Now, Timers};
use aioli_wire::RouterHash;
use aioli_wire::i2np::Message;
use aioli_wire::ip::is_public;
use aioli_wire::router_info::RouterInfo;
use aioli_wire::ssu2::TerminationReason;
use aioli_wire::verified::Unverified;

use super::conn::IpGroup;
use super::reach::Introduced;
use super::session::is_unfit;
use super::{Peer, Transport, waiting};
use crate::back_off::BackOff;
use crate::queue::{SendQueue, cost};
use crate::shaper::Shaper;
use crate::ssu2::{self, ConnectError, Endpoint, Remote};
use crate::{ConnId, DialError, DisconnectReason, Lane, Output, Stats, Transmit, Why};

/// SSU2 and its sessions.
#[derive(Debug)]
pub(super) struct Udp {
    pub(super) endpoint: Endpoint,
    pub(super) sessions: BTreeMap<ConnId, UdpSession>,
    pub(super) dials: BTreeMap<ConnId, UdpDial>,
    /// Peers whom SSU2 did not reach.
    pub(super) back_off: BackOff,
    /// Sessions that came to us.
    pub(super) inbound: usize,
    /// Dials that wait for a session with an introducer.
    pub(super) for_introducers: Timers<ConnId>,
    /// When everybody was last told that our address has changed, or may have.
    pub(super) doubted: Option<Instant>,
    /// Peers that made us doubt it of late.
    pub(super) doubters: Vec<(Instant, RouterHash)>,
    /// Whether `Output::Datagrams` has been said.
    said: bool,
    /// The address families that there are sockets for.
    pub(super) ipv4: bool,
    pub(super) ipv6: bool,
}

/// A session of SSU2.
#[derive(Debug)]
pub(super) struct UdpSession {
    pub(super) peer: RouterHash,
    pub(super) inbound: bool,
    /// Counted against `connections_per_ip`.
    group: Option<IpGroup>,
    /// Waits within the bandwidth limit, in this line.
    pub(super) parked: Option<Lane>,
    /// Bytes that were counted as sent when it was fed, and have not left yet.
    counted: usize,
}

/// A dial by SSU2.
#[derive(Debug)]
pub(super) struct UdpDial {
    peer: RouterHash,
    /// Until it is its turn, and if introducers are needed, until one is asked.
    pub(super) way: Option<Way>,
}

/// How a router is reached over SSU2.
#[derive(Debug)]
pub(super) enum Way {
    Direct(Remote),
    Introduced(Introduced),
}

impl Way {
    /// Whom it leads to, and, if that is known, where.
    pub(super) const fn remote(&self) -> &Remote {
        match self {
            Self::Direct(remote) | Self::Introduced(Introduced { remote, .. }) => remote,
        }
    }
}

impl UdpDial {
    /// Through whom, while none of them was asked.
    pub(super) fn via(&self) -> Option<&Introduced> {
        self.way.as_ref().and_then(|way| if let Way::Introduced(via) = way { Some(via) } else { None })
    }
}

impl Udp {
    pub(super) fn new(endpoint: Endpoint, back_off_entries: usize) -> Self {
        Self {
            endpoint,
            sessions: BTreeMap::new(),
            dials: BTreeMap::new(),
            back_off: BackOff::new(back_off_entries),
            inbound: 0,
            for_introducers: Timers::new(),
            doubted: None,
            doubters: Vec::new(),
            said: false,
            ipv4: true,
            ipv6: true,
        }
    }

    /// Takes a dial away, which waits for nothing any more.
    pub(super) fn take_dial(&mut self, conn: ConnId) -> Option<UdpDial> {
        self.for_introducers.stop(&conn);
        self.dials.remove(&conn)
    }
}

/// The parts of a transport that feeding a session touches.
struct Feeder<'a> {
    peers: &'a mut aioli_core::map::Table<RouterHash, Peer>,
    sessions: &'a mut BTreeMap<ConnId, UdpSession>,
    shaper: &'a mut Shaper,
    stats: &'a mut Stats,
    queued: &'a mut usize,
    queued_transit: &'a mut usize,
    /// The session that was asked for last.
    asked: Option<ConnId>,
    now: Now,
}

impl Feeder<'_> {
    /// Gives messages to the peer's session, if it is the one we send on and may have some.
    fn feed(&mut self, hash: &RouterHash, mut room: usize, push: &mut dyn FnMut(Lane, Message) -> usize) {
        let Some(peer) = self.peers.get_mut(hash) else { return };
        self.asked = session_of(peer, self.sessions);
        let Some(conn) = peer.active else { return };
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        if room == 0 || session.parked.is_some() || peer.queue.is_empty() {
            return;
        }
        let mut allowance = self.shaper.allowance(self.now.mono);
        let order = peer.queue.next_order();
        let (before, mut fed) = (waiting(&peer.queue), [0, 0]);
        while room > 0 {
            let found = order.into_iter().find_map(|lane| {
                let message = take(&mut peer.queue, lane, allowance.of(lane), self.stats, self.now.wall)?;
                Some((lane, message))
            });
            let Some((lane, message)) = found else { break };
            let bytes = cost(&message);
            allowance.take(lane, bytes);
            fed[usize::from(lane == Lane::Transit)] += bytes;
            room = push(lane, message);
        }
        let left = waiting(&peer.queue);
        *self.queued = *self.queued + left.0 - before.0;
        *self.queued_transit = *self.queued_transit + left.1 - before.1;
        let [own, transit] = fed;
        self.stats.transit_bytes_sent += transit as u64;
        if self.shaper.limits_sending() {
            session.counted += own + transit;
            self.shaper.sent(own + transit, transit, self.now.mono);
        }
        if room > 0 && !peer.queue.is_empty() {
            // Something waits and there was room: it is the bandwidth limit.
            let lane = peer.queue.line();
            session.parked = Some(lane);
            self.shaper.park(lane, conn);
        }
    }
}

/// The session of SSU2 that a peer has, whether we send on it or not.
fn session_of(peer: &Peer, sessions: &BTreeMap<ConnId, UdpSession>) -> Option<ConnId> {
    [peer.active, peer.spare].into_iter().flatten().find(|conn| sessions.contains_key(conn))
}

/// The next message of a lane that has not expired, if any may be sent.
fn take(
    queue: &mut SendQueue,
    lane: Lane,
    allowance: usize,
    stats: &mut Stats,
    now: Date,
) -> Option<Message> {
    if allowance == 0 {
        return None;
    }
    loop {
        let message = queue.pop(lane)?;
        if !is_unfit(&message, stats, now) {
            return Some(message);
        }
    }
}

impl Transport {
    /// A datagram came. It is decrypted where it is.
    pub fn handle_datagram(&mut self, from: SocketAddr, bytes: &mut [u8], cx: &mut Cx<'_>) {
        let room = self.udp_room();
        let Some(udp) = &mut self.udp else { return };
        if self.shaper.polices(bytes.len(), cx) {
            self.stats.dropped_inbound += 1;
            return;
        }
        self.shaper.settle(0, bytes.len(), cx.now.mono);
        let of_inbound = self.config.limits.inbound_connections.saturating_sub(self.inbound);
        udp.endpoint.set_session_limit(room.min(of_inbound));
        udp.endpoint.handle_datagram(from, bytes, cx);
        self.after_udp(cx);
    }

    /// Appends the next datagrams to send, all to one address: at most so many, all of the same size but for the
    /// last, which may be smaller. None if there is nothing more for now.
    pub fn poll_datagrams(
        &mut self,
        out: &mut Vec<u8>,
        max_segments: usize,
        cx: &mut Cx<'_>,
    ) -> Option<Transmit> {
        let udp = self.udp.as_mut()?;
        let start = out.len();
        let mut feeder = Feeder {
            peers: &mut self.peers,
            sessions: &mut udp.sessions,
            shaper: &mut self.shaper,
            stats: &mut self.stats,
            queued: &mut self.queued,
            queued_transit: &mut self.queued_transit,
            asked: None,
            now: cx.now,
        };
        let mut feed = |peer: &RouterHash, room: usize, push: &mut dyn FnMut(Lane, Message) -> usize| {
            feeder.feed(peer, room, push);
        };
        let transmit = udp.endpoint.poll_datagrams(out, max_segments.max(1), &mut feed, cx);
        let asked = feeder.asked;
        if self.shaper.limits_sending() {
            self.count_sent(asked, out.len() - start, cx.now.mono);
        }
        if transmit.is_none()
            && let Some(udp) = &mut self.udp
        {
            udp.said = false;
            // Its turn may have come this moment.
            self.say_datagrams();
        }
        transmit
    }

    /// What a session sends beyond what it was fed counts as well: headers, repetitions, acknowledgements.
    fn count_sent(&mut self, session: Option<ConnId>, bytes: usize, now: Instant) {
        let session = self.udp.as_mut().zip(session).and_then(|(udp, conn)| udp.sessions.get_mut(&conn));
        let counted = session.map_or(0, |session| {
            let counted = session.counted.min(bytes);
            session.counted -= counted;
            counted
        });
        self.shaper.sent(bytes - counted, 0, now);
        self.next_senders(now);
    }

    /// What the endpoint tells, and what it has to send.
    pub(super) fn after_udp(&mut self, cx: &mut Cx<'_>) {
        while let Some(output) = self.udp.as_mut().and_then(|udp| udp.endpoint.poll_event()) {
            self.on_udp_output(output, cx);
        }
        self.say_datagrams();
    }

    /// Tells the driver that there are datagrams, once.
    pub(super) fn say_datagrams(&mut self) {
        if let Some(udp) = &mut self.udp
            && udp.endpoint.may_transmit()
            && !std::mem::replace(&mut udp.said, true)
        {
            self.outputs.push_back(Output::Datagrams);
        }
    }

    /// The session has been given something to send, or leave to send.
    pub(super) fn wake_udp(&mut self, conn: ConnId) {
        if let Some(udp) = &mut self.udp
            && let Some(session) = udp.sessions.get(&conn)
            && session.parked.is_none()
        {
            udp.endpoint.wake(&session.peer);
            self.say_datagrams();
        }
    }

    fn on_udp_output(&mut self, output: ssu2::Output, cx: &mut Cx<'_>) {
        use ssu2::Output as U;
        match output {
            U::Datagram { .. } => {}
            U::Established { peer, address, inbound, router_info } => {
                self.on_udp_established(peer, address, inbound, router_info, cx);
            }
            U::Disconnected { peer, reason, left } => self.on_udp_disconnected(peer, reason, left, cx),
            U::ConnectFailed { peer, at, reason, .. } => self.on_udp_dial_failed(peer, at, reason, cx),
            U::Messages { from, messages } => self.on_udp_messages(from, messages),
            U::RouterInfo { from, ri, flood } if self.udp_conn(&from).is_some() => {
                if ri.claims().hash() == from {
                    self.outputs.push_back(Output::RouterInfo { from, ri, flood });
                } else {
                    self.stats.bad_router_infos += 1;
                }
            }
            // Of a session that was refused.
            U::RouterInfo { .. } => {}
            U::ObservedAddress { by, at, address, moved } => {
                if moved {
                    self.doubt_address(by, cx.now.mono);
                }
                self.outputs.push_back(Output::ObservedAddress { by, at, address });
            }
            U::Refused { from, why } => {
                self.outputs.push_back(Output::HandshakeFailed { from: from.ip(), why });
            }
            U::Moved { peer, from, to } => {
                tracing::debug!("{peer:?} has moved from {from} to {to}");
                if from.ip() != to.ip() {
                    self.on_moved(peer);
                }
            }
            U::PeerClock { peer, at, ahead_ms } => {
                self.outputs.push_back(Output::PeerClock { peer, at, ahead_ms });
            }
            U::PeerTested { charlie, address, outcome, .. } => {
                let by = charlie.map(|(_, at)| at.ip());
                self.outputs.push_back(Output::PeerTested { by, address, outcome });
            }
            U::WantRouterInfo { router } => self.outputs.push_back(Output::WantRouterInfo { router }),
            U::RelayTag { by, at, tag } => self.outputs.push_back(Output::RelayTag { by, at, tag }),
            U::Visitor { from } => self.outputs.push_back(Output::Visitor { from: from.ip() }),
            U::Stray { from } => self.outputs.push_back(Output::Stray { from }),
            U::ClockSkew { seconds } => self.outputs.push_back(Output::ClockSkew { seconds }),
        }
    }

    fn on_udp_messages(&mut self, from: RouterHash, messages: Vec<Message>) {
        if let Some(Output::Messages { from: before, messages: earlier }) = self.outputs.back_mut()
            && *before == from
        {
            earlier.extend(messages);
        } else if self.udp_conn(&from).is_some() {
            self.outputs.push_back(Output::Messages { from, messages });
        }
        // Else it is of a session that was refused.
    }

    /// A handshake is over. Its packets have proven who and where the peer is; now the limits on both hold.
    fn on_udp_established(
        &mut self,
        peer: RouterHash,
        address: SocketAddr,
        inbound: bool,
        router_info: Option<Unverified<RouterInfo>>,
        cx: &mut Cx<'_>,
    ) {
        let group = (inbound && is_public(address.ip().to_canonical())).then(|| IpGroup::of(address));
        let refused = if self.is_banned(&peer, cx) {
            self.stats.banned += 1;
            Some(TerminationReason::Banned)
        } else {
            let is_admitted = !inbound || self.admit(group, cx.now.mono);
            (!is_admitted).then_some(TerminationReason::ConnectionLimits)
        };
        if let Some(reason) = refused {
            self.disconnect_udp(&peer, reason, cx);
            // The endpoint has given up our own dial for this session.
            self.on_udp_dial_failed(peer, None, ConnectError::Limit, cx);
            return;
        }
        let dialled = self.peers.get_mut(&peer).and_then(|p| p.dial.as_mut()).and_then(|d| d.udp.take());
        let conn = dialled.unwrap_or_else(|| self.next_conn_id());
        let Some(udp) = &mut self.udp else { return };
        udp.take_dial(conn);
        udp.back_off.succeeded(&peer);
        udp.inbound += usize::from(inbound);
        udp.sessions.insert(conn, UdpSession { peer, inbound, group, parked: None, counted: 0 });
        if !inbound {
            self.remember_way(peer, true);
        }
        self.adopt(conn, peer, router_info, cx);
        self.introducer_is_here(&peer, cx);
    }

    fn on_udp_disconnected(
        &mut self,
        peer: RouterHash,
        reason: DisconnectReason,
        left: Vec<(Lane, Message)>,
        cx: &mut Cx<'_>,
    ) {
        let Some(conn) = self.udp_conn(&peer) else { return };
        let Some(udp) = &mut self.udp else { return };
        let Some(session) = udp.sessions.remove(&conn) else { return };
        udp.inbound -= usize::from(session.inbound);
        self.leave_group(session.group);
        self.disconnected(conn, peer, reason);
        // The other session takes what this one has not delivered. Both ends drop what comes twice.
        for (lane, message) in left {
            let _ = self.send_to(&peer, lane, message, cx);
        }
    }

    fn on_udp_dial_failed(
        &mut self,
        peer: RouterHash,
        address: Option<SocketAddr>,
        reason: ConnectError,
        cx: &mut Cx<'_>,
    ) {
        let dial = self.peers.get(&peer).and_then(|p| p.dial.as_ref());
        let Some(conn) = dial.and_then(|d| d.udp) else { return };
        if let Some(udp) = &mut self.udp {
            udp.take_dial(conn);
        }
        if let (ConnectError::Timeout, Some(at), true) = (reason, address, self.is_connected(&peer)) {
            self.outputs.push_back(Output::Silent { at: at.ip() });
        }
        self.end_dial(peer, conn, dial_error(reason), cx);
    }

    /// Puts a dial in line.
    pub(super) fn line_up_udp(&mut self, conn: ConnId, way: Way) {
        if let Some(udp) = &mut self.udp {
            udp.dials.insert(conn, UdpDial { peer: way.remote().hash, way: Some(way) });
        }
    }

    /// It is this dial's turn.
    pub(super) fn connect_udp(&mut self, conn: ConnId, cx: &mut Cx<'_>) {
        let peer = self.udp.as_ref().and_then(|udp| udp.dials.get(&conn)).map(|dial| dial.peer);
        let (info, room) = (peer.and_then(|peer| self.dialled_info(&peer)), self.udp_room());
        let Some(udp) = &mut self.udp else { return };
        let Some(dial) = udp.dials.get_mut(&conn) else { return };
        if dial.via().is_some() {
            return self.connect_via(conn, cx);
        }
        let (peer, Some(Way::Direct(remote))) = (dial.peer, dial.way.take()) else { return };
        udp.endpoint.set_session_limit(room);
        match udp.endpoint.connect(remote, cx) {
            Ok(()) => {
                if let Some(info) = info {
                    udp.endpoint.learn(info, cx);
                }
                self.after_udp(cx);
            }
            Err(reason) => {
                udp.take_dial(conn);
                self.end_dial(peer, conn, dial_error(reason), cx);
            }
        }
    }

    /// How many sessions there may be beside the connections of NTCP2.
    pub(super) fn udp_room(&self) -> usize {
        self.config.limits.connections.saturating_sub(self.conns.len())
    }

    /// Forgets a dial without a word.
    pub(super) fn cancel_udp(&mut self, conn: ConnId) {
        if let Some(udp) = &mut self.udp
            && let Some(dial) = udp.take_dial(conn)
        {
            udp.endpoint.cancel(&dial.peer);
        }
    }

    /// Ends a peer's session.
    pub(super) fn disconnect_udp(&mut self, peer: &RouterHash, reason: TerminationReason, cx: &mut Cx<'_>) {
        if let Some(udp) = &mut self.udp {
            udp.endpoint.disconnect(peer, reason, cx);
        }
        self.after_udp(cx);
    }

    /// Ends all sessions and dials.
    pub(super) fn close_all_udp(&mut self, reason: TerminationReason, cx: &mut Cx<'_>) {
        let Some(udp) = &self.udp else { return };
        let dialled: Vec<_> = udp.dials.values().map(|dial| dial.peer).collect();
        let peers: Vec<_> = udp.sessions.values().map(|session| session.peer).collect();
        dialled.into_iter().for_each(|peer| self.give_up_dial(peer));
        for peer in peers {
            self.disconnect_udp(&peer, reason, cx);
        }
    }

    pub(super) fn inbound_udp(&self) -> usize {
        self.udp.as_ref().map_or(0, |udp| udp.inbound)
    }

    /// Ends the session that has been idle longest, if one has been for long enough.
    pub(super) fn make_room_udp(&mut self, idle: Duration, cx: &mut Cx<'_>) -> bool {
        let found = self.udp.as_ref().and_then(|udp| udp.endpoint.idlest(idle, cx.now.mono));
        let Some((_, peer)) = found.filter(|(_, peer)| self.queued(peer) == 0) else { return false };
        self.stats.closed_for_room += 1;
        self.disconnect_udp(&peer, TerminationReason::Normal, cx);
        true
    }

    /// The connection that is the peer's session over SSU2.
    pub(super) fn udp_conn(&self, peer: &RouterHash) -> Option<ConnId> {
        let (udp, peer) = (self.udp.as_ref()?, self.peers.get(peer)?);
        session_of(peer, &udp.sessions)
    }

    /// Whether we send to the peer over SSU2.
    pub(super) fn active_udp(&self, peer: &RouterHash) -> bool {
        let active = self.peers.get(peer).and_then(|p| p.active);
        active.is_some_and(|conn| self.is_udp(conn))
    }

    pub(super) fn is_udp(&self, conn: ConnId) -> bool {
        self.udp.as_ref().is_some_and(|udp| udp.sessions.contains_key(&conn))
    }

    pub(super) fn udp_sessions(&self) -> usize {
        self.udp.as_ref().map_or(0, |udp| udp.sessions.len())
    }

    pub(super) fn holds_token(&self, at: &SocketAddr, now: Now) -> bool {
        self.udp.as_ref().is_some_and(|udp| udp.endpoint.holds_token(at, now.wall))
    }

    /// The address families that SSU2 has sockets for; both at first.
    pub const fn set_ssu2_families(&mut self, ipv4: bool, ipv6: bool) {
        if let Some(udp) = &mut self.udp {
            (udp.ipv4, udp.ipv6) = (ipv4, ipv6);
        }
    }

    /// Which families' sockets take datagrams for now; both at first. What is for the other waits where it is.
    pub fn set_ssu2_writable(&mut self, ipv4: bool, ipv6: bool) {
        if let Some(udp) = &mut self.udp {
            udp.endpoint.set_writable(ipv4, ipv6);
        }
        self.say_datagrams();
    }

    /// Time has come for SSU2.
    pub(super) fn handle_udp_timeout(&mut self, cx: &mut Cx<'_>) {
        if let Some(udp) = &mut self.udp {
            udp.endpoint.handle_timeout(cx);
            self.after_udp(cx);
        }
        self.give_up_introducers(cx);
    }

    pub(super) fn next_udp_timeout(&self) -> Option<(Instant, Why)> {
        let udp = self.udp.as_ref()?;
        let at = udp.endpoint.next_timeout().map(|(at, _)| at);
        let waits = udp.for_introducers.next().map(|(at, _)| at);
        Some((at.into_iter().chain(waits).min()?, Why::Ssu2))
    }

    /// Counters and gauges of SSU2 alone; none if we do not speak it.
    pub fn ssu2_stats(&self) -> Option<ssu2::Stats> {
        self.udp.as_ref().map(|udp| udp.endpoint.stats())
    }
}

pub(super) const fn dial_error(reason: ConnectError) -> DialError {
    match reason {
        ConnectError::Timeout => DialError::Timeout,
        ConnectError::Handshake(why) => DialError::Handshake(why),
        ConnectError::NotReady | ConnectError::Refused => DialError::Refused,
        ConnectError::Limit => DialError::Limit,
        ConnectError::NotIntroduced => DialError::NotIntroduced,
    }
}
