//! Each state and each note, once.

use std::time::Duration;

use aioli_router::{Bandwidth, Family, Limits};

use super::*;

fn told(family: Family, state: Reachability) -> Told {
    Told { family, state, address: None, port: 9700 }
}

/// A router that is well.
pub(in crate::console) fn overview() -> Overview {
    let mut stats = aioli_router::Stats::default();
    (stats.known_routers, stats.sessions, stats.tunnels_in, stats.tunnels_out) = (200, 12, 3, 3);
    Overview {
        hash: aioli_wire::RouterHash::new([7; 32]),
        caps: "PfR".to_owned(),
        uptime: Duration::from_secs(600),
        stats,
        families: [told(Family::V4, Reachability::Open), told(Family::V6, Reachability::Disabled)],
        published: Vec::new(),
        exploratory: (3, 3),
        over_ssu2: 7,
        clock_offset_ms: 100,
        clock_confirmed: true,
        floodfill: true,
        hidden: false,
        draining: false,
        bandwidth: Bandwidth::default(),
        transit_used_percent: 0,
        tunnel_round_trip: Some(Duration::from_millis(340)),
        limits: Limits::home(),
    }
}

fn of(change: impl FnOnce(&mut Overview)) -> (String, Vec<String>) {
    let mut view = overview();
    change(&mut view);
    let facts = Facts { view: Some(&view), rates: Rates::default(), builds: (100, 80) };
    let codes = notes(facts).into_iter().map(|n| n.code).collect();
    (state(facts.view).code, codes)
}

#[test]
fn each_state_has_its_word() {
    let long = Duration::from_secs(10_000);
    assert_eq!(of(|_| {}), ("ready".to_owned(), vec![]));
    assert_eq!(of(|v| v.stats.known_routers = 0).0, "no-routers");
    assert_eq!(
        of(|v| {
            v.stats.sessions = 0;
            v.uptime = Duration::from_secs(5);
        })
        .0,
        "starting"
    );
    assert_eq!(of(|v| v.stats.sessions = 0).0, "no-peers");
    assert_eq!(
        of(|v| {
            v.exploratory = (0, 2);
            v.uptime = Duration::from_secs(30);
        })
        .0,
        "building"
    );
    assert_eq!(
        of(|v| {
            v.exploratory = (0, 2);
            v.uptime = long;
        })
        .0,
        "no-tunnels"
    );
    assert_eq!(of(|v| v.draining = true).0, "stopping");
    let stopped = Facts { view: None, rates: Rates::default(), builds: (0, 0) };
    assert_eq!((state(None).code.as_str(), notes(stopped).len()), ("stopped", 0));
}

#[test]
fn what_is_closed_is_told_by_family() {
    for (state, code) in [
        (Reachability::Testing, None),
        (Reachability::Open, None),
        (Reachability::Firewalled, Some("firewalled")),
        (Reachability::SymmetricNat, Some("symmetric-nat")),
        (Reachability::NoUdp, Some("no-udp")),
        (Reachability::Hidden, None),
        (Reachability::Disabled, None),
    ] {
        let codes = of(|v| v.families[1] = told(Family::V6, state)).1;
        assert_eq!(codes.first().map(String::as_str), code, "{state:?}");
    }
}

#[test]
fn each_note_says_what_to_do() {
    let mut view = overview();
    view.families =
        [told(Family::V4, Reachability::Firewalled), told(Family::V6, Reachability::SymmetricNat)];
    view.clock_offset_ms = -73_200;
    view.hidden = true;
    view.stats.bugs = 1;
    view.stats.sessions = 490;
    view.stats.transit_tunnels = 2_500;
    view.bandwidth.inbound = Some(1_000);
    let rates = Rates { received: 990, ..Rates::default() };
    let notes = notes(Facts { view: Some(&view), rates, builds: (50, 5) });
    let codes: Vec<_> = notes.iter().map(|n| n.code.as_str()).collect();
    assert_eq!(
        codes,
        [
            "firewalled",
            "symmetric-nat",
            "clock-wrong",
            "few-builds",
            "bugs",
            "limit-connections",
            "limit-transit",
            "limit-bandwidth",
            "hidden"
        ]
    );
    assert!(notes[0].remedy.contains("port 9700"), "{:?}", notes[0]);
    assert_eq!(notes[2].title, "This computer's clock is 73 s ahead");
    assert!(notes.iter().filter(|n| n.level == Level::Warning).all(|n| !n.remedy.is_empty()));
}
