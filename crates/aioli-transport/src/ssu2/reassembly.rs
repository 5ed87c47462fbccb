//! Messages on their way in: pieces put together within quotas, and messages
//! that come twice known again (`ssu2#i2np-message-fragmentation`,
//! `ssu2#i2np-message-duplication`).

use std::collections::{BTreeMap, VecDeque};

use aioli_core::map::{Table, table};
use aioli_core::{Duration, Instant, Rng};
use aioli_wire::i2np::{MAX_BODY_SIZE, Message, MessageType, SHORT_HEADER};
use aioli_wire::ssu2::FollowOn;
use aioli_wire::tunnel::TUNNEL_DATA_SIZE;

use super::Limits;

/// How long a message id is known at least.
const REMEMBERED: Duration = Duration::from_secs(30);
/// The most that can be put together.
const MAX_MESSAGE: usize = SHORT_HEADER + MAX_BODY_SIZE;
/// What a piece costs besides its bytes.
const PIECE_COST: usize = 64;
/// Most room that is kept behind the first piece for others, and no more than that piece has: so less than
/// twice what is counted is held. Of tunnel messages the size is known, and counted.
const SECOND_PIECE: usize = 1_024;

/// Bytes that all peers' incomplete messages may take, and how many do.
#[derive(Debug)]
pub(super) struct Budget {
    pub(super) used: usize,
    pub(super) limit: usize,
}

/// A message of which pieces are missing. Most come in order and are put together as they come.
#[derive(Debug, Default)]
struct Partial {
    /// What the first piece has come as: the message's header, and as its body the pieces up to the
    /// first that is missing.
    joined: Option<Message>,
    /// How many they are.
    next: u8,
    /// Pieces beyond one that is missing.
    ahead: BTreeMap<u8, Vec<u8>>,
    last: Option<u8>,
    bytes: usize,
    /// What it counts against quotas.
    cost: usize,
}

impl Partial {
    fn has(&self, number: u8) -> bool {
        number < self.next || self.ahead.contains_key(&number)
    }

    fn highest(&self) -> Option<u8> {
        self.ahead.keys().next_back().copied().or_else(|| self.next.checked_sub(1))
    }

    fn pieces(&self) -> usize {
        usize::from(self.next) + self.ahead.len()
    }

    /// Notes a piece that is new; the first has a header at least.
    fn insert(&mut self, number: u8, bytes: &[u8]) {
        self.bytes += bytes.len();
        self.cost += bytes.len() + PIECE_COST;
        if number != self.next {
            self.ahead.insert(number, bytes.to_vec());
            return;
        }
        if let Some(message) = &mut self.joined {
            message.body.extend_from_slice(bytes);
        } else {
            let more = if bytes.first() == Some(&MessageType::TunnelData.code()) {
                let more = (SHORT_HEADER + TUNNEL_DATA_SIZE).saturating_sub(bytes.len());
                self.cost += more;
                more
            } else {
                bytes.len().min(SECOND_PIECE)
            };
            self.joined = Message::decode_short_with_room(bytes, more).ok();
        }
        self.next += 1;
        while let Some(bytes) = self.ahead.remove(&self.next) {
            if let Some(message) = &mut self.joined {
                message.body.extend_from_slice(&bytes);
            }
            self.next += 1;
        }
    }
}

/// What a piece brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// More pieces are missing.
    Waiting,
    /// A whole message.
    Whole(Message),
    /// It had come before.
    Duplicate,
    /// It fits in no message.
    Malformed,
}

/// One peer's messages on their way in.
#[derive(Debug)]
pub(super) struct Reassembly {
    /// In the order in which they began.
    partial: VecDeque<Partial>,
    /// When each began, and its message.
    order: VecDeque<(Instant, u32)>,
    /// How long each may take.
    timeout: Duration,
    bytes: usize,
    /// Messages that came whole, of this period and of the last.
    recent: [Table<u32, ()>; 2],
    since: Instant,
    /// Messages given up.
    pub(super) dropped: u64,
}

impl Reassembly {
    pub(super) fn new(now: Instant, rng: &mut Rng) -> Self {
        Self {
            partial: VecDeque::new(),
            order: VecDeque::new(),
            timeout: Duration::ZERO,
            bytes: 0,
            recent: [table(rng), table(rng)],
            since: now,
            dropped: 0,
        }
    }

    /// Notes a message that came whole. False if it had come before.
    pub(super) fn on_whole(&mut self, id: u32, limits: &Limits, now: Instant) -> bool {
        if now.since(self.since) > REMEMBERED || self.recent[0].len() >= limits.recent_messages {
            self.recent.swap(0, 1);
            self.recent[0].clear();
            self.since = now;
        }
        !self.recent[1].contains_key(&id) && self.recent[0].insert(id, ()).is_none()
    }

    /// Takes the first piece, which begins with the short header.
    pub(super) fn on_first(
        &mut self,
        bytes: &[u8],
        limits: &Limits,
        budget: &mut Budget,
        now: Instant,
    ) -> Taken {
        let Some(id) = bytes.get(1..5).and_then(|b| b.try_into().ok()).map(u32::from_be_bytes) else {
            return Taken::Malformed;
        };
        self.insert(id, 0, false, bytes, limits, budget, now)
    }

    /// Takes a later piece.
    pub(super) fn on_follow_on(
        &mut self,
        piece: &FollowOn<'_>,
        limits: &Limits,
        budget: &mut Budget,
        now: Instant,
    ) -> Taken {
        self.insert(piece.message, piece.number, piece.last, piece.bytes, limits, budget, now)
    }

    #[expect(clippy::too_many_arguments, reason = "a piece in parts, and what bounds it")]
    fn insert(
        &mut self,
        id: u32,
        number: u8,
        last: bool,
        bytes: &[u8],
        limits: &Limits,
        budget: &mut Budget,
        now: Instant,
    ) -> Taken {
        self.expire(limits, budget, now);
        let at = match self.find(id) {
            Some(at) => at,
            None if self.recent.iter().any(|r| r.contains_key(&id)) => return Taken::Duplicate,
            None => {
                self.order.push_back((now, id));
                self.partial.push_back(Partial::default());
                self.timeout = limits.reassembly_timeout;
                self.partial.len() - 1
            }
        };
        let partial = &mut self.partial[at];
        if partial.has(number) {
            return Taken::Duplicate;
        }
        let beyond = partial.last.is_some_and(|l| number > l || last);
        let below = last && partial.highest().is_some_and(|n| n > number);
        let too_large = partial.bytes + bytes.len() > MAX_MESSAGE;
        if beyond || below || too_large || (number == 0 && bytes.len() < SHORT_HEADER) {
            self.give_up(at, budget);
            return Taken::Malformed;
        }
        let before = partial.cost;
        partial.insert(number, bytes);
        if last {
            partial.last = Some(number);
        }
        self.bytes += partial.cost - before;
        budget.used += partial.cost - before;
        if partial.last.is_some_and(|l| partial.pieces() == usize::from(l) + 1) {
            let whole = self.remove(at, budget).and_then(|partial| partial.joined);
            self.on_whole(id, limits, now);
            return whole.map_or(Taken::Malformed, Taken::Whole);
        }
        self.enforce(limits, budget);
        Taken::Waiting
    }

    /// Where a message is; most are among the last.
    fn find(&self, id: u32) -> Option<usize> {
        self.order.iter().rposition(|(_, i)| *i == id)
    }

    /// When to call [`Self::expire`].
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.order.front().map(|(began, _)| *began + self.timeout)
    }

    /// Gives up what waits too long.
    pub(super) fn expire(&mut self, limits: &Limits, budget: &mut Budget, now: Instant) {
        while self.order.front().is_some_and(|(began, _)| now.since(*began) >= limits.reassembly_timeout) {
            self.give_up(0, budget);
        }
    }

    /// Gives up the oldest while there is too much.
    fn enforce(&mut self, limits: &Limits, budget: &mut Budget) {
        while !self.partial.is_empty()
            && (self.bytes > limits.reassembly_bytes_per_peer
                || self.partial.len() > limits.reassembly_messages_per_peer
                || budget.used > budget.limit)
        {
            self.give_up(0, budget);
        }
    }

    fn give_up(&mut self, at: usize, budget: &mut Budget) {
        self.remove(at, budget);
        self.dropped += 1;
    }

    fn remove(&mut self, at: usize, budget: &mut Budget) -> Option<Partial> {
        self.order.remove(at);
        let partial = self.partial.remove(at)?;
        self.bytes -= partial.cost;
        budget.used -= partial.cost;
        Some(partial)
    }

    /// The session ends: gives back what it took.
    pub(super) fn release(&mut self, budget: &mut Budget) {
        budget.used -= self.bytes;
        self.bytes = 0;
        self.partial.clear();
        self.order.clear();
    }
}

#[cfg(test)]
mod tests {
    use aioli_core::Rng;

    use super::*;

    const NOW: Instant = Instant::ZERO;

    fn budget() -> Budget {
        Budget { used: 0, limit: 1 << 20 }
    }

    fn first(id: u32) -> Vec<u8> {
        let mut bytes = vec![20];
        bytes.extend_from_slice(&id.to_be_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.push(0);
        bytes
    }

    fn later(id: u32, number: u8, last: bool, bytes: &[u8]) -> FollowOn<'_> {
        FollowOn { number, last, message: id, bytes }
    }

    #[test]
    fn pieces_in_any_order_make_the_message_once() {
        let (limits, mut budget, mut rng) = (Limits::default(), budget(), Rng::from_seed([3; 32]));
        let mut reassembly = Reassembly::new(NOW, &mut Rng::from_seed([1; 32]));
        for id in 0..50 {
            let mut order = [0, 1, 2, 3];
            rng.shuffle(&mut order);
            let mut whole: Vec<Vec<u8>> = Vec::new();
            for n in order {
                let taken = if n == 0 {
                    reassembly.on_first(&first(id), &limits, &mut budget, NOW)
                } else {
                    reassembly.on_follow_on(&later(id, n, n == 3, &[n]), &limits, &mut budget, NOW)
                };
                if let Taken::Whole(message) = taken {
                    let mut bytes = Vec::new();
                    message.encode_short(&mut bytes);
                    whole.push(bytes);
                }
            }
            assert_eq!(whole, [[first(id), vec![1, 2, 3]].concat()]);
            let again = reassembly.on_follow_on(&later(id, 1, false, &[1]), &limits, &mut budget, NOW);
            assert_eq!(again, Taken::Duplicate);
            assert!(!reassembly.on_whole(id, &limits, NOW));
        }
        assert_eq!((budget.used, reassembly.bytes, reassembly.order.len()), (0, 0, 0));
    }

    #[test]
    fn quotas_and_time_bound_what_is_kept() {
        let limits = Limits {
            reassembly_bytes_per_peer: 3_000,
            reassembly_messages_per_peer: 20,
            ..Limits::default()
        };
        let (mut budget, mut reassembly) = (budget(), Reassembly::new(NOW, &mut Rng::from_seed([1; 32])));
        for id in 0..100 {
            reassembly.on_follow_on(&later(id, 1, false, &[7; 500]), &limits, &mut budget, NOW);
            assert!(reassembly.bytes <= 3_000 && budget.used == reassembly.bytes);
        }
        assert_eq!((reassembly.partial.len(), reassembly.dropped), (5, 95));
        for id in 200..300 {
            reassembly.on_follow_on(&later(id, 1, false, &[7]), &limits, &mut budget, NOW);
        }
        assert_eq!(reassembly.partial.len(), 20);
        let mut tight = Budget { used: budget.used, limit: 100 };
        reassembly.on_follow_on(&later(900, 1, false, &[7]), &limits, &mut tight, NOW);
        assert!(tight.used <= 100);
        let late = NOW + limits.reassembly_timeout + Duration::from_secs(1);
        reassembly.expire(&limits, &mut tight, late);
        assert_eq!((reassembly.partial.len(), tight.used), (0, 0));
    }

    #[test]
    fn impossible_pieces_end_their_message() {
        let limits = Limits::default();
        for (a, b) in [((2, true), (3, false)), ((3, false), (2, true)), ((2, true), (1, true))] {
            let (mut budget, mut reassembly) = (budget(), Reassembly::new(NOW, &mut Rng::from_seed([1; 32])));
            reassembly.on_follow_on(&later(1, a.0, a.1, &[7]), &limits, &mut budget, NOW);
            let taken = reassembly.on_follow_on(&later(1, b.0, b.1, &[7]), &limits, &mut budget, NOW);
            assert_eq!((taken, budget.used), (Taken::Malformed, 0));
        }
    }
}
