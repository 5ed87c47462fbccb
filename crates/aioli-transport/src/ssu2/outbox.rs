//! Messages on their way out: waiting, cut to the room there is, repeated until
//! acknowledged or too late (`ssu2#i2np-message-fragmentation`).
//!
//! A piece keeps its bounds when it is sent again. Own messages go before
//! others', except that every fourth packet begins with others'.

mod kept;

use std::collections::{BTreeSet, VecDeque};

use aioli_core::Date;
use aioli_wire::i2np::{MAX_BODY_SIZE, Message, SHORT_HEADER};
use aioli_wire::ssu2::{BLOCK_HEADER, TAIL_RESERVE, follow_on_header, i2np_header};

use crate::Lane;
use kept::Kept;

/// What a message costs in a queue besides its body.
const OVERHEAD: usize = BLOCK_HEADER + SHORT_HEADER;
/// Every so many packets others' messages go first.
const TRANSIT_FIRST: u8 = 4;
/// A message is not begun in less room than this, and no piece is smaller but the last.
pub(super) const MIN_PIECE: usize = 100;
/// Pieces that all implementations accept.
const MAX_PIECES: usize = 64;

/// A piece of a message, or something else that must arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carried {
    /// A piece of one of our messages.
    Fragment {
        /// The message, in order of sending.
        message: u64,
        /// The piece; 0 for all of it.
        index: u8,
    },
    /// Something that the session sends again by itself.
    Control(Control),
    /// Padding, to see whether a packet of this size passes.
    MtuProbe(u16),
}

/// What a session says beside messages and acknowledgements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Control {
    /// A token for a later session.
    NewToken,
    /// Anything that elicits an acknowledgement.
    Ping,
    /// Of a path; never repeated as it is.
    Path,
    /// A block of an introduction or a peer test.
    Notice(u32),
}

/// A message that is being sent.
#[derive(Debug)]
struct Outgoing {
    message: Message,
    lane: Lane,
    /// Where each piece that was sent ends, and what became of it.
    pieces: Vec<Piece>,
}

#[derive(Clone, Copy, Debug)]
struct Piece {
    end: usize,
    acked: bool,
    /// The packet that carried it last.
    packet: u32,
}

impl Outgoing {
    fn sent(&self) -> usize {
        self.pieces.last().map_or(0, |p| p.end)
    }

    fn all_sent(&self) -> bool {
        !self.pieces.is_empty() && self.sent() == self.message.body.len()
    }

    /// Where a piece begins and ends.
    fn bounds(&self, index: u8) -> (usize, usize) {
        let end = |i: usize| self.pieces.get(i).map_or(0, |p| p.end);
        let index = usize::from(index);
        (index.checked_sub(1).map_or(0, end), end(index))
    }

    fn has_larger(&self, room: usize) -> bool {
        let mut start = 0;
        self.pieces.iter().any(|p| {
            let size = p.end - std::mem::replace(&mut start, p.end);
            !p.acked && size > room
        })
    }

    fn all_acked(&self) -> bool {
        self.all_sent() && self.pieces.iter().all(|p| p.acked)
    }
}

/// What became of a message that was given in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    Taken,
    Full,
    TooLarge,
}

/// A packet that is being filled.
#[derive(Debug)]
pub(super) struct Packing<'a> {
    pub(super) out: &'a mut Vec<u8>,
    /// `out` grows up to this.
    pub(super) end: usize,
    /// Up to this with a piece that was cut when packets were larger.
    pub(super) most: usize,
    /// Its number.
    pub(super) number: u32,
    pub(super) now: Date,
    /// What it carries.
    pub(super) carried: &'a mut Vec<Carried>,
    pub(super) filled: Filled,
}

impl Packing<'_> {
    fn room(&self) -> usize {
        self.end.saturating_sub(self.out.len())
    }
}

/// Counters that filling a packet moves.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Filled {
    pub(super) completed: u64,
    pub(super) repeated: u64,
    pub(super) expired: u64,
}

/// Messages on their way out.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    messages: Kept,
    /// Not wholly sent, by lane.
    own: VecDeque<u64>,
    transit: VecDeque<u64>,
    /// Pieces to be sent again.
    again: BTreeSet<(u64, u8)>,
    bytes: usize,
    packets: u8,
    /// Messages that were dropped, and that no packet has counted yet.
    overtaken: u64,
}

impl Outbox {
    /// Queues the message if it fits within `limit` bytes of its lane.
    pub(super) fn push(&mut self, lane: Lane, message: Message, limit: usize) -> Pushed {
        let size = message.body.len();
        if size > MAX_BODY_SIZE {
            return Pushed::TooLarge;
        }
        if self.bytes + size + OVERHEAD > limit {
            return Pushed::Full;
        }
        if self.messages.is_full() {
            // Overtaken by so many others, it has no hope.
            self.drop_message(self.messages.oldest());
            self.overtaken += 1;
        }
        self.bytes += size + OVERHEAD;
        let id = self.messages.insert(lane, message);
        self.lane(lane).push_back(id);
        Pushed::Taken
    }

    /// Bytes of all messages that are not acknowledged.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is something to send now.
    pub(super) fn has_ready(&self) -> bool {
        !(self.again.is_empty() && self.own.is_empty() && self.transit.is_empty())
    }

    /// Fills a packet.
    pub(super) fn fill(&mut self, p: &mut Packing<'_>) {
        self.fill_again(p);
        p.filled.expired += std::mem::take(&mut self.overtaken);
        self.packets = (self.packets + 1) % TRANSIT_FIRST;
        let order = if self.packets == 0 { [Lane::Transit, Lane::Own] } else { [Lane::Own, Lane::Transit] };
        for lane in order {
            while let Some(id) = self.lane(lane).front().copied() {
                if !self.fill_next(id, p) {
                    break;
                }
            }
        }
    }

    /// Pieces that are to be sent again, the oldest first.
    fn fill_again(&mut self, p: &mut Packing<'_>) {
        let mut next = (0, 0);
        while let Some((id, index)) = self.again.range(next..).next().copied()
            && p.room() >= MIN_PIECE / 2
        {
            next = (id, index + 1);
            let Some(outgoing) = self.messages.get_mut(id) else {
                self.again.remove(&(id, index));
                continue;
            };
            if outgoing.message.expires < p.now {
                self.drop_message(id);
                p.filled.expired += 1;
                continue;
            }
            let (start, stop) = outgoing.bounds(index);
            let size = stop - start + if index == 0 { OVERHEAD } else { TAIL_RESERVE };
            // Packets may be smaller now than when it was cut.
            let alone = p.carried.is_empty() && p.out.len() + size <= p.most;
            if size > p.room() && !alone {
                continue;
            }
            outgoing.pieces[usize::from(index)].packet = p.number;
            write(outgoing, index, start, stop, p.out);
            self.again.remove(&(id, index));
            p.carried.push(Carried::Fragment { message: id, index });
            p.filled.repeated += 1;
        }
    }

    /// Writes the next piece of a message. False if there is no room, or it was not the last.
    fn fill_next(&mut self, id: u64, p: &mut Packing<'_>) -> bool {
        let Some(outgoing) = self.messages.get_mut(id) else {
            // Acknowledged or dropped meanwhile.
            self.own.retain(|m| *m != id);
            self.transit.retain(|m| *m != id);
            return true;
        };
        if outgoing.message.expires < p.now {
            self.drop_message(id);
            p.filled.expired += 1;
            return true;
        }
        let (index, start) = (outgoing.pieces.len() as u8, outgoing.sent());
        let left = outgoing.message.body.len() - start;
        let header = if index == 0 { OVERHEAD } else { TAIL_RESERVE };
        let Some(room) = p.room().checked_sub(header) else { return false };
        let fits = room.min(left);
        if fits < left && fits < MIN_PIECE {
            return false;
        }
        let stop = start + fits;
        outgoing.pieces.push(Piece { end: stop, acked: false, packet: p.number });
        write(outgoing, index, start, stop, p.out);
        p.carried.push(Carried::Fragment { message: id, index });
        if fits < left {
            if outgoing.pieces.len() >= MAX_PIECES {
                // Cannot be with pieces of this size; the receiver would refuse it.
                self.drop_message(id);
                return true;
            }
            return false;
        }
        p.filled.completed += 1;
        let lane = outgoing.lane;
        self.lane(lane).pop_front();
        true
    }

    /// A piece has arrived.
    pub(super) fn on_acked(&mut self, message: u64, index: u8) {
        self.again.remove(&(message, index));
        let Some(outgoing) = self.messages.get_mut(message) else { return };
        if let Some(piece) = outgoing.pieces.get_mut(usize::from(index)) {
            piece.acked = true;
        }
        if outgoing.all_acked() {
            self.bytes -= outgoing.message.body.len() + OVERHEAD;
            self.messages.remove(message);
        }
    }

    /// The packet that carried a piece is lost, or `packet` is none and it is to be
    /// sent again as a probe. Not if a later packet carries it too.
    pub(super) fn on_lost(&mut self, message: u64, index: u8, packet: Option<u32>) {
        let piece = self.messages.get(message).and_then(|m| m.pieces.get(usize::from(index)));
        if piece.is_some_and(|p| !p.acked && packet.is_none_or(|n| p.packet <= n)) {
            self.again.insert((message, index));
        }
    }

    /// Whether a piece that may have to be sent again is larger than this.
    pub(super) fn has_larger(&self, room: usize) -> bool {
        self.messages.iter().any(|(_, m)| m.has_larger(room))
    }

    /// Packets are smaller now: begins anew with messages of one piece that is too
    /// large, and drops those of several, whose pieces the peer may have in part.
    /// Returns how many were dropped.
    pub(super) fn cut_again(&mut self, room: usize) -> u64 {
        let large = self.messages.iter().filter(|(_, m)| m.has_larger(room));
        let large =
            large.map(|(id, m)| (id, m.lane, m.pieces.len() == 1 && m.all_sent())).collect::<Vec<_>>();
        let mut dropped = 0;
        for (id, lane, single) in large.into_iter().rev() {
            if single && let Some(message) = self.messages.get_mut(id) {
                message.pieces.clear();
                self.again.remove(&(id, 0));
                self.lane(lane).push_front(id);
            } else {
                self.drop_message(id);
                dropped += 1;
            }
        }
        dropped
    }

    /// Everything that is not acknowledged, in order.
    pub(super) fn take(&mut self) -> Vec<(Lane, Message)> {
        let left = self.messages.take();
        *self = Self { messages: std::mem::take(&mut self.messages), ..Self::default() };
        left
    }

    fn drop_message(&mut self, id: u64) {
        let Some((lane, message)) = self.messages.remove(id) else { return };
        self.bytes -= message.body.len() + OVERHEAD;
        let stale = self.again.range((id, 0)..=(id, u8::MAX)).copied().collect::<Vec<_>>();
        stale.iter().for_each(|key| {
            self.again.remove(key);
        });
        self.lane(lane).retain(|m| *m != id);
    }

    const fn lane(&mut self, lane: Lane) -> &mut VecDeque<u64> {
        match lane {
            Lane::Own => &mut self.own,
            Lane::Transit => &mut self.transit,
        }
    }
}

/// Writes the block of one piece.
fn write(outgoing: &Outgoing, index: u8, start: usize, stop: usize, out: &mut Vec<u8>) {
    let message = &outgoing.message;
    let last = stop == message.body.len();
    if index == 0 {
        i2np_header(out, !last, (SHORT_HEADER + stop) as u16);
        out.push(message.kind.code());
        out.extend_from_slice(&message.id.0.to_be_bytes());
        out.extend_from_slice(&message.expires.as_wire_secs().to_be_bytes());
    } else {
        follow_on_header(out, index, last, message.id.0, (stop - start) as u16);
    }
    out.extend_from_slice(&message.body[start..stop]);
}

#[cfg(test)]
mod tests {
    use aioli_wire::i2np::MessageType;
    use aioli_wire::ssu2::{Block, Blocks};

    use super::*;

    const NOW: Date = Date::from_secs(1_000);

    fn message(id: u32, len: usize) -> Message {
        let body = vec![id as u8; len];
        Message { kind: MessageType::Data, id: id.into(), expires: Date::from_secs(1_010), body }
    }

    fn fill(outbox: &mut Outbox, size: usize, number: u32, now: Date) -> (Vec<u8>, Vec<Carried>, Filled) {
        let (mut out, mut carried) = (Vec::new(), Vec::new());
        let (out_ref, carried_ref) = (&mut out, &mut carried);
        let filled = Filled::default();
        let mut p =
            Packing { out: out_ref, end: size, most: 1_460, number, now, carried: carried_ref, filled };
        outbox.fill(&mut p);
        let filled = p.filled;
        (out, carried, filled)
    }

    fn packet(outbox: &mut Outbox, size: usize, number: u32) -> (Vec<u8>, Vec<Carried>) {
        let (out, carried, _) = fill(outbox, size, number, NOW);
        assert!(out.len() <= size);
        (out, carried)
    }

    #[test]
    fn pieces_fill_packets_and_are_repeated_unchanged() {
        let mut outbox = Outbox::default();
        outbox.push(Lane::Own, message(1, 1_000), 10_000);
        outbox.push(Lane::Own, message(2, 3_000), 10_000);
        let (first, carried) = packet(&mut outbox, 1_400, 0);
        let blocks = Blocks::new(&first).collect::<Result<Vec<_>, _>>().unwrap();
        assert!(matches!(blocks[..], [Block::I2np(_), Block::FirstFragment(_)]));
        assert_eq!(first.len(), 1_400);
        let piece = Carried::Fragment { message: 1, index: 0 };
        assert_eq!(carried, [Carried::Fragment { message: 0, index: 0 }, piece]);
        for number in 1..=2 {
            assert_eq!(packet(&mut outbox, 1_400, number).1.len(), 1);
        }
        assert!(!outbox.has_ready());
        outbox.on_acked(0, 0);
        outbox.on_lost(1, 0, Some(0));
        let (again, carried) = packet(&mut outbox, 1_400, 3);
        assert_eq!(carried, [piece]);
        assert_eq!(again, first[1_012..]);
        outbox.on_lost(1, 0, Some(0));
        assert!(!outbox.has_ready(), "a later packet carries it");
        for index in 0..3 {
            outbox.on_acked(1, index);
        }
        assert_eq!((outbox.bytes(), outbox.messages.len()), (0, 0));
    }

    #[test]
    fn limits_and_expiry_hold() {
        let mut outbox = Outbox::default();
        assert_eq!(outbox.push(Lane::Own, message(1, MAX_BODY_SIZE + 1), usize::MAX), Pushed::TooLarge);
        assert_eq!(outbox.push(Lane::Own, message(1, 5_000), 5_012), Pushed::Taken);
        assert_eq!(outbox.push(Lane::Own, message(1, 0), 5_012), Pushed::Full);
        packet(&mut outbox, 1_200, 0);
        outbox.on_lost(0, 0, Some(0));
        let (_, carried, filled) = fill(&mut outbox, 1_200, 1, Date::from_secs(1_011));
        assert_eq!((filled.expired, carried.len(), outbox.bytes()), (1, 0, 0));
        assert!(!outbox.has_ready());
    }

    #[test]
    fn smaller_packets_begin_anew_with_what_came_whole_or_not_at_all() {
        let mut outbox = Outbox::default();
        outbox.push(Lane::Own, message(1, 1_300), 10_000);
        outbox.push(Lane::Own, message(2, 4_000), 10_000);
        outbox.push(Lane::Own, message(3, 900), 10_000);
        for number in 0..5 {
            packet(&mut outbox, 1_400, number);
        }
        assert!(!outbox.has_ready() && outbox.has_larger(1_100));
        // Sent again as it was cut, alone in its packet.
        outbox.on_lost(0, 0, Some(9));
        assert_eq!(fill(&mut outbox, 1_200, 6, NOW).0.len(), 1_312);
        assert_eq!(outbox.cut_again(1_100), 1);
        assert!(!outbox.has_larger(1_100));
        let (first, _) = packet(&mut outbox, 1_200, 7);
        let blocks = Blocks::new(&first).collect::<Result<Vec<_>, _>>().unwrap();
        assert!(matches!(blocks[..], [Block::FirstFragment(_)]));
    }

    #[test]
    fn others_messages_are_not_starved() {
        let mut outbox = Outbox::default();
        for id in 0..20 {
            outbox.push(Lane::Own, message(id, 1_000), usize::MAX);
            outbox.push(Lane::Transit, message(100 + id, 1_000), usize::MAX);
        }
        let transit = (0..12).filter(|n| packet(&mut outbox, 1_100, *n).0[12] >= 100).count();
        assert_eq!(transit, 3);
    }
}
