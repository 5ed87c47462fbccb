//! The data phase: frames sealed where they are sent from and opened where
//! they were received (`ntcp2#4-data-phase`).
//!
//! ```text
//! frame   length XOR mask (2) | ChaCha20-Poly1305 of blocks, tag 16
//! ```

use aioli_core::crypto::aead::ChaChaKey;
use aioli_core::crypto::noise::{self, SymmetricState};
use aioli_core::crypto::siphash::LengthMask;
use aioli_wire::ntcp2::{MAX_FRAME, TAG_LEN};

use super::PeerMisbehaved;

/// Bytes of the length in front of a frame.
pub(crate) const LENGTH: usize = 2;
/// Capacity of a partial-frame buffer that is kept when it is empty.
const KEEP: usize = 20_000;

/// Both directions of a session.
#[derive(Debug)]
pub(crate) struct DataPhase {
    pub(crate) sealer: Sealer,
    pub(crate) opener: Opener,
}

impl DataPhase {
    /// Alice's.
    pub(super) fn initiator(state: &SymmetricState) -> Self {
        let keys = noise::data_phase(state);
        Self {
            sealer: Sealer::new(keys.key_ab.as_bytes(), keys.mask_ab),
            opener: Opener::new(keys.key_ba.as_bytes(), keys.mask_ba),
        }
    }

    /// Bob's.
    pub(super) fn responder(state: &SymmetricState) -> Self {
        let keys = noise::data_phase(state);
        Self {
            sealer: Sealer::new(keys.key_ba.as_bytes(), keys.mask_ba),
            opener: Opener::new(keys.key_ab.as_bytes(), keys.mask_ab),
        }
    }
}

/// The direction that we send.
#[derive(Debug)]
pub(crate) struct Sealer {
    key: ChaChaKey,
    mask: LengthMask,
    nonce: u64,
}

impl Sealer {
    pub(super) fn new(key: &[u8; 32], mask: LengthMask) -> Self {
        Self { key: ChaChaKey::new(key), mask, nonce: 0 }
    }

    /// Turns `out[start..]` (two bytes of room, then blocks) into a frame.
    pub(crate) fn seal(&mut self, out: &mut Vec<u8>, start: usize) {
        let payload = &mut out[start + LENGTH..];
        debug_assert!(payload.len() + TAG_LEN <= MAX_FRAME, "frames are filled up to a limit");
        let tag = self.key.seal_slice(self.nonce, b"", payload);
        self.nonce += 1;
        let length = (payload.len() + TAG_LEN) as u16 ^ self.mask.next();
        out.extend_from_slice(&tag);
        out[start..start + LENGTH].copy_from_slice(&length.to_be_bytes());
    }
}

/// The direction that we receive.
#[derive(Debug)]
pub(crate) struct Opener {
    key: ChaChaKey,
    mask: LengthMask,
    nonce: u64,
    /// The first byte of a length, if only that has come.
    half: Option<u8>,
    /// The length of the frame that is coming, if known.
    length: Option<usize>,
    /// What has come of it, if not all was in one piece.
    partial: Vec<u8>,
}

impl Opener {
    pub(super) fn new(key: &[u8; 32], mask: LengthMask) -> Self {
        Self { key: ChaChaKey::new(key), mask, nonce: 0, half: None, length: None, partial: Vec::new() }
    }

    /// Frames opened so far.
    pub(crate) const fn frames(&self) -> u64 {
        self.nonce
    }

    /// Opens every frame that `input` completes, in place; keeps a copy only of
    /// the last, incomplete one.
    pub(crate) fn receive(
        &mut self,
        mut input: &mut [u8],
        mut on_frame: impl FnMut(&[u8]) -> Result<(), PeerMisbehaved>,
    ) -> Result<(), PeerMisbehaved> {
        while !input.is_empty() {
            let Some(length) = self.next_length(&mut input)? else { return Ok(()) };
            let missing = length - self.partial.len();
            if input.len() < missing {
                self.partial.extend_from_slice(input);
                return Ok(());
            }
            let (now, later) = input.split_at_mut(missing);
            input = later;
            self.length = None;
            if self.partial.is_empty() {
                let len = self.key.open_in_place(self.nonce, b"", now)?;
                self.nonce += 1;
                on_frame(&now[..len])?;
            } else {
                self.partial.extend_from_slice(now);
                let len = self.key.open_in_place(self.nonce, b"", &mut self.partial)?;
                self.nonce += 1;
                on_frame(&self.partial[..len])?;
                self.partial.clear();
                self.partial.shrink_to(KEEP);
            }
        }
        Ok(())
    }

    /// The length of the current frame, read from `input` if it is not known.
    fn next_length(&mut self, input: &mut &mut [u8]) -> Result<Option<usize>, PeerMisbehaved> {
        if let Some(length) = self.length {
            return Ok(Some(length));
        }
        while let Some((first, rest)) = std::mem::take(input).split_first_mut() {
            *input = rest;
            let Some(high) = self.half.take() else {
                self.half = Some(*first);
                continue;
            };
            let length = usize::from(u16::from_be_bytes([high, *first]) ^ self.mask.next());
            if length < TAG_LEN {
                return Err(PeerMisbehaved::FrameLength);
            }
            self.length = Some(length);
            return Ok(self.length);
        }
        Ok(None)
    }
}
