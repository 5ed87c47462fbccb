//! Raw ChaCha20 (RFC 8439), unauthenticated: layers of build records and of
//! encrypted lease sets, and the masks over SSU2's headers.

use chacha20::cipher::{KeyIvInit, StreamCipher, StreamCipherSeek};
use chacha20::{ChaCha20, R20, hchacha};

/// The first two words of every ChaCha20 state: "expand 3".
const EXPAND_3: [u32; 2] = [0x6170_7865, 0x3320_646e];

/// XORs the key stream into `buf`. The block counter starts at 1 wherever I2P
/// uses the bare cipher; block 0 is never used.
pub fn xor(key: &[u8; 32], nonce: &[u8; 12], buf: &mut [u8]) {
    let mut cipher = ChaCha20::new(key.into(), nonce.into());
    cipher.seek(64u32);
    cipher.apply_keystream(buf);
}

/// The first eight bytes of the key stream: what hides eight bytes of an SSU2
/// header (`ssu2#header-encryption-kdf`).
///
/// A block is the permuted state plus the state before. HChaCha20 is the permutation
/// alone, so its first words and those of every state make the mask, at three
/// quarters of what the cipher takes, which is made for many blocks.
pub fn mask(key: &[u8; 32], nonce: &[u8; 12]) -> [u8; 8] {
    let mut input = [0; 16];
    input[0] = 1;
    input[4..].copy_from_slice(nonce);
    let permuted = hchacha::<R20>(key.into(), &input.into());
    let mut out = [0; 8];
    for (i, before) in EXPAND_3.into_iter().enumerate() {
        let mut word = [0; 4];
        word.copy_from_slice(&permuted[4 * i..4 * i + 4]);
        out[4 * i..4 * i + 4].copy_from_slice(&u32::from_le_bytes(word).wrapping_add(before).to_le_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_is_the_beginning_of_the_key_stream() {
        for n in 0..=u8::MAX {
            let (key, nonce) =
                (std::array::from_fn(|i| n ^ i as u8), std::array::from_fn(|i| n.wrapping_mul(i as u8)));
            let mut stream = [0; 8];
            xor(&key, &nonce, &mut stream);
            assert_eq!(mask(&key, &nonce), stream);
        }
    }

    // RFC 8439, 2.4.2.
    #[test]
    fn the_first_block_is_number_one() {
        let key = std::array::from_fn(|i| i as u8);
        let nonce = [0, 0, 0, 0, 0, 0, 0, 0x4a, 0, 0, 0, 0];
        let mut buf = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.".to_vec();
        xor(&key, &nonce, &mut buf);
        assert_eq!(
            hex::encode(&buf[..32]),
            "6e2e359a2568f98041ba0728dd0d6981e97e7aec1d4360c20a27afccfd9fae0b"
        );
        assert_eq!(hex::encode(&buf[96..]), "5af90bbf74a35be6b40b8eedf2785e42874d");
        xor(&key, &nonce, &mut buf);
        assert!(buf.starts_with(b"Ladies"));
    }
}
