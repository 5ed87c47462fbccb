//! Publishing our RouterInfo and our clients' LeaseSets
//! (`network-database#routerinfo-storage-to-floodfills` and following).
//!
//! ```text
//!          store at the closest          silence, or not found
//!  Due ──────────────────────► Sent ──────────────┐ (elsewhere)
//!   ▲                           │ DeliveryStatus  │
//!   └───────────────────────────┼─────────────────┘
//!                               ▼
//!                           Confirmed ── 5..10 s ──► Verifying ──► Rest
//!                               └ RouterInfo: stored at another one ─▲
//! ```
//!
//! A RouterInfo is not looked up afterwards: the specification gave that up,
//! because it tells two floodfills that we know each other's neighbours. As one
//! of them may confirm and forget it, it is stored at two. With
//! one floodfill only, a LeaseSet is verified where it was stored.

use std::collections::BTreeSet;
use std::sync::Arc;

use aioli_core::{Cx, Duration, Instant};
use aioli_wire::i2np::{DatabaseSearchReply, DatabaseStore, LookupType, StoreReply};
use aioli_wire::{
    DestinationHash, Hash, LeaseSet, LeaseSetFlags, MessageType, RouterHash, Unverified, Verified,
};

use crate::search::What;
use crate::searching::Route;
use crate::{NetDb, Output, Published, ReplyPaths, RoutingKey, Source, Timer, Via, View, config};

/// What is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PublicationKey {
    Router,
    LeaseSet(View, DestinationHash),
}

impl PublicationKey {
    pub(crate) const fn view(&self) -> View {
        match self {
            Self::Router => View::Router,
            Self::LeaseSet(view, _) => *view,
        }
    }

    const fn published(&self) -> Published {
        match self {
            Self::Router => Published::Router,
            Self::LeaseSet(view, key) => Published::LeaseSet { view: *view, key: *key },
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// To be sent when the timer fires.
    Due,
    /// Sent there; the timer ends our patience.
    Sent { to: RouterHash, direct: bool },
    /// That floodfill has it; the timer starts the verification.
    Confirmed { at: RouterHash },
    /// Looked up at `asked`; the timer ends our patience.
    Verifying { at: RouterHash, asked: RouterHash, again: bool },
    /// Nothing to do until it changes.
    Rest,
}

/// One thing that we publish.
#[derive(Debug)]
pub(crate) struct Publication {
    /// None: our RouterInfo.
    set: Option<Arc<Verified<LeaseSet>>>,
    phase: Phase,
    failed: BTreeSet<RouterHash>,
    /// Who has confirmed our RouterInfo.
    kept_by: BTreeSet<RouterHash>,
    tokens: BTreeSet<u32>,
    last_sent: Option<Instant>,
    /// The sending that a hurried version follows.
    hurried: Option<Instant>,
    rounds: u8,
    backoff: Duration,
}

impl Publication {
    const fn new(set: Option<Arc<Verified<LeaseSet>>>) -> Self {
        Self {
            set,
            phase: Phase::Due,
            failed: BTreeSet::new(),
            kept_by: BTreeSet::new(),
            tokens: BTreeSet::new(),
            last_sent: None,
            hurried: None,
            rounds: 0,
            backoff: config::PUBLISH_BACKOFF,
        }
    }

    /// The first time, not before `at`, that does not annoy floodfills: they
    /// flood three versions in a minute and a half. The second version of a
    /// LeaseSet may follow soon, because the first has the first tunnel only.
    fn allowed(&mut self, at: Instant) -> Instant {
        let Some(last) = self.last_sent else { return at };
        if self.hurried.is_none_or(|before| before != last) && at.since(last) >= config::FLOOD_WINDOW {
            self.hurried = None;
        }
        let hurry = self.set.is_some() && self.hurried.is_none_or(|before| before == last);
        if hurry {
            self.hurried = Some(last);
        }
        at.max(last + if hurry { config::HURRIED_PUBLISH } else { config::MIN_PUBLISH })
    }

    /// Begins anew, with nobody under suspicion.
    fn restart(&mut self) {
        self.phase = Phase::Due;
        self.failed.clear();
        self.kept_by.clear();
        self.rounds = 0;
        self.backoff = config::PUBLISH_BACKOFF;
    }

    fn next_backoff(&mut self) -> Duration {
        let wait = self.backoff;
        self.backoff = (wait * 2).min(config::MAX_PUBLISH_BACKOFF);
        wait
    }
}

impl NetDb {
    /// Publishes a LeaseSet through the tunnels of `view`, or its newer version.
    /// One with the unpublished flag is ignored.
    pub fn publish_lease_set(&mut self, view: View, set: Arc<Verified<LeaseSet>>, cx: &mut Cx<'_>) {
        self.begin(cx.now);
        if set.flags().contains(LeaseSetFlags::UNPUBLISHED) {
            return;
        }
        let key = PublicationKey::LeaseSet(view, set.key());
        if self
            .publications
            .get(&key)
            .and_then(|p| p.set.as_ref())
            .is_some_and(|old| old.bytes() == set.bytes())
        {
            return;
        }
        let full = self.publications.len() >= self.config.limits.publications;
        if full && !self.publications.contains_key(&key) {
            self.stats.publish_refused += 1;
            return;
        }
        self.publish(key, Some(set), cx.now.mono);
    }

    /// Publishes our RouterInfo at this time.
    pub(crate) fn publish_router(&mut self, at: Instant) {
        self.publish(PublicationKey::Router, None, at);
    }

    fn publish(&mut self, key: PublicationKey, set: Option<Arc<Verified<LeaseSet>>>, at: Instant) {
        self.forget_tokens(&key);
        let publication = self.publications.entry(key).or_insert_with(|| Publication::new(None));
        publication.set = set;
        publication.restart();
        let allowed = publication.allowed(at);
        self.timers.set(Timer::Publish(key), allowed);
    }

    /// Stops publishing.
    pub(crate) fn drop_publication(&mut self, key: &PublicationKey) {
        self.forget_tokens(key);
        self.publications.remove(key);
        self.timers.stop(&Timer::Publish(*key));
    }

    /// All keys have moved.
    pub(crate) fn republish_all(&mut self, cx: &mut Cx<'_>) {
        for (key, publication) in &mut self.publications {
            if publication.set.is_some() {
                publication.restart();
                let soon = cx.rng.duration(Duration::ZERO, config::MIDNIGHT_SPREAD);
                self.timers.set(Timer::Publish(*key), cx.now.mono + soon);
            }
        }
    }

    /// What waits for better times does not.
    pub(crate) fn republish_now(&mut self, now: Instant) {
        for (key, publication) in &mut self.publications {
            publication.restart();
            let allowed = publication.allowed(now);
            self.timers.set(Timer::Publish(*key), allowed);
        }
    }

    fn forget_tokens(&mut self, key: &PublicationKey) {
        if let Some(publication) = self.publications.get_mut(key) {
            for token in std::mem::take(&mut publication.tokens) {
                self.tokens.remove(&token);
            }
        }
    }

    pub(crate) fn on_publish_timer(&mut self, key: PublicationKey, cx: &mut Cx<'_>, paths: &dyn ReplyPaths) {
        let Some(publication) = self.publications.get_mut(&key) else { return };
        let now = cx.now.mono;
        match publication.phase {
            Phase::Due => self.send_publication(key, cx, paths),
            Phase::Sent { to, direct } => {
                publication.failed.insert(to);
                self.stats.publish_failed += 1;
                self.note_silence((!direct).then_some(key.view()), &to, now);
                self.send_publication(key, cx, paths);
            }
            Phase::Confirmed { at } => self.verify(key, (at, None), cx, paths),
            Phase::Verifying { at, asked, again: false } => {
                self.note_silence(Some(key.view()), &asked, now);
                self.verify(key, (at, Some(asked)), cx, paths);
            }
            Phase::Verifying { at, asked, again: true } => {
                self.note_silence(Some(key.view()), &asked, now);
                self.store_elsewhere(key, at, cx, paths);
            }
            Phase::Rest => {}
        }
    }

    /// Stores at the closest floodfill that has not failed.
    fn send_publication(&mut self, key: PublicationKey, cx: &mut Cx<'_>, paths: &dyn ReplyPaths) {
        let (now, wall) = (cx.now.mono, cx.now.wall);
        let Some(publication) = self.publications.get_mut(&key) else { return };
        publication.phase = Phase::Due;
        if publication.set.as_ref().is_some_and(|set| set.expires() <= wall) {
            publication.phase = Phase::Rest;
            return;
        }
        if publication.failed.len() >= config::MAX_EXCLUDED_FLOODFILLS {
            publication.failed.clear();
        }
        let target = Self::store_key(&key, self.config.our_hash);
        let near = RoutingKey::of(&target, wall);
        let failed = &publication.failed;
        let open = |h: &RouterHash| !failed.contains(h) && !publication.kept_by.contains(h);
        let try_stranger = (failed.len() + 1).is_multiple_of(config::STRANGER_ONE_IN.into());
        let stranger = try_stranger.then(|| self.routers.stranger_for(&near, now, open)).flatten();
        let next = stranger.or_else(|| self.routers.floodfill_for(&near, now, open));
        let itself = self.floodfill && self.routers.floodfills() == 0 && key != PublicationKey::Router;
        let Some(to) = next.or_else(|| itself.then_some(self.config.our_hash)) else {
            if !publication.kept_by.is_empty() {
                publication.phase = Phase::Rest;
                return;
            }
            // All have failed, or none is known yet.
            let wait = if publication.failed.is_empty() {
                Duration::from_secs(1)
            } else {
                publication.next_backoff()
            };
            publication.failed.clear();
            self.timers.set(Timer::Publish(key), now + wait);
            return;
        };
        match self.store_route(&key, &to, paths) {
            Some(route) => self.send_store(key, to, route, cx),
            None => self.timers.set(Timer::Publish(key), now + config::RETRY_PATH),
        }
    }

    fn store_key(key: &PublicationKey, ours: RouterHash) -> Hash {
        match key {
            PublicationKey::Router => ours.into(),
            PublicationKey::LeaseSet(_, key) => (*key).into(),
        }
    }

    /// How a store goes; none: the tunnels that it takes are not there yet.
    fn store_route(&self, key: &PublicationKey, to: &RouterHash, paths: &dyn ReplyPaths) -> Option<Route> {
        let open = *key == PublicationKey::Router;
        if open && paths.is_connected(to) {
            return Some(Route::Direct);
        }
        let view = key.view();
        match paths.has_outbound(view).then(|| paths.inbound(view)).flatten() {
            Some(lease) => Some(Route::Tunnel(view, lease)),
            None => open.then_some(Route::Direct),
        }
    }

    fn send_store(&mut self, key: PublicationKey, to: RouterHash, route: Route, cx: &mut Cx<'_>) {
        let now = cx.now.mono;
        let token = cx.rng.nonzero_u32();
        let (reply, via, patience) = match route {
            Route::Direct => {
                let reply = StoreReply { token, tunnel: None, gateway: self.our_hash() };
                (reply, Via::Direct, config::DIRECT_CONFIRM_TIMEOUT)
            }
            Route::Tunnel(view, lease) => {
                let reply = StoreReply { token, tunnel: Some(lease.tunnel), gateway: lease.gateway };
                (reply, Via::Tunnel(view), config::CONFIRM_TIMEOUT)
            }
        };
        let Some(publication) = self.publications.get_mut(&key) else { return };
        let store = match (&publication.set, &self.local) {
            (Some(set), _) => DatabaseStore::lease_set(set, Some(reply)),
            (None, Some(info)) => DatabaseStore::router_info(info, Some(reply)),
            (None, None) => return,
        };
        publication.phase = Phase::Sent { to, direct: via == Via::Direct };
        publication.last_sent = Some(now);
        publication.tokens.insert(token.get());
        self.tokens.insert(token.get(), (key, to));
        self.timers.set(Timer::Publish(key), now + patience);
        self.stats.publish_sent += 1;
        let message = Self::message(MessageType::DatabaseStore, &store, cx);
        self.outputs.push_back(Output::Send { to, via, message, garlic: via != Via::Direct });
    }

    /// A DeliveryStatus. False: it is not about a store of ours.
    pub(crate) fn on_confirmation(&mut self, from: Source, token: u32, cx: &mut Cx<'_>) -> bool {
        let Some((key, at)) = self.tokens.get(&token).copied() else { return false };
        let expected = match (key, from) {
            (PublicationKey::LeaseSet(view, _), Source::Tunnel(through)) => view == through,
            (PublicationKey::Router, Source::Tunnel(through)) => through == View::Router,
            (PublicationKey::Router, Source::Peer(peer)) => peer == at,
            (PublicationKey::Router, Source::Garlic)
            | (PublicationKey::LeaseSet(..), Source::Peer(_) | Source::Garlic) => false,
        };
        if !expected {
            self.stats.unsolicited += 1;
            return true;
        }
        self.tokens.remove(&token);
        self.routers.note_answer(&at, cx.now.mono);
        let Some(publication) = self.publications.get_mut(&key) else { return true };
        publication.tokens.remove(&token);
        // A late one, after the store went elsewhere, is as good as any.
        if !matches!(publication.phase, Phase::Sent { .. } | Phase::Due) {
            return true;
        }
        publication.failed.remove(&at);
        self.stats.publish_confirmed += 1;
        if publication.set.is_some() {
            publication.phase = Phase::Confirmed { at };
            let wait = cx.rng.duration(config::VERIFY_MIN, config::VERIFY_MAX);
            self.timers.set(Timer::Publish(key), cx.now.mono + wait);
        } else {
            publication.kept_by.insert(at);
            if publication.kept_by.len() < config::ROUTER_INFO_COPIES {
                publication.phase = Phase::Due;
                let wait = cx.rng.duration(config::COPY_MIN, config::COPY_MAX);
                self.timers.set(Timer::Publish(key), cx.now.mono + wait);
            } else {
                publication.phase = Phase::Rest;
                self.timers.stop(&Timer::Publish(key));
            }
        }
        self.outputs.push_back(Output::Published { what: key.published(), floodfill: at, verified: false });
        true
    }

    /// Looks the LeaseSet up, at another floodfill if there is one.
    fn verify(
        &mut self,
        key: PublicationKey,
        (at, before): (RouterHash, Option<RouterHash>),
        cx: &mut Cx<'_>,
        paths: &dyn ReplyPaths,
    ) {
        let now = cx.now.mono;
        let target = Self::store_key(&key, self.config.our_hash);
        let near = RoutingKey::of(&target, cx.now.wall);
        let Some(publication) = self.publications.get(&key) else { return };
        let other = |h: &RouterHash| *h != at && Some(*h) != before;
        let trusted = |h: &RouterHash| other(h) && !publication.failed.contains(h);
        let asked = self.routers.floodfill_for(&near, now, trusted);
        let asked = asked.or_else(|| self.routers.floodfill_for(&near, now, other)).unwrap_or(at);
        let Some(route) = self.store_route(&key, &asked, paths) else {
            self.timers.set(Timer::Publish(key), now + config::RETRY_PATH);
            return;
        };
        let Some(publication) = self.publications.get_mut(&key) else { return };
        publication.phase = Phase::Verifying { at, asked, again: before.is_some() };
        self.timers.set(Timer::Publish(key), now + config::VERIFY_TIMEOUT);
        // Both may have it: who asks for another than the first must not be sent back.
        self.send_lookup(asked, (target, LookupType::LeaseSet, Vec::new()), route, cx);
    }

    /// A LeaseSet out of a tunnel of `view`. Gives it back if it is none that we publish there.
    pub(crate) fn on_verify_reply(
        &mut self,
        view: View,
        set: Unverified<LeaseSet>,
        cx: &Cx<'_>,
    ) -> Option<Unverified<LeaseSet>> {
        let key = PublicationKey::LeaseSet(view, set.claims().key());
        let Some(publication) = self.publications.get_mut(&key) else { return Some(set) };
        let Some(ours) = &publication.set else { return Some(set) };
        let Phase::Verifying { asked, .. } = publication.phase else { return Some(set) };
        if ours.bytes() != set.claims().bytes() {
            let newer = set.claims().version() > ours.version();
            if !newer || set.verify().is_err() {
                // An old copy: the floodfill has not been reached by the flood.
                self.timers.set(Timer::Publish(key), cx.now.mono);
                return None;
            }
            // Another router hosts the same destination. Its LeaseSet is not for us.
            self.stats.multihomed += 1;
        }
        publication.phase = Phase::Rest;
        self.timers.stop(&Timer::Publish(key));
        self.stats.publish_verified += 1;
        self.routers.note_answer(&asked, cx.now.mono);
        self.outputs.push_back(Output::Published { what: key.published(), floodfill: asked, verified: true });
        None
    }

    /// "Not here", perhaps to a verification. Says whether it was.
    pub(crate) fn on_verify_denied(
        &mut self,
        view: View,
        reply: &DatabaseSearchReply,
        cx: &mut Cx<'_>,
        paths: &dyn ReplyPaths,
    ) -> bool {
        let key = PublicationKey::LeaseSet(view, reply.key.into());
        let Some(publication) = self.publications.get(&key) else { return false };
        let Phase::Verifying { at, asked, .. } = publication.phase else { return false };
        let searched = crate::SearchKey { view, what: What::LeaseSet, key: reply.key };
        if asked != reply.from || self.searches.contains_key(&searched) {
            return false;
        }
        self.routers.note_answer(&asked, cx.now.mono);
        self.store_elsewhere(key, at, cx, paths);
        true
    }

    /// It is not where it should be: `at` has lied, or has not flooded it.
    fn store_elsewhere(
        &mut self,
        key: PublicationKey,
        at: RouterHash,
        cx: &mut Cx<'_>,
        paths: &dyn ReplyPaths,
    ) {
        self.stats.publish_failed += 1;
        self.routers.note_failure(&at, cx.now.mono);
        let Some(publication) = self.publications.get_mut(&key) else { return };
        publication.failed.insert(at);
        publication.rounds = publication.rounds.saturating_add(1);
        if publication.rounds >= config::MAX_PUBLISH_ROUNDS {
            publication.restart();
            self.timers.set(Timer::Publish(key), cx.now.mono + config::MAX_PUBLISH_BACKOFF);
        } else {
            self.send_publication(key, cx, paths);
        }
    }

    /// A router cannot be reached: what was sent to it directly goes elsewhere.
    pub(crate) fn publication_unreachable(&mut self, router: &RouterHash, cx: &Cx<'_>) {
        let key = PublicationKey::Router;
        let sent = self.publications.get(&key).map(|p| p.phase);
        if sent == Some(Phase::Sent { to: *router, direct: true }) {
            self.timers.set(Timer::Publish(key), cx.now.mono);
        }
    }
}
