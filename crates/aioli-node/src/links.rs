//! Links that are worse than the real ones, for test networks: what comes from other routers is handed on later,
//! and some of it is lost.
//!
//! ```text
//!   sockets ─► Arrivals: each with the moment when it is due ─► router
//! ```
//!
//! A lost datagram is gone. A lost segment of a TCP connection comes a retransmission later, and everything behind
//! it waits: that is what loss does to TCP.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use aioli_core::{Instant, Rng};
use aioli_router::ConnId;

/// What one TCP segment carries, for counting losses.
const SEGMENT: usize = 1_448;
/// What a retransmission takes besides a round trip.
const RETRANSMISSION: Duration = Duration::from_millis(200);
/// Bytes of one connection that are under way; the peer waits while there are more.
const MAX_CONNECTION_BYTES: usize = 1 << 20;
/// Bytes of all datagrams that are under way; more are lost, as in a queue that is full.
const MAX_DATAGRAM_BYTES: usize = 16 << 20;
/// Losses are given in parts of this.
pub const LOSS_PARTS: u32 = 10_000;

/// How every link of a router to others behaves, besides what it does by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkConditions {
    /// How much later what is sent arrives.
    pub delay: Duration,
    /// How many of [`LOSS_PARTS`] datagrams and segments are lost.
    pub loss: u32,
    /// Decides which.
    pub seed: [u8; 32],
}

/// What has come and is handed on later.
#[derive(Debug)]
pub(crate) struct Arrivals {
    conditions: LinkConditions,
    rng: Rng,
    /// By the moment when they are due, then in the order in which they came.
    queue: BTreeMap<(Instant, u64), Arrival>,
    number: u64,
    datagram_bytes: usize,
    connections: BTreeMap<ConnId, UnderWay>,
}

/// One of them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// A datagram.
    Datagram { from: SocketAddr, bytes: Vec<u8> },
    /// Bytes of a connection.
    Bytes { conn: ConnId, bytes: Vec<u8> },
    /// The peer has closed it.
    End { conn: ConnId },
}

/// What of a connection is under way.
#[derive(Debug, Default)]
struct UnderWay {
    bytes: usize,
    /// When the last of it is due.
    last: Instant,
}

impl Arrivals {
    pub(crate) fn new(conditions: LinkConditions) -> Self {
        Self {
            conditions,
            rng: Rng::from_seed(conditions.seed),
            queue: BTreeMap::new(),
            number: 0,
            datagram_bytes: 0,
            connections: BTreeMap::new(),
        }
    }

    /// How long the handshake of a TCP connection takes whoever dials.
    pub(crate) const fn round_trip(&self) -> Duration {
        self.conditions.delay.saturating_mul(2)
    }

    /// A datagram has come.
    pub(crate) fn datagram(&mut self, from: SocketAddr, bytes: &[u8], now: Instant) {
        let full = self.datagram_bytes + bytes.len() > MAX_DATAGRAM_BYTES;
        if self.is_lost() || full {
            return;
        }
        self.datagram_bytes += bytes.len();
        self.push(now + self.conditions.delay, Arrival::Datagram { from, bytes: bytes.to_vec() });
    }

    /// How much a connection may bring now.
    pub(crate) fn room(&self, conn: ConnId) -> usize {
        let under_way = self.connections.get(&conn).map_or(0, |c| c.bytes);
        MAX_CONNECTION_BYTES.saturating_sub(under_way)
    }

    /// Bytes of a connection have come.
    pub(crate) fn bytes(&mut self, conn: ConnId, bytes: &[u8], now: Instant) {
        let lost = bytes.chunks(SEGMENT).filter(|_| self.is_lost()).count();
        let late =
            (self.round_trip() + RETRANSMISSION).saturating_mul(u32::try_from(lost).unwrap_or(u32::MAX));
        let due = self.due(conn, now + self.conditions.delay + late, bytes.len());
        self.push(due, Arrival::Bytes { conn, bytes: bytes.to_vec() });
    }

    /// A connection was closed by the peer.
    pub(crate) fn end(&mut self, conn: ConnId, now: Instant) {
        let due = self.due(conn, now + self.conditions.delay, 0);
        self.push(due, Arrival::End { conn });
    }

    /// A connection is gone: what is under way is for nobody.
    pub(crate) fn forget(&mut self, conn: ConnId) {
        if self.connections.remove(&conn).is_some() {
            self.queue.retain(|_, arrival| match arrival {
                Arrival::Datagram { .. } => true,
                Arrival::Bytes { conn: of, .. } | Arrival::End { conn: of } => *of != conn,
            });
        }
    }

    /// When the next is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.queue.keys().next().map(|(due, _)| *due)
    }

    /// One that is due.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<Arrival> {
        let first = self.queue.first_entry().filter(|first| first.key().0 <= now)?;
        let arrival = first.remove();
        match &arrival {
            Arrival::Datagram { bytes, .. } => self.datagram_bytes -= bytes.len(),
            Arrival::Bytes { conn, bytes } => {
                if let Some(connection) = self.connections.get_mut(conn) {
                    connection.bytes -= bytes.len();
                }
            }
            Arrival::End { .. } => {}
        }
        Some(arrival)
    }

    /// When something of a connection is due that would be at `earliest` by itself: not before what came before it.
    fn due(&mut self, conn: ConnId, earliest: Instant, bytes: usize) -> Instant {
        let connection = self.connections.entry(conn).or_default();
        connection.last = connection.last.max(earliest);
        connection.bytes += bytes;
        connection.last
    }

    fn is_lost(&mut self) -> bool {
        self.rng.chance(u64::from(self.conditions.loss), u64::from(LOSS_PARTS))
    }

    fn push(&mut self, due: Instant, arrival: Arrival) {
        self.queue.insert((due, self.number), arrival);
        self.number += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_millis(50);
    const A: ConnId = ConnId(1);

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1_000)
    }

    fn arrivals(loss: u32) -> Arrivals {
        Arrivals::new(LinkConditions { delay: DELAY, loss, seed: [7; 32] })
    }

    fn from() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 9))
    }

    #[test]
    fn everything_comes_late_and_in_order() {
        let mut line = arrivals(0);
        line.bytes(A, b"one", at(0));
        line.datagram(from(), b"two", at(1));
        line.bytes(A, b"three", at(2));
        line.end(A, at(2));
        assert_eq!(line.next(), Some(at(50)));
        assert_eq!(line.pop(at(49)), None);
        assert_eq!(line.pop(at(50)), Some(Arrival::Bytes { conn: A, bytes: b"one".to_vec() }));
        assert_eq!(line.pop(at(50)), None);
        assert_eq!(line.pop(at(99)), Some(Arrival::Datagram { from: from(), bytes: b"two".to_vec() }));
        assert_eq!(line.pop(at(99)), Some(Arrival::Bytes { conn: A, bytes: b"three".to_vec() }));
        assert_eq!(line.pop(at(99)), Some(Arrival::End { conn: A }));
        assert_eq!((line.next(), line.datagram_bytes, line.room(A)), (None, 0, MAX_CONNECTION_BYTES));
    }

    #[test]
    fn lost_datagrams_are_gone_and_lost_segments_late() {
        let mut line = arrivals(LOSS_PARTS / 10);
        (0..1_000).for_each(|_| line.datagram(from(), b"x", at(0)));
        let arrived = line.queue.len();
        assert!((850..950).contains(&arrived), "{arrived} of 1000 arrived");
        let mut line = arrivals(LOSS_PARTS);
        line.datagram(from(), b"x", at(0));
        assert_eq!(line.next(), None);
        // One segment of two is as good as none: both are lost, and what follows waits for them.
        line.bytes(A, &[0; SEGMENT + 1], at(0));
        line.end(A, at(0));
        assert_eq!(line.next(), Some(at(50 + 2 * 300)));
        assert_eq!(line.pop(at(649)), None);
        assert!(matches!(line.pop(at(650)), Some(Arrival::Bytes { .. })));
        assert_eq!(line.pop(at(650)), Some(Arrival::End { conn: A }));
    }

    #[test]
    fn the_same_seed_loses_the_same() {
        let run = || {
            let mut line = arrivals(3_000);
            (0..100_u8).for_each(|n| line.datagram(from(), &[n], at(0)));
            line.queue.into_values().collect::<Vec<_>>()
        };
        assert_eq!(run(), run());
    }

    #[test]
    fn what_is_under_way_is_bounded_and_a_closed_connection_leaves_nothing() {
        let mut line = arrivals(0);
        let large = vec![0; 65_000];
        (0..1_000).for_each(|_| line.datagram(from(), &large, at(0)));
        assert!(line.datagram_bytes <= MAX_DATAGRAM_BYTES);
        line.bytes(A, &vec![0; MAX_CONNECTION_BYTES], at(0));
        assert_eq!(line.room(A), 0);
        let datagrams = line.queue.len() - 1;
        line.forget(A);
        assert_eq!((line.queue.len(), line.room(A)), (datagrams, MAX_CONNECTION_BYTES));
    }
}
