//! How much others may make us check and keep: stores per sender, signature
//! checks per second, and senders of wrong stores that are not listened to
//! (`network-database#threat-model`).
//!
//! Who hands us a message need not have made it: it may be the end of somebody's
//! tunnel. So a sender is slowed down or not listened to for some minutes, and
//! never loses its session over what it relays.

use std::collections::BTreeMap;

use aioli_core::{Bucket, Cx, Instant};
use aioli_wire::RouterHash;

use crate::config::{self, Limits};
use crate::throttle::Throttle;
use crate::{Rejected, Source};

/// What stores from others are let through to be looked at.
#[derive(Debug)]
pub(crate) struct Gate {
    /// None: in garlic.
    stores: Throttle<RouterHash>,
    in_garlic: Throttle<()>,
    checks: Bucket,
    offences: Throttle<RouterHash>,
    muted: BTreeMap<RouterHash, Instant>,
    max_muted: usize,
}

impl Gate {
    /// With the limits `ease` times as high.
    pub(crate) fn new(limits: &Limits, ease: u16) -> Self {
        let window = config::STORE_WINDOW;
        let senders = limits.throttled_senders;
        let checks = u64::from(limits.checks_per_second.saturating_mul(ease.into()).max(1));
        Self {
            stores: Throttle::new(window, limits.stores_per_sender.saturating_mul(ease), senders),
            in_garlic: Throttle::new(window, limits.stores_in_garlic.saturating_mul(ease), 1),
            checks: Bucket::new(checks, checks * u64::from(config::CHECKS_SAVED), Instant::ZERO),
            offences: Throttle::new(config::OFFENCE_WINDOW, config::MAX_OFFENCES, senders),
            muted: BTreeMap::new(),
            max_muted: limits.muted,
        }
    }

    /// Whether one more store from there is looked at.
    pub(crate) fn opens(&mut self, from: Source, now: Instant) -> bool {
        match from {
            Source::Peer(peer) => !self.is_muted(&peer, now) && self.stores.allow(peer, now),
            Source::Garlic => self.in_garlic.allow((), now),
            Source::Tunnel(_) => true,
        }
    }

    /// Whether one more signature is checked now.
    pub(crate) fn may_check(&mut self, now: Instant) -> bool {
        self.checks.try_take(1, now)
    }

    pub(crate) fn is_muted(&self, peer: &RouterHash, now: Instant) -> bool {
        self.muted.get(peer).is_some_and(|until| now < *until)
    }

    /// Somebody brought this. True: once too often, from now on it is not listened to.
    pub(crate) fn note(&mut self, from: Source, why: Rejected, cx: &mut Cx<'_>) -> bool {
        let Source::Peer(peer) = from else { return false };
        if !is_offence(why) || self.offences.allow(peer, cx.now.mono) || self.is_muted(&peer, cx.now.mono) {
            return false;
        }
        if self.muted.len() >= self.max_muted {
            self.sweep(cx.now.mono);
        }
        if self.muted.len() >= self.max_muted {
            return false;
        }
        self.muted.insert(peer, cx.now.mono + cx.rng.duration(config::MUTE_MIN, config::MUTE_MAX));
        true
    }

    pub(crate) fn sweep(&mut self, now: Instant) {
        self.muted.retain(|_, until| now < *until);
    }
}

/// Whether an honest router would not have passed it on. Old and foreign things may slip through.
const fn is_offence(why: Rejected) -> bool {
    match why {
        Rejected::Malformed
        | Rejected::WrongKey
        | Rejected::Signature(_)
        | Rejected::NoNetworkId
        | Rejected::OtherNetwork
        | Rejected::Future
        | Rejected::TooLong => true,
        Rejected::NoVersion
        | Rejected::OldVersion
        | Rejected::Stale
        | Rejected::NotPublic
        | Rejected::NoLeases
        | Rejected::Ours
        | Rejected::Unsolicited
        | Rejected::NotNewer
        | Rejected::Banned
        | Rejected::Crowded
        | Rejected::Busy => false,
    }
}

#[cfg(test)]
mod tests {
    use aioli_core::Duration;

    use super::*;

    #[test]
    fn checks_have_their_rate_and_what_was_saved() {
        let at = |ms| Instant::ZERO + Duration::from_millis(ms);
        let limits = Limits { checks_per_second: 50, ..Limits::default() };
        let mut gate = Gate::new(&limits, 1);
        let mut taken = |ms| (0..1_000).filter(|_| gate.may_check(at(ms))).count();
        assert_eq!([taken(0), taken(0), taken(100), taken(1_100), taken(60_000)], [500, 0, 5, 50, 500]);
    }
}
