//! Whether a peer can be reached where its packets come from now
//! (`ssu2#connection-migration`).
//!
//! Data stays on the old path until the new one is proven.

use std::net::SocketAddr;

use aioli_core::{Cx, Duration, Instant};

/// A challenge is repeated at first after this, then after twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(400);
/// The validation fails after so many challenges.
const MAX_CHALLENGES: u32 = 5;

/// A path that is being validated.
#[derive(Debug)]
pub(super) struct Validation {
    /// Where the peer seems to be.
    pub(super) to: SocketAddr,
    /// The packet that came from there first.
    pub(super) since: u32,
    data: [u8; 8],
    sent: u32,
    /// The next challenge is due.
    pub(super) at: Instant,
    /// Bytes that have come from there, three times as many may be sent.
    credit: usize,
}

/// What to do about a validation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Not yet.
    Wait,
    /// Send this challenge.
    Challenge([u8; 8]),
    /// It has failed.
    Failed,
}

impl Validation {
    /// Begins to validate `to`, from where packet `number` of `bytes` came.
    pub(super) fn new(to: SocketAddr, number: u32, bytes: usize, cx: &mut Cx<'_>) -> Self {
        Self { to, since: number, data: cx.rng.bytes(), sent: 0, at: cx.now.mono, credit: 3 * bytes }
    }

    /// More came from there.
    pub(super) const fn on_bytes(&mut self, bytes: usize) {
        self.credit += 3 * bytes;
    }

    /// What to do now; `size` is that of a challenge.
    pub(super) fn next(&mut self, size: usize, now: Instant) -> Next {
        if now < self.at {
            return Next::Wait;
        }
        if self.sent >= MAX_CHALLENGES {
            return Next::Failed;
        }
        self.at = now + FIRST_WAIT * 2u32.saturating_pow(self.sent);
        self.sent += 1;
        if self.credit < size {
            return Next::Wait;
        }
        self.credit -= size;
        Next::Challenge(self.data)
    }

    /// Whether nothing has been sent there yet.
    pub(super) const fn is_new(&self) -> bool {
        self.sent == 0
    }

    /// Whether this answers the challenge.
    pub(super) fn is_answered_by(&self, data: &[u8]) -> bool {
        self.sent > 0 && aioli_core::crypto::secret::ct_eq(data, &self.data)
    }
}
