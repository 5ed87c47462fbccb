//! How peers rise and fall.

use super::*;

fn at(secs: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(secs)
}

fn peer(n: u16) -> RouterHash {
    let mut hash = [0; 32];
    hash[..2].copy_from_slice(&n.to_be_bytes());
    RouterHash::new(hash)
}

/// A tunnel with the peer came about.
fn prove(profiles: &mut Profiles, peer: &RouterHash, now: Instant) {
    profiles.agreed(peer, Duration::from_millis(80), now);
    profiles.proved(peer, now);
}

#[test]
fn refusals_pause_longer_each_time_and_are_forgiven() {
    let mut profiles = Profiles::new(10);
    let peer = peer(1);
    assert_eq!(profiles.tier(&peer, at(0)), Tier::Standard);
    profiles.declined(&peer, at(0));
    assert_eq!(profiles.tier(&peer, at(59)), Tier::Avoid);
    assert_eq!(profiles.tier(&peer, at(61)), Tier::Standard);
    profiles.declined(&peer, at(61));
    assert_eq!(profiles.tier(&peer, at(180)), Tier::Avoid);
    prove(&mut profiles, &peer, at(190));
    assert_eq!(profiles.tier(&peer, at(190)), Tier::Standard, "twice no, once yes");
    prove(&mut profiles, &peer, at(190));
    assert_eq!(profiles.tier(&peer, at(190)), Tier::HighCapacity);
}

#[test]
fn throughput_alone_makes_a_peer_fast_and_fades() {
    let mut profiles = Profiles::new(10);
    let (quick, busy) = (peer(1), peer(2));
    profiles.agreed(&quick, Duration::from_millis(1), at(0));
    profiles.proved(&quick, at(0));
    prove(&mut profiles, &busy, at(0));
    profiles.carried(&busy, 100_000, at(0));
    profiles.maintain(at(1));
    assert_eq!(profiles.tier(&busy, at(1)), Tier::Fast);
    assert_eq!(profiles.tier(&quick, at(1)), Tier::HighCapacity, "an answer in a millisecond proves nothing");
    // Half an hour's fading at a time.
    for half_hours in 1..=20 {
        profiles.maintain(at(half_hours * 1_800));
    }
    assert_eq!(profiles.tier(&busy, at(36_000)), Tier::HighCapacity, "but it is not forgotten");
    profiles.maintain(at(37 * 3_600));
    assert!(profiles.is_empty());
}

#[test]
fn tiers_have_their_sizes() {
    let mut profiles = Profiles::new(1_000);
    for n in 0..400 {
        let peer = peer(n);
        for _ in 0..1 + n % 7 {
            prove(&mut profiles, &peer, at(1));
        }
        profiles.carried(&peer, 50_000 + u64::from(n), at(1));
    }
    profiles.maintain(at(2));
    assert_eq!((profiles.high_capacity().len(), profiles.fast_count()), (MAX_HIGH_CAPACITY, MAX_FAST));
    // Those that agreed most often are in.
    assert!(profiles.high_capacity().iter().all(|p| profiles.peers[p].agreed >= 5));
    assert!(profiles.fast.is_subset(&profiles.high));
}

#[test]
fn the_proven_outlast_a_flood_of_others() {
    let mut profiles = Profiles::new(20);
    for n in 0..10 {
        prove(&mut profiles, &peer(n), at(0));
    }
    for n in 100..1_000 {
        profiles.unreachable(&peer(n), at(u64::from(n)));
        profiles.connected(&peer(n + 2_000), true, at(u64::from(n)));
    }
    assert_eq!(profiles.len(), 20);
    assert!((0..10).all(|n| profiles.is_proven(&peer(n))));
    assert!((0..1_000).all(|n| !profiles.was_reached(&peer(n + 2_000))), "to dial us proves nothing");
}

#[test]
fn the_limit_forgets_whom_we_heard_of_longest_ago() {
    let mut profiles = Profiles::new(2);
    for n in 1..=3 {
        prove(&mut profiles, &peer(n), at(u64::from(n)));
    }
    assert_eq!(profiles.len(), 2);
    assert_eq!(profiles.tier(&peer(1), at(3)), Tier::Standard);
    assert_eq!(profiles.tier(&peer(3), at(3)), Tier::HighCapacity);
}
