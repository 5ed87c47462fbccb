//! What there is to see of the sessions, for whoever looks after the router.

use std::net::IpAddr;

use aioli_core::{Duration, Instant};
use aioli_wire::RouterHash;

use super::Transport;
use super::conn::{Conn, State};
use crate::ConnId;

/// A session with another router, as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionView {
    /// With whom.
    pub peer: RouterHash,
    /// Over SSU2; over NTCP2 otherwise.
    pub over_ssu2: bool,
    /// The peer began it.
    pub inbound: bool,
    /// Where the peer is.
    pub address: Option<IpAddr>,
    /// For how long.
    pub age: Duration,
    /// Bytes received.
    pub received: u64,
    /// Bytes sent.
    pub sent: u64,
    /// The round trip, where the transport measures it.
    pub round_trip: Option<Duration>,
    /// Bytes that wait for the peer.
    pub queued: usize,
}

impl Transport {
    /// The sessions on which we send, those that carried most first, so many of them at most.
    pub fn views(&self, most: usize, now: Instant) -> Vec<SessionView> {
        let over_ntcp2 = self.conn_ids.iter().filter_map(|id| self.view_ntcp2(*id, now));
        let udp = self.udp.iter().flat_map(|udp| udp.sessions.keys());
        let mut all: Vec<_> = over_ntcp2.chain(udp.filter_map(|id| self.view_ssu2(*id, now))).collect();
        all.sort_by_key(|session| std::cmp::Reverse(session.received + session.sent));
        all.truncate(most);
        all
    }

    /// Of the routers that there is a session with, those whom we send to over SSU2.
    pub fn active_ssu2(&self) -> usize {
        let sessions = self.udp.iter().flat_map(|udp| &udp.sessions);
        sessions.filter(|(id, session)| self.is_active(**id, &session.peer)).count()
    }

    fn is_active(&self, id: ConnId, peer: &RouterHash) -> bool {
        self.peers.get(peer).is_some_and(|p| p.active == Some(id))
    }

    fn view_ntcp2(&self, id: ConnId, now: Instant) -> Option<SessionView> {
        let conn = self.conns.get(&id)?;
        let Conn { state: State::Established(session), .. } = conn else { return None };
        self.is_active(id, &session.peer).then(|| SessionView {
            peer: session.peer,
            over_ssu2: false,
            inbound: session.inbound,
            address: conn.dialled.map(|at| at.ip()).or(conn.from),
            age: now.since(session.established),
            received: session.bytes.0,
            sent: session.bytes.1,
            round_trip: None,
            queued: self.queued(&session.peer),
        })
    }

    fn view_ssu2(&self, id: ConnId, now: Instant) -> Option<SessionView> {
        let udp = self.udp.as_ref()?;
        let session = udp.sessions.get(&id).filter(|session| self.is_active(id, &session.peer))?;
        let view = udp.endpoint.view_of(&session.peer)?;
        Some(SessionView {
            peer: session.peer,
            over_ssu2: true,
            inbound: session.inbound,
            address: Some(view.remote.ip()),
            age: now.since(view.established),
            received: view.received,
            sent: view.sent,
            round_trip: view.round_trip,
            queued: self.queued(&session.peer),
        })
    }
}
