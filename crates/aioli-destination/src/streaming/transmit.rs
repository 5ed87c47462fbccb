//! What a stream puts on the wire, and when.

use aioli_core::{Duration, Instant};
use aioli_wire::Writer;
use aioli_wire::streaming::{Header, MAX_NACKS, MIN_HEADER, flags};

use super::auth;
use super::send::Content;
use super::stream::{Fin, Io, OUR_RESEND_DELAY, Opening, Stream};
use super::{CloseReason, Output};

/// Our choke. Above 60000 as the specification wants; i2pd takes 61000 for
/// Java and narrows its window for good, 65535 for something else.
const CHOKE: u16 = 62_000;
/// NACKs beside data: more would not fit two tunnel messages.
const NACKS_WITH_DATA: usize = 6;
/// Packets that may follow a SYN before its answer.
const BEFORE_ANSWER: u32 = 6;
/// Acknowledgements closer than this serve nobody.
const ACK_SPACING: Duration = Duration::from_millis(2);
/// Acknowledgements, each a tunnel message, that one round trip should take at
/// speed. Enough to see a gap early and to keep the peer's window moving.
const ACKS_PER_ROUND_TRIP: u32 = 20;

/// How much a packet wants to be acknowledged early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    /// Once in a while.
    Sometimes,
    /// The window is full, or it is a repetition.
    Soon,
    /// Nothing follows that could bring an acknowledgement.
    Now,
}

impl Stream {
    /// Sends what window, pacing and peer allow.
    pub(super) fn pump(&mut self, io: &mut Io<'_>) {
        self.pace_wake = None;
        if self.ended.is_some() || !self.open(io) || self.choked.is_some() {
            return;
        }
        let rate = self.congestion.pacing_rate(self.rtt.smoothed());
        self.pacer.refill(rate, self.rtt.or_guess(), io.now);
        let window = self.window();
        loop {
            let (lost, fresh) = (self.send.has_lost(), self.has_new());
            if !lost && !fresh {
                let idle = self.send.unsent() == 0 && self.send.in_flight() < window;
                if idle {
                    self.send.mark_app_limited();
                }
                break;
            }
            if self.send.in_flight() >= window {
                break;
            }
            if !self.pacer.may_send() {
                self.pace_wake = Some(self.pacer.wake_at());
                break;
            }
            self.pacer.on_sent(1);
            if lost {
                let Some((sequence, content)) = self.send.next_lost(io.now) else { break };
                self.transmit(sequence, content, true, Ask::Soon, io);
            } else {
                let last = self.send.in_flight() + 1 >= window;
                self.send_new(if last { Ask::Soon } else { Ask::Sometimes }, io);
            }
        }
    }

    /// Packets that may be in flight.
    pub(super) fn window(&self) -> u32 {
        u32::try_from(self.congestion.window()).unwrap_or(u32::MAX)
    }

    /// Sends the first packet when it is time. False while it waits.
    fn open(&mut self, io: &mut Io<'_>) -> bool {
        let Opening::Waiting(at) = self.opening else { return true };
        let enough = self.send.unsent() >= self.mtu || self.fin != Fin::Open;
        let ready = self.send.unsent() > 0;
        if io.now < at && !enough && !ready {
            return false;
        }
        self.send_syn(io);
        self.opening = if self.incoming { Opening::Open } else { Opening::Sent };
        true
    }

    fn has_new(&self) -> bool {
        let some = self.send.unsent() > 0 || self.fin == Fin::Wanted;
        let known = self.remote_id != 0 || self.send.next_sequence() <= BEFORE_ANSWER;
        some && known && self.send.span() < self.span && self.send.next_sequence() < u32::MAX
    }

    fn send_syn(&mut self, io: &mut Io<'_>) {
        let identity = io.identity().clone();
        let (sequence, at, len) = self.send.next_new(self.mtu, io.now);
        let mut payload = Vec::with_capacity(len);
        self.send.copy_payload(at, len, &mut payload);
        let no_ack = if self.incoming { 0 } else { flags::NO_ACK };
        let header = Header {
            send_id: self.remote_id,
            receive_id: self.id.0,
            sequence,
            resend_delay: OUR_RESEND_DELAY,
            flags: flags::SYNCHRONIZE | no_ack,
            from: Some(identity.destination.bytes()),
            max_size: Some(self.options.mtu),
            ..Header::default()
        };
        let receiver = (!self.incoming).then_some(self.to);
        let bytes = auth::signed(&identity, &header, receiver.as_ref(), &payload);
        self.send.keep_signed(sequence, &bytes);
        io.stats.bytes_sent += len as u64;
        io.stats.packets_sent += 1;
        self.emit(bytes, false, io);
        self.timer_base = io.now;
        if self.incoming {
            self.ack.due = None;
            self.ack.pending = 0;
            self.ack.last = io.now;
        }
    }

    /// Sends the next new data, with CLOSE if it is the last.
    fn send_new(&mut self, ask: Ask, io: &mut Io<'_>) {
        let closes = self.fin == Fin::Wanted && self.send.unsent() <= self.mtu;
        let (sequence, at, len) = self.send.next_new(self.mtu, io.now);
        io.stats.bytes_sent += len as u64;
        io.stats.packets_sent += 1;
        if !closes {
            let ask = if self.send.unsent() == 0 { Ask::Now } else { ask };
            self.transmit(sequence, Content::Data { at, len }, false, ask, io);
            return;
        }
        self.fin = Fin::Sent;
        let mut payload = Vec::with_capacity(len);
        self.send.copy_payload(at, len, &mut payload);
        let header = Header { delay: None, flags: flags::CLOSE, ..self.header(sequence, io.now, 0) };
        let bytes = auth::signed(io.identity(), &header, None, &payload);
        self.send.keep_signed(sequence, &bytes);
        self.timer_base = io.now;
        self.emit(bytes, false, io);
    }

    fn transmit(&mut self, sequence: u32, content: Content, again: bool, ask: Ask, io: &mut Io<'_>) {
        let bytes = match content {
            Content::Signed(bytes) => bytes,
            Content::Data { at, len } => {
                let mut nacks = std::mem::take(&mut self.scratch);
                let mut header = self.header(sequence, io.now, NACKS_WITH_DATA);
                header.ack_through = self.receive.acknowledge(&mut nacks, NACKS_WITH_DATA);
                let since = io.now.since(self.asked_at);
                let due = match ask {
                    Ask::Sometimes => since * 8 >= self.rtt.or_guess(),
                    Ask::Soon => since * ACKS_PER_ROUND_TRIP >= self.rtt.or_guess(),
                    Ask::Now => true,
                };
                if header.delay.is_none() && due && since >= ACK_SPACING {
                    header.delay = Some(0);
                    self.asked_at = io.now;
                }
                let mut w = Writer::with_capacity(MIN_HEADER + 2 + 4 * nacks.len() + len);
                header.write(&mut w, &nacks);
                if nacks.len() < NACKS_WITH_DATA {
                    self.acknowledged(io.now);
                }
                self.scratch = nacks;
                let mut bytes = w.into_vec();
                self.send.copy_payload(at, len, &mut bytes);
                bytes
            }
        };
        self.timer_base = io.now;
        io.stats.retransmitted += u64::from(again);
        self.emit(bytes, again, io);
    }

    /// The header of a packet that is neither first nor signed. For signed
    /// packets `nacks` is 0: they acknowledge only what has no gap before it.
    fn header(&mut self, sequence: u32, now: Instant, nacks: usize) -> Header<'static> {
        let mut none = Vec::new();
        let started = self.receive.synchronized();
        let ack_through = if nacks == 0 { self.receive.acknowledge(&mut none, 0) } else { 0 };
        Header {
            send_id: self.remote_id,
            receive_id: self.id.0,
            sequence,
            ack_through,
            resend_delay: u8::try_from(self.rtt.timeout(self.kind.ack_delay(), 0).as_secs())
                .unwrap_or(u8::MAX),
            flags: if started { 0 } else { flags::NO_ACK },
            delay: self.delay_option(now),
            ..Header::default()
        }
    }

    /// Choke or unchoke, if one is to be told.
    fn delay_option(&mut self, _now: Instant) -> Option<u16> {
        if self.choking {
            return Some(CHOKE);
        }
        self.unchokes = self.unchokes.checked_sub(1)?;
        Some(0)
    }

    fn emit(&mut self, bytes: Vec<u8>, retransmit: bool, io: &mut Io<'_>) {
        self.last_sent = io.now;
        io.out.push_back(Output::Packet { to: self.to, id: self.id, bytes, ports: self.ports, retransmit });
    }

    /// Repeats one packet to learn what has arrived; new data if there is nothing to repeat.
    pub(super) fn send_probe(&mut self, lowest: bool, io: &mut Io<'_>) {
        if !lowest && self.has_new() {
            self.send_new(Ask::Now, io);
        } else if let Some((sequence, content)) = self.send.probe(lowest, io.now) {
            self.transmit(sequence, content, true, Ask::Now, io);
        } else if self.has_new() {
            self.send_new(Ask::Now, io);
        }
    }

    /// Sends an acknowledgement without data.
    pub(super) fn send_ack(&mut self, io: &mut Io<'_>) {
        self.ack.due = None;
        if self.remote_id == 0 || !self.receive.synchronized() || matches!(self.opening, Opening::Waiting(_))
        {
            return;
        }
        let mut nacks = std::mem::take(&mut self.scratch);
        let mut header = self.header(0, io.now, MAX_NACKS);
        header.ack_through = self.receive.acknowledge(&mut nacks, MAX_NACKS);
        let mut w = Writer::with_capacity(MIN_HEADER + 2 + 4 * nacks.len());
        header.resend_delay = 0;
        header.write(&mut w, &nacks);
        self.scratch = nacks;
        io.stats.acks_sent += 1;
        io.stats.chokes_sent += u64::from(self.choking);
        self.acknowledged(io.now);
        self.emit(w.into_vec(), false, io);
    }

    /// An acknowledgement that asks for one.
    pub(super) fn send_keepalive(&mut self, io: &mut Io<'_>) {
        self.unchokes = self.unchokes.max(u8::from(!self.choking));
        self.send_ack(io);
        self.last_sent = io.now;
    }

    /// Tells the peer that the stream is gone.
    pub(super) fn send_reset(&mut self, io: &mut Io<'_>) {
        self.receive.discard();
        if self.ended.is_some() {
            return self.tell_end(io);
        }
        let sequence = self.send.next_sequence();
        let header = Header { delay: None, flags: flags::RESET, ..self.header(sequence, io.now, 0) };
        let bytes = auth::signed(io.identity(), &header, None, &[]);
        io.stats.resets_sent += 1;
        self.emit(bytes, false, io);
        self.end(CloseReason::Reset, io);
    }

    /// What was received is acknowledged now.
    fn acknowledged(&mut self, now: Instant) {
        let elapsed = now.since(self.ack.last).as_secs_f64();
        if elapsed > 0.0 {
            let rate = f64::from(self.ack.pending) / elapsed;
            self.ack.rate = self.ack.rate * 0.75 + rate * 0.25;
        }
        self.ack.due = None;
        self.ack.pending = 0;
        self.ack.last = now;
    }

    /// The peer should hear soon, but not too often per round trip.
    pub(super) fn ack_soon(&mut self, now: Instant) {
        let most = Duration::from_millis(25);
        let spacing = (self.rtt.or_guess() / ACKS_PER_ROUND_TRIP).clamp(ACK_SPACING, most);
        let at = (self.ack.last + spacing).max(now);
        self.ack.due = Some(self.ack.due.map_or(at, |due| due.min(at)));
    }

    /// The peer should hear after some more packets or a while.
    pub(super) fn ack_later(&mut self, now: Instant) {
        let rtt = self.rtt.or_guess();
        let every = self.ack.rate * (rtt / ACKS_PER_ROUND_TRIP).max(ACK_SPACING).as_secs_f64();
        let every = every.clamp(2.0, 24.0);
        if f64::from(self.ack.pending) >= every {
            self.ack_soon(now);
        } else if self.ack.due.is_none() {
            let most = self.options.ack_delay.max(Duration::from_millis(2));
            self.ack.due = Some(now + (rtt / 10).clamp(Duration::from_millis(2), most));
        }
    }
}
