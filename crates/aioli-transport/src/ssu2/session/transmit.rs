//! What a session sends: one packet at a time, when it is asked.

use std::net::SocketAddr;

use aioli_core::{Cx, Duration};
use aioli_wire::Writer;
use aioli_wire::ssu2::{
    Ack, BLOCK_HEADER, Block, MAX_MTU, MIN_PAYLOAD, SHORT_HEADER, ShortHeader, TAG_LEN, TAIL_RESERVE,
    TerminationReason, ip_overhead,
};

use super::super::outbox::{Carried, Control, Filled, MIN_PIECE, Packing};
use super::super::path::Next;
use super::super::recovery::Sending;
use super::{CHANGE_WITHIN, Session, Shared, TOKEN_AGAIN};

/// Room that acknowledgements take at most.
const ACK_ROOM: usize = 64;
/// Most random bytes behind a packet that is not full.
const MAX_PADDING: u64 = 15;
/// About the size of a packet with a challenge.
const CHALLENGE_SIZE: usize = 120;
/// Where the flags are in a header.
const FLAGS: usize = 13;
/// Nothing fitted though something waits: look again after this.
const PAUSE: Duration = Duration::from_millis(20);

/// A packet that is being written, behind others that leave with it.
struct Draft<'a> {
    out: &'a mut Vec<u8>,
    /// Where it begins.
    start: usize,
    carried: Vec<Carried>,
    eliciting: bool,
    ack_through: Option<u32>,
    /// More follows at once.
    followed: bool,
}

impl Draft<'_> {
    fn write(&mut self, block: &Block<'_>) {
        let mut w = Writer::append_to(std::mem::take(self.out));
        w.write(block);
        *self.out = w.into_vec();
        self.eliciting |= block.elicits_ack();
    }

    const fn len(&self) -> usize {
        self.out.len() - self.start
    }

    const fn is_empty(&self) -> bool {
        self.len() == SHORT_HEADER
    }
}

impl Session {
    /// Appends the next packet. Where to send it; none if nothing may be sent now.
    pub(in super::super) fn poll_transmit(
        &mut self,
        out: &mut Vec<u8>,
        sh: &mut Shared<'_>,
        cx: &mut Cx<'_>,
    ) -> Option<SocketAddr> {
        if std::mem::take(&mut self.changed) {
            self.refresh_at =
                self.refresh_at.min(cx.now.mono + cx.rng.duration(Duration::ZERO, CHANGE_WITHIN));
        }
        if let Some((to, packet)) = self.held.take() {
            out.extend_from_slice(&packet);
            return Some(to);
        }
        let start = out.len();
        let to = self.next_packet(out, sh, cx)?;
        self.bytes.1 += (out.len() - start) as u64;
        Some(to)
    }

    fn next_packet(&mut self, out: &mut Vec<u8>, sh: &mut Shared<'_>, cx: &mut Cx<'_>) -> Option<SocketAddr> {
        if let Some(packet) = self.raw.pop_front() {
            out.extend_from_slice(&packet);
            return Some(self.remote);
        }
        if let Some(challenged) = self.challenge(out, sh, cx) {
            return Some(challenged);
        }
        if let Some((to, data)) = self.answers.pop_front() {
            return Some(self.answer(out, to, &data, cx));
        }
        self.data(out, sh, cx).or_else(|| self.mtu_probe(out, cx))
    }

    /// Whether another packet fits in the window.
    pub(super) fn has_room(&self) -> bool {
        self.recovery.in_flight() + u64::from(self.mtu.current()) <= self.controller.window()
    }

    /// Bytes of a packet before its tag.
    fn packet_end(&self) -> usize {
        usize::from(self.mtu.current()) - ip_overhead(&self.remote.ip()) - TAG_LEN
    }

    /// Bytes of a message that fit in a packet at least.
    pub(super) fn piece_room(&self) -> usize {
        self.packet_end() - SHORT_HEADER - ACK_ROOM - TAIL_RESERVE
    }

    fn draft<'a>(&mut self, out: &'a mut Vec<u8>) -> Draft<'a> {
        let start = out.len();
        let mut w = Writer::append_to(std::mem::take(out));
        w.write(&ShortHeader::Data {
            destination: self.ids.theirs,
            packet_number: self.recovery.next_number(),
            immediate_ack: false,
        });
        *out = w.into_vec();
        let carried = self.recovery.list();
        Draft { out, start, carried, eliciting: false, ack_through: None, followed: false }
    }

    /// Acknowledges what has come, if anything has.
    fn write_ack(&mut self, draft: &mut Draft<'_>) {
        Ack::append_block(self.received.runs(), ACK_ROOM, draft.out);
        draft.ack_through = self.received.highest();
        self.acks.sent();
    }

    /// Messages, tokens and acknowledgements.
    fn data(&mut self, out: &mut Vec<u8>, sh: &mut Shared<'_>, cx: &mut Cx<'_>) -> Option<SocketAddr> {
        let now = cx.now.mono;
        let room = self.has_room();
        let round_trip = self.rtt.or_guess();
        self.pacer.refill(self.controller.pacing_rate(Some(round_trip)), round_trip, now);
        let may_send = self.probes > 0 || (room && now >= self.not_before && self.pacer.may_send());
        let ready = self.outbox.has_ready();
        if !ready && room {
            self.recovery.set_app_limited();
        }
        let with_data = ready && may_send;
        if !(with_data || self.acks.due(now) || self.ping || self.new_token || self.notices.has_ready()) {
            return None;
        }
        let mut draft = self.draft(out);
        if self.acks.wanted() {
            self.write_ack(&mut draft);
        }
        self.write_controls(&mut draft, sh, cx);
        let mut urgent = self.probes > 0;
        if with_data {
            let filled = self.fill(&mut draft, cx);
            sh.stats.messages_sent += filled.completed;
            sh.stats.retransmissions += filled.repeated;
            sh.stats.dropped_expired += filled.expired;
            draft.eliciting |= !draft.carried.is_empty();
            draft.followed = self.outbox.has_ready();
            urgent |= filled.repeated > 0;
        }
        if draft.is_empty() {
            // What waited is too late or does not fit.
            self.not_before = now + PAUSE;
            draft.out.truncate(draft.start);
            self.recovery.keep(draft.carried);
            return None;
        }
        if draft.eliciting {
            self.probes = self.probes.saturating_sub(1);
        }
        if urgent {
            draft.out[draft.start + FLAGS] |= 1;
        }
        Some(self.finish(draft, self.remote, cx))
    }

    /// Fills a packet with messages.
    fn fill(&mut self, draft: &mut Draft<'_>, cx: &Cx<'_>) -> Filled {
        let most = usize::from(MAX_MTU) - ip_overhead(&self.remote.ip()) - TAG_LEN;
        let mut packing = Packing {
            end: draft.start + self.packet_end(),
            most: draft.start + most,
            number: self.recovery.next_number(),
            now: cx.now.wall,
            out: draft.out,
            carried: &mut draft.carried,
            filled: Filled::default(),
        };
        self.outbox.fill(&mut packing);
        packing.filled
    }

    fn write_controls(&mut self, draft: &mut Draft<'_>, sh: &mut Shared<'_>, cx: &mut Cx<'_>) {
        if std::mem::take(&mut self.new_token) {
            self.token_at = cx.now.mono + TOKEN_AGAIN;
            let token = sh.tokens.issue(self.remote, cx.now.wall, cx.rng);
            draft.write(&Block::NewToken(token));
            draft.carried.push(Carried::Control(Control::NewToken));
        }
        if std::mem::take(&mut self.ping) {
            draft.write(&Block::PathChallenge(&cx.rng.bytes::<8>()));
            draft.carried.push(Carried::Control(Control::Ping));
        }
        if self.notices.has_ready() {
            let end = draft.start + self.packet_end();
            self.notices.fill(draft.out, end, &mut draft.carried);
            draft.eliciting = true;
        }
    }

    /// Asks where the peer seems to be whether it is there.
    fn challenge(&mut self, out: &mut Vec<u8>, sh: &mut Shared<'_>, cx: &mut Cx<'_>) -> Option<SocketAddr> {
        let path = self.path.as_mut()?;
        let (to, began) = (path.to, path.is_new());
        match path.next(CHALLENGE_SIZE, cx.now.mono) {
            Next::Wait => None,
            Next::Failed => {
                self.path = None;
                None
            }
            Next::Challenge(data) => {
                sh.stats.paths_challenged += u64::from(began);
                let mut draft = self.draft(out);
                self.write_ack(&mut draft);
                draft.write(&Block::PathChallenge(&data));
                draft.write(&Block::Address(to));
                draft.carried.push(Carried::Control(Control::Path));
                Some(self.finish(draft, to, cx))
            }
        }
    }

    /// Answers a challenge where it came from.
    fn answer(&mut self, out: &mut Vec<u8>, to: SocketAddr, data: &[u8], cx: &mut Cx<'_>) -> SocketAddr {
        let mut draft = self.draft(out);
        if to == self.remote && draft.len() + ACK_ROOM + BLOCK_HEADER + data.len() <= self.packet_end() {
            self.write_ack(&mut draft);
        }
        draft.write(&Block::PathResponse(data));
        draft.carried.push(Carried::Control(Control::Path));
        self.finish(draft, to, cx)
    }

    /// A packet of padding, to see whether one of that size passes.
    fn mtu_probe(&mut self, out: &mut Vec<u8>, cx: &mut Cx<'_>) -> Option<SocketAddr> {
        if !self.recovery.any_acked() || !self.has_room() {
            return None;
        }
        let size = self.mtu.probe(cx.now.mono)?;
        let mut draft = self.draft(out);
        draft.write(&Block::PathChallenge(&cx.rng.bytes::<8>()));
        let end = usize::from(size) - ip_overhead(&self.remote.ip()) - TAG_LEN;
        draft.write(&Block::Padding(end.saturating_sub(draft.len() + BLOCK_HEADER)));
        draft.carried.push(Carried::MtuProbe(size));
        Some(self.finish(draft, self.remote, cx))
    }

    /// The packet that ends the session, sent more than once if need be.
    pub(in super::super) fn termination(&mut self, reason: TerminationReason, cx: &mut Cx<'_>) -> Vec<u8> {
        let mut packet = Vec::new();
        let mut draft = self.draft(&mut packet);
        if self.received.highest().is_some() {
            self.write_ack(&mut draft);
        }
        draft.write(&Block::Termination { received: self.received.count(), reason });
        self.finish(draft, self.remote, cx);
        packet
    }

    /// Pads, seals and notes a packet.
    fn finish(&mut self, mut draft: Draft<'_>, to: SocketAddr, cx: &mut Cx<'_>) -> SocketAddr {
        let number = self.recovery.next_number();
        let room = self.packet_end().saturating_sub(draft.len());
        if draft.followed && room <= BLOCK_HEADER + MIN_PIECE {
            // Packets of one size leave in one call to the kernel.
            if let Some(n) = room.checked_sub(BLOCK_HEADER) {
                draft.write(&Block::Padding(n));
            }
        } else if room >= BLOCK_HEADER + MAX_PADDING as usize {
            // Enough for the masks: there may be no second padding behind it.
            let least = (SHORT_HEADER + MIN_PAYLOAD).saturating_sub(draft.len() + BLOCK_HEADER);
            let n = least.max(cx.rng.up_to(MAX_PADDING) as usize);
            draft.write(&Block::Padding(n));
        }
        let Draft { out, start, carried, eliciting, ack_through, .. } = draft;
        self.sealer.seal(out, start, number);
        let size = out.len() - start;
        if eliciting {
            self.pacer.on_sent(size as u64);
        }
        self.recovery.on_sent(Sending { size, eliciting, carried, ack_through }, cx.now.mono);
        to
    }
}
