//! Who counts as new, and what a flood changes.

use std::net::SocketAddr;

use aioli_core::crypto::ed25519::SigningKey;
use aioli_core::{Cx, Now};
use aioli_netdb::Source;
use aioli_wire::{Mapping, RouterInfoParts};

use super::*;
use crate::{Config, Identity, create_router_info};

fn at(secs: u64) -> Now {
    Now { mono: Instant::ZERO + Duration::from_secs(secs), wall: Date::from_secs(1_780_000_000 + secs) }
}

struct World {
    netdb: NetDb,
    roster: Roster,
    profiles: Profiles,
    rng: Rng,
    made: u32,
}

impl World {
    fn new() -> Self {
        let mut rng = Rng::from_seed([1; 32]);
        let ours = RouterHash::new([0; 32]);
        let config = aioli_netdb::Config {
            our_hash: ours,
            net_id: 2,
            floodfill: false,
            private_network: false,
            limits: aioli_netdb::Limits::default(),
        };
        Self {
            netdb: NetDb::new(config, rng.fork()),
            roster: Roster::new(ours, false),
            profiles: Profiles::new(100),
            rng,
            made: 0,
        }
    }

    fn make(&mut self, now: Now) -> Arc<Verified<RouterInfo>> {
        self.made += 1;
        let [_, a, b, c] = self.made.to_be_bytes();
        let published = vec![SocketAddr::from(([5, a, b, c], 9_000))];
        let config = Config { published, ..Config::default() };
        create_router_info(&config, &Identity::generate(&mut self.rng), now)
    }

    /// So many come out of the NetDB; their names.
    fn hear(&mut self, n: usize, now: Now) -> Vec<RouterHash> {
        let heard = (0..n).map(|_| {
            let info = self.make(now);
            let unverified = RouterInfo::decode_unverified(info.bytes()).unwrap();
            let mut cx = Cx { now, rng: &mut self.rng };
            self.netdb.store(unverified, Source::Garlic, &mut cx).unwrap();
            info.hash()
        });
        heard.collect()
    }

    fn follow(&mut self, now: Now) {
        self.roster.follow(&self.netdb, &self.profiles, now.mono);
    }

    fn counts(&self) -> (usize, usize) {
        (self.roster.settled.len(), self.roster.newcomers.len())
    }
}

#[test]
fn newcomers_settle_in_an_hour_or_when_they_answer_us() {
    let mut world = World::new();
    let heard = world.hear(5, at(0));
    world.follow(at(0));
    assert_eq!(world.counts(), (0, 5));
    world.profiles.connected(&heard[0], false, at(1).mono);
    world.profiles.connected(&heard[1], true, at(1).mono);
    world.follow(at(20));
    assert_eq!(world.counts(), (1, 4));
    world.follow(at(3_601));
    assert_eq!(world.counts(), (5, 0));
    let brought = world.make(at(3_601));
    world.netdb.load(brought.bytes(), &mut Cx { now: at(3_601), rng: &mut world.rng }).unwrap();
    world.roster.introduce(&brought, at(3_601).mono);
    world.follow(at(3_602));
    assert_eq!(world.counts(), (6, 0), "whom the user brought is no newcomer");
}

#[test]
fn time_alone_settles_nobody_once_enough_are_met() {
    for (met, expected) in [(ENOUGH_MET - 1, (ENOUGH_MET + 49, 0)), (ENOUGH_MET, (ENOUGH_MET, 50))] {
        let mut world = World::new();
        for _ in 0..met {
            let info = world.make(at(0));
            world.netdb.load(info.bytes(), &mut Cx { now: at(0), rng: &mut world.rng }).unwrap();
            world.roster.introduce(&info, at(0).mono);
        }
        let heard = world.hear(50, at(0));
        world.follow(at(0));
        world.follow(at(25 * 3_600));
        assert_eq!(world.counts(), expected, "{met} met");
        world.profiles.connected(&heard[0], false, at(25 * 3_600).mono);
        world.follow(at(25 * 3_600 + 20));
        assert!(world.roster.settled.contains(&heard[0]), "it answered us");
    }
}

#[test]
fn a_flood_is_told_from_growth_and_distrusted_for_a_day() {
    let mut world = World::new();
    // Growth: a hundred in ten minutes for four hours.
    for round in 0..24 {
        world.hear(100, at(round * 600));
        world.follow(at(round * 600));
        assert!(!world.roster.in_surge(at(round * 600).mono), "in round {round}");
    }
    let flood = at(24 * 600 + 1);
    world.hear(900, flood);
    world.follow(flood);
    assert!(world.roster.in_surge(flood.mono));
    let later = at(24 * 600 + 1 + 4 * 3_600);
    world.follow(later);
    assert!(!world.roster.in_surge(later.mono));
    assert_eq!(world.counts(), (2_400, 900), "an hour is not enough for those");
    world.follow(at(24 * 600 + 1 + 24 * 3_600));
    assert_eq!(world.counts(), (3_300, 0));
}

#[test]
fn a_slow_start_of_a_flood_is_distrusted_with_it() {
    let mut world = World::new();
    for _ in 0..300 {
        let info = world.make(at(0));
        world.netdb.load(info.bytes(), &mut Cx { now: at(0), rng: &mut world.rng }).unwrap();
        world.roster.introduce(&info, at(0).mono);
    }
    for second in 0..60 {
        world.hear(10, at(second * 5));
        world.follow(at(second * 5));
    }
    world.follow(at(320));
    assert!(world.roster.in_surge(at(320).mono));
    assert!(world.roster.known.values().filter(|k| k.distrusted).count() == 600);
    world.follow(at(2 * 3_600));
    assert_eq!(world.counts().0, 300, "none of it settles within hours");
}

#[test]
fn samples_are_even_and_all_different() {
    let mut world = World::new();
    world.hear(40, at(0));
    world.follow(at(0));
    let mut seen: BTreeMap<RouterHash, u32> = BTreeMap::new();
    for _ in 0..2_000 {
        let sample = world.roster.sample(Trust::Newcomer, 10, &mut world.rng);
        assert_eq!(sample.iter().collect::<std::collections::BTreeSet<_>>().len(), 10);
        for hash in sample {
            *seen.entry(hash).or_default() += 1;
        }
    }
    assert!(seen.len() == 40 && seen.values().all(|n| (400..600).contains(n)), "{seen:?}");
    assert_eq!(world.roster.sample(Trust::Newcomer, 50, &mut world.rng).len(), 40);
    assert_eq!(world.roster.sample(Trust::Settled, 5, &mut world.rng), []);
}

#[test]
fn who_lies_about_its_family_is_no_hop() {
    let mut world = World::new();
    let mut rng = Rng::from_seed([9; 32]);
    let family_key = SigningKey::generate(&mut rng);
    let mut facts = |name: &str, signed: &str, key: Option<&str>| {
        let identity = Identity::generate(&mut rng);
        let info = world.make(at(0));
        let hash = identity.router_identity().hash();
        let signature = family_key.sign(&[signed.as_bytes(), hash.as_bytes()].concat());
        let mut options: Vec<_> = info.options.iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        let own_key = format!("7:{}", base64::encode(&family_key.public()));
        options.push(("family".to_owned(), name.to_owned()));
        options.push(("family.key".to_owned(), key.unwrap_or(&own_key).to_owned()));
        options.push(("family.sig".to_owned(), base64::encode(&signature)));
        let parts = RouterInfoParts {
            identity: identity.router_identity(),
            published: at(0).wall,
            addresses: info.addresses.clone(),
            options: Mapping::from_pairs(options).unwrap(),
        };
        world.roster.facts_of(&RouterInfo::create(parts, &identity.signing))
    };
    let good = facts("Stormy", "Stormy", None).unwrap();
    assert!(good.groups.contains(&Group::Family("stormy".to_owned())));
    assert!(facts("Stormy", "Other", None).is_none());
    assert!(facts("Stormy", "Stormy", Some("7:AAAA")).is_none());
    assert!(facts("Stormy", "Stormy", Some("nonsense")).is_none());
    assert!(
        facts("Stormy", "Other", Some("99:AAAA")).is_some(),
        "what cannot be checked is not held against it"
    );
}

#[test]
fn it_follows_who_comes_who_goes_and_what_is_newer() {
    let mut world = World::new();
    let identities: Vec<Identity> = (0..300).map(|_| Identity::generate(&mut world.rng)).collect();
    let store = |world: &mut World, i: usize, now: Now| {
        let published = vec![SocketAddr::from(([5, 1, (i / 250) as u8, (i % 250) as u8], 9_000))];
        let info = create_router_info(&Config { published, ..Config::default() }, &identities[i], now);
        let unverified = RouterInfo::decode_unverified(info.bytes()).unwrap();
        world.netdb.store(unverified, Source::Garlic, &mut Cx { now, rng: &mut world.rng }).unwrap();
        info.hash()
    };
    let first: Vec<RouterHash> = (0..200).map(|i| store(&mut world, i, at(0))).collect();
    world.follow(at(0));
    for gone in first.iter().step_by(3) {
        world.netdb.forget_router(gone);
    }
    for renewed in (0..200).filter(|i| i % 3 == 1) {
        store(&mut world, renewed, at(30));
    }
    for new in 200..300 {
        store(&mut world, new, at(30));
    }
    world.follow(at(60));
    assert!(world.netdb.router_count() > 200);
    let known = world.roster.known.iter().map(|(hash, known)| (*hash, Arc::as_ptr(&known.info)));
    let expected = world.netdb.routers().map(|info| (info.hash(), Arc::as_ptr(info)));
    assert!(known.eq(expected));
    // Who was heard of before stays known for as long.
    assert_eq!(world.roster.known[&first[1]].heard, at(0).mono);
    let facts = world.roster.facts(&first[1]).map(|facts| facts.published);
    assert_eq!(facts, world.netdb.router(&first[1]).map(|info| info.published));
}
