//! Tag sets: the outbound one hands out tags and keys in order, the inbound
//! ones keep a window of tags ahead of the newest message and trim behind it.
//!
//! ```text
//!         base            highest             next
//!  trimmed │ missing, used   │    look-ahead    │ not yet made
//!  ────────┴─────────────────┴──────────────────┴─────────────
//!             min + N/2           min + N/2
//!                    each at most max
//! ```
//!
//! The specification recommends min + N/4 ahead up to 160, and to trim half of
//! that behind. A burst that is lost when a tunnel fails, or that another
//! tunnel overtakes, would then cost the session whenever more packets are in
//! flight than that. So we grow faster, and as far as streams may have in
//! flight; a session that carries little keeps few tags.
//!
//! The table maps each live inbound tag to its set and number. Only tags that
//! a set has put there itself are removed with it.

use std::collections::VecDeque;

use aioli_core::crypto::Secret;
use aioli_core::crypto::ratchet::TagSet;
use aioli_core::crypto::x25519::PublicKey;
use aioli_core::map::Table;
use aioli_core::{Instant, Rng};
use aioli_wire::SessionTag;

/// Added to the window of a set that is in use. A receiver of bulk data sends an acknowledgement for each
/// packet; if as many in a row are lost as the window is wide, nothing of that session opens any more.
const IN_USE: u32 = 256;
/// Numbers below the newest for which late messages still open, at least.
const MIN_BEHIND: u32 = 128;

/// A tag set that we send on.
#[derive(Clone, Debug)]
pub(super) struct OutboundSet {
    pub(super) number: u16,
    pub(super) next_root: Secret<32>,
    tags: TagSet,
}

impl OutboundSet {
    pub(super) const fn new(number: u16, next_root: Secret<32>, tags: TagSet) -> Self {
        Self { number, next_root, tags }
    }

    /// The number that the next message will have.
    pub(super) fn position(&self) -> u32 {
        self.tags.generated()
    }

    /// Number, tag and key of the next message.
    pub(super) fn next(&mut self) -> Option<(u16, SessionTag, Secret<32>)> {
        self.tags.next_sending().map(|(n, tag, key)| (n, SessionTag(tag), key))
    }
}

/// Names an inbound set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct SetId(u32);

/// Whose tags these are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) peer: PublicKey,
    pub(super) part: Part,
}

/// Which part of a peer's state a tag set feeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Replies to the New Session message with this number.
    Replies(u64),
    /// The session with this number.
    Session(u64),
}

/// How far ahead an inbound set looks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) min: u32,
    pub(super) max: u32,
}

impl Window {
    /// `n`: one more than the newest number received.
    const fn ahead_of(self, n: u32) -> u32 {
        let wide = if n == 0 { self.min } else { self.min + IN_USE + n / 2 };
        if wide < self.max { wide } else { self.max }
    }
}

/// A tag set that we receive on.
#[derive(Clone, Debug)]
pub(super) struct InboundSet {
    pub(super) owner: Owner,
    pub(super) number: u16,
    pub(super) next_root: Secret<32>,
    pub(super) expires: Instant,
    window: Window,
    tags: TagSet,
    slots: VecDeque<Slot>,
    base: u32,
    /// One more than the newest number received.
    highest: u32,
}

#[derive(Clone, Debug)]
struct Slot {
    tag: SessionTag,
    /// Taken when the message comes, kept in case it does not open.
    key: Option<Secret<32>>,
    used: bool,
}

impl InboundSet {
    /// The window for the set that follows this one.
    pub(super) fn next_window(&self) -> Window {
        Window { min: self.window.ahead_of(self.highest), max: self.window.max }
    }
}

/// All inbound sets and the table of their tags.
#[derive(Clone, Debug)]
pub(super) struct InboundSets {
    table: Table<SessionTag, (SetId, u16)>,
    sets: Vec<Option<InboundSet>>,
    free: Vec<SetId>,
    max_tags: usize,
    /// How often the limit of tags cut a window short.
    pub(super) tags_refused: u64,
}

impl InboundSets {
    pub(super) fn new(max_tags: usize, rng: &mut Rng) -> Self {
        Self {
            table: aioli_core::map::table(rng),
            sets: Vec::new(),
            free: Vec::new(),
            max_tags,
            tags_refused: 0,
        }
    }

    /// Tags that would be recognised now.
    pub(super) fn tags(&self) -> usize {
        self.table.len()
    }

    pub(super) fn find(&self, tag: &SessionTag) -> Option<(SetId, u16)> {
        self.table.get(tag).copied()
    }

    pub(super) fn get(&self, id: SetId) -> Option<&InboundSet> {
        self.sets.get(id.0 as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, id: SetId) -> Option<&mut InboundSet> {
        self.sets.get_mut(id.0 as usize)?.as_mut()
    }

    /// Adds a set and makes its first tags.
    pub(super) fn insert(
        &mut self,
        owner: Owner,
        number: u16,
        (next_root, tags): (Secret<32>, TagSet),
        window: Window,
        expires: Instant,
    ) -> SetId {
        let set = InboundSet {
            owner,
            number,
            next_root,
            expires,
            window,
            tags,
            slots: VecDeque::new(),
            base: 0,
            highest: 0,
        };
        let id = self.free.pop().unwrap_or_else(|| {
            self.sets.push(None);
            SetId(u32::try_from(self.sets.len() - 1).unwrap_or(u32::MAX))
        });
        if let Some(slot) = self.sets.get_mut(id.0 as usize) {
            *slot = Some(set);
        }
        self.extend(id);
        id
    }

    /// Forgets a set and its tags.
    pub(super) fn remove(&mut self, id: SetId) {
        let Some(set) = self.sets.get_mut(id.0 as usize).and_then(Option::take) else { return };
        for slot in set.slots.iter().filter(|s| !s.used) {
            forget(&mut self.table, &slot.tag, id);
        }
        self.free.push(id);
    }

    /// The key of message `n`, if that number is in the window and unused.
    /// Asking again gives it again: a message that does not open costs nothing.
    pub(super) fn key(&mut self, id: SetId, n: u16) -> Option<Secret<32>> {
        let set = self.get_mut(id)?;
        let slot = set.slots.get_mut(u32::from(n).checked_sub(set.base)? as usize)?;
        if slot.key.is_none() && !slot.used {
            slot.key = set.tags.key(n);
        }
        slot.key.clone()
    }

    /// Message `n` opened: its tag is spent, the window moves.
    pub(super) fn spend(&mut self, id: SetId, n: u16) {
        let Some(set) = self.sets.get_mut(id.0 as usize).and_then(Option::as_mut) else { return };
        let n = u32::from(n);
        if let Some(slot) = n.checked_sub(set.base).and_then(|i| set.slots.get_mut(i as usize)) {
            slot.used = true;
            slot.key = None;
            forget(&mut self.table, &slot.tag, id);
        }
        set.highest = set.highest.max(n + 1);
        let behind = set.window.ahead_of(set.highest).max(MIN_BEHIND);
        while set.slots.front().is_some_and(|s| s.used || set.base + behind < set.highest) {
            if let Some(slot) = set.slots.pop_front()
                && !slot.used
            {
                forget(&mut self.table, &slot.tag, id);
            }
            set.base += 1;
        }
        if set.tags.skipped() > 0
            && let Ok(base) = u16::try_from(set.base)
        {
            set.tags.forget_below(base);
        }
        self.extend(id);
    }

    /// Makes tags up to the edge of the window.
    fn extend(&mut self, id: SetId) {
        let Some(set) = self.sets.get_mut(id.0 as usize).and_then(Option::as_mut) else { return };
        let edge = set.highest + set.window.ahead_of(set.highest);
        while set.tags.generated() < edge {
            if self.table.len() >= self.max_tags {
                self.tags_refused += 1;
                return;
            }
            let Some((number, tag)) = set.tags.next() else { return };
            let tag = SessionTag(tag);
            self.table.entry(tag).or_insert((id, number));
            set.slots.push_back(Slot { tag, key: None, used: false });
        }
    }
}

/// Removes `tag` if it leads to `id`: another set may own an equal tag.
fn forget(table: &mut Table<SessionTag, (SetId, u16)>, tag: &SessionTag, id: SetId) {
    if table.get(tag).is_some_and(|(owner, _)| *owner == id) {
        table.remove(tag);
    }
}

#[cfg(test)]
mod tests {
    use aioli_core::crypto::ratchet::dh_initialize;

    use super::*;

    fn sets(max_tags: usize) -> (InboundSets, SetId, OutboundSet) {
        let mut rng = Rng::from_seed([3; 32]);
        let chains = dh_initialize(&Secret::new([1; 32]), &Secret::new([2; 32]));
        let mut sets = InboundSets::new(max_tags, &mut rng);
        let owner = Owner { peer: PublicKey([0; 32]), part: Part::Session(1) };
        let window = Window { min: 24, max: 160 };
        let id = sets.insert(owner, 0, chains.clone(), window, Instant::FAR_FUTURE);
        (sets, id, OutboundSet::new(0, chains.0, chains.1))
    }

    #[test]
    fn the_window_grows_and_trims_within_its_bounds() {
        let (mut sets, id, mut out) = sets(100_000);
        assert_eq!(sets.tags(), 24);
        for i in 0..5_000u32 {
            let (n, tag, key) = out.next().unwrap();
            if i % 3 == 1 {
                continue; // lost
            }
            assert_eq!(sets.find(&tag), Some((id, n)));
            assert_eq!(sets.key(id, n), Some(key.clone()));
            assert_eq!(sets.key(id, n), Some(key), "asking twice must not spend it");
            sets.spend(id, n);
            assert_eq!(sets.find(&tag), None);
            assert!(sets.tags() <= 320 && sets.get(id).unwrap().slots.len() <= 320 + 1);
        }
        sets.remove(id);
        assert_eq!(sets.tags(), 0);
    }

    #[test]
    fn reordered_messages_within_the_window_find_their_keys() {
        let (mut sets, id, mut out) = sets(100_000);
        let sent: Vec<_> = (0..24).map(|_| out.next().unwrap()).collect();
        for (n, tag, key) in sent.iter().rev() {
            assert_eq!(sets.find(tag), Some((id, *n)));
            assert_eq!(sets.key(id, *n).as_ref(), Some(key));
            sets.spend(id, *n);
        }
    }

    #[test]
    fn the_limit_of_tags_holds() {
        let (mut sets, id, mut out) = sets(30);
        for _ in 0..200 {
            let (n, tag, _) = out.next().unwrap();
            if sets.find(&tag).is_some() {
                sets.spend(id, n);
            }
            assert!(sets.tags() <= 30);
        }
        assert!(sets.tags_refused > 0);
    }
}
