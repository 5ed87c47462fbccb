//! Turns: which connection may send or read within the bandwidth limits.

use std::collections::BTreeSet;

use aioli_core::{Cx, Instant};
use aioli_wire::RouterHash;

use super::Transport;
use super::conn::{NO_CONN, State};
use crate::{Bandwidth, ConnId, Lane, Output, Why};

impl Transport {
    /// Other limits hold from now on.
    pub fn set_bandwidth(&mut self, bandwidth: Bandwidth, now: Instant) {
        self.config.bandwidth = bandwidth;
        let (senders, readers) = self.shaper.set(&bandwidth, now);
        for conn in senders {
            if self.parked(conn).and_then(Option::take).is_some() {
                self.wake_any(conn);
            }
        }
        for conn in readers {
            if let Some(c) = self.conns.get_mut(&conn).filter(|c| c.reader_parked) {
                c.reader_parked = false;
                self.outputs.push_back(Output::ReadMore(conn));
            }
        }
    }

    /// Within the limit on receiving these peers are read first, the others get an eighth meanwhile: they bring what
    /// is for us. Over SSU2 nobody is read first.
    pub fn read_first(&mut self, peers: BTreeSet<RouterHash>) {
        self.read_first = peers;
    }

    /// How many bytes may be read from the connection now. With 0 it stands in
    /// line, and [`Output::ReadMore`] says when to ask again.
    pub fn read_room(&mut self, conn: ConnId, cx: &mut Cx<'_>) -> usize {
        let Some(c) = self.conns.get_mut(&conn) else { return usize::MAX };
        if c.granted == 0 && !c.reader_parked {
            let first = c.peer.is_some_and(|peer| self.read_first.contains(&peer));
            c.granted = self.shaper.grant(first, cx.now.mono);
            if c.granted == 0 {
                c.reader_parked = true;
                self.shaper.park_reader(first, conn);
                self.set_receive_timer(cx.now.mono);
                return 0;
            }
        }
        c.granted
    }

    /// The connection has sent. If more waits it stands in line again.
    pub(super) fn sent(&mut self, conn: ConnId, bytes: usize, transit: usize, now: Instant) {
        self.shaper.sent(bytes, transit, now);
        if let Some(c) = self.conns.get_mut(&conn)
            && c.parked.is_none()
            && let State::Established(session) = &c.state
            && let Some(peer) = self.peers.get(&session.peer).filter(|p| p.active == Some(conn))
            && !peer.queue.is_empty()
        {
            let lane = peer.queue.line();
            c.parked = Some(lane);
            c.transmit = false;
            self.shaper.park(lane, conn);
        }
        self.next_senders(now);
    }

    /// The line in which a connection, or a session of SSU2, waits.
    fn parked(&mut self, conn: ConnId) -> Option<&mut Option<Lane>> {
        if let Some(c) = self.conns.get_mut(&conn) {
            return Some(&mut c.parked);
        }
        self.udp.as_mut()?.sessions.get_mut(&conn).map(|session| &mut session.parked)
    }

    /// It has a message of ours now: it changes from the slow line to the fast one.
    pub(super) fn prefer(&mut self, conn: ConnId) {
        if let Some(parked) = self.parked(conn).filter(|parked| **parked == Some(Lane::Transit)) {
            *parked = Some(Lane::Own);
            self.shaper.park(Lane::Own, conn);
        }
    }

    /// Calls the next in line. One at a time: it calls the one after it when it has sent.
    pub(super) fn next_senders(&mut self, now: Instant) {
        while let Some((lane, conn)) = self.shaper.next_sender(now) {
            if let Some(parked) = self.parked(conn).filter(|parked| **parked == Some(lane)) {
                *parked = None;
                self.wake_any(conn);
                break;
            }
        }
        if let Some(at) = self.shaper.send_at(now) {
            self.timers.set((Why::Send, NO_CONN), at);
        }
    }

    pub(super) fn next_readers(&mut self, now: Instant) {
        while let Some((conn, granted)) = self.shaper.next_reader(now) {
            match self.conns.get_mut(&conn) {
                Some(c) if c.reader_parked => {
                    (c.reader_parked, c.granted) = (false, granted);
                    self.outputs.push_back(Output::ReadMore(conn));
                }
                Some(_) | None => self.shaper.settle(granted, 0, now),
            }
        }
        self.set_receive_timer(now);
    }

    fn set_receive_timer(&mut self, now: Instant) {
        if let Some(at) = self.shaper.read_at(now) {
            self.timers.set_earlier((Why::Receive, NO_CONN), at);
        }
    }
}
