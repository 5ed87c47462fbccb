//! Dialling: which address, how long, and what when it fails.

use std::net::SocketAddr;
use std::sync::Arc;

use aioli_core::{Cx, Duration, Instant};
use aioli_wire::RouterHash;
use aioli_wire::ip::is_public;
use aioli_wire::ntcp2::TerminationReason;
use aioli_wire::router_info::RouterInfo;
use aioli_wire::verified::Verified;

use super::conn::{Conn, NO_CONN, State};
use super::{Output, Transport};
use crate::PeerMisbehaved;
use crate::ntcp2::initiator::{self, Remote};
use crate::{ConnId, DialError, Lane, Why};

/// Addresses of one router that are tried at most.
const MAX_ADDRESSES: usize = 4;

/// No router on the Internet listens below: such an address is there to make us knock elsewhere.
const MIN_PORT: u16 = 1024;

/// Only a session in which nothing has moved for this long is closed for another.
const IDLE_ENOUGH: Duration = Duration::from_secs(20);

/// A dial under way.
#[derive(Debug)]
pub(super) struct Dial {
    pub(super) conn: ConnId,
    /// Where else it could go, best last.
    others: Vec<(SocketAddr, Remote)>,
}

impl Transport {
    /// Begins to dial the router, with which there is nothing yet.
    pub(super) fn dial(&mut self, to: &Arc<Verified<RouterInfo>>, cx: &mut Cx<'_>) -> Result<(), DialError> {
        let hash = to.hash();
        let ours = self.local.as_ref().ok_or(DialError::Refused)?.hash;
        if hash == ours || to.net_id() != Some(self.config.net_id) || self.is_banned(&hash, cx) {
            return Err(DialError::Refused);
        }
        if self.back_off.holds(&hash, cx.now.mono) {
            self.stats.dials_backed_off += 1;
            return Err(DialError::BackOff);
        }
        let mut others = self.addresses(to);
        let Some(first) = others.pop() else {
            self.stats.dials_no_address += 1;
            return Err(DialError::NoAddress);
        };
        let limits = &self.config.limits;
        if self.pending_outbound >= limits.pending_outbound
            || !self.pace.has_room(|conn| self.conns.contains_key(conn))
            || (self.conns.len() >= limits.connections && !self.make_room(cx))
        {
            self.stats.dials_limited += 1;
            return Err(DialError::Limit);
        }
        self.stats.dials += 1;
        let conn = self.open(hash, first, cx);
        self.peers.entry(hash).or_default().dial = Some(Dial { conn, others });
        Ok(())
    }

    /// Where the router can be dialled, best last.
    fn addresses(&self, to: &RouterInfo) -> Vec<(SocketAddr, Remote)> {
        let hash = to.hash();
        let mut found: Vec<_> = to
            .ntcp2()
            .filter_map(|a| {
                let (endpoint, iv) = a.published()?;
                let public = is_public(endpoint.ip()) && endpoint.port() >= MIN_PORT;
                let usable = (self.config.private_network || public)
                    && if endpoint.is_ipv4() { self.ipv4 } else { self.ipv6 };
                usable.then_some((a.cost, (endpoint, Remote { hash, static_key: a.static_key, iv })))
            })
            .take(MAX_ADDRESSES)
            .collect();
        found.sort_by_key(|(cost, _)| *cost);
        found.into_iter().rev().map(|(_, a)| a).collect()
    }

    fn open(&mut self, peer: RouterHash, (to, remote): (SocketAddr, Remote), cx: &Cx<'_>) -> ConnId {
        let mut conn = Conn::new(State::Dialling(remote), false, Some(peer), None);
        conn.dialled = Some(to);
        let conn = self.add_conn(conn);
        self.pace.line_up(conn, to);
        self.dial_next(cx.now.mono);
        self.stats.dials_paced += u64::from(self.pace.is_waiting(conn));
        conn
    }

    /// Begins the dials whose turn it is.
    pub(super) fn dial_next(&mut self, now: Instant) {
        while let Some((conn, to)) = self.pace.next_dial(|conn| self.conns.contains_key(conn), now) {
            self.timers.set((Why::Connect, conn), now + self.config.limits.connect_timeout);
            self.outputs.push_back(Output::Dial { conn, to });
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
        let Some((_, conn)) = idle.min() else { return false };
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
        let dial = self.peers.get_mut(&hash).and_then(|p| p.dial.as_mut()).filter(|d| d.conn == conn);
        if let Some(next) = dial.and_then(|d| d.others.pop()) {
            let conn = self.open(hash, next, cx);
            if let Some(dial) = self.peers.get_mut(&hash).and_then(|p| p.dial.as_mut()) {
                dial.conn = conn;
            }
        } else {
            self.end_dial(hash, conn, DialError::Unreachable, cx);
        }
    }

    /// The dial gave no session; its connection is gone already.
    pub(super) fn end_dial(&mut self, hash: RouterHash, conn: ConnId, reason: DialError, cx: &mut Cx<'_>) {
        let Some(peer) = self.peers.get_mut(&hash) else { return };
        if peer.dial.as_ref().is_none_or(|d| d.conn != conn) {
            return;
        }
        peer.dial = None;
        if peer.active.is_some() {
            return;
        }
        self.queued -= peer.queue.bytes();
        self.queued_transit -= peer.queue.bytes_of(Lane::Transit);
        let dropped = peer.queue.take();
        self.stats.dropped_disconnected += dropped.len() as u64;
        if let DialError::Handshake(why) = reason {
            self.stats.dials_failed += 1;
            if let PeerMisbehaved::ClockSkew(seconds) = why {
                self.stats.clock_skews += 1;
                self.outputs.push_back(Output::ClockSkew { seconds });
            }
        }
        if reason.blames_peer() {
            self.back_off.failed(hash, cx.now.mono, cx.rng);
            self.sweep_soon(cx.now.mono);
        }
        self.outputs.push_back(Output::DialFailed { peer: hash, reason, dropped });
        self.forget_if_unused(&hash);
    }

    /// Arms the time limit of a handshake, with a jitter of a fifth.
    pub(super) fn set_handshake_timer(&mut self, conn: ConnId, cx: &mut Cx<'_>) {
        let limit = self.config.handshake_timeout;
        let at = cx.now.mono + limit + cx.rng.duration(Duration::ZERO, limit / 5);
        self.timers.set((Why::Handshake, conn), at);
    }
}
