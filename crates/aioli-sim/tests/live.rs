//! Small networks like the live one: churn, hostile floodfills, a flood of fake routers.

use aioli_core::Duration;
use aioli_sim::{Failure, Kind, Report, Scenario, World, scenario};

fn minutes(name: &str, minutes: u64) -> Scenario {
    let whole = scenario(name).expect("the scenario is in the list");
    Scenario { duration: Duration::from_secs(60 * minutes), ..whole.clone() }
}

fn run(scenario: &Scenario, seed: u64) -> Report {
    World::new(scenario, seed).run().unwrap_or_else(|failure: Box<Failure>| panic!("{failure}"))
}

#[test]
fn hostile_floodfills_and_newcomers_do_not_keep_a_village_from_finding_and_building() {
    let report = run(&minutes("village", 30), 1);
    let all = report.tally.total();
    assert!(all.routers.of >= 100 && all.lease_sets.of >= 50 && all.honest_builds.of >= 200, "{report}");
    assert!(report.tally.fakes > 0 && report.tally.replaced > 0, "{report}");
    // What the enemies invent costs next to nothing. Once it was two searches of five.
    let searches = |fakes_only: bool| -> u64 {
        let all = all.census.searches.iter();
        all.filter(|((_, kind), _)| !fakes_only || *kind == Kind::Fake).map(|(_, searches)| searches.of).sum()
    };
    assert!(searches(true) * 20 < searches(false), "{report}");
}

#[test]
fn a_flood_of_fakes_fills_no_memory_and_builds_go_on() {
    let scenario = minutes("flooded-village", 35);
    let report = run(&scenario, 1);
    let all = report.tally.total();
    assert!(report.tally.fakes >= 600 && all.builds_flooded.of >= 100, "{report}");
    let limit = scenario.scale.expect("it is a live network").known_routers as u64;
    let (_, most) = report.tables.get("known_routers").copied().expect("the table is measured");
    assert!(most <= limit, "{report}");
}

#[test]
fn a_live_network_replays_bit_for_bit() {
    let scenario = minutes("village", 8);
    assert_eq!(run(&scenario, 7), run(&scenario, 7));
}
