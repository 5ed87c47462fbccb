//! Who we are, said again inside a session.

use aioli_core::Duration;
use aioli_wire::Mapping;

use super::super::Output;
use super::link::{Link, World};
use super::message;
use crate::Lane;

/// The `caps` of the RouterInfos that node 1 has heard from node 0.
fn heard(world: &World) -> Vec<String> {
    let mut caps = Vec::new();
    for told in &world.nodes[1].told {
        if let Output::RouterInfo { from, ri, .. } = told
            && *from == world.nodes[0].hash
        {
            caps.push(ri.claims().options.get("caps").unwrap_or_default().to_owned());
        }
    }
    caps
}

#[test]
fn a_change_is_told_soon_and_another_date_is_not() {
    let mut world = World::connected(1, 2, Link::default());
    let again =
        world.nodes[0].keys.router_info(|parts| parts.published = parts.published + Duration::from_secs(1));
    world.on(0, |e, _| e.set_router_info(again));
    world.run(Duration::from_secs(31));
    assert_eq!(heard(&world), [""; 0]);
    let changed = world.nodes[0].keys.router_info(|parts| {
        let options = [("caps", "LRG"), ("netId", "99"), ("router.version", "0.9.67")];
        parts.options = Mapping::from_pairs(options).unwrap();
    });
    world.on(0, |e, _| e.set_router_info(changed));
    world.run(Duration::from_secs(31));
    assert_eq!(heard(&world), ["LRG"]);
}

#[test]
fn a_long_session_says_it_again() {
    let mut world = World::connected(2, 2, Link::default());
    let peer = world.nodes[1].hash;
    for minute in 0..51 {
        let now = world.clock(0).wall;
        world.on(0, |e, _| e.send(&peer, Lane::Own, message(minute, 100, now))).unwrap();
        world.run(Duration::from_secs(60));
        assert!(minute > 23 || heard(&world).is_empty(), "minute {minute}");
    }
    let times = heard(&world).len();
    assert!((1..=2).contains(&times), "{times}");
    assert_eq!(world.nodes[0].endpoint.stats().refreshes, times as u64);
}
