//! What is let into the database: rules over claims, before any signature is
//! checked (`network-database`, "RouterInfo", "LeaseSet").

use aioli_core::{Date, Duration};
use aioli_wire::{LeaseSet, RouterInfo, VerifyError, ip};
use thiserror::Error;

use crate::config::{self, Config};

/// Why something was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Rejected {
    /// The bytes are no such structure.
    #[error("malformed")]
    Malformed,
    /// Stored under a key that is not its own.
    #[error("key and data differ")]
    WrongKey,
    /// A signature does not hold.
    #[error("{0}")]
    Signature(VerifyError),
    /// Names no network.
    #[error("no network id")]
    NoNetworkId,
    /// Names another network.
    #[error("another network")]
    OtherNetwork,
    /// Names no version.
    #[error("no version")]
    NoVersion,
    /// Older software than we talk to.
    #[error("version too old")]
    OldVersion,
    /// Dated ahead of our clock.
    #[error("published in the future")]
    Future,
    /// Published too long ago, or ended.
    #[error("too old")]
    Stale,
    /// Has published addresses, none of which is on the Internet.
    #[error("no public address")]
    NotPublic,
    /// Has no leases.
    #[error("no leases")]
    NoLeases,
    /// Has leases that end too late.
    #[error("leases end too far ahead")]
    TooLong,
    /// It is about ourselves.
    #[error("our own")]
    Ours,
    /// Not asked for, or not to be stored here.
    #[error("not asked for")]
    Unsolicited,
    /// Of a router that is banned or on the blocklist.
    #[error("banned")]
    Banned,
    /// Of a router that we never had to do with, when there are too many of these.
    #[error("too many new routers")]
    Crowded,
    /// There is no time to check its signature now.
    #[error("too many stores")]
    Busy,
    /// Nothing newer than what is known.
    #[error("not newer")]
    NotNewer,
}

/// Whether a RouterInfo may be stored at all. While the clock is not known to be right, none is too young.
pub(crate) fn router_info(
    info: &RouterInfo,
    config: &Config,
    now: Date,
    max_age: Duration,
    clock_known: bool,
) -> Result<(), Rejected> {
    if info.hash() == config.our_hash {
        return Err(Rejected::Ours);
    }
    match info.net_id() {
        None => return Err(Rejected::NoNetworkId),
        Some(id) if id != config.net_id => return Err(Rejected::OtherNetwork),
        Some(_) => {}
    }
    let version = info.version().ok_or(Rejected::NoVersion)?;
    // A private network may hold routers that the public one has left behind.
    if !config.private_network && version < config::MIN_VERSION {
        return Err(Rejected::OldVersion);
    }
    // Of a machine that starts in 1970 everything is in the future.
    if clock_known && info.published > now + config::MAX_FUTURE {
        return Err(Rejected::Future);
    }
    if now.since(info.published) > max_age {
        return Err(Rejected::Stale);
    }
    if !config.private_network && !has_public_address(info) {
        return Err(Rejected::NotPublic);
    }
    Ok(())
}

/// False only if it publishes numeric addresses and none is on the Internet:
/// some routers also publish addresses of overlay networks.
fn has_public_address(info: &RouterInfo) -> bool {
    let mut endpoints = info.addresses.iter().filter_map(aioli_wire::RouterAddress::endpoint).peekable();
    endpoints.peek().is_none() || endpoints.any(|endpoint| ip::is_public(endpoint.ip()))
}

/// Whether a LeaseSet may be stored at all.
pub(crate) fn lease_set(set: &LeaseSet, now: Date) -> Result<(), Rejected> {
    if set.expires() <= now {
        return Err(Rejected::Stale);
    }
    // The version of the first kind is the end of a lease, not a publication.
    let dated = !matches!(set, LeaseSet::V1(_));
    if dated && set.version() > now + config::MAX_FUTURE {
        return Err(Rejected::Future);
    }
    let longest = match set {
        LeaseSet::Meta(_) => config::MAX_META_FUTURE,
        LeaseSet::V1(_) | LeaseSet::V2(_) | LeaseSet::Encrypted(_) => config::MAX_LEASE_FUTURE,
    };
    if set.expires() > now + longest + config::MAX_FUTURE {
        return Err(Rejected::TooLong);
    }
    if matches!(set, LeaseSet::V1(_) | LeaseSet::V2(_)) {
        let ends = || set.leases().iter().map(|lease| lease.end);
        if ends().any(|end| end > now + config::MAX_LEASE_FUTURE + config::MAX_FUTURE) {
            return Err(Rejected::TooLong);
        }
        match ends().max() {
            None => return Err(Rejected::NoLeases),
            Some(last) if last <= now => return Err(Rejected::Stale),
            Some(_) => {}
        }
    }
    Ok(())
}
