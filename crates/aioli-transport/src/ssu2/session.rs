//! One session in its data phase (`ssu2#data-message-type-6`): what comes in,
//! and its timers. What goes out is in `transmit`.

mod transmit;

use std::collections::VecDeque;
use std::net::SocketAddr;

use aioli_core::crypto::ssu2::DataKeys;
use aioli_core::flow::{Controller, INITIAL_WINDOW, Pacer, Path, Rtt};
use aioli_core::{Cx, Duration, Instant};
use aioli_wire::RouterHash;
use aioli_wire::Wire;
use aioli_wire::i2np::Message;
use aioli_wire::router_info::RouterInfo;
use aioli_wire::ssu2::{Block, Blocks, MIN_MTU, RouterInfoBlock, TerminationReason};
use aioli_wire::verified::Unverified;

use super::acks::Acks;
use super::alice::Ids;
use super::bob::plain;
use super::mtu::MtuSearch;
use super::notices::Notices;
use super::outbox::{Carried, Control, Outbox, Pushed};
use super::packet::{Opener, Sealer, Unmasked};
use super::path::Validation;
use super::reassembly::{Budget, Reassembly, Taken};
use super::received::Received;
use super::recovery::{Recovery, Shown, TIMEOUTS};
use super::tokens::{HeldTokens, Tokens};
use super::{IntroKey, Limits, Output, Stats, same_family};
use crate::Lane;

/// A window of bytes, in steps of a usual packet.
const PATH: Path = Path { packet: 1_440, slack: Duration::from_millis(5), queue: Duration::from_millis(4) };
/// Timeouts in a row after which nothing is hoped for.
const MAX_TIMEOUTS: u32 = 7;
/// Without any answer the session ends after this at the earliest.
const DEAD_AFTER: Duration = Duration::from_secs(20);
/// SessionConfirmed is sent again at these times after the first.
const CONFIRMED_RESENDS: [Duration; 3] =
    [Duration::from_millis(1_250), Duration::from_millis(3_750), Duration::from_millis(8_750)];
/// The handshake must be acknowledged within this.
const CONFIRMED_TIMEOUT: Duration = Duration::from_secs(15);
/// A token is given anew before the last expires.
const TOKEN_AGAIN: Duration = Duration::from_secs(45 * 60);
/// Our RouterInfo is said again after so long, as over NTCP2,
const REFRESH: (Duration, Duration) = (Duration::from_secs(25 * 60), Duration::from_secs(50 * 60));
/// and within this if something in it has changed.
const CHANGE_WITHIN: Duration = Duration::from_secs(30);
/// I2NP messages older than this are dropped.
const MAX_LATE: Duration = Duration::from_secs(60);
/// I2NP messages dated further ahead than this are dropped.
const MAX_AHEAD: Duration = Duration::from_secs(180);
/// Packet numbers end here: 32 bits, and room to say goodbye.
const LAST_NUMBER: u32 = u32::MAX - 1_000;
/// A packet number this near to the highest may come next.
const NEAR: u32 = 1 << 15;
/// Large packets vanish when so many timeouts passed in a row.
const BLACK_HOLE_TIMEOUTS: u32 = 3;
/// Or so many of them were lost and none arrived, for this many round trips.
const BLACK_HOLE_LOSSES: u32 = 16;
const BLACK_HOLE_TRIPS: u32 = 3;
/// Challenges that wait to be answered.
const MAX_ANSWERS: usize = 4;
/// Messages beyond the window that it takes before it can send them.
const AHEAD: usize = 32 << 10;

/// What a session uses of its endpoint.
pub(super) struct Shared<'a> {
    pub(super) limits: &'a Limits,
    pub(super) stats: &'a mut Stats,
    pub(super) outputs: &'a mut VecDeque<Output>,
    pub(super) budget: &'a mut Budget,
    pub(super) tokens: &'a mut Tokens,
    pub(super) held: &'a mut HeldTokens,
    pub(super) asides: &'a mut VecDeque<Aside>,
    pub(super) idle_timeout: Duration,
}

/// What a peer says beside messages: of introductions and peer tests.
#[derive(Debug)]
pub(super) struct Aside {
    pub(super) from: RouterHash,
    /// Where it is.
    pub(super) remote: SocketAddr,
    pub(super) said: Said,
}

/// See [`Aside`].
#[derive(Debug)]
pub(super) enum Said {
    /// A block.
    Block(Vec<u8>),
    /// Who somebody is that is introduced or tested.
    RouterInfo(Unverified<RouterInfo>),
}

/// What a session is made of when its handshake is over.
pub(super) struct Begin<'a> {
    pub(super) peer: RouterHash,
    pub(super) ids: Ids,
    pub(super) remote: SocketAddr,
    pub(super) inbound: bool,
    pub(super) send: &'a DataKeys,
    pub(super) receive: &'a DataKeys,
    pub(super) their_intro: IntroKey,
    /// The lesser of both ends'.
    pub(super) mtu: u16,
    pub(super) rtt: Duration,
    /// Alice's SessionConfirmed, to be sent now and again.
    pub(super) confirmed: Vec<Vec<u8>>,
    pub(super) window: u32,
}

/// SessionConfirmed, until anything comes from Bob.
#[derive(Debug)]
struct Confirming {
    packets: Vec<Vec<u8>>,
    began: Instant,
    resends: usize,
}

/// What a datagram, or time, did to the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It goes on.
    Open,
    /// The peer has ended it.
    Ended(TerminationReason),
    /// We must end it.
    End(TerminationReason),
}

/// One session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) peer: RouterHash,
    pub(super) ids: Ids,
    pub(super) remote: SocketAddr,
    pub(super) inbound: bool,
    pub(super) established: Instant,
    /// When its handshake began, if it came to us.
    pub(super) began: Instant,
    /// Bytes of datagrams: received, sent.
    pub(super) bytes: (u64, u64),
    /// Whether it waits to be asked for packets.
    pub(super) queued: bool,
    sealer: Sealer,
    opener: Opener,
    received: Received,
    acks: Acks,
    recovery: Recovery,
    rtt: Rtt,
    controller: Controller,
    pacer: Pacer,
    outbox: Outbox,
    reassembly: Reassembly,
    mtu: MtuSearch,
    path: Option<Validation>,
    /// A packet that did not fit in the batch before.
    held: Option<(SocketAddr, Vec<u8>)>,
    /// Packets to send as they are.
    raw: VecDeque<Vec<u8>>,
    confirming: Option<Confirming>,
    /// Challenges to answer, and where.
    answers: VecDeque<(SocketAddr, Vec<u8>)>,
    /// Packets that may be sent beyond the window.
    probes: u32,
    ping: bool,
    new_token: bool,
    notices: Notices,
    token_at: Instant,
    /// Who we are is said again then.
    refresh_at: Instant,
    /// Who we are has changed: sooner.
    changed: bool,
    last_received: Instant,
    /// Where the peer sees us.
    pub(super) observed: Option<SocketAddr>,
    /// Nothing fitted: no sooner than this.
    not_before: Instant,
    /// Large packets lost since one arrived, and since when.
    large_lost: (u32, Instant),
}

impl Session {
    /// The data phase of a handshake that is over.
    pub(super) fn begin(begin: Begin<'_>, cx: &mut Cx<'_>) -> Self {
        let now = cx.now.mono;
        let mut rtt = Rtt::new(TIMEOUTS);
        if !begin.rtt.is_zero() {
            rtt.sample(begin.rtt, begin.rtt, now);
        }
        // Alice's packet 0 is SessionConfirmed.
        let first = u32::from(!begin.inbound);
        let mut session = Self {
            peer: begin.peer,
            ids: begin.ids,
            remote: begin.remote,
            inbound: begin.inbound,
            established: now,
            began: now,
            bytes: (0, 0),
            queued: false,
            sealer: Sealer::new(begin.send, begin.their_intro),
            opener: Opener::new(begin.receive),
            received: Received::default(),
            acks: Acks::default(),
            recovery: Recovery::new(first, now),
            rtt,
            controller: Controller::new(PATH, u64::from(INITIAL_WINDOW * PATH.packet), begin.window.into()),
            pacer: Pacer::new(PATH.packet, now),
            outbox: Outbox::default(),
            reassembly: Reassembly::new(now, cx.rng),
            mtu: MtuSearch::new(begin.mtu, now),
            path: None,
            held: None,
            raw: begin.confirmed.iter().cloned().collect(),
            confirming: None,
            answers: VecDeque::new(),
            probes: 0,
            ping: false,
            new_token: true,
            notices: Notices::default(),
            token_at: now,
            refresh_at: now + cx.rng.duration(REFRESH.0, REFRESH.1),
            changed: false,
            last_received: now,
            observed: None,
            not_before: now,
            large_lost: (0, now),
        };
        if begin.inbound {
            session.received.insert(0);
            session.acks.at_once(now);
        } else {
            session.confirming = Some(Confirming { packets: begin.confirmed, began: now, resends: 0 });
        }
        session
    }

    /// Queues a message.
    pub(super) fn push(&mut self, lane: Lane, message: Message, limit: usize) -> Pushed {
        self.outbox.push(lane, message, limit)
    }

    /// Bytes of messages that it could take: the window, and what the next acknowledgement will allow.
    pub(super) fn room(&self) -> usize {
        let window = usize::try_from(self.controller.window()).unwrap_or(usize::MAX);
        window.saturating_add(AHEAD).saturating_sub(self.outbox.bytes())
    }

    /// Keeps a packet for the next batch.
    pub(super) fn hold(&mut self, packet: (SocketAddr, Vec<u8>)) {
        self.held = Some(packet);
    }

    /// When something came last.
    pub(super) const fn last_received(&self) -> Instant {
        self.last_received
    }

    /// The round trip to the peer, smoothed.
    pub(super) const fn round_trip(&self) -> Option<Duration> {
        self.rtt.smoothed()
    }

    /// Whether the peer may not know yet that it stands.
    pub(super) const fn is_confirming(&self) -> bool {
        self.confirming.is_some()
    }

    /// Bytes of messages that the peer has not acknowledged.
    pub(super) const fn queued_bytes(&self) -> usize {
        self.outbox.bytes()
    }

    /// Everything that the peer has not acknowledged, and gives back its memory.
    pub(super) fn end(&mut self, budget: &mut Budget) -> Vec<(Lane, Message)> {
        self.reassembly.release(budget);
        self.outbox.take()
    }

    /// Queues a block of an introduction or a peer test.
    pub(super) fn notify(&mut self, block: Vec<u8>, limit: usize) -> bool {
        self.notices.push(block, limit)
    }

    /// Our own address may be another: say something, so that the peer notices.
    pub(super) const fn ping(&mut self) {
        self.ping = true;
    }

    /// Who we are has changed: the peer hears of it, but not all peers in the same moment.
    pub(super) const fn router_info_changed(&mut self) {
        self.changed = true;
    }

    /// Whether it is time to say again who we are; then the next time is set.
    pub(super) fn refresh_is_due(&mut self, cx: &mut Cx<'_>) -> bool {
        let is_due = self.refresh_at <= cx.now.mono;
        if is_due {
            self.refresh_at = cx.now.mono + cx.rng.duration(REFRESH.0, REFRESH.1);
        }
        is_due
    }

    /// Takes a datagram that names this session: its first mask hides [`Ids::ours`].
    pub(super) fn on_datagram(
        &mut self,
        from: SocketAddr,
        packet: &mut [u8],
        sh: &mut Shared<'_>,
        cx: &mut Cx<'_>,
    ) -> Fate {
        match self.opener.header(packet, self.ids.ours) {
            Ok(header) if self.received.is_new(header.number) => {
                self.on_packet(from, packet, &header, sh, cx)
            }
            Ok(_) => {
                sh.stats.duplicate_packets += 1;
                Fate::Open
            }
            Err(_) => {
                sh.stats.not_authentic += 1;
                Fate::Open
            }
        }
    }

    /// The header of a packet that is surely of this session, as it comes from where the peer is and its second mask
    /// hides one that may come next: garbage does not do that once in 2^40 times. Its first mask need not be taken
    /// off, as the id below it is known, and authenticated.
    pub(super) fn recognise(&self, from: SocketAddr, packet: &[u8]) -> Option<Unmasked> {
        if from != self.remote {
            return None;
        }
        let header = self.opener.header(packet, self.ids.ours).ok()?;
        let near = self.received.highest().is_some_and(|h| header.number.abs_diff(h) < NEAR);
        (near && !header.has_strange_flags() && self.received.is_new(header.number)).then_some(header)
    }

    /// Opens a packet whose number is new.
    pub(super) fn on_packet(
        &mut self,
        from: SocketAddr,
        packet: &mut [u8],
        header: &Unmasked,
        sh: &mut Shared<'_>,
        cx: &mut Cx<'_>,
    ) -> Fate {
        let size = packet.len();
        let Ok(payload) = self.opener.open(packet, header) else {
            sh.stats.not_authentic += 1;
            return Fate::Open;
        };
        let now = cx.now.mono;
        self.bytes.0 += size as u64;
        let number = header.number;
        let newest = self.received.highest().is_none_or(|h| number > h);
        self.received.insert(number);
        self.last_received = now;
        self.confirming = None;
        self.on_source(from, number, newest, size, cx);
        let (eliciting, fate) = self.on_payload(from, payload, sh, cx);
        if eliciting {
            let gap = self.received.has_gap();
            self.acks.on_eliciting(number, gap, header.immediate_ack, self.rtt.or_guess(), now);
        }
        fate
    }

    /// Takes what SessionConfirmed says behind the RouterInfo.
    pub(super) fn on_confirmed(
        &mut self,
        from: SocketAddr,
        blocks: &[u8],
        sh: &mut Shared<'_>,
        cx: &mut Cx<'_>,
    ) -> Fate {
        self.on_payload(from, blocks, sh, cx).1
    }

    /// A packet came from elsewhere: see whether the peer has moved.
    fn on_source(&mut self, from: SocketAddr, number: u32, newest: bool, size: usize, cx: &mut Cx<'_>) {
        if from == self.remote {
            // Newer than what came from elsewhere: that was a copy, or a detour.
            if self.path.as_ref().is_some_and(|p| number > p.since) {
                self.path = None;
            }
            return;
        }
        if let Some(path) = &mut self.path
            && path.to == from
        {
            path.on_bytes(size);
            return;
        }
        if newest && same_family(from, self.remote) {
            self.path = Some(Validation::new(from, number, size, cx));
        }
    }

    /// Reads the blocks of a payload. Whether it elicits an acknowledgement, and what follows.
    fn on_payload(
        &mut self,
        from: SocketAddr,
        payload: &[u8],
        sh: &mut Shared<'_>,
        cx: &mut Cx<'_>,
    ) -> (bool, Fate) {
        let (mut eliciting, mut fate) = (false, Fate::Open);
        let mut blocks = Blocks::new(payload);
        while let Some(block) = blocks.next() {
            let Ok(block) = block else {
                // It elicits an acknowledgement as an unknown one does.
                sh.stats.bad_blocks += 1;
                eliciting = true;
                if blocks.is_broken() {
                    fate = Fate::End(TerminationReason::PayloadFormat);
                }
                continue;
            };
            eliciting |= block.elicits_ack();
            if let Block::Termination { reason, .. } = block {
                fate = Fate::Ended(reason);
            }
            if let Some(message) = self.on_block(from, &block, sh, cx) {
                self.deliver(message, sh);
            }
        }
        (eliciting, fate)
    }

    /// Tells of a message, together with those before it.
    fn deliver(&self, message: Message, sh: &mut Shared<'_>) {
        sh.stats.messages_received += 1;
        match sh.outputs.back_mut() {
            Some(Output::Messages { from, messages }) if *from == self.peer => messages.push(message),
            _ => sh.outputs.push_back(Output::Messages { from: self.peer, messages: vec![message] }),
        }
    }

    /// Reads a block; the message, if it completes one.
    fn on_block(
        &mut self,
        from: SocketAddr,
        block: &Block<'_>,
        sh: &mut Shared<'_>,
        cx: &mut Cx<'_>,
    ) -> Option<Message> {
        let now = cx.now.mono;
        match block {
            Block::I2np(bytes) => return self.on_message(bytes, sh, cx),
            Block::FirstFragment(bytes) => {
                let taken = self.reassembly.on_first(bytes, sh.limits, sh.budget, now);
                return self.on_taken(taken, sh, cx);
            }
            Block::FollowOn(piece) => {
                let taken = self.reassembly.on_follow_on(piece, sh.limits, sh.budget, now);
                return self.on_taken(taken, sh, cx);
            }
            Block::Ack(ack) => match self.recovery.on_ack(ack.ranges(), &mut self.rtt, now) {
                Some(shown) => self.on_shown(shown, sh, cx),
                None => sh.stats.bad_acks += 1,
            },
            Block::PathChallenge(data) => self.on_challenge(from, data),
            Block::PathResponse(data) => self.on_path_response(data, sh, cx),
            Block::RouterInfo(info) => self.on_router_info(info, sh),
            Block::Address(address) => self.on_address(*address, sh),
            Block::NewToken(token) => sh.held.insert(self.remote, *token),
            Block::Congestion { immediate_ack: true, .. } => self.acks.at_once(now),
            Block::DateTime(_)
            | Block::Congestion { .. }
            | Block::Options(_)
            | Block::Padding(_)
            | Block::Termination { .. } => {}
            Block::RelayRequest(_)
            | Block::RelayResponse(_)
            | Block::RelayIntro(_)
            | Block::PeerTest(_)
            | Block::RelayTagRequest
            | Block::RelayTag(_) => self.aside(Said::Block(block.to_bytes()), sh),
            Block::FirstPacketNumber(_) | Block::Unknown(_) => sh.stats.ignored_blocks += 1,
        }
        None
    }

    /// A message that came whole.
    fn on_message(&mut self, bytes: &[u8], sh: &mut Shared<'_>, cx: &Cx<'_>) -> Option<Message> {
        let id = bytes.get(1..5).and_then(|b| b.try_into().ok()).map_or(0, u32::from_be_bytes);
        if self.reassembly.on_whole(id, sh.limits, cx.now.mono) {
            let Ok(message) = Message::decode_short(bytes) else {
                sh.stats.bad_messages += 1;
                return None;
            };
            return timely(message, sh.stats, cx);
        }
        sh.stats.duplicate_messages += 1;
        None
    }

    /// What a piece of a message brought.
    fn on_taken(&mut self, taken: Taken, sh: &mut Shared<'_>, cx: &Cx<'_>) -> Option<Message> {
        sh.stats.reassembly_dropped += std::mem::take(&mut self.reassembly.dropped);
        match taken {
            Taken::Whole(message) => return timely(message, sh.stats, cx),
            Taken::Waiting => {}
            Taken::Duplicate => sh.stats.duplicate_messages += 1,
            Taken::Malformed => sh.stats.bad_messages += 1,
        }
        None
    }

    fn aside(&self, said: Said, sh: &mut Shared<'_>) {
        sh.asides.push_back(Aside { from: self.peer, remote: self.remote, said });
    }

    fn on_router_info(&self, info: &RouterInfoBlock<'_>, sh: &mut Shared<'_>) {
        match plain(info).and_then(|bytes| Ok(RouterInfo::decode_unverified(&bytes)?)) {
            Ok(ri) => {
                self.aside(Said::RouterInfo(ri.clone()), sh);
                sh.outputs.push_back(Output::RouterInfo { from: self.peer, ri, flood: info.flood });
            }
            Err(_) => sh.stats.bad_messages += 1,
        }
    }

    fn on_address(&mut self, address: SocketAddr, sh: &mut Shared<'_>) {
        let before = self.observed.replace(address);
        if before != Some(address) && !self.inbound {
            let (by, at, moved) = (self.peer, self.remote, before.is_some_and(|b| b.ip() != address.ip()));
            sh.outputs.push_back(Output::ObservedAddress { by, at, address, moved });
        }
    }

    fn on_challenge(&mut self, from: SocketAddr, data: &[u8]) {
        // All that fits in the packet that it came in fits in the one that answers it.
        if self.answers.len() < MAX_ANSWERS && same_family(from, self.remote) {
            self.answers.push_back((from, data.to_vec()));
        }
    }

    fn on_path_response(&mut self, data: &[u8], sh: &mut Shared<'_>, cx: &Cx<'_>) {
        let Some(path) = self.path.take_if(|p| p.is_answered_by(data)) else { return };
        let now = cx.now.mono;
        sh.stats.paths_moved += 1;
        sh.tokens.forget(&self.remote);
        if path.to.ip() != self.remote.ip() {
            self.rtt.reset();
            self.controller.on_path_change();
            self.mtu.reset(false, now);
        }
        let from = std::mem::replace(&mut self.remote, path.to);
        self.new_token = true;
        // What is in flight went to where the peer is not any more.
        let lost = self.recovery.lose_all(now);
        lost.into_iter().for_each(|(number, carried)| self.on_lost(number, carried, now));
        sh.outputs.push_back(Output::Moved { peer: self.peer, from, to: self.remote });
    }

    /// Takes in what an acknowledgement, or time, has shown.
    fn on_shown(&mut self, mut shown: Shown, sh: &mut Shared<'_>, cx: &mut Cx<'_>) {
        let now = cx.now.mono;
        for carried in shown.acked.drain(..) {
            match carried {
                Carried::Fragment { message, index } => self.outbox.on_acked(message, index),
                Carried::MtuProbe(size) => self.mtu.on_acked(size, now),
                Carried::Control(Control::Notice(id)) => self.notices.on_acked(id),
                Carried::Control(_) => {}
            }
        }
        self.recovery.keep_shown(shown.acked);
        shown.lost.into_iter().for_each(|(number, carried)| self.on_lost(number, carried, now));
        if let Some(through) = shown.settled {
            self.received.settle(through);
        }
        self.watch_large(shown.large_acked, shown.large_lost, sh, now);
        sh.stats.packets_lost += shown.lost_packets;
        sh.stats.packets_late += shown.late_packets;
        if shown.late_packets > 0 {
            self.controller.undo_timeout();
        }
        if shown.progress {
            self.controller.timeout_over();
            self.probes = 0;
        }
        let event = shown.event;
        if event.acked > 0 || event.lost > 0 {
            self.controller.on_ack(&event, &mut self.rtt, now, cx.rng);
        }
    }

    fn on_lost(&mut self, number: u32, carried: Carried, now: Instant) {
        match carried {
            Carried::Fragment { message, index } => self.outbox.on_lost(message, index, Some(number)),
            Carried::MtuProbe(_) => self.mtu.on_lost(now),
            Carried::Control(Control::NewToken) => self.new_token = true,
            Carried::Control(Control::Notice(id)) => self.notices.on_lost(id),
            Carried::Control(Control::Ping | Control::Path) => {}
        }
    }

    /// Does what is due.
    pub(super) fn on_timeout(&mut self, sh: &mut Shared<'_>, cx: &mut Cx<'_>) -> Fate {
        let now = cx.now.mono;
        if now.since(self.last_received) >= sh.idle_timeout {
            return Fate::End(TerminationReason::IdleTimeout);
        }
        if self.recovery.next_number() >= LAST_NUMBER {
            return Fate::End(TerminationReason::Normal);
        }
        if let Some(confirming) = &mut self.confirming {
            if now.since(confirming.began) >= CONFIRMED_TIMEOUT {
                return Fate::End(TerminationReason::Timeout);
            }
            while CONFIRMED_RESENDS.get(confirming.resends).is_some_and(|d| confirming.began + *d <= now) {
                confirming.resends += 1;
                sh.stats.handshake_resends += 1;
                self.raw.extend(confirming.packets.iter().cloned());
            }
        }
        if self.recovery.deadline(&self.rtt).is_some_and(|d| d <= now) {
            self.on_recovery_timeout(sh, cx);
        }
        if self.recovery.timeouts() >= MAX_TIMEOUTS && now.since(self.last_received) >= DEAD_AFTER {
            return Fate::End(TerminationReason::Timeout);
        }
        if self.token_at <= now {
            self.new_token = true;
        }
        self.reassembly.expire(sh.limits, sh.budget, now);
        Fate::Open
    }

    fn on_recovery_timeout(&mut self, sh: &mut Shared<'_>, cx: &mut Cx<'_>) {
        let now = cx.now.mono;
        let (shown, probe) = self.recovery.on_timeout(&self.rtt, now);
        self.on_shown(shown, sh, cx);
        let Some(carried) = probe else { return };
        sh.stats.timeouts += 1;
        self.probes = 2;
        for carried in carried {
            match carried {
                Carried::Fragment { message, index } => self.outbox.on_lost(message, index, None),
                Carried::Control(Control::NewToken) => self.new_token = true,
                Carried::Control(Control::Notice(id)) => self.notices.on_lost(id),
                Carried::Control(Control::Ping | Control::Path) | Carried::MtuProbe(_) => {}
            }
        }
        self.ping = !self.outbox.has_ready();
        if self.recovery.timeouts() == 2 {
            self.controller.on_timeout();
        }
        if self.recovery.timeouts() == BLACK_HOLE_TIMEOUTS {
            self.on_black_hole(sh, now);
        }
    }

    /// Notices that large packets do not arrive any more while small ones do.
    fn watch_large(&mut self, acked: bool, lost: u32, sh: &mut Shared<'_>, now: Instant) {
        if acked {
            self.large_lost = (0, now);
        } else if lost > 0 {
            if self.large_lost.0 == 0 {
                self.large_lost.1 = now;
            }
            self.large_lost.0 += lost;
        }
        let (count, since) = self.large_lost;
        if count >= BLACK_HOLE_LOSSES && now.since(since) > self.rtt.or_guess() * BLACK_HOLE_TRIPS {
            self.on_black_hole(sh, now);
        }
    }

    /// Goes back to packets that every path carries, without what was cut for larger ones.
    fn on_black_hole(&mut self, sh: &mut Shared<'_>, now: Instant) {
        self.large_lost = (0, now);
        if self.mtu.current() == MIN_MTU && !self.outbox.has_larger(self.piece_room()) {
            return;
        }
        self.mtu.reset(true, now);
        sh.stats.dropped_unfit += self.outbox.cut_again(self.piece_room());
    }

    /// When to call [`Self::on_timeout`] or ask for packets.
    pub(super) fn deadline(&self, idle_timeout: Duration) -> Instant {
        let mut at = (self.last_received + idle_timeout).min(self.token_at).min(self.refresh_at);
        let mut sooner = |other: Option<Instant>| at = other.map_or(at, |o| at.min(o));
        sooner(self.recovery.deadline(&self.rtt));
        sooner(self.acks.deadline());
        sooner(self.reassembly.deadline());
        sooner(self.path.as_ref().map(|p| p.at));
        sooner(self.confirming.as_ref().map(|c| match CONFIRMED_RESENDS.get(c.resends) {
            Some(d) => c.began + *d,
            None => c.began + CONFIRMED_TIMEOUT,
        }));
        if self.has_room() {
            sooner(self.mtu.deadline().filter(|_| self.recovery.any_acked()));
            if self.outbox.has_ready() {
                sooner(Some(self.pacer.wake_at().max(self.not_before)));
            }
        }
        at
    }
}

/// The message, unless its date is too far off.
fn timely(message: Message, stats: &mut Stats, cx: &Cx<'_>) -> Option<Message> {
    if message.expires + MAX_LATE < cx.now.wall || cx.now.wall + MAX_AHEAD < message.expires {
        stats.expired_received += 1;
        return None;
    }
    Some(message)
}
