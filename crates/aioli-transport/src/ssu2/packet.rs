//! Packets as they travel: masks over headers, and payloads sealed under them
//! (`ssu2#header-encryption-kdf`, `ssu2#authenticated-encryption`).

use aioli_core::crypto::aead::ChaChaKey;
use aioli_core::crypto::ssu2::DataKeys;
use aioli_core::crypto::{Secret, chacha20};
use aioli_wire::ssu2::{
    Block, ConnectionId, LONG_HEADER, LongHeader, MIN_PACKET, MIN_PAYLOAD, SHORT_HEADER, ShortHeader,
    TAG_LEN, VERSION,
};
use aioli_wire::{Wire, Writer};

use super::{IntroKey, PeerMisbehaved};

/// Bytes of a long header and an ephemeral key.
pub(super) const LONG_AND_KEY: usize = LONG_HEADER + 32;

/// Where a long header says the version.
const VERSION_AT: usize = 13;

/// A long header, read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Long {
    pub(super) header: LongHeader,
    /// Its bytes without masks: what is authenticated.
    pub(super) bytes: [u8; LONG_HEADER],
}

/// Whom a packet is for, if its first key is this. Packets are at least [`MIN_PACKET`] long.
pub(super) fn destination(packet: &[u8], key: &IntroKey) -> ConnectionId {
    let mut id = [0; 8];
    id.copy_from_slice(&packet[..8]);
    xor(&mut id, chacha20::mask(&key.0, &sample(packet, 24)));
    ConnectionId(u64::from_be_bytes(id))
}

/// Puts on or takes off the masks over the first 16 bytes.
pub(super) fn mask_short(packet: &mut [u8], key1: &[u8; 32], key2: &[u8; 32]) {
    debug_assert!(packet.len() >= MIN_PACKET, "payloads are padded to a minimum");
    let mask1 = chacha20::mask(key1, &sample(packet, 24));
    let mask2 = chacha20::mask(key2, &sample(packet, 12));
    xor(&mut packet[..8], mask1);
    xor(&mut packet[8..16], mask2);
}

/// Puts on the masks over a long header and, if `with_key`, the ephemeral key behind it.
pub(super) fn mask_long(packet: &mut [u8], key1: &[u8; 32], key2: &[u8; 32], with_key: bool) {
    mask_short(packet, key1, key2);
    let end = if with_key { LONG_AND_KEY } else { LONG_HEADER };
    chacha20::xor(key2, &[0; 12], &mut packet[SHORT_HEADER..end]);
}

/// Takes the masks off a long header, in a copy.
///
/// # Errors
/// If it is none under these keys.
pub(super) fn long_header(packet: &[u8], key1: &[u8; 32], key2: &[u8; 32]) -> Result<Long, PeerMisbehaved> {
    if packet.len() < LONG_HEADER + MIN_PAYLOAD + TAG_LEN {
        return Err(PeerMisbehaved::Length);
    }
    long_header_to(packet, destination(packet, &IntroKey(*key1)), key2)
}

/// The same of a packet whose first mask is off: it is for `to`.
///
/// # Errors
/// If it is none under this key.
pub(super) fn long_header_to(
    packet: &[u8],
    to: ConnectionId,
    key2: &[u8; 32],
) -> Result<Long, PeerMisbehaved> {
    if packet.len() < LONG_HEADER + MIN_PAYLOAD + TAG_LEN {
        return Err(PeerMisbehaved::Length);
    }
    let mut bytes = [0; LONG_HEADER];
    bytes.copy_from_slice(&packet[..LONG_HEADER]);
    bytes[..8].copy_from_slice(&to.0.to_be_bytes());
    xor(&mut bytes[8..16], chacha20::mask(key2, &sample(packet, 12)));
    // Garbage goes no further.
    if bytes[VERSION_AT] != VERSION {
        return Err(PeerMisbehaved::Version);
    }
    chacha20::xor(key2, &[0; 12], &mut bytes[SHORT_HEADER..]);
    Ok(Long { header: LongHeader::from_bytes(&bytes)?, bytes })
}

/// The ephemeral key of a SessionRequest or SessionCreated.
pub(super) fn ephemeral_key(packet: &[u8], key2: &[u8; 32]) -> Result<[u8; 32], PeerMisbehaved> {
    if packet.len() < LONG_AND_KEY + MIN_PAYLOAD + TAG_LEN {
        return Err(PeerMisbehaved::Length);
    }
    let mut bytes = [0; 48];
    bytes.copy_from_slice(&packet[SHORT_HEADER..LONG_AND_KEY]);
    chacha20::xor(key2, &[0; 12], &mut bytes);
    let mut key = [0; 32];
    key.copy_from_slice(&bytes[16..]);
    if key[31] & 0x80 != 0 {
        return Err(PeerMisbehaved::KeyTopBit);
    }
    Ok(key)
}

/// A packet sealed with an introduction key: TokenRequest, Retry and those without a session.
pub(super) fn seal_with_intro(header: &LongHeader, key: &IntroKey, blocks: &[Block<'_>]) -> Vec<u8> {
    let mut w = Writer::with_capacity(160);
    w.write(header);
    blocks.iter().for_each(|b| w.write(b));
    let mut packet = w.into_vec();
    pad_to_minimum(&mut packet, LONG_HEADER);
    seal(packet, header, key)
}

fn seal(mut packet: Vec<u8>, header: &LongHeader, key: &IntroKey) -> Vec<u8> {
    let (ad, payload) = packet.split_at_mut(LONG_HEADER);
    let tag = ChaChaKey::new(&key.0).seal_slice(u64::from(header.packet_number), ad, payload);
    packet.extend_from_slice(&tag);
    mask_long(&mut packet, &key.0, &key.0, false);
    packet
}

/// The same with any payload.
#[cfg(test)]
pub(super) fn seal_raw(header: &LongHeader, key: &IntroKey, payload: &[u8]) -> Vec<u8> {
    let mut packet = header.to_bytes();
    packet.extend_from_slice(payload);
    seal(packet, header, key)
}

/// The payload of a packet that was sealed with an introduction key.
pub(super) fn open_with_intro<'a>(
    long: &Long,
    key: &IntroKey,
    packet: &'a mut [u8],
) -> Result<&'a [u8], PeerMisbehaved> {
    let sealed = &mut packet[LONG_HEADER..];
    let nonce = u64::from(long.header.packet_number);
    let len = ChaChaKey::new(&key.0).open_in_place(nonce, &long.bytes, sealed)?;
    Ok(&sealed[..len])
}

/// Appends a Padding block if the payload that begins at `start` is too short for masks.
pub(super) fn pad_to_minimum(packet: &mut Vec<u8>, start: usize) {
    let len = packet.len() - start;
    if len < MIN_PAYLOAD {
        let padding = Block::Padding((MIN_PAYLOAD - len).saturating_sub(aioli_wire::ssu2::BLOCK_HEADER));
        let mut w = Writer::append_to(std::mem::take(packet));
        w.write(&padding);
        *packet = w.into_vec();
    }
}

/// The direction that we send.
#[derive(Debug)]
pub(super) struct Sealer {
    data: ChaChaKey,
    key1: IntroKey,
    key2: Secret<32>,
}

impl Sealer {
    pub(super) fn new(keys: &DataKeys, receiver: IntroKey) -> Self {
        Self { data: ChaChaKey::new(keys.data.as_bytes()), key1: receiver, key2: keys.header.clone() }
    }

    /// Seals the packet that is all of `out` from `start`, its header in plain.
    pub(super) fn seal(&self, out: &mut Vec<u8>, start: usize, number: u32) {
        pad_to_minimum(out, start + SHORT_HEADER);
        let (ad, payload) = out[start..].split_at_mut(SHORT_HEADER);
        let tag = self.data.seal_slice(u64::from(number), ad, payload);
        out.extend_from_slice(&tag);
        mask_short(&mut out[start..], &self.key1.0, self.key2.as_bytes());
    }
}

/// The direction that we receive. What hides connection ids is [`destination`]'s.
#[derive(Debug)]
pub(super) struct Opener {
    data: ChaChaKey,
    key2: Secret<32>,
}

/// The header of a data packet, its masks off.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unmasked {
    pub(super) number: u32,
    pub(super) immediate_ack: bool,
    bytes: [u8; SHORT_HEADER],
}

impl Unmasked {
    /// Whether flags are set that mean nothing yet.
    pub(super) const fn has_strange_flags(&self) -> bool {
        self.bytes[13] > 1 || self.bytes[14] != 0 || self.bytes[15] != 0
    }
}

impl Opener {
    pub(super) fn new(keys: &DataKeys) -> Self {
        Self { data: ChaChaKey::new(keys.data.as_bytes()), key2: keys.header.clone() }
    }

    /// Reads the header of a data packet for `destination`.
    ///
    /// # Errors
    /// If it is none of this session.
    pub(super) fn header(
        &self,
        packet: &[u8],
        destination: ConnectionId,
    ) -> Result<Unmasked, PeerMisbehaved> {
        let mut bytes = [0; SHORT_HEADER];
        bytes[..8].copy_from_slice(&destination.0.to_be_bytes());
        bytes[8..].copy_from_slice(&packet[8..SHORT_HEADER]);
        xor(&mut bytes[8..], chacha20::mask(self.key2.as_bytes(), &sample(packet, 12)));
        let ShortHeader::Data { packet_number, immediate_ack, .. } = ShortHeader::from_bytes(&bytes)? else {
            return Err(PeerMisbehaved::OutOfTurn);
        };
        Ok(Unmasked { number: packet_number, immediate_ack, bytes })
    }

    /// Opens a data packet in place; its payload.
    ///
    /// # Errors
    /// If it is not authentic.
    pub(super) fn open<'a>(
        &self,
        packet: &'a mut [u8],
        header: &Unmasked,
    ) -> Result<&'a [u8], PeerMisbehaved> {
        let sealed = &mut packet[SHORT_HEADER..];
        let len = self.data.open_in_place(u64::from(header.number), &header.bytes, sealed)?;
        Ok(&sealed[..len])
    }
}

/// Twelve bytes that begin `from_end` before the end.
fn sample(packet: &[u8], from_end: usize) -> [u8; 12] {
    let mut out = [0; 12];
    let start = packet.len() - from_end;
    out.copy_from_slice(&packet[start..start + 12]);
    out
}

fn xor(bytes: &mut [u8], mask: [u8; 8]) {
    bytes.iter_mut().zip(mask).for_each(|(b, m)| *b ^= m);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// i2pr tests/fixtures/ssu2/header-protection-request.hex; PROTOCOL section 19.
    #[test]
    fn masks_of_another_implementation_come_off() {
        let packet = hex::decode(concat!(
            "e58607146df6fdba3a29baff68f2f8b24874f73f08a224d5eca15434ff2fa8b8",
            "9f8685f88bb4853ddeec2ef46d9101eea28e09cb7bf92214cb698878016db752",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        ))
        .unwrap();
        let key = [0x42; 32];
        let long = long_header(&packet, &key, &key).unwrap();
        assert_eq!(long.header.destination, ConnectionId(0x0102_0304_0506_0708));
        assert_eq!(long.header.source, ConnectionId(0x1112_1314_1516_1718));
        assert_eq!((long.header.packet_number, long.header.token), (0xdead_beef, 0));
        assert_eq!(destination(&packet, &IntroKey(key)), long.header.destination);
        assert_eq!(ephemeral_key(&packet, &key).unwrap(), [0x21; 32]);

        let mut again = packet.clone();
        again[..32].copy_from_slice(&long.bytes);
        again[32..64].copy_from_slice(&[0x21; 32]);
        mask_long(&mut again, &key, &key, true);
        assert_eq!(again, packet);
    }

    #[test]
    fn a_data_packet_opens_only_unchanged() {
        let keys = DataKeys { data: Secret::new([1; 32]), header: Secret::new([2; 32]) };
        let (sealer, opener) = (Sealer::new(&keys, IntroKey([3; 32])), Opener::new(&keys));
        let header =
            ShortHeader::Data { destination: ConnectionId(9), packet_number: 7, immediate_ack: true };
        let mut packet = header.to_bytes();
        packet.extend_from_slice(b"payload");
        sealer.seal(&mut packet, 0, 7);
        assert_eq!(packet.len(), 16 + 10 + 16, "padded to ten: a block of nothing");
        for bit in 0..packet.len() * 8 {
            let mut bad = packet.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let to = destination(&bad, &IntroKey([3; 32]));
            let header = opener.header(&bad, to);
            assert!(header.and_then(|h| opener.open(&mut bad, &h).map(drop)).is_err(), "bit {bit}");
        }
        assert_eq!(destination(&packet, &IntroKey([3; 32])), ConnectionId(9));
        let header = opener.header(&packet, ConnectionId(9)).unwrap();
        assert_eq!((header.number, header.immediate_ack), (7, true));
        assert!(opener.open(&mut packet, &header).unwrap().starts_with(b"payload"));
    }
}
