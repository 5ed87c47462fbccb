//! Peers that move in mid-transfer, and those who only pretend to.

use aioli_core::Duration;

use super::super::Output;
use super::link::{Flow, Link, World};
use super::{addr, message};
use crate::Lane;

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn transfer(seed: u8, from: usize, to: usize) -> World {
    let link = Link { rate: 2_500_000, ..Link::default() };
    let mut world = World::connected(seed, 2, link);
    world.flows.push(Flow { from, to, size: 1_028, next: 0, last: 8_000 });
    world.run(seconds(1));
    world
}

#[test]
fn a_sender_that_moves_goes_on_from_its_new_address() {
    for (seed, new) in [(1, addr(77)), (2, "198.18.0.0:4444".parse().unwrap())] {
        let mut world = transfer(seed, 0, 1);
        world.nodes[0].addr = new;
        world.run(seconds(10));
        world.assert_exactly_once(1, 8_000, 1_028);
        assert_eq!(world.nodes[1].endpoint.address_of(&world.nodes[0].hash), Some(new));
        assert!(world.nodes[1].told.iter().any(|o| matches!(o, Output::Moved { to, .. } if *to == new)));
        assert_eq!(world.nodes[1].endpoint.stats().paths_moved, 1);
        let told = &world.nodes[0].told;
        assert!(told.iter().any(|o| matches!(o, Output::ObservedAddress { address, .. } if *address == new)));
    }
}

/// Issue 4: resumes within 10 s.
#[test]
fn a_receiver_that_moves_says_so_and_gets_the_rest() {
    let mut world = transfer(3, 0, 1);
    world.nodes[1].addr = addr(78);
    world.on(1, |e, _| e.addresses_changed());
    world.run(seconds(10));
    world.assert_exactly_once(1, 8_000, 1_028);
    assert_eq!(world.nodes[0].endpoint.address_of(&world.nodes[1].hash), Some(addr(78)));
}

#[test]
fn a_copy_from_elsewhere_does_not_move_the_session() {
    let mut world = World::connected(4, 2, Link::default());
    let (b, thief) = (world.nodes[1].hash, addr(99));
    let now = world.clock(0).wall;
    world.wire = Some(Vec::new());
    world.filter = Box::new(|_, from, _| from == addr(0));
    world.on(0, |e, _| e.send(&b, Lane::Own, message(0, 500, now))).unwrap();
    let (_, to, bytes) = world.wire.take().unwrap().pop().unwrap();
    world.filter = Box::new(|_, _, _| false);
    world.wire = Some(Vec::new());
    // The thief's copy is first, and the only one.
    world.send(thief, to, bytes.clone());
    world.run(seconds(20));
    let stats = world.nodes[1].endpoint.stats();
    assert_eq!((stats.paths_challenged, stats.paths_moved), (1, 0));
    assert_eq!(world.nodes[1].endpoint.address_of(&world.nodes[0].hash), Some(addr(0)));
    let wire = world.wire.take().unwrap();
    let given = wire.iter().filter(|(_, to, _)| *to == thief).map(|(_, _, b)| b.len()).sum::<usize>();
    assert!(given <= 3 * bytes.len(), "{given}");
    world.flows.push(Flow { from: 1, to: 0, size: 1_028, next: 0, last: 100 });
    world.run(seconds(3));
    world.assert_exactly_once(0, 100, 1_028);
}
