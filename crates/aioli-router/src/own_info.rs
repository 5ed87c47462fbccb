//! The RouterInfo that we publish about ourselves (`common-structures#routerinfo`).

use std::net::SocketAddr;
use std::sync::Arc;

use aioli_core::{Date, Duration, Now, Rng};
use aioli_transport::ssu2::Family;
use aioli_wire::ssu2::{Introducer, Ssu2Parts};
use aioli_wire::{
    Bandwidth, Capabilities, Congestion, Mapping, RouterAddress, RouterInfo, RouterInfoParts, Verified,
};

use crate::bandwidth::{Governor, Shared};
use crate::config::{Config, PUBLISHED_VERSION};
use crate::identity::Identity;
use crate::role::FloodfillRole;

/// The costs of published addresses.
const COST_NTCP2: u8 = 10;
const COST_SSU2: u8 = 8;
/// The costs of addresses that say only how we dial.
const COST_NTCP2_DIALS_ONLY: u8 = 14;
const COST_SSU2_DIALS_ONLY: u8 = 15;
/// Shared bandwidth that is published at least when no limit is set: class P.
const UNLIMITED_KBYTES: u64 = 2_000;

/// Others take no RouterInfo that is dated two minutes ahead: ours is at most so much.
const MAX_AHEAD: Duration = Duration::from_secs(60);
/// For so long after the start the counts of a floodfill are invented.
const BLURRED_FOR: Duration = Duration::from_secs(30 * 60);
/// Afterwards they are multiples of these.
const ROUTERS_STEP: usize = 250;
const LEASE_SETS_STEP: usize = 50;

/// What a router says about its state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// How gladly it takes part in tunnels.
    pub(crate) congestion: Congestion,
    /// Whether it serves the NetDB.
    pub(crate) floodfill: bool,
    /// What it shares with others.
    pub(crate) shared: Shared,
    /// Of a floodfill: RouterInfos.
    pub(crate) routers: usize,
    /// Of a floodfill: LeaseSets.
    pub(crate) lease_sets: usize,
}

/// What a router says of introductions, and of NTCP2 where that is apart from SSU2; by IPv4 and IPv6.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Serves {
    /// Whether it introduces others.
    pub(crate) introduces: [bool; 2],
    /// Who introduces others to it.
    pub(crate) introducers: [Vec<Introducer>; 2],
    /// Where NTCP2 is reached, if that is not where SSU2 is.
    pub(crate) ntcp2: [Option<SocketAddr>; 2],
}

/// Signs the RouterInfo of a router with this configuration and identity.
pub fn create_router_info(config: &Config, identity: &Identity, now: Now) -> Arc<Verified<RouterInfo>> {
    let shared = Governor::new(config.bandwidth, now.mono).shared_kbytes();
    let floodfill = config.floodfill == FloodfillRole::Always;
    let serves = Serves { introduces: [true; 2], ..Serves::default() };
    sign(config, identity, Known { floodfill, shared, ..Known::default() }, &serves, now)
}

/// The date of a RouterInfo that follows one of `before`. It is `now`, unless our clock went back a little: then
/// others would take the new one for the older.
pub(crate) fn publication_date(before: Date, now: Date) -> Date {
    let next = before + Duration::from_millis(1);
    if now < next && next.since(now) <= MAX_AHEAD { next } else { now }
}

pub(crate) fn sign(
    config: &Config,
    identity: &Identity,
    known: Known,
    serves: &Serves,
    now: Now,
) -> Arc<Verified<RouterInfo>> {
    let parts = RouterInfoParts {
        identity: identity.router_identity(),
        published: now.wall,
        addresses: addresses(config, identity, serves),
        options: options(config, known),
    };
    Arc::new(RouterInfo::create(parts, &identity.signing))
}

/// One of each transport for each place where we listen, and one of SSU2 for each family in which others introduce us.
/// Without any, one of each transport that only says that we speak it, which a handshake must prove against.
fn addresses(config: &Config, identity: &Identity, serves: &Serves) -> Vec<RouterAddress> {
    let ntcp2_key = identity.ntcp2_static.public();
    let ntcp2 = |cost, at| RouterAddress::ntcp2(cost, &ntcp2_key, at);
    let (static_key, intro_key) = (&identity.ssu2_static().public(), &identity.ssu2_intro_key());
    let ssu2 = |cost, host, caps: &str, introducers: &[Introducer]| {
        Ssu2Parts { cost, static_key, intro_key, host, caps, mtu: config.mtu, introducers }.address()
    };
    let places = if config.hidden { &[] } else { config.published.as_slice() };
    let mut all = Vec::new();
    for at in places {
        if config.ntcp2 {
            let at = serves.ntcp2[Family::of(&at.ip()) as usize].unwrap_or(*at);
            all.push(ntcp2(COST_NTCP2, Some((at, identity.ntcp2_iv))));
        }
        if config.ssu2 {
            let introduces = serves.introduces[Family::of(&at.ip()) as usize];
            all.push(ssu2(COST_SSU2, Some(*at), if introduces { "BC" } else { "B" }, &[]));
        }
    }
    if config.ntcp2 && places.is_empty() {
        all.push(ntcp2(COST_NTCP2_DIALS_ONLY, None));
    }
    if config.ssu2 {
        let families = ["4", "6"].into_iter().zip(&serves.introducers);
        let introduced = families.filter(|(_, by)| !config.hidden && !by.is_empty()).collect::<Vec<_>>();
        if introduced.is_empty() && places.is_empty() {
            all.push(ssu2(COST_SSU2_DIALS_ONLY, None, "4", &[]));
        }
        all.extend(introduced.into_iter().map(|(caps, by)| ssu2(COST_SSU2_DIALS_ONLY, None, caps, by)));
    }
    // Short keys and values: a mapping of them is never full.
    all.into_iter().filter_map(Result::ok).collect()
}

fn options(config: &Config, known: Known) -> Mapping {
    let mut pairs = vec![
        ("caps", capabilities(config, &known).to_string()),
        ("netId", config.net_id.to_string()),
        ("router.version", PUBLISHED_VERSION.to_owned()),
    ];
    if known.floodfill && !config.hidden {
        pairs.push(("netdb.knownRouters", known.routers.to_string()));
        pairs.push(("netdb.knownLeaseSets", known.lease_sets.to_string()));
    }
    // Short keys and values: a mapping of them is never full.
    Mapping::from_pairs(pairs).unwrap_or_default()
}

/// The bandwidth that we share as it is published, in KB/s.
pub(crate) fn shared_kbytes(shared: Shared) -> u64 {
    match shared {
        Shared::Limited(kbytes) => kbytes,
        Shared::Measured(kbytes) => kbytes.max(UNLIMITED_KBYTES),
    }
}

/// Numbers of RouterInfos and LeaseSets as a floodfill publishes them. They
/// would tell when it was started, and how much it is asked: so at first they
/// are invented, as other routers do, and later rounded.
pub(crate) fn blurred(counts: (usize, usize), uptime: Duration, rng: &mut Rng) -> (usize, usize) {
    if uptime < BLURRED_FOR {
        let drawn =
            |least: usize, more: u64, rng: &mut Rng| least + usize::try_from(rng.up_to(more)).unwrap_or(0);
        return (drawn(3_000, 1_000, rng), drawn(30, 40, rng));
    }
    (counts.0.next_multiple_of(ROUTERS_STEP), counts.1.next_multiple_of(LEASE_SETS_STEP))
}

fn capabilities(config: &Config, known: &Known) -> Capabilities {
    let shared = shared_kbytes(known.shared);
    let reachable = config.is_reachable();
    Capabilities {
        floodfill: known.floodfill && !config.hidden,
        hidden: config.hidden,
        reachable,
        unreachable: !reachable,
        bandwidth: Some(Bandwidth::from_shared_kbytes(shared)),
        congestion: known.congestion,
    }
}

#[cfg(test)]
mod tests {
    use aioli_core::Instant;

    use super::*;

    #[test]
    fn who_is_hidden_publishes_nothing_of_itself() {
        let identity = Identity::generate(&mut Rng::from_seed([1; 32]));
        let now = Now { mono: Instant::ZERO, wall: Date::from_secs(1_780_000_000) };
        let published = vec!["5.1.2.3:9000".parse().unwrap()];
        let config =
            Config { hidden: true, floodfill: FloodfillRole::Always, published, ..Config::default() };
        let info = create_router_info(&config, &identity, now);
        let caps = info.caps();
        assert!(caps.hidden && caps.unreachable && !caps.reachable && !caps.floodfill);
        assert!(info.addresses.iter().all(|a| a.endpoint().is_none()), "{:?}", info.addresses);
        assert_eq!(info.options.get("netdb.knownRouters"), None);
    }

    #[test]
    fn both_transports_are_published_on_one_port_and_their_keys_stay() {
        let identity = Identity::generate(&mut Rng::from_seed([1; 32]));
        let now = Now { mono: Instant::ZERO, wall: Date::from_secs(1_780_000_000) };
        let published: Vec<SocketAddr> =
            ["5.1.2.3:9000", "[2a00::5]:9000"].map(|a| a.parse().unwrap()).to_vec();
        let config = Config { published: published.clone(), ..Config::default() };
        let info = create_router_info(&config, &identity, now);
        assert_eq!(info.ntcp2().filter_map(|a| a.host).collect::<Vec<_>>(), published);
        assert_eq!(info.ssu2().filter_map(|a| a.host).collect::<Vec<_>>(), published);
        let again = identity.clone();
        for address in info.ssu2() {
            assert_eq!((address.cost, address.mtu), (8, 1_500));
            assert!(address.peer_test && address.introduces, "it takes part");
            assert_eq!(address.static_key, again.ssu2_static().public());
            assert_eq!(address.intro_key, again.ssu2_intro_key());
            assert_ne!(address.static_key, identity.ntcp2_static.public());
        }
        assert!(info.bytes().len() < 3_072);
        let ssu2_alone = create_router_info(&Config { ntcp2: false, ..Config::default() }, &identity, now);
        assert_eq!((ssu2_alone.ntcp2().count(), ssu2_alone.ssu2().count()), (0, 1));
        assert_eq!(ssu2_alone.ssu2().next().map(|a| (a.host, a.ipv4, a.cost)), Some((None, true, 15)));
        let narrow =
            create_router_info(&Config { mtu: 1_400, published, ..Config::default() }, &identity, now);
        assert!(narrow.ssu2().all(|a| a.mtu == 1_400));
        for address in &narrow.addresses {
            assert_eq!(address.options.get("mtu"), (address.style == "SSU2").then_some("1400"));
        }
    }

    #[test]
    fn counts_tell_neither_the_start_nor_the_load() {
        let mut rng = Rng::from_seed([1; 32]);
        let minutes = |n: u64| Duration::from_secs(n * 60);
        for uptime in [0, 10, 29] {
            let (routers, lease_sets) = blurred((12, 0), minutes(uptime), &mut rng);
            assert!((3_000..=4_000).contains(&routers) && (30..=70).contains(&lease_sets));
        }
        assert_eq!(blurred((3_001, 7), minutes(30), &mut rng), (3_250, 50));
        assert_eq!(blurred((3_249, 44), minutes(300), &mut rng), (3_250, 50));
    }
}
