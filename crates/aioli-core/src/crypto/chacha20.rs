//! Raw ChaCha20 (RFC 8439), unauthenticated: layers of build records and of
//! encrypted lease sets, and the masks over SSU2's headers.

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher, StreamCipherSeek};

/// XORs the key stream into `buf`. The block counter starts at 1 wherever I2P
/// uses the bare cipher; block 0 is never used.
pub fn xor(key: &[u8; 32], nonce: &[u8; 12], buf: &mut [u8]) {
    let mut cipher = ChaCha20::new(key.into(), nonce.into());
    cipher.seek(64u32);
    cipher.apply_keystream(buf);
}

/// The first eight bytes of the key stream: what hides eight bytes of an SSU2
/// header (`ssu2#header-encryption-kdf`).
pub fn mask(key: &[u8; 32], nonce: &[u8; 12]) -> [u8; 8] {
    let mut out = [0; 8];
    xor(key, nonce, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

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
