//! AES-256: CBC for NTCP2's handshake obfuscation, and the tunnel layer that
//! every participant applies to every message it relays.
//!
//! ```text
//! message   IV 16 | data 1008
//! a hop     iv = ECB(iv key, iv); data = CBC(layer key, iv, data); iv = ECB(iv key, iv)
//! ```
//!
//! CBC encryption is a chain within one message, so speed comes from several
//! messages side by side; CBC decryption is parallel within each message.

use aes::cipher::{
    BlockCipherDecrypt, BlockCipherEncBackend, BlockCipherEncClosure, BlockCipherEncrypt, BlockSizeUser,
    KeyInit, consts::U16,
};
use aes::{Aes256, Block};

const BLOCK: usize = 16;
/// Messages encrypted side by side: what keeps one core's AES units busy.
const LANES: usize = 8;
/// Blocks decrypted side by side: the widest unit takes 64 at once, and a
/// tunnel message is 63.
const WIDE: usize = 64;

/// A key for AES-256-CBC without padding.
pub struct CbcKey(Aes256);

impl CbcKey {
    /// Expands `key`.
    pub fn new(key: &[u8; 32]) -> Self {
        Self(Aes256::new(key.into()))
    }

    /// Encrypts `data`, whole blocks, in place. Returns the last ciphertext block:
    /// the IV of what continues the chain.
    pub fn encrypt(&self, iv: &[u8; 16], data: &mut [u8]) -> [u8; 16] {
        let blocks = whole_blocks(data);
        self.0.encrypt_with_backend(Chain { iv, blocks });
        *blocks.last().unwrap_or(iv)
    }

    /// Decrypts `data`, whole blocks, in place. Returns the last ciphertext block:
    /// the IV of what continues the chain.
    pub fn decrypt(&self, iv: &[u8; 16], data: &mut [u8]) -> [u8; 16] {
        let mut previous = *iv;
        for part in whole_blocks(data).chunks_mut(WIDE) {
            let mut plain = [Block::default(); WIDE];
            for (to, from) in plain.iter_mut().zip(part.iter()) {
                to.0 = *from;
            }
            // A few blocks for nothing are cheaper than leaving the wide path.
            let wide = if part.len() > WIDE / 2 { WIDE } else { part.len() };
            self.0.decrypt_blocks(&mut plain[..wide]);
            for (block, plain) in part.iter_mut().zip(&mut plain) {
                xor(&mut plain.0, &previous);
                previous = *block;
                *block = plain.0;
            }
        }
        previous
    }
}

impl std::fmt::Debug for CbcKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CbcKey(..)")
    }
}

/// One CBC chain, run where the cipher's instructions are inlined.
struct Chain<'a> {
    iv: &'a [u8; BLOCK],
    blocks: &'a mut [[u8; BLOCK]],
}

impl BlockSizeUser for Chain<'_> {
    type BlockSize = U16;
}

impl BlockCipherEncClosure for Chain<'_> {
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, backend: &B) {
        let mut chain = Block::from(*self.iv);
        for block in self.blocks {
            xor(&mut chain.0, block);
            backend.encrypt_block((&mut chain).into());
            *block = chain.0;
        }
    }
}

/// Several CBC chains of one key, a block of each in turn: the processor
/// overlaps what does not depend on one another. Each message's first block is
/// its IV and stays.
struct Lanes<'a, 'm>(&'a mut [&'m mut [[u8; BLOCK]]]);

impl BlockSizeUser for Lanes<'_, '_> {
    type BlockSize = U16;
}

impl BlockCipherEncClosure for Lanes<'_, '_> {
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, backend: &B) {
        let len = self.0.iter().map(|m| m.len()).min().unwrap_or(0);
        for i in 1..len {
            for msg in self.0.iter_mut() {
                let mut block = Block::from(msg[i - 1]);
                xor(&mut block.0, &msg[i]);
                backend.encrypt_block((&mut block).into());
                msg[i] = block.0;
            }
        }
    }
}

/// Both keys of one hop of a tunnel, expanded. Messages are an IV of 16 bytes
/// and whole blocks of data; what is shorter than an IV is left alone.
pub struct TunnelLayer {
    layer: CbcKey,
    iv: Aes256,
}

impl TunnelLayer {
    /// Expands the layer key and the IV key.
    pub fn new(layer: &[u8; 32], iv: &[u8; 32]) -> Self {
        Self { layer: CbcKey::new(layer), iv: Aes256::new(iv.into()) }
    }

    /// What a participant does to a message that passes.
    pub fn encrypt(&self, msg: &mut [u8]) {
        let Some((iv, data)) = msg.split_first_chunk_mut::<BLOCK>() else { return };
        let mut block = Block::from(*iv);
        self.iv.encrypt_block(&mut block);
        self.layer.encrypt(&block.0, data);
        self.iv.encrypt_block(&mut block);
        *iv = block.0;
    }

    /// The inverse: what the creator does for each hop.
    pub fn decrypt(&self, msg: &mut [u8]) {
        let Some((iv, data)) = msg.split_first_chunk_mut::<BLOCK>() else { return };
        let mut block = Block::from(*iv);
        self.iv.decrypt_block(&mut block);
        self.layer.decrypt(&block.0, data);
        self.iv.decrypt_block(&mut block);
        *iv = block.0;
    }

    /// [`Self::encrypt`] on each message, several at a time.
    pub fn encrypt_batch(&self, msgs: &mut [&mut [u8]]) {
        for group in msgs.chunks_mut(LANES) {
            let len = group[0].len();
            if group.len() == 1 || len < BLOCK || group.iter().any(|m| m.len() != len) {
                group.iter_mut().for_each(|m| self.encrypt(m));
                continue;
            }
            self.encrypt_ivs(group);
            let count = group.len();
            let mut lanes: [&mut [[u8; BLOCK]]; LANES] = Default::default();
            for (lane, msg) in lanes.iter_mut().zip(group.iter_mut()) {
                *lane = whole_blocks(msg);
            }
            self.layer.0.encrypt_with_backend(Lanes(&mut lanes[..count]));
            self.encrypt_ivs(group);
        }
    }

    /// [`Self::decrypt`] on each message.
    pub fn decrypt_batch(&self, msgs: &mut [&mut [u8]]) {
        msgs.iter_mut().for_each(|m| self.decrypt(m));
    }

    fn encrypt_ivs(&self, msgs: &mut [&mut [u8]]) {
        let mut ivs = [Block::default(); LANES];
        let ivs = &mut ivs[..msgs.len()];
        for (iv, msg) in ivs.iter_mut().zip(msgs.iter()) {
            iv.0.copy_from_slice(&msg[..BLOCK]);
        }
        self.iv.encrypt_blocks(ivs);
        for (iv, msg) in ivs.iter().zip(msgs) {
            msg[..BLOCK].copy_from_slice(&iv.0);
        }
    }
}

impl std::fmt::Debug for TunnelLayer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TunnelLayer(..)")
    }
}

/// The blocks of `data`. Every caller's lengths are fixed by the protocol, so a
/// remainder is our mistake; it stays as it is.
fn whole_blocks(data: &mut [u8]) -> &mut [[u8; BLOCK]] {
    let (blocks, rest) = data.as_chunks_mut::<BLOCK>();
    if !rest.is_empty() {
        crate::bug!("{} bytes of AES-CBC data outside whole blocks", rest.len());
    }
    blocks
}

fn xor(into: &mut [u8; BLOCK], with: &[u8; BLOCK]) {
    *into = (u128::from_ne_bytes(*into) ^ u128::from_ne_bytes(*with)).to_ne_bytes();
}

#[cfg(test)]
mod tests;
