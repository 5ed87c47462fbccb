//! From a datagram to whom it is for (`ssu2#inbound-packet-handling`).

use std::net::SocketAddr;

use aioli_core::{Cx, Duration};
use aioli_wire::ssu2::{ConnectionId, MIN_PACKET, PacketType, TerminationReason};

use super::super::alice::{Failed, SharedLocal};
use super::super::bob::{Step, on_session_request, on_token_request, retry};
use super::super::packet::{Long, destination, long_header, long_header_to};
use super::super::session::{Begin, Fate, Session};
use super::super::{Output, PeerMisbehaved};
use super::{Endpoint, Key, Pending, SWEEP};

/// SessionCreated is sent again at these times after the first.
const CREATED: &[Duration] = &[Duration::from_secs(1), Duration::from_secs(3), Duration::from_secs(7)];
/// SessionConfirmed must come within this.
const TIMEOUT: Duration = Duration::from_secs(12);
/// SessionCreated is sent again so often because SessionRequest came again.
const MAX_REPEATS: u32 = 3;

impl Endpoint {
    /// Takes a datagram, which is decrypted in place.
    pub fn handle_datagram(&mut self, from: SocketAddr, packet: &mut [u8], cx: &mut Cx<'_>) {
        self.common.stats.packets_received += 1;
        self.common.stats.bytes_received += packet.len() as u64;
        if self.local.is_none() {
            return;
        }
        if packet.len() < MIN_PACKET {
            self.common.stats.bad_length += 1;
            return;
        }
        if !self.is_allowed(from) {
            self.common.stats.refused_not_public += 1;
            return;
        }
        if self.on_expected(from, packet, cx) {
            return;
        }
        let Some(local) = self.local.clone() else { return };
        self.strays.begin(cx.now.mono);
        let id = destination(packet, &local.intro_key);
        if let Some(session) = self.sessions.get_mut(&id) {
            let fate = session.on_datagram(from, packet, &mut self.common.shared(), cx);
            self.after(id, fate, cx);
            self.last = Some(id);
        } else if self.closing.contains_key(&id) {
            self.on_closing(id, from);
        } else if self.pending.contains_key(&id) {
            self.on_pending(id, from, packet, &local, cx);
        } else {
            self.on_unknown(id, from, packet, &local, cx);
        }
        self.on_asides(cx);
    }

    /// Takes the packet if it belongs to the session that the last one was for, as most do.
    fn on_expected(&mut self, from: SocketAddr, packet: &mut [u8], cx: &mut Cx<'_>) -> bool {
        let Some(id) = self.last else { return false };
        let Some(session) = self.sessions.get_mut(&id) else { return false };
        let Some(header) = session.recognise(from, packet) else { return false };
        let fate = session.on_packet(from, packet, &header, &mut self.common.shared(), cx);
        if fate != Fate::Open {
            self.after(id, fate, cx);
        } else if !std::mem::replace(&mut session.queued, true) {
            self.ready.push_back(id);
        }
        self.on_asides(cx);
        true
    }

    fn on_unknown(
        &mut self,
        id: ConnectionId,
        from: SocketAddr,
        packet: &mut [u8],
        local: &SharedLocal,
        cx: &mut Cx<'_>,
    ) {
        if let Ok(long) = long_header_to(packet, id, &local.intro_key.0)
            && long.header.net_id == local.net_id
            && self.config.listens
        {
            match long.header.kind {
                PacketType::TokenRequest => return self.on_token_request(&long, from, packet, local, cx),
                PacketType::SessionRequest => return self.on_session_request(&long, from, packet, local, cx),
                PacketType::PeerTest => {
                    let taken = self.on_test_packet(&long, from, packet, cx);
                    self.common.stats.bad_peer_tests += u64::from(taken.is_none());
                    return;
                }
                PacketType::HolePunch => {
                    let taken = self.on_hole_punch(&long, from, packet, cx);
                    self.common.stats.bad_relays += u64::from(taken.is_none());
                    return;
                }
                PacketType::SessionCreated
                | PacketType::Retry
                | PacketType::SessionConfirmed
                | PacketType::Data => {}
            }
        }
        if !self.on_dial_answer(from, packet, cx) {
            self.common.stats.unknown_packets += 1;
            let is_stray = self.strays.is_news(from, cx.now.mono);
            let mut sessions = self.by_peer.values().filter_map(|id| self.sessions.get(id));
            if is_stray && sessions.all(|session| session.remote != from) {
                self.common.outputs.push_back(Output::Stray { from });
            }
        }
    }

    /// A packet to a session that has ended: say so again, ever more rarely.
    fn on_closing(&mut self, id: ConnectionId, from: SocketAddr) {
        let Some(closing) = self.closing.get_mut(&id) else { return };
        closing.came += 1;
        if closing.to == from && closing.came.is_power_of_two() && closing.came <= 8 {
            let packet = closing.packet.clone();
            self.transmit(from, packet);
        }
    }

    fn on_token_request(
        &mut self,
        long: &Long,
        from: SocketAddr,
        packet: &mut [u8],
        local: &SharedLocal,
        cx: &mut Cx<'_>,
    ) {
        if self.retries.available(cx.now.mono) == 0 {
            self.common.stats.retries_limited += 1;
            return;
        }
        match on_token_request(long, packet, local, &self.common.limits, cx) {
            Ok(()) => self.send_retry(long, from, local, Ok(()), cx),
            Err(PeerMisbehaved::ClockSkew(seconds)) => {
                self.note_skew(seconds);
                self.send_retry(long, from, local, Err(TerminationReason::ClockSkew), cx);
            }
            Err(_) => self.common.stats.handshakes_failed += 1,
        }
    }

    pub(super) fn note_skew(&mut self, seconds: i64) {
        self.common.stats.clock_skews += 1;
        self.common.outputs.push_back(Output::ClockSkew { seconds });
    }

    /// Sends a token, or a refusal: one small packet for a packet, nothing kept, and not too many.
    fn send_retry(
        &mut self,
        long: &Long,
        to: SocketAddr,
        local: &SharedLocal,
        answer: Result<(), TerminationReason>,
        cx: &mut Cx<'_>,
    ) {
        if !self.retries.try_take(1, cx.now.mono) {
            self.common.stats.retries_limited += 1;
            return;
        }
        let answer = answer.map(|()| self.common.tokens.for_retry(to, cx.now, cx.rng));
        let stats = &mut self.common.stats;
        if answer.is_ok() {
            stats.retries_sent += 1
        } else {
            stats.refusals_sent += 1
        }
        let packet = retry(local, &long.header, to, answer, cx);
        self.transmit(to, packet);
    }

    fn on_session_request(
        &mut self,
        long: &Long,
        from: SocketAddr,
        packet: &mut [u8],
        local: &SharedLocal,
        cx: &mut Cx<'_>,
    ) {
        let header = &long.header;
        if header.source == header.destination {
            self.common.stats.handshakes_failed += 1;
            return;
        }
        if !self.common.tokens.attempt(from, header.token, cx.now) {
            self.common.stats.bad_tokens += u64::from(header.token != 0);
            return self.send_retry(long, from, local, Ok(()), cx);
        }
        if let Some(reason) = self.refusal(from) {
            return self.send_retry(long, from, local, Err(reason), cx);
        }
        if !self.requests.try_take(1, cx.now.mono) {
            self.common.stats.requests_limited += 1;
            return;
        }
        let limits = &self.common.limits;
        match on_session_request(long, packet, from, local, &mut self.replay, limits, cx) {
            Ok(state) => {
                self.common.tokens.spend(from, long.header.token);
                self.transmit(from, state.packet.clone());
                let began = cx.now.mono;
                let state = Box::new(state);
                *self.pending_ips.entry(from.ip()).or_default() += 1;
                let pending = Pending { state, began, resends: 0, repeats: 0, early: Vec::new() };
                self.keep_pending(pending);
                self.timers.set_earlier(Key::Sweep, began + SWEEP);
            }
            Err(PeerMisbehaved::ClockSkew(seconds)) => {
                self.note_skew(seconds);
                self.send_retry(long, from, local, Err(TerminationReason::ClockSkew), cx);
            }
            Err(PeerMisbehaved::Replay) => self.common.stats.replays += 1,
            Err(_) => self.common.stats.handshakes_failed += 1,
        }
    }

    /// Why no more handshakes are taken, if so.
    fn refusal(&mut self, from: SocketAddr) -> Option<TerminationReason> {
        let limits = &self.common.limits;
        if self.sessions.len() >= limits.sessions || self.pending.len() >= limits.pending_inbound {
            self.common.stats.refused_limit += 1;
            return Some(TerminationReason::ConnectionLimits);
        }
        let shares_no_limit = self.config.private_network && !aioli_wire::ip::is_public(from.ip());
        let same_ip = self.pending_ips.get(&from.ip()).copied().unwrap_or(0);
        if !shares_no_limit && same_ip >= limits.pending_per_ip {
            self.common.stats.refused_per_ip += 1;
            return Some(TerminationReason::ConnectionLimits);
        }
        None
    }

    fn keep_pending(&mut self, pending: Pending) {
        let id = pending.state.ids.ours;
        let next = CREATED.get(pending.resends).copied().unwrap_or(TIMEOUT);
        self.timers.set(Key::Pending(id), pending.began + next);
        self.pending.insert(id, pending);
    }

    fn take_pending(&mut self, id: ConnectionId) -> Option<Pending> {
        self.timers.stop(&Key::Pending(id));
        self.pending.remove(&id)
    }

    fn release_ip(&mut self, from: SocketAddr) {
        if let Some(count) = self.pending_ips.get_mut(&from.ip()) {
            *count -= 1;
            if *count == 0 {
                self.pending_ips.remove(&from.ip());
            }
        }
    }

    pub(super) fn on_pending_timeout(&mut self, id: ConnectionId, cx: &Cx<'_>) {
        let Some(mut pending) = self.take_pending(id) else { return };
        if cx.now.mono.since(pending.began) >= TIMEOUT {
            self.common.stats.handshakes_timed_out += 1;
            self.release_ip(pending.state.from);
            return;
        }
        pending.resends += 1;
        self.common.stats.handshake_resends += 1;
        self.transmit(pending.state.from, pending.state.packet.clone());
        self.keep_pending(pending);
    }

    /// A packet to a handshake that awaits SessionConfirmed.
    fn on_pending(
        &mut self,
        id: ConnectionId,
        from: SocketAddr,
        packet: &[u8],
        local: &SharedLocal,
        cx: &mut Cx<'_>,
    ) {
        // A handshake stays where it began.
        if self.pending.get(&id).is_none_or(|p| p.state.from != from) {
            self.common.stats.unknown_packets += 1;
            return;
        }
        let Some(Pending { state, began, resends, repeats, early }) = self.take_pending(id) else { return };
        let (ids, wants_tag) = (state.ids, state.wants_tag);
        match state.on_packet(packet, &self.common.limits, cx) {
            Ok(Step::Waiting(state)) => {
                self.keep_pending(Pending { state, began, resends, repeats, early });
            }
            Ok(Step::Refused(why)) => {
                tracing::debug!("SSU2 handshake refused: {why}");
                self.common.stats.handshakes_failed += 1;
                self.common.outputs.push_back(Output::Refused { from, why });
                self.release_ip(from);
            }
            Ok(Step::Done(confirmed)) => {
                self.release_ip(from);
                let peer = confirmed.router_info.hash();
                self.note_visitor(&peer, from, cx);
                let begin = Begin {
                    peer,
                    ids,
                    remote: from,
                    inbound: true,
                    send: &confirmed.send,
                    receive: &confirmed.receive,
                    their_intro: confirmed.intro_key(),
                    mtu: confirmed.address.mtu.min(self.config.mtu),
                    rtt: confirmed.rtt,
                    confirmed: Vec::new(),
                    window: self.common.limits.window,
                };
                let mut session = Session::begin(begin, cx);
                session.began = began;
                let id = session.ids.ours;
                self.establish(session, Some(confirmed.router_info), Vec::new(), cx);
                if let Some(session) = self.sessions.get_mut(&id) {
                    let fate = session.on_confirmed(from, &confirmed.rest, &mut self.common.shared(), cx);
                    self.after(id, fate, cx);
                }
                if wants_tag {
                    self.on_tag_request(peer, from, cx);
                }
                for mut packet in early {
                    self.handle_datagram(from, &mut packet, cx);
                }
            }
            Err(Failed { state, why }) => {
                let mut pending = Pending { state, began, resends, repeats, early };
                self.on_not_confirmed(&mut pending, why, packet, local);
                self.keep_pending(pending);
            }
        }
    }

    /// What came was not the SessionConfirmed: the request again, or data too early.
    fn on_not_confirmed(
        &mut self,
        pending: &mut Pending,
        why: PeerMisbehaved,
        packet: &[u8],
        local: &SharedLocal,
    ) {
        let key = &local.intro_key.0;
        let request =
            long_header(packet, key, key).is_ok_and(|l| l.header.kind == PacketType::SessionRequest);
        if request {
            if pending.repeats < MAX_REPEATS {
                pending.repeats += 1;
                self.common.stats.handshake_resends += 1;
                self.transmit(pending.state.from, pending.state.packet.clone());
            }
            return;
        }
        let maybe_data = matches!(why, PeerMisbehaved::OutOfTurn | PeerMisbehaved::Malformed(_));
        if maybe_data && pending.early.len() < self.common.limits.early_packets {
            pending.early.push(packet.to_vec());
        } else if maybe_data {
            self.common.stats.early_dropped += 1;
        } else {
            self.common.stats.not_authentic += 1;
        }
    }
}
