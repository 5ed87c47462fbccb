//! Messages on their way out: waiting, cut to the room there is, repeated until
//! acknowledged or too late (`ssu2#i2np-message-fragmentation`).
//!
//! A piece keeps its bounds when it is sent again. Own messages go before
//! others', except that every fourth packet begins with others'.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use aioli_core::Date;
use aioli_wire::i2np::{MAX_BODY_SIZE, Message, SHORT_HEADER};
use aioli_wire::ssu2::{BLOCK_HEADER, TAIL_RESERVE, follow_on_header, i2np_header};

use crate::Lane;

/// What a message costs in a queue besides its body.
const OVERHEAD: usize = BLOCK_HEADER + SHORT_HEADER;
/// Every so many packets others' messages go first.
const TRANSIT_FIRST: u8 = 4;
/// A message is not begun in less room than this, and no piece is smaller but the last.
const MIN_PIECE: usize = 200;
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
    messages: BTreeMap<u64, Outgoing>,
    next: u64,
    /// Not wholly sent, by lane.
    own: VecDeque<u64>,
    transit: VecDeque<u64>,
    /// Pieces to be sent again.
    again: BTreeSet<(u64, u8)>,
    bytes: usize,
    packets: u8,
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
        self.bytes += size + OVERHEAD;
        let id = self.next;
        self.messages.insert(id, Outgoing { message, lane, pieces: Vec::new() });
        self.lane(lane).push_back(id);
        self.next += 1;
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

    /// Fills the payload of packet number `packet` up to `end` bytes of `out`; up to
    /// `most` with a piece that was cut when packets were larger.
    pub(super) fn fill(
        &mut self,
        out: &mut Vec<u8>,
        end: usize,
        most: usize,
        packet: u32,
        now: Date,
        carried: &mut Vec<Carried>,
    ) -> Filled {
        let mut filled = Filled::default();
        self.fill_again(out, end, most, packet, now, carried, &mut filled);
        self.packets = (self.packets + 1) % TRANSIT_FIRST;
        let order = if self.packets == 0 { [Lane::Transit, Lane::Own] } else { [Lane::Own, Lane::Transit] };
        for lane in order {
            while let Some(id) = self.lane(lane).front().copied() {
                if !self.fill_next(id, out, end, packet, now, carried, &mut filled) {
                    break;
                }
            }
        }
        filled
    }

    #[expect(clippy::too_many_arguments, reason = "the packet that is being filled, in parts")]
    fn fill_again(
        &mut self,
        out: &mut Vec<u8>,
        end: usize,
        most: usize,
        packet: u32,
        now: Date,
        carried: &mut Vec<Carried>,
        filled: &mut Filled,
    ) {
        let wanted = self.again.iter().copied().collect::<Vec<_>>();
        for (id, index) in wanted {
            if end.saturating_sub(out.len()) < MIN_PIECE / 2 {
                return;
            }
            let Some(outgoing) = self.messages.get_mut(&id) else {
                self.again.remove(&(id, index));
                continue;
            };
            if outgoing.message.expires < now {
                self.drop_message(id);
                filled.expired += 1;
                continue;
            }
            let at = usize::from(index);
            let start = if at == 0 { 0 } else { outgoing.pieces[at - 1].end };
            let piece = &mut outgoing.pieces[at];
            let header = if at == 0 { OVERHEAD } else { TAIL_RESERVE };
            if out.len() + header + piece.end - start > end {
                // Packets are smaller now than when it was cut.
                let alone = carried.is_empty() && out.len() + header + piece.end - start <= most;
                if !alone {
                    continue;
                }
            }
            piece.packet = packet;
            let stop = piece.end;
            write(outgoing, at, start, stop, out);
            self.again.remove(&(id, index));
            carried.push(Carried::Fragment { message: id, index });
            filled.repeated += 1;
        }
    }

    /// Writes the next piece of a message. False if there is no room, or it was not the last.
    #[expect(clippy::too_many_arguments, reason = "the packet that is being filled, in parts")]
    fn fill_next(
        &mut self,
        id: u64,
        out: &mut Vec<u8>,
        end: usize,
        packet: u32,
        now: Date,
        carried: &mut Vec<Carried>,
        filled: &mut Filled,
    ) -> bool {
        let Some(outgoing) = self.messages.get_mut(&id) else {
            // Acknowledged or dropped meanwhile.
            self.own.retain(|m| *m != id);
            self.transit.retain(|m| *m != id);
            return true;
        };
        let room = end.saturating_sub(out.len());
        if outgoing.message.expires < now {
            self.drop_message(id);
            filled.expired += 1;
            return true;
        }
        let (index, start) = (outgoing.pieces.len(), outgoing.sent());
        let left = outgoing.message.body.len() - start;
        let header = if index == 0 { OVERHEAD } else { TAIL_RESERVE };
        let fits = room.saturating_sub(header).min(left);
        if room < header || (fits < left && fits < MIN_PIECE) || (left > 0 && fits == 0) {
            return false;
        }
        let stop = start + fits;
        outgoing.pieces.push(Piece { end: stop, acked: false, packet });
        write(outgoing, index, start, stop, out);
        carried.push(Carried::Fragment { message: id, index: index as u8 });
        if stop < outgoing.message.body.len() {
            if outgoing.pieces.len() >= MAX_PIECES {
                // Cannot be with pieces of this size; the receiver would refuse it.
                self.drop_message(id);
                return true;
            }
            return false;
        }
        filled.completed += 1;
        let lane = outgoing.lane;
        self.lane(lane).pop_front();
        true
    }

    /// A piece has arrived.
    pub(super) fn on_acked(&mut self, message: u64, index: u8) {
        self.again.remove(&(message, index));
        let Some(outgoing) = self.messages.get_mut(&message) else { return };
        if let Some(piece) = outgoing.pieces.get_mut(usize::from(index)) {
            piece.acked = true;
        }
        if outgoing.all_acked() {
            self.bytes -= outgoing.message.body.len() + OVERHEAD;
            self.messages.remove(&message);
        }
    }

    /// The packet that carried a piece is lost, or `packet` is none and it is to be
    /// sent again as a probe. Not if a later packet carries it too.
    pub(super) fn on_lost(&mut self, message: u64, index: u8, packet: Option<u32>) {
        let piece = self.messages.get(&message).and_then(|m| m.pieces.get(usize::from(index)));
        if piece.is_some_and(|p| !p.acked && packet.is_none_or(|n| p.packet <= n)) {
            self.again.insert((message, index));
        }
    }

    /// Whether a piece that may have to be sent again is larger than this.
    pub(super) fn has_larger(&self, room: usize) -> bool {
        self.messages.values().any(|m| m.has_larger(room))
    }

    /// Packets are smaller now: begins anew with messages of one piece that is too
    /// large, and drops those of several, whose pieces the peer may have in part.
    /// Returns how many were dropped.
    pub(super) fn cut_again(&mut self, room: usize) -> u64 {
        let large = self.messages.iter().filter(|(_, m)| m.has_larger(room));
        let large =
            large.map(|(id, m)| (*id, m.lane, m.pieces.len() == 1 && m.all_sent())).collect::<Vec<_>>();
        let mut dropped = 0;
        for (id, lane, single) in large.into_iter().rev() {
            if single && let Some(message) = self.messages.get_mut(&id) {
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
        let messages = std::mem::take(&mut self.messages);
        *self = Self { next: self.next, ..Self::default() };
        messages.into_values().map(|m| (m.lane, m.message)).collect()
    }

    fn drop_message(&mut self, id: u64) {
        let Some(outgoing) = self.messages.remove(&id) else { return };
        self.bytes -= outgoing.message.body.len() + OVERHEAD;
        let stale = self.again.range((id, 0)..=(id, u8::MAX)).copied().collect::<Vec<_>>();
        stale.iter().for_each(|key| {
            self.again.remove(key);
        });
        self.lane(outgoing.lane).retain(|m| *m != id);
    }

    const fn lane(&mut self, lane: Lane) -> &mut VecDeque<u64> {
        match lane {
            Lane::Own => &mut self.own,
            Lane::Transit => &mut self.transit,
        }
    }
}

/// Writes the block of one piece.
fn write(outgoing: &Outgoing, index: usize, start: usize, stop: usize, out: &mut Vec<u8>) {
    let message = &outgoing.message;
    let last = stop == message.body.len();
    if index == 0 {
        i2np_header(out, !last, (SHORT_HEADER + stop) as u16);
        out.push(message.kind.code());
        out.extend_from_slice(&message.id.0.to_be_bytes());
        out.extend_from_slice(&message.expires.as_wire_secs().to_be_bytes());
    } else {
        follow_on_header(out, index as u8, last, message.id.0, (stop - start) as u16);
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

    fn packet(outbox: &mut Outbox, size: usize, number: u32) -> (Vec<u8>, Vec<Carried>) {
        let (mut out, mut carried) = (Vec::new(), Vec::new());
        outbox.fill(&mut out, size, 1_460, number, NOW, &mut carried);
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
        let mut carried = Vec::new();
        let filled = outbox.fill(&mut Vec::new(), 1_200, 1_460, 1, Date::from_secs(1_011), &mut carried);
        assert_eq!((filled.expired, carried.len(), outbox.bytes()), (1, 0, 0));
        assert!(!outbox.has_ready());
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
