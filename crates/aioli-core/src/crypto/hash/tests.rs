//! Vectors that others published, and properties, for `hash`.

use super::*;

fn unhex(s: &str) -> Vec<u8> {
    hex::decode(s).unwrap()
}

// FIPS 180 examples.
#[test]
fn digests_of_abc() {
    assert_eq!(hex::encode(sha1(b"abc")), "a9993e364706816aba3e25717850c26c9cd0d89d");
    let want = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(hex::encode(sha256(b"abc")), want);
    assert_eq!(hex::encode(sha256_parts(&[b"a", b"", b"bc"])), want);
    let want = "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";
    assert_eq!(hex::encode(sha512(b"abc")), want);
    assert_eq!(hex::encode(sha512_parts(&[b"ab", b"c"])), want);
}

// RFC 4231, cases 2 and 6.
#[test]
fn hmac_vectors() {
    let mac = hmac_sha256(b"Jefe", &[b"what do ya want ", b"for nothing?"]);
    assert_eq!(hex::encode(mac), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    let mac = hmac_sha256(&[0xaa; 131], &[b"Test Using Larger Than Block-Size Key - Hash Key First"]);
    assert_eq!(hex::encode(mac), "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

// RFC 5869, cases 1, 2 and 3.
#[test]
fn hkdf_vectors() {
    let (salt, info) = (unhex("000102030405060708090a0b0c"), unhex("f0f1f2f3f4f5f6f7f8f9"));
    let okm: Secret<42> = hkdf(&salt, &[0x0b; 22], &info);
    let want = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865";
    assert_eq!(hex::encode(okm.as_bytes()), want);

    let range = |from: u8, to: u8| (from..=to).collect::<Vec<u8>>();
    let okm: Secret<82> = hkdf(&range(0x60, 0xaf), &range(0x00, 0x4f), &range(0xb0, 0xff));
    let want = "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c\
                59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71\
                cc30c58179ec3e87c14c01d5c1f3434f1d87";
    assert_eq!(hex::encode(okm.as_bytes()), want);

    let okm: Secret<42> = hkdf(b"", &[0x0b; 22], b"");
    let want = "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8";
    assert_eq!(hex::encode(okm.as_bytes()), want);
}

#[test]
fn an_empty_input_is_still_extracted_from() {
    let prk = hmac_sha256(b"salt", &[b""]);
    let first = hmac_sha256(&prk, &[b"info", &[1]]);
    let second = hmac_sha256(&prk, &[&first, b"info", &[2]]);
    let out: Secret<44> = hkdf(b"salt", b"", b"info");
    assert_eq!(out.as_bytes()[..32], first);
    assert_eq!(out.as_bytes()[32..], second[..12]);
}

#[test]
fn secrets_do_not_show() {
    let secret = Secret::new([0x41; 8]);
    assert_eq!(format!("{secret:?}"), "Secret(..)");
    assert!(secret.ct_eq(&Secret::new([0x41; 8])) && secret != Secret::new([0x42; 8]));
    let (a, b) = Secret::new(std::array::from_fn::<u8, 64, _>(|i| i as u8)).halves();
    assert_eq!((a.as_bytes()[31], b.as_bytes()[0]), (31, 32));
}
