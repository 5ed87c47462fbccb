//! An endpoint: puts fragments together again, in whatever order they come.
//!
//! They nearly always come in order, so a message grows in one buffer and only
//! what came early is kept apart. Whoever fills a tunnel can make its endpoint
//! keep fragments, so memory is bounded: within a tunnel the oldest incomplete
//! message gives way; over all, the tunnels that hold the most lose what they have.

use std::collections::{BTreeMap, BTreeSet};

use aioli_core::{Duration, Instant};
use aioli_wire::i2np::{MAX_BODY_SIZE, STANDARD_HEADER};
use aioli_wire::tunnel::{Fragment, TunnelDelivery};

/// Fragments wait for others this long.
const PATIENCE: Duration = Duration::from_secs(45);
/// A message is never larger.
pub(crate) const MAX_MESSAGE: usize = MAX_BODY_SIZE + STANDARD_HEADER;
/// What an incomplete message costs besides its bytes, roughly.
const MESSAGE_OVERHEAD: usize = 256;
/// What a fragment that came early costs besides its bytes, roughly.
const EARLY_OVERHEAD: usize = 64;

/// A fragment of a message in several.
#[derive(Clone, Copy)]
struct Part<'a> {
    number: u8,
    delivery: Option<TunnelDelivery>,
    last: bool,
    data: &'a [u8],
}

/// What became of a part.
enum Taken {
    /// The message is whole.
    Whole,
    /// It waits for others.
    Waits,
    /// It is here already, or contradicts what is.
    Refused,
}

/// A message of which fragments are missing.
#[derive(Clone, Debug)]
struct Partial {
    delivery: Option<TunnelDelivery>,
    /// Fragments 0 to `next - 1`.
    joined: Vec<u8>,
    next: u8,
    early: BTreeMap<u8, Vec<u8>>,
    last: Option<u8>,
    cost: usize,
    until: Instant,
}

impl Partial {
    const fn new(until: Instant) -> Self {
        Self {
            delivery: None,
            joined: Vec::new(),
            next: 0,
            early: BTreeMap::new(),
            last: None,
            cost: MESSAGE_OVERHEAD,
            until,
        }
    }

    fn push(&mut self, part: &Part<'_>) -> Taken {
        let highest = self.early.last_key_value().map(|(n, _)| *n).or_else(|| self.next.checked_sub(1));
        let contradicts = self.last.is_some_and(|last| part.last || part.number > last)
            || (part.last && highest.is_some_and(|highest| highest > part.number));
        let known = part.number < self.next || self.early.contains_key(&part.number);
        if contradicts || known || self.cost + part.data.len() > MESSAGE_OVERHEAD + 2 * MAX_MESSAGE {
            return Taken::Refused;
        }
        self.delivery = self.delivery.or(part.delivery);
        if part.last {
            self.last = Some(part.number);
        }
        self.cost += part.data.len();
        if part.number > self.next {
            self.early.insert(part.number, part.data.to_vec());
            self.cost += EARLY_OVERHEAD;
            return Taken::Waits;
        }
        self.joined.extend_from_slice(part.data);
        self.next += 1;
        while let Some(data) = self.early.remove(&self.next) {
            self.joined.extend_from_slice(&data);
            self.next += 1;
            self.cost -= EARLY_OVERHEAD;
        }
        if self.joined.len() > MAX_MESSAGE {
            return Taken::Refused;
        }
        if self.last.is_some_and(|last| self.next > last) { Taken::Whole } else { Taken::Waits }
    }
}

/// The incomplete messages of one tunnel.
#[derive(Clone, Debug, Default)]
struct Incomplete {
    messages: BTreeMap<u32, Partial>,
    by_age: BTreeSet<(Instant, u32)>,
    cost: usize,
}

impl Incomplete {
    fn push(&mut self, id: u32, part: &Part<'_>, now: Instant) -> (Taken, Option<Partial>) {
        let partial = self.messages.entry(id).or_insert_with(|| {
            let until = now + PATIENCE;
            self.by_age.insert((until, id));
            self.cost += MESSAGE_OVERHEAD;
            Partial::new(until)
        });
        let before = partial.cost;
        let taken = partial.push(part);
        self.cost = self.cost - before + partial.cost;
        let whole = if matches!(taken, Taken::Whole) { self.remove(id) } else { None };
        (taken, whole)
    }

    fn remove(&mut self, id: u32) -> Option<Partial> {
        let partial = self.messages.remove(&id)?;
        self.by_age.remove(&(partial.until, id));
        self.cost -= partial.cost;
        Some(partial)
    }

    /// Gives up the message that waits longest. False: there is none.
    fn remove_oldest(&mut self) -> bool {
        let oldest = self.by_age.first().map(|(_, id)| *id);
        oldest.is_some_and(|id| self.remove(id).is_some())
    }

    fn expire(&mut self, now: Instant) -> u64 {
        let mut count = 0;
        while self.by_age.first().is_some_and(|(until, _)| *until <= now) && self.remove_oldest() {
            count += 1;
        }
        count
    }
}

/// All incomplete messages of all tunnels that end here.
#[derive(Clone, Debug)]
pub(crate) struct Reassembly {
    tunnels: BTreeMap<u32, Incomplete>,
    cost: usize,
    tunnel_limit: usize,
    limit: usize,
    /// Fragments that came twice or contradict others of their message.
    pub(crate) refused: u64,
    /// Messages that gave way to others.
    pub(crate) evicted: u64,
}

impl Reassembly {
    /// For so many bytes of one tunnel, and of all.
    pub(crate) const fn new(tunnel_limit: usize, limit: usize) -> Self {
        Self { tunnels: BTreeMap::new(), cost: 0, tunnel_limit, limit, refused: 0, evicted: 0 }
    }

    /// Incomplete messages.
    pub(crate) fn len(&self) -> usize {
        self.tunnels.values().map(|t| t.messages.len()).sum()
    }

    /// Takes a fragment of tunnel `tunnel`. Returns the message that it completes.
    pub(crate) fn push(
        &mut self,
        tunnel: u32,
        fragment: &Fragment<'_>,
        now: Instant,
    ) -> Option<(TunnelDelivery, Vec<u8>)> {
        let (id, part) = match *fragment {
            Fragment::First { delivery, id: None, data } => return Some((delivery, data.to_vec())),
            Fragment::First { delivery, id: Some(id), data } => {
                (id, Part { number: 0, delivery: Some(delivery), last: false, data })
            }
            Fragment::FollowOn { id, number, last, data } => {
                (id, Part { number, delivery: None, last, data })
            }
        };
        let incomplete = self.tunnels.entry(tunnel).or_default();
        let before = incomplete.cost;
        let (taken, whole) = incomplete.push(id, &part, now);
        while incomplete.cost > self.tunnel_limit && incomplete.remove_oldest() {
            self.evicted += 1;
        }
        self.cost = self.cost - before + incomplete.cost;
        if incomplete.messages.is_empty() {
            self.tunnels.remove(&tunnel);
        }
        if matches!(taken, Taken::Refused) {
            self.refused += 1;
        }
        if self.cost > self.limit {
            self.evict_largest();
        }
        let whole = whole?;
        Some((whole.delivery?, whole.joined))
    }

    /// Forgets what waited too long; returns how many messages that were.
    pub(crate) fn expire(&mut self, now: Instant) -> u64 {
        let count = self.tunnels.values_mut().map(|t| t.expire(now)).sum();
        self.tunnels.retain(|_, t| !t.messages.is_empty());
        self.cost = self.tunnels.values().map(|t| t.cost).sum();
        count
    }

    /// A tunnel has ended.
    pub(crate) fn end(&mut self, tunnel: u32) {
        if let Some(incomplete) = self.tunnels.remove(&tunnel) {
            self.cost -= incomplete.cost;
        }
    }

    /// Makes room for an eighth at once: it takes a look at every tunnel, which
    /// nobody may make us do for each fragment.
    fn evict_largest(&mut self) {
        let mut by_cost: Vec<(usize, u32)> = self.tunnels.iter().map(|(id, t)| (t.cost, *id)).collect();
        by_cost.sort_unstable();
        let enough = self.limit - self.limit / 8;
        while self.cost > enough
            && let Some((_, tunnel)) = by_cost.pop()
        {
            self.evicted += self.tunnels.get(&tunnel).map_or(0, |t| t.messages.len() as u64);
            self.end(tunnel);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, Strategy, any, prop_assert_eq, proptest};

    use super::*;

    const LOCAL: TunnelDelivery = TunnelDelivery::Local;

    fn parts(id: u32, message: &[u8], size: usize) -> Vec<Fragment<'_>> {
        let count = message.chunks(size).count();
        let part = |(i, data)| match i {
            0 => Fragment::First { delivery: LOCAL, id: Some(id), data },
            _ => Fragment::FollowOn { id, number: i as u8, last: i + 1 == count, data },
        };
        message.chunks(size).enumerate().map(part).collect()
    }

    fn shuffled() -> impl Strategy<Value = Vec<usize>> {
        Just((0..20).collect::<Vec<_>>()).prop_shuffle()
    }

    proptest! {
        #[test]
        fn any_order_gives_the_message_once(order in shuffled(), twice in any::<bool>()) {
            let message: Vec<u8> = (0..2_000_u32).map(|i| i as u8).collect();
            let parts = parts(5, &message, 100);
            let mut held = Reassembly::new(1 << 20, 1 << 20);
            let mut done = Vec::new();
            for (i, at) in order.iter().enumerate() {
                done.extend(held.push(9, &parts[*at], Instant::ZERO));
                if twice && i < 19 {
                    done.extend(held.push(9, &parts[*at], Instant::ZERO));
                }
            }
            prop_assert_eq!(done, [(LOCAL, message)]);
            prop_assert_eq!((held.len(), held.cost, held.refused), (0, 0, if twice { 19 } else { 0 }));
        }

        #[test]
        fn no_fragments_break_the_accounts(
            fragments in proptest::collection::vec((0_u32..3, 0_u32..5, 0_u8..64, any::<bool>(), 0_usize..990), 1..200),
        ) {
            let data = [7; 1_000];
            let mut held = Reassembly::new(20_000, 40_000);
            for (tunnel, id, number, last, size) in fragments {
                let data = &data[..size];
                let fragment = match number {
                    0 => Fragment::First { delivery: LOCAL, id: Some(id), data },
                    _ => Fragment::FollowOn { id, number, last, data },
                };
                held.push(tunnel, &fragment, Instant::ZERO);
                prop_assert_eq!(held.cost, held.tunnels.values().map(|t| t.cost).sum::<usize>());
                proptest::prop_assert!(held.cost <= 40_000);
                proptest::prop_assert!(held.tunnels.values().all(|t| t.cost <= 20_000));
            }
            held.expire(Instant::FAR_FUTURE);
            prop_assert_eq!((held.len(), held.cost), (0, 0));
        }
    }

    #[test]
    fn empty_fragments_cost_too() {
        let mut held = Reassembly::new(100 * MESSAGE_OVERHEAD, 1 << 30);
        for id in 0..1_000 {
            let fragment = Fragment::FollowOn { id, number: 1, last: false, data: &[] };
            held.push(1, &fragment, Instant::from_micros(u64::from(id)));
        }
        assert!(held.len() <= 100, "{} messages", held.len());
        assert_eq!(held.evicted, 1_000 - held.len() as u64);
        let newest = Fragment::FollowOn { id: 999, number: 1, last: false, data: &[] };
        held.push(1, &newest, Instant::ZERO);
        assert_eq!(held.refused, 1, "the oldest gave way, the newest is there");
    }

    #[test]
    fn who_holds_the_most_gives_way() {
        let mut held = Reassembly::new(1 << 20, 20_000);
        let part = |id| Fragment::First { delivery: LOCAL, id: Some(id), data: &[1; 900] };
        held.push(1, &part(1), Instant::ZERO);
        for id in 0..40 {
            held.push(2, &part(id), Instant::ZERO);
        }
        let end = Fragment::FollowOn { id: 1, number: 1, last: true, data: &[2; 5] };
        assert_eq!(held.push(1, &end, Instant::ZERO).map(|(_, m)| m.len()), Some(905));
    }

    #[test]
    fn many_small_holders_do_not_make_us_look_at_all_of_them_each_time() {
        const TUNNELS: u32 = 2_000;
        let mut held = Reassembly::new(1 << 20, TUNNELS as usize * MESSAGE_OVERHEAD);
        let mut looks = 0;
        for n in 0..20 * TUNNELS {
            let fragment = Fragment::FollowOn { id: n, number: 1, last: false, data: &[] };
            let before = held.evicted;
            held.push(n % TUNNELS, &fragment, Instant::ZERO);
            looks += usize::from(held.evicted > before);
        }
        assert!(held.evicted > u64::from(TUNNELS));
        assert!(looks < 200, "{looks} looks");
    }

    #[test]
    fn a_message_with_two_ends_is_none() {
        let mut held = Reassembly::new(1 << 20, 1 << 20);
        let follow = |number, last| Fragment::FollowOn { id: 1, number, last, data: &[0; 10] };
        let now = Instant::ZERO;
        assert_eq!(held.push(1, &follow(3, true), now), None);
        assert_eq!(held.push(1, &follow(5, false), now), None, "behind the end");
        assert_eq!(held.push(1, &follow(2, true), now), None, "before a known fragment");
        assert_eq!(held.refused, 2);
        let first = Fragment::First { delivery: LOCAL, id: Some(1), data: &[0; 10] };
        assert_eq!(held.push(1, &first, now), None);
        assert_eq!(held.push(1, &follow(1, false), now), None);
        assert_eq!(held.push(1, &follow(2, false), now).map(|(_, m)| m.len()), Some(40));
    }
}
