//! NTCP2 without a connection: its handshake in both roles and its data phase.
//!
//! ```text
//! Alice (initiator)                                    Bob (responder)
//!   SessionRequest  X | options | padding  ──────────►   AwaitSessionRequest
//!   AwaitSessionCreated                                  AwaitRequestPadding
//!                   ◄──────────  Y | options | padding   SessionCreated
//!   AwaitCreatedPadding                                  AwaitSessionConfirmed
//!   SessionConfirmed  static key | RouterInfo ─────────►
//!   DataPhase  ◄──────────── frames of blocks ─────────► DataPhase
//! ```
//!
//! Each state is consumed by its one message and gives the next.

pub(crate) mod data_phase;
pub(crate) mod initiator;
pub(crate) mod responder;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use aioli_core::crypto::aes::CbcKey;
use aioli_core::crypto::x25519;
use aioli_wire::RouterHash;
use aioli_wire::router_info::RouterInfo;
use aioli_wire::verified::Verified;

use crate::Limits;
use crate::handshake::{Admission, PeerMisbehaved};

/// Bytes of message 1 and of message 2 before their padding.
pub(crate) const MESSAGE_LEN: usize = 64;
/// Bytes of the first part of message 3.
pub(crate) const PART1_LEN: usize = 48;
/// Most bytes of padding that we append to a handshake message.
const MAX_OWN_PADDING: u64 = 64;

/// Who we are in a handshake.
#[derive(Debug)]
pub(crate) struct Local {
    pub(crate) hash: RouterHash,
    pub(crate) static_key: x25519::PrivateKey,
    pub(crate) iv: [u8; 16],
    pub(crate) net_id: u8,
    pub(crate) router_info: Arc<Verified<RouterInfo>>,
}

impl Local {
    /// Whose RouterInfo we take.
    const fn admission(&self, limits: &Limits) -> Admission {
        Admission {
            own: self.hash,
            net_id: self.net_id,
            min_version: limits.min_version,
            max_age: limits.router_info_max_age,
            max_future: limits.router_info_max_future,
        }
    }
}

/// AES-CBC over both ephemeral keys, keyed with public data: only there to
/// leave no pattern on the wire.
#[derive(Debug)]
struct Obfuscation {
    key: CbcKey,
    iv: [u8; 16],
}

impl Obfuscation {
    fn new(bob: &RouterHash, iv: [u8; 16]) -> Self {
        Self { key: CbcKey::new(bob.as_bytes()), iv }
    }

    fn hide(&mut self, key: &x25519::PublicKey) -> [u8; 32] {
        let mut out = key.0;
        self.iv = self.key.encrypt(&self.iv, &mut out);
        out
    }

    fn reveal(&mut self, hidden: &[u8]) -> Result<x25519::PublicKey, PeerMisbehaved> {
        let mut out = [0; 32];
        out.copy_from_slice(hidden);
        self.iv = self.key.decrypt(&self.iv, &mut out);
        if out[31] & 0x80 != 0 {
            return Err(PeerMisbehaved::KeyTopBit);
        }
        Ok(x25519::PublicKey(out))
    }
}
