//! Sessions that begin, replace each other and end.

use std::net::SocketAddr;

use aioli_core::{Cx, Duration};
use aioli_wire::i2np::Message;
use aioli_wire::router_info::RouterInfo;
use aioli_wire::ssu2::{ConnectionId, TerminationReason};
use aioli_wire::verified::{Unverified, Verified};

use super::super::session::{Fate, Session};
use super::super::{DisconnectReason, Output};
use super::{Closing, Endpoint, Key};
use crate::Lane;

/// How long a session that has ended is remembered.
const CLOSING: Duration = Duration::from_secs(10);

impl Endpoint {
    /// Does what follows from a datagram or a timeout of a session.
    pub(super) fn after(&mut self, id: ConnectionId, fate: Fate, cx: &mut Cx<'_>) {
        match fate {
            Fate::Open => self.enqueue(id),
            Fate::Ended(TerminationReason::TerminationReceived) => {
                let reason = TerminationReason::TerminationReceived;
                self.remove(id, None, Some(DisconnectReason::Theirs(reason)), cx);
            }
            Fate::Ended(reason) => {
                let answer = Some(TerminationReason::TerminationReceived);
                self.remove(id, answer, Some(DisconnectReason::Theirs(reason)), cx);
            }
            Fate::End(reason) => self.end(id, reason, cx),
        }
    }

    /// Ends a session ourselves.
    pub(super) fn end(&mut self, id: ConnectionId, reason: TerminationReason, cx: &mut Cx<'_>) {
        self.remove(id, Some(reason), Some(DisconnectReason::Ours(reason)), cx);
    }

    /// Removes a session; says so to the peer and to the router above, as given.
    fn remove(
        &mut self,
        id: ConnectionId,
        say: Option<TerminationReason>,
        tell: Option<DisconnectReason>,
        cx: &mut Cx<'_>,
    ) -> Vec<(Lane, Message)> {
        let Some(mut session) = self.sessions.remove(&id) else { return Vec::new() };
        self.timers.stop(&Key::Session(id));
        if let Some(reason) = say {
            let packet = session.termination(reason, cx);
            self.transmit(session.remote, packet.clone());
            self.keep_closing(id, session.remote, packet, cx);
        }
        if self.by_peer.get(&session.peer) == Some(&id) {
            self.by_peer.remove(&session.peer);
        }
        if tell.is_some() {
            self.forget_peer(&session.peer, session.remote.ip(), cx.now.mono);
        }
        let left = session.end(&mut self.common.budget);
        if let Some(reason) = tell {
            self.common.stats.dropped_disconnected += left.len() as u64;
            self.common.outputs.push_back(Output::Disconnected { peer: session.peer, reason, left });
            return Vec::new();
        }
        left
    }

    fn keep_closing(&mut self, id: ConnectionId, to: SocketAddr, packet: Vec<u8>, cx: &Cx<'_>) {
        if self.closing.len() >= self.common.limits.closing {
            self.common.stats.closing_full += 1;
            return;
        }
        self.timers.set(Key::Closing(id), cx.now.mono + CLOSING);
        self.closing.insert(id, Closing { to, packet, came: 0 });
    }

    /// Takes in a session whose handshake is over.
    pub(super) fn establish(
        &mut self,
        session: Session,
        router_info: Option<Verified<RouterInfo>>,
        mut queue: Vec<(Lane, Message)>,
        cx: &mut Cx<'_>,
    ) {
        let (peer, id, inbound) = (session.peer, session.ids.ours, session.inbound);
        let address = session.remote;
        let stats = &mut self.common.stats;
        if inbound {
            stats.established_inbound += 1
        } else {
            stats.established_outbound += 1
        }
        let older = self.by_peer.get(&peer).copied();
        let keep_older = older.is_some_and(|old| self.is_better(old, &session));
        self.sessions.insert(id, session);
        if let Some(old) = older {
            self.common.stats.duplicate_sessions += 1;
            let loser = if keep_older { id } else { old };
            queue.extend(self.remove(loser, Some(TerminationReason::Replaced), None, cx));
        }
        let winner = older.filter(|_| keep_older).unwrap_or(id);
        self.by_peer.insert(peer, winner);
        if let Some(at) = self.dialled.get(&peer).copied() {
            queue.extend(self.forget_dial(&at));
        }
        if let Some((_, waiting)) = self.take_seek(&peer) {
            queue.extend(waiting.take());
        }
        if let Some(info) = &router_info {
            self.know(info);
        }
        if older.is_none() {
            let router_info = router_info.map(|ri| Unverified::new(ri.into_inner()));
            self.common.outputs.push_back(Output::Established { peer, address, inbound, router_info });
        }
        self.hand_over(winner, queue);
        self.enqueue(winner);
    }

    fn hand_over(&mut self, id: ConnectionId, queue: Vec<(Lane, Message)>) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        for (lane, message) in queue {
            // What was queued once fits again: limits are per peer.
            let _ = session.push(lane, message, usize::MAX);
        }
    }

    /// Whether the older of two sessions with a peer stays. Both ends must decide
    /// alike if they dialled each other: the dial of the lesser hash counts. A handshake
    /// that began when both knew of a session is of a peer that has lost it: the older is dead.
    fn is_better(&self, old: ConnectionId, new: &Session) -> bool {
        let (Some(old), Some(local)) = (self.sessions.get(&old), &self.local) else { return false };
        let was_known = new.began > old.established && !old.is_confirming();
        let crossed = old.inbound != new.inbound && !was_known;
        let ours_counts = local.hash < new.peer;
        crossed && old.inbound != ours_counts
    }
}
