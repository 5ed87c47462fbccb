//! The routers that could be hops, kept ready so that a build looks at a few
//! of them and not at all (`peer-selection`).
//!
//! ```text
//! proven     builds through it came about: see profiles
//! settled    it answered a dial of ours, or the user brought it; while few did, also who is known for an hour
//! newcomer   all others
//! ```
//!
//! A flood of invented RouterInfos makes newcomers, and newcomers get a bounded
//! share of hops, however many they are. What the list says is at most
//! [`REFRESH_EVERY`] old; whoever draws from it asks the NetDB whether the
//! router is still there.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use aioli_core::crypto::sign::{self, SigType};
use aioli_core::crypto::x25519;
use aioli_core::{Date, Duration, Instant, Rng};
use aioli_netdb::NetDb;
use aioli_wire::ip::Subnet;
use aioli_wire::{Bandwidth, Congestion, RouterHash, RouterInfo, Verified, base64};

use crate::guards;
use crate::profiles::Profiles;
use crate::ways::Reach;

/// The oldest API level that we build through in the public network.
const MIN_VERSION: (u8, u8, u8) = (0, 9, 62);
/// The oldest that knows short build records, for private networks.
const MIN_VERSION_PRIVATE: (u8, u8, u8) = (0, 9, 51);
/// How old the list may become.
const REFRESH_EVERY: Duration = Duration::from_secs(60);
/// With no more routers than this, it follows every change of their number, and
const FEW: usize = 256;
/// becomes no older than this.
const REFRESH_FEW_EVERY: Duration = Duration::from_secs(15);
/// Beyond that, it follows once so many of a hundred came or went.
const FOLLOW_PERCENT: usize = 12;
/// While fewer have answered us or were brought by the user, time alone settles a router: it costs an inventor
/// nothing, and beyond this many it is not needed.
const ENOUGH_MET: usize = 48;
/// A router is new for so long after we first heard of it.
const NEW_FOR: Duration = Duration::from_secs(3_600);
/// And for so long if it came in a surge.
const DISTRUSTED_FOR: Duration = Duration::from_secs(24 * 3_600);
/// Arrivals are counted over this time.
const SURGE_WINDOW: Duration = Duration::from_secs(600);
/// It is a surge if more arrive than this, and besides
const SURGE_LEAST: usize = 200;
/// this part of all that were known before. The public network renews a third in a day: 1 in 400 in ten minutes.
const SURGE_PART: usize = 4;

/// What two hops of a tunnel may not share.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Group {
    /// Addresses that one hand usually has.
    Subnet(Subnet),
    /// Routers of one operator, as they say of themselves.
    Family(String),
}

/// What the choice of hops must know of a router that could be one.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// What its build record is sealed to.
    pub(crate) encryption: x25519::PublicKey,
    /// With whom it may not share a tunnel.
    pub(crate) groups: Vec<Group>,
    /// Who gets to it, and it to whom.
    pub(crate) reach: Reach,
    /// What it says about its load.
    pub(crate) congestion: Congestion,
    /// When it said so.
    pub(crate) published: Date,
}

/// How much there is to be said for a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trust {
    /// Heard of a short while ago, or among very many.
    Newcomer,
    /// Met, or known for a while when few are met.
    Settled,
}

#[derive(Debug)]
struct Known {
    info: Arc<Verified<RouterInfo>>,
    heard: Instant,
    /// When it ceases to be a newcomer.
    new_until: Instant,
    /// It came in a surge.
    distrusted: bool,
    facts: Option<Facts>,
}

impl Known {
    /// Whether it came from the disk or a reseed.
    fn was_brought(&self) -> bool {
        self.new_until == self.heard
    }

    /// Whether it came to us by itself, of late.
    fn is_arrival(&self, now: Instant) -> bool {
        self.new_until > self.heard && now.since(self.heard) <= SURGE_WINDOW
    }
}

/// All known routers, by whether and how gladly they are taken as hops.
#[derive(Debug)]
pub(crate) struct Roster {
    our_hash: RouterHash,
    private_network: bool,
    known: BTreeMap<RouterHash, Known>,
    settled: Vec<RouterHash>,
    newcomers: Vec<RouterHash>,
    /// How many arrived, and when.
    arrivals: VecDeque<(Instant, usize)>,
    /// The surge lasts until then.
    surge_until: Instant,
    refreshed: Option<Instant>,
}

impl Roster {
    /// Nobody.
    pub(crate) const fn new(our_hash: RouterHash, private_network: bool) -> Self {
        Self {
            our_hash,
            private_network,
            known: BTreeMap::new(),
            settled: Vec::new(),
            newcomers: Vec::new(),
            arrivals: VecDeque::new(),
            surge_until: Instant::ZERO,
            refreshed: None,
        }
    }

    /// Takes over what the NetDB knows by now, if it is time to.
    pub(crate) fn follow(&mut self, netdb: &NetDb, profiles: &Profiles, now: Instant) {
        let (before, count) = (self.known.len(), netdb.router_count());
        let changed = before.abs_diff(count);
        let every = if count <= FEW { REFRESH_FEW_EVERY } else { REFRESH_EVERY };
        let due = match self.refreshed {
            None => true,
            Some(at) if now.since(at) >= every => true,
            Some(_) if count <= FEW => changed > 0,
            Some(_) => changed > before * FOLLOW_PERCENT / 100,
        };
        if due {
            self.refresh(netdb, profiles, now);
        }
    }

    /// Whom the user brought, from the disk or a reseed, is no newcomer.
    pub(crate) fn introduce(&mut self, info: &Arc<Verified<RouterInfo>>, now: Instant) {
        let known = Known { new_until: now, ..self.entry(info, now) };
        self.known.insert(info.hash(), known);
        self.refreshed = None;
    }

    fn refresh(&mut self, netdb: &NetDb, profiles: &Profiles, now: Instant) {
        self.refreshed = Some(now);
        let (came, gone) = self.differences(netdb);
        for hash in gone {
            self.known.remove(&hash);
        }
        let mut arrived = 0;
        for info in came {
            let entry = match self.known.remove(&info.hash()) {
                Some(known) => Known { info: Arc::clone(info), facts: self.facts_of(info), ..known },
                None => {
                    arrived += 1;
                    self.entry(info, now)
                }
            };
            self.known.insert(info.hash(), entry);
        }
        self.note_arrivals(arrived, now);
        self.sort(profiles, now);
    }

    /// What the NetDB knows that is new or newer than what we have, and what it knows no longer. Both stand in the
    /// order of hashes, so that one walk tells.
    fn differences<'a>(&self, netdb: &'a NetDb) -> (Vec<&'a Arc<Verified<RouterInfo>>>, Vec<RouterHash>) {
        let (mut came, mut gone) = (Vec::new(), Vec::new());
        let mut infos = netdb.routers().peekable();
        for (hash, known) in &self.known {
            while let Some(info) = infos.next_if(|info| info.hash() < *hash) {
                came.push(info);
            }
            match infos.next_if(|info| info.hash() == *hash) {
                Some(info) if Arc::ptr_eq(&known.info, info) => {}
                Some(info) => came.push(info),
                None => gone.push(*hash),
            }
        }
        came.extend(infos);
        (came, gone)
    }

    /// Counts arrivals. In a surge, all who came with it are distrusted for longer.
    fn note_arrivals(&mut self, arrived: usize, now: Instant) {
        self.arrivals.push_back((now, arrived));
        while self.arrivals.front().is_some_and(|(at, _)| now.since(*at) > SURGE_WINDOW) {
            self.arrivals.pop_front();
        }
        let lately: usize = self.arrivals.iter().map(|(_, n)| n).sum();
        let before = self.known.values().filter(|k| !k.distrusted && !k.is_arrival(now)).count();
        if lately <= SURGE_LEAST + before / SURGE_PART {
            return;
        }
        self.surge_until = now + SURGE_WINDOW;
        for known in self.known.values_mut().filter(|k| k.is_arrival(now)) {
            known.distrusted = true;
            known.new_until = known.heard + DISTRUSTED_FOR;
        }
    }

    fn sort(&mut self, profiles: &Profiles, now: Instant) {
        self.settled.clear();
        self.newcomers.clear();
        let fit = || self.known.iter().filter(|(_, known)| known.facts.is_some());
        let is_met = |hash, known: &Known| known.was_brought() || profiles.was_reached(hash);
        let enough = fit().filter(|(hash, known)| is_met(hash, known)).nth(ENOUGH_MET - 1).is_some();
        for (hash, known) in fit() {
            if is_met(hash, known) || (!enough && known.new_until <= now) {
                self.settled.push(*hash);
            } else {
                self.newcomers.push(*hash);
            }
        }
    }

    fn entry(&self, info: &Arc<Verified<RouterInfo>>, now: Instant) -> Known {
        let facts = self.facts_of(info);
        Known { info: Arc::clone(info), heard: now, new_until: now + NEW_FOR, distrusted: false, facts }
    }

    /// Whether so many arrived of late that it must be a flood.
    pub(crate) fn in_surge(&self, now: Instant) -> bool {
        self.surge_until > now
    }

    /// What is known of a router that could be a hop.
    pub(crate) fn facts(&self, hash: &RouterHash) -> Option<&Facts> {
        self.known.get(hash)?.facts.as_ref()
    }

    /// How many routers that could be hops are new.
    pub(crate) const fn newcomers(&self) -> usize {
        self.newcomers.len()
    }

    /// Whether there are enough to choose from that few of them are next to us.
    pub(crate) const fn is_large(&self) -> bool {
        self.settled.len() + self.newcomers.len() >= guards::GUARDS_FROM
    }

    /// What the router would say of its load.
    #[cfg(test)]
    pub(crate) fn set_congestion(&mut self, hash: &RouterHash, congestion: Congestion) {
        if let Some(facts) = self.known.get_mut(hash).and_then(|k| k.facts.as_mut()) {
            facts.congestion = congestion;
        }
    }

    /// Up to `n` of a kind, all different, each as likely as any other.
    pub(crate) fn sample(&self, trust: Trust, n: usize, rng: &mut Rng) -> Vec<RouterHash> {
        let list = self.list(trust);
        if list.len() <= n {
            return list.to_vec();
        }
        // The first n steps of a shuffle, of which only what moved is written down.
        let mut moved: BTreeMap<usize, usize> = BTreeMap::new();
        let mut out = Vec::with_capacity(n);
        for i in 0..n {
            let j = i + usize::try_from(rng.up_to((list.len() - 1 - i) as u64)).unwrap_or(0);
            let at = |k: usize| moved.get(&k).copied().unwrap_or(k);
            let (from_i, from_j) = (at(i), at(j));
            moved.insert(j, from_i);
            out.extend(list.get(from_j));
        }
        out
    }

    fn list(&self, trust: Trust) -> &[RouterHash] {
        match trust {
            Trust::Newcomer => &self.newcomers,
            Trust::Settled => &self.settled,
        }
    }

    /// What makes a router fit to be a hop; none if it is not.
    fn facts_of(&self, info: &RouterInfo) -> Option<Facts> {
        let caps = info.caps();
        let reach = Reach::of(info, self.private_network);
        let min_version = if self.private_network { MIN_VERSION_PRIVATE } else { MIN_VERSION };
        let fit = info.hash() != self.our_hash
            && info.version().is_some_and(|v| v >= min_version)
            && caps.bandwidth.is_some_and(|b| b > Bandwidth::K)
            && !caps.hidden
            && caps.congestion != Congestion::RejectingAll
            && !(reach.listens.is_empty() && reach.introduced.is_empty())
            && has_true_family(info);
        fit.then(|| Facts {
            encryption: info.identity.encryption_key(),
            groups: if self.private_network { Vec::new() } else { groups(info) },
            reach,
            congestion: caps.congestion,
            published: info.published,
        })
    }
}

/// False if a router says of what family it is and the proof that it gives is wrong. Some families are known
/// by their certificate alone; what cannot be checked here still keeps two of one name apart.
fn has_true_family(info: &RouterInfo) -> bool {
    let option = |key| info.options.get(key);
    let Some(((name, key), signature)) = info.family().zip(option("family.key")).zip(option("family.sig"))
    else {
        return true;
    };
    let Some((kind, key)) = key.split_once(':') else { return false };
    let Some(kind) = kind.parse().ok().and_then(SigType::from_code) else { return true };
    let Some((key, signature)) = base64::decode(key).zip(base64::decode(signature)) else { return false };
    let mut signed = name.as_bytes().to_vec();
    signed.extend_from_slice(info.hash().as_bytes());
    sign::verify(kind, &key, &signed, &signature).is_ok()
}

fn groups(info: &RouterInfo) -> Vec<Group> {
    let endpoints = info.addresses.iter().filter_map(|a| a.endpoint());
    let addresses = endpoints.map(|endpoint| Group::Subnet(Subnet::of(endpoint.ip())));
    addresses.chain(info.family().map(|name| Group::Family(name.to_lowercase()))).collect()
}

#[cfg(test)]
mod tests;
