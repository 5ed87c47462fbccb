//! Bob: who is dialled (`ntcp2`, messages 1 to 3).

use std::sync::Arc;

use aioli_core::crypto::noise::{self, SymmetricState};
use aioli_core::crypto::x25519::{PrivateKey, PublicKey};
use aioli_core::{Cx, Date, Instant};
use aioli_wire::Wire;
use aioli_wire::ntcp2::{ConfirmedPayload, CreatedOptions, OPTIONS_LEN, RequestOptions, TAG_LEN, VERSION};
use aioli_wire::router_info::RouterInfo;
use aioli_wire::verified::Verified;

use super::data_phase::DataPhase;
use super::initiator::append_padding;
use super::{Local, MAX_OWN_PADDING, Obfuscation, PART1_LEN};
use crate::Limits;
use crate::handshake::{PeerMisbehaved, check_skew, skew};
use crate::replay::ReplayCache;

/// A RouterInfo block holds at least an identity, a signature and empty fields.
const MIN_PART2: u16 = 16 + 4 + 391 + 64;

/// Nothing is read yet.
#[derive(Debug)]
pub(crate) struct AwaitSessionRequest {
    pub(crate) local: Arc<Local>,
}

/// Message 1 is read but for its padding.
#[derive(Debug)]
pub(crate) struct AwaitRequestPadding {
    noise: SymmetricState,
    obfuscation: Obfuscation,
    local: Arc<Local>,
    alice: PublicKey,
    options: RequestOptions,
    /// Between the clocks, if it is too much already.
    skewed: Option<i64>,
}

/// Message 2 is sent.
#[derive(Debug)]
pub(crate) struct AwaitSessionConfirmed {
    noise: SymmetricState,
    local: Arc<Local>,
    ephemeral: PrivateKey,
    part2: usize,
    /// Her clock in message 1, and when that came.
    timestamp: Date,
    received: Date,
    sent: Instant,
}

/// Alice has proven who she is, or that her keys are good and she is not.
#[derive(Debug)]
pub(crate) struct Confirmed {
    pub(crate) data_phase: DataPhase,
    /// Whom we talk to; on an error the data phase serves to say why not.
    pub(crate) alice: Result<Alice, PeerMisbehaved>,
}

/// Who dialled us.
#[derive(Debug)]
pub(crate) struct Alice {
    pub(crate) router_info: Verified<RouterInfo>,
}

impl AwaitSessionRequest {
    /// Reads the 64 bytes of message 1 before its padding.
    pub(crate) fn on_session_request(
        self,
        message: &mut [u8],
        replay: &mut ReplayCache,
        limits: &Limits,
        cx: &Cx<'_>,
    ) -> Result<AwaitRequestPadding, PeerMisbehaved> {
        let local = self.local;
        let (hidden, sealed) = message.split_at_mut(32);
        let mut obfuscation = Obfuscation::new(&local.hash, local.iv);
        let alice = obfuscation.reveal(hidden)?;
        let mut noise = SymmetricState::new(noise::NTCP2);
        noise.mix_hash(&local.static_key.public().0);
        noise.mix_hash(&alice.0);
        noise.mix_key(&local.static_key.diffie_hellman(&alice)?);
        noise.decrypt_and_hash(sealed)?;
        // Only authentic keys are worth remembering.
        if !replay.insert(alice.0, cx.now.mono) {
            return Err(PeerMisbehaved::Replay);
        }
        let options = RequestOptions::from_bytes(&sealed[..OPTIONS_LEN])?;
        check_options(&options, &local, limits)?;
        let seconds = skew(options.timestamp, aioli_core::Duration::ZERO, cx.now.wall);
        let skewed = check_skew(seconds, limits.clock_skew_secs).is_err().then_some(seconds);
        Ok(AwaitRequestPadding { noise, obfuscation, local, alice, options, skewed })
    }
}

fn check_options(options: &RequestOptions, local: &Local, limits: &Limits) -> Result<(), PeerMisbehaved> {
    if options.net_id != local.net_id {
        return Err(PeerMisbehaved::NetId);
    }
    if options.version != VERSION {
        return Err(PeerMisbehaved::Version);
    }
    if options.padding > limits.handshake_padding {
        return Err(PeerMisbehaved::Padding);
    }
    if !(MIN_PART2..=limits.message3_part2).contains(&options.message3_part2) {
        return Err(PeerMisbehaved::Length);
    }
    Ok(())
}

impl AwaitRequestPadding {
    /// Bytes of padding to wait for.
    pub(crate) const fn padding(&self) -> usize {
        self.options.padding as usize
    }

    /// Theirs minus ours, if too much. Message 2 is sent all the same: that is
    /// how Alice learns of it.
    pub(crate) const fn skewed(&self) -> Option<i64> {
        self.skewed
    }

    /// Reads the padding; writes message 2.
    pub(crate) fn on_padding(
        mut self,
        padding: &[u8],
        cx: &mut Cx<'_>,
    ) -> Result<(Vec<u8>, AwaitSessionConfirmed), PeerMisbehaved> {
        if !padding.is_empty() {
            self.noise.mix_hash(padding);
        }
        let ephemeral = PrivateKey::generate(cx.rng);
        self.noise.mix_hash(&ephemeral.public().0);
        self.noise.mix_key(&ephemeral.diffie_hellman(&self.alice)?);
        let padding = cx.rng.up_to(MAX_OWN_PADDING) as usize;
        let mut sealed = CreatedOptions { padding: padding as u16, timestamp: cx.now.wall }.to_bytes();
        self.noise.encrypt_and_hash(&mut sealed);
        let mut message = self.obfuscation.hide(&ephemeral.public()).to_vec();
        message.extend_from_slice(&sealed);
        append_padding(&mut message, padding, &mut self.noise, cx);
        let next = AwaitSessionConfirmed {
            noise: self.noise,
            local: self.local,
            ephemeral,
            part2: usize::from(self.options.message3_part2),
            timestamp: self.options.timestamp,
            received: cx.now.wall,
            sent: cx.now.mono,
        };
        Ok((message, next))
    }
}

impl AwaitSessionConfirmed {
    /// Bytes of message 3.
    pub(crate) const fn len(&self) -> usize {
        PART1_LEN + self.part2
    }

    /// Reads message 3.
    ///
    /// # Errors
    /// If it is not authentic: then nothing can be said to the peer.
    pub(crate) fn on_session_confirmed(
        mut self,
        message: &mut [u8],
        limits: &Limits,
        cx: &Cx<'_>,
    ) -> Result<Confirmed, PeerMisbehaved> {
        let (part1, part2) = message.split_at_mut(PART1_LEN);
        self.noise.decrypt_and_hash(part1)?;
        let mut static_key = PublicKey([0; 32]);
        static_key.0.copy_from_slice(&part1[..PART1_LEN - TAG_LEN]);
        self.noise.mix_key(&self.ephemeral.diffie_hellman(&static_key)?);
        let len = self.noise.decrypt_and_hash(part2)?;
        let data_phase = DataPhase::responder(&self.noise);
        let alice = self.check(&part2[..len], &static_key, limits, cx);
        Ok(Confirmed { data_phase, alice })
    }

    fn check(
        &self,
        payload: &[u8],
        static_key: &PublicKey,
        limits: &Limits,
        cx: &Cx<'_>,
    ) -> Result<Alice, PeerMisbehaved> {
        let travel = cx.now.mono.since(self.sent) / 2;
        check_skew(skew(self.timestamp, travel, self.received), limits.clock_skew_secs)?;
        let payload = ConfirmedPayload::decode(payload)?;
        let unverified = RouterInfo::decode_unverified(payload.router_info)?;
        let claims = unverified.claims();
        self.local.admission(limits).check(claims, cx.now.wall)?;
        if !claims.ntcp2().any(|a| a.static_key == *static_key) {
            return Err(PeerMisbehaved::StaticKeyMismatch);
        }
        let router_info = unverified.verify().map_err(|_| PeerMisbehaved::RouterInfoSignature)?;
        Ok(Alice { router_info })
    }
}
