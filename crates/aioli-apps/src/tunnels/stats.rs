//! What tunnels have carried and refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use crate::relay::Traffic;

/// A number that only grows.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counters of one tunnel, which outlast its changes.
#[derive(Debug, Default)]
pub(super) struct Counters {
    now: AtomicU64,
    pub(super) opened: Count,
    pub(super) refused_access: Count,
    pub(super) refused_limits: Count,
    pub(super) refused_requests: Count,
    pub(super) failed: Count,
    pub(super) traffic: Arc<Traffic>,
}

impl Counters {
    /// Counts a connection for as long as what is returned is kept.
    pub(super) fn enter(self: &Arc<Self>) -> Here {
        self.now.fetch_add(1, Ordering::Relaxed);
        Here(Arc::clone(self))
    }

    pub(super) fn read(&self) -> TunnelStats {
        TunnelStats {
            connections: self.now.load(Ordering::Relaxed),
            opened: self.opened.get(),
            refused_access: self.refused_access.get(),
            refused_limits: self.refused_limits.get(),
            refused_requests: self.refused_requests.get(),
            failed: self.failed.get(),
            received: self.traffic.read.load(Ordering::Relaxed),
            sent: self.traffic.written.load(Ordering::Relaxed),
        }
    }
}

/// A connection that is counted.
#[derive(Debug)]
pub(super) struct Here(Arc<Counters>);

impl Drop for Here {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a tunnel has done, where the text does not say "now": since it was described first; what proxies and limits on
/// connections count, since it was started last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TunnelStats {
    /// Connections now.
    pub connections: u64,
    /// Connections that were let in; of a proxy, requests.
    pub opened: u64,
    /// Streams refused because of who opened them.
    pub refused_access: u64,
    /// Connections refused because there were too many.
    pub refused_limits: u64,
    /// Requests of the web that were refused, and lines of IRC that were kept back.
    pub refused_requests: u64,
    /// Connections whose other end could not be reached.
    pub failed: u64,
    /// Bytes from I2P.
    pub received: u64,
    /// Bytes into I2P.
    pub sent: u64,
}
