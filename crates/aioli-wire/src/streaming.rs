//! Streaming packets: `streaming#packet-format`.
//!
//! ```text
//! send id 4 | receive id 4 | sequence 4 | ack through 4 | n 1 | n NACKs of 4
//! | resend delay 1 | flags 2 | option size 2 | options | payload
//!
//! options, in this order: DELAY 2 | FROM destination | MAXSIZE 2 | OFFLINE | SIG
//! ```
//!
//! A decoded [`Packet`] borrows everything. Offline section and signature have
//! lengths that follow from keys, so they stay one slice until the caller, who
//! knows the signer, takes them apart with [`Packet::signer`].

use aioli_core::crypto::sign::SigType;

use crate::{DecodeError, OfflineSignature, Reader, Wire, Writer};

/// Bits of the flags field.
pub mod flags {
    /// First packet of either direction.
    pub const SYNCHRONIZE: u16 = 1 << 0;
    /// The sender sends no more data after this packet.
    pub const CLOSE: u16 = 1 << 1;
    /// The connection is gone.
    pub const RESET: u16 = 1 << 2;
    /// A signature is the last option.
    pub const SIGNATURE_INCLUDED: u16 = 1 << 3;
    /// Unused.
    pub const SIGNATURE_REQUESTED: u16 = 1 << 4;
    /// The sender's destination is among the options.
    pub const FROM_INCLUDED: u16 = 1 << 5;
    /// A delay is the first option.
    pub const DELAY_REQUESTED: u16 = 1 << 6;
    /// The sender's largest payload is among the options.
    pub const MAX_PACKET_SIZE_INCLUDED: u16 = 1 << 7;
    /// Unused.
    pub const PROFILE_INTERACTIVE: u16 = 1 << 8;
    /// A ping or pong.
    pub const ECHO: u16 = 1 << 9;
    /// `ack through` carries nothing.
    pub const NO_ACK: u16 = 1 << 10;
    /// A transient signing key is among the options.
    pub const OFFLINE_SIGNATURE: u16 = 1 << 11;
}

/// Bytes before options and payload when there are no NACKs.
pub const MIN_HEADER: usize = 22;
/// NACKs that one packet can carry.
pub const MAX_NACKS: usize = 255;
/// Requested delays above this many milliseconds mean "stop sending".
pub const MAX_DELAY: u16 = 60_000;
/// NACK count of a SYN that carries its receiver's hash in their place.
const HASH_WORDS: u8 = 8;

/// One packet, borrowed from the bytes it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The receiver's name for the stream; 0 before it is known.
    pub send_id: u32,
    /// The sender's name for the stream.
    pub receive_id: u32,
    /// Number of the packet; 0 without SYN is a plain acknowledgement.
    pub sequence: u32,
    /// Highest number received.
    pub ack_through: u32,
    /// Numbers up to `ack_through` that are missing, 4 bytes each.
    pub nacks: Nacks<'a>,
    /// Seconds until the sender repeats the packet.
    pub resend_delay: u8,
    /// See [`flags`].
    pub flags: u16,
    /// Milliseconds to wait before acknowledging; see [`MAX_DELAY`].
    pub delay: Option<u16>,
    /// The sender's destination, undecoded.
    pub from: Option<&'a [u8]>,
    /// The largest payload that the sender wants to receive.
    pub max_size: Option<u16>,
    /// Offline section and signature.
    pub tail: &'a [u8],
    /// Where `tail` starts in the packet.
    pub tail_at: usize,
    /// The data.
    pub payload: &'a [u8],
}

/// The NACK field: sequence numbers, or in a SYN the receiver's hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Nacks<'a>(&'a [u8]);

impl<'a> Nacks<'a> {
    /// The missing numbers, in the sender's order.
    pub fn iter(self) -> impl Iterator<Item = u32> + 'a {
        self.0.chunks_exact(4).map(|c| c.iter().fold(0, |n, b| n << 8 | u32::from(*b)))
    }

    /// How many there are.
    pub const fn len(self) -> usize {
        self.0.len() / 4
    }

    /// Whether nothing is missing.
    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The receiver's hash, which a SYN carries here.
    pub fn as_hash(self) -> Option<[u8; 32]> {
        self.0.try_into().ok()
    }
}

/// Who signed a packet and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer<'a> {
    /// The transient key, if there is one.
    pub offline: Option<OfflineSignature>,
    /// The signature.
    pub signature: &'a [u8],
    /// Where it lies in the packet.
    pub at: usize,
}

impl<'a> Packet<'a> {
    /// Whether the packet has all of these [`flags`].
    pub const fn has(&self, all: u16) -> bool {
        self.flags & all == all
    }

    /// Takes offline section and signature apart, for a destination whose own
    /// key has type `own` and a stream whose transient key, if its SYN brought
    /// one, has type `transient`.
    pub fn signer(&self, own: SigType, transient: Option<SigType>) -> Result<Signer<'a>, DecodeError> {
        let mut r = Reader::new(Self::SPEC, self.tail);
        let offline =
            self.has(flags::OFFLINE_SIGNATURE).then(|| OfflineSignature::decode(&mut r, own)).transpose()?;
        let signing = offline.as_ref().map(|o| o.transient_type).or(transient).unwrap_or(own);
        let at = self.tail_at + r.at();
        let signature = r.take(signing.signature_len())?;
        Ok(Signer { offline, signature, at })
    }
}

/// What a signature covers: the packet with zeros in the signature's place.
pub fn signed_bytes(packet: &[u8], signer: &Signer<'_>) -> Vec<u8> {
    let mut out = packet.to_vec();
    let end = signer.at + signer.signature.len();
    if let Some(field) = out.get_mut(signer.at..end) {
        field.fill(0);
    }
    out
}

impl<'a> Wire<'a> for Packet<'a> {
    const SPEC: &'static str = "streaming#packet-format";

    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let start = r.at();
        let (send_id, receive_id) = (r.u32()?, r.u32()?);
        let (sequence, ack_through) = (r.u32()?, r.u32()?);
        let count = r.u8()?;
        let nacks = Nacks(r.take(usize::from(count) * 4)?);
        let resend_delay = r.u8()?;
        let bits = r.u16()?;
        let size = usize::from(r.u16()?);
        let options_at = r.at() - start;
        let mut o = r.sub(Self::SPEC, size)?;
        let delay = (bits & flags::DELAY_REQUESTED != 0).then(|| o.u16()).transpose()?;
        let from = (bits & flags::FROM_INCLUDED != 0).then(|| take_destination(&mut o)).transpose()?;
        let max_size = (bits & flags::MAX_PACKET_SIZE_INCLUDED != 0).then(|| o.u16()).transpose()?;
        let tail_at = options_at + o.at();
        let tail = o.rest();
        let payload = r.rest();
        Ok(Self {
            send_id,
            receive_id,
            sequence,
            ack_through,
            nacks,
            resend_delay,
            flags: bits,
            delay,
            from,
            max_size,
            tail,
            tail_at,
            payload,
        })
    }

    fn encode(&self, w: &mut Writer) {
        let header = Header {
            send_id: self.send_id,
            receive_id: self.receive_id,
            sequence: self.sequence,
            ack_through: self.ack_through,
            resend_delay: self.resend_delay,
            flags: self.flags,
            delay: self.delay,
            from: self.from,
            max_size: self.max_size,
        };
        header.encode(w, self.nacks.0, self.tail);
        w.bytes(self.payload);
    }
}

/// The length of a destination lies in its certificate: 384 key bytes, type 1, length 2.
fn take_destination<'a>(r: &mut Reader<'a>) -> Result<&'a [u8], DecodeError> {
    let mark = r.at();
    r.take(384 + 1)?;
    let certificate = usize::from(r.u16()?);
    r.take(certificate)?;
    Ok(r.since(mark))
}

/// All of a packet but NACKs, tail and payload: what a sender fills in.
/// Flags that follow from the options are set by the encoder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header<'a> {
    /// See [`Packet::send_id`].
    pub send_id: u32,
    /// See [`Packet::receive_id`].
    pub receive_id: u32,
    /// See [`Packet::sequence`].
    pub sequence: u32,
    /// See [`Packet::ack_through`].
    pub ack_through: u32,
    /// See [`Packet::resend_delay`].
    pub resend_delay: u8,
    /// Flags beside those that options imply.
    pub flags: u16,
    /// See [`Packet::delay`].
    pub delay: Option<u16>,
    /// See [`Packet::from`].
    pub from: Option<&'a [u8]>,
    /// See [`Packet::max_size`].
    pub max_size: Option<u16>,
}

impl Header<'_> {
    /// Appends header and options; the caller appends the payload. `nacks`
    /// holds at most [`MAX_NACKS`] numbers; more are not written.
    pub fn write(&self, w: &mut Writer, nacks: &[u32]) {
        let mut field = [0; MAX_NACKS * 4];
        let mut len = 0;
        for (slot, n) in field.chunks_exact_mut(4).zip(nacks) {
            slot.copy_from_slice(&n.to_be_bytes());
            len += 4;
        }
        self.encode(w, field.get(..len).unwrap_or(&[]), &[]);
    }

    /// Encodes a packet that is to be signed: zeros where the signature goes.
    /// Gives the bytes and where the signature goes. `receiver` is the hash
    /// that a SYN carries; `offline` vouches for a transient signing key.
    pub fn unsigned(
        &self,
        receiver: Option<&[u8; 32]>,
        offline: Option<&OfflineSignature>,
        signature_len: usize,
        payload: &[u8],
    ) -> (Vec<u8>, std::ops::Range<usize>) {
        let from = self.from.map_or(0, <[u8]>::len);
        let mut w = Writer::with_capacity(MIN_HEADER + 40 + from + signature_len + payload.len());
        let mut tail = Writer::new();
        let mut signed = Self { flags: self.flags | flags::SIGNATURE_INCLUDED, ..*self };
        if let Some(offline) = offline {
            signed.flags |= flags::OFFLINE_SIGNATURE;
            offline.encode(&mut tail);
        }
        let mut tail = tail.into_vec();
        tail.resize(tail.len() + signature_len, 0);
        signed.encode(&mut w, receiver.map_or(&[], |h| h.as_slice()), &tail);
        let end = w.len();
        w.bytes(payload);
        (w.into_vec(), end - signature_len..end)
    }

    fn encode(&self, w: &mut Writer, nacks: &[u8], tail: &[u8]) {
        let nacks = nacks.get(..(nacks.len() / 4).min(MAX_NACKS) * 4).unwrap_or(&[]);
        let mut bits = self.flags;
        let implied = [
            (flags::DELAY_REQUESTED, self.delay.is_some()),
            (flags::FROM_INCLUDED, self.from.is_some()),
            (flags::MAX_PACKET_SIZE_INCLUDED, self.max_size.is_some()),
        ];
        for (flag, present) in implied {
            bits = if present { bits | flag } else { bits & !flag };
        }
        w.u32(self.send_id);
        w.u32(self.receive_id);
        w.u32(self.sequence);
        w.u32(self.ack_through);
        w.u8(u8::try_from(nacks.len() / 4).unwrap_or(u8::MAX));
        w.bytes(nacks);
        w.u8(self.resend_delay);
        w.u16(bits);
        let size_at = w.len();
        w.u16(0);
        if let Some(delay) = self.delay {
            w.u16(delay);
        }
        if let Some(from) = self.from {
            w.bytes(from);
        }
        if let Some(max) = self.max_size {
            w.u16(max);
        }
        w.bytes(tail);
        let size = w.len() - size_at - 2;
        w.patch_u16(size_at, u16::try_from(size).unwrap_or(u16::MAX));
    }
}

/// The hash that a SYN names as its receiver, if it names one: a SYN whose
/// NACK count is 8 carries it in place of NACKs.
pub fn syn_receiver(packet: &Packet<'_>) -> Option<[u8; 32]> {
    (packet.nacks.len() == usize::from(HASH_WORDS)).then(|| packet.nacks.as_hash()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn destination(certificate: &[u8]) -> Vec<u8> {
        let mut d = vec![0x5a; 384];
        d.push(5);
        d.extend(u16::try_from(certificate.len()).unwrap().to_be_bytes());
        d.extend(certificate);
        d
    }

    #[test]
    fn a_syn_has_the_published_flags_and_order() {
        let from = destination(&[0, 7, 0, 4]);
        let header = Header {
            receive_id: 0x0102_0304,
            flags: flags::SYNCHRONIZE | flags::NO_ACK,
            from: Some(&from),
            max_size: Some(1812),
            resend_delay: 3,
            ..Header::default()
        };
        let (bytes, sig) = header.unsigned(Some(&[0xcc; 32]), None, 64, b"hello");
        let p = Packet::from_bytes(&bytes).unwrap();
        assert_eq!(p.flags, 0x04a9);
        assert_eq!((p.send_id, p.receive_id, p.sequence), (0, 0x0102_0304, 0));
        assert_eq!(syn_receiver(&p), Some([0xcc; 32]));
        assert_eq!(p.from, Some(from.as_slice()));
        assert_eq!((p.max_size, p.payload), (Some(1812), b"hello".as_slice()));
        let signer = p.signer(SigType::Ed25519, None).unwrap();
        assert_eq!(signer.at..signer.at + 64, sig);
        assert_eq!(signed_bytes(&bytes, &signer), bytes);
    }

    #[test]
    fn an_offline_section_moves_the_signature() {
        let mut tail = vec![0, 0, 0, 9, 0, 7];
        tail.extend([1; 32]);
        tail.extend([2; 40]);
        tail.extend([3; 64]);
        let bytes = Packet {
            send_id: 1,
            receive_id: 2,
            sequence: 3,
            ack_through: 4,
            nacks: Nacks(&[0, 0, 0, 5]),
            resend_delay: 0,
            flags: flags::CLOSE | flags::SIGNATURE_INCLUDED | flags::OFFLINE_SIGNATURE,
            delay: None,
            from: None,
            max_size: None,
            tail: &tail,
            tail_at: 0,
            payload: b"",
        }
        .to_bytes();
        let p = Packet::from_bytes(&bytes).unwrap();
        let s = p.signer(SigType::DsaSha1, None).unwrap();
        assert_eq!(s.signature, [3; 64]);
        let offline = s.offline.unwrap();
        assert_eq!((offline.expires.as_secs(), offline.signature.as_slice()), (9, [2; 40].as_slice()));
        assert!(p.signer(SigType::EcdsaP521, None).is_err());
    }

    #[test]
    fn more_nacks_than_fit_are_left_out() {
        let many: Vec<u32> = (0..400).collect();
        let mut w = Writer::new();
        Header::default().write(&mut w, &many);
        let bytes = w.into_vec();
        let p = Packet::from_bytes(&bytes).unwrap();
        assert!(p.nacks.iter().eq(0..255));
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_fail_and_reencode(bytes in proptest::collection::vec(any::<u8>(), 0..700)) {
            if let Ok(p) = Packet::from_bytes(&bytes) {
                let _ = p.signer(SigType::Ed25519, None);
                prop_assert_eq!(p.to_bytes(), bytes);
            }
        }

        #[test]
        fn small_headers_round_trip(bits in any::<u16>(), nacks in proptest::collection::vec(any::<u32>(), 0..20),
                                    delay in proptest::option::of(any::<u16>()), payload in any::<Vec<u8>>()) {
            let bits = bits & !(flags::FROM_INCLUDED | flags::MAX_PACKET_SIZE_INCLUDED | flags::DELAY_REQUESTED);
            let h = Header { send_id: 7, sequence: 9, flags: bits, delay, ..Header::default() };
            let mut w = Writer::new();
            h.write(&mut w, &nacks);
            w.bytes(&payload);
            let bytes = w.into_vec();
            let p = Packet::from_bytes(&bytes).unwrap();
            prop_assert_eq!((p.sequence, p.delay, p.payload), (9, delay, payload.as_slice()));
            prop_assert!(p.nacks.iter().eq(nacks));
        }
    }
}
