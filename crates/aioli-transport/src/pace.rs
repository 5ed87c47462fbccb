//! New connections per minute, ours and others': each takes an entry in the
//! connection table of every NAT on its way, for minutes even if it fails.
//!
//! A dial beyond the rate waits its turn, if that comes soon; a connection
//! from outside beyond the rate is refused.

use std::collections::VecDeque;
use std::net::SocketAddr;

use aioli_core::Instant;
use aioli_core::bucket::Bucket;

use crate::{ConnId, Limits};

/// What one connection takes of a bucket that gets the limit per minute every second.
const ONE: u64 = 60;
/// Of a minute's connections, this part may come at once.
const AT_ONCE: u64 = 4;
/// Dials that come up within this part of a minute may wait.
const WAIT: u32 = 6;

/// New connections per minute.
#[derive(Debug)]
pub(crate) struct Pace {
    dials: Bucket,
    accepts: Bucket,
    waiting: VecDeque<(ConnId, SocketAddr)>,
    may_wait: usize,
}

impl Pace {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            dials: bucket(limits.dials_per_minute),
            accepts: bucket(limits.accepts_per_minute),
            waiting: VecDeque::new(),
            may_wait: (limits.dials_per_minute / WAIT).max(1) as usize,
        }
    }

    /// Whether another dial would come up soon enough. Those that `stands` denies have been given up.
    pub(crate) fn has_room(&mut self, stands: impl Fn(&ConnId) -> bool) -> bool {
        self.waiting.retain(|(conn, _)| stands(conn));
        self.waiting.len() < self.may_wait
    }

    /// Puts a dial in line.
    pub(crate) fn line_up(&mut self, conn: ConnId, to: SocketAddr) {
        self.waiting.push_back((conn, to));
    }

    /// Whether a dial stands in line.
    pub(crate) fn is_waiting(&self, conn: ConnId) -> bool {
        self.waiting.iter().any(|(c, _)| *c == conn)
    }

    /// The dial whose turn it is.
    pub(crate) fn next_dial(
        &mut self,
        stands: impl Fn(&ConnId) -> bool,
        now: Instant,
    ) -> Option<(ConnId, SocketAddr)> {
        while self.waiting.front().is_some_and(|(conn, _)| !stands(conn)) {
            self.waiting.pop_front();
        }
        if self.waiting.is_empty() || !self.dials.try_take(ONE, now) {
            return None;
        }
        self.waiting.pop_front()
    }

    /// When it is the next dial's turn; none if none waits.
    pub(crate) fn next_turn(&self) -> Option<Instant> {
        (!self.waiting.is_empty()).then(|| self.dials.ready_at(ONE))
    }

    /// Counts a connection from outside. False: it is one too many.
    pub(crate) fn accept(&mut self, now: Instant) -> bool {
        self.accepts.try_take(ONE, now)
    }
}

fn bucket(per_minute: u32) -> Bucket {
    let rate = u64::from(per_minute.max(1));
    Bucket::new(rate, (rate * ONE / AT_ONCE).max(ONE), Instant::ZERO)
}
