//! Packets in flight: which arrived, which are lost (RFC 9002, section 6), how
//! fast they were delivered, and losses that turn out to have been delays.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;

use aioli_core::flow::{AckEvent, Delivery, Departure, Rtt, Timeouts};
use aioli_core::{Duration, Instant};
use aioli_wire::ssu2::MIN_MTU;

use super::acks::MAX_DELAY;
use super::outbox::Carried;

/// A packet is lost when one sent so many later has come.
const PACKET_THRESHOLD: u32 = 3;
/// The threshold grows with reordering, up to this.
const MAX_PACKET_THRESHOLD: u32 = 64;
/// A packet is lost so many eighths of a round trip after it was sent, if a later one has come.
const TIME_THRESHOLD: u32 = 9;
const MAX_TIME_THRESHOLD: u32 = 14;
/// How long an acknowledgement is waited for.
pub(super) const TIMEOUTS: Timeouts = Timeouts {
    initial: Duration::from_millis(670),
    least: Duration::from_millis(100),
    most: Duration::from_secs(10),
};
/// UDP payload that every path carries.
const SMALL: u32 = MIN_MTU as u32 - 28;
/// Lost packets that are remembered, should they be late.
const MAX_LOST: usize = 4_096;
/// Empty lists of what packets carry, kept to be filled again.
const MAX_SPARE: usize = 64;
/// Room for so much in the list of what an acknowledgement has shown is kept.
const MAX_SHOWN: usize = 256;
/// Packets that need no acknowledgement, remembered all the same.
const MAX_UNCOUNTED: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    InFlight,
    /// It needs no acknowledgement.
    Uncounted,
    /// Acknowledged, or lost and remembered elsewhere.
    Done,
}

/// A packet that was sent.
#[derive(Debug)]
struct SentPacket {
    left: Departure,
    size: u32,
    state: State,
    carried: Vec<Carried>,
    ack_through: Option<u32>,
}

/// The newest packet of one acknowledgement, as it was sent.
struct Newest {
    number: u32,
    left: Departure,
    in_flight: bool,
}

/// A packet that is taken for lost; it may only be late.
#[derive(Debug)]
struct LostPacket {
    at: Instant,
    size: u32,
    carried: Vec<Carried>,
}

/// What a packet that is sent holds.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) size: usize,
    pub(super) eliciting: bool,
    pub(super) carried: Vec<Carried>,
    /// The highest number that it acknowledges.
    pub(super) ack_through: Option<u32>,
}

/// What an acknowledgement, or time, has shown.
#[derive(Debug, Default)]
pub(super) struct Shown {
    pub(super) acked: Vec<Carried>,
    /// With the packets that carried it.
    pub(super) lost: Vec<(u32, Carried)>,
    pub(super) event: AckEvent,
    /// Up to where the peer knows what has come to us.
    pub(super) settled: Option<u32>,
    pub(super) lost_packets: u64,
    /// Packets that had been taken for lost.
    pub(super) late_packets: u64,
    /// Something eliciting was acknowledged.
    pub(super) progress: bool,
    /// So were packets larger than every path carries.
    pub(super) large_acked: bool,
    /// Such packets that are lost, probes left out.
    pub(super) large_lost: u32,
}

/// All packets that may still be in flight.
#[derive(Debug)]
pub(super) struct Recovery {
    packets: VecDeque<SentPacket>,
    /// The number of the first of them.
    base: u32,
    lost: BTreeMap<u32, LostPacket>,
    largest_acked: Option<u32>,
    in_flight: u64,
    eliciting: u32,
    last_eliciting: Instant,
    loss_at: Option<Instant>,
    timeouts: u32,
    packet_threshold: u32,
    time_threshold: u32,
    delivery: Delivery,
    spare: Vec<Vec<Carried>>,
    /// Of the last [`Shown`], emptied.
    shown: Vec<Carried>,
}

impl Recovery {
    pub(super) fn new(first: u32, now: Instant) -> Self {
        Self {
            packets: VecDeque::new(),
            base: first,
            lost: BTreeMap::new(),
            largest_acked: None,
            in_flight: 0,
            eliciting: 0,
            last_eliciting: now,
            loss_at: None,
            timeouts: 0,
            packet_threshold: PACKET_THRESHOLD,
            time_threshold: TIME_THRESHOLD,
            delivery: Delivery::default(),
            spare: Vec::new(),
            shown: Vec::new(),
        }
    }

    /// An empty list for what the next packet carries.
    pub(super) fn list(&mut self) -> Vec<Carried> {
        self.spare.pop().unwrap_or_default()
    }

    /// Keeps a list of [`Self::list`] to be used again.
    pub(super) fn keep(&mut self, mut list: Vec<Carried>) {
        if self.spare.len() < MAX_SPARE && list.capacity() > 0 {
            list.clear();
            self.spare.push(list);
        }
    }

    /// Keeps the list of a [`Shown`] to be used again.
    pub(super) fn keep_shown(&mut self, mut acked: Vec<Carried>) {
        if acked.capacity() <= MAX_SHOWN {
            acked.clear();
            self.shown = acked;
        }
    }

    /// The number of the next packet.
    pub(super) fn next_number(&self) -> u32 {
        self.base.saturating_add(self.packets.len() as u32)
    }

    /// Bytes in flight.
    pub(super) const fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// Timeouts in a row.
    pub(super) const fn timeouts(&self) -> u32 {
        self.timeouts
    }

    /// Whether the peer has acknowledged anything.
    pub(super) const fn any_acked(&self) -> bool {
        self.largest_acked.is_some()
    }

    /// There is nothing to send: rates measured from here on say little.
    pub(super) fn set_app_limited(&mut self) {
        self.delivery.set_app_limited(self.in_flight);
    }

    /// Notes the packet with [`Self::next_number`].
    pub(super) fn on_sent(&mut self, sending: Sending, now: Instant) {
        let left = self.delivery.depart(self.in_flight == 0 && sending.eliciting, now);
        let state = if sending.eliciting { State::InFlight } else { State::Uncounted };
        self.packets.push_back(SentPacket {
            left,
            size: sending.size as u32,
            state,
            carried: sending.carried,
            ack_through: sending.ack_through,
        });
        if sending.eliciting {
            self.in_flight += sending.size as u64;
            self.eliciting += 1;
            self.last_eliciting = now;
        }
        self.forget(now, Duration::from_secs(3));
    }

    /// Notes an acknowledgement. None if it names a packet that was never sent.
    pub(super) fn on_ack(
        &mut self,
        ranges: impl Iterator<Item = RangeInclusive<u32>>,
        rtt: &mut Rtt,
        now: Instant,
    ) -> Option<Shown> {
        let mut shown = Shown { acked: std::mem::take(&mut self.shown), ..Shown::default() };
        let mut newest: Option<Newest> = None;
        for range in ranges {
            if *range.end() >= self.next_number() {
                return None;
            }
            self.on_late(range.clone(), &mut shown);
            let first = (*range.start()).max(self.base);
            for number in (first..=*range.end()).rev() {
                self.on_acked(number, &mut shown, &mut newest);
            }
            if self.base > *range.end() && self.lost.range(..*range.end()).next().is_none() {
                break;
            }
        }
        if let Some(newest) = newest {
            self.on_newest(&newest, &mut shown, rtt, now);
        }
        if shown.progress {
            self.timeouts = 0;
        }
        self.detect(rtt, now, &mut shown);
        self.forget(now, rtt.timeout(MAX_DELAY, 0) * 2);
        shown.event.in_flight = self.in_flight;
        shown.event.delivered = self.delivery.total();
        Some(shown)
    }

    fn on_acked(&mut self, number: u32, shown: &mut Shown, newest: &mut Option<Newest>) {
        let Some(packet) = self.packets.get_mut((number - self.base) as usize) else { return };
        let before = std::mem::replace(&mut packet.state, State::Done);
        if before == State::Done {
            return;
        }
        shown.settled = shown.settled.max(packet.ack_through);
        let size = u64::from(packet.size);
        if newest.as_ref().is_none_or(|n| number > n.number) {
            *newest = Some(Newest { number, left: packet.left, in_flight: before == State::InFlight });
        }
        let mut carried = std::mem::take(&mut packet.carried);
        shown.acked.append(&mut carried);
        match before {
            State::InFlight => {
                self.in_flight -= size;
                self.eliciting -= 1;
                shown.event.acked += size;
                shown.event.acked_packets += 1;
                shown.progress = true;
                shown.large_acked |= packet.size > SMALL;
                self.delivery.deliver(size);
            }
            State::Uncounted | State::Done => {}
        }
        self.keep(carried);
    }

    /// Packets that were taken for lost have come after all.
    fn on_late(&mut self, range: RangeInclusive<u32>, shown: &mut Shown) {
        while let Some((number, packet)) = self.lost.range(range.clone()).next_back() {
            let number = *number;
            self.delivery.deliver(packet.size.into());
            shown.acked.extend(packet.carried.iter().copied());
            shown.late_packets += 1;
            self.lost.remove(&number);
            self.widen(number);
        }
    }

    /// Samples of round trip and rate, from the newest packet acknowledged.
    fn on_newest(&mut self, newest: &Newest, shown: &mut Shown, rtt: &mut Rtt, now: Instant) {
        let is_largest = self.largest_acked.is_none_or(|l| newest.number > l);
        self.largest_acked = self.largest_acked.max(Some(newest.number));
        if !newest.in_flight {
            return;
        }
        if is_largest {
            let sample = now.since(newest.left.at);
            rtt.sample(sample, sample, now);
            shown.event.rtt = Some(sample);
        }
        shown.event.rate = Some(self.delivery.sample(&newest.left, now));
    }

    /// A packet was late, not lost: be more patient.
    fn widen(&mut self, number: u32) {
        let behind = self.largest_acked.unwrap_or(number).saturating_sub(number);
        if behind >= self.packet_threshold {
            self.packet_threshold = (behind + 1).min(MAX_PACKET_THRESHOLD);
        } else {
            self.time_threshold = (self.time_threshold + 1).min(MAX_TIME_THRESHOLD);
        }
    }

    /// Finds packets that are lost by now.
    fn detect(&mut self, rtt: &Rtt, now: Instant, shown: &mut Shown) {
        self.loss_at = None;
        let Some(largest) = self.largest_acked else { return };
        let delay = rtt.loss_delay(self.time_threshold);
        for (i, packet) in self.packets.iter_mut().enumerate() {
            let number = self.base + i as u32;
            if number >= largest {
                break;
            }
            if packet.state != State::InFlight {
                continue;
            }
            if largest - number < self.packet_threshold && packet.left.at + delay > now {
                let at = packet.left.at + delay;
                self.loss_at = Some(self.loss_at.map_or(at, |l| l.min(at)));
                continue;
            }
            packet.state = State::Done;
            self.in_flight -= u64::from(packet.size);
            self.eliciting -= 1;
            shown.lost_packets += 1;
            // A probe for a larger MTU says nothing about congestion.
            if !packet.carried.iter().any(|c| matches!(c, Carried::MtuProbe(_))) {
                shown.event.lost += u64::from(packet.size);
                shown.event.lost_packets += 1;
                shown.large_lost += u32::from(packet.size > SMALL);
            }
            shown.lost.extend(packet.carried.iter().map(|c| (number, *c)));
            let carried = std::mem::take(&mut packet.carried);
            self.lost.insert(number, LostPacket { at: now, size: packet.size, carried });
        }
        shown.event.in_flight = self.in_flight;
        shown.event.delivered = self.delivery.total();
    }

    /// When to call [`Self::on_timeout`].
    pub(super) fn deadline(&self, rtt: &Rtt) -> Option<Instant> {
        let probe = (self.eliciting > 0).then(|| self.last_eliciting + rtt.timeout(MAX_DELAY, self.timeouts));
        match (self.loss_at, probe) {
            (Some(loss), Some(probe)) => Some(loss.min(probe)),
            (loss, probe) => loss.or(probe),
        }
    }

    /// A deadline has come. The second is what to send again as a probe, if that
    /// is what it was.
    pub(super) fn on_timeout(&mut self, rtt: &Rtt, now: Instant) -> (Shown, Option<Vec<Carried>>) {
        let mut shown = Shown::default();
        if self.loss_at.is_some_and(|at| at <= now) {
            self.detect(rtt, now, &mut shown);
            return (shown, None);
        }
        let probe_at = self.last_eliciting + rtt.timeout(MAX_DELAY, self.timeouts);
        if self.eliciting == 0 || probe_at > now {
            return (shown, None);
        }
        self.timeouts += 1;
        // Not before another timeout, even if nothing can be sent.
        self.last_eliciting = now;
        let oldest = self.packets.iter().filter(|p| p.state == State::InFlight).take(2);
        (shown, Some(oldest.flat_map(|p| p.carried.iter().copied()).collect()))
    }

    /// Takes everything in flight for lost: the path is another one now.
    pub(super) fn lose_all(&mut self, now: Instant) -> Vec<(u32, Carried)> {
        let mut lost = Vec::new();
        for (i, packet) in self.packets.iter_mut().enumerate() {
            if packet.state == State::InFlight {
                packet.state = State::Done;
                let number = self.base + i as u32;
                lost.extend(packet.carried.iter().map(|c| (number, *c)));
                let carried = std::mem::take(&mut packet.carried);
                self.lost.insert(number, LostPacket { at: now, size: packet.size, carried });
            }
        }
        self.in_flight = 0;
        self.eliciting = 0;
        self.loss_at = None;
        self.timeouts = 0;
        self.packet_threshold = PACKET_THRESHOLD;
        self.time_threshold = TIME_THRESHOLD;
        lost
    }

    /// Forgets packets that nothing more is expected of.
    fn forget(&mut self, now: Instant, patience: Duration) {
        while let Some((_, oldest)) = self.lost.first_key_value()
            && (now.since(oldest.at) > patience || self.lost.len() > MAX_LOST)
        {
            self.lost.pop_first();
        }
        while let Some(packet) = self.packets.front() {
            let done = match packet.state {
                State::Done => true,
                State::InFlight => false,
                State::Uncounted => {
                    self.largest_acked.is_some_and(|l| l >= self.base) || self.packets.len() > MAX_UNCOUNTED
                }
            };
            if !done {
                return;
            }
            if let Some(packet) = self.packets.pop_front() {
                self.keep(packet.carried);
            }
            self.base += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    fn sent(count: u64) -> Recovery {
        let mut recovery = Recovery::new(0, at(0));
        for i in 0..count {
            let carried = vec![Carried::Fragment { message: i, index: 0 }];
            recovery.on_sent(Sending { size: 1_000, eliciting: true, carried, ack_through: None }, at(i));
        }
        recovery
    }

    fn numbers(carried: &[Carried]) -> Vec<u64> {
        let number = |c: &Carried| match c {
            Carried::Fragment { message, .. } => *message,
            Carried::Control(_) | Carried::MtuProbe(_) => u64::MAX,
        };
        carried.iter().map(number).collect()
    }

    fn lost(shown: &Shown) -> Vec<u64> {
        numbers(&shown.lost.iter().map(|(_, c)| *c).collect::<Vec<_>>())
    }

    #[test]
    fn three_later_packets_or_time_make_a_loss() {
        let (mut recovery, mut rtt) = (sent(10), Rtt::new(TIMEOUTS));
        let shown = recovery.on_ack([4..=4, 1..=2].into_iter(), &mut rtt, at(104)).unwrap();
        assert_eq!(numbers(&shown.acked), [4, 2, 1]);
        assert_eq!(lost(&shown), [0], "3 is only one behind");
        assert_eq!((recovery.in_flight(), shown.event.acked), (6_000, 3_000));
        let deadline = recovery.deadline(&rtt).unwrap();
        assert_eq!(deadline, at(3) + Duration::from_micros(112_500));
        let (shown, probe) = recovery.on_timeout(&rtt, deadline);
        assert_eq!((lost(&shown), probe.is_none()), (vec![3], true));
    }

    #[test]
    fn a_loss_that_was_a_delay_is_noticed_and_makes_patient() {
        let (mut recovery, mut rtt) = (sent(20), Rtt::new(TIMEOUTS));
        let shown = recovery.on_ack([9..=9].into_iter(), &mut rtt, at(109)).unwrap();
        assert_eq!(lost(&shown), [0, 1, 2, 3, 4, 5, 6]);
        let shown = recovery.on_ack([9..=9, 0..=6].into_iter(), &mut rtt, at(110)).unwrap();
        assert_eq!((shown.late_packets, numbers(&shown.acked).len()), (7, 7));
        let shown = recovery.on_ack([17..=17].into_iter(), &mut rtt, at(111)).unwrap();
        assert_eq!(lost(&shown), [7], "ten behind is lost, nine is not");
    }

    #[test]
    fn without_acknowledgements_probes_are_sent_at_growing_intervals() {
        let (mut recovery, rtt) = (sent(3), Rtt::new(TIMEOUTS));
        let first = recovery.deadline(&rtt).unwrap();
        let (_, probe) = recovery.on_timeout(&rtt, first);
        assert_eq!(numbers(&probe.unwrap()), [0, 1]);
        let second = recovery.deadline(&rtt).unwrap();
        assert!(second.since(first) >= rtt.timeout(MAX_DELAY, 0) * 2);
        assert_eq!(recovery.timeouts(), 1);
    }

    #[test]
    fn what_was_never_sent_cannot_be_acknowledged_and_memory_is_bounded() {
        let (mut recovery, mut rtt) = (sent(3), Rtt::new(TIMEOUTS));
        assert!(recovery.on_ack([3..=3].into_iter(), &mut rtt, at(5)).is_none());
        recovery.on_ack([0..=2].into_iter(), &mut rtt, at(5)).unwrap();
        assert_eq!(recovery.packets.len(), 0);
        for _ in 0..2_000 {
            let plain = Sending { size: 50, eliciting: false, carried: Vec::new(), ack_through: None };
            recovery.on_sent(plain, at(6));
        }
        assert_eq!((recovery.packets.len(), recovery.next_number()), (MAX_UNCOUNTED, 2_003));
    }
}
