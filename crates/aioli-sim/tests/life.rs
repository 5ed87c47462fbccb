//! What happens to a computer: it sleeps, its clock is set, its address changes, it is to stop.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected should fail there")]

use aioli_core::Duration;
use aioli_sim::{Scenario, World, scenario};

const fn minutes(n: u64) -> Duration {
    Duration::from_secs(60 * n)
}

/// A small network on long links, with tunnels and sessions, and no transfers but those of the test.
fn settled(seed: u64) -> World {
    let small = scenario("small").expect("the scenario is in the list");
    let duration = minutes(600);
    let mut world = World::new(&Scenario { duration, transfer_every: duration, ..small.clone() }, seed);
    world.run_for(minutes(4)).unwrap();
    world
}

/// Carries a transfer to a host and one from it.
fn carries(world: &mut World, host: usize, within: Duration) {
    let before = world.report().completed;
    world.call((host + 2) % 10, host, 50_000).unwrap();
    world.call(host, (host + 3) % 10, 50_000).unwrap();
    world.run_for(within).unwrap();
    assert_eq!(world.report().completed, before + 2, "within {within:?}: {}", world.report());
}

#[test]
fn who_has_slept_for_half_an_hour_is_back_within_half_a_minute() {
    for (seed, host, slept) in [(1, 6, minutes(30)), (2, 1, minutes(3)), (3, 8, minutes(8 * 60))] {
        let mut world = settled(seed);
        carries(&mut world, host, Duration::from_secs(20));
        world.sleep(host, slept);
        world.run_for(slept).unwrap();
        // Tunnels, LeaseSet and whoever looks for it.
        world.run_for(Duration::from_secs(15)).unwrap();
        carries(&mut world, host, Duration::from_secs(15));
        let sessions = world.with_router(host, |r, _| r.stats().sessions).unwrap();
        assert!(sessions.unwrap() > 0);
    }
}

#[test]
fn who_waits_for_others_tunnels_takes_no_more_says_nothing_of_it_and_is_done_within_eleven_minutes() {
    let mut world = settled(4);
    let host = 7;
    let caps = |world: &mut World| world.with_router(host, |r, _| r.router_info().caps()).unwrap().unwrap();
    let left = |world: &mut World| world.with_router(host, |r, now| r.transit_left(now)).unwrap().unwrap();
    let before = caps(&mut world);
    world.with_router(host, |r, now| r.begin_drain(now)).unwrap();
    let (mut tunnels, longest) = left(&mut world);
    assert!(tunnels > 0 && longest > minutes(5) && longest <= minutes(11), "{tunnels} {longest:?}");
    // Its own sessions go on.
    carries(&mut world, host, Duration::from_secs(20));
    for _ in 0..longest.as_secs() / 10 + 1 {
        world.run_for(Duration::from_secs(10)).unwrap();
        let (now, _) = left(&mut world);
        assert!(now <= tunnels, "{now} after {tunnels}");
        tunnels = now;
    }
    assert_eq!(left(&mut world), (0, Duration::ZERO));
    carries(&mut world, host, Duration::from_secs(20));
    assert_eq!(caps(&mut world), before);
    world.with_router(host, |r, now| r.shut_down(now)).unwrap();
    assert_eq!(caps(&mut world), before);
}

#[test]
fn a_clock_that_is_set_right_brings_a_router_back() {
    // Behind, ahead, and by a little.
    for (seed, host, wrong_ms) in [(5, 4, -3_600_000_i64), (6, 9, 7_200_000), (7, 5, 30_000)] {
        let mut world = settled(seed);
        world.set_clock(host, wrong_ms).unwrap();
        world.run_for(minutes(1)).unwrap();
        world.set_clock(host, -wrong_ms).unwrap();
        world.run_for(minutes(2)).unwrap();
        carries(&mut world, host, Duration::from_secs(30));
    }
}

#[test]
fn a_new_address_is_published_soon_and_many_of_them_seldom() {
    let mut world = settled(8);
    let host = 3;
    let published = |world: &mut World| {
        let endpoints = |r: &mut aioli_router::Router, _| {
            r.router_info().addresses.iter().filter_map(|a| a.endpoint()).collect::<Vec<_>>()
        };
        world.with_router(host, endpoints).unwrap().unwrap()
    };
    let [own] = published(&mut world)[..] else { panic!("one address") };
    let other = |n: u8| std::net::SocketAddr::from(([10, 99, 0, n], 9_000));
    let set = |world: &mut World, address| {
        world.with_router(host, |r, now| r.set_published(vec![address], now)).unwrap();
    };
    set(&mut world, other(1));
    assert_eq!(published(&mut world), [other(1)]);
    for n in 2..50 {
        set(&mut world, other(n));
        assert_eq!(published(&mut world), [other(1)], "too soon");
    }
    set(&mut world, own);
    world.run_for(minutes(1)).unwrap();
    assert_eq!(published(&mut world), [own]);
    world.run_for(minutes(1)).unwrap();
    carries(&mut world, host, Duration::from_secs(20));
}
