//! Messages that wait for a peer: first in, first out, bounded by bytes.

use std::collections::VecDeque;

use aioli_core::Date;
use aioli_wire::i2np::Message;

/// What a message costs in a queue and in a frame besides its body: block and
/// I2NP headers.
pub(crate) const OVERHEAD: usize = 12;

/// Messages that wait for a peer.
#[derive(Debug, Default)]
pub(crate) struct SendQueue {
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
    /// Queues the message if it fits within `limit` bytes, expired ones at the
    /// front giving way.
    pub(crate) fn push(&mut self, message: Message, limit: usize, now: Date) -> Pushed {
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

    pub(crate) fn front(&self) -> Option<&Message> {
        self.messages.front()
    }

    pub(crate) fn pop(&mut self) -> Option<Message> {
        let message = self.messages.pop_front()?;
        self.bytes -= cost(&message);
        Some(message)
    }

    /// Bytes it would fill in frames.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Everything in it.
    pub(crate) fn take(&mut self) -> Vec<Message> {
        self.bytes = 0;
        std::mem::take(&mut self.messages).into()
    }
}

/// What the message takes of a frame.
pub(crate) fn cost(message: &Message) -> usize {
    message.body.len() + OVERHEAD
}
