//! Alice: who dials (`ssu2#tokenrequest-type-10` to `ssu2#sessionconfirmed-type-2`).
//!
//! Packets that are not authentic change nothing: the true one may still come.

use std::net::SocketAddr;
use std::sync::Arc;

use aioli_core::crypto::Secret;
use aioli_core::crypto::noise::{self, SymmetricState};
use aioli_core::crypto::ssu2::{self as keys, DataKeys};
use aioli_core::crypto::x25519::{PrivateKey, PublicKey};
use aioli_core::{Cx, Date, Duration, Instant};
use aioli_wire::ssu2::{
    Block, Blocks, ConnectionId, LONG_HEADER, LongHeader, NewToken, PacketType, RouterInfoBlock,
    TerminationReason, ip_overhead,
};
use aioli_wire::{Wire, Writer, gzip};

use super::packet::{
    LONG_AND_KEY, Long, ephemeral_key, long_header, mask_long, open_with_intro, seal_with_intro,
};
use super::{Local, Remote, confirmed};
use crate::handshake::{PeerMisbehaved, check_skew, skew, skew_millis};

/// Most bytes of padding that we append to a handshake packet.
pub(super) const MAX_PADDING: u64 = 31;
/// So many pieces of a SessionConfirmed are read by all implementations.
const COMMON_PIECES: usize = 2;

/// Both names of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ids {
    /// In packets to us.
    pub(super) ours: ConnectionId,
    /// In packets to the peer.
    pub(super) theirs: ConnectionId,
}

/// A TokenRequest is sent.
#[derive(Debug)]
pub(super) struct AwaitRetry {
    pub(super) ids: Ids,
    /// To be sent again as it is.
    pub(super) packet: Vec<u8>,
    sent: Instant,
}

/// A SessionRequest is sent.
#[derive(Debug)]
pub(super) struct AwaitSessionCreated {
    pub(super) ids: Ids,
    /// To be sent again as it is.
    pub(super) packet: Vec<u8>,
    noise: SymmetricState,
    ephemeral: PrivateKey,
    header_key: Secret<32>,
    sent: Instant,
}

/// What Bob says in a Retry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retry {
    pub(super) token: u64,
    /// Why not, if he refuses.
    pub(super) refused: Option<TerminationReason>,
    date: Date,
}

/// Bob has proven who he is; SessionConfirmed is to be sent.
#[derive(Debug)]
pub(super) struct Established {
    /// SessionConfirmed, in pieces; to be sent again as they are.
    pub(super) confirmed: Vec<Vec<u8>>,
    pub(super) send: DataKeys,
    pub(super) receive: DataKeys,
    pub(super) ids: Ids,
    pub(super) observed: Option<SocketAddr>,
    /// For a later session.
    pub(super) token: Option<NewToken>,
    /// Our name at Bob, if he introduces others to us.
    pub(super) tag: Option<u32>,
    pub(super) rtt: Duration,
    /// Bob's clock minus ours, in milliseconds.
    pub(super) ahead_ms: i64,
}

/// A handshake step that failed: the state that goes on waiting, and why.
#[derive(Debug)]
pub(super) struct Failed<S> {
    pub(super) state: S,
    pub(super) why: PeerMisbehaved,
}

impl Ids {
    pub(super) fn draw(cx: &mut Cx<'_>) -> Self {
        loop {
            let ids = Self { ours: ConnectionId(cx.rng.u64()), theirs: ConnectionId(cx.rng.u64()) };
            if ids.ours != ids.theirs {
                return ids;
            }
        }
    }
}

/// Asks for a token.
pub(super) fn token_request(local: &Local, remote: &Remote, ids: Ids, cx: &mut Cx<'_>) -> AwaitRetry {
    let header = header(PacketType::TokenRequest, ids, local, 0, cx);
    let blocks = [Block::DateTime(cx.now.wall), Block::Padding(cx.rng.up_to(MAX_PADDING) as usize)];
    let packet = seal_with_intro(&header, &remote.intro_key, &blocks);
    AwaitRetry { ids, packet, sent: cx.now.mono }
}

/// Asks for a session and, if `wants_tag`, for a name under which Bob introduces others to us.
pub(super) fn session_request(
    local: &Local,
    remote: &Remote,
    ids: Ids,
    token: u64,
    wants_tag: bool,
    cx: &mut Cx<'_>,
) -> Result<AwaitSessionCreated, PeerMisbehaved> {
    let header = header(PacketType::SessionRequest, ids, local, token, cx);
    let ephemeral = PrivateKey::generate(cx.rng);
    let mut noise = SymmetricState::new(noise::SSU2);
    noise.mix_hash(&remote.static_key.0);
    noise.mix_hash(&header.to_bytes());
    noise.mix_hash(&ephemeral.public().0);
    noise.mix_key(&ephemeral.diffie_hellman(&remote.static_key)?);
    let (date, padding) = (Block::DateTime(cx.now.wall), Block::Padding(cx.rng.up_to(MAX_PADDING) as usize));
    let (plain, with_tag) = ([date, padding], [date, Block::RelayTagRequest, padding]);
    let blocks = if wants_tag { with_tag.as_slice() } else { plain.as_slice() };
    let key = &remote.intro_key.0;
    let packet = noise_packet(&header, &ephemeral.public(), blocks, &mut noise, key, key);
    let header_key = keys::created_header_key(&noise);
    Ok(AwaitSessionCreated { ids, packet, noise, ephemeral, header_key, sent: cx.now.mono })
}

fn header(kind: PacketType, ids: Ids, local: &Local, token: u64, cx: &mut Cx<'_>) -> LongHeader {
    LongHeader {
        destination: ids.theirs,
        packet_number: cx.rng.u32(),
        kind,
        net_id: local.net_id,
        source: ids.ours,
        token,
    }
}

/// A SessionRequest or SessionCreated: its header and key are mixed in already.
pub(super) fn noise_packet(
    header: &LongHeader,
    ephemeral: &PublicKey,
    blocks: &[Block<'_>],
    noise: &mut SymmetricState,
    key1: &[u8; 32],
    key2: &[u8; 32],
) -> Vec<u8> {
    let mut w = Writer::with_capacity(200);
    w.write(header);
    w.bytes(&ephemeral.0);
    blocks.iter().for_each(|b| w.write(b));
    let mut packet = w.into_vec();
    let tag = noise.encrypt_and_hash_slice(&mut packet[LONG_AND_KEY..]);
    packet.extend_from_slice(&tag);
    mask_long(&mut packet, key1, key2, true);
    packet
}

/// Reads what must be a Retry in answer to `ids`. `sent` is when we asked.
fn read_retry(
    packet: &mut [u8],
    ids: Ids,
    local: &Local,
    remote: &Remote,
    limit: u32,
    sent: Instant,
    cx: &Cx<'_>,
) -> Result<Retry, PeerMisbehaved> {
    let key = &remote.intro_key.0;
    let long = long_header(packet, key, key)?;
    check_answer(&long, PacketType::Retry, ids, local)?;
    let payload = open_with_intro(&long, &remote.intro_key, packet)?;
    let mut retry = Retry { token: long.header.token, refused: None, date: Date::NULL };
    let mut dated = false;
    for block in Blocks::new(payload) {
        let block = block?;
        if let Block::DateTime(date) = block {
            retry.date = date;
            dated = true;
        } else if let Block::Termination { reason, .. } = block {
            retry.refused = Some(reason);
        }
    }
    if !dated {
        return Err(PeerMisbehaved::MissingBlock);
    }
    let travel = cx.now.mono.since(sent) / 2;
    check_skew(skew(retry.date, travel, cx.now.wall), limit)?;
    if retry.token == 0 && retry.refused.is_none() {
        return Err(PeerMisbehaved::MissingBlock);
    }
    Ok(retry)
}

fn check_answer(long: &Long, kind: PacketType, ids: Ids, local: &Local) -> Result<(), PeerMisbehaved> {
    let header = &long.header;
    if header.kind != kind {
        return Err(PeerMisbehaved::OutOfTurn);
    }
    if header.net_id != local.net_id {
        return Err(PeerMisbehaved::NetId);
    }
    if header.destination != ids.ours || header.source != ids.theirs {
        return Err(PeerMisbehaved::ConnectionIds);
    }
    Ok(())
}

impl AwaitRetry {
    /// Reads a Retry.
    pub(super) fn on_retry(
        &self,
        packet: &mut [u8],
        local: &Local,
        remote: &Remote,
        limit: u32,
        cx: &Cx<'_>,
    ) -> Result<Retry, PeerMisbehaved> {
        read_retry(packet, self.ids, local, remote, limit, self.sent, cx)
    }
}

impl AwaitSessionCreated {
    /// Reads a Retry: Bob did not like the token.
    pub(super) fn on_retry(
        &self,
        packet: &mut [u8],
        local: &Local,
        remote: &Remote,
        limit: u32,
        cx: &Cx<'_>,
    ) -> Result<Retry, PeerMisbehaved> {
        read_retry(packet, self.ids, local, remote, limit, self.sent, cx)
    }

    /// Whether the packet has the header of an answer to ours.
    pub(super) fn is_session_created(&self, packet: &[u8], remote: &Remote) -> bool {
        long_header(packet, &remote.intro_key.0, self.header_key.as_bytes())
            .is_ok_and(|long| long.header.kind == PacketType::SessionCreated)
    }

    /// Reads SessionCreated; writes SessionConfirmed.
    pub(super) fn on_session_created(
        self: Box<Self>,
        packet: &mut [u8],
        local: &Local,
        remote: &Remote,
        limit: u32,
        cx: &mut Cx<'_>,
    ) -> Result<Established, Failed<Box<Self>>> {
        match self.read(packet, local, remote, limit, cx) {
            Ok(established) => Ok(established),
            Err(why) => Err(Failed { state: self, why }),
        }
    }

    fn read(
        &self,
        packet: &mut [u8],
        local: &Local,
        remote: &Remote,
        limit: u32,
        cx: &mut Cx<'_>,
    ) -> Result<Established, PeerMisbehaved> {
        let (key1, key2) = (&remote.intro_key.0, self.header_key.as_bytes());
        let long = long_header(packet, key1, key2)?;
        check_answer(&long, PacketType::SessionCreated, self.ids, local)?;
        let bob = PublicKey(ephemeral_key(packet, key2)?);
        let mut noise = self.noise.clone();
        noise.mix_hash(&long.bytes);
        noise.mix_hash(&bob.0);
        noise.mix_key(&self.ephemeral.diffie_hellman(&bob)?);
        let sealed = &mut packet[LONG_AND_KEY..];
        let len = noise.decrypt_and_hash(sealed)?;
        let rtt = cx.now.mono.since(self.sent);
        let Created { observed, token, tag, ahead_ms } = read_created(&sealed[..len], rtt, limit, cx)?;

        let payload = confirmed_payload(local, cx);
        let header_key = keys::confirmed_header_key(&noise);
        let room = |mtu: u16| usize::from(mtu) - ip_overhead(&remote.address.ip());
        // The least MTU is sure to pass; more pieces than all can read are worse.
        let least = room(aioli_wire::ssu2::MIN_MTU);
        let datagram =
            if confirmed::pieces(payload.len(), least) > COMMON_PIECES { room(remote.mtu) } else { least };
        let whole = confirmed::Whole { noise: &mut noise, static_key: &local.static_key, bob: &bob, payload };
        let packets = whole.into_packets(self.ids.theirs, datagram, key1, header_key.as_bytes())?;
        let (send, receive) = keys::data_keys(&noise);
        Ok(Established {
            confirmed: packets,
            send,
            receive,
            ids: self.ids,
            observed,
            token,
            tag,
            rtt,
            ahead_ms,
        })
    }
}

/// What Bob says in SessionCreated.
#[derive(Default)]
struct Created {
    /// Where our packets seem to come from.
    observed: Option<SocketAddr>,
    token: Option<NewToken>,
    tag: Option<u32>,
    /// His clock minus ours, in milliseconds.
    ahead_ms: i64,
}

fn read_created(payload: &[u8], rtt: Duration, limit: u32, cx: &Cx<'_>) -> Result<Created, PeerMisbehaved> {
    let (mut date, mut created) = (None, Created::default());
    for block in Blocks::new(payload) {
        let block = block?;
        if let Block::DateTime(d) = block {
            date = Some(d);
        } else if let Block::Address(address) = block {
            created.observed = Some(address);
        } else if let Block::NewToken(new) = block {
            created.token = Some(new);
        } else if let Block::RelayTag(tag) = block {
            created.tag = Some(tag);
        } else if let Block::Termination { reason, .. } = block {
            return Err(PeerMisbehaved::Refused(reason));
        }
    }
    let date = date.ok_or(PeerMisbehaved::MissingBlock)?;
    check_skew(skew(date, rtt / 2, cx.now.wall), limit)?;
    created.ahead_ms = skew_millis(date, rtt / 2, cx.now.wall);
    Ok(created)
}

/// What SessionConfirmed says: our RouterInfo, compressed if that helps, and padding.
fn confirmed_payload(local: &Local, cx: &mut Cx<'_>) -> Vec<u8> {
    let plain = local.router_info.bytes();
    let packed = gzip::compress(plain);
    let gzip = packed.len() < plain.len();
    let bytes = if gzip { packed.as_slice() } else { plain };
    let mut w = Writer::with_capacity(bytes.len() + 64);
    w.write(&Block::RouterInfo(RouterInfoBlock { flood: false, gzip, bytes }));
    w.write(&Block::Padding(cx.rng.up_to(MAX_PADDING) as usize));
    w.into_vec()
}

/// Shares what a handshake needs for long.
pub(super) type SharedLocal = Arc<Local>;

const _: () = assert!(LONG_HEADER + 32 == LONG_AND_KEY);
