//! Vectors that others published, and properties, for `ratchet`.

use super::*;
use proptest::prelude::*;

fn start() -> (Secret<32>, TagSet) {
    dh_initialize(
        &Secret::new(std::array::from_fn(|i| i as u8)),
        &Secret::new(std::array::from_fn(|i| i as u8 + 32)),
    )
}

// Calculated independently (PROTOCOL 19, "DH_INITIALIZE").
#[test]
fn known_chain() {
    let (root, mut set) = start();
    let check = |got: &[u8], want: &str| assert_eq!(hex::encode(got), want);
    check(root.as_bytes(), "5328bb969b5f1b1339fc635cf2e4cd9cb3cd594d5a2739caf07893f45958670d");
    check(set.constant.as_bytes(), "b56ad21645cbe48b43e3d269451831497d529ff608b3320c58cf058edd449ff4");
    let (n, tag, key) = set.next_sending().unwrap();
    assert_eq!(n, 0);
    check(&tag, "fad4c17fbf19747f");
    check(key.as_bytes(), "c34c34ba92727e9e4430be57a9b8f3632d4b1f2f3f56496e381cd2828199f693");
    let (n, tag, key) = set.next_sending().unwrap();
    assert_eq!(n, 1);
    check(&tag, "47ed865d37738746");
    check(key.as_bytes(), "cf396ac77c3b498d2a82bd306bcef510c6aadcc7d0c206a4cd69fe47a36cae99");
}

#[test]
fn both_directions_differ_and_both_ends_agree() {
    let ck = Secret::new([7; 32]);
    let (mut a, mut b) = (split(&ck), split(&ck));
    assert_eq!(a.ab.next_sending(), b.ab.next_sending());
    assert_ne!(a.ba.next(), b.ab.next());
    assert_eq!((&a.root_ab, &a.attach_key), (&b.root_ab, &b.attach_key));
    assert_ne!(a.root_ab, a.root_ba);
    let shared = Secret::new([8; 32]);
    assert_eq!(next_dh(&a.root_ab, &shared).1.next(), next_dh(&b.root_ab, &shared).1.next());
    assert_ne!(reply_tag_set(&ck).next(), split(&ck).ab.next());
}

#[test]
fn a_set_ends_after_its_last_number() {
    let (_, mut set) = start();
    let mut count = 0_u32;
    while let Some((n, _)) = set.next() {
        assert_eq!(u32::from(n), count);
        count += 1;
    }
    assert_eq!((count, set.generated()), (1 << 16, 1 << 16));
    set.keys.next = Some(LAST);
    assert!(set.key(LAST).is_some());
    assert!(set.key(LAST).is_none());
    assert!(set.next_sending().is_none());
}

#[test]
fn keys_beyond_the_given_tags_are_not_derived() {
    let (_, mut set) = start();
    assert!(set.key(0).is_none());
    let _ = set.next();
    assert!(set.key(0).is_some());
    assert!(set.key(1).is_none());
    assert_eq!(set.skipped(), 0);
}

#[test]
fn forgotten_keys_are_gone_and_others_stay() {
    let (_, mut set) = start();
    for _ in 0..10 {
        set.next();
    }
    assert!(set.key(9).is_some());
    assert_eq!(set.skipped(), 9);
    set.forget_below(6);
    assert_eq!(set.skipped(), 3);
    assert!(set.key(5).is_none());
    assert!(set.key(6).is_some());
}

proptest! {
    #[test]
    fn any_order_gives_every_key_once(order in Just((0..40).collect::<Vec<u16>>()).prop_shuffle()) {
        let (_, mut sender) = start();
        let sent: Vec<_> = (0..40).map(|_| sender.next_sending().unwrap()).collect();
        let (_, mut receiver) = start();
        let tags: Vec<_> = (0..40).map(|_| receiver.next().unwrap()).collect();
        for n in order {
            let (number, tag, key) = &sent[usize::from(n)];
            prop_assert_eq!(tags[usize::from(n)], (*number, *tag));
            let got = receiver.key(n);
            prop_assert_eq!(got.as_ref(), Some(key));
            prop_assert_eq!(receiver.key(n), None);
        }
        prop_assert_eq!(receiver.skipped(), 0);
    }
}
