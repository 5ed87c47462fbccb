//! What leaves by the socket, several datagrams at a time, and what the transport above tells an endpoint.

use std::collections::VecDeque;
use std::net::SocketAddr;

use aioli_core::{Cx, Duration, Instant};
use aioli_wire::RouterHash;
use aioli_wire::i2np::Message;
use aioli_wire::ssu2::ConnectionId;

use super::super::{Family, Output};
use super::introductions::Introductions;
use super::{Endpoint, Key};
use crate::{Lane, Transmit};

/// Datagrams given together have at most so many bytes: one call to the kernel takes no more.
const MAX_BATCH: usize = 65_000;

/// Gives messages to a peer's session, which tells about how many bytes more it has room for.
pub(crate) type Feed<'a> = &'a mut dyn FnMut(&RouterHash, usize, &mut dyn FnMut(Lane, Message) -> usize);

/// What waits for a socket that takes no more.
#[derive(Debug, Default)]
pub(super) struct Stalled {
    /// IPv4, IPv6.
    families: [bool; 2],
    /// Sessions that were asked for packets in vain.
    sessions: VecDeque<ConnectionId>,
}

impl Stalled {
    fn has(&self, to: SocketAddr) -> bool {
        self.families[Family::of(&to.ip()) as usize]
    }
}

impl Endpoint {
    /// The next output that is no datagram.
    pub(crate) fn poll_event(&mut self) -> Option<Output> {
        self.common.outputs.pop_front()
    }

    /// Whether [`Self::poll_datagrams`] may have something.
    pub(crate) fn may_transmit(&self) -> bool {
        self.common.packets.iter().any(|(to, _)| !self.stalled.has(*to)) || !self.ready.is_empty()
    }

    /// Which address families the sockets take datagrams of for now: IPv4, IPv6. What is for another waits.
    pub(crate) fn set_writable(&mut self, ipv4: bool, ipv6: bool) {
        self.stalled.families = [!ipv4, !ipv6];
        self.ready.extend(self.stalled.sessions.drain(..));
    }

    /// Appends the next datagrams, at most so many, all to one address and of one size but for the last, which may be
    /// smaller. A session asks `feed` for messages when it has room for them.
    pub(crate) fn poll_datagrams(
        &mut self,
        out: &mut Vec<u8>,
        max_segments: usize,
        feed: Feed<'_>,
        cx: &mut Cx<'_>,
    ) -> Option<Transmit> {
        let open = self.common.packets.iter().position(|(to, _)| !self.stalled.has(*to));
        if let Some((to, packet)) = open.and_then(|at| self.common.packets.remove(at)) {
            let segment = packet.len();
            out.extend_from_slice(&packet);
            let fits = |(other, next): &mut (SocketAddr, Vec<u8>)| *other == to && next.len() == segment;
            for _ in 1..max_segments {
                let Some((_, next)) = self.common.packets.pop_front_if(fits) else { break };
                out.extend_from_slice(&next);
            }
            return Some(Transmit { to, segment });
        }
        while let Some(id) = self.ready.pop_front() {
            let Some(session) = self.sessions.get_mut(&id) else { continue };
            if self.stalled.has(session.remote) {
                self.stalled.sessions.push_back(id);
                continue;
            }
            let (peer, room) = (session.peer, session.room());
            feed(&peer, room, &mut |lane, message| {
                // The room is told to whoever feeds; what he gives is taken.
                let _ = session.push(lane, message, usize::MAX);
                session.room()
            });
            if let Some(transmit) = self.batch(id, out, max_segments, cx) {
                self.ready.push_back(id);
                return Some(transmit);
            }
            if let Some(session) = self.sessions.get_mut(&id) {
                session.queued = false;
                self.timers.set(Key::Session(id), session.deadline(self.common.idle_timeout));
            }
        }
        None
    }

    fn batch(
        &mut self,
        id: ConnectionId,
        out: &mut Vec<u8>,
        max_segments: usize,
        cx: &mut Cx<'_>,
    ) -> Option<Transmit> {
        let session = self.sessions.get_mut(&id)?;
        let start = out.len();
        let to = session.poll_transmit(out, &mut self.common.shared(), cx)?;
        let segment = out.len() - start;
        let mut packets = 1;
        while packets < max_segments && out.len() - start + segment <= MAX_BATCH {
            let before = out.len();
            let Some(other) = session.poll_transmit(out, &mut self.common.shared(), cx) else { break };
            let size = out.len() - before;
            if other != to || size > segment {
                session.hold((other, out.split_off(before)));
                break;
            }
            packets += 1;
            if size < segment {
                break;
            }
        }
        self.common.stats.packets_sent += packets as u64;
        self.common.stats.bytes_sent += (out.len() - start) as u64;
        Some(Transmit { to, segment })
    }

    /// The peer's session may be fed.
    pub(crate) fn wake(&mut self, peer: &RouterHash) {
        if let Some(id) = self.by_peer.get(peer).copied() {
            self.enqueue(id);
        }
    }

    /// Gives up a dial without a word.
    pub(crate) fn cancel(&mut self, peer: &RouterHash) {
        if let Some(at) = self.dialled.get(peer).copied() {
            self.forget_dial(&at);
        }
        self.take_seek(peer);
    }

    /// How many sessions there may be from now on.
    pub(crate) const fn set_session_limit(&mut self, sessions: usize) {
        self.common.limits.sessions = sessions;
    }

    /// Whether a token for this address would spare a dial one round trip.
    pub(crate) fn holds_token(&self, at: &SocketAddr, now: aioli_core::Date) -> bool {
        self.common.held.has(at, now)
    }

    /// Of the sessions without messages under way the one that has been silent longest, if for so long at least.
    pub(crate) fn idlest(&self, least: Duration, now: Instant) -> Option<(Instant, RouterHash)> {
        let silent = self.by_peer.iter().filter_map(|(peer, id)| {
            let session = self.sessions.get(id)?;
            let since = session.last_received();
            (session.queued_bytes() == 0 && now.since(since) >= least).then_some((since, *peer))
        });
        silent.min()
    }

    /// Takes part in nothing any more.
    pub(crate) fn close_for_good(&mut self) {
        self.local = None;
        self.intro = Introductions::default();
    }
}
