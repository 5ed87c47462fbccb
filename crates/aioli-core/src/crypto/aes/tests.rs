//! Vectors that others published, and properties, for `aes`.

use super::*;
use crate::Rng;

const KEY: &str = "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4";
const PLAIN: &str = "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51\
                     30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710";

fn key() -> [u8; 32] {
    hex::decode(KEY).unwrap().try_into().unwrap()
}

// NIST SP 800-38A, F.2.5 and F.2.6.
#[test]
fn cbc_vectors() {
    let iv = std::array::from_fn(|i| i as u8);
    let cbc = CbcKey::new(&key());
    let mut data = hex::decode(PLAIN).unwrap();
    let last = cbc.encrypt(&iv, &mut data);
    let want = "f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d\
                39f23369a9d9bacfa530e26304231461b2eb05e2c39be9fcda6c19078c6a9d1b";
    assert_eq!(hex::encode(&data), want);
    assert_eq!(last, data[48..]);
    assert_eq!(cbc.decrypt(&iv, &mut data), last);
    assert_eq!(hex::encode(&data), PLAIN);
}

// SP 800-38A, F.1.5: the IV of a tunnel message goes through ECB.
#[test]
fn a_layer_encrypts_the_iv_before_and_after() {
    let (layer, iv_key) = ([9; 32], key());
    let mut msg = hex::decode(PLAIN).unwrap();
    msg.truncate(16);
    msg.extend([7; 32]);
    let mut got = msg.clone();
    TunnelLayer::new(&layer, &iv_key).encrypt(&mut got);

    let iv: [u8; 16] = hex::decode("f3eed1bdb5d2a03c064b5a7e3db181f8").unwrap().try_into().unwrap();
    let mut data = msg[16..].to_vec();
    CbcKey::new(&layer).encrypt(&iv, &mut data);
    assert_eq!(got[16..], data);
    // One block of CBC under a zero IV is ECB.
    let mut twice = iv;
    CbcKey::new(&iv_key).encrypt(&[0; 16], &mut twice);
    assert_eq!(got[..16], twice);
}

#[test]
fn a_chain_continues_and_decrypts_at_any_length() {
    let mut rng = Rng::from_seed([1; 32]);
    let cbc = CbcKey::new(&rng.bytes());
    let iv = rng.bytes();
    for blocks in [0, 1, 2, 7, 8, 9, 31, 32, 33, 63, 64, 65, 130] {
        let mut plain = vec![0; blocks * BLOCK];
        rng.fill(&mut plain);
        let mut whole = plain.clone();
        cbc.encrypt(&iv, &mut whole);
        let mut parts = plain.clone();
        let (first, second) = parts.split_at_mut(blocks / 2 * BLOCK);
        let chain = cbc.encrypt(&iv, first);
        cbc.encrypt(&chain, second);
        assert_eq!(parts, whole);
        cbc.decrypt(&iv, &mut whole);
        assert_eq!(whole, plain);
    }
}

#[test]
fn a_batch_is_the_same_as_one_by_one() {
    let mut rng = Rng::from_seed([2; 32]);
    let layer = TunnelLayer::new(&rng.bytes(), &rng.bytes());
    for count in [0, 1, 2, 7, 8, 9, 20] {
        let mut plain = vec![vec![0; 1024]; count];
        plain.iter_mut().for_each(|m| rng.fill(m));
        // Other lengths do not occur, but must not confuse the lanes.
        if count == 9 {
            plain[3] = vec![1; 16];
            plain[4] = vec![2; 5];
        }
        let mut single = plain.clone();
        single.iter_mut().for_each(|m| layer.encrypt(m));
        let mut batch = plain.clone();
        layer.encrypt_batch(&mut batch.iter_mut().map(|m| &mut m[..]).collect::<Vec<_>>());
        assert_eq!(batch, single);
        layer.decrypt_batch(&mut batch.iter_mut().map(|m| &mut m[..]).collect::<Vec<_>>());
        assert_eq!(batch, plain);
    }
}
