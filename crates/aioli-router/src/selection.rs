//! Who may be a hop of our tunnels (PROTOCOL of peer selection; `peer-selection`).
//!
//! Eligible are routers that speak our protocols, publish an address, are of
//! our network and neither refuse nor congest. Of these a weighted draw by
//! tier, no two of one /16 (or IPv6 /32) or family, none in more than a third
//! of our tunnels and, where there are enough, none in two of a pool's tunnels
//! of one direction. The order of the hops is fixed by a key of the pool, so
//! that a peer seen next to us stays next to us (predecessor attacks).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use aioli_core::crypto::hash::sha256_parts;
use aioli_core::{Instant, Rng};
use aioli_netdb::NetDb;
use aioli_tunnel::{Hop, HopRequest, Peers, PoolKind};
use aioli_wire::{Bandwidth, Congestion, RouterHash, RouterInfo};

use crate::profiles::{Profiles, Tier};

/// The oldest API level that we build through in the public network.
const MIN_VERSION: (u8, u8, u8) = (0, 9, 62);
/// The oldest that knows short build records, for private networks.
const MIN_VERSION_PRIVATE: (u8, u8, u8) = (0, 9, 51);
/// More candidates than this are sampled.
const MAX_CANDIDATES: usize = 600;
/// A peer takes part in at most one third of our tunnels, once there are this many.
const CAP_FROM_TUNNELS: u32 = 6;

/// What the choice of hops may look at.
#[derive(Debug)]
pub(crate) struct Selector<'a> {
    pub(crate) netdb: &'a NetDb,
    pub(crate) profiles: &'a Profiles,
    pub(crate) our_hash: RouterHash,
    pub(crate) private_network: bool,
    /// Our tunnels by hop, and how many there are.
    pub(crate) in_use: &'a BTreeMap<RouterHash, u32>,
    pub(crate) tunnels: u32,
    pub(crate) now: Instant,
}

/// How much a rule may give way so that a tunnel comes about at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Strictness {
    /// Every rule holds, and no hop is one of the pool's other tunnels.
    Apart,
    /// Every rule holds.
    All,
    /// Peers may be in more than a third of our tunnels.
    NoCap,
    /// Even peers that failed of late.
    Desperate,
}

struct Candidate {
    hash: RouterHash,
    encryption: aioli_core::crypto::x25519::PublicKey,
    tier: Tier,
    /// Builds through it that stayed without answer, in a row.
    failures: u32,
    groups: Vec<Group>,
    /// It is a hop of another tunnel of the pool.
    shared: bool,
}

/// What two hops of a tunnel may not share.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    V4([u8; 2]),
    V6([u8; 4]),
    Family(String),
}

impl Peers for Selector<'_> {
    fn choose_hops(&self, request: &HopRequest, rng: &mut Rng) -> Option<Vec<Hop>> {
        let wanted = usize::from(request.length);
        let candidates = self.candidates(request, rng);
        for strictness in [Strictness::Apart, Strictness::All, Strictness::NoCap, Strictness::Desperate] {
            if let Some(mut hops) = self.draw(&candidates, wanted, request.kind, strictness, rng) {
                hops.sort_by_key(|hop| order(&request.order_key, &hop.hash));
                return Some(hops);
            }
        }
        None
    }
}

impl Selector<'_> {
    fn candidates(&self, request: &HopRequest, rng: &mut Rng) -> Vec<Candidate> {
        let mut infos: Vec<_> = self
            .netdb
            .routers()
            .filter(|info| !request.exclude.contains(&info.hash()) && self.eligible(info, request.kind))
            .collect();
        if infos.len() > MAX_CANDIDATES {
            rng.shuffle(&mut infos);
            infos.truncate(MAX_CANDIDATES);
        }
        infos
            .into_iter()
            .map(|info| Candidate {
                hash: info.hash(),
                encryption: info.identity.encryption_key(),
                shared: request.apart.contains(&info.hash()),
                tier: self.profiles.tier(&info.hash(), self.now),
                failures: self.profiles.failures_in_row(&info.hash()),
                groups: if self.private_network { Vec::new() } else { groups(info) },
            })
            .collect()
    }

    /// Whether the router could be a hop at all.
    fn eligible(&self, info: &RouterInfo, kind: PoolKind) -> bool {
        let caps = info.caps();
        let min_version = if self.private_network { MIN_VERSION_PRIVATE } else { MIN_VERSION };
        let rejects = match caps.congestion {
            Congestion::RejectingAll | Congestion::High => true,
            Congestion::Medium => kind == PoolKind::Client,
            Congestion::None => false,
        };
        info.hash() != self.our_hash
            && info.version().is_some_and(|v| v >= min_version)
            && caps.bandwidth.is_some_and(|b| b > Bandwidth::K)
            && !caps.hidden
            && !rejects
            && info.ntcp2().any(|a| {
                a.published()
                    .is_some_and(|(to, _)| self.private_network || aioli_wire::ip::is_public(to.ip()))
            })
    }

    fn draw(
        &self,
        candidates: &[Candidate],
        wanted: usize,
        kind: PoolKind,
        strictness: Strictness,
        rng: &mut Rng,
    ) -> Option<Vec<Hop>> {
        let mut taken = BTreeSet::new();
        let mut groups: BTreeSet<&Group> = BTreeSet::new();
        let mut hops = Vec::with_capacity(wanted);
        while hops.len() < wanted {
            let open: Vec<_> = candidates
                .iter()
                .filter(|c| !taken.contains(&c.hash) && c.groups.iter().all(|g| !groups.contains(g)))
                .map(|c| (c, self.weight(c, kind, strictness)))
                .filter(|(_, weight)| *weight > 0)
                .collect();
            let total: u64 = open.iter().map(|(_, weight)| weight).sum();
            let mut ticket = rng.up_to(total.checked_sub(1)?);
            let (chosen, _) = open.into_iter().find(|(_, weight)| {
                let hit = ticket < *weight;
                ticket = ticket.saturating_sub(*weight);
                hit
            })?;
            taken.insert(chosen.hash);
            groups.extend(&chosen.groups);
            hops.push(Hop { hash: chosen.hash, encryption_key: chosen.encryption });
        }
        Some(hops)
    }

    fn weight(&self, candidate: &Candidate, kind: PoolKind, strictness: Strictness) -> u64 {
        let used = self.in_use.get(&candidate.hash).copied().unwrap_or(0);
        let over_cap = self.tunnels >= CAP_FROM_TUNNELS && used * 3 > self.tunnels;
        if over_cap && strictness <= Strictness::All {
            return 0;
        }
        if candidate.shared && strictness == Strictness::Apart {
            return 0;
        }
        let weight: u64 = match (candidate.tier, kind) {
            (Tier::Avoid, _) => return u64::from(strictness == Strictness::Desperate),
            // Exploratory tunnels are where we get to know peers.
            (_, PoolKind::Exploratory) => 64,
            (Tier::Standard, PoolKind::Client) => 32,
            (Tier::HighCapacity, PoolKind::Client) => 192,
            (Tier::Fast, PoolKind::Client) => 384,
        };
        // Whoever was in the last failures is tried less: it shares the blame with the other hops,
        // but without this the same hops would be drawn over and over.
        weight >> candidate.failures.min(5)
    }
}

/// Where a hop stands in the tunnels of a pool.
fn order(key: &[u8; 32], hop: &RouterHash) -> [u8; 32] {
    sha256_parts(&[hop.as_bytes(), key])
}

fn groups(info: &RouterInfo) -> Vec<Group> {
    let addresses = info.addresses.iter().filter_map(|a| a.endpoint()).map(|endpoint| match endpoint.ip() {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            Group::V4([a, b])
        }
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.octets();
            Group::V6([a, b, c, d])
        }
    });
    addresses.chain(info.family().map(|name| Group::Family(name.to_owned()))).collect()
}

#[cfg(test)]
mod tests;
