//! Vectors that others published, and properties, for `aead`.

use super::*;
use proptest::prelude::*;

// NTCP2 crypto vectors made with an independent Python implementation.
#[test]
fn seals_as_others_do() {
    let key = ChaChaKey::new(&std::array::from_fn(|i| i as u8));
    let mut buf = b"fixture".to_vec();
    key.seal_in_place(0, b"aad", &mut buf);
    assert_eq!(hex::encode(buf), "7ed13a45d894c3830858757114c9cc16655a3b7c1042e9");
}

// RFC 8439, 2.8.2 has a nonce that starts with 07; the cipher is aws-lc's. What
// is ours is the nonce: four zero bytes, then the counter with its low byte first.
#[test]
fn the_counter_is_little_endian_after_four_zero_bytes() {
    let raw = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &[7; 32]).unwrap());
    let mut want = b"data".to_vec();
    let nonce = [0, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1];
    let nonce = Nonce::assume_unique_for_key(nonce);
    raw.seal_in_place_append_tag(nonce, Aad::from(b"ad"), &mut want).unwrap();
    let mut got = b"data".to_vec();
    ChaChaKey::new(&[7; 32]).seal_in_place(0x0102_0304_0506_0708, b"ad", &mut got);
    assert_eq!(got, want);
}

proptest! {
    #[test]
    fn opens_what_was_sealed_and_nothing_altered(
        key: [u8; 32], nonce: u64, ad: Vec<u8>, plain: Vec<u8>, at: prop::sample::Index, bit in 0..8u32,
    ) {
        let key = ChaChaKey::new(&key);
        let mut buf = plain.clone();
        key.seal_in_place(nonce, &ad, &mut buf);
        let mut altered = buf.clone();
        altered[at.index(buf.len())] ^= 1 << bit;
        prop_assert_eq!(key.open_in_place(nonce, &ad, &mut altered), Err(AeadError));
        prop_assert_eq!(key.open_in_place(nonce ^ 1, &ad, &mut buf.clone()), Err(AeadError));
        prop_assert_eq!(key.open_in_place(nonce, &ad, &mut buf), Ok(plain.len()));
        prop_assert_eq!(&buf[..plain.len()], &plain[..]);
    }

    #[test]
    fn noise_is_refused_at_every_length(mut buf in prop::collection::vec(any::<u8>(), 0..40)) {
        prop_assert_eq!(ChaChaKey::new(&[1; 32]).open_in_place(0, b"", &mut buf), Err(AeadError));
    }
}
