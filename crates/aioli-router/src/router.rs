//! The router: what a driver calls, and what it gets back.
//!
//! A call hands its argument to one part and marks the router dirty. The
//! messages between the parts move when the driver next polls, so that all
//! that a driver reads in one round is handled in one batch; [`super::route`]
//! says what goes where.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use aioli_core::crypto::ed25519::SigningKey;
use aioli_core::crypto::hash::sha256_parts;
use aioli_core::{Cx, Duration, Instant, Now, Rng, Timers};
use aioli_destination::router_garlic::RouterGarlic;
use aioli_netdb::{NetDb, Source};
use aioli_transport::{Bandwidth, ConnId, Ssu2Keys, Transmit, Transport, ssu2};
use aioli_tunnel::{Acceptance, Load, PoolConfig, PoolId, PoolKind, Side, Tunnels};
use aioli_wire::build::BandwidthWish;
use aioli_wire::tunnel::TUNNEL_DATA_SIZE;
use aioli_wire::{DecodeError, Message, RouterHash, RouterInfo, Verified, VerifyError};
use thiserror::Error;

use crate::bandwidth::{self, Counters, Governor};
use crate::bans::Bans;
use crate::client::ClientEvent;
use crate::clock::{Clock, Heard, Tell};
use crate::config::Config;
use crate::event::Event;
use crate::garlic::{Awaiting, ReplyViews};
use crate::guards::Guards;
use crate::identity::Identity;
use crate::lag::Lag;
use crate::lifecycle;
use crate::own_info::{self, Known};
use crate::profiles::{Profiles, StoredProfile};
use crate::reach::{self, Reaching};
use crate::role::{FloodfillRole, Role};
use crate::roster::Roster;
use crate::route::SeenMessages;
use crate::selection::Selector;
use crate::sessions::Sessions;
use crate::stats::Stats;
use crate::tap::{Tap, Tapped};
use crate::ways::Reach;

/// Small tables are swept this often.
const SWEEP_EVERY: Duration = Duration::from_secs(10);
/// Peer profiles fade and are sorted into tiers this often.
const PROFILES_EVERY: Duration = Duration::from_secs(60);

/// What a router wants done.
#[derive(Debug)]
pub enum Output {
    /// Connect by TCP, then call `connected` or `connect_failed`.
    Dial {
        /// The connection to be.
        conn: ConnId,
        /// Where.
        to: SocketAddr,
    },
    /// `poll_transmit` has bytes for this connection.
    Transmit(ConnId),
    /// `poll_datagrams` has something for the UDP sockets.
    Datagrams,
    /// `read_room`, which gave nothing for this connection, may be asked again.
    ReadMore(ConnId),
    /// Close the connection.
    Close {
        /// Which.
        conn: ConnId,
        /// With an RST, saying nothing.
        reset: bool,
    },
    /// Write or remove a file.
    Store(StoreWrite),
    /// For the programs above.
    Client(ClientEvent),
    /// For the user.
    Event(Event),
    /// For a simulation that asked for it.
    Tapped(Tapped),
}

/// What the disk must learn.
#[derive(Clone, Debug)]
pub enum StoreWrite {
    /// Another router, for `netDb/`.
    RouterInfo {
        /// Whose.
        hash: RouterHash,
        /// Its exact bytes.
        bytes: Arc<[u8]>,
    },
    /// A router that is no longer kept.
    RemoveRouterInfo(RouterHash),
    /// Ourselves, for `router.info`.
    OwnRouterInfo(Arc<[u8]>),
    /// Who stands next to us in our tunnels, for [`Router::load_guards`]. Nobody else may read it.
    Guards(String),
    /// All that was learned of other routers.
    Profiles(Vec<StoredProfile>),
}

/// Why a RouterInfo from the disk was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LoadError {
    /// The bytes are wrong.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The signature is wrong.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// It is of another network, outdated, or our own.
    #[error("of another network, or outdated")]
    Unwanted,
}

/// What the next deadline of the composition itself is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    Sweep,
    Profiles,
    StoreProfiles,
    Bandwidth,
    /// Whether others reach us is looked at.
    Reach,
    /// Other addresses are published.
    Addresses,
    /// A session waits no longer for its LeaseSet to be confirmed.
    SessionReady(PoolId),
    /// An ended session may have had its last words.
    SessionEnds(PoolId),
}

/// One I2P router.
#[derive(Debug)]
pub struct Router {
    pub(crate) config: Config,
    pub(crate) identity: Identity,
    pub(crate) hash: RouterHash,
    pub(crate) own: Arc<Verified<RouterInfo>>,
    pub(crate) rng: Rng,
    /// The clocks of the latest call, the wall clock corrected: outputs are translated with them.
    pub(crate) now: Now,
    pub(crate) clock: Clock,
    /// It publishes itself and builds tunnels.
    started: bool,
    pub(crate) transport: Transport,
    pub(crate) netdb: NetDb,
    pub(crate) tunnels: Tunnels,
    pub(crate) garlic: RouterGarlic,
    pub(crate) profiles: Profiles,
    pub(crate) roster: Roster,
    pub(crate) guards: Guards,
    pub(crate) reply_views: ReplyViews,
    pub(crate) awaiting: Awaiting,
    pub(crate) seen: SeenMessages,
    pub(crate) sessions: Sessions,
    /// Our tunnels by hop: what the one-third cap counts.
    pub(crate) in_use: BTreeMap<RouterHash, u32>,
    /// Our tunnels that have hops.
    pub(crate) own_tunnels: u32,
    /// Messages that our own tunnels delivered to ourselves.
    pub(crate) loopback: VecDeque<Message>,
    pub(crate) timers: Timers<Timer>,
    pub(crate) outputs: VecDeque<Output>,
    pub(crate) dirty: bool,
    pub(crate) ready: bool,
    pub(crate) met_a_peer: bool,
    pub(crate) shutting_down: bool,
    /// Others' tunnels are refused because we are to stop.
    pub(crate) draining: bool,
    /// When the computer woke up last.
    pub(crate) resumed_at: Instant,
    pub(crate) addresses_not_before: Instant,
    /// Whether others reach us, and who introduces them.
    pub(crate) reaching: Reaching,
    /// What was published of our state.
    published: Known,
    pub(crate) dropped: u64,
    pub(crate) tap: Tap,
    pub(crate) bans: Bans,
    /// When a ban was last told to the user.
    pub(crate) ban_said: Option<Instant>,
    pub(crate) role: Role,
    pub(crate) since: Instant,
    /// The last router that we dialled and whose clock differs from ours.
    pub(crate) skewed_peer: Option<(Instant, RouterHash)>,
    lag: Lag,
    pub(crate) governor: Governor,
    /// Bytes that may wait for all peers.
    queue_limit: u64,
}

/// The context of a call, from the disjoint fields of a router.
macro_rules! cx {
    ($router:expr) => {
        aioli_core::Cx { now: $router.now, rng: &mut $router.rng }
    };
}
pub(crate) use cx;

impl Router {
    /// A router that knows nobody. Its randomness comes from `seed` alone.
    pub fn new(config: Config, identity: Identity, seed: [u8; 32], now: Now) -> Self {
        let mut rng = Rng::from_seed(seed);
        let own = own_info::create_router_info(&config, &identity, now);
        let hash = own.hash();
        let transport_config = transport_config(&config, &identity);
        let queue_limit = transport_config.limits.queue_bytes_total as u64;
        let transport = Transport::new(transport_config, rng.fork());
        let mut netdb = NetDb::new(netdb_config(&config, hash), rng.fork());
        netdb.set_clock_known(false, now);
        let tunnels = Tunnels::new(tunnel_config(&config, &identity, hash), rng.fork());
        let limits = &config.limits;
        let garlic = RouterGarlic::new(identity.encryption.clone(), &limits.router_garlic(), &mut rng);
        let clock = Clock::new(now, !config.private_network);
        Self {
            hash,
            own,
            transport,
            netdb,
            tunnels,
            garlic,
            profiles: Profiles::new(limits.profiles),
            roster: Roster::new(hash, config.private_network),
            guards: Guards::new(limits.guarded_pools),
            reply_views: ReplyViews::new(limits.reply_keys),
            awaiting: Awaiting::new(limits.awaiting_router_info),
            seen: SeenMessages::new(&mut rng),
            sessions: Sessions::new(limits.sessions),
            in_use: BTreeMap::new(),
            own_tunnels: 0,
            loopback: VecDeque::new(),
            timers: Timers::new(),
            outputs: VecDeque::new(),
            dirty: false,
            ready: false,
            met_a_peer: false,
            shutting_down: false,
            draining: false,
            resumed_at: Instant::ZERO,
            addresses_not_before: Instant::ZERO,
            published: Known::default(),
            reaching: Reaching::new(config.published.clone(), config.ssu2),
            dropped: 0,
            tap: Tap::default(),
            bans: Bans::new(Arc::clone(&config.blocklist), limits.bans),
            ban_said: None,
            role: Role::new(config.floodfill, config.private_network, now.mono, &mut rng),
            since: now.mono,
            skewed_peer: None,
            lag: Lag::default(),
            governor: Governor::new(config.bandwidth, now.mono),
            queue_limit,
            config,
            identity,
            rng,
            now,
            clock,
            started: false,
        }
    }

    /// How we are named.
    pub const fn hash(&self) -> RouterHash {
        self.hash
    }

    /// Our RouterInfo as it is published.
    pub const fn router_info(&self) -> &Arc<Verified<RouterInfo>> {
        &self.own
    }

    /// Takes a RouterInfo from `netDb/`.
    pub fn load_router_info(&mut self, bytes: &[u8], now: Now) -> Result<RouterHash, LoadError> {
        self.enter(now);
        let info = RouterInfo::decode_unverified(bytes)?;
        let hash = info.claims().hash();
        if hash == self.hash || self.refuses(info.claims()) {
            return Err(LoadError::Unwanted);
        }
        self.netdb.load(bytes, &mut cx!(self)).map_err(|_| LoadError::Unwanted)?;
        if let Some(info) = self.netdb.router(&hash) {
            self.roster.introduce(info, now.mono);
        }
        Ok(hash)
    }

    /// Takes a RouterInfo that is new to `netDb/` as well: from a reseed.
    pub fn learn_router_info(&mut self, bytes: &[u8], now: Now) -> Result<RouterHash, LoadError> {
        let known = self.netdb.router_count();
        let hash = self.load_router_info(bytes, now)?;
        self.dirty = true;
        if self.netdb.router_count() == known {
            return Err(LoadError::Unwanted);
        }
        self.outputs.push_back(Output::Store(StoreWrite::RouterInfo { hash, bytes: bytes.into() }));
        Ok(hash)
    }

    /// Time servers say that true time is ahead of the driver's wall clock by so many milliseconds. From now on the
    /// router works with that, whatever the driver's clock shows.
    pub fn set_clock_offset(&mut self, agreeing: usize, offset_ms: i64, now: Now) {
        self.enter(now);
        let heard = self.clock.on_servers(offset_ms, agreeing);
        self.on_clock(heard);
    }

    /// True time minus the driver's wall clock in milliseconds, as far as is known.
    pub const fn clock_offset_ms(&self) -> i64 {
        self.clock.offset_ms()
    }

    /// How often the driver's wall clock has jumped: after each time, time servers should be asked again.
    pub const fn clock_jumps(&self) -> u64 {
        self.clock.jumps()
    }

    /// Takes what [`StoreWrite::Guards`] gave, before the start. False: some of it was damaged and is left out.
    pub fn load_guards(&mut self, text: &str) -> bool {
        self.guards.load(text)
    }

    /// What may be received and sent from now on, in bytes a second; none for no limit. Others' share of it stays.
    pub fn set_bandwidth(&mut self, inbound: Option<u64>, outbound: Option<u64>, now: Now) {
        self.enter(now);
        self.config.bandwidth = Bandwidth { inbound, outbound, ..self.config.bandwidth };
        self.transport.set_bandwidth(self.config.bandwidth, now.mono);
        self.governor.set_limits(self.config.bandwidth);
        self.govern();
    }

    /// Publishes ourselves and builds tunnels.
    pub fn start(&mut self, now: Now) {
        self.enter(now);
        self.started = true;
        self.renew_own_info();
        match self.netdb.router_count() {
            0 => self.outputs.push_back(Output::Event(Event::NoRouters)),
            known => self.outputs.push_back(Output::Event(Event::Connecting { known })),
        }
        self.set_up_reach();
        self.greet_old_friends();
        let pool = PoolConfig {
            kind: PoolKind::Exploratory,
            inbound: side(self.config.inbound, true),
            outbound: side(self.config.outbound, true),
            order_key: order_key(&self.identity.signing),
        };
        self.tunnels.create_pool(PoolId::EXPLORATORY, pool, &mut cx!(self));
        self.timers.set(Timer::Sweep, now.mono + SWEEP_EVERY);
        self.timers.set(Timer::Reach, now.mono + reach::SOON);
        self.timers.set(Timer::Profiles, now.mono + PROFILES_EVERY);
        self.timers.set(Timer::StoreProfiles, now.mono + lifecycle::STORE_PROFILES_EVERY);
        self.govern();
        if self.config.bandwidth.transit_percent == 0 || self.config.hidden {
            self.tunnels.set_accepting(Acceptance::None);
        }
        self.expire();
    }

    /// A TCP connection came in. None: close it.
    pub fn accepted(&mut self, from: SocketAddr, now: Now) -> Option<ConnId> {
        self.enter(now);
        if self.refuses_ip(from.ip()) {
            return None;
        }
        self.transport.handle_accepted(from, &mut cx!(self))
    }

    /// A connection asked for by [`Output::Dial`] stands.
    pub fn connected(&mut self, conn: ConnId, now: Now) {
        self.enter(now);
        self.transport.handle_connected(conn, &mut cx!(self));
    }

    /// A connection asked for by [`Output::Dial`] could not be made.
    pub fn connect_failed(&mut self, conn: ConnId, now: Now) {
        self.enter(now);
        self.transport.handle_connect_failed(conn, &mut cx!(self));
    }

    /// Bytes came; they are decrypted in place.
    pub fn handle_bytes(&mut self, conn: ConnId, bytes: &mut [u8], now: Now) {
        self.enter(now);
        self.transport.handle_bytes(conn, bytes, &mut cx!(self));
    }

    /// The connection is gone.
    pub fn closed(&mut self, conn: ConnId, now: Now) {
        self.enter(now);
        self.transport.handle_closed(conn, &mut cx!(self));
    }

    /// How many bytes may be read from a connection now. With 0, [`Output::ReadMore`] says when to ask again.
    pub fn read_room(&mut self, conn: ConnId, now: Now) -> usize {
        self.enter(now);
        self.transport.read_room(conn, &mut cx!(self))
    }

    /// Appends up to about `max` bytes for a connection. False: nothing to write.
    pub fn poll_transmit(&mut self, conn: ConnId, out: &mut Vec<u8>, max: usize, now: Now) -> bool {
        self.enter(now);
        self.transport.poll_transmit(conn, out, max, &mut cx!(self))
    }

    /// The address families that the driver has UDP sockets for; both at first.
    pub const fn set_ssu2_families(&mut self, ipv4: bool, ipv6: bool) {
        self.transport.set_ssu2_families(ipv4, ipv6);
    }

    /// The address families that the machine has addresses of; both at first. Nobody is dialled in another.
    pub const fn set_families(&mut self, ipv4: bool, ipv6: bool) {
        self.transport.set_families(ipv4, ipv6);
    }

    /// Which families' UDP sockets take datagrams for now; both at first. [`Self::poll_datagrams`] gives none for the
    /// other.
    pub fn set_ssu2_writable(&mut self, ipv4: bool, ipv6: bool) {
        self.dirty = true;
        self.transport.set_ssu2_writable(ipv4, ipv6);
    }

    /// A datagram came; it is decrypted in place.
    pub fn handle_datagram(&mut self, from: SocketAddr, bytes: &mut [u8], now: Now) {
        self.enter(now);
        if !self.refuses_ip(from.ip()) {
            self.transport.handle_datagram(from, bytes, &mut cx!(self));
        }
    }

    /// Appends datagrams for one destination, at most so many, all as long as the first but for the last, which may
    /// be shorter. None: there are no more for now.
    pub fn poll_datagrams(&mut self, out: &mut Vec<u8>, max_segments: usize, now: Now) -> Option<Transmit> {
        self.enter(now);
        self.transport.poll_datagrams(out, max_segments, &mut cx!(self))
    }

    /// A deadline came.
    pub fn handle_timeout(&mut self, now: Now) {
        if let Some(due) = self.next_timeout() {
            self.lag.note(due, now.mono);
        }
        self.enter(now);
        self.expire();
    }

    /// When `handle_timeout` is wanted.
    pub fn next_timeout(&self) -> Option<Instant> {
        [
            self.transport.next_timeout().map(|(at, _)| at),
            self.netdb.next_timeout().map(|(at, _)| at),
            self.tunnels.next_timeout().map(|(at, _)| at),
            self.sessions.next_timeout(),
            self.timers.next().map(|(at, _)| at),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The next thing to do; none when there is nothing more for now.
    pub fn poll_output(&mut self) -> Option<Output> {
        while self.outputs.is_empty() && self.dirty {
            self.dirty = false;
            self.settle();
        }
        self.outputs.pop_front()
    }

    /// Counters since the start, and the sizes of tables.
    pub fn stats(&self) -> Stats {
        let (transport, netdb, tunnels) = (self.transport.stats(), self.netdb.stats(), self.tunnels.stats());
        let (garlic, ssu2) = (self.garlic.stats(), self.transport.ssu2_stats().unwrap_or_default());
        Stats {
            sessions: self.transport.sessions() as u64,
            ssu2_sessions: self.transport.ssu2_sessions() as u64,
            known_routers: netdb.routers,
            floodfills: netdb.floodfills,
            lease_sets: netdb.lease_sets,
            tunnels_in: tunnels.inbound,
            tunnels_out: tunnels.outbound,
            transit_tunnels: tunnels.transit,
            transit_messages: tunnels.transit_messages,
            transit_bytes: tunnels.transit_bytes,
            transit_bytes_sent: transport.transit_bytes_sent,
            transit_accepted: tunnels.transit_accepted,
            transit_refused: tunnels.transit_refused,
            builds_started: tunnels.builds_started,
            builds_succeeded: tunnels.builds_succeeded,
            builds_refused: tunnels.builds_refused,
            builds_timed_out: tunnels.builds_timed_out,
            builds_failed: tunnels.builds_failed,
            tests_passed: tunnels.tests_passed,
            tests_failed: tunnels.tests_failed,
            searches_started: netdb.searches_started,
            searches_found: netdb.searches_found,
            searches_failed: netdb.searches_failed,
            bytes_in: transport.bytes_received,
            bytes_out: transport.bytes_sent,
            dials_paced: transport.dials_paced,
            dials_limited: transport.dials_limited,
            dials_both: transport.dials_both,
            dials_moved: transport.dials_moved,
            dropped_inbound: transport.dropped_inbound,
            closed_for_room: transport.closed_for_room,
            refused_connections: refused(&transport),
            handshakes_failed: transport.handshakes_failed,
            handshakes_timed_out: transport.handshakes_timed_out,
            replays: transport.replays,
            bad_frames: transport.bad_frames,
            bad_messages: transport.bad_messages,
            client_sessions: self.sessions.len() as u64,
            streams: self.sessions.streams(),
            dropped: self.dropped + self.awaiting.dropped,
            undecryptable: garlic.not_opened + self.sessions.undecryptable(),
            bugs: aioli_core::bug::count(),
            reply_keys: self.reply_views.len() as u64 + garlic.reply_keys,
            awaiting: self.awaiting.len() as u64,
            profiles: self.profiles.len() as u64,
            proven_routers: netdb.routers_proven,
            crowded_routers: netdb.routers_crowded,
            stores_throttled: netdb.stores_throttled,
            senders_muted: netdb.senders_muted,
            bad_signatures: netdb.bad_signatures,
            bans: self.bans.len() as u64,
            barred: self.bans.refused,
            seen_messages: self.seen.len() as u64,
            proven_peers: self.profiles.high_capacity().len() as u64,
            newcomers: self.roster.newcomers() as u64,
            builds_throttled: tunnels.throttled + tunnels.throttled_subnet,
            builds_refused_bandwidth: tunnels.refused_bandwidth,
            gateway_limited: tunnels.gateway_limited,
            clock_voices: self.clock.voices() as u64,
            clock_steps: self.clock.steps(),
            paths_moved: ssu2.paths_moved,
            relays_passed_on: ssu2.relays_passed_on,
            hole_punches_sent: ssu2.hole_punches_sent,
            introductions_made: ssu2.introductions_made,
        }
    }

    /// Every call from outside starts here.
    pub(crate) fn enter(&mut self, now: Now) {
        let before = self.now;
        self.now = self.clock.read(now);
        self.dirty = true;
        // Before the start nothing is due, so that silence says nothing.
        if self.started && !self.shutting_down {
            self.on_time(before);
        }
    }

    /// Somebody has told us the time.
    pub(crate) fn on_clock(&mut self, heard: Heard) {
        if let Some(tell) = heard.tell {
            self.outputs.push_back(Output::Event(match tell {
                Tell::Corrected { offset_ms, source } => Event::ClockCorrected { offset_ms, source },
                Tell::Refused { offset_ms } => Event::ClockSkew { offset_ms },
                Tell::Disagree { servers_ms, routers_ms } => Event::ClocksDisagree { servers_ms, routers_ms },
            }));
        }
        if let Some(by_ms) = heard.stepped {
            self.now = self.clock.corrected();
            self.tunnels.handle_clock_step(by_ms);
            self.netdb.handle_clock_step();
            if self.started && !self.shutting_down {
                self.renew_own_info();
            }
        }
        self.netdb.set_clock_known(self.clock.is_settled(), self.now);
    }

    /// How busy we are decides whether we become hop of more tunnels.
    fn report_load(&mut self) {
        let queued = self.transport.stats().queued_bytes;
        let load = Load {
            queued_percent: queued * 100 / self.queue_limit.max(1),
            lag: self.lag.mean(),
            transit_percent: self.governor.used_percent(),
        };
        self.tunnels.set_load(load);
    }

    /// Looks at what came and went, and says what others' tunnels may bring.
    fn govern(&mut self) {
        let (transport, tunnels) = (self.transport.stats(), self.tunnels.stats());
        let counters = Counters {
            received: transport.bytes_received,
            sent: transport.bytes_sent,
            transit_received: tunnels.transit_bytes + tunnels.transit_policed * TUNNEL_DATA_SIZE as u64,
            transit_sent: transport.transit_bytes_sent,
        };
        let rate = self.governor.look(counters, self.now.mono);
        self.tunnels.set_transit_rate(rate, self.now.mono);
        if self.governor.is_limited() {
            self.transport.read_first(self.tunnels.senders());
            self.timers.set(Timer::Bandwidth, self.now.mono + bandwidth::EVERY);
        }
    }

    pub(crate) fn expire(&mut self) {
        let now = self.now;
        self.transport.handle_timeout(&mut cx!(self));
        self.with_paths(|netdb, cx, paths| netdb.handle_timeout(cx, paths));
        self.garlic.handle_timeout(now.mono);
        self.roster.follow(&self.netdb, &self.profiles, now.mono);
        let selector = Selector {
            netdb: &self.netdb,
            profiles: &self.profiles,
            roster: &self.roster,
            guards: &self.guards,
            explicit: &self.config.explicit_peers,
            sessions: if self.config.is_reachable() { None } else { Some(&self.transport) },
            ours: Reach::ours(&self.config),
            in_use: &self.in_use,
            tunnels: self.own_tunnels,
            now,
        };
        self.tunnels.handle_timeout(&mut Cx { now, rng: &mut self.rng }, &selector);
        self.sessions.handle_timeout(&mut cx!(self));
        while let Some(timer) = self.timers.pop_expired(now.mono) {
            match timer {
                Timer::Sweep => {
                    self.reply_views.expire(now.mono);
                    self.awaiting.expire(now.mono);
                    self.seen.expire(now.mono);
                    self.bans.expire(now.mono);
                    if !self.governor.is_limited() {
                        self.govern();
                    }
                    self.report_load();
                    self.timers.set(Timer::Sweep, now.mono + SWEEP_EVERY);
                }
                Timer::Profiles => {
                    self.profiles.maintain(now.mono);
                    if self.clock.is_settled() {
                        self.guards.maintain(now.wall);
                    }
                    self.store_guards();
                    self.review_role();
                    self.timers.set(Timer::Profiles, now.mono + PROFILES_EVERY);
                }
                Timer::StoreProfiles => self.store_profiles(),
                Timer::Bandwidth => self.govern(),
                Timer::Addresses => self.publish_addresses(),
                Timer::Reach => self.review_reach(),
                Timer::SessionReady(pool) => self.announce_session(pool),
                Timer::SessionEnds(pool) => self.end_farewell(pool),
            }
        }
    }

    pub(crate) fn store_guards(&mut self) {
        if let Some(text) = self.guards.take_changed() {
            self.outputs.push_back(Output::Store(StoreWrite::Guards(text)));
        }
    }

    /// Signs our RouterInfo anew and tells everyone who needs it.
    pub(crate) fn renew_own_info(&mut self) {
        let counts = (self.netdb.router_count(), self.netdb.stats().lease_sets as usize);
        let uptime = self.now.mono.since(self.since);
        let (routers, lease_sets) = own_info::blurred(counts, uptime, &mut self.rng);
        let mut known = Known {
            floodfill: self.role.is_floodfill(),
            congestion: self.tunnels.congestion(),
            shared: self.governor.shared_kbytes(),
            routers,
            lease_sets,
        };
        if self.draining || self.shutting_down {
            // A change would only tell that we leave.
            known = Known { congestion: self.published.congestion, shared: self.published.shared, ..known };
        }
        self.published = known;
        let now = Now { wall: own_info::publication_date(self.own.published, self.now.wall), ..self.now };
        let serves = &self.reaching.serves;
        self.own = own_info::sign(&self.config, &self.identity, known, serves, now);
        self.transport.set_local(Arc::clone(&self.own));
        self.netdb.set_local(Arc::clone(&self.own), &mut cx!(self));
        self.outputs.push_back(Output::Store(StoreWrite::OwnRouterInfo(self.own.shared_bytes())));
    }

    /// Hands a message to the NetDB.
    pub(crate) fn tell_netdb(&mut self, source: Source, message: &Message) -> bool {
        if self.tap_database(source, message) {
            return true;
        }
        self.with_paths(|netdb, cx, paths| netdb.handle_message(source, message, cx, paths))
    }
}

/// Connections of others that were not accepted, for any limit.
const fn refused(transport: &aioli_transport::Stats) -> u64 {
    transport.refused_connections
        + transport.refused_paced
        + transport.refused_per_ip
        + transport.refused_pending
        + transport.refused_not_public
        + transport.refused_not_ready
}

pub(crate) fn side(options: crate::client::TunnelOptions, allow_zero_hop: bool) -> Side {
    Side {
        length: options.length,
        variance: options.variance,
        quantity: options.quantity,
        backup: options.backup,
        allow_zero_hop: allow_zero_hop || options.length == 0,
        bandwidth: wish(options.kbps),
    }
}

/// What hops are asked for a tunnel that is to carry so many KB/s: one of few
/// values, lest the number tells whose tunnel it is.
fn wish(kbps: u32) -> BandwidthWish {
    if kbps == 0 {
        return BandwidthWish::default();
    }
    let wanted = kbps.clamp(4, 1 << 20).next_power_of_two();
    BandwidthWish { least: Some(wanted / 4), wanted: Some(wanted), limit: Some(wanted * 4) }
}

fn transport_config(config: &Config, identity: &Identity) -> aioli_transport::Config {
    let mut t = aioli_transport::Config::new(identity.ntcp2_static.clone(), identity.ntcp2_iv);
    t.net_id = config.net_id;
    t.ntcp2 = config.ntcp2;
    t.ssu2 = config.ssu2.then(|| Ssu2Keys {
        static_key: identity.ssu2_static(),
        intro_key: ssu2::IntroKey(identity.ssu2_intro_key()),
        signing: Some(identity.signing.clone()),
        mtu: config.mtu,
        listens: !config.hidden,
    });
    t.handshake_timeout = config.handshake_timeout;
    t.idle_timeout = config.idle_timeout;
    t.private_network = config.private_network;
    t.bandwidth = config.bandwidth;
    t.limits = config.limits.transport();
    t
}

fn netdb_config(config: &Config, our_hash: RouterHash) -> aioli_netdb::Config {
    aioli_netdb::Config {
        our_hash,
        net_id: config.net_id,
        floodfill: config.floodfill == FloodfillRole::Always,
        private_network: config.private_network,
        limits: config.limits.netdb(),
    }
}

/// Fixes where a hop stands in the tunnels of whoever signs with this key, over
/// restarts as well, so that its neighbours there stay the same.
pub(crate) fn order_key(key: &SigningKey) -> [u8; 32] {
    sha256_parts(&[b"aioli order of hops", key.seed().as_bytes()])
}

/// The same for all destinations that live no longer than their session.
pub(crate) fn transients_key(key: &SigningKey) -> [u8; 32] {
    sha256_parts(&[b"aioli order of hops, transient", key.seed().as_bytes()])
}

fn tunnel_config(config: &Config, identity: &Identity, our_hash: RouterHash) -> aioli_tunnel::Config {
    let mut t = aioli_tunnel::Config::new(our_hash, identity.encryption.clone());
    t.limits = config.limits.tunnel();
    if config.private_network {
        // A few routers bring what in the public network thousands do.
        t.limits.requests_per_neighbour *= 25;
        t.limits.requests_per_subnet *= 25;
    }
    t
}
