//! Bob: who is dialled (`ssu2#retry-type-9` to `ssu2#sessionconfirmed-type-2`).
//!
//! Before a token proves Alice's address nothing is kept of her and no more
//! than one small packet is sent.

use std::net::SocketAddr;

use aioli_core::crypto::Secret;
use aioli_core::crypto::noise::{self, SymmetricState};
use aioli_core::crypto::ssu2::{self as keys, DataKeys};
use aioli_core::crypto::x25519::{PrivateKey, PublicKey};
use aioli_core::{Cx, Date, Duration, Instant};
use aioli_wire::router_info::{MAX_ROUTER_INFO_SIZE, RouterInfo};
use aioli_wire::ssu2::{
    Block, Blocks, LongHeader, PacketType, RouterInfoBlock, Ssu2Address, TerminationReason,
};
use aioli_wire::verified::Verified;
use aioli_wire::{Wire, gzip};

use super::alice::{Failed, Ids, MAX_PADDING, SharedLocal, noise_packet};
use super::confirmed::{Assembled, PART1, Pieces};
use super::packet::{LONG_AND_KEY, Long, ephemeral_key, open_with_intro, seal_with_intro};
use super::{IntroKey, Limits, Local};
use crate::handshake::{PeerMisbehaved, check_skew, skew};
use crate::replay::ReplayCache;

/// A Retry's padding: little, so that forged requests are not worth much.
const RETRY_PADDING: u64 = 15;

/// SessionCreated is sent.
#[derive(Debug)]
pub(super) struct AwaitSessionConfirmed {
    pub(super) ids: Ids,
    pub(super) from: SocketAddr,
    /// SessionCreated, to be sent again as it is.
    pub(super) packet: Vec<u8>,
    local: SharedLocal,
    noise: SymmetricState,
    ephemeral: PrivateKey,
    header_key: Secret<32>,
    pieces: Pieces,
    sent: Instant,
    /// Alice wants to be introduced by us.
    pub(super) wants_tag: bool,
}

/// Alice has proven who she is.
#[derive(Debug)]
pub(super) struct Confirmed {
    pub(super) router_info: Verified<RouterInfo>,
    /// The address of hers that this handshake proves.
    pub(super) address: Ssu2Address,
    pub(super) send: DataKeys,
    pub(super) receive: DataKeys,
    pub(super) rtt: Duration,
    /// The blocks behind her RouterInfo.
    pub(super) rest: Vec<u8>,
}

/// What came of a packet that may be a piece of SessionConfirmed.
#[derive(Debug)]
pub(super) enum Step {
    /// More pieces are missing.
    Waiting(Box<AwaitSessionConfirmed>),
    /// The handshake is over.
    Done(Box<Confirmed>),
    /// It is authentic, and not acceptable.
    Refused(PeerMisbehaved),
}

/// A Retry: a token, or a refusal.
pub(super) fn retry(
    local: &Local,
    request: &LongHeader,
    to: SocketAddr,
    answer: Result<u64, TerminationReason>,
    cx: &mut Cx<'_>,
) -> Vec<u8> {
    let header = LongHeader {
        destination: request.source,
        packet_number: cx.rng.u32(),
        kind: PacketType::Retry,
        net_id: local.net_id,
        source: request.destination,
        token: answer.unwrap_or(0),
    };
    let padding = Block::Padding(cx.rng.up_to(RETRY_PADDING) as usize);
    let (date, address) = (Block::DateTime(cx.now.wall), Block::Address(to));
    match answer {
        Ok(_) => seal_with_intro(&header, &local.intro_key, &[date, address, padding]),
        Err(reason) => {
            let refusal = Block::Termination { received: 0, reason };
            seal_with_intro(&header, &local.intro_key, &[date, address, refusal, padding])
        }
    }
}

/// Reads a TokenRequest: only whether it is one, and its clock.
pub(super) fn on_token_request(
    long: &Long,
    packet: &mut [u8],
    local: &Local,
    limits: &Limits,
    cx: &Cx<'_>,
) -> Result<(), PeerMisbehaved> {
    let payload = open_with_intro(long, &local.intro_key, packet)?;
    check_date(payload, limits, cx)
}

fn check_date(payload: &[u8], limits: &Limits, cx: &Cx<'_>) -> Result<(), PeerMisbehaved> {
    let mut date: Option<Date> = None;
    for block in Blocks::new(payload) {
        if let Block::DateTime(d) = block? {
            date = Some(d);
        }
    }
    let date = date.ok_or(PeerMisbehaved::MissingBlock)?;
    check_skew(skew(date, Duration::ZERO, cx.now.wall), limits.clock_skew_secs)
}

/// Reads a SessionRequest whose token is good; writes SessionCreated.
pub(super) fn on_session_request(
    long: &Long,
    packet: &mut [u8],
    from: SocketAddr,
    local: &SharedLocal,
    replay: &mut ReplayCache,
    limits: &Limits,
    cx: &mut Cx<'_>,
) -> Result<AwaitSessionConfirmed, PeerMisbehaved> {
    let alice = PublicKey(ephemeral_key(packet, &local.intro_key.0)?);
    let mut noise = SymmetricState::new(noise::SSU2);
    noise.mix_hash(&local.static_key.public().0);
    noise.mix_hash(&long.bytes);
    noise.mix_hash(&alice.0);
    noise.mix_key(&local.static_key.diffie_hellman(&alice)?);
    let sealed = &mut packet[LONG_AND_KEY..];
    let len = noise.decrypt_and_hash(sealed)?;
    // Only authentic keys are worth remembering.
    if !replay.insert(alice.0, cx.now.mono) {
        return Err(PeerMisbehaved::Replay);
    }
    check_date(&sealed[..len], limits, cx)?;
    let wants_tag = Blocks::new(&sealed[..len]).any(|b| b == Ok(Block::RelayTagRequest));

    let header_key = keys::created_header_key(&noise);
    let ids = Ids { ours: long.header.destination, theirs: long.header.source };
    let header = LongHeader {
        destination: ids.theirs,
        packet_number: cx.rng.u32(),
        kind: PacketType::SessionCreated,
        net_id: local.net_id,
        source: ids.ours,
        token: 0,
    };
    let ephemeral = PrivateKey::generate(cx.rng);
    noise.mix_hash(&header.to_bytes());
    noise.mix_hash(&ephemeral.public().0);
    noise.mix_key(&ephemeral.diffie_hellman(&alice)?);
    let padding = Block::Padding(cx.rng.up_to(MAX_PADDING) as usize);
    let blocks = [Block::DateTime(cx.now.wall), Block::Address(from), padding];
    let (key1, key2) = (&local.intro_key.0, header_key.as_bytes());
    let packet = noise_packet(&header, &ephemeral.public(), &blocks, &mut noise, key1, key2);
    Ok(AwaitSessionConfirmed {
        ids,
        from,
        packet,
        local: SharedLocal::clone(local),
        header_key: keys::confirmed_header_key(&noise),
        noise,
        ephemeral,
        pieces: Pieces::default(),
        sent: cx.now.mono,
        wants_tag,
    })
}

impl AwaitSessionConfirmed {
    /// Reads a packet that may be a piece of SessionConfirmed.
    pub(super) fn on_packet(
        mut self: Box<Self>,
        packet: &[u8],
        limits: &Limits,
        cx: &Cx<'_>,
    ) -> Result<Step, Failed<Box<Self>>> {
        let (key1, key2) = (self.local.intro_key.0, self.header_key.clone());
        let whole = self.pieces.insert(packet, self.ids.ours, &key1, key2.as_bytes(), limits.confirmed_bytes);
        match whole {
            Ok(None) => Ok(Step::Waiting(self)),
            Ok(Some(whole)) => match self.on_session_confirmed(whole, limits, cx) {
                Ok(Ok(confirmed)) => Ok(Step::Done(Box::new(confirmed))),
                Ok(Err(why)) => Ok(Step::Refused(why)),
                Err(why) => {
                    self.pieces.clear();
                    Err(Failed { state: self, why })
                }
            },
            Err(why) => Err(Failed { state: self, why }),
        }
    }

    /// The outer error: it does not decrypt. The inner: what it says is not acceptable.
    fn on_session_confirmed(
        &self,
        whole: Assembled,
        limits: &Limits,
        cx: &Cx<'_>,
    ) -> Result<Result<Confirmed, PeerMisbehaved>, PeerMisbehaved> {
        let mut noise = self.noise.clone();
        noise.mix_hash(&whole.header);
        let mut sealed = whole.sealed;
        let (part1, part2) = sealed.split_at_mut(PART1);
        noise.decrypt_and_hash(part1)?;
        let mut static_key = PublicKey([0; 32]);
        static_key.0.copy_from_slice(&part1[..32]);
        noise.mix_key(&self.ephemeral.diffie_hellman(&static_key)?);
        let len = noise.decrypt_and_hash(part2)?;
        let (receive, send) = keys::data_keys(&noise);
        let rtt = cx.now.mono.since(self.sent);
        let checked = self.check(&part2[..len], &static_key, limits, cx);
        Ok(checked.map(|(router_info, address, rest)| Confirmed {
            router_info,
            address,
            send,
            receive,
            rtt,
            rest,
        }))
    }

    fn check(
        &self,
        payload: &[u8],
        static_key: &PublicKey,
        limits: &Limits,
        cx: &Cx<'_>,
    ) -> Result<(Verified<RouterInfo>, Ssu2Address, Vec<u8>), PeerMisbehaved> {
        let mut blocks = Blocks::new(payload);
        let Some(Block::RouterInfo(info)) = blocks.next().transpose()? else {
            return Err(PeerMisbehaved::MissingBlock);
        };
        let rest = blocks.rest().to_vec();
        let bytes = plain(&info)?;
        let unverified = RouterInfo::decode_unverified(&bytes)?;
        let claims = unverified.claims();
        self.local.admission(limits).check(claims, cx.now.wall)?;
        let address = claims.ssu2().find(|a| a.static_key == *static_key);
        let address = address.ok_or(PeerMisbehaved::StaticKeyMismatch)?;
        let router_info = unverified.verify().map_err(|_| PeerMisbehaved::RouterInfoSignature)?;
        Ok((router_info, address, rest))
    }
}

impl Confirmed {
    /// What hides the headers of packets to Alice.
    pub(super) const fn intro_key(&self) -> IntroKey {
        IntroKey(self.address.intro_key)
    }
}

/// The bytes of a RouterInfo block, inflated if need be.
pub(super) fn plain(info: &RouterInfoBlock<'_>) -> Result<Vec<u8>, PeerMisbehaved> {
    if info.gzip { Ok(gzip::inflate(info.bytes, MAX_ROUTER_INFO_SIZE)?) } else { Ok(info.bytes.to_vec()) }
}
