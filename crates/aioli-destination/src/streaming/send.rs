//! The sending half: bytes not yet acknowledged, which packets carried them,
//! and which of those are lost.
//!
//! ```text
//!  buffer   │ acknowledged │ in packets      │ not sent yet │
//!           freed          └ sent[base..next]┘
//!  packets  base ───── frontier ───── next
//!           holes: not acknowledged, below the highest acknowledged number
//! ```
//!
//! Loss is told by time, as in RACK (RFC 8985): a hole is lost when a packet
//! sent later has arrived and the reordering window has passed since. A packet
//! above the frontier is never taken for lost by an acknowledgement, because a
//! receiver can list only 255 gaps and then holds its frontier back.
//!
//! i2pd before 2.51 holds it back by one too few: where 256 gaps or more are
//! missing it acknowledges the first packet of the gap it cannot list. So the
//! highest number of an acknowledgement is in doubt while more is under way: the
//! packet counts as delivered, but is kept until a later acknowledgement reaches
//! beyond it without listing it.

use std::collections::{BTreeSet, VecDeque};

use aioli_core::flow::{Delivery, Departure, RateSample, Rtt};
use aioli_core::{Duration, Instant};

/// Acknowledgements without news after which gaps are taken to be too many to list.
const REPEATED_ACKS: u32 = 3;
/// Packets then repeated at a time.
const UNLISTED: u32 = 32;

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    InFlight,
    /// Above the frontier, sent before something that has arrived: it has
    /// arrived or is lost, and no longer on its way.
    Settled,
    Lost,
    Acked,
}

/// One numbered packet that was sent.
#[derive(Clone, Debug)]
struct Sent {
    /// Where its payload starts in the stream.
    offset: u64,
    len: usize,
    fate: Fate,
    /// When it left last.
    left: Departure,
    sends: u32,
    /// The bytes, for packets that are signed: they are repeated as they are.
    signed: Option<Box<[u8]>>,
}

/// What to put into a packet that goes out again or for the first time.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// Bytes kept from the first time.
    Signed(Vec<u8>),
    /// Payload to put behind a fresh header.
    Data { at: u64, len: usize },
}

/// What an acknowledgement changed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Acked {
    pub(super) acked: u32,
    pub(super) lost: u32,
    /// The lowest unacknowledged number moved.
    pub(super) advanced: bool,
    /// Round trip of the packet sent last: the least queueing and ack delay.
    pub(super) rtt: Option<Duration>,
    /// Sum and number of the round trips of all packets that were sent once.
    round_trips: (Duration, u32),
    pub(super) rate: Option<RateSample>,
    /// Originals arrived after they were given up.
    pub(super) spurious: u32,
}

impl Acked {
    /// The mean round trip: what timeouts and windows must allow for on a path
    /// that reorders, where the packet sent last is the luckiest.
    pub(super) fn mean_rtt(&self) -> Option<Duration> {
        self.round_trips.0.checked_div(self.round_trips.1)
    }
}

/// The sending half of a stream.
#[derive(Clone, Debug, Default)]
pub(super) struct SendHalf {
    buffer: VecDeque<u8>,
    /// Stream offset of the buffer's front.
    buffer_at: u64,
    /// Stream offset of the first byte not sent.
    unsent_at: u64,
    sent: VecDeque<Sent>,
    base: u32,
    frontier: u32,
    holes: Vec<u32>,
    /// Acknowledged by nothing but being the highest of an acknowledgement.
    doubt: Option<u32>,
    /// Acknowledgements in a row that said nothing new.
    repeated_acks: u32,
    lost: BTreeSet<u32>,
    in_flight: u32,
    delivery: Delivery,
    /// The most recently sent packet that has arrived, and its round trip.
    newest: Option<(Instant, Duration)>,
    /// Reordering window in quarters of the smoothed round trip; 0 until
    /// packets were seen out of order.
    reorder_quarters: u32,
    rack_at: Option<Instant>,
    scratch: Vec<u32>,
    /// Payload bytes given to packets, repeats included.
    pub(super) repeats: u64,
}

impl SendHalf {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Takes the first `most` bytes of `data`.
    pub(super) fn push(&mut self, data: &[u8], most: usize) -> usize {
        let n = data.len().min(most);
        self.buffer.extend(data.get(..n).unwrap_or(&[]));
        n
    }

    /// Bytes held.
    pub(super) fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// Bytes not sent yet.
    pub(super) fn unsent(&self) -> usize {
        let end = self.buffer_at + self.buffer.len() as u64;
        usize::try_from(end - self.unsent_at).unwrap_or(usize::MAX)
    }

    /// Packets in flight.
    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Whether packets wait for being repeated.
    pub(super) fn has_lost(&self) -> bool {
        !self.lost.is_empty()
    }

    /// Whether every packet is acknowledged.
    pub(super) fn all_acked(&self) -> bool {
        self.sent.is_empty()
    }

    /// The number of the next new packet.
    pub(super) fn next_sequence(&self) -> u32 {
        self.base + self.sent.len() as u32
    }

    /// The lowest number not acknowledged.
    #[cfg(test)]
    pub(super) fn base(&self) -> u32 {
        self.base
    }

    /// Numbers from the lowest unacknowledged to the next.
    pub(super) fn span(&self) -> u32 {
        self.sent.len() as u32
    }

    /// Packets delivered so far.
    pub(super) fn delivered(&self) -> u64 {
        self.delivery.total()
    }

    /// When a hole turns into a loss unless it is acknowledged.
    pub(super) fn rack_deadline(&self) -> Option<Instant> {
        self.rack_at
    }

    /// Says that the application, not the window, holds the sender back.
    pub(super) fn mark_app_limited(&mut self) {
        self.delivery.set_app_limited(u64::from(self.in_flight));
    }

    /// Appends payload bytes to `out`.
    pub(super) fn copy_payload(&self, at: u64, len: usize, out: &mut Vec<u8>) {
        let from = usize::try_from(at - self.buffer_at.min(at)).unwrap_or(usize::MAX);
        let (a, b) = self.buffer.as_slices();
        if let Some(tail) = a.get(from..) {
            let n = tail.len().min(len);
            out.extend_from_slice(tail.get(..n).unwrap_or(&[]));
            out.extend_from_slice(b.get(..len - n).unwrap_or(&[]));
        } else {
            let from = from - a.len();
            out.extend_from_slice(b.get(from..from + len).unwrap_or(&[]));
        }
    }

    /// The next packet of at most `max` new bytes, which may be none. The
    /// caller puts it on the wire, and hands the bytes back if it signed them.
    pub(super) fn next_new(&mut self, max: usize, now: Instant) -> (u32, u64, usize) {
        let (at, len) = (self.unsent_at, self.unsent().min(max));
        self.unsent_at += len as u64;
        let left = self.delivery.depart(self.in_flight == 0, now);
        let sequence = self.next_sequence();
        self.sent.push_back(Sent { offset: at, len, fate: Fate::InFlight, left, sends: 1, signed: None });
        self.in_flight += 1;
        (sequence, at, len)
    }

    /// Keeps the bytes of a signed packet for its repetition.
    pub(super) fn keep_signed(&mut self, sequence: u32, bytes: &[u8]) {
        if let Some(s) = self.get_mut(sequence) {
            s.signed = Some(bytes.into());
        }
    }

    /// The lost packet with the lowest number, which goes out again now.
    pub(super) fn next_lost(&mut self, now: Instant) -> Option<(u32, Content)> {
        let sequence = self.lost.pop_first()?;
        self.repeat(sequence, now)
    }

    /// A packet to repeat as a probe: the lowest unacknowledged, or the
    /// highest, whose arrival shows what else is missing.
    pub(super) fn probe(&mut self, lowest: bool, now: Instant) -> Option<(u32, Content)> {
        let open = |s: &Sent| s.fate != Fate::Acked;
        let i = if lowest { self.sent.iter().position(open) } else { self.sent.iter().rposition(open) }?;
        let sequence = self.base + i as u32;
        self.lost.remove(&sequence);
        self.repeat(sequence, now)
    }

    /// Forgets that `sequence` was acknowledged.
    fn unack(&mut self, sequence: u32) {
        if let Some(s) = self.get_mut(sequence)
            && s.fate == Fate::Acked
        {
            s.fate = Fate::InFlight;
            self.in_flight += 1;
            self.delivery.undeliver(1);
        }
    }

    /// Repeats `sequence` next, whatever is known of it.
    pub(super) fn lose(&mut self, sequence: u32) {
        if let Some(s) = self.get_mut(sequence)
            && s.fate == Fate::InFlight
        {
            s.fate = Fate::Lost;
            self.in_flight -= 1;
            self.lost.insert(sequence);
        }
    }

    fn repeat(&mut self, sequence: u32, now: Instant) -> Option<(u32, Content)> {
        let left = self.delivery.depart(false, now);
        let s = self.get_mut(sequence)?;
        let was_out = s.fate != Fate::InFlight;
        s.fate = Fate::InFlight;
        s.left = left;
        s.sends += 1;
        let content = match &s.signed {
            Some(bytes) => Content::Signed(bytes.to_vec()),
            None => Content::Data { at: s.offset, len: s.len },
        };
        self.in_flight += u32::from(was_out);
        self.repeats += 1;
        Some((sequence, content))
    }

    fn get_mut(&mut self, sequence: u32) -> Option<&mut Sent> {
        self.sent.get_mut(sequence.checked_sub(self.base)? as usize)
    }

    /// Counts an acknowledgement. None if it acknowledges what was never sent.
    pub(super) fn on_ack(
        &mut self,
        through: u32,
        nacks: impl Iterator<Item = u32>,
        rtt: &Rtt,
        now: Instant,
    ) -> Option<Acked> {
        if through >= self.next_sequence() {
            return None;
        }
        let mut gaps = std::mem::take(&mut self.scratch);
        gaps.clear();
        gaps.extend(nacks.filter(|n| (self.base..=through).contains(n)));
        if !gaps.is_sorted() {
            gaps.sort_unstable();
        }
        let mut out = Acked::default();
        let mut best: Option<Best> = None;
        self.settle_doubt(through, &gaps);
        let surely = through + 1 == self.next_sequence();
        self.ack_holes(through, surely, &gaps, rtt, now, &mut out, &mut best);
        let from = self.frontier.max(self.base);
        let mut next_gap = gaps.partition_point(|g| *g < from);
        for sequence in from..=through {
            if gaps.get(next_gap) == Some(&sequence) {
                self.holes.push(sequence);
                while gaps.get(next_gap) == Some(&sequence) {
                    next_gap += 1;
                }
            } else {
                self.ack_one(sequence, rtt, now, &mut out, &mut best);
            }
        }
        if from <= through && !surely && gaps.last() != Some(&through) {
            self.doubt = Some(through);
        }
        self.scratch = gaps;
        self.frontier = self.frontier.max(through + 1);
        self.free_front(&mut out);
        if let Some(best) = best {
            self.finish_sample(best, now, &mut out);
        }
        if out.spurious > 0 {
            self.reorder_quarters = (self.reorder_quarters + 1).min(6);
        }
        out.lost = self.detect_losses(rtt, now);
        let news = out.acked > 0 || !self.holes.is_empty() || through + 1 != self.frontier;
        self.repeated_acks = if news { 0 } else { self.repeated_acks + 1 };
        Some(out)
    }

    /// An acknowledgement beyond the packet in doubt tells whether it has arrived.
    fn settle_doubt(&mut self, through: u32, gaps: &[u32]) {
        let Some(doubt) = self.doubt.filter(|doubt| *doubt < through) else { return };
        self.doubt = None;
        if gaps.binary_search(&doubt).is_ok() {
            self.unack(doubt);
            let at = self.holes.partition_point(|hole| *hole < doubt);
            self.holes.insert(at, doubt);
        }
    }

    /// Holes that are no longer listed have been filled. `surely`: so has `through`.
    #[expect(clippy::too_many_arguments, reason = "the loop's state, lent by its only caller")]
    fn ack_holes(
        &mut self,
        through: u32,
        surely: bool,
        gaps: &[u32],
        rtt: &Rtt,
        now: Instant,
        out: &mut Acked,
        best: &mut Option<Best>,
    ) {
        let mut holes = std::mem::take(&mut self.holes);
        let mut gap = 0;
        holes.retain(|&hole| {
            if hole > through || (hole == through && !surely) {
                return true;
            }
            while gaps.get(gap).is_some_and(|g| *g < hole) {
                gap += 1;
            }
            let listed = gaps.get(gap) == Some(&hole);
            if !listed {
                let late = self.get_mut(hole).is_some_and(|s| s.sends == 1);
                self.reorder_quarters = self.reorder_quarters.max(u32::from(late));
                self.ack_one(hole, rtt, now, out, best);
            }
            listed
        });
        self.holes = holes;
    }

    fn ack_one(&mut self, sequence: u32, rtt: &Rtt, now: Instant, out: &mut Acked, best: &mut Option<Best>) {
        let Some(s) = self.get_mut(sequence) else { return };
        let was = std::mem::replace(&mut s.fate, Fate::Acked);
        if was == Fate::Acked {
            return;
        }
        s.signed = None;
        let age = now.since(s.left.at);
        // An answer sooner than half a round trip is for an earlier copy.
        let early = s.sends > 1 && rtt.min().is_some_and(|min| age < min / 2);
        let this = Best { left: s.left, once: s.sends == 1 };
        match was {
            Fate::InFlight => self.in_flight -= 1,
            Fate::Lost => drop(self.lost.remove(&sequence)),
            Fate::Settled | Fate::Acked => {}
        }
        if early || was == Fate::Lost {
            out.spurious += 1;
        }
        if this.once && was == Fate::InFlight {
            out.round_trips = (out.round_trips.0 + age, out.round_trips.1 + 1);
        }
        out.acked += 1;
        self.delivery.deliver(1);
        let newer = best
            .as_ref()
            .is_none_or(|b| (this.left.delivered, this.left.at) >= (b.left.delivered, b.left.at));
        if !early && was == Fate::InFlight && newer {
            *best = Some(this);
        }
    }

    fn free_front(&mut self, out: &mut Acked) {
        let mut end = None;
        while self.doubt != Some(self.base) && self.sent.front().is_some_and(|s| s.fate == Fate::Acked) {
            let Some(s) = self.sent.pop_front() else { break };
            self.base += 1;
            end = Some(s.offset + s.len as u64);
        }
        if let Some(end) = end {
            out.advanced = true;
            let n = usize::try_from(end - self.buffer_at.min(end)).unwrap_or(0);
            self.buffer.drain(..n.min(self.buffer.len()));
            self.buffer_at = end.max(self.buffer_at);
            if self.buffer.is_empty() && self.buffer.capacity() > 256 * 1024 {
                self.buffer = VecDeque::new();
            }
        }
    }

    fn finish_sample(&mut self, best: Best, now: Instant, out: &mut Acked) {
        let age = now.since(best.left.at);
        if best.once {
            out.rtt = Some(age);
        }
        if self.newest.is_none_or(|(at, _)| best.left.at >= at) {
            self.newest = Some((best.left.at, age));
        }
        out.rate = Some(self.delivery.sample(&best.left, now));
    }

    /// Marks holes as lost whose time has come. Gives how many.
    pub(super) fn detect_losses(&mut self, rtt: &Rtt, now: Instant) -> u32 {
        self.rack_at = None;
        let Some((newest, newest_rtt)) = self.newest else { return 0 };
        let smoothed = rtt.or_guess();
        let window =
            (smoothed * self.reorder_quarters / 4).max(smoothed / 16).max(rtt.deviation().min(smoothed / 2));
        let wait = newest_rtt + window;
        self.settle(newest, now - wait);
        if self.in_flight == 0 && self.lost.is_empty() {
            self.lose_settled();
        }
        let mut count = 0;
        for i in 0..self.holes.len() {
            let Some(&sequence) = self.holes.get(i) else { break };
            let Some(s) = self.get_mut(sequence) else { continue };
            if !matches!(s.fate, Fate::InFlight | Fate::Settled) || s.left.at > newest {
                continue;
            }
            let due = s.left.at + wait;
            if now >= due {
                let flew = std::mem::replace(&mut s.fate, Fate::Lost) == Fate::InFlight;
                self.in_flight -= u32::from(flew);
                self.lost.insert(sequence);
                count += 1;
            } else if self.rack_at.is_none_or(|at| due < at) {
                self.rack_at = Some(due);
            }
        }
        count
    }

    /// Packets above the frontier that left before `newest` and `then` no longer fill the window.
    fn settle(&mut self, newest: Instant, then: Instant) {
        let from = self.frontier.saturating_sub(self.base) as usize;
        for s in self.sent.iter_mut().skip(from) {
            let early = s.left.at <= newest && s.left.at <= then;
            if !early && s.sends == 1 {
                break;
            }
            if early && s.fate == Fate::InFlight {
                s.fate = Fate::Settled;
                self.in_flight -= 1;
            }
        }
    }

    /// Nothing is on its way, and of some packets the receiver does not say
    /// whether they have arrived: the lowest of them go out again.
    fn lose_settled(&mut self) {
        let from = self.frontier.saturating_sub(self.base) as usize;
        let settled = self.sent.iter_mut().enumerate().skip(from).filter(|(_, s)| s.fate == Fate::Settled);
        for (i, s) in settled.take(UNLISTED as usize) {
            s.fate = Fate::Lost;
            self.lost.insert(self.base + i as u32);
        }
    }

    /// Counts the lowest packets as lost if acknowledgements repeat themselves
    /// without listing gaps: packets arrive, and there are more gaps below them
    /// than the receiver can list. Gives how many.
    pub(super) fn detect_unlisted(&mut self, rtt: &Rtt, now: Instant) -> u32 {
        if self.repeated_acks < REPEATED_ACKS {
            return 0;
        }
        self.repeated_acks = 0;
        let then = now - rtt.or_guess();
        let mut count = 0;
        for (i, s) in self.sent.iter_mut().enumerate() {
            let out = matches!(s.fate, Fate::InFlight | Fate::Settled);
            if out && s.left.at < then && count < UNLISTED {
                let flew = std::mem::replace(&mut s.fate, Fate::Lost) == Fate::InFlight;
                self.in_flight -= u32::from(flew);
                self.lost.insert(self.base + i as u32);
                count += 1;
            }
        }
        count
    }

    /// A timeout: everything in flight counts as lost.
    pub(super) fn lose_all(&mut self) {
        for (i, s) in self.sent.iter_mut().enumerate() {
            if matches!(s.fate, Fate::InFlight | Fate::Settled) {
                s.fate = Fate::Lost;
                self.lost.insert(self.base + i as u32);
            }
        }
        self.in_flight = 0;
        self.rack_at = None;
    }

    /// Everything in flight that left before `then` counts as lost.
    pub(super) fn lose_sent_before(&mut self, then: Instant) {
        for (i, s) in self.sent.iter_mut().enumerate() {
            if s.fate == Fate::InFlight && s.left.at < then {
                s.fate = Fate::Lost;
                self.in_flight -= 1;
                self.lost.insert(self.base + i as u32);
            }
        }
    }

    /// The timeout was wrong: what lies beyond the frontier is still on its way.
    pub(super) fn unlose(&mut self) {
        let beyond = self.lost.split_off(&self.frontier);
        for sequence in beyond {
            if let Some(s) = self.get_mut(sequence) {
                s.fate = Fate::InFlight;
                self.in_flight += 1;
            }
        }
    }
}

/// The acknowledged packet that says most about rate and round trip.
#[derive(Clone, Copy, Debug)]
struct Best {
    left: Departure,
    once: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }

    fn half(packets: u32) -> (SendHalf, Rtt) {
        let mut s = SendHalf::new();
        s.push(&vec![7; packets as usize * 10], usize::MAX);
        for i in 0..packets {
            assert_eq!(s.next_new(10, at(u64::from(i))).0, i);
        }
        let mut rtt = Rtt::new(super::super::stream::TIMEOUTS);
        rtt.sample(Duration::from_millis(100), Duration::from_millis(100), at(0));
        (s, rtt)
    }

    #[test]
    fn only_holes_overtaken_by_time_are_lost() {
        let (mut s, rtt) = half(10);
        let a = s.on_ack(5, [2, 3].into_iter(), &rtt, at(105)).unwrap();
        assert_eq!((a.acked, a.lost, s.base(), s.in_flight()), (4, 0, 2, 6));
        assert!(s.rack_deadline().unwrap() > at(105));
        assert_eq!(s.detect_losses(&rtt, at(300)), 2);
        assert_eq!(s.next_lost(at(301)).unwrap().0, 2);
        // The original of 3 arrives although it was given up.
        let a = s.on_ack(9, [2].into_iter(), &rtt, at(305)).unwrap();
        assert_eq!((a.acked, a.spurious, s.has_lost()), (5, 1, false));
        assert!(s.on_ack(9, std::iter::empty(), &rtt, at(400)).unwrap().advanced);
        assert!(s.all_acked() && s.buffered() == 0 && s.in_flight() == 0);
    }

    #[test]
    fn a_frontier_held_back_loses_nothing_above_it() {
        let (mut s, rtt) = half(600);
        let gaps = (0..510).step_by(2);
        let first = s.on_ack(509, gaps.clone(), &rtt, at(700)).unwrap();
        assert_eq!(first.lost + s.detect_losses(&rtt, at(2000)), 255);
        while s.next_lost(at(2000)).is_some() {}
        s.on_ack(509, std::iter::empty(), &rtt, at(2100)).unwrap();
        assert_eq!((s.base(), s.detect_losses(&rtt, at(4000)), s.in_flight()), (509, 0, 0));
        assert_eq!(s.next_lost(at(4000)).unwrap().0, 510, "nothing is under way: better to ask");
    }

    #[test]
    fn a_packet_acknowledged_in_error_is_sent_again() {
        let (mut s, rtt) = half(600);
        // 100 is lost with 299 more: i2pd lists none of them and names 100 as the highest.
        let a = s.on_ack(100, std::iter::empty(), &rtt, at(700)).unwrap();
        assert_eq!((a.acked, s.base(), s.in_flight()), (101, 100, 499));
        for _ in 0..REPEATED_ACKS {
            assert_eq!(s.detect_unlisted(&rtt, at(900)), 0);
            s.on_ack(100, std::iter::empty(), &rtt, at(900)).unwrap();
        }
        assert_eq!(s.detect_unlisted(&rtt, at(900)), UNLISTED);
        assert_eq!(s.next_lost(at(900)).unwrap().0, 101);
        // With 101 to 300 filled the rest can be listed.
        s.on_ack(599, std::iter::once(100).chain(301..400), &rtt, at(1000)).unwrap();
        assert_eq!((s.base(), s.buffered()), (100, 5000));
        s.detect_losses(&rtt, at(2000));
        assert_eq!(s.next_lost(at(2000)).unwrap().0, 100);
        assert!(s.on_ack(599, std::iter::empty(), &rtt, at(2100)).unwrap().advanced);
        assert!(s.all_acked() && s.in_flight() == 0);
    }

    #[test]
    fn the_gap_named_as_the_highest_stays_a_gap() {
        let (mut s, rtt) = half(600);
        s.on_ack(500, [7, 8, 9].into_iter(), &rtt, at(700)).unwrap();
        s.on_ack(8, [7].into_iter(), &rtt, at(701)).unwrap();
        assert_eq!(s.base(), 7);
        s.on_ack(500, [8].into_iter(), &rtt, at(702)).unwrap();
        assert_eq!(s.base(), 8);
        assert!(s.on_ack(501, std::iter::empty(), &rtt, at(703)).unwrap().advanced);
        assert_eq!((s.base(), s.in_flight()), (501, 98));
    }

    #[test]
    fn acknowledging_the_future_is_refused() {
        let (mut s, rtt) = half(3);
        assert!(s.on_ack(3, std::iter::empty(), &rtt, at(9)).is_none());
        assert!(s.on_ack(2, [1, 1, 0, 900].into_iter(), &rtt, at(9)).is_some());
        assert_eq!(s.base(), 0);
        let a = s.on_ack(2, std::iter::empty(), &rtt, at(9)).unwrap();
        assert_eq!(a.acked, 2);
    }

    #[test]
    fn payload_is_copied_across_the_wrap_of_the_ring() {
        let mut s = SendHalf::new();
        let mut rtt = Rtt::new(super::super::stream::TIMEOUTS);
        rtt.sample(Duration::from_millis(10), Duration::from_millis(10), at(0));
        let mut next = 0u8;
        for round in 0..200u32 {
            let data: Vec<u8> = (0..13).map(|i| next.wrapping_add(i)).collect();
            s.push(&data, usize::MAX);
            let (sequence, from, len) = s.next_new(13, at(u64::from(round)));
            let mut out = Vec::new();
            s.copy_payload(from, len, &mut out);
            assert_eq!(out, data);
            next = next.wrapping_add(13);
            if round > 2 {
                s.on_ack(sequence - 2, std::iter::empty(), &rtt, at(u64::from(round))).unwrap();
            }
        }
    }
}
