//! SessionConfirmed: sealed whole, cut into pieces that fit the path, and put
//! together again (`ssu2#session-confirmed-fragmentation`).

use std::collections::BTreeMap;

use aioli_core::crypto::noise::SymmetricState;
use aioli_core::crypto::x25519::{PrivateKey, PublicKey};
use aioli_wire::ssu2::{ConnectionId, Fragment, MIN_PAYLOAD, SHORT_HEADER, ShortHeader, TAG_LEN};
use aioli_wire::{Wire, Writer};

use super::PeerMisbehaved;
use super::packet::mask_short;

/// Static key and its tag.
pub(super) const PART1: usize = 32 + TAG_LEN;
/// Pieces that the header can count.
const MAX_PIECES: usize = 15;
/// Header protection samples the end of each piece.
const MIN_PIECE: usize = MIN_PAYLOAD + TAG_LEN;

/// What goes into a SessionConfirmed.
pub(super) struct Whole<'a> {
    pub(super) noise: &'a mut SymmetricState,
    pub(super) static_key: &'a PrivateKey,
    pub(super) bob: &'a PublicKey,
    pub(super) payload: Vec<u8>,
}

/// Pieces for a payload, in datagrams of this size.
pub(super) const fn pieces(payload: usize, datagram: usize) -> usize {
    (PART1 + payload + TAG_LEN).div_ceil(datagram - SHORT_HEADER)
}

impl Whole<'_> {
    /// Seals it and cuts it into packets of at most `datagram` bytes.
    pub(super) fn into_packets(
        self,
        destination: ConnectionId,
        datagram: usize,
        key1: &[u8; 32],
        key2: &[u8; 32],
    ) -> Result<Vec<Vec<u8>>, PeerMisbehaved> {
        let total = pieces(self.payload.len(), datagram);
        if total > MAX_PIECES {
            return Err(PeerMisbehaved::Length);
        }
        let header = |number: usize| ShortHeader::Confirmed {
            destination,
            fragment: Fragment { number: number as u8, total: total as u8 },
        };
        self.noise.mix_hash(&header(0).to_bytes());
        let mut sealed = self.static_key.public().0.to_vec();
        self.noise.encrypt_and_hash(&mut sealed);
        self.noise.mix_key(&self.static_key.diffie_hellman(self.bob)?);
        let mut payload = self.payload;
        self.noise.encrypt_and_hash(&mut payload);
        sealed.extend_from_slice(&payload);

        let room = datagram - SHORT_HEADER;
        let mut rest = sealed.as_slice();
        let mut packets = Vec::with_capacity(total);
        for number in 0..total {
            // The last piece must not be too short: the one before gives some of its bytes.
            let short = MIN_PIECE.saturating_sub(rest.len().saturating_sub(room));
            let last_but_one = number + 2 == total;
            let take = rest.len().min(if last_but_one { room - short } else { room });
            let (piece, later) = rest.split_at(take);
            rest = later;
            let mut w = Writer::with_capacity(SHORT_HEADER + piece.len());
            w.write(&header(number));
            w.bytes(piece);
            let mut packet = w.into_vec();
            mask_short(&mut packet, key1, key2);
            packets.push(packet);
        }
        Ok(packets)
    }
}

/// Pieces of a SessionConfirmed that have come.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    total: u8,
    pieces: BTreeMap<u8, Vec<u8>>,
    /// The header of the first, without masks.
    header: [u8; SHORT_HEADER],
    bytes: usize,
}

/// All of it: its header, which is authenticated, and what is sealed.
#[derive(Debug)]
pub(super) struct Assembled {
    pub(super) header: [u8; SHORT_HEADER],
    pub(super) sealed: Vec<u8>,
}

impl Pieces {
    /// Takes a packet that may be a piece. All of it, if that was the last one missing.
    ///
    /// Pieces are not authentic one by one: the whole may fail and must then be
    /// given to [`Self::clear`].
    pub(super) fn insert(
        &mut self,
        packet: &[u8],
        destination: ConnectionId,
        key1: &[u8; 32],
        key2: &[u8; 32],
        limit: usize,
    ) -> Result<Option<Assembled>, PeerMisbehaved> {
        let mut masked = packet.to_vec();
        mask_short(&mut masked, key1, key2);
        let header = ShortHeader::from_bytes(&masked[..SHORT_HEADER])?;
        let ShortHeader::Confirmed { destination: to, fragment } = header else {
            return Err(PeerMisbehaved::OutOfTurn);
        };
        if to != destination {
            return Err(PeerMisbehaved::ConnectionIds);
        }
        if self.total != 0 && self.total != fragment.total {
            return Err(PeerMisbehaved::Fragments);
        }
        if self.pieces.contains_key(&fragment.number) {
            return Ok(None);
        }
        let piece = masked.split_off(SHORT_HEADER);
        if self.bytes + piece.len() > limit {
            return Err(PeerMisbehaved::Length);
        }
        self.total = fragment.total;
        self.bytes += piece.len();
        if fragment.number == 0 {
            self.header.copy_from_slice(&masked);
        }
        self.pieces.insert(fragment.number, piece);
        if self.pieces.len() < usize::from(self.total) {
            return Ok(None);
        }
        let sealed = self.pieces.values().flatten().copied().collect::<Vec<_>>();
        if sealed.len() < PART1 + TAG_LEN {
            return Err(PeerMisbehaved::Length);
        }
        Ok(Some(Assembled { header: self.header, sealed }))
    }

    /// Forgets all pieces: one of them was not what it seemed.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
