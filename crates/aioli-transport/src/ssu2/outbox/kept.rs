//! Messages by the order in which they were given in. They leave in about the same order, so a ring of
//! numbers finds them, and what one leaves behind the next one uses.

use std::collections::VecDeque;

use aioli_core::Date;
use aioli_wire::i2np::{Message, MessageType};

use super::Outgoing;
use crate::Lane;

/// Numbers between the oldest message and the newest: a peer may never acknowledge one that it has.
const MAX_SPAN: usize = 1 << 16;
/// Places that are kept when no message is left.
const KEEP: usize = 64;
/// In the ring: this message is gone.
const GONE: u32 = u32::MAX;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// Where each is, from number `first` on.
    ring: VecDeque<u32>,
    first: u64,
    places: Vec<Outgoing>,
    free: Vec<u32>,
}

impl Kept {
    /// Whether the oldest must go before another comes.
    pub(super) fn is_full(&self) -> bool {
        self.ring.len() >= MAX_SPAN
    }

    /// The number of the oldest.
    pub(super) const fn oldest(&self) -> u64 {
        self.first
    }

    /// Keeps a message; its number.
    pub(super) fn insert(&mut self, lane: Lane, message: Message) -> u64 {
        let place = self.free.pop().unwrap_or(self.places.len() as u32);
        match self.places.get_mut(place as usize) {
            Some(outgoing) => (outgoing.lane, outgoing.message) = (lane, message),
            None => self.places.push(Outgoing { message, lane, pieces: Vec::new() }),
        }
        self.ring.push_back(place);
        self.first + self.ring.len() as u64 - 1
    }

    fn place(&self, number: u64) -> Option<usize> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.ring.get(at).filter(|place| **place != GONE).map(|place| *place as usize)
    }

    pub(super) fn get(&self, number: u64) -> Option<&Outgoing> {
        self.places.get(self.place(number)?)
    }

    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut Outgoing> {
        let place = self.place(number)?;
        self.places.get_mut(place)
    }

    /// Takes a message out.
    pub(super) fn remove(&mut self, number: u64) -> Option<(Lane, Message)> {
        let place = self.place(number)?;
        let outgoing = self.places.get_mut(place)?;
        outgoing.pieces.clear();
        let nothing = Message {
            kind: MessageType::Data,
            id: 0.into(),
            expires: Date::from_millis(0),
            body: Vec::new(),
        };
        let removed = (outgoing.lane, std::mem::replace(&mut outgoing.message, nothing));
        self.free.push(place as u32);
        if let Some(entry) = self.ring.get_mut((number - self.first) as usize) {
            *entry = GONE;
        }
        while self.ring.front() == Some(&GONE) {
            self.ring.pop_front();
            self.first += 1;
        }
        if self.ring.is_empty() && self.places.len() > KEEP {
            *self = Self { first: self.first, ..Self::default() };
        }
        Some(removed)
    }

    /// All, the oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Outgoing)> {
        let numbered = (self.first..).zip(&self.ring);
        numbered.filter_map(|(number, place)| Some((number, self.places.get(*place as usize)?)))
    }

    /// Takes all out, the oldest first.
    pub(super) fn take(&mut self) -> Vec<(Lane, Message)> {
        let end = self.first + self.ring.len() as u64;
        (self.first..end).filter_map(|number| self.remove(number)).collect()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.ring.iter().filter(|place| **place != GONE).count()
    }
}
