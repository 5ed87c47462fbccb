//! One stream: connection state, choking, timers. What it sends is in
//! `transmit.rs`.
//!
//! ```text
//!  we connect:   Waiting ─SYN─► Opening ─SYN reply─► Open ──CLOSE both ways──► ended
//!  peer connects:              Waiting ─SYN reply─► Open
//! ```
//! The halves close on their own: after our CLOSE we still read, after the
//! peer's we still write.

use std::cell::Cell;
use std::collections::VecDeque;

use aioli_core::flow::{AckEvent, Controller, Pacer, Path, Rtt, Timeouts};
use aioli_core::{Date, Duration, Instant, Rng};
use aioli_wire::client_payload::Ports;
use aioli_wire::streaming::{MAX_DELAY, Nacks, Packet, flags};
use aioli_wire::{Destination, DestinationHash};

use super::auth::{self, PeerMisbehaved, Transient};
use super::config::{Config, Identity, InactivityAction, MIN_MTU, OLD_MTU, Options};
use super::receive::{Arrival, ReceiveHalf};
use super::send::SendHalf;
use super::{CloseReason, Output, Stats, StreamId};

/// The resend delay, in seconds, that our first packet names. It is the truth,
/// rounded, and nobody else says 3: i2pd says 9, Java 1.
pub(super) const OUR_RESEND_DELAY: u8 = 3;
/// Repetitions of the message that the peer may send again.
const UNCHOKES: u8 = 8;
/// How long a full buffer may wait for the application. A filled gap makes
/// megabytes readable at once, which are read at once.
const GRACE: Duration = Duration::from_millis(20);
/// How long the answer to a SYN waits for what the application says first.
const REPLY_DELAY: Duration = Duration::from_millis(2);
/// A peer that was silent this long while it held us up is gone.
const DEAD: Duration = Duration::from_secs(300);
/// No stream is given up before nothing was acknowledged for this long.
const GIVE_UP: Duration = Duration::from_secs(100);
/// A window of packets: each costs the same two tunnel messages, large or small.
const PATH: Path = Path { packet: 1, slack: Duration::from_millis(20), queue: Duration::from_millis(8) };
/// How long an acknowledgement is waited for.
pub(super) const TIMEOUTS: Timeouts = Timeouts {
    initial: Duration::from_millis(2_500),
    least: Duration::from_millis(150),
    most: Duration::from_secs(20),
};
/// Timeouts in a row after which the path is suspected.
const SUSPECT_AFTER: u32 = 2;
/// Duplicates in a row after which our acknowledgements seem to be lost.
const SUSPECT_DUPLICATES: u32 = 4;

/// What the peer runs, as its first packet tells: how much its receiver takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum PeerKind {
    /// Java, which keeps 130 packets, or anything else.
    #[default]
    Unknown,
    /// i2pd, which keeps 1,536 numbers beyond the next, with fewer than 256 gaps.
    I2pd,
    /// A receiver like ours.
    Ours,
}

impl PeerKind {
    const fn of(resend_delay: u8) -> Self {
        match resend_delay {
            9 => Self::I2pd,
            OUR_RESEND_DELAY => Self::Ours,
            _ => Self::Unknown,
        }
    }

    /// Packets in flight, and numbers between the lowest unacknowledged and the next.
    pub(super) const fn room(self) -> (u32, u32) {
        match self {
            Self::Unknown => (128, 128),
            Self::I2pd => (768, 1400),
            Self::Ours => (4096, 8192),
        }
    }

    /// How long it may hold back an acknowledgement that was asked for.
    pub(super) const fn ack_delay(self) -> Duration {
        match self {
            Self::Unknown => Duration::from_millis(150),
            Self::I2pd => Duration::from_millis(100),
            Self::Ours => Duration::from_millis(30),
        }
    }
}

/// The state of opening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// Our SYN or SYN reply waits for data until then.
    Waiting(Instant),
    /// Our SYN is out.
    Sent,
    /// Both SYNs are through.
    Open,
}

/// The state of our CLOSE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fin {
    Open,
    /// To be sent behind the data.
    Wanted,
    Sent,
}

/// The peer told us to stop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choked {
    pub(super) probe_at: Instant,
    pub(super) probes: u32,
}

/// When to acknowledge.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct AckState {
    pub(super) due: Option<Instant>,
    pub(super) pending: u32,
    pub(super) last: Instant,
    /// Packets per second, smoothed.
    pub(super) rate: f64,
}

/// What a stream may use besides itself during a call.
pub(super) struct Io<'a> {
    pub(super) now: Instant,
    pub(super) wall: Date,
    pub(super) rng: &'a mut Rng,
    pub(super) out: &'a mut VecDeque<Output>,
    pub(super) stats: &'a mut Stats,
    pub(super) config: &'a Config,
    /// No stream may take more into its buffer.
    pub(super) memory_full: bool,
}

impl Io<'_> {
    pub(super) fn identity(&self) -> &Identity {
        &self.config.identity
    }
}

pub(super) struct Stream {
    pub(super) id: StreamId,
    /// The peer's name for the stream; 0 while unknown.
    pub(super) remote_id: u32,
    pub(super) to: DestinationHash,
    pub(super) remote: Destination,
    transient: Option<Transient>,
    /// Source is ours.
    pub(super) ports: Ports,
    pub(super) incoming: bool,
    pub(super) options: Options,
    pub(super) began: Instant,
    pub(super) opening: Opening,
    pub(super) fin: Fin,
    pub(super) send: SendHalf,
    pub(super) receive: ReceiveHalf,
    pub(super) rtt: Rtt,
    pub(super) congestion: Controller,
    pub(super) mtu: usize,
    pub(super) kind: PeerKind,
    pub(super) span: u32,
    pub(super) choked: Option<Choked>,
    pub(super) choking: bool,
    /// The buffer is full; the application gets a moment to read.
    choke_due: Option<Instant>,
    pub(super) unchokes: u8,
    pub(super) ack: AckState,
    /// What the retransmission timeout counts from.
    pub(super) timer_base: Instant,
    pub(super) timeouts: u32,
    /// How often the timeout has doubled: less than `timeouts` when the path has changed.
    pub(super) doublings: u32,
    /// When the first of them was.
    stalled_since: Instant,
    pub(super) pacer: Pacer,
    pub(super) pace_wake: Option<Instant>,
    pub(super) asked_at: Instant,
    pub(super) last_sent: Instant,
    pub(super) last_heard: Instant,
    last_suspected: Instant,
    duplicates: u32,
    close_told: bool,
    /// The application has all it wants: no events any more.
    pub(super) released: Option<Instant>,
    /// The application has seen the stream.
    pub(super) accepted: bool,
    pub(super) wants_room: Cell<bool>,
    readable_told: bool,
    pub(super) ended: Option<CloseReason>,
    /// It has ended, but what was received is still to be read: until then at most.
    pub(super) leftover: Option<Instant>,
    pub(super) scratch: Vec<u32>,
}

impl Stream {
    pub(super) fn new(
        id: StreamId,
        remote: Destination,
        ports: Ports,
        incoming: bool,
        options: Options,
        now: Instant,
    ) -> Self {
        let cap = PeerKind::Unknown.room().0.min(options.max_window);
        let delay = if incoming { REPLY_DELAY } else { options.connect_delay };
        Self {
            id,
            remote_id: 0,
            to: remote.hash(),
            remote,
            transient: None,
            ports,
            incoming,
            began: now,
            opening: Opening::Waiting(now + delay),
            fin: Fin::Open,
            send: SendHalf::new(),
            receive: ReceiveHalf::default(),
            rtt: Rtt::new(TIMEOUTS),
            congestion: Controller::new(PATH, options.initial_window.into(), cap.into()),
            mtu: usize::from(options.mtu.min(if incoming { options.mtu } else { OLD_MTU })),
            kind: PeerKind::Unknown,
            span: PeerKind::Unknown.room().1,
            choked: None,
            choking: false,
            choke_due: None,
            unchokes: 0,
            ack: AckState::default(),
            timer_base: now,
            timeouts: 0,
            doublings: 0,
            stalled_since: Instant::ZERO,
            pacer: Pacer::new(PATH.packet, now),
            pace_wake: None,
            asked_at: Instant::ZERO,
            last_sent: now,
            last_heard: now,
            last_suspected: Instant::ZERO,
            duplicates: 0,
            close_told: false,
            released: None,
            accepted: !incoming,
            wants_room: Cell::new(false),
            readable_told: false,
            ended: None,
            leftover: None,
            scratch: Vec::new(),
            options,
        }
    }

    /// A packet of this stream arrived. `vouched`: the session below knows who sent it.
    pub(super) fn handle(&mut self, p: &Packet<'_>, raw: &[u8], vouched: bool, io: &mut Io<'_>) {
        if let Err(wrong) = self.authenticate(p, raw, vouched, io) {
            io.stats.count(wrong);
            return;
        }
        if self.ended.is_some() {
            return;
        }
        self.last_heard = io.now;
        if p.has(flags::RESET) {
            self.end(CloseReason::Reset, io);
            return;
        }
        if p.has(flags::SYNCHRONIZE) {
            self.on_syn(p, io);
        }
        if !p.has(flags::NO_ACK) && self.remote_id != 0 {
            self.on_ack(p, io);
        }
        self.on_delay(p, io);
        if p.sequence > 0 || p.has(flags::SYNCHRONIZE) {
            self.on_data(p, io);
        } else if p.delay == Some(0) {
            self.ack_soon(io.now);
        }
        self.pump(io);
        self.settle(io);
    }

    fn authenticate(
        &mut self,
        p: &Packet<'_>,
        raw: &[u8],
        vouched: bool,
        io: &Io<'_>,
    ) -> Result<(), PeerMisbehaved> {
        if p.from.is_some_and(|from| from != self.remote.bytes()) {
            return Err(PeerMisbehaved::WrongSender);
        }
        let signed = p.has(flags::SIGNATURE_INCLUDED);
        let must = p.flags & (flags::SYNCHRONIZE | flags::CLOSE | flags::RESET) != 0;
        if must && (signed || !vouched) {
            auth::verify(p, raw, &self.remote, &mut self.transient, io.wall)?;
        }
        let ours = self.remote_id == 0 || p.receive_id == self.remote_id;
        // A RESET may come from a peer that has forgotten its own id.
        if ours || p.has(flags::RESET) { Ok(()) } else { Err(PeerMisbehaved::WrongId) }
    }

    fn on_syn(&mut self, p: &Packet<'_>, io: &mut Io<'_>) {
        if self.receive.synchronized() {
            // The peer did not get our answer.
            if self.incoming {
                self.send.lose(0);
            }
            return;
        }
        self.remote_id = p.receive_id;
        let theirs = p.max_size.unwrap_or(OLD_MTU).max(MIN_MTU);
        self.mtu = usize::from(theirs.min(self.options.mtu));
        self.set_kind(PeerKind::of(p.resend_delay));
        if !self.incoming {
            self.opening = Opening::Open;
            io.out.push_back(Output::Connected(self.id));
        }
    }

    pub(super) fn set_kind(&mut self, kind: PeerKind) {
        self.kind = kind;
        let (window, span) = kind.room();
        self.congestion.set_cap(window.min(self.options.max_window).into());
        self.span = span.min(self.options.max_window.saturating_mul(2));
    }

    fn on_ack(&mut self, p: &Packet<'_>, io: &mut Io<'_>) {
        // In a SYN the field holds a hash.
        let nacks = if p.has(flags::SYNCHRONIZE) { Nacks::default() } else { p.nacks };
        let Some(a) = self.send.on_ack(p.ack_through, nacks.iter(), &self.rtt, io.now) else {
            io.stats.count(PeerMisbehaved::AckOfUnsent);
            return;
        };
        if let Some(least) = a.rtt {
            self.rtt.sample(a.mean_rtt().unwrap_or(least), least, io.now);
        }
        io.stats.lost += u64::from(a.lost);
        io.stats.spurious += u64::from(a.spurious);
        if a.acked > 0 {
            if self.timeouts > SUSPECT_AFTER && a.spurious > 0 {
                self.congestion.undo_timeout();
                self.send.unlose();
            }
            self.congestion.timeout_over();
            (self.timeouts, self.doublings) = (0, 0);
            self.timer_base = io.now;
        }
        let unlisted =
            if self.kind == PeerKind::I2pd { self.send.detect_unlisted(&self.rtt, io.now) } else { 0 };
        io.stats.lost += u64::from(unlisted);
        let shown = AckEvent {
            acked: a.acked.into(),
            acked_packets: a.acked,
            rtt: a.rtt,
            rate: a.rate,
            ..self.loss(a.lost + unlisted)
        };
        self.congestion.on_ack(&shown, &mut self.rtt, io.now, io.rng);
        if a.advanced && self.choked.is_some() && p.delay.is_none() {
            self.unchoked(io.now);
        }
    }

    /// So many packets were lost, and nothing was acknowledged.
    fn loss(&self, lost: u32) -> AckEvent {
        AckEvent {
            lost: lost.into(),
            lost_packets: lost,
            in_flight: self.send.in_flight().into(),
            delivered: self.send.delivered(),
            ..AckEvent::default()
        }
    }

    /// DELAY: a choke, an unchoke, or a wish for an early acknowledgement.
    fn on_delay(&mut self, p: &Packet<'_>, io: &mut Io<'_>) {
        match p.delay {
            // The specification begins at 60001; i2pd sends 60000.
            Some(delay) if delay >= MAX_DELAY => {
                io.stats.chokes_received += 1;
                if self.choked.is_none() {
                    let probe_at = io.now + self.rtt.timeout(self.kind.ack_delay(), 0);
                    self.choked = Some(Choked { probe_at, probes: 0 });
                    // A receiver like ours chokes before it has to drop.
                    if self.kind != PeerKind::Ours {
                        self.congestion.on_choke();
                    }
                }
            }
            Some(_) if self.choked.is_some() => self.unchoked(io.now),
            Some(_) | None => {}
        }
    }

    fn unchoked(&mut self, now: Instant) {
        self.choked = None;
        (self.timeouts, self.doublings) = (0, 0);
        self.timer_base = now;
        if self.kind != PeerKind::Ours {
            // What was under way when the buffer was full is most likely gone.
            self.send.lose_sent_before(now - self.rtt.or_guess() * 3 / 2);
        }
    }

    fn receive_limit(&self, io: &Io<'_>) -> usize {
        // What is in flight when we choke must still fit.
        let room = self.options.receive_buffer;
        if io.memory_full { room / 4 } else { room.saturating_mul(2).max(16 << 20) }
    }

    fn on_data(&mut self, p: &Packet<'_>, io: &mut Io<'_>) {
        let limit = self.receive_limit(io);
        let arrival = self.receive.accept(p.sequence, p.payload, p.has(flags::CLOSE), limit);
        let fresh = !matches!(arrival, Arrival::Duplicate | Arrival::Refused);
        self.ack.pending += 1;
        if fresh {
            self.duplicates = 0;
            self.unchokes = 0;
            io.stats.packets_received += 1;
            io.stats.bytes_received += p.payload.len() as u64;
            if self.released.is_some() && !p.payload.is_empty() && self.fin_acked() {
                // Nobody wants it, and all that we had to say has arrived.
                self.send_reset(io);
                return;
            }
        }
        match arrival {
            Arrival::Duplicate => {
                io.stats.duplicates += 1;
                self.duplicates += 1;
                self.ack_soon(io.now);
                if self.duplicates >= SUSPECT_DUPLICATES {
                    self.suspect_path(io);
                }
            }
            Arrival::Refused => {
                io.stats.refused += 1;
                if self.receive.buffered() + p.payload.len() > limit {
                    self.choke(io.now);
                }
                self.ack_soon(io.now);
            }
            Arrival::NewGap | Arrival::Filled => self.ack_soon(io.now),
            Arrival::InOrder | Arrival::OutOfOrder if p.delay == Some(0) || p.has(flags::CLOSE) => {
                self.ack_soon(io.now);
            }
            Arrival::InOrder | Arrival::OutOfOrder => self.ack_later(io.now),
        }
        if self.too_full(io.memory_full) && !self.choking && self.choke_due.is_none() {
            self.choke_due = Some(io.now + GRACE);
        }
        self.tell_readable(io);
    }

    fn tell_readable(&mut self, io: &mut Io<'_>) {
        if self.released.is_some() {
            return;
        }
        if self.receive.readable() > 0 && !self.readable_told {
            self.readable_told = true;
            io.out.push_back(Output::Readable(self.id));
        }
        if self.receive.closed() && !self.close_told {
            self.close_told = true;
            io.out.push_back(Output::PeerClosed(self.id));
        }
    }

    fn too_full(&self, memory_full: bool) -> bool {
        let readable = self.receive.readable();
        readable >= self.options.receive_buffer || (memory_full && readable > 0)
    }

    fn choke(&mut self, now: Instant) {
        if !self.choking {
            self.choking = true;
            self.ack.due = Some(now);
        }
    }

    /// The application reads.
    pub(super) fn read(&mut self, io: &mut Io<'_>, take: impl FnOnce(&mut ReceiveHalf) -> usize) -> usize {
        self.accepted = true;
        let n = take(&mut self.receive);
        if self.receive.readable() == 0 {
            self.readable_told = false;
            self.tell_end(io);
        }
        if self.choking && self.ended.is_none() && self.receive.readable() <= self.options.receive_buffer / 2
        {
            self.choking = false;
            self.unchokes = UNCHOKES;
            self.send_ack(io);
        }
        self.settle(io);
        n
    }

    /// The application writes.
    pub(super) fn write(&mut self, data: &[u8], io: &mut Io<'_>) -> usize {
        self.accepted = true;
        if self.leftover.is_some() {
            // It reaches nobody any more. Whoever reads learns why.
            return data.len();
        }
        if self.fin != Fin::Open || self.ended.is_some() {
            return 0;
        }
        let n = self.send.push(data, self.send_room(io.config));
        // A client that offers only what fits is told as well when it filled the room.
        self.wants_room.set(n < data.len() || self.send_room(io.config) == 0);
        self.pump(io);
        n
    }

    /// What the application is told about room. Where there is none, it will be told when there is:
    /// the window may have shrunk since it last wrote.
    pub(super) fn offer_room(&self, config: &Config) -> usize {
        let room = self.send_room(config);
        if room == 0 {
            self.wants_room.set(true);
        }
        room
    }

    /// Bytes the application may add: one window may wait behind the one in
    /// flight, so that the network never waits for the application.
    pub(super) fn send_room(&self, config: &Config) -> usize {
        let hard = config.limits.send_buffer.saturating_sub(self.send.buffered());
        self.ahead().saturating_sub(self.send.unsent()).min(hard)
    }

    /// Bytes that may wait for being sent.
    fn ahead(&self) -> usize {
        (self.window() as usize * self.mtu).max(128 << 10)
    }

    /// No more data from the application.
    pub(super) fn close_write(&mut self, io: &mut Io<'_>) {
        self.accepted = true;
        if self.fin == Fin::Open {
            self.fin = Fin::Wanted;
            self.pump(io);
            self.settle(io);
        }
    }

    /// The application is done with the stream.
    pub(super) fn release(&mut self, io: &mut Io<'_>) {
        self.receive.discard();
        self.choking = false;
        self.tell_end(io);
        self.released = Some(io.now);
        self.close_write(io);
        self.settle(io);
    }

    /// Ends the stream if nothing is left to do; tells that there is room.
    pub(super) fn settle(&mut self, io: &mut Io<'_>) {
        if self.ended.is_some() {
            return;
        }
        if self.wants_room.get() && self.send_room(io.config) * 4 >= self.ahead() {
            self.wants_room.set(false);
            io.out.push_back(Output::Writable(self.id));
        }
        if self.fin_acked() && self.receive.at_end() {
            if self.ack.due.is_some() {
                self.send_ack(io);
            }
            self.end(CloseReason::Finished, io);
        }
    }

    fn fin_acked(&self) -> bool {
        self.fin == Fin::Sent && self.send.all_acked()
    }

    pub(super) fn suspect_path(&mut self, io: &mut Io<'_>) {
        let pause = self.rtt.timeout(self.kind.ack_delay(), 0);
        if io.now.since(self.last_suspected) < pause && self.last_suspected > Instant::ZERO {
            return;
        }
        self.last_suspected = io.now;
        self.duplicates = 0;
        io.stats.paths_suspected += 1;
        io.out.push_back(Output::PathSuspect { id: self.id, to: self.to });
    }

    /// When [`Stream::on_timer`] has something to do, and what.
    pub(super) fn deadline(&self) -> (Instant, &'static str) {
        if let Some(at) = self.leftover {
            return (at, "data that nobody reads");
        }
        let mut best = (Instant::FAR_FUTURE, "nothing");
        let mut offer = |at: Instant, why| {
            if at < best.0 {
                best = (at, why);
            }
        };
        if let Opening::Waiting(at) = self.opening {
            offer(at, "first packet");
        }
        if self.opening != Opening::Open {
            offer(self.began + self.options.connect_timeout, "connect timeout");
        }
        if let Some(at) = self.ack.due {
            offer(at, "acknowledgement");
        }
        if let Some(at) = self.pace_wake {
            offer(at, "pacing");
        }
        if let Some(at) = self.choke_due {
            offer(at, "full receive buffer");
        }
        match self.choked {
            Some(choked) => offer(choked.probe_at, "probe of a choked stream"),
            None => {
                if let Some(at) = self.send.rack_deadline() {
                    offer(at, "reordering window");
                }
                if !self.send.all_acked() {
                    offer(self.timeout_at(), "retransmission timeout");
                }
            }
        }
        if self.unchokes > 0 {
            offer(self.last_sent + self.rtt.or_guess(), "unchoke");
        }
        if let Some(at) = self.released {
            offer(at + self.options.linger, "linger");
        }
        if self.options.inactivity_action != InactivityAction::Nothing {
            offer(self.idle_at(), "inactivity");
        }
        best
    }

    fn timeout_at(&self) -> Instant {
        self.timer_base + self.rtt.timeout(self.kind.ack_delay(), self.doublings)
    }

    fn idle_at(&self) -> Instant {
        self.last_heard.max(self.last_sent) + self.options.inactivity_timeout
    }

    pub(super) fn on_timer(&mut self, io: &mut Io<'_>) {
        let now = io.now;
        if self.ended.is_some() {
            return self.tell_end(io);
        }
        if self.choke_due.is_some_and(|at| at <= now) {
            self.choke_due = None;
            if self.too_full(io.memory_full) {
                self.choke(now);
            }
        }
        if self.ack.due.is_some_and(|at| at <= now) {
            self.send_ack(io);
        }
        if self.opening != Opening::Open && now >= self.began + self.options.connect_timeout {
            self.end(CloseReason::TimedOut, io);
            return;
        }
        if let Some(choked) = self.choked {
            self.on_choked_timer(choked, io);
        } else {
            self.on_loss_timers(io);
        }
        if self.unchokes > 0 && now >= self.last_sent + self.rtt.or_guess() {
            self.send_ack(io);
        }
        if self.released.is_some_and(|at| now >= at + self.options.linger) && self.send.all_acked() {
            self.end(CloseReason::Finished, io);
            return;
        }
        if now >= self.idle_at() {
            match self.options.inactivity_action {
                InactivityAction::Disconnect => self.end(CloseReason::TimedOut, io),
                InactivityAction::Send if self.remote_id != 0 => self.send_keepalive(io),
                InactivityAction::Send | InactivityAction::Nothing => self.last_sent = now,
            }
        }
        if self.ended.is_none() {
            self.pump(io);
            self.settle(io);
        }
    }

    fn on_choked_timer(&mut self, choked: Choked, io: &mut Io<'_>) {
        if io.now < choked.probe_at {
            return;
        }
        if io.now.since(self.last_heard) > DEAD {
            self.end(CloseReason::TimedOut, io);
            return;
        }
        self.send_probe(true, io);
        let probes = choked.probes + 1;
        let wait = self.rtt.timeout(self.kind.ack_delay(), probes.min(4));
        self.choked = Some(Choked { probe_at: io.now + wait, probes });
    }

    fn on_loss_timers(&mut self, io: &mut Io<'_>) {
        if self.send.rack_deadline().is_some_and(|at| at <= io.now) {
            let lost = self.send.detect_losses(&self.rtt, io.now);
            io.stats.lost += u64::from(lost);
            self.congestion.on_ack(&self.loss(lost), &mut self.rtt, io.now, io.rng);
        }
        if !self.send.all_acked() && io.now >= self.timeout_at() {
            self.on_timeout(io);
        }
    }

    /// Nothing was acknowledged in time: probe twice, then take all for lost. A
    /// probe is what shows most, the highest packet, and what is needed first,
    /// the lowest: a receiver that has that one sees that we do not hear it.
    fn on_timeout(&mut self, io: &mut Io<'_>) {
        if self.timeouts == 0 {
            self.stalled_since = io.now;
        }
        self.timeouts += 1;
        self.doublings += 1;
        self.timer_base = io.now;
        io.stats.timeouts += 1;
        let done = self.receive.closed() && self.fin != Fin::Open;
        let allowed = if done { self.options.max_resends.min(4) } else { self.options.max_resends };
        // Where paths are tried one after the other, timeouts are short: they are no reason to give up early.
        let long = io.now.since(self.stalled_since) >= GIVE_UP || self.opening != Opening::Open;
        if self.timeouts > allowed && (long || done) {
            // A peer that has closed forgets the stream with our last packets.
            self.end(if done { CloseReason::Finished } else { CloseReason::TimedOut }, io);
            return;
        }
        let opening = self.opening != Opening::Open;
        // Before the repetition, so that it takes the other path.
        if self.timeouts >= SUSPECT_AFTER || opening {
            self.suspect_path(io);
        }
        if self.timeouts <= 2 || opening {
            if !opening && self.send.in_flight() > 1 {
                self.send_probe(false, io);
            }
            self.send_probe(true, io);
            return;
        }
        self.congestion.on_timeout();
        self.send.lose_all();
    }
}
