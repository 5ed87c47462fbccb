//! Who may be a hop of our tunnels (PROTOCOL of peer selection; `peer-selection`).
//!
//! A build looks at the peers that have proved themselves, at most 150, and at
//! a small sample of the others, however many are known: [`crate::roster`].
//! Most hops are proven; how many are not depends on how few are, and on what
//! the tunnel is for. No two are of one /16 (or IPv6 /32) or family, none is in
//! more than a third of our tunnels and, where there are enough, none in two of
//! a pool's tunnels of one direction. The far end, which strangers send to or
//! which sends to strangers, rather speaks every transport. Next to us stand the pool's guards
//! ([`crate::guards`]); the order of the others is fixed by a key of the pool,
//! so that a peer seen in a place keeps it (predecessor attacks).

use std::collections::{BTreeMap, BTreeSet};

use aioli_core::crypto::hash::sha256_parts;
use aioli_core::{Duration, Now, Rng};
use aioli_netdb::NetDb;
use aioli_transport::Transport;
use aioli_tunnel::{Hop, HopRequest, Peers, PoolKind};
use aioli_wire::{Congestion, RouterHash};

use crate::guards::{self, Guards};
use crate::profiles::{self, Profiles, Tier};
use crate::roster::{Facts, Group, Roster, Trust};
use crate::ways::{Reach, Ways};

/// Settled routers that one build looks at besides the proven.
const SETTLED_SAMPLE: usize = 48;
/// Newcomers that it looks at.
const NEWCOMER_SAMPLE: usize = 16;
/// Routers with a session that it looks at, if others cannot dial us.
const CONNECTED_SAMPLE: usize = 64;
/// One in so many hops that are not proven is a newcomer, while there are settled ones.
const NEWCOMER_ONE_IN: u64 = 8;
/// The same while so many arrive that it must be a flood.
const NEWCOMER_ONE_IN_SURGE: u64 = 16;
/// With fewer proven peers than this, others are tried the more; one hop in so many otherwise.
const EXPLORATORY_MIX: Mix = Mix { few: 24, one_in: 4 };
/// Applications use what is known to work.
const CLIENT_MIX: Mix = Mix { few: 12, one_in: 20 };
/// So often hops are drawn until the one next to us was not given its fill of builds; in a small network that
/// gives way.
const DRAWS: usize = 4;
/// And so often until each can dial the next.
const CONNECTED_DRAWS: usize = 16;
/// And so often until the far end speaks with everybody: a pool's order may put those last who do not.
const OPEN_DRAWS: usize = 32;
/// A peer takes part in at most one third of our tunnels, once there are this many.
const CAP_FROM_TUNNELS: usize = 6;
/// What a router says of high congestion counts as medium after this time (proposal 162).
const CONGESTION_HOLDS: Duration = Duration::from_secs(15 * 60);

/// How many hops are not proven.
struct Mix {
    few: u64,
    one_in: u64,
}

/// Who can reach a router that cannot be dialled.
pub(crate) trait Sessions: std::fmt::Debug {
    /// Whether there is a session with the router.
    fn is_connected(&self, router: &RouterHash) -> bool;

    /// Those that there is a session with, at most `n`.
    fn connected(&self, n: usize) -> Vec<RouterHash>;
}

impl Sessions for Transport {
    fn is_connected(&self, router: &RouterHash) -> bool {
        Self::is_connected(self, router)
    }

    fn connected(&self, n: usize) -> Vec<RouterHash> {
        self.peers().take(n).collect()
    }
}

/// What the choice of hops may look at.
#[derive(Debug)]
pub(crate) struct Selector<'a> {
    pub(crate) netdb: &'a NetDb,
    pub(crate) profiles: &'a Profiles,
    pub(crate) roster: &'a Roster,
    pub(crate) guards: &'a Guards,
    /// If there are any, nobody else is next to us.
    pub(crate) explicit: &'a BTreeSet<RouterHash>,
    /// If others cannot dial us: the last hop of an inbound tunnel must have a session with us.
    pub(crate) sessions: Option<&'a dyn Sessions>,
    /// Who gets to us, and we to whom.
    pub(crate) ours: Reach,
    /// Our tunnels by hop, and how many there are.
    pub(crate) in_use: &'a BTreeMap<RouterHash, u32>,
    pub(crate) tunnels: u32,
    pub(crate) now: Now,
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

/// Where a candidate comes from; first whom to take rather.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Proven,
    Settled,
    Newcomer,
}

struct Candidate<'a> {
    hash: RouterHash,
    facts: &'a Facts,
    class: Class,
    tier: Tier,
    /// Builds through it that stayed without answer, in a row.
    failures: u32,
    /// It can send to us.
    connected: bool,
    /// It is a hop of another tunnel of the pool.
    shared: bool,
    /// It would be in more than a third of our tunnels.
    over_cap: bool,
    /// It was given its fill of builds next to us.
    spent: bool,
    /// Its place among the pool's guards.
    guard: Option<usize>,
}

/// The hops chosen so far, and what the next may not be.
#[derive(Default)]
struct Chosen<'a> {
    hops: Vec<&'a Candidate<'a>>,
    groups: BTreeSet<&'a Group>,
}

impl<'a> Chosen<'a> {
    fn fits(&self, candidate: &Candidate<'_>) -> bool {
        self.hops.iter().all(|hop| hop.hash != candidate.hash)
            && candidate.facts.groups.iter().all(|group| !self.groups.contains(group))
    }

    fn take(&mut self, candidate: &'a Candidate<'a>) {
        self.groups.extend(&candidate.facts.groups);
        self.hops.push(candidate);
    }
}

impl Peers for Selector<'_> {
    fn choose_hops(&self, request: &HopRequest, rng: &mut Rng) -> Option<Vec<Hop>> {
        let candidates = self.candidates(request, rng);
        let unproven = self.unproven_hops(&candidates, request, rng);
        let spoken = spoken(&candidates);
        let any_open = candidates.iter().any(|candidate| is_open(&[candidate], request.inbound, spoken));
        for strictness in [Strictness::Apart, Strictness::All, Strictness::NoCap, Strictness::Desperate] {
            let mut drawn = None;
            let (mut spent, mut apart, mut narrow) = (0, 0, 0);
            while spent < DRAWS && apart < CONNECTED_DRAWS {
                let Some(hops) = self.draw(&candidates, request, strictness, unproven, rng) else { break };
                if !self.are_connected(&hops, request.inbound) {
                    apart += 1;
                    continue;
                }
                if any_open && narrow < OPEN_DRAWS && !is_open(&hops, request.inbound, spoken) {
                    narrow += 1;
                    drawn = drawn.or(Some(hops));
                    continue;
                }
                let next_to_us = if request.inbound { hops.last() } else { hops.first() };
                let is_spent = next_to_us.is_some_and(|hop| request.spent.contains(&hop.hash));
                drawn = Some(hops);
                if !is_spent {
                    break;
                }
                spent += 1;
            }
            if let Some(hops) = drawn {
                let hop = |c: &Candidate<'_>| Hop { hash: c.hash, encryption_key: c.facts.encryption };
                return Some(hops.into_iter().map(hop).collect());
            }
        }
        None
    }
}

/// The transports that somebody of these listens on.
fn spoken(candidates: &[Candidate<'_>]) -> Ways {
    candidates.iter().fold(Ways::default(), |all, c| all.and(c.facts.reach.reached_over()))
}

/// Whether the far end of a tunnel speaks all these transports. A stranger sends to it, or it to a stranger, and if
/// those two have no transport in common nothing arrives, whoever else of the tunnel is well.
fn is_open(hops: &[&Candidate<'_>], inbound: bool, spoken: Ways) -> bool {
    if inbound {
        hops.first().is_none_or(|gateway| gateway.facts.reach.reached_over().cover(spoken))
    } else {
        hops.last().is_none_or(|endpoint| endpoint.facts.reach.gets_over().cover(spoken))
    }
}

impl Selector<'_> {
    fn candidates(&self, request: &HopRequest, rng: &mut Rng) -> Vec<Candidate<'_>> {
        let guards = self.guards.of(&request.order_key);
        let mut classes: BTreeMap<RouterHash, Class> = BTreeMap::new();
        for (trust, n, class) in [
            (Trust::Newcomer, NEWCOMER_SAMPLE, Class::Newcomer),
            (Trust::Settled, SETTLED_SAMPLE, Class::Settled),
        ] {
            classes.extend(self.roster.sample(trust, n, rng).into_iter().map(|hash| (hash, class)));
        }
        let connected = self.sessions.filter(|_| request.inbound).map(|s| s.connected(CONNECTED_SAMPLE));
        classes.extend(connected.into_iter().flatten().map(|hash| (hash, Class::Settled)));
        let named = guards.iter().chain(self.explicit).copied();
        classes.extend(named.map(|hash| (hash, Class::Settled)));
        classes.extend(self.profiles.high_capacity().iter().map(|hash| (*hash, Class::Proven)));
        let mut building: BTreeMap<&RouterHash, usize> = BTreeMap::new();
        for hop in &request.building {
            *building.entry(hop).or_default() += 1;
        }
        let tunnels = self.tunnels as usize + request.builds;
        let candidates = classes.into_iter().filter_map(|(hash, class)| {
            let facts = self.roster.facts(&hash)?;
            if request.exclude.contains(&hash) || self.netdb.router(&hash).is_none() {
                return None;
            }
            let in_use = self.in_use.get(&hash).map_or(0, |n| *n as usize);
            let used = in_use + building.get(&hash).copied().unwrap_or(0);
            Some(Candidate {
                hash,
                facts,
                class,
                tier: self.profiles.tier(&hash, self.now.mono),
                failures: self.profiles.failures_in_row(&hash),
                connected: self.sessions.is_none_or(|s| s.is_connected(&hash)),
                shared: request.apart.contains(&hash),
                over_cap: tunnels >= CAP_FROM_TUNNELS && (used + 1) * 3 > tunnels + 1,
                spent: request.spent.contains(&hash),
                guard: guards.iter().position(|guard| *guard == hash),
            })
        });
        candidates.collect()
    }

    /// How many hops of a tunnel are tried that have not proved themselves.
    fn unproven_hops(&self, candidates: &[Candidate<'_>], request: &HopRequest, rng: &mut Rng) -> usize {
        let mix = match request.kind {
            PoolKind::Exploratory => EXPLORATORY_MIX,
            PoolKind::Client => CLIENT_MIX,
        };
        let usable = candidates.iter().filter(|c| c.class == Class::Proven && c.tier > Tier::Avoid).count();
        let missing = mix.few.saturating_sub(usable as u64);
        let tried = |rng: &mut Rng| rng.chance(missing, mix.few) || rng.chance(1, mix.one_in);
        let hops = (0..request.length).filter(|_| tried(rng)).count();
        // One among proven ones: if the build fails, it was that one.
        if missing == 0 { hops.min(1) } else { hops }
    }

    /// Whether each hop can dial the next, we the first, and the last us. A hop that has a session with us sends in it.
    fn are_connected(&self, hops: &[&Candidate<'_>], inbound: bool) -> bool {
        let pairs = hops.windows(2).all(|pair| pair[0].facts.reach.gets_to(&pair[1].facts.reach));
        let with_us = if inbound {
            let last = hops.last().map(|hop| &hop.facts.reach);
            self.ours.listens.is_empty() || last.is_none_or(|last| last.gets_to(&self.ours))
        } else {
            hops.first().is_none_or(|first| self.ours.gets_to(&first.facts.reach))
        };
        pairs && with_us
    }

    fn draw<'a>(
        &self,
        candidates: &'a [Candidate<'a>],
        request: &HopRequest,
        strictness: Strictness,
        mut unproven: usize,
        rng: &mut Rng,
    ) -> Option<Vec<&'a Candidate<'a>>> {
        let mut chosen = Chosen::default();
        let is_guarded = self.is_guarded(candidates, request);
        let neighbour = if is_guarded {
            Some(self.draw_guard(candidates, request, strictness, rng)?)
        } else if request.inbound && self.sessions.is_some() {
            // Whoever can send to us goes before the order of hops.
            self.pick(candidates.iter().filter(|c| c.connected), request.kind, strictness, rng)
        } else {
            None
        };
        if let Some(neighbour) = neighbour.filter(|_| request.length > 0) {
            chosen.take(neighbour);
        }
        let next_to_us = !chosen.hops.is_empty();
        while chosen.hops.len() < usize::from(request.length) {
            let order = self.classes(unproven > 0, strictness, rng);
            unproven = unproven.saturating_sub(1);
            let next = order.iter().find_map(|class| {
                let open = candidates.iter().filter(|c| {
                    // A guard in another place would see more of the pool than its own place shows.
                    let out_of_place = is_guarded && c.guard.is_some() && strictness <= Strictness::All;
                    c.class == *class && !out_of_place && chosen.fits(c)
                });
                self.pick(open, request.kind, strictness, rng)
            });
            chosen.take(next?);
        }
        let mut hops = chosen.hops;
        let guard = next_to_us.then(|| hops.remove(0));
        hops.sort_by_key(|hop| order(&request.order_key, &hop.hash));
        let place = if request.inbound { hops.len() } else { 0 };
        hops.splice(place..place, guard);
        Some(hops)
    }

    /// From which class the next hop should come.
    fn classes(&self, unproven: bool, strictness: Strictness, rng: &mut Rng) -> Vec<Class> {
        use Class::{Newcomer, Proven, Settled};
        let surge = self.roster.in_surge(self.now.mono);
        let one_in = if surge { NEWCOMER_ONE_IN_SURGE } else { NEWCOMER_ONE_IN };
        if unproven && rng.chance(1, one_in) {
            vec![Newcomer, Settled, Proven]
        } else if surge && strictness <= Strictness::All {
            // Rather a peer more often than one out of the flood.
            if unproven { vec![Settled, Proven] } else { vec![Proven, Settled] }
        } else if unproven {
            vec![Settled, Newcomer, Proven]
        } else {
            vec![Proven, Settled, Newcomer]
        }
    }

    /// Whether the hop next to us is one of few: where there are enough to choose
    /// from, or where it has been so before.
    fn is_guarded(&self, candidates: &[Candidate<'_>], request: &HopRequest) -> bool {
        let is_small = candidates.len() < guards::GUARDS_FROM;
        request.length > 0
            && (!self.explicit.is_empty()
                || request.kind == PoolKind::Client
                    && (!is_small || candidates.iter().any(|c| c.guard.is_some())))
    }

    /// The hop next to us: a guard of the pool, the first that can be had. Where
    /// it has too few, others stand in by the pool's own order of them.
    fn draw_guard<'a>(
        &self,
        candidates: &'a [Candidate<'a>],
        request: &HopRequest,
        strictness: Strictness,
        rng: &mut Rng,
    ) -> Option<&'a Candidate<'a>> {
        let strictness_of_pick = strictness.max(Strictness::All);
        let allowed = |c: &&Candidate<'_>| {
            self.explicit.is_empty() && (!c.spent || strictness >= Strictness::NoCap)
                || self.explicit.contains(&c.hash)
        };
        let usable = |c: &&Candidate<'_>| allowed(c) && self.weight(c, request.kind, strictness_of_pick) > 0;
        let prefer_fast = self.profiles.fast_count() >= profiles::ENOUGH_FAST;
        let mut ranked: Vec<_> = candidates.iter().filter(usable).collect();
        ranked.sort_by_cached_key(|c| {
            let slow = prefer_fast && c.tier != Tier::Fast;
            (c.guard.unwrap_or(usize::MAX), c.class, slow, guards::rank(&request.order_key, &c.hash))
        });
        let mut primary: Vec<&Candidate<'_>> = Vec::new();
        for c in ranked {
            // One operator should not stand on all sides of us.
            let is_near =
                |other: &&Candidate<'_>| other.facts.groups.iter().any(|g| c.facts.groups.contains(g));
            if primary.len() < guards::GUARDS && (c.guard.is_some() || !primary.iter().any(is_near)) {
                primary.push(c);
            }
        }
        if request.inbound && primary.iter().any(|c| c.connected) {
            primary.retain(|c| c.connected);
        }
        let apart: Vec<_> = primary.iter().copied().filter(|c| !c.shared).collect();
        rng.choose(if apart.is_empty() { &primary } else { &apart }).copied()
    }

    /// One of these, by weight.
    fn pick<'a>(
        &self,
        open: impl Iterator<Item = &'a Candidate<'a>>,
        kind: PoolKind,
        strictness: Strictness,
        rng: &mut Rng,
    ) -> Option<&'a Candidate<'a>> {
        let weighed = open.map(|c| (c, self.weight(c, kind, strictness)));
        let open: Vec<_> = weighed.filter(|(_, weight)| *weight > 0).collect();
        let total: u64 = open.iter().map(|(_, weight)| weight).sum();
        let mut ticket = rng.up_to(total.checked_sub(1)?);
        let chosen = open.into_iter().find(|(_, weight)| {
            let hit = ticket < *weight;
            ticket = ticket.saturating_sub(*weight);
            hit
        });
        chosen.map(|(c, _)| c)
    }

    fn weight(&self, candidate: &Candidate<'_>, kind: PoolKind, strictness: Strictness) -> u64 {
        if candidate.over_cap && strictness <= Strictness::All
            || candidate.shared && strictness == Strictness::Apart
        {
            return 0;
        }
        if candidate.tier == Tier::Avoid {
            return u64::from(strictness == Strictness::Desperate);
        }
        let fast = candidate.tier == Tier::Fast && self.profiles.fast_count() >= profiles::ENOUGH_FAST;
        // Exploratory tunnels are where we get to know peers: there all weigh the same.
        let weight: u64 = if fast && kind == PoolKind::Client { 1_024 } else { 256 };
        // Whoever was in the last failures is tried less: it shares the blame with the other hops,
        // but without this the same hops would be drawn over and over.
        (weight >> candidate.failures.min(5)) >> self.congestion_shift(candidate.facts, kind, strictness)
    }

    /// How many times what a router says of its load halves its weight.
    fn congestion_shift(&self, facts: &Facts, kind: PoolKind, strictness: Strictness) -> u32 {
        let is_old = self.now.wall.since(facts.published) > CONGESTION_HOLDS;
        match facts.congestion {
            Congestion::None => 0,
            Congestion::High if !is_old && strictness < Strictness::Desperate => u64::BITS - 1,
            Congestion::Medium | Congestion::High => {
                if kind == PoolKind::Client {
                    2
                } else {
                    1
                }
            }
            Congestion::RejectingAll => u64::BITS - 1,
        }
    }
}

/// Where a hop stands in the tunnels of a pool.
fn order(key: &[u8; 32], hop: &RouterHash) -> [u8; 32] {
    sha256_parts(&[hop.as_bytes(), key])
}

#[cfg(test)]
mod tests;
