//! Vectors that others published, and properties, for `elligator2`.

use super::*;
use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

fn bytes(s: &str) -> [u8; 32] {
    hex::decode(s).unwrap().try_into().unwrap()
}

// i2pd, tests/test-elligator.cpp.
#[test]
fn decodes_as_i2pd_does() {
    for (representative, key) in [
        (
            "e73507d38bae63992b3f57aac48c0abc14509589288457995a2b4ca3490aa207",
            "1e8afffed6bf53fe271ad572473262ded8faec68e5e67ef45ebb82eeba52604f",
        ),
        (
            "95a16019041dbefed9832048ede11928d90365f24a38aa7aef1b97e23954101b",
            "794f05ba3e3a72958022468c88981e0be5782be1e1145ce2c3c6fde16ded5363",
        ),
        (
            "f6ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff3f",
            "9cdb525555555555555555555555555555555555555555555555555555555555",
        ),
    ] {
        let (representative, key) = (bytes(representative), bytes(key));
        for top in [0, 0x40, 0x80, 0xc0] {
            let mut with_top = representative;
            with_top[31] |= top;
            assert_eq!(decode(&with_top).0, key);
        }
    }
}

#[test]
fn encodes_as_i2pd_does() {
    // i2pd's number has bit 255 set, which no key has; modulo p that bit counts 19.
    let mut key = bytes("33951964003c940878063ccfd0348af42150ca16d2646f2c5856e8338377d880");
    key[0] += 19;
    key[31] &= 0x7f;
    let key = PublicKey(key);
    let low = bytes("2820b6b241e0f68a6c4a7fee3d978228ef3ae45533cd410aa91a415331d8612d");
    let high = bytes("3cfb87c46c0b4575ca8175e0ed1c0ae9dae79db78df86997c4847b9f20b27718");
    let (a, b) = (encode(&key, 0).unwrap(), encode(&key, 1).unwrap());
    assert!([a, b] == [low, high] || [a, b] == [high, low]);
    let top = encode(&key, 0xc0).unwrap();
    assert_eq!((top[31], &top[..31]), (a[31] | 0xc0, &a[..31]));

    let none = PublicKey(bytes("e6f66fdf6e230c603c5e6e59a254ea1476a13eb9511b9549846781e12e52230a"));
    assert_eq!(encode(&none, 0), None);
    assert_eq!(encode(&none, 1), None);
}

#[test]
fn generated_keys_decode_to_themselves_and_agree() {
    let mut rng = Rng::from_seed([5; 32]);
    let peer = PrivateKey::generate(&mut rng);
    let mut tops = [0; 4];
    for _ in 0..64 {
        let key = EncodableKey::generate(&mut rng);
        let decoded = decode(&key.representative);
        assert_eq!(decoded, key.private.public());
        assert_eq!(
            peer.diffie_hellman(&decoded).unwrap(),
            key.private.diffie_hellman(&peer.public()).unwrap()
        );
        tops[usize::from(key.representative[31] >> 6)] += 1;
    }
    assert!(tops.iter().all(|n| *n > 4), "top bits: {tops:?}");
}

proptest! {
    #[test]
    fn encoding_gives_back_what_was_decoded(mut representative: [u8; 32]) {
        // Below 2^253, so that it is the smaller of both roots.
        representative[31] &= 0x1f;
        let key = decode(&representative);
        prop_assert_eq!(key.0[31] & 0x80, 0, "the top bit would mean ML-KEM to NTCP2");
        let both = [encode(&key, 0).unwrap(), encode(&key, 1).unwrap()];
        prop_assert!(both.contains(&representative));
        prop_assert_eq!(both.map(|r| decode(&r)), [key; 2]);
    }
}
