//! Messages that wait for a peer: two lanes, first in, first out, bounded by bytes.
//!
//! Our own messages go before others', except that every fourth frame begins
//! with others': a link that our own streams fill still relays.

use std::collections::VecDeque;

use aioli_core::Date;
use aioli_wire::i2np::Message;

/// What a message costs in a queue and in a frame besides its body: block and
/// I2NP headers.
pub(crate) const OVERHEAD: usize = 12;
/// Every so many frames others' messages go first.
const TRANSIT_FIRST: u8 = 4;

/// Whose messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Of this router and its users.
    Own,
    /// Relayed for others.
    Transit,
}

/// Messages that wait for a peer.
#[derive(Debug, Default)]
pub(crate) struct SendQueue {
    own: Waiting,
    transit: Waiting,
    frames: u8,
}

/// Messages of one lane.
#[derive(Debug, Default)]
struct Waiting {
    messages: VecDeque<Message>,
    bytes: usize,
}

/// What became of a message that was to be queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pushed {
    pub(crate) accepted: bool,
    /// Others that gave way because they had expired.
    pub(crate) expired: u64,
}

impl SendQueue {
    /// Queues the message if it fits within `limit` bytes of its lane, expired
    /// ones at the front giving way.
    pub(crate) fn push(&mut self, lane: Lane, message: Message, limit: usize, now: Date) -> Pushed {
        self.lane_mut(lane).push(message, limit, now)
    }

    pub(crate) fn front(&self, lane: Lane) -> Option<&Message> {
        self.lane(lane).messages.front()
    }

    pub(crate) fn pop(&mut self, lane: Lane) -> Option<Message> {
        self.lane_mut(lane).pop()
    }

    /// The order of the lanes in the next frame.
    pub(crate) const fn next_order(&mut self) -> [Lane; 2] {
        self.frames = (self.frames + 1) % TRANSIT_FIRST;
        if self.frames == 0 { [Lane::Transit, Lane::Own] } else { [Lane::Own, Lane::Transit] }
    }

    /// Bytes it would fill in frames.
    pub(crate) const fn bytes(&self) -> usize {
        self.own.bytes + self.transit.bytes
    }

    /// Bytes of one lane.
    pub(crate) const fn bytes_of(&self, lane: Lane) -> usize {
        self.lane(lane).bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.own.messages.len() + self.transit.messages.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// In which line it waits for bandwidth.
    pub(crate) const fn line(&self) -> Lane {
        if self.own.bytes > 0 { Lane::Own } else { Lane::Transit }
    }

    /// Everything in it.
    pub(crate) fn take(&mut self) -> Vec<Message> {
        let (own, transit) = (std::mem::take(&mut self.own), std::mem::take(&mut self.transit));
        own.messages.into_iter().chain(transit.messages).collect()
    }

    const fn lane(&self, lane: Lane) -> &Waiting {
        match lane {
            Lane::Own => &self.own,
            Lane::Transit => &self.transit,
        }
    }

    const fn lane_mut(&mut self, lane: Lane) -> &mut Waiting {
        match lane {
            Lane::Own => &mut self.own,
            Lane::Transit => &mut self.transit,
        }
    }
}

impl Waiting {
    fn push(&mut self, message: Message, limit: usize, now: Date) -> Pushed {
        let cost = cost(&message);
        let mut expired = 0;
        while self.bytes + cost > limit && self.messages.front().is_some_and(|m| m.expires < now) {
            self.pop();
            expired += 1;
        }
        let accepted = self.bytes + cost <= limit;
        if accepted {
            self.bytes += cost;
            self.messages.push_back(message);
        }
        Pushed { accepted, expired }
    }

    fn pop(&mut self) -> Option<Message> {
        let message = self.messages.pop_front()?;
        self.bytes -= cost(&message);
        Some(message)
    }
}

/// What the message takes of a frame.
pub(crate) fn cost(message: &Message) -> usize {
    message.body.len() + OVERHEAD
}
