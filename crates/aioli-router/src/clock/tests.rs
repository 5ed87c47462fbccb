//! What peers and time servers say, true and false, and what comes of it.

use std::net::Ipv4Addr;

use super::*;

const NOW: Now = Now { mono: Instant::from_micros(5_000_000), wall: Date::from_secs(1_800_000_000) };
const HOUR: i64 = 3_600_000;

fn peer(n: u8) -> (RouterHash, SocketAddr) {
    (RouterHash::new([n; 32]), SocketAddr::from((Ipv4Addr::new(100, n, 1, 1), 9_000)))
}

fn after(now: Now, seconds: u64) -> Now {
    let d = Duration::from_secs(seconds);
    Now { mono: now.mono + d, wall: now.wall + d }
}

/// What peers say in turn, as milliseconds that true time is ahead of the machine's; and what the last led to.
fn hear(clock: &mut Clock, offsets: &[i64]) -> Heard {
    let mut last = Heard::default();
    for (n, offset) in offsets.iter().enumerate() {
        let (hash, at) = peer(u8::try_from(n).unwrap());
        last = clock.on_peer(hash, at, offset - clock.offset_ms());
    }
    last
}

#[test]
fn three_peers_that_agree_set_a_clock_that_no_server_has_set() {
    for wrong in [600_000, -600_000, 5 * HOUR, 20_000 * 24 * HOUR, -20_000 * 24 * HOUR] {
        let machine = Now { wall: NOW.wall.shifted(-wrong), ..NOW };
        let mut clock = Clock::new(machine, true);
        assert_eq!(clock.read(machine), machine);
        assert_eq!(hear(&mut clock, &[wrong, wrong + 900]).stepped, None, "two are too few");
        let (hash, at) = peer(9);
        let heard = clock.on_peer(hash, at, wrong - 800);
        assert_eq!(heard.stepped, Some(wrong));
        let source = ClockSource::Routers(3);
        assert_eq!(heard.tell, Some(Tell::Corrected { offset_ms: wrong, source }));
        assert_eq!(clock.read(after(machine, 7)), after(NOW, 7), "the monotonic clock is as it was");
        assert!(clock.is_settled());
    }
}

#[test]
fn a_minority_of_liars_moves_nothing() {
    for (voices, stepped) in [
        (&[0, 0, 90_000][..], None),
        (&[0, 0, 90_000, 90_000], None),
        // Half against half, and not quite three quarters.
        (&[0, 90_000, 0, 90_000, 0, 90_000], None),
        (&[0, 90_000, 90_000, 0, 90_000, 0, 90_000, 90_000], None),
        // Liars that do not agree among themselves.
        (&[-HOUR, 0, HOUR, 0, 0, 0, 0, 0], None),
        // One honest peer of a wrong clock is outvoted by no liar: the others agree.
        (&[90_000, 90_000, 90_000, -HOUR], Some(90_000)),
        (&[90_000, HOUR, 90_000, -HOUR, 90_000, 90_000, 90_000, 90_000], Some(90_000)),
    ] {
        let mut clock = Clock::new(NOW, true);
        hear(&mut clock, voices);
        assert_eq!(clock.offset_ms(), stepped.unwrap_or(0), "{voices:?}");
    }
}

#[test]
fn small_differences_are_left_alone() {
    let mut clock = Clock::new(NOW, true);
    let heard = hear(&mut clock, &[2_900, 2_500, 2_999, 1_000]);
    assert_eq!((heard, clock.offset_ms(), clock.steps()), (Heard::default(), 0, 0));
    assert!(clock.is_settled(), "they confirm the clock");
    let heard = clock.on_servers(900, 3);
    assert_eq!((heard, clock.offset_ms()), (Heard::default(), 0));
}

#[test]
fn a_peer_and_a_network_have_one_voice_each() {
    let mut clock = Clock::new(NOW, true);
    let (hash, at) = peer(1);
    for _ in 0..10 {
        clock.on_peer(hash, at, 90_000);
    }
    for n in 0..200 {
        // Many routers of one /16.
        let (hash, _) = peer(n);
        clock.on_peer(hash, SocketAddr::from((Ipv4Addr::new(100, 1, n, 1), 9_000)), 90_000);
    }
    assert_eq!((clock.offset_ms(), clock.is_settled()), (0, false));
    assert_eq!(clock.voices(), MAX_VOICES);
    let mut private = Clock::new(NOW, false);
    for n in 0..3 {
        private.on_peer(peer(n).0, SocketAddr::from((Ipv4Addr::new(127, 0, 0, n), 9_000)), 90_000);
    }
    assert_eq!(private.offset_ms(), 90_000);
}

#[test]
fn old_voices_do_not_count() {
    let mut clock = Clock::new(NOW, true);
    hear(&mut clock, &[90_000, 90_000]);
    clock.read(after(NOW, 3_600));
    let (hash, at) = peer(7);
    assert_eq!(clock.on_peer(hash, at, 90_000).stepped, None);
    assert_eq!(clock.voices(), 1);
}

#[test]
fn a_clock_that_was_found_right_is_not_moved_far_by_few() {
    let mut clock = Clock::new(NOW, true);
    hear(&mut clock, &[0, 0, 0]);
    clock.read(after(NOW, 4_000));
    hear(&mut clock, &[HOUR; 5]);
    assert_eq!(clock.offset_ms(), 0);
    hear(&mut clock, &[HOUR; 6]);
    assert_eq!(clock.offset_ms(), HOUR);
}

#[test]
fn servers_are_believed_and_peers_move_the_clock_a_little_only() {
    let mut clock = Clock::new(NOW, true);
    let heard = clock.on_servers(73_000, 3);
    let source = ClockSource::TimeServers(3);
    assert_eq!(heard.tell, Some(Tell::Corrected { offset_ms: 73_000, source }));
    assert_eq!(heard.stepped, Some(73_000));
    assert_eq!(hear(&mut clock, &[78_000; 4]).stepped, None, "four are too few when servers have answered");
    hear(&mut clock, &[78_000; 5]);
    assert_eq!(clock.offset_ms(), 78_000);
    hear(&mut clock, &[123_000; 10]);
    assert_eq!(clock.offset_ms(), 73_000 + PEERS_MAY_MOVE);
    let heard = hear(&mut clock, &[HOUR; 20]);
    let tell = Some(Tell::Disagree { servers_ms: 73_000, routers_ms: HOUR });
    assert_eq!(clock.offset_ms(), 73_000 + PEERS_MAY_MOVE);
    // Told once, when it showed.
    assert!(heard.tell.is_none() || heard.tell == tell);
    assert!(clock.told_disagree);
}

#[test]
fn one_server_does_not_outweigh_peers() {
    let mut clock = Clock::new(NOW, true);
    hear(&mut clock, &[0, 0, 0]);
    let tell = Some(Tell::Disagree { servers_ms: HOUR, routers_ms: 0 });
    assert_eq!(clock.on_servers(HOUR, 1), Heard { stepped: None, tell });
    assert_eq!(clock.on_servers(HOUR, 1), Heard::default(), "once is enough");
    assert_eq!(clock.on_servers(HOUR, 3).stepped, Some(HOUR));
    // One server that was all there was does not bind the peers either.
    let mut clock = Clock::new(NOW, true);
    assert_eq!(clock.on_servers(HOUR, 1).stepped, Some(HOUR));
    hear(&mut clock, &[0; 10]);
    assert_eq!(clock.offset_ms(), 0);
}

#[test]
fn nobody_can_set_the_clock_to_long_ago() {
    let mut clock = Clock::new(NOW, true);
    let back = -3 * 365 * 24 * HOUR;
    assert_eq!(clock.on_servers(back, 3), Heard::default());
    assert_eq!(hear(&mut clock, &[back; 20]), Heard::default());
    assert_eq!((clock.offset_ms(), clock.is_settled()), (0, false));
}

#[test]
fn refusals_are_told_once_until_the_clock_is_known() {
    let mut clock = Clock::new(NOW, true);
    assert_eq!(hear(&mut clock, &[HOUR]), Heard::default(), "one may be wrong itself");
    let tell = Some(Tell::Refused { offset_ms: HOUR });
    assert_eq!(hear(&mut clock, &[HOUR, 2 * HOUR]).tell, tell);
    assert_eq!(hear(&mut clock, &[HOUR, 2 * HOUR, 3 * HOUR]), Heard::default());
    assert_eq!(clock.offset_ms(), 0);
}

#[test]
fn a_clock_that_is_set_moves_us_only_before_anybody_has_confirmed_it() {
    let jump =
        |now: Now, ms| Now { mono: now.mono + Duration::from_secs(1), wall: now.wall.shifted(ms + 1_000) };
    let mut clock = Clock::new(NOW, true);
    let set = jump(NOW, HOUR);
    assert_eq!(clock.read(set), set, "nobody but the machine knows the time");
    clock.on_servers(-HOUR, 3);
    assert_eq!(clock.read(set), after(NOW, 1));
    // Somebody sets the clock right, then wrong: we know the time.
    let right = jump(set, -HOUR);
    assert_eq!(clock.read(right), after(NOW, 2));
    assert_eq!((clock.offset_ms(), clock.is_settled(), clock.jumps()), (0, false, 2));
    let wrong = jump(right, 5 * HOUR);
    assert_eq!(clock.read(wrong), after(NOW, 3));
    assert_eq!(clock.read(jump(wrong, -5 * HOUR)), after(NOW, 4));
    let heard = clock.on_servers(100, 3);
    let source = ClockSource::TimeServers(3);
    assert_eq!(
        heard.tell,
        Some(Tell::Corrected { offset_ms: 0, source }),
        "the user learns that it is right now"
    );
    // A machine that was stopped for long: its peers know.
    let woken = jump(wrong, 48 * HOUR - 5 * HOUR);
    clock.read(woken);
    hear(&mut clock, &[0, 0, 0]);
    assert_eq!((clock.read(woken), clock.is_settled()), (woken, true));
}
