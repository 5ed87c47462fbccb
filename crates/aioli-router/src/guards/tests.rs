//! Who stays next to us, for how long.

use super::*;

const DAY: Duration = Duration::from_secs(24 * 3_600);
const START: Date = Date::from_secs(1_780_000_000);
const KEY: [u8; 32] = [7; 32];

fn peer(n: u8) -> RouterHash {
    RouterHash::new([n; 32])
}

fn confirmed(n: u8) -> Guards {
    let mut guards = Guards::new(8);
    let mut rng = Rng::from_seed([1; 32]);
    for i in 0..n {
        guards.confirm(&KEY, peer(i), START, &mut rng);
    }
    guards
}

#[test]
fn guards_outlive_a_restart_and_end_after_weeks() {
    let mut guards = confirmed(5);
    let text = guards.take_changed().unwrap();
    assert_eq!(guards.take_changed(), None);
    let mut again = Guards::new(8);
    assert!(again.load(&text));
    assert_eq!(again.of(&KEY), (0..5).map(peer).collect::<Vec<_>>());
    assert_eq!(again.of(&[8; 32]), []);
    assert!(!text.contains(&aioli_wire::base64::encode(&KEY)), "the key does not show");

    let mut rng = Rng::from_seed([2; 32]);
    let mut left = Vec::new();
    for day in 1..=40 {
        for n in 0..5 {
            if again.of(&KEY).contains(&peer(n)) {
                again.confirm(&KEY, peer(n), START + DAY * day, &mut rng);
            }
        }
        again.maintain(START + DAY * day);
        left.push(again.of(&KEY).len());
    }
    assert_eq!(left[18], 5, "none ends before its time");
    assert!(left.iter().any(|n| (1..5).contains(n)), "they end one after the other: {left:?}");
    assert_eq!(*left.last().unwrap(), 0);
}

#[test]
fn those_that_stand_in_come_and_go_and_the_first_stay() {
    let mut guards = confirmed(MAX_GUARDS as u8);
    let mut rng = Rng::from_seed([1; 32]);
    for n in 50..100 {
        guards.confirm(&KEY, peer(n), START + DAY, &mut rng);
    }
    let all = guards.of(&KEY);
    let first: Vec<_> = (0..GUARDS as u8).map(peer).collect();
    assert_eq!((all.len(), &all[..GUARDS]), (MAX_GUARDS, &first[..]));
}

#[test]
fn pools_have_a_limit_and_the_idle_go_first() {
    let mut guards = Guards::new(2);
    let mut rng = Rng::from_seed([1; 32]);
    for n in 1..=3 {
        guards.confirm(&[n; 32], peer(n), START + DAY * u32::from(n), &mut rng);
    }
    assert_eq!([1, 2, 3].map(|n| guards.has(&[n; 32])), [false, true, true]);
}

#[test]
fn damaged_text_loses_only_what_is_damaged() {
    let text = confirmed(3).take_changed().unwrap();
    let load = |text: &str| {
        let mut guards = Guards::new(8);
        (guards.load(text), guards.of(&KEY).len())
    };
    assert_eq!(load(&text), (true, 3));
    assert_eq!(load(""), (false, 0));
    assert_eq!(load("{}"), (false, 0));
    assert_eq!(load(&text.replace(&peer(1).to_base64(), "?")), (false, 2));
    assert_eq!(load(&text.replace(' ', "  ")), (false, 0));
    assert_eq!(load(&format!("{text}{text}")), (false, 3), "the second header is no guard");
    assert_eq!(load(&text.replace(&START.as_secs().to_string(), &u64::MAX.to_string())), (false, 0));
}
