//! Settings, bounds and times of the network database.

use aioli_core::Duration;
use aioli_wire::RouterHash;

/// Who we are and how the database behaves.
#[derive(Clone, Debug)]
pub struct Config {
    /// Our own name.
    pub our_hash: RouterHash,
    /// The network: 2 is the public one. RouterInfos of others are refused.
    pub net_id: u8,
    /// Whether we hold a part of the database. Once a local RouterInfo is set,
    /// its `f` decides.
    pub floodfill: bool,
    /// A test network: addresses of any range are accepted.
    pub private_network: bool,
    /// What peers can make us keep.
    pub limits: Limits,
}

impl Config {
    /// The lowest version of a floodfill that is asked or stored to: a private
    /// network may hold routers that the public one has left behind.
    pub(crate) const fn min_floodfill_version(&self) -> (u8, u8, u8) {
        if self.private_network { (0, 0, 0) } else { MIN_FLOODFILL_VERSION }
    }
}

/// What peers can make us keep and do.
#[derive(Clone, Debug)]
pub struct Limits {
    /// RouterInfos. Beyond it the least useful goes.
    pub routers: usize,
    /// LeaseSets that we hold as a floodfill.
    pub lease_sets: usize,
    /// LeaseSets in the view of one client.
    pub client_lease_sets: usize,
    /// Searches at a time, of all kinds.
    pub searches: usize,
    /// Callers that wait for the same search.
    pub waiters: usize,
    /// RouterInfos that one search may fetch because replies named them.
    pub fetches_per_search: usize,
    /// Failed searches that are remembered.
    pub failures: usize,
    /// LeaseSets that we publish.
    pub publications: usize,
    /// Peers whose lookups are counted.
    pub throttled_peers: usize,
    /// Lookups of one asker that are answered in [`LOOKUP_WINDOW`]; ten times
    /// as many in a private network, where a few serve all.
    pub lookups_per_peer: u16,
    /// Keys whose floods are counted.
    pub throttled_keys: usize,
    /// Floods of one key in [`FLOOD_WINDOW`]; ten times as many in a private network.
    pub floods_per_key: u16,
    /// Senders whose stores are counted.
    pub throttled_senders: usize,
    /// Stores about others that one sender may bring in [`STORE_WINDOW`]; ten
    /// times as many in a private network.
    pub stores_per_sender: u16,
    /// The same for all that come in garlic, whose senders nobody sees.
    pub stores_in_garlic: u16,
    /// Signatures that are checked in a second for stores that nobody asked
    /// for; ten times as many in a private network.
    pub checks_per_second: u32,
    /// Senders of wrong stores that are not listened to for a while.
    pub muted: usize,
    /// RouterInfos that go to disk at a time, every [`RECORDS_INTERVAL`].
    pub records_at_once: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            routers: 8_000,
            lease_sets: 20_000,
            client_lease_sets: 512,
            searches: 512,
            waiters: 64,
            fetches_per_search: 12,
            failures: 2_048,
            publications: 1_024,
            throttled_peers: 8_192,
            lookups_per_peer: 120,
            throttled_keys: 16_384,
            floods_per_key: 3,
            throttled_senders: 4_096,
            stores_per_sender: 60,
            stores_in_garlic: 1_200,
            checks_per_second: 50,
            muted: 1_024,
            records_at_once: 400,
        }
    }
}

/// Lowest version whose RouterInfo is kept.
pub const MIN_VERSION: (u8, u8, u8) = (0, 9, 58);
/// Lowest version of a floodfill that is asked or stored to.
pub const MIN_FLOODFILL_VERSION: (u8, u8, u8) = (0, 9, 62);

/// How far ahead of our clock a publication date may lie.
pub const MAX_FUTURE: Duration = Duration::from_secs(2 * 60);
/// How far ahead a lease may end.
pub const MAX_LEASE_FUTURE: Duration = Duration::from_secs(15 * 60);
/// How far ahead a MetaLeaseSet may end: its 2-byte field holds no more.
pub const MAX_META_FUTURE: Duration = Duration::from_secs(65_535 + 120);
/// Oldest RouterInfo that is flooded.
pub const MAX_FLOOD_AGE: Duration = Duration::from_secs(60 * 60);
/// Oldest RouterInfo that is kept if many are known.
pub const MAX_ROUTER_AGE: Duration = Duration::from_secs(27 * 3600);
/// Oldest RouterInfo that is kept if few are known.
pub const MAX_ROUTER_AGE_FEW: Duration = Duration::from_secs(72 * 3600);
/// Age limit that [`MAX_ROUTER_AGE`] shrinks to as the store fills.
pub const MIN_ROUTER_AGE: Duration = Duration::from_secs(90 * 60);
/// Oldest RouterInfo that a floodfill keeps: routers republish to it sooner.
pub const FLOODFILL_ROUTER_AGE: Duration = Duration::from_secs(60 * 60);
/// Oldest RouterInfo that a floodfill keeps of a router that has been of use, to use it and not to serve it; and
/// the age from which one is fetched anew when a reply names the router.
pub const PROVEN_ROUTER_AGE: Duration = Duration::from_secs(3 * 3600);
/// Oldest RouterInfo of an unreachable router: how to reach it changes fast.
pub const UNREACHABLE_ROUTER_AGE: Duration = Duration::from_secs(75 * 60);
/// No RouterInfo expires this soon after the start: those from disk are old.
pub const NO_EXPIRY_AFTER_START: Duration = Duration::from_secs(60 * 60);
/// With fewer routers than this, age limits are loose.
pub const FEW_ROUTERS: usize = 90;
/// With no more routers than this, none expires.
pub const NO_EXPIRY_ROUTERS: usize = 25;
/// Of a full store newcomers have at least one part in this many.
pub const NEWCOMERS_PART: usize = 4;
/// A newcomer has this time to be of use, before another may take its place.
pub const PROBATION: Duration = Duration::from_secs(10 * 60);
/// A newcomer that has published itself anew after this time goes after those that did not.
pub const LASTING: Duration = Duration::from_secs(20 * 60);
/// Failures that put a newcomer behind all others...
pub const MAX_FAILURES_NEW: u8 = 1;
/// ...and failures in a row that do it to a router that was of use before.
pub const MAX_FAILURES_PROVEN: u8 = 4;
/// Uses of a router that count; halved each day.
pub const MAX_USES: u8 = 16;
/// How long a LeaseSet is kept after its end, for clocks that differ.
pub const LEASE_SET_FUDGE: Duration = Duration::from_secs(10);
/// A cached LeaseSet is given out without a search only if it lasts this long.
pub const LEASE_SET_FRESH: Duration = Duration::from_secs(60);
/// How often the store is swept.
pub const SWEEP_INTERVAL: Duration = Duration::from_secs(30);
/// How often changes go to disk.
pub const RECORDS_INTERVAL: Duration = Duration::from_secs(10);

/// How long a message of ours is valid.
pub const MESSAGE_LIFE: Duration = Duration::from_secs(15);
/// Patience with one floodfill, through tunnels.
pub const TUNNEL_QUERY_TIMEOUT: Duration = Duration::from_millis(1_500);
/// Patience with one floodfill that we are connected to.
pub const DIRECT_QUERY_TIMEOUT: Duration = Duration::from_millis(1_000);
/// Patience with one floodfill that must be dialled first.
pub const DIAL_QUERY_TIMEOUT: Duration = Duration::from_millis(4_000);
/// Patience with a search for a LeaseSet.
pub const LEASE_SET_SEARCH_TIME: Duration = Duration::from_secs(12);
/// Patience with a search for a RouterInfo.
pub const ROUTER_SEARCH_TIME: Duration = Duration::from_secs(10);
/// Patience with an exploration.
pub const EXPLORE_SEARCH_TIME: Duration = Duration::from_secs(8);
/// A late reply is waited for this long after the last query.
pub const LINGER: Duration = Duration::from_secs(4);
/// How long after its last query a search waits for routers that a reply named
/// before it asks the silent again. They may be phantoms.
pub const FETCH_PATIENCE: Duration = Duration::from_millis(1_200);
/// How soon a search looks again for tunnels or floodfills that it lacks.
pub const RETRY_PATH: Duration = Duration::from_millis(200);
/// Floodfills that one search asks.
pub const MAX_QUERIES: u8 = 8;
/// Floodfills that a search asks if only a reply named the router: who named it, and three others.
pub const MAX_DERIVED_QUERIES: u8 = 4;
/// Times that one silent floodfill is asked when there is no other.
pub const MAX_ASKED_AGAIN: u8 = 3;
/// Failures in a row that put a floodfill behind the others.
pub const MAX_FLOODFILL_FAILURES: u8 = 2;
/// For how long.
pub const FLOODFILL_PENALTY: Duration = Duration::from_secs(5 * 60);
/// The penalty doubles with each further failure, up to this.
pub const MAX_FLOODFILL_PENALTY: Duration = Duration::from_secs(60 * 60);
/// Routers that a floodfill names and nobody knows, until it counts as failing.
pub const MAX_LIES: u8 = 4;
/// Routers that replies to one search named and that it remembers.
pub const MAX_NAMED: usize = 32;
/// One in so many queries for a LeaseSet, and of the stores of one publication, goes to a floodfill that we
/// have not met, if it is closer than all that we have.
pub const STRANGER_ONE_IN: u8 = 4;
/// When so many floodfills have said that they do not know a router, no stranger is asked for it.
pub const ENOUGH_DENIALS: usize = 5;
/// Queries through the tunnels of one view that may stay unanswered in a row before it is taken for the tunnels'
/// fault and not for that of floodfills that we have met.
pub const MAX_SILENCES: u8 = 2;
/// How long a key is taken for absent after one failed search. Twice as long after each further one.
pub const NEGATIVE_PAUSE: Duration = Duration::from_millis(500);
/// The longest of these pauses.
pub const NEGATIVE_MAX_PAUSE: Duration = Duration::from_secs(60);
/// Failures longer ago are forgotten.
pub const NEGATIVE_TIME: Duration = Duration::from_secs(2 * 60);

/// Window of [`Limits::lookups_per_peer`].
pub const LOOKUP_WINDOW: Duration = Duration::from_secs(2 * 60);
/// Window of [`Limits::floods_per_key`].
pub const FLOOD_WINDOW: Duration = Duration::from_secs(90);
/// Window of [`Limits::stores_per_sender`].
pub const STORE_WINDOW: Duration = Duration::from_secs(60);
/// Signature checks that may be saved up for a rush, in seconds of [`Limits::checks_per_second`].
pub const CHECKS_SAVED: u32 = 10;
/// Wrong stores of one sender in [`OFFENCE_WINDOW`] after which it is not listened to.
pub const MAX_OFFENCES: u16 = 8;
/// Window of [`MAX_OFFENCES`].
pub const OFFENCE_WINDOW: Duration = Duration::from_secs(10 * 60);
/// For a time between this...
pub const MUTE_MIN: Duration = Duration::from_secs(8 * 60);
/// ...and this.
pub const MUTE_MAX: Duration = Duration::from_secs(15 * 60);
/// Floodfills that a store is flooded to.
pub const FLOOD_TO: usize = 3;
/// Further ones, of the next day, near midnight.
pub const FLOOD_NEXT_DAY: usize = 3;
/// How near for RouterInfos.
pub const NEXT_DAY_ROUTER: Duration = Duration::from_secs(45 * 60);
/// How near for LeaseSets.
pub const NEXT_DAY_LEASE_SET: Duration = Duration::from_secs(10 * 60);
/// Floodfills that a negative reply names.
pub const SEARCH_REPLY_PEERS: usize = 3;

/// Wait before publishing while we do not know whether we can be reached.
pub const UNKNOWN_REACHABILITY_WAIT: Duration = Duration::from_secs(10);
/// Least time between publications of two versions.
pub const MIN_PUBLISH: Duration = Duration::from_secs(20);
/// The same between the first two of a LeaseSet.
pub const HURRIED_PUBLISH: Duration = Duration::from_secs(4);
/// Our RouterInfo is renewed after a time between this...
pub const RENEW_MIN: Duration = Duration::from_secs(39 * 60);
/// ...and this.
pub const RENEW_MAX: Duration = Duration::from_secs(43 * 60);
/// Patience with a confirmation through tunnels.
pub const CONFIRM_TIMEOUT: Duration = Duration::from_secs(3);
/// Patience with a confirmation from a router that may have to be dialled.
pub const DIRECT_CONFIRM_TIMEOUT: Duration = Duration::from_secs(8);
/// Floodfills that our RouterInfo is stored at, one after the other: nobody looks whether they keep it.
pub const ROUTER_INFO_COPIES: usize = 2;
/// The second after a time between this...
pub const COPY_MIN: Duration = Duration::from_secs(10);
/// ...and this.
pub const COPY_MAX: Duration = Duration::from_secs(40);
/// A LeaseSet is looked up after a time between this...
pub const VERIFY_MIN: Duration = Duration::from_secs(5);
/// ...and this.
pub const VERIFY_MAX: Duration = Duration::from_secs(10);
/// Patience with that lookup.
pub const VERIFY_TIMEOUT: Duration = Duration::from_secs(5);
/// Floodfills that a publication gives up before it starts over.
pub const MAX_EXCLUDED_FLOODFILLS: usize = 15;
/// Times that a LeaseSet is stored elsewhere because it was not found.
pub const MAX_PUBLISH_ROUNDS: u8 = 4;
/// Wait before a publication that failed everywhere starts over.
pub const PUBLISH_BACKOFF: Duration = Duration::from_secs(1);
/// That wait grows up to this.
pub const MAX_PUBLISH_BACKOFF: Duration = Duration::from_secs(60);
/// All LeaseSets are published again within this time after midnight.
pub const MIDNIGHT_SPREAD: Duration = Duration::from_secs(60);
/// Our RouterInfo is renewed within this time after midnight.
pub const MIDNIGHT_ROUTER_SPREAD: Duration = Duration::from_secs(10 * 60);

/// With this many routers there is nothing to explore.
pub const EXPLORE_ENOUGH: usize = 4_000;
