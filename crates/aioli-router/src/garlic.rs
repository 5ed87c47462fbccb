//! Expected replies and messages that wait for a RouterInfo: the two small
//! tables of the composition.

use std::collections::BTreeMap;

use aioli_core::{Duration, Instant};
use aioli_netdb::View;
use aioli_wire::{Message, RouterHash, SessionTag};

/// Whose question each expected reply answers, so that nothing learned
/// through one destination's tunnels reaches another's view. At most `limit`.
#[derive(Debug)]
pub(crate) struct ReplyViews {
    views: BTreeMap<SessionTag, (View, Instant)>,
    limit: usize,
    pub(crate) refused: u64,
}

impl ReplyViews {
    pub(crate) const fn new(limit: usize) -> Self {
        Self { views: BTreeMap::new(), limit, refused: 0 }
    }

    /// Remembers whose reply starts with this tag. False: too many are expected.
    pub(crate) fn expect(&mut self, tag: SessionTag, view: View, until: Instant) -> bool {
        let room = self.views.len() < self.limit;
        if room {
            self.views.insert(tag, (view, until));
        } else {
            self.refused += 1;
        }
        room
    }

    /// Whose reply the body of a Garlic message is, by the tag behind its length. Answers once.
    pub(crate) fn take(&mut self, garlic_body: &[u8]) -> Option<View> {
        let tag = garlic_body.get(4..12)?.try_into().ok()?;
        self.views.remove(&SessionTag(tag)).map(|(view, _)| view)
    }

    pub(crate) fn expire(&mut self, now: Instant) {
        self.views.retain(|_, (_, until)| *until > now);
    }

    pub(crate) fn len(&self) -> usize {
        self.views.len()
    }
}

/// A RouterInfo must be found within this time, or the messages are dropped.
const PATIENCE: Duration = Duration::from_secs(15);

/// Messages for routers whose RouterInfo is being looked up, at most `limit`.
#[derive(Debug)]
pub(crate) struct Awaiting {
    messages: BTreeMap<RouterHash, (Instant, Vec<Message>)>,
    count: usize,
    limit: usize,
    pub(crate) dropped: u64,
}

impl Awaiting {
    pub(crate) const fn new(limit: usize) -> Self {
        Self { messages: BTreeMap::new(), count: 0, limit, dropped: 0 }
    }

    /// Keeps a message. True: nobody waited for this router yet, look it up.
    pub(crate) fn push(&mut self, to: RouterHash, message: Message, now: Instant) -> bool {
        if self.count >= self.limit {
            self.dropped += 1;
            return false;
        }
        self.count += 1;
        let (_, queue) = self.messages.entry(to).or_insert_with(|| (now + PATIENCE, Vec::new()));
        queue.push(message);
        queue.len() == 1
    }

    /// Takes all that waits for this router.
    pub(crate) fn take(&mut self, to: &RouterHash) -> Vec<Message> {
        let queue = self.messages.remove(to).map(|(_, queue)| queue).unwrap_or_default();
        self.count -= queue.len();
        queue
    }

    pub(crate) fn expire(&mut self, now: Instant) {
        let late: Vec<_> =
            self.messages.iter().filter(|(_, (at, _))| *at <= now).map(|(to, _)| *to).collect();
        for to in late {
            self.dropped += self.take(&to).len() as u64;
        }
    }

    pub(crate) const fn len(&self) -> usize {
        self.count
    }
}
