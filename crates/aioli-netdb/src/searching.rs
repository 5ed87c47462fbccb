//! Driving searches: questions of callers, queries, replies
//! (`network-database#routerinfo-and-leaseset-lookup`).
//!
//! A LeaseSet is only ever sought through tunnels of its view, with the query
//! wrapped for the floodfill and the reply under a one-time key. A RouterInfo is
//! asked for over a session if there is one.

use std::sync::Arc;

use aioli_core::crypto::Secret;
use aioli_core::{Cx, Date, Duration, Instant};
use aioli_wire::i2np::{DatabaseLookup, DatabaseSearchReply, LookupType, ReplyEncryption};
use aioli_wire::{DestinationHash, Hash, Lease, LeaseSet, MessageType, RouterHash, SessionTag, Verified};

use crate::search::{Outcome, Search, SearchKey, Step, What};
use crate::{LookupId, NetDb, Output, ReplyPaths, RoutingKey, Source, Timer, Via, View, config};

/// Known routers near an explored key that need not be named to us.
const EXPLORE_EXCLUDED: usize = 16;

/// How a query goes and where its reply comes.
pub(crate) enum Route {
    Direct,
    Tunnel(View, Lease),
}

impl NetDb {
    /// Asks for a RouterInfo. [`Output::RouterFound`] or
    /// [`Output::RouterNotFound`] follows; the search starts at the next
    /// [`NetDb::handle_timeout`], which is due at once.
    pub fn find_router(&mut self, hash: &RouterHash, cx: &mut Cx<'_>) {
        self.begin(cx.now);
        if let Some(known) = self.router(hash) {
            let known = Arc::clone(known);
            self.outputs.push_back(Output::RouterFound(known));
            return;
        }
        self.refresh_router(hash, cx);
    }

    /// The same, but asks the network even if the router is known: it may have
    /// moved since.
    pub fn refresh_router(&mut self, hash: &RouterHash, cx: &mut Cx<'_>) {
        self.begin(cx.now);
        let key = SearchKey::router((*hash).into());
        if *hash == self.our_hash() || self.failures.blocks(&key, cx.now.mono) {
            self.stats.negative_cache_hits += 1;
            self.outputs.push_back(Output::RouterNotFound(*hash));
        } else if let Some(search) = self.start_search(key, config::ROUTER_SEARCH_TIME, cx) {
            search.wanted = true;
            search.secret = false;
            search.derived = false;
        } else {
            self.outputs.push_back(Output::RouterNotFound(*hash));
        }
    }

    /// Asks for a LeaseSet through the tunnels of `view`. [`Output::Found`] or
    /// [`Output::NotFound`] follows; the search starts at the next
    /// [`NetDb::handle_timeout`], which is due at once.
    pub fn find_lease_set(&mut self, view: View, key: DestinationHash, cx: &mut Cx<'_>) -> LookupId {
        self.begin(cx.now);
        let fresh = cx.now.wall + config::LEASE_SET_FRESH;
        if let Some(lease_set) = self.lease_set_at(view, &key, fresh).map(Arc::clone) {
            let id = self.lookup_id();
            self.outputs.push_back(Output::Found { id, view, lease_set });
            return id;
        }
        self.refresh_lease_set(view, key, cx)
    }

    /// The same, but asks the network even if a LeaseSet is at hand: all its
    /// leases may have failed.
    pub fn refresh_lease_set(&mut self, view: View, key: DestinationHash, cx: &mut Cx<'_>) -> LookupId {
        self.begin(cx.now);
        let id = self.lookup_id();
        let search_key = SearchKey::lease_set(view, key.into());
        let max_waiters = self.config.limits.waiters;
        if self.failures.blocks(&search_key, cx.now.mono) {
            self.stats.negative_cache_hits += 1;
        } else if let Some(search) = self.start_search(search_key, config::LEASE_SET_SEARCH_TIME, cx)
            && search.waiters.len() < max_waiters
        {
            search.waiters.push(id);
            return id;
        }
        self.outputs.push_back(Output::NotFound { id, view, key });
        id
    }

    /// The LeaseSet that this view knows, unless it had ended at the last call.
    pub fn lease_set(&self, view: View, key: &DestinationHash) -> Option<Arc<Verified<LeaseSet>>> {
        self.lease_set_at(view, key, self.now.wall).map(Arc::clone)
    }

    fn lease_set_at(&self, view: View, key: &DestinationHash, at: Date) -> Option<&Arc<Verified<LeaseSet>>> {
        let set = self.lease_sets.get(&view)?.get(key, at)?;
        let lasts = set.leases().is_empty() || set.leases().iter().any(|lease| lease.end > at);
        lasts.then_some(set)
    }

    fn lookup_id(&mut self) -> LookupId {
        self.next_lookup += 1;
        LookupId(self.next_lookup)
    }

    /// The search of this key, a running or a new one; none if there are too many.
    pub(crate) fn start_search(
        &mut self,
        key: SearchKey,
        patience: Duration,
        cx: &Cx<'_>,
    ) -> Option<&mut Search> {
        if !self.searches.contains_key(&key) {
            if self.searches.len() >= self.config.limits.searches {
                self.stats.searches_refused += 1;
                return None;
            }
            self.stats.searches_started += 1;
            self.searches.insert(key, Search::new(cx.now.mono, cx.now.mono + patience));
            self.timers.set(Timer::Search(key), cx.now.mono);
        }
        self.searches.get_mut(&key)
    }

    pub(crate) fn on_search_timer(&mut self, key: SearchKey, cx: &mut Cx<'_>, paths: &dyn ReplyPaths) {
        let direct = self.searches.get(&key).is_some_and(|s| s.current_direct);
        let silent = self.searches.get_mut(&key).and_then(Search::time_out);
        if let Some(router) = silent {
            self.stats.query_timeouts += 1;
            if !direct {
                self.outputs.push_back(Output::Silent(key.view));
            }
            self.note_silence((!direct).then_some(key.view), &router, cx.now.mono);
        }
        self.advance(key, cx, paths);
    }

    /// This router was asked, through tunnels of `view` or over a session, and has kept silent.
    pub(crate) fn note_silence(&mut self, view: Option<View>, router: &RouterHash, now: Instant) {
        let Some(view) = view else {
            self.routers.note_failure(router, now);
            return;
        };
        let silences = self.silences.entry(view).or_default();
        *silences = silences.saturating_add(1);
        if *silences <= config::MAX_SILENCES || !self.routers.is_met(router) {
            self.routers.note_failure(router, now);
        }
    }

    /// Does what the search wants next.
    pub(crate) fn advance(&mut self, key: SearchKey, cx: &mut Cx<'_>, paths: &dyn ReplyPaths) {
        let Some(search) = self.searches.get(&key) else { return };
        let own = (self.floodfill && key.what == What::LeaseSet).then_some(self.config.our_hash);
        let now = cx.now.mono;
        match search.next_step(&key, &self.routers, own, (now, cx.now.wall)) {
            Step::Ask(to) => match self.route(&key, &to, search.secret, paths) {
                Some(route) => self.ask(key, to, route, cx, paths),
                None => {
                    let again = (now + config::RETRY_PATH).min(search.deadline);
                    self.timers.set(Timer::Search(key), again);
                }
            },
            Step::Wait(at) => self.timers.set(Timer::Search(key), at),
            Step::Fail => self.fail_search(key, cx),
        }
    }

    /// How to ask `to`; none: the tunnels that it takes are not there yet.
    fn route(&self, key: &SearchKey, to: &RouterHash, secret: bool, paths: &dyn ReplyPaths) -> Option<Route> {
        let open = key.what != What::LeaseSet && !secret;
        // A stranger is dialled: who is not there must not keep the end of a tunnel busy.
        let stranger = key.what == What::Explore && !self.routers.is_met(to);
        if open && (stranger || paths.is_connected(to)) {
            return Some(Route::Direct);
        }
        let tunnels = paths.has_outbound(key.view).then(|| paths.inbound(key.view)).flatten();
        match tunnels {
            Some(lease) => Some(Route::Tunnel(key.view, lease)),
            None => open.then_some(Route::Direct),
        }
    }

    fn ask(&mut self, key: SearchKey, to: RouterHash, route: Route, cx: &mut Cx<'_>, paths: &dyn ReplyPaths) {
        let now = cx.now.mono;
        let excluded = self.excluded_of(&key, cx);
        let direct = matches!(route, Route::Direct);
        let patience = match (direct, paths.is_connected(&to)) {
            (false, _) => config::TUNNEL_QUERY_TIMEOUT,
            (true, true) => config::DIRECT_QUERY_TIMEOUT,
            (true, false) => config::DIAL_QUERY_TIMEOUT,
        };
        let Some(search) = self.searches.get_mut(&key) else { return };
        search.ask(to, direct, now);
        self.timers.set(Timer::Search(key), (now + patience).min(search.deadline));
        let kind = match key.what {
            What::Router => LookupType::RouterInfo,
            What::LeaseSet => LookupType::LeaseSet,
            // The reply to any vain lookup names floodfills.
            What::Explore if search.for_floodfills => LookupType::RouterInfo,
            What::Explore => LookupType::Exploratory,
        };
        self.send_lookup(to, (key.key, kind, excluded), route, cx);
    }

    /// What the floodfill need not name: those asked, and when exploring, those known.
    fn excluded_of(&self, key: &SearchKey, cx: &Cx<'_>) -> Vec<RouterHash> {
        let asked = self.searches.get(key).into_iter().flat_map(|s| s.asked.keys().copied());
        let mut excluded: Vec<RouterHash> = asked.collect();
        if key.what == What::Explore {
            let near = RoutingKey::of(&key.key, cx.now.wall);
            excluded.extend(if self.searches.get(key).is_some_and(|s| s.for_floodfills) {
                self.routers.closest_floodfills(&near, EXPLORE_EXCLUDED, |_| true)
            } else {
                self.routers.closest_others(&near, EXPLORE_EXCLUDED, |_| true)
            });
            excluded.push(self.our_hash());
        }
        excluded
    }

    /// Sends one DatabaseLookup.
    pub(crate) fn send_lookup(
        &mut self,
        to: RouterHash,
        (key, kind, excluded): (Hash, LookupType, Vec<RouterHash>),
        route: Route,
        cx: &mut Cx<'_>,
    ) {
        self.stats.queries += 1;
        let mut lookup = DatabaseLookup {
            key,
            from: self.our_hash(),
            reply_tunnel: None,
            kind,
            excluded,
            reply: ReplyEncryption::None,
        };
        let mut via = Via::Direct;
        if let Route::Tunnel(view, lease) = route {
            let (key, tag) = (Secret::new(cx.rng.bytes()), SessionTag(cx.rng.bytes()));
            lookup.from = lease.gateway;
            lookup.reply_tunnel = Some(lease.tunnel);
            lookup.reply = ReplyEncryption::Ecies { key: key.clone(), tag };
            via = Via::Tunnel(view);
            let until = cx.now.mono + config::LEASE_SET_SEARCH_TIME + config::LINGER;
            self.outputs.push_back(Output::ExpectReply { view, tag, key, until });
        }
        let message = Self::message(MessageType::DatabaseLookup, &lookup, cx);
        let garlic = via != Via::Direct;
        self.outputs.push_back(Output::Send { to, via, message, garlic });
    }

    /// "Not here, ask these."
    pub(crate) fn on_search_reply(
        &mut self,
        from: Source,
        reply: &DatabaseSearchReply,
        cx: &mut Cx<'_>,
        paths: &dyn ReplyPaths,
    ) {
        let (view, peer) = match from {
            Source::Peer(peer) => (View::Router, Some(peer)),
            Source::Tunnel(view) => (view, None),
            Source::Garlic => {
                self.stats.unsolicited += 1;
                return;
            }
        };
        if peer.is_some_and(|peer| peer != reply.from) {
            self.stats.unsolicited += 1;
            return;
        }
        if self.on_verify_denied(view, reply, cx, paths) {
            return;
        }
        let keys = [What::LeaseSet, What::Router, What::Explore].map(|what| SearchKey {
            view,
            what,
            key: reply.key,
        });
        // Nobody asks for a LeaseSet over a session, so none is denied there.
        let open = |key: &SearchKey| peer.is_none() || key.what != What::LeaseSet;
        let mut known = false;
        for key in keys {
            let denied = open(&key) && self.searches.get_mut(&key).is_some_and(|s| s.not_here(&reply.from));
            if denied {
                known = true;
                self.on_denied(key, reply, cx, paths);
            }
        }
        if !known {
            self.stats.unsolicited += 1;
        }
    }

    fn on_denied(
        &mut self,
        key: SearchKey,
        reply: &DatabaseSearchReply,
        cx: &mut Cx<'_>,
        paths: &dyn ReplyPaths,
    ) {
        self.routers.touch(&reply.from, cx.now.mono);
        if let Some(search) = self.searches.get_mut(&key) {
            reply.peers.iter().for_each(|peer| search.note_named(*peer));
        }
        let news = self.fetch_named(key, reply, cx);
        if key.what == What::Explore {
            self.searches.remove(&key);
            self.timers.stop(&Timer::Search(key));
            self.stats.searches_found += 1;
            self.explorer.note(news);
        } else if self.searches.get(&key).is_some_and(|s| s.current.is_none()) {
            self.advance(key, cx, paths);
        }
    }

    /// Fetches the routers that a reply names and we do not know; says how many.
    fn fetch_named(&mut self, key: SearchKey, reply: &DatabaseSearchReply, cx: &Cx<'_>) -> usize {
        let crowded = key.what == What::Explore && self.routers.has_enough_newcomers();
        if crowded || self.searches.get(&key).is_some_and(|s| s.derived) {
            return 0;
        }
        let max = self.config.limits.fetches_per_search;
        // A client's search must not tie its tunnels to the router's own.
        let secret = key.what == What::LeaseSet && key.view != View::Router;
        let mut news = 0;
        for peer in &reply.peers {
            let stale = |published| cx.now.wall.since(published) > config::PROVEN_ROUTER_AGE;
            let known = self.routers.get(peer).is_some_and(|info| !stale(info.published));
            if known || *peer == self.our_hash() {
                continue;
            }
            if self.searches.get(&key).is_none_or(|s| s.fetches >= max) {
                break;
            }
            let fetch = SearchKey::router((*peer).into());
            if fetch == key || self.failures.blocks(&fetch, cx.now.mono) {
                continue;
            }
            let running = self.searches.contains_key(&fetch);
            let Some(search) = self.start_search(fetch, config::ROUTER_SEARCH_TIME, cx) else { break };
            if !running {
                search.derived = true;
                search.secret = secret;
                search.hint = (!secret).then_some(reply.from);
                search.named_by = Some(reply.from);
            }
            news += 1;
            if let Some(search) = self.searches.get_mut(&key) {
                search.fetches += 1;
                search.fetching.insert(*peer);
            }
        }
        news
    }

    /// A RouterInfo has come. Says whether a search on behalf of a client, or
    /// nobody's search, brought it: `None`, no search.
    pub(crate) fn router_search_is_secret(&self, hash: &RouterHash) -> Option<bool> {
        self.searches.get(&SearchKey::router((*hash).into())).map(|s| s.secret)
    }

    /// Whether we seek this router to use it, not because somebody named it.
    pub(crate) fn router_is_wanted(&self, hash: &RouterHash) -> bool {
        self.searches.get(&SearchKey::router((*hash).into())).is_some_and(|s| s.wanted)
    }

    /// Ends the search for a router that is now known.
    pub(crate) fn finish_router_search(&mut self, hash: &RouterHash, cx: &Cx<'_>) {
        let key = SearchKey::router((*hash).into());
        let Some(search) = self.searches.remove(&key) else { return };
        self.report_search(&key, &search, true);
        self.timers.stop(&Timer::Search(key));
        self.stats.searches_found += 1;
        self.failures.forget(&key);
        if let Some(asked) = search.current {
            self.routers.note_answer(&asked, cx.now.mono);
        }
        if let Some(from) = search.named_by {
            self.routers.note_named(&from);
        }
        if search.wanted
            && let Some(info) = self.routers.get(hash)
        {
            self.outputs.push_back(Output::RouterFound(Arc::clone(info)));
        }
        self.fetch_ended(hash, cx);
    }

    /// Ends the search for a LeaseSet that has come.
    pub(crate) fn finish_lease_set_search(&mut self, view: View, set: &Arc<Verified<LeaseSet>>, cx: &Cx<'_>) {
        let key = SearchKey::lease_set(view, set.key().into());
        let Some(search) = self.searches.remove(&key) else { return };
        self.report_search(&key, &search, true);
        self.timers.stop(&Timer::Search(key));
        self.stats.searches_found += 1;
        self.failures.forget(&key);
        if let Some(asked) = search.current {
            self.routers.note_answer(&asked, cx.now.mono);
            self.doubt_closer(&key, &search, &asked, cx);
        }
        for id in search.waiters {
            self.outputs.push_back(Output::Found { id, view, lease_set: Arc::clone(set) });
        }
    }

    /// Floodfills closer than the one that had it should have had it, too.
    fn doubt_closer(&mut self, key: &SearchKey, search: &Search, had: &RouterHash, cx: &Cx<'_>) {
        let near = RoutingKey::of(&key.key, cx.now.wall);
        for (router, asked) in &search.asked {
            if asked.outcome == Outcome::NotHere && near.distance(router) < near.distance(had) {
                self.routers.note_failure(router, cx.now.mono);
            }
        }
    }

    fn fail_search(&mut self, key: SearchKey, cx: &Cx<'_>) {
        let Some(search) = self.searches.remove(&key) else { return };
        self.report_search(&key, &search, false);
        self.timers.stop(&Timer::Search(key));
        self.stats.searches_failed += 1;
        if search.was_denied() {
            self.failures.note(key, cx.now.mono);
            if let Some(from) = search.named_by {
                self.routers.note_phantom(&from, cx.now.mono);
            }
        }
        match key.what {
            What::Router => {
                let hash = RouterHash::from(key.key);
                if search.wanted {
                    self.outputs.push_back(Output::RouterNotFound(hash));
                }
                self.fetch_ended(&hash, cx);
            }
            What::LeaseSet => {
                let (view, key) = (key.view, DestinationHash::from(key.key));
                let cached = self.lease_set_at(view, &key, cx.now.wall).map(Arc::clone);
                for id in search.waiters {
                    self.outputs.push_back(match &cached {
                        Some(set) => Output::Found { id, view, lease_set: Arc::clone(set) },
                        None => Output::NotFound { id, view, key },
                    });
                }
            }
            What::Explore => self.explorer.note(0),
        }
    }

    /// Searches that waited for this router go on.
    fn fetch_ended(&mut self, hash: &RouterHash, cx: &Cx<'_>) {
        for (key, search) in &mut self.searches {
            if search.fetching.remove(hash) && search.current.is_none() {
                self.timers.set_earlier(Timer::Search(*key), cx.now.mono);
            }
        }
    }

    /// This router could not be reached: who is being asked directly is skipped.
    pub fn note_unreachable(&mut self, router: &RouterHash, cx: &mut Cx<'_>) {
        self.begin(cx.now);
        self.routers.note_failure(router, cx.now.mono);
        for (key, search) in &self.searches {
            if search.current == Some(*router) && search.current_direct {
                self.timers.set(Timer::Search(*key), cx.now.mono);
            }
        }
        self.publication_unreachable(router, cx);
    }

    /// This router is alive: a session with it stands, or a tunnel through it works.
    pub fn note_alive(&mut self, router: &RouterHash, cx: &mut Cx<'_>) {
        self.begin(cx.now);
        self.routers.note_answer(router, cx.now.mono);
    }
}
