//! The RouterInfo that we publish about ourselves (`common-structures#routerinfo`).

use std::sync::Arc;

use aioli_core::{Date, Duration, Now};
use aioli_wire::{
    Bandwidth, Capabilities, Congestion, Mapping, RouterAddress, RouterInfo, RouterInfoParts, Verified,
};

use crate::bandwidth::{Governor, Shared};
use crate::config::{Config, PUBLISHED_VERSION};
use crate::identity::Identity;

/// The cost of a published NTCP2 address.
const COST_PUBLISHED: u8 = 10;
/// The cost of an address that says only how we dial.
const COST_DIALS_ONLY: u8 = 14;
/// Shared bandwidth that is published at least when no limit is set: class P.
const UNLIMITED_KBYTES: u64 = 2_000;

/// Others take no RouterInfo that is dated two minutes ahead: ours is at most so much.
const MAX_AHEAD: Duration = Duration::from_secs(60);

/// What a router says about its state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// How gladly it takes part in tunnels.
    pub(crate) congestion: Congestion,
    /// What it shares with others.
    pub(crate) shared: Shared,
    /// Of a floodfill: RouterInfos.
    pub(crate) routers: usize,
    /// Of a floodfill: LeaseSets.
    pub(crate) lease_sets: usize,
}

/// Signs the RouterInfo of a router with this configuration and identity.
pub fn create_router_info(config: &Config, identity: &Identity, now: Now) -> Arc<Verified<RouterInfo>> {
    let shared = Governor::new(config.bandwidth, now.mono).shared_kbytes();
    sign(config, identity, Known { shared, ..Known::default() }, now)
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
    now: Now,
) -> Arc<Verified<RouterInfo>> {
    let parts = RouterInfoParts {
        identity: identity.router_identity(),
        published: now.wall,
        addresses: addresses(config, identity),
        options: options(config, known),
    };
    Arc::new(RouterInfo::create(parts, &identity.signing))
}

fn addresses(config: &Config, identity: &Identity) -> Vec<RouterAddress> {
    let key = identity.ntcp2_static.public();
    let published = config
        .published
        .iter()
        .filter(|_| !config.hidden)
        .map(|endpoint| RouterAddress::ntcp2(COST_PUBLISHED, &key, Some((*endpoint, identity.ntcp2_iv))));
    let addresses: Vec<_> = published.filter_map(Result::ok).collect();
    if addresses.is_empty() {
        return RouterAddress::ntcp2(COST_DIALS_ONLY, &key, None).into_iter().collect();
    }
    addresses
}

fn options(config: &Config, known: Known) -> Mapping {
    let mut pairs = vec![
        ("caps", capabilities(config, &known).to_string()),
        ("netId", config.net_id.to_string()),
        ("router.version", PUBLISHED_VERSION.to_owned()),
    ];
    if config.floodfill && !config.hidden {
        pairs.push(("netdb.knownRouters", known.routers.to_string()));
        pairs.push(("netdb.knownLeaseSets", known.lease_sets.to_string()));
    }
    // Short keys and values: a mapping of them is never full.
    Mapping::from_pairs(pairs).unwrap_or_default()
}

fn capabilities(config: &Config, known: &Known) -> Capabilities {
    let shared = match known.shared {
        Shared::Limited(kbytes) => kbytes,
        Shared::Measured(kbytes) => kbytes.max(UNLIMITED_KBYTES),
    };
    let reachable = !config.published.is_empty() && !config.hidden;
    Capabilities {
        floodfill: config.floodfill && !config.hidden,
        hidden: config.hidden,
        reachable,
        unreachable: !reachable,
        bandwidth: Some(Bandwidth::from_shared_kbytes(shared)),
        congestion: known.congestion,
    }
}

#[cfg(test)]
mod tests {
    use aioli_core::{Date, Instant, Rng};

    use super::*;

    #[test]
    fn who_is_hidden_publishes_nothing_of_itself() {
        let identity = Identity::generate(&mut Rng::from_seed([1; 32]));
        let now = Now { mono: Instant::ZERO, wall: Date::from_secs(1_780_000_000) };
        let published = vec!["5.1.2.3:9000".parse().unwrap()];
        let config = Config { hidden: true, floodfill: true, published, ..Config::default() };
        let info = create_router_info(&config, &identity, now);
        let caps = info.caps();
        assert!(caps.hidden && caps.unreachable && !caps.reachable && !caps.floodfill);
        assert!(info.addresses.iter().all(|a| a.endpoint().is_none()), "{:?}", info.addresses);
        assert_eq!(info.options.get("netdb.knownRouters"), None);
    }
}
