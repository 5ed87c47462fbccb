//! How much peers may open at a server: at once, in a minute, in an hour, in a
//! day; and how often they may post. What is remembered of peers is bounded.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aioli_wire::DestinationHash;
use tokio::time::Instant;

use super::config::Limits;

/// Peers remembered at most; then one without a connection makes room.
const MAX_PEERS: usize = 10_000;
/// In which posts are counted.
const POST_WINDOW: Duration = Duration::from_secs(5 * 60);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How often something has happened since the start of a window.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    since: Option<Instant>,
    times: u32,
}

impl Count {
    /// Whether once more is too often.
    fn is_full(&self, limit: u32, window: Duration, now: Instant) -> bool {
        limit > 0 && self.times >= limit && self.since.is_some_and(|since| now.duration_since(since) < window)
    }

    fn add(&mut self, window: Duration, now: Instant) {
        if self.since.is_none_or(|since| now.duration_since(since) >= window) {
            *self = Self { since: Some(now), times: 0 };
        }
        self.times = self.times.saturating_add(1);
    }
}

/// What one peer, or all of them, have opened.
#[derive(Clone, Copy, Debug, Default)]
struct Usage {
    now: u32,
    opened: [Count; 3],
    posts: Count,
    last: Option<Instant>,
}

impl Usage {
    fn is_full(&self, at_once: u32, windows: [u32; 3], now: Instant) -> bool {
        let limits = windows.into_iter().zip([MINUTE, HOUR, DAY]);
        let too_often =
            self.opened.iter().zip(limits).any(|(c, (limit, window))| c.is_full(limit, window, now));
        too_often || at_once > 0 && self.now >= at_once
    }

    fn open(&mut self, now: Instant) {
        self.now += 1;
        self.last = Some(now);
        for (count, window) in self.opened.iter_mut().zip([MINUTE, HOUR, DAY]) {
            count.add(window, now);
        }
    }
}

#[derive(Debug, Default)]
struct Book {
    all: Usage,
    peers: BTreeMap<DestinationHash, Usage>,
}

/// What is open at a server, against its limits.
#[derive(Debug)]
pub(super) struct Turnstile {
    limits: Limits,
    book: Mutex<Book>,
}

impl Turnstile {
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, book: Mutex::default() })
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a peer's stream in, for as long as what is returned is kept.
    pub(super) fn enter(self: &Arc<Self>, peer: DestinationHash) -> Option<Entered> {
        let (now, l) = (Instant::now(), &self.limits);
        let mut book = self.book();
        let usage = book.peers.get(&peer).copied().unwrap_or_default();
        let full = book.all.is_full(l.connections, [l.minute, l.hour, l.day], now)
            || usage.is_full(l.peer_connections, [l.peer_minute, l.peer_hour, l.peer_day], now);
        if full || !book.make_room(&peer) {
            return None;
        }
        book.all.open(now);
        book.peers.entry(peer).or_default().open(now);
        drop(book);
        Some(Entered { turnstile: Arc::clone(self), peer })
    }

    /// Whether a peer may post once more; if so it is counted.
    pub(super) fn post(&self, peer: DestinationHash) -> bool {
        let now = Instant::now();
        let mut book = self.book();
        let Book { all, peers } = &mut *book;
        let full = |usage: &Usage, limit| usage.posts.is_full(limit, POST_WINDOW, now);
        // It has a stream, so it is there.
        let Some(usage) = peers.get_mut(&peer) else { return false };
        if full(all, self.limits.posts) || full(usage, self.limits.peer_posts) {
            return false;
        }
        all.posts.add(POST_WINDOW, now);
        usage.posts.add(POST_WINDOW, now);
        true
    }
}

impl Book {
    /// Makes room for a peer; false if all that are remembered have streams.
    fn make_room(&mut self, peer: &DestinationHash) -> bool {
        if self.peers.len() < MAX_PEERS || self.peers.contains_key(peer) {
            return true;
        }
        let idle = self.peers.iter().filter(|(_, usage)| usage.now == 0);
        let oldest = idle.min_by_key(|(_, usage)| usage.last).map(|(peer, _)| *peer);
        oldest.is_some_and(|peer| self.peers.remove(&peer).is_some())
    }
}

/// A stream that was let in.
#[derive(Debug)]
pub(super) struct Entered {
    turnstile: Arc<Turnstile>,
    peer: DestinationHash,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut book = self.turnstile.book();
        book.all.now = book.all.now.saturating_sub(1);
        if let Some(usage) = book.peers.get_mut(&self.peer) {
            usage.now = usage.now.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: u32) -> DestinationHash {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        DestinationHash::new(bytes)
    }

    #[tokio::test(start_paused = true)]
    async fn peers_are_held_to_their_limits() {
        let limits = Limits { peer_connections: 2, peer_minute: 3, connections: 3, ..Limits::default() };
        let door = Turnstile::new(limits);
        let first = door.enter(peer(1)).unwrap();
        let second = door.enter(peer(1)).unwrap();
        assert!(door.enter(peer(1)).is_none(), "two at once");
        let other = door.enter(peer(2)).unwrap();
        assert!(door.enter(peer(3)).is_none(), "three of all");
        drop(first);
        let third = door.enter(peer(1)).unwrap();
        drop((second, third, other));
        assert_eq!(door.book().all.now, 0);
        assert!(door.enter(peer(1)).is_none(), "three in a minute");
        tokio::time::advance(MINUTE).await;
        assert!(door.enter(peer(1)).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn posts_are_counted() {
        let door = Turnstile::new(Limits { peer_posts: 2, posts: 3, ..Limits::default() });
        let _open = [door.enter(peer(1)).unwrap(), door.enter(peer(2)).unwrap()];
        assert!(door.post(peer(1)) && door.post(peer(1)) && !door.post(peer(1)));
        assert!(door.post(peer(2)) && !door.post(peer(2)), "three of all");
        tokio::time::advance(POST_WINDOW).await;
        assert!(door.post(peer(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn peers_that_are_remembered_are_bounded() {
        let door = Turnstile::new(Limits { connections: 0, peer_minute: 1, ..Limits::default() });
        let kept = door.enter(peer(0)).unwrap();
        for n in 1..=u32::try_from(MAX_PEERS).unwrap() + 10 {
            assert!(door.enter(peer(n)).is_some());
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        assert_eq!(door.book().peers.len(), MAX_PEERS);
        assert!(door.enter(peer(0)).is_none(), "one that is here is not forgotten");
        drop(kept);
    }
}
