//! What follows from what, and what does not.

use super::*;

const PORT: u16 = 9_000;

fn at(secs: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(1_000 + secs)
}

/// A router in a /16 of its own.
fn ip(n: u8) -> IpAddr {
    IpAddr::from([20 + n, 1, 2, 3])
}

fn us(port: u16) -> SocketAddr {
    SocketAddr::from(([5, 6, 7, 8], port))
}

fn observer() -> Observer {
    let mut observer = Observer::default();
    observer.set_up(Family::V4, Setup { on: true, port: PORT, ..Setup::default() }, at(0));
    observer
}

fn seen(observer: &mut Observer, port: u16) {
    for n in 0..3 {
        observer.on_seen(ip(n), us(port), at(1));
    }
}

fn state(observer: &Observer) -> Reachability {
    observer.state(Family::V4)
}

const OPEN: TestOutcome = TestOutcome::Reachable { seen: None };

#[test]
fn one_witness_is_not_enough_and_two_of_one_hand_are_one() {
    let mut o = observer();
    seen(&mut o, PORT);
    o.on_tested(Some(ip(5)), us(PORT), OPEN, at(2));
    assert_eq!(state(&o), Reachability::Testing);
    let neighbour = IpAddr::from([25, 1, 200, 200]);
    o.on_tested(Some(neighbour), us(PORT), OPEN, at(3));
    assert_eq!(state(&o), Reachability::Testing, "the same /16");
    o.on_visitor(ip(6), at(4));
    assert_eq!(state(&o), Reachability::Open);
    assert_eq!(o.publish(Family::V4), Publish::Host { at: us(PORT), introduces: true });
}

#[test]
fn a_lone_witness_is_believed_when_nobody_else_comes() {
    for (outcome, expected) in
        [(OPEN, Reachability::Open), (TestOutcome::Firewalled, Reachability::Firewalled)]
    {
        let mut o = observer();
        seen(&mut o, PORT);
        o.on_tested(Some(ip(5)), us(PORT), outcome, at(2));
        o.judge(at(10));
        assert_eq!(state(&o), Reachability::Testing);
        o.judge(at(23));
        assert_eq!(state(&o), expected);
    }
}

#[test]
fn a_judgement_does_not_flap() {
    let mut o = observer();
    seen(&mut o, PORT);
    for n in 0..2 {
        o.on_tested(Some(ip(n)), us(PORT), OPEN, at(2));
    }
    assert_eq!(state(&o), Reachability::Open);
    // Every second test says otherwise: nothing changes, ever.
    for n in 0..100_u64 {
        let outcome = if n % 2 == 0 { TestOutcome::Firewalled } else { OPEN };
        o.on_tested(Some(ip((n % 7) as u8)), us(PORT), outcome, at(10 + n));
        assert_eq!(state(&o), Reachability::Open);
    }
    // Three in a row, from three hands, do.
    for n in 0..3 {
        assert_eq!(state(&o), Reachability::Open);
        o.on_tested(Some(ip(10 + n)), us(PORT), TestOutcome::Firewalled, at(200 + u64::from(n)));
    }
    assert_eq!(state(&o), Reachability::Firewalled);
    assert_eq!(o.publish(Family::V4), Publish::NoHost { introducers: true });
    // And back.
    o.on_visitor(ip(1), at(300));
    assert_eq!(state(&o), Reachability::Firewalled);
    o.on_visitor(ip(2), at(301));
    assert_eq!(state(&o), Reachability::Open);
}

#[test]
fn an_address_is_learned_and_changes_with_two_witnesses() {
    let mut o = observer();
    assert_eq!(o.wants_test(Family::V4, at(1)), None, "there is nothing to test");
    o.on_seen(ip(0), us(PORT), at(1));
    assert_eq!(o.outside(Family::V4), Some(us(PORT)), "the first is all there is");
    let lie = SocketAddr::from(([9, 9, 9, 9], PORT));
    o.on_seen(ip(1), lie, at(2));
    assert_eq!(o.outside(Family::V4), Some(us(PORT)));
    o.on_seen(ip(2), us(PORT), at(3));
    for n in 0..2 {
        o.on_tested(Some(ip(n)), us(PORT), OPEN, at(4));
    }
    assert_eq!(state(&o), Reachability::Open);
    o.on_asked(Family::V4, at(5));
    assert_eq!(o.wants_test(Family::V4, at(100)), None);
    let new = SocketAddr::from(([5, 6, 7, 9], PORT));
    o.on_seen(ip(3), new, at(101));
    assert_eq!(o.outside(Family::V4), Some(us(PORT)));
    o.on_seen(ip(4), new, at(102));
    assert_eq!(o.outside(Family::V4), Some(new));
    assert_eq!(o.wants_test(Family::V4, at(102)), Some(new), "it is tested at once");
    assert_eq!(o.publish(Family::V4), Publish::Host { at: new, introduces: true }, "and published meanwhile");
}

#[test]
fn tests_are_asked_for_often_at_first_and_then_every_hour() {
    let mut o = observer();
    seen(&mut o, PORT);
    let mut asked = Vec::new();
    for t in 2..10_000 {
        o.judge(at(t));
        if let Some(address) = o.wants_test(Family::V4, at(t)) {
            o.on_asked(Family::V4, at(t));
            asked.push(t);
            o.on_tested(Some(ip(asked.len() as u8)), address, OPEN, at(t));
        }
    }
    assert_eq!(asked, [2, 6, 3_606, 7_206]);
    // Without any answer: often, then rarely.
    let mut o = observer();
    seen(&mut o, PORT);
    let mut asked = 0_u64;
    for t in 2..3_602 {
        if o.wants_test(Family::V4, at(t)).is_some() {
            o.on_asked(Family::V4, at(t));
            asked += 1;
        }
    }
    assert_eq!(asked, 12 + 29, "12 within 44 s, then every other minute");
}

#[test]
fn a_test_that_nobody_could_make_is_asked_for_again_soon_and_does_not_count() {
    let refused = TestOutcome::Refused { code: 68 };
    for outcome in [refused, TestOutcome::Unproven] {
        let mut o = observer();
        seen(&mut o, PORT);
        let ask = |o: &mut Observer, t: u64| {
            let address = o.wants_test(Family::V4, at(t))?;
            o.on_asked(Family::V4, at(t));
            // Who refuses is no witness: there is no Charlie.
            o.on_tested(None, address, outcome, at(t));
            Some(t)
        };
        let asked = (2..60).filter_map(|t| ask(&mut o, t)).collect::<Vec<_>>();
        assert_eq!(asked.len(), 40 + 5, "each second, then each fourth: {asked:?}");
        // One comes about after all.
        for n in 0..2 {
            o.on_tested(Some(ip(n)), us(PORT), OPEN, at(60));
        }
        assert_eq!(state(&o), Reachability::Open);
        // One that is due within the hour, and refused, does not wait for the next.
        let again = (61..4_000).filter_map(|t| ask(&mut o, t)).collect::<Vec<_>>();
        assert!(again.len() > 2 && again[1] - again[0] == 120, "{again:?}");
    }
}

#[test]
fn a_symmetric_nat_is_told_from_a_firewall() {
    let mut o = observer();
    for n in 0..3 {
        o.on_seen(ip(n), us(20_000 + u16::from(n)), at(1));
    }
    for n in 0..2 {
        let seen = us(30_000 + u16::from(n));
        let by = Some(ip(10 + n));
        o.on_tested(by, us(PORT), TestOutcome::AddressDiffers { seen }, at(2));
    }
    assert_eq!(state(&o), Reachability::SymmetricNat);
    assert!(o.news()[0].to_string().contains("symmetric NAT"), "{:?}", o.news());
    assert_eq!(o.publish(Family::V4), Publish::NoHost { introducers: true });
}

#[test]
fn with_another_port_outside_both_are_tested() {
    // A NAT that shows port 40,000; port 9,000 is let through by the user.
    let mut o = observer();
    seen(&mut o, 40_000);
    assert_eq!(o.wants_test(Family::V4, at(2)), Some(us(40_000)));
    o.on_tested(Some(ip(5)), us(40_000), TestOutcome::Firewalled, at(3));
    o.judge(at(60));
    assert_eq!(state(&o), Reachability::Testing, "the other port is not tested yet");
    assert_eq!(o.wants_test(Family::V4, at(60)), Some(us(PORT)));
    o.on_tested(Some(ip(6)), us(PORT), OPEN, at(61));
    o.on_tested(Some(ip(7)), us(PORT), OPEN, at(62));
    assert_eq!(state(&o), Reachability::Open);
    assert_eq!(o.publish(Family::V4), Publish::Host { at: us(PORT), introduces: true });
    // A port outside that lets others in is as good.
    let mut o = observer();
    seen(&mut o, 40_000);
    o.on_tested(Some(ip(5)), us(40_000), OPEN, at(3));
    o.on_tested(Some(ip(6)), us(40_000), OPEN, at(3));
    assert_eq!(o.publish(Family::V4), Publish::Host { at: us(40_000), introduces: true });
    // Seen where the NAT puts us although the other port was tested: no sign of a symmetric one.
    let mut o = observer();
    seen(&mut o, 40_000);
    for n in 5..7 {
        let outcome = TestOutcome::AddressDiffers { seen: us(40_000) };
        o.on_tested(Some(ip(n)), us(PORT), outcome, at(3));
    }
    assert_eq!(state(&o), Reachability::Firewalled);
}

#[test]
fn what_the_user_says_is_published_and_what_is_presumed_until_it_is_refuted() {
    let mut o = observer();
    let setup = Setup { on: true, port: PORT, fixed: Some(us(1_234)), ..Setup::default() };
    o.set_up(Family::V4, setup, at(0));
    assert_eq!(o.publish(Family::V4), Publish::Host { at: us(1_234), introduces: true });
    for n in 0..2 {
        o.on_tested(Some(ip(n)), us(1_234), TestOutcome::Firewalled, at(3));
    }
    assert_eq!(state(&o), Reachability::Firewalled, "and told");
    assert_eq!(o.publish(Family::V4), Publish::Host { at: us(1_234), introduces: false });
    let setup = Setup { on: true, port: PORT, presumed: Some(us(PORT)), ..Setup::default() };
    o.set_up(Family::V4, setup, at(10));
    let mut o = observer();
    o.set_up(Family::V4, setup, at(10));
    assert_eq!(o.publish(Family::V4), Publish::Host { at: us(PORT), introduces: false });
    for n in 0..2 {
        o.on_tested(Some(ip(n)), us(PORT), TestOutcome::Firewalled, at(13));
    }
    assert_eq!(o.publish(Family::V4), Publish::NoHost { introducers: true });
}

#[test]
fn hidden_and_disabled_families_are_left_alone() {
    let mut o = observer();
    seen(&mut o, PORT);
    o.set_up(Family::V4, Setup { on: true, hidden: true, port: PORT, ..Setup::default() }, at(2));
    o.on_visitor(ip(1), at(3));
    o.on_visitor(ip(2), at(3));
    assert_eq!(state(&o), Reachability::Hidden);
    assert_eq!(
        (o.wants_test(Family::V4, at(4)), o.publish(Family::V4)),
        (None, Publish::NoHost { introducers: false })
    );
    assert_eq!(o.publish(Family::V6), Publish::NoHost { introducers: false });
    o.set_up(Family::V6, Setup::default(), at(3));
    assert_eq!((o.state(Family::V6), o.publish(Family::V6)), (Reachability::Disabled, Publish::Nothing));
    let told = o.news().iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(told, ["IPv4: the router is hidden: others do not reach it"]);
    o.set_up(Family::V4, Setup { on: true, port: PORT, ..Setup::default() }, at(5));
    assert_eq!(state(&o), Reachability::Open, "who came meanwhile counts");
}

#[test]
fn each_state_is_told_once_and_says_what_to_do() {
    let mut o = observer();
    o.set_up(Family::V6, Setup::default(), at(0));
    let lines = |o: &mut Observer| o.news().iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(lines(&mut o), Vec::<String>::new(), "there may be no such network");
    seen(&mut o, PORT);
    assert_eq!(lines(&mut o), ["IPv4: finding out whether others reach this router"]);
    for n in 0..2 {
        o.on_tested(Some(ip(n)), us(PORT), TestOutcome::Firewalled, at(3));
    }
    let told = lines(&mut o);
    assert!(told[0].contains("let UDP and TCP port 9000 through"), "{told:?}");
    assert_eq!(lines(&mut o), Vec::<String>::new());
    for n in 3..6 {
        o.on_visitor(ip(n), at(5));
    }
    assert_eq!(lines(&mut o), ["IPv4: others reach this router at 5.6.7.8:9000"]);
}

#[test]
fn a_million_liars_take_no_room() {
    let mut o = observer();
    for n in 0..5_000_u32 {
        let [_, b, c, d] = n.to_be_bytes();
        let by = IpAddr::from([30 + c % 100, d, b, 1]);
        o.on_seen(by, SocketAddr::from(([8, 8, c, d], 1_000)), at(u64::from(n)));
        o.on_visitor(by, at(u64::from(n)));
    }
    let one = &o.of[0];
    assert!(one.seen.0.len() <= WITNESSES && one.signs.0.len() <= WITNESSES);
}

#[test]
fn that_no_udp_gets_through_is_said_after_three_and_forgotten_with_the_first_answer() {
    let mut o = observer();
    for n in 0..3 {
        assert_eq!(state(&o), Reachability::Testing);
        o.on_silent(ip(n), at(u64::from(n)));
    }
    assert_eq!(state(&o), Reachability::NoUdp);
    assert_eq!(o.publish(Family::V4), Publish::NoHost { introducers: false }, "nobody could introduce us");
    assert!(o.news()[0].to_string().contains("no UDP"), "it is told");
    assert!(o.wants_witnesses(Family::V4), "and looked at again");
    o.on_seen(ip(9), us(PORT), at(100));
    assert_eq!(state(&o), Reachability::Testing);
    assert_eq!(o.wants_test(Family::V4, at(101)), Some(us(PORT)));
}

#[test]
fn a_judgement_of_an_old_address_stands_until_there_is_one_of_the_new() {
    let mut o = observer();
    seen(&mut o, PORT);
    for n in 0..2 {
        o.on_tested(Some(ip(n)), us(PORT), OPEN, at(2));
    }
    assert_eq!(state(&o), Reachability::Open);
    assert!(!o.wants_witnesses(Family::V4));
    o.moved();
    assert!(o.is_unjudged(Family::V4) && o.wants_witnesses(Family::V4));
    let new = SocketAddr::from(([7, 7, 7, 7], PORT));
    o.on_seen(ip(3), new, at(10));
    assert_eq!(o.outside(Family::V4), Some(new), "one is believed: something has changed");
    assert_eq!(o.publish(Family::V4), Publish::Host { at: new, introduces: true });
    for n in 4..6 {
        assert_eq!(o.wants_test(Family::V4, at(4 * u64::from(n))), Some(new), "soon after each other");
        o.on_asked(Family::V4, at(4 * u64::from(n)));
        assert_eq!(state(&o), Reachability::Open);
        o.on_tested(Some(ip(n)), new, TestOutcome::Firewalled, at(4 * u64::from(n) + 1));
    }
    assert_eq!(state(&o), Reachability::Firewalled, "two are enough, as at first");
    let told = o.news().last().map(ToString::to_string).unwrap();
    assert!(told.contains("NAT (7.7.7.7) keeps others out"), "{told}");
}

#[test]
fn one_witness_of_a_symmetric_nat_is_believed_though_ports_differ() {
    let mut o = observer();
    o.on_seen(ip(0), us(20_000), at(1));
    o.on_tested(Some(ip(5)), us(20_000), TestOutcome::AddressDiffers { seen: us(30_000) }, at(2));
    o.judge(at(10));
    assert_eq!(state(&o), Reachability::Testing);
    o.judge(at(30));
    assert_eq!(state(&o), Reachability::SymmetricNat);
}

#[test]
fn a_test_of_an_old_address_says_nothing_of_the_new() {
    let new = SocketAddr::from(([5, 6, 9, 9], PORT));
    for outcome in [OPEN, TestOutcome::Firewalled, TestOutcome::AddressDiffers { seen: new }] {
        let mut o = observer();
        seen(&mut o, PORT);
        for n in 0..2 {
            o.on_tested(Some(ip(n)), us(PORT), OPEN, at(2));
        }
        o.moved();
        o.on_seen(ip(1), new, at(10));
        assert_eq!(o.told(Family::V4).address, Some(new));
        // It was under way when the address changed.
        o.on_tested(Some(ip(7)), us(PORT), outcome, at(11));
        o.judge(at(40));
        assert!(o.is_unjudged(Family::V4), "{outcome:?}");
        assert_eq!(o.publish(Family::V4), Publish::Host { at: new, introduces: true });
    }
}

#[test]
fn when_connections_break_others_say_where_they_see_us() {
    let new = SocketAddr::from(([5, 6, 9, 9], PORT));
    let firewalled = || {
        let mut o = observer();
        seen(&mut o, PORT);
        for n in 0..2 {
            o.on_tested(Some(ip(n)), us(PORT), TestOutcome::Firewalled, at(2));
        }
        o
    };
    let mut o = firewalled();
    assert!(!o.wants_witnesses(Family::V4));
    o.doubt();
    assert!(o.wants_witnesses(Family::V4));
    o.on_seen(ip(4), us(PORT), at(10));
    assert!(!o.wants_witnesses(Family::V4), "it is where it was");
    // Bob says that the address is not ours.
    o.on_tested(None, us(PORT), TestOutcome::Refused { code: BOB_ADDRESS }, at(11));
    o.on_seen(ip(5), new, at(12));
    assert!(o.wants_witnesses(Family::V4), "one says so");
    o.on_seen(ip(6), new, at(13));
    assert_eq!(o.told(Family::V4).address, Some(new));
    assert!(o.is_unjudged(Family::V4));
    // Who knows his address from elsewhere does not ask.
    let mut o = observer();
    let setup = Setup { on: true, port: PORT, presumed: Some(us(PORT)), ..Setup::default() };
    o.set_up(Family::V4, setup, at(0));
    seen(&mut o, PORT);
    for n in 0..2 {
        o.on_tested(Some(ip(n)), us(PORT), OPEN, at(2));
    }
    o.doubt();
    assert!(!o.wants_witnesses(Family::V4));
}
