//! Short scenarios that every change must pass; the long ones run with `cargo xtask sim`.

use aioli_core::Duration;
use aioli_sim::{REGRESSIONS, Scenario, World, check, scenario};

fn short(name: &str, minutes: u64) -> Scenario {
    let whole = scenario(name).expect("the scenario is in the list");
    Scenario { duration: Duration::from_secs(60 * minutes), ..whole.clone() }
}

#[test]
fn a_small_network_carries_every_byte_and_replays_bit_for_bit() {
    let report = check(scenario("small").expect("the scenario is in the list"), 1).unwrap();
    assert!(report.completed >= 100, "{report}");
    assert_eq!((report.failed, report.crashed), (0, 0), "{report}");
}

#[test]
fn another_seed_is_another_run() {
    let scenario = scenario("small").expect("the scenario is in the list");
    let run = |seed| World::new(scenario, seed).run().unwrap().trace;
    assert_ne!(run(1), run(2));
    assert_eq!(run(3), run(3));
}

#[test]
fn long_lossy_links_over_four_generations_of_tunnels() {
    let report = World::new(scenario("generations").expect("the scenario is in the list"), 2).run().unwrap();
    assert!(report.completed >= 100 && !report.tables.is_empty(), "{report}");
}

#[test]
fn crashes_cost_only_what_crashed() {
    let report = World::new(&short("churn", 30), 5).run().unwrap();
    assert!(report.completed >= 40, "{report}");
    assert_eq!((report.failed, report.called), (0, 20), "{report}");
}

#[test]
fn a_network_that_breaks_in_every_way_heals() {
    let report = World::new(&short("faults", 30), 3).run().unwrap();
    assert!(report.completed >= 30 && report.called == 16, "{report}");
}

#[test]
fn routers_with_wrong_clocks_learn_the_time_from_their_peers() {
    let report = World::new(scenario("clocks").expect("the scenario is in the list"), 1).run().unwrap();
    assert!(report.completed >= 60 && report.called == 24, "{report}");
}

#[test]
fn what_failed_once_holds() {
    for (name, seed) in REGRESSIONS {
        World::new(scenario(name).expect("the scenario is in the list"), *seed).run().unwrap();
    }
}

#[test]
fn a_network_of_ssu2_alone_carries_every_byte_and_heals() {
    let report = check(scenario("datagrams").expect("the scenario is in the list"), 1).unwrap();
    assert!(report.completed >= 60 && report.called == 12, "{report}");
    assert_eq!(report.failed, 0, "{report}");
}

#[test]
fn routers_of_one_transport_and_of_two_make_one_network() {
    // The run itself fails if more than one transfer in a hundred does: a tunnel's end and another's gateway that
    // share no transport cost a stream another try.
    let report = World::new(scenario("mixed").expect("the scenario is in the list"), 1).run().unwrap();
    assert!(report.completed >= 60 && report.called == 16, "{report}");
}
