//! Alice: who dials (`ntcp2`, messages 1 to 3).

use std::sync::Arc;

use aioli_core::crypto::noise::{self, SymmetricState};
use aioli_core::crypto::x25519::{PrivateKey, PublicKey};
use aioli_core::{Cx, Instant};
use aioli_wire::ntcp2::{BLOCK_HEADER, Block, CreatedOptions, OPTIONS_LEN, RequestOptions, TAG_LEN, VERSION};
use aioli_wire::{RouterHash, Wire, Writer};

use super::data_phase::DataPhase;
use super::{Local, MAX_OWN_PADDING, Obfuscation};
use crate::Limits;
use crate::handshake::{PeerMisbehaved, check_skew, skew, skew_millis};

/// Whom to dial.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Remote {
    pub(crate) hash: RouterHash,
    pub(crate) static_key: PublicKey,
    pub(crate) iv: [u8; 16],
}

/// Message 1 is sent.
#[derive(Debug)]
pub(crate) struct AwaitSessionCreated {
    noise: SymmetricState,
    obfuscation: Obfuscation,
    ephemeral: PrivateKey,
    local: Arc<Local>,
    /// The second part of message 3, fixed since its length was announced.
    payload: Vec<u8>,
    sent: Instant,
}

/// Message 2 is read but for its padding.
#[derive(Debug)]
pub(crate) struct AwaitCreatedPadding {
    noise: SymmetricState,
    local: Arc<Local>,
    payload: Vec<u8>,
    bob: PublicKey,
    padding: usize,
}

/// Writes message 1.
pub(crate) fn session_request(
    local: &Arc<Local>,
    remote: &Remote,
    cx: &mut Cx<'_>,
) -> Result<(Vec<u8>, AwaitSessionCreated), PeerMisbehaved> {
    let ephemeral = PrivateKey::generate(cx.rng);
    let mut noise = SymmetricState::new(noise::NTCP2);
    noise.mix_hash(&remote.static_key.0);
    noise.mix_hash(&ephemeral.public().0);
    noise.mix_key(&ephemeral.diffie_hellman(&remote.static_key)?);

    let payload = confirmed_payload(local, cx);
    let padding = cx.rng.up_to(MAX_OWN_PADDING) as usize;
    let options = RequestOptions {
        net_id: local.net_id,
        version: VERSION,
        padding: padding as u16,
        message3_part2: (payload.len() + TAG_LEN) as u16,
        timestamp: cx.now.wall,
    };
    let mut sealed = options.to_bytes();
    noise.encrypt_and_hash(&mut sealed);

    let mut obfuscation = Obfuscation::new(&remote.hash, remote.iv);
    let mut message = obfuscation.hide(&ephemeral.public()).to_vec();
    message.extend_from_slice(&sealed);
    append_padding(&mut message, padding, &mut noise, cx);
    let local = Arc::clone(local);
    Ok((message, AwaitSessionCreated { noise, obfuscation, ephemeral, local, payload, sent: cx.now.mono }))
}

/// What message 3 will say: our RouterInfo, and padding.
fn confirmed_payload(local: &Local, cx: &mut Cx<'_>) -> Vec<u8> {
    let info = Block::RouterInfo { flood: false, bytes: local.router_info.bytes() };
    let padding = cx.rng.up_to(MAX_OWN_PADDING) as usize;
    let mut w = Writer::with_capacity(local.router_info.bytes().len() + padding + 4 * BLOCK_HEADER + TAG_LEN);
    w.write(&info);
    w.write(&Block::Padding(padding));
    w.into_vec()
}

/// Appends random bytes and binds them into the handshake.
pub(super) fn append_padding(message: &mut Vec<u8>, n: usize, noise: &mut SymmetricState, cx: &mut Cx<'_>) {
    let start = message.len();
    message.resize(start + n, 0);
    cx.rng.fill(&mut message[start..]);
    if n > 0 {
        noise.mix_hash(&message[start..]);
    }
}

impl AwaitSessionCreated {
    /// Reads the 64 bytes of message 2 before its padding. What Bob's clock shows goes to `clock` (his minus ours,
    /// in milliseconds), also when it is too far from ours to go on.
    pub(crate) fn on_session_created(
        mut self,
        message: &mut [u8],
        limits: &Limits,
        clock: &mut Option<i64>,
        cx: &Cx<'_>,
    ) -> Result<AwaitCreatedPadding, PeerMisbehaved> {
        let (hidden, sealed) = message.split_at_mut(32);
        let bob = self.obfuscation.reveal(hidden)?;
        self.noise.mix_hash(&bob.0);
        self.noise.mix_key(&self.ephemeral.diffie_hellman(&bob)?);
        self.noise.decrypt_and_hash(sealed)?;
        let options = CreatedOptions::from_bytes(&sealed[..OPTIONS_LEN])?;
        if options.padding > limits.handshake_padding {
            return Err(PeerMisbehaved::Padding);
        }
        let travel = cx.now.mono.since(self.sent) / 2;
        *clock = Some(skew_millis(options.timestamp, travel, cx.now.wall));
        check_skew(skew(options.timestamp, travel, cx.now.wall), limits.clock_skew_secs)?;
        let Self { noise, local, payload, .. } = self;
        Ok(AwaitCreatedPadding { noise, local, payload, bob, padding: usize::from(options.padding) })
    }
}

impl AwaitCreatedPadding {
    /// Bytes of padding to wait for.
    pub(crate) const fn padding(&self) -> usize {
        self.padding
    }

    /// Reads the padding; writes message 3.
    pub(crate) fn on_padding(mut self, padding: &[u8]) -> Result<(Vec<u8>, DataPhase), PeerMisbehaved> {
        if !padding.is_empty() {
            self.noise.mix_hash(padding);
        }
        let mut message = self.local.static_key.public().0.to_vec();
        self.noise.encrypt_and_hash(&mut message);
        self.noise.mix_key(&self.local.static_key.diffie_hellman(&self.bob)?);
        self.noise.encrypt_and_hash(&mut self.payload);
        message.extend_from_slice(&self.payload);
        Ok((message, DataPhase::initiator(&self.noise)))
    }
}
