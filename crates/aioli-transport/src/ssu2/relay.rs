//! An introduction in its three roles: what each knows of it (`ssu2#relay-process`).
//!
//! ```text
//! Alice                      Bob                    Charlie, who gave Bob's tag away
//!   RelayRequest ─────────►
//!                             her RouterInfo, RelayIntro ──►
//!                          ◄────────────────── RelayResponse
//!   ◄────── RelayResponse
//!   ◄──────────────────────────────────────────── HolePunch   opens his NAT for her
//!   SessionRequest with his token ────────────────►
//! ```

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use aioli_core::{Date, Duration, Instant};
use aioli_wire::RouterHash;
use aioli_wire::router_info::RouterInfo;
use aioli_wire::ssu2::{ConnectionId, Introducer, LongHeader};
use aioli_wire::verified::Verified;

use super::repeats::Repeats;
use super::{Family, Remote};

/// Alice asks the next introducer when one has not answered within this.
const STEP: Duration = Duration::from_secs(4);
/// And gives up after this.
const TIMEOUT: Duration = Duration::from_secs(12);
/// Bob forgets an introduction after this.
pub(super) const RELAYED: Duration = Duration::from_secs(10);
/// A tag that was not asked for again is worth nothing after this. Charlies publish 80 minutes.
pub(super) const TAG_LIFE: Duration = Duration::from_secs(2 * 3600);
/// Charlie sends a hole punch again at these times after the first.
const PUNCH: &[Duration] = &[Duration::from_millis(500), Duration::from_millis(1_500)];
/// Charlie forgets an introduction, and its nonce, after this.
const PUNCHED: Duration = Duration::from_secs(30);
/// A session with an introducer says something this often, so that NATs keep its mapping.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A router to which we want to be introduced.
#[derive(Debug)]
pub(super) struct Seek {
    /// The router; its address is not known yet.
    pub(super) remote: Remote,
    pub(super) info: Arc<Verified<RouterInfo>>,
    pub(super) family: Family,
    /// Those not asked yet.
    pub(super) left: VecDeque<Introducer>,
    /// Those asked who have not refused.
    pub(super) asked: Vec<(u32, RouterHash)>,
    began: Instant,
    step: Instant,
}

impl Seek {
    /// Nobody is asked yet.
    pub(super) fn new(
        remote: Remote,
        info: Arc<Verified<RouterInfo>>,
        family: Family,
        introducers: Vec<Introducer>,
        now: Instant,
    ) -> Self {
        let left = introducers.into();
        Self { remote, info, family, left, asked: Vec::new(), began: now, step: now }
    }

    /// An introducer is asked.
    pub(super) fn ask(&mut self, nonce: u32, bob: RouterHash, now: Instant) {
        self.asked.push((nonce, bob));
        self.step = now + STEP;
    }

    /// An introducer refused.
    pub(super) fn on_refused(&mut self, nonce: u32) {
        self.asked.retain(|(n, _)| *n != nonce);
    }

    /// Whom the request with this nonce went to.
    pub(super) fn bob_of(&self, nonce: u32) -> Option<RouterHash> {
        self.asked.iter().find(|(n, _)| *n == nonce).map(|(_, bob)| *bob)
    }

    /// Whether nothing can come of it any more.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        now >= self.began + TIMEOUT || (self.left.is_empty() && self.asked.is_empty())
    }

    /// Whether to ask another introducer.
    pub(super) fn wants_next(&self, now: Instant) -> bool {
        !self.left.is_empty() && (self.asked.is_empty() || now >= self.step)
    }

    /// When to look again.
    pub(super) fn deadline(&self) -> Instant {
        let end = self.began + TIMEOUT;
        if self.left.is_empty() { end } else { end.min(self.step) }
    }
}

/// A router that we introduce others to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tag {
    pub(super) charlie: RouterHash,
    pub(super) until: Instant,
}

/// A tag that we were given, by one with whom we speak in this family.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) tag: u32,
    pub(super) family: Family,
}

/// An introduction of others that Charlie has not answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Relayed {
    pub(super) alice: RouterHash,
}

/// A hole punched for Alice.
#[derive(Debug)]
pub(super) struct Punch {
    pub(super) to: SocketAddr,
    /// To be sent again as it is.
    pub(super) packet: Vec<u8>,
    pub(super) repeats: Repeats,
}

impl Punch {
    /// It is sent for the first time.
    pub(super) const fn new(to: SocketAddr, packet: Vec<u8>, now: Instant) -> Self {
        Self { to, packet, repeats: Repeats::new(PUNCH, PUNCHED, now) }
    }
}

/// The ids of a packet to Alice, destination and source; of one to Charlie if `inverse`.
pub(super) const fn ids(nonce: u32, inverse: bool) -> (ConnectionId, ConnectionId) {
    let id = ConnectionId::from_nonce(nonce);
    if inverse { (id.inverse(), id) } else { (id, id.inverse()) }
}

/// Whether the ids of a packet are those of this nonce. They are, the other way round, those of its inverse: they
/// alone do not tell it.
pub(super) fn are_ids(header: &LongHeader, nonce: u32, inverse: bool) -> bool {
    (header.destination, header.source) == ids(nonce, inverse)
}

/// Whether two clocks are near enough for an introduction or a peer test.
pub(super) fn is_recent(theirs: Date, ours: Date) -> bool {
    theirs.abs_diff(ours) <= Duration::from_secs(120)
}
