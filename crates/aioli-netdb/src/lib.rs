//! The network database (`network-database`): a floodfill DHT of RouterInfos and
//! LeaseSets, as a value that is told what happened and asked what to do next.
//!
//! ```text
//!                    ┌───────────────── NetDb ─────────────────┐
//!  DSM, DLM, DSRM, ─►│ floodfill   answers, floods             │─► Send, SendTunnel
//!  DeliveryStatus    │ searches    one query at a time         │─► ExpectReply
//!  find_*, publish_* │ publishing  store, confirm, look again  │─► Found, NotFound, Published
//!  own RouterInfo   ►│ exploring   random keys                 │─► Records for the disk
//!                    │ stores      routers │ LeaseSets per view│
//!                    └─────────────────────────────────────────┘
//! ```
//!
//! One [`View`] per local destination and one of the router itself keep apart
//! what they learn: a client's LeaseSets come and go only through that client's
//! tunnels and are never given to others; RouterInfos are the router's alone.
//!
//! Only [`Verified`] structures are stored. Nothing here wraps garlic: an output
//! says what is to be wrapped, the composition does it.

pub mod admission;
pub mod config;
mod disk;
mod explore;
mod floodfill;
mod gate;
mod lease_sets;
mod negative;
mod publishing;
mod routers;
mod routing;
mod search;
mod searching;
mod stats;
mod storing;
#[cfg(test)]
mod tests;
mod throttle;
mod upkeep;
mod watch;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use aioli_core::crypto::Secret;
use aioli_core::{Cx, Date, Instant, Now, Rng, Timers};
use aioli_wire::i2np::{DatabaseLookup, DatabaseSearchReply, DatabaseStore, DeliveryStatus};
use aioli_wire::{
    DestinationHash, Hash, Lease, LeaseSet, Message, MessageType, RouterHash, RouterInfo, SessionTag,
    TunnelId, Verified, Wire,
};

pub use admission::Rejected;
pub use config::{Config, Limits};
pub use disk::{router_info_name, router_info_path};
pub use routers::Stored;
pub use routing::RoutingKey;
pub use stats::Stats;
pub use watch::{Answer, SearchEnded, Sought, VerifyCache};

use explore::Explorer;
use gate::Gate;
use lease_sets::LeaseSetStore;
use negative::NegativeCache;
use publishing::{Publication, PublicationKey};
use routers::RouterStore;
use search::{Search, SearchKey};
use throttle::Throttle;

/// Whose knowledge: the router's or that of one local destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum View {
    /// The router's own; its tunnels are the exploratory ones.
    Router,
    /// A local destination's, by the number of its tunnel pool.
    Client(u32),
}

/// How a message travels to a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Via {
    /// Over a session with it.
    Direct,
    /// Out of a tunnel of this view.
    Tunnel(View),
}

/// Where a message came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// From this router, over a session.
    Peer(RouterHash),
    /// Out of a tunnel of this view, in the clear or opened with a key that
    /// an [`Output::ExpectReply`] announced.
    Tunnel(View),
    /// Out of garlic to our router's own key.
    Garlic,
}

/// Names one question of a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LookupId(pub u64);

/// What the database asks about tunnels and sessions while it handles a call.
pub trait ReplyPaths {
    /// An inbound tunnel of this view, for replies.
    fn inbound(&self, view: View) -> Option<Lease>;

    /// Whether this view has an outbound tunnel.
    fn has_outbound(&self, view: View) -> bool {
        let _ = view;
        true
    }

    /// Whether there is a session with this router.
    fn is_connected(&self, router: &RouterHash) -> bool;

    /// Whether this router is banned, or one of its addresses.
    fn is_barred(&self, router: &RouterInfo) -> bool {
        let _ = router;
        false
    }
}

/// What was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// Our RouterInfo.
    Router,
    /// A LeaseSet.
    LeaseSet {
        /// Whose.
        view: View,
        /// Its key.
        key: DestinationHash,
    },
}

/// What disk must learn about other routers. See [`router_info_path`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Write these bytes.
    StoreRouter(RouterHash, Arc<[u8]>),
    /// Remove the file.
    RemoveRouter(RouterHash),
}

/// What the database wants done.
#[derive(Debug)]
pub enum Output {
    /// A message for a router.
    Send {
        /// The router. May be ourselves, through a tunnel, if we are the only floodfill.
        to: RouterHash,
        /// How.
        via: Via,
        /// What.
        message: Message,
        /// Wrap it for the router's key (`ecies-routers`) first.
        garlic: bool,
    },
    /// A reply for a tunnel that starts at another router.
    SendTunnel {
        /// The start of the tunnel.
        gateway: RouterHash,
        /// The tunnel there.
        tunnel: TunnelId,
        /// What, to be put into a TunnelGateway.
        message: Message,
        /// Encrypt it with this one-time key and tag first.
        wrap: Option<(Secret<32>, SessionTag)>,
    },
    /// A reply will come out of a tunnel of `view`, encrypted so.
    ExpectReply {
        /// Whose tunnel.
        view: View,
        /// The one-time tag.
        tag: SessionTag,
        /// The one-time key.
        key: Secret<32>,
        /// After this it can be forgotten.
        until: Instant,
    },
    /// The answer to a question.
    Found {
        /// The question.
        id: LookupId,
        /// Whose.
        view: View,
        /// The answer.
        lease_set: Arc<Verified<LeaseSet>>,
    },
    /// A query through the tunnels of this view was not answered: it may be the tunnels.
    Silent(View),
    /// No answer to a question.
    NotFound {
        /// The question.
        id: LookupId,
        /// Whose.
        view: View,
        /// What was sought.
        key: DestinationHash,
    },
    /// A router that was asked for with [`NetDb::find_router`].
    RouterFound(Arc<Verified<RouterInfo>>),
    /// A router that was asked for could not be found.
    RouterNotFound(RouterHash),
    /// Something of ours is with a floodfill.
    Published {
        /// What.
        what: Published,
        /// Which floodfill.
        floodfill: RouterHash,
        /// Another floodfill has it, too; false: the one has confirmed it.
        verified: bool,
    },
    /// Our RouterInfo needs a new date: sign it again and call [`NetDb::set_local`].
    RenewLocal,
    /// Write or remove a file.
    Record(Record),
    /// A search has ended. Only if [`NetDb::report_searches`] asked for it.
    SearchEnded(SearchEnded),
}

/// Why the database wants to be called at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// A search goes on.
    Search,
    /// A publication goes on.
    Publish,
    /// Time to explore.
    Explore,
    /// Time to sweep out what has ended.
    Sweep,
    /// Changes must go to disk.
    Records,
    /// Our RouterInfo grows old.
    Renew,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    Search(SearchKey),
    Publish(PublicationKey),
    Explore,
    Sweep,
    Records,
    Renew,
}

impl Timer {
    const fn why(&self) -> Why {
        match self {
            Self::Search(_) => Why::Search,
            Self::Publish(_) => Why::Publish,
            Self::Explore => Why::Explore,
            Self::Sweep => Why::Sweep,
            Self::Records => Why::Records,
            Self::Renew => Why::Renew,
        }
    }
}

/// The network database of one router.
#[derive(Debug)]
pub struct NetDb {
    config: Config,
    floodfill: bool,
    local: Option<Arc<Verified<RouterInfo>>>,
    now: Now,
    started: Option<Instant>,
    day: [u8; 8],
    routers: RouterStore,
    /// Whether our clock has been confirmed: only then is anything too young, and only then do RouterInfos expire.
    clock_known: bool,
    /// Files that are too old if our clock is right.
    doubtful: BTreeSet<RouterHash>,
    lease_sets: BTreeMap<View, LeaseSetStore>,
    searches: BTreeMap<SearchKey, Search>,
    next_lookup: u64,
    /// Queries through a view's tunnels since the last answer out of them.
    silences: BTreeMap<View, u8>,
    failures: NegativeCache,
    publications: BTreeMap<PublicationKey, Publication>,
    tokens: BTreeMap<u32, (PublicationKey, RouterHash)>,
    explorer: Explorer,
    lookups_of: Throttle<(RouterHash, u32)>,
    floods_of: Throttle<Hash>,
    gate: Gate,
    timers: Timers<Timer>,
    outputs: VecDeque<Output>,
    stats: Stats,
    verify_cache: Option<Arc<dyn VerifyCache>>,
    reports_searches: bool,
}

impl NetDb {
    /// Empty. `rng` is for the instance; calls bring their own in `cx`.
    pub fn new(config: Config, mut rng: Rng) -> Self {
        let limits = &config.limits;
        let ease = if config.private_network { 10 } else { 1 };
        let lookups = limits.lookups_per_peer.saturating_mul(ease);
        let floods = limits.floods_per_key.saturating_mul(ease);
        Self {
            floodfill: config.floodfill,
            local: None,
            now: Now { mono: Instant::ZERO, wall: Date::NULL },
            started: None,
            day: [b'0'; 8],
            routers: RouterStore::new(limits.routers.max(1), config.min_floodfill_version()),
            clock_known: true,
            doubtful: BTreeSet::new(),
            lease_sets: BTreeMap::from([(View::Router, LeaseSetStore::new(limits.lease_sets.max(1)))]),
            searches: BTreeMap::new(),
            // Not from zero: numbers of one run must not be taken for those of another.
            next_lookup: u64::from(rng.u32()) << 16,
            silences: BTreeMap::new(),
            failures: NegativeCache::new(limits.failures),
            publications: BTreeMap::new(),
            tokens: BTreeMap::new(),
            explorer: Explorer::default(),
            lookups_of: Throttle::new(config::LOOKUP_WINDOW, lookups, limits.throttled_peers),
            floods_of: Throttle::new(config::FLOOD_WINDOW, floods, limits.throttled_keys),
            gate: Gate::new(limits, ease),
            timers: Timers::new(),
            outputs: VecDeque::new(),
            stats: Stats::default(),
            verify_cache: None,
            reports_searches: false,
            config,
        }
    }

    /// The RouterInfo of a router, ourselves included.
    pub fn router(&self, hash: &RouterHash) -> Option<&Arc<Verified<RouterInfo>>> {
        if *hash == self.config.our_hash { self.local.as_ref() } else { self.routers.get(hash) }
    }

    /// All RouterInfos but our own, by hash.
    pub fn routers(&self) -> impl Iterator<Item = &Arc<Verified<RouterInfo>>> {
        self.routers.iter()
    }

    /// How many RouterInfos are known.
    pub fn router_count(&self) -> usize {
        self.routers.len()
    }

    /// How many of them are floodfills fit to be asked.
    pub fn floodfill_count(&self) -> usize {
        self.routers.floodfills()
    }

    /// Whether this router has been of use to us: answered, let itself be dialled, was a hop.
    pub fn is_proven(&self, router: &RouterHash) -> bool {
        self.routers.is_proven(router)
    }

    /// Forgets a router, as when it is banned.
    pub fn forget_router(&mut self, router: &RouterHash) {
        self.routers.remove(router);
    }

    /// Whether we hold a part of the database.
    pub const fn is_floodfill(&self) -> bool {
        self.floodfill
    }

    /// Handles a message of the types 1, 2, 3 and 10. False: it was not for the
    /// database (a DeliveryStatus of something else).
    pub fn handle_message(
        &mut self,
        from: Source,
        message: &Message,
        cx: &mut Cx<'_>,
        paths: &dyn ReplyPaths,
    ) -> bool {
        self.begin(cx.now);
        if let Source::Tunnel(view) = from {
            self.silences.remove(&view);
        }
        match message.kind {
            MessageType::DatabaseStore => match DatabaseStore::from_bytes(&message.body) {
                Ok(store) => self.on_store(from, store, cx, paths),
                Err(_) => {
                    self.stats.malformed += 1;
                    self.note_wrong(from, Rejected::Malformed, cx);
                }
            },
            MessageType::DatabaseLookup => match DatabaseLookup::from_bytes(&message.body) {
                Ok(lookup) => self.on_lookup(from, &lookup, cx),
                Err(_) => self.stats.malformed += 1,
            },
            MessageType::DatabaseSearchReply => match DatabaseSearchReply::from_bytes(&message.body) {
                Ok(reply) => self.on_search_reply(from, &reply, cx, paths),
                Err(_) => self.stats.malformed += 1,
            },
            MessageType::DeliveryStatus => match DeliveryStatus::from_bytes(&message.body) {
                Ok(status) => return self.on_confirmation(from, status.id.get(), cx),
                Err(_) => self.stats.malformed += 1,
            },
            MessageType::Garlic
            | MessageType::TunnelData
            | MessageType::TunnelGateway
            | MessageType::Data
            | MessageType::VariableTunnelBuild
            | MessageType::VariableTunnelBuildReply
            | MessageType::ShortTunnelBuild
            | MessageType::OutboundTunnelBuildReply
            | MessageType::Unknown(_) => return false,
        }
        true
    }

    /// Does all whose time has come.
    pub fn handle_timeout(&mut self, cx: &mut Cx<'_>, paths: &dyn ReplyPaths) {
        self.begin(cx.now);
        while let Some(timer) = self.timers.pop_expired(cx.now.mono) {
            match timer {
                Timer::Search(key) => self.on_search_timer(key, cx, paths),
                Timer::Publish(key) => self.on_publish_timer(key, cx, paths),
                Timer::Explore => self.on_explore_timer(cx),
                Timer::Sweep => self.on_sweep_timer(cx),
                Timer::Records => self.hand_over_records(self.config.limits.records_at_once, cx.now),
                Timer::Renew => self.on_renew_timer(cx),
            }
        }
    }

    /// What is to be done; none: nothing more for now.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`NetDb::handle_timeout`], and why.
    pub fn next_timeout(&self) -> Option<(Instant, Why)> {
        self.timers.next().map(|(at, timer)| (at, timer.why()))
    }

    /// What it holds and has done.
    pub fn stats(&self) -> Stats {
        Stats {
            routers: self.routers.len() as u64,
            floodfills: self.routers.floodfills() as u64,
            routers_proven: self.routers.proven() as u64,
            lease_sets: self.lease_sets.get(&View::Router).map_or(0, LeaseSetStore::len) as u64,
            searches: self.searches.len() as u64,
            ..self.stats
        }
    }

    /// Forgets a local destination and all that it learned.
    pub fn remove_view(&mut self, view: View) {
        if view == View::Router {
            return;
        }
        self.lease_sets.remove(&view);
        self.silences.remove(&view);
        let searches: Vec<_> = self.searches.keys().filter(|key| key.view == view).copied().collect();
        for key in searches {
            self.searches.remove(&key);
            self.timers.stop(&Timer::Search(key));
        }
        let publications: Vec<_> =
            self.publications.keys().filter(|key| key.view() == view).copied().collect();
        for key in publications {
            self.drop_publication(&key);
        }
        self.failures.remove_view(view);
    }

    fn our_hash(&self) -> RouterHash {
        self.config.our_hash
    }

    /// At each call: keeps the time; at the first one, starts the clockwork.
    fn begin(&mut self, now: Now) {
        self.now = now;
        if self.started.is_some() {
            return;
        }
        self.started = Some(now.mono);
        self.day = now.wall.utc_day();
        self.timers.set(Timer::Sweep, now.mono + config::SWEEP_INTERVAL);
        self.timers.set(Timer::Records, now.mono + config::RECORDS_INTERVAL);
        self.timers.set(Timer::Explore, now.mono + explore::FIRST);
    }

    fn lease_sets_of(&mut self, view: View) -> &mut LeaseSetStore {
        let max = self.config.limits.client_lease_sets.max(1);
        self.lease_sets.entry(view).or_insert_with(|| LeaseSetStore::new(max))
    }

    /// A message of ours, from now on.
    fn message<'a>(kind: MessageType, body: &impl Wire<'a>, cx: &mut Cx<'_>) -> Message {
        Message {
            kind,
            id: cx.rng.u32().into(),
            expires: cx.now.wall + config::MESSAGE_LIFE,
            body: body.to_bytes(),
        }
    }
}
