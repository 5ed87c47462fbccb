//! How connections come, become sessions, and go.

use aioli_core::{Cx, Duration, Instant};
use aioli_wire::RouterHash;
use aioli_wire::ntcp2::TerminationReason;
use aioli_wire::router_info::RouterInfo;
use aioli_wire::verified::{Unverified, Verified};

use super::conn::{Conn, IpGroup, NO_CONN, Shared, State, Step};
use super::session::{self, Received, Session};
use super::{PROBE_BYTES, Transport};
use crate::PeerMisbehaved;
use crate::ntcp2::data_phase::DataPhase;
use crate::{ConnId, DialError, DisconnectReason, Lane, Output, Why};

/// A session that was replaced listens this long for what is on its way.
const SUPERSEDED: Duration = Duration::from_secs(5);
/// A termination must be written within this time.
const FLUSH: Duration = Duration::from_secs(3);
/// Our RouterInfo is sent anew within these times.
const REFRESH: (Duration, Duration) = (Duration::from_secs(25 * 60), Duration::from_secs(50 * 60));
/// Tables are swept this often.
const SWEEP: Duration = Duration::from_secs(60);

impl Transport {
    pub(super) const fn next_conn_id(&mut self) -> ConnId {
        let id = ConnId(self.next_conn);
        self.next_conn += 1;
        id
    }

    pub(super) fn add_conn(&mut self, conn: Conn) -> ConnId {
        let id = self.next_conn_id();
        *self.pending(conn.inbound) += 1;
        self.inbound += usize::from(conn.inbound);
        self.conns.insert(id, conn);
        self.conn_ids.insert(id);
        id
    }

    const fn pending(&mut self, inbound: bool) -> &mut usize {
        if inbound { &mut self.pending_inbound } else { &mut self.pending_outbound }
    }

    /// Forgets the connection; tells the driver so if it does not know
    /// (`close` says whether to abort).
    pub(super) fn drop_conn(&mut self, conn: ConnId, close: Option<bool>) {
        let Some(c) = self.conns.remove(&conn) else { return };
        self.conn_ids.remove(&conn);
        self.shaper.settle(c.granted, 0, Instant::ZERO);
        self.inbound -= usize::from(c.inbound);
        if c.pending {
            *self.pending(c.inbound) -= 1;
        }
        self.leave_group(c.group);
        for why in
            [Why::Connect, Why::Handshake, Why::Probe, Why::Idle, Why::Refresh, Why::Superseded, Why::Flush]
        {
            self.timers.stop(&(why, conn));
        }
        if let Some(reset) = close {
            self.outputs.push_back(Output::Close { conn, reset });
        }
    }

    /// Counts one who comes to us, by either transport. False: it is one too many, of its group or for now.
    pub(super) fn admit(&mut self, group: Option<IpGroup>, now: Instant) -> bool {
        let of_group = group.and_then(|g| self.per_ip.get(&g)).copied().unwrap_or(0);
        if of_group >= self.config.limits.connections_per_ip {
            self.stats.refused_per_ip += 1;
            return false;
        }
        if !self.pace.accept(now) {
            self.stats.refused_paced += 1;
            return false;
        }
        if let Some(group) = group {
            self.per_ip.insert(group, of_group + 1);
        }
        true
    }

    pub(super) fn leave_group(&mut self, group: Option<IpGroup>) {
        if let Some(group) = group
            && let Some(count) = self.per_ip.get_mut(&group)
        {
            *count -= 1;
            if *count == 0 {
                self.per_ip.remove(&group);
            }
        }
    }

    /// A session of either transport has something to send.
    pub(super) fn wake_any(&mut self, conn: ConnId) {
        if self.is_udp(conn) { self.wake_udp(conn) } else { self.wake(conn) }
    }

    /// Remembers over which transport we reached a router.
    pub(super) fn remember_way(&mut self, peer: RouterHash, by_ssu2: bool) {
        if !by_ssu2 {
            self.last_by_ssu2.remove(&peer);
        } else if self.last_by_ssu2.insert(peer)
            && self.last_by_ssu2.len() > self.config.limits.back_off_entries
        {
            self.stats.back_off_full += 1;
            self.last_by_ssu2.pop_first();
        }
    }

    /// Tells the driver that the connection has bytes, once.
    pub(super) fn wake(&mut self, conn: ConnId) {
        if let Some(c) = self.conns.get_mut(&conn)
            && c.parked.is_none()
            && !std::mem::replace(&mut c.transmit, true)
        {
            self.outputs.push_back(Output::Transmit(conn));
        }
    }

    /// Takes the handshake as far as its bytes go.
    pub(super) fn handshake(&mut self, conn: ConnId, cx: &mut Cx<'_>) {
        let Some(c) = self.conns.get_mut(&conn) else { return };
        let mut shared = Shared {
            replay: &mut self.replay,
            limits: &self.config.limits,
            stats: &mut self.stats,
            clock: None,
        };
        let step = loop {
            match c.step(&mut shared, cx) {
                Step::Again => {}
                step @ (Step::Wait
                | Step::Established { .. }
                | Step::Refused { .. }
                | Step::Probe(_)
                | Step::Failed(_)) => break step,
            }
        };
        let (peer, has_bytes) = (c.peer, !c.tx.is_empty());
        if let (Some(ahead_ms), Some(peer), Some(at)) = (shared.clock, peer, c.dialled) {
            self.outputs.push_back(Output::PeerClock { peer, at, ahead_ms });
        }
        match step {
            Step::Wait | Step::Again => {
                if has_bytes {
                    self.sweep_soon(cx.now.mono);
                    self.wake(conn);
                }
            }
            Step::Established { data_phase, alice, mut behind } => {
                if self.establish(conn, data_phase, alice, cx) && !behind.is_empty() {
                    self.receive(conn, &mut behind, cx);
                }
            }
            Step::Refused { data_phase, why } => {
                self.note_misbehaved(conn, why);
                if let PeerMisbehaved::ClockSkew(seconds) = why {
                    self.outputs.push_back(Output::ClockSkew { seconds });
                }
                self.refuse(conn, data_phase, why.reason(), cx);
            }
            Step::Probe(why) => {
                self.note_misbehaved(conn, why);
                self.probed(conn, cx);
            }
            Step::Failed(why) => {
                if peer.is_none() {
                    self.note_misbehaved(conn, why);
                }
                self.drop_conn(conn, Some(true));
                if let Some(peer) = peer {
                    self.end_dial(peer, conn, DialError::Handshake(why), cx);
                }
            }
        }
    }

    fn note_misbehaved(&mut self, conn: ConnId, why: PeerMisbehaved) {
        tracing::debug!("inbound handshake: {why}");
        self.stats.handshakes_failed += 1;
        self.stats.replays += u64::from(why == PeerMisbehaved::Replay);
        let from = self.conns.get(&conn).and_then(|c| c.from);
        self.outputs.extend(from.map(|from| Output::HandshakeFailed { from, why }));
    }

    /// Says nothing and waits, so that a prober learns nothing from bytes or time.
    fn probed(&mut self, conn: ConnId, cx: &mut Cx<'_>) {
        let left = cx.rng.between(1, PROBE_BYTES) as usize;
        let Some(c) = self.conns.get_mut(&conn) else { return };
        c.state = State::Probed { left };
        c.rx = Vec::new();
        let wait = cx.rng.duration(Duration::from_millis(500), self.config.handshake_timeout);
        self.timers.stop(&(Why::Handshake, conn));
        self.timers.set((Why::Probe, conn), cx.now.mono + wait);
    }

    /// The keys are good but the peer is not: says why, then closes.
    fn refuse(&mut self, conn: ConnId, mut data_phase: DataPhase, why: TerminationReason, cx: &mut Cx<'_>) {
        let Some(c) = self.conns.get_mut(&conn) else { return };
        session::termination(&mut data_phase, why, &mut c.tx, cx);
        self.flush_and_close(conn, cx);
    }

    fn flush_and_close(&mut self, conn: ConnId, cx: &Cx<'_>) {
        let Some(c) = self.conns.get_mut(&conn) else { return };
        c.state = State::Closing;
        for why in [Why::Handshake, Why::Idle, Why::Refresh, Why::Superseded] {
            self.timers.stop(&(why, conn));
        }
        self.timers.set((Why::Flush, conn), cx.now.mono + FLUSH);
        self.wake(conn);
    }

    /// The handshake is done. False if the peer is not welcome.
    fn establish(
        &mut self,
        conn: ConnId,
        data_phase: DataPhase,
        alice: Option<Verified<RouterInfo>>,
        cx: &mut Cx<'_>,
    ) -> bool {
        let Some(c) = self.conns.get_mut(&conn) else { return false };
        let Some(peer) = alice.as_ref().map(|ri| ri.hash()).or(c.peer) else { return false };
        let (inbound, from) = (c.inbound, c.from);
        if self.is_banned(&peer, cx) {
            self.stats.banned += 1;
            self.refuse(conn, data_phase, TerminationReason::Banned, cx);
            return false;
        }
        let Some(c) = self.conns.get_mut(&conn) else { return false };
        c.peer = Some(peer);
        c.pending = false;
        let session = Session::new(peer, inbound, data_phase, self.config.idle_timeout, cx);
        let idle = cx.now.mono + session.idle_timeout;
        c.state = State::Established(Box::new(session));
        *self.pending(inbound) -= 1;
        self.timers.stop(&(Why::Handshake, conn));
        self.timers.set((Why::Idle, conn), idle);
        self.timers.set((Why::Refresh, conn), cx.now.mono + cx.rng.duration(REFRESH.0, REFRESH.1));
        self.back_off.succeeded(&peer);
        if inbound {
            self.stats.established_inbound += 1;
        } else {
            self.remember_way(peer, false);
            self.stats.established_outbound += 1;
        }
        self.adopt(conn, peer, alice.map(|ri| Unverified::new(ri.into_inner())), cx);
        self.outputs.extend(from.map(|from| Output::Visitor { from }));
        true
    }

    /// Makes the session the peer's, or decides between it and the one there is. Of two over different transports the
    /// older is sent on, and the other stays for as long as the peer uses it.
    pub(super) fn adopt(
        &mut self,
        conn: ConnId,
        hash: RouterHash,
        ri: Option<Unverified<RouterInfo>>,
        cx: &mut Cx<'_>,
    ) {
        let inbound = ri.is_some();
        let over_udp = self.is_udp(conn);
        let peer = self.peers.entry(hash).or_default();
        if let Some(dial) = &mut peer.dial {
            dial.tcp.take_if(|c| *c == conn);
        }
        let (active, spare) = (peer.active, peer.spare);
        if active.is_none() {
            peer.active = Some(conn);
            self.sessions += 1;
            self.outputs.push_back(Output::Established { peer: hash, inbound, router_info: ri });
            self.settle_dial(hash);
            self.wake_any(conn);
            return;
        }
        self.stats.duplicate_sessions += 1;
        if let Some(ri) = ri {
            self.outputs.push_back(Output::RouterInfo { from: hash, ri, flood: false });
        }
        self.settle_dial(hash);
        let of_its_kind = [active, spare].into_iter().flatten().find(|old| self.is_udp(*old) == over_udp);
        let Some(old) = of_its_kind else {
            if let Some(peer) = self.peers.get_mut(&hash) {
                peer.spare = Some(conn);
            }
            self.wake_any(conn); // message 3
            return;
        };
        let keep_new = self.prefers_new(old, conn, &hash);
        let (winner, loser) = if keep_new { (conn, old) } else { (old, conn) };
        let Some(peer) = self.peers.get_mut(&hash) else { return };
        let place = if peer.active == Some(old) { &mut peer.active } else { &mut peer.spare };
        *place = Some(winner);
        let previous = peer.older.replace(loser);
        self.timers.set((Why::Superseded, loser), cx.now.mono + SUPERSEDED);
        if let Some(previous) = previous {
            self.terminate(previous, TerminationReason::Normal, cx);
        }
        self.wake(winner);
        self.wake(loser); // message 3
    }

    /// The newer session is kept, unless both routers dialled each other before they knew of a session: then both keep
    /// the one that the smaller hash began. Who dials although there is one has lost it.
    fn prefers_new(&self, old: ConnId, new: ConnId, peer: &RouterHash) -> bool {
        let (Some(old), Some(new)) = (self.conns.get(&old), self.conns.get(&new)) else { return true };
        let State::Established(session) = &old.state else { return true };
        // The other end knew of what we dialled when message 3 was there: half a round trip after us, and what it then
        // dialled was accepted one and a half after that. Our dial took those two.
        let on_its_way = if old.inbound { Duration::ZERO } else { session.established.since(old.began) };
        if old.inbound == new.inbound || new.began > session.established + on_its_way {
            return true;
        }
        let theirs_is_smaller = self.local.as_ref().is_some_and(|l| *peer < l.hash);
        new.inbound == theirs_is_smaller
    }

    /// Opens what came in a session and tells it.
    pub(super) fn receive(&mut self, conn: ConnId, bytes: &mut [u8], cx: &mut Cx<'_>) {
        let Some(State::Established(session)) = self.conns.get_mut(&conn).map(|c| &mut c.state) else {
            return;
        };
        let from = session.peer;
        let (received, result) = session.receive(bytes, &self.config.limits, &mut self.stats, cx);
        let Received { messages, router_info, terminated, skew } = received;
        if !messages.is_empty() {
            self.outputs.push_back(Output::Messages { from, messages });
        }
        if let Some((ri, flood)) = router_info {
            self.outputs.push_back(Output::RouterInfo { from, ri, flood });
        }
        if let Some(reason) = terminated {
            self.drop_conn(conn, Some(false));
            self.disconnected(conn, from, DisconnectReason::Theirs(reason));
        } else if let Err(why) = result {
            tracing::debug!("{from:?}: {why}");
            self.stats.bad_frames += 1;
            self.terminate(conn, why.reason(), cx);
        } else if let Some(seconds) = skew {
            self.stats.clock_skews += 1;
            self.outputs.push_back(Output::ClockSkew { seconds });
            self.terminate(conn, TerminationReason::ClockSkew, cx);
        }
    }

    /// Ends a session: says why, then closes.
    pub(super) fn terminate(&mut self, conn: ConnId, reason: TerminationReason, cx: &mut Cx<'_>) {
        let Some(c) = self.conns.get_mut(&conn) else { return };
        let State::Established(session) = &mut c.state else { return };
        let peer = session.peer;
        session.write_termination(reason, &mut c.tx, cx);
        self.flush_and_close(conn, cx);
        self.disconnected(conn, peer, DisconnectReason::Ours(reason));
    }

    /// The connection is gone.
    pub fn handle_closed(&mut self, conn: ConnId, cx: &mut Cx<'_>) {
        let Some(c) = self.conns.get(&conn) else { return };
        match (&c.state, c.peer, c.inbound) {
            (State::Established(session), _, _) => {
                let peer = session.peer;
                self.drop_conn(conn, None);
                self.disconnected(conn, peer, DisconnectReason::Lost);
                self.outputs.push_back(Output::Lost { peer });
            }
            (State::Dialling(_), ..) => self.unreachable(conn, None, cx),
            (_, Some(peer), false) => {
                self.drop_conn(conn, None);
                self.end_dial(peer, conn, DialError::Closed, cx);
            }
            (_, _, _) => self.drop_conn(conn, None),
        }
    }

    /// A session of the peer's is no more; falls back to another if there is one.
    pub(super) fn disconnected(&mut self, conn: ConnId, hash: RouterHash, reason: DisconnectReason) {
        let Some(peer) = self.peers.get_mut(&hash) else { return };
        peer.older.take_if(|older| *older == conn);
        peer.spare.take_if(|spare| *spare == conn);
        if peer.active != Some(conn) {
            return;
        }
        peer.active = peer.spare.take().or_else(|| peer.older.take());
        if let Some(other) = peer.active {
            self.timers.stop(&(Why::Superseded, other));
            self.wake_any(other);
            return;
        }
        self.sessions -= 1;
        if peer.dial.is_none() {
            self.queued -= peer.queue.bytes();
            self.queued_transit -= peer.queue.bytes_of(Lane::Transit);
            self.stats.dropped_disconnected += peer.queue.len() as u64;
            peer.queue.take();
        }
        self.outputs.push_back(Output::Disconnected { peer: hash, reason });
        self.forget_if_unused(&hash);
    }

    pub(super) fn forget_if_unused(&mut self, hash: &RouterHash) {
        if self.peers.get(hash).is_some_and(|p| {
            p.active.is_none()
                && p.spare.is_none()
                && p.older.is_none()
                && p.dial.is_none()
                && p.queue.is_empty()
        }) {
            self.peers.remove(hash);
        }
    }

    pub(super) fn is_banned(&self, peer: &RouterHash, cx: &Cx<'_>) -> bool {
        self.banned.get(peer).is_some_and(|until| cx.now.mono < *until)
    }

    pub(super) fn sweep_soon(&mut self, now: Instant) {
        self.timers.set_earlier((Why::Sweep, NO_CONN), now + SWEEP);
    }

    pub(super) fn refresh_again(&mut self, conn: ConnId, cx: &mut Cx<'_>) {
        self.timers.set((Why::Refresh, conn), cx.now.mono + cx.rng.duration(REFRESH.0, REFRESH.1));
    }
}
