//! Vectors that others published, and properties, for `noise_n`.

use super::*;

fn pair() -> (PrivateKey, Rng) {
    let mut rng = Rng::from_seed([4; 32]);
    (PrivateKey::generate(&mut rng), rng)
}

#[test]
fn both_ends_hold_the_same_state() {
    let (router, mut rng) = pair();
    for len in [0, 1, 154, 5000] {
        let plain = vec![9; len];
        let (mut message, ours) = seal(&router.public(), &plain, &mut rng).unwrap();
        assert_eq!(message.len(), len + OVERHEAD);
        let (opened, theirs) = open(&router, &mut message).unwrap();
        assert_eq!(opened, plain);
        assert_eq!((ours.h, ours.ck), (theirs.h, theirs.ck));
    }
}

#[test]
fn altered_short_and_foreign_messages_do_not_open() {
    let (router, mut rng) = pair();
    let (message, _) = seal(&router.public(), b"plain", &mut rng).unwrap();
    for at in [0, 31, 32, message.len() - 1] {
        let mut altered = message.clone();
        altered[at] ^= 1;
        assert_eq!(open(&router, &mut altered).unwrap_err(), OpenError);
    }
    for len in 0..message.len() {
        assert!(open(&router, &mut message[..len].to_vec()).is_err());
    }
    let other = PrivateKey::generate(&mut rng);
    assert!(open(&other, &mut message.clone()).is_err());
    let mut weak = message;
    weak[..32].fill(0);
    assert!(open(&router, &mut weak).is_err());
    assert!(seal(&PublicKey([0; 32]), b"", &mut rng).is_err());
}

// i2pr, crates/i2pr-tunnel/src/fixed_vectors.rs: a short build record calculated
// from the primitives alone.
#[test]
fn a_build_record_gives_the_known_state() {
    let hop = PrivateKey::from_bytes(
        hex::decode("5566778899aabbccddeeff00112233445566778899aabbccddeeff0011223344")
            .unwrap()
            .try_into()
            .unwrap(),
    );
    let ephemeral = PrivateKey::from_bytes(std::array::from_fn(|i| i as u8 + 1));
    let plain: Vec<u8> = (0..154).map(|i| (i * 7 % 256) as u8).collect();
    let (mut message, state) = seal_with(&hop.public(), &plain, &ephemeral).unwrap();
    assert_eq!(message.len(), 202);
    assert!(message.ends_with(&[10, 146, 213, 87, 133, 177, 50, 17, 207, 178, 242]));
    let h = [
        220, 83, 39, 41, 251, 245, 234, 181, 30, 48, 12, 124, 55, 217, 173, 152, 53, 246, 244, 208, 222, 73,
        243, 143, 229, 1, 101, 117, 25, 89, 94, 57,
    ];
    let ck = [
        210, 235, 145, 225, 195, 156, 188, 119, 107, 254, 171, 249, 230, 174, 44, 80, 108, 181, 26, 92, 120,
        51, 160, 2, 231, 180, 149, 106, 169, 243, 224, 140,
    ];
    assert_eq!((state.h, *state.ck.as_bytes()), (h, ck));
    let (opened, theirs) = open(&hop, &mut message).unwrap();
    assert_eq!((opened, theirs.h), (&plain[..], h));
}
