//! Tunnel build records (`tunnel-creation-ecies`).
//!
//! ```text
//! short, 218: hash prefix 16 | ephemeral 32 | request 154 | MAC 16     reply: 202 | MAC 16
//! long,  528: hash prefix 16 | ephemeral 32 | request 464 | MAC 16     reply: 512 | MAC 16
//! ```
//!
//! Short records are what we build with; long ones are read as transit only.

use std::num::NonZeroU32;

use aioli_core::{Date, Rng};

use crate::codec::{DecodeError, DecodeErrorKind, Reader, Wire, Writer};
use crate::ids::{RouterHash, TunnelId};
use crate::mapping::Mapping;

const SPEC_SHORT: &str = "tunnel-creation-ecies#short-request-record";
const SPEC_LONG: &str = "tunnel-creation-ecies#request-record";
const SPEC_MESSAGE: &str = "i2np#shorttunnelbuild";

/// A short record.
pub const SHORT_RECORD: usize = 218;
/// A long record.
pub const LONG_RECORD: usize = 528;
/// Records in a message at most.
pub const MAX_RECORDS: usize = 8;
/// The start of a router's hash, by which it finds its record.
pub const HASH_PREFIX: usize = 16;
/// The request of a short record, in the clear.
pub const SHORT_REQUEST: usize = 154;
/// The request of a long record, in the clear.
pub const LONG_REQUEST: usize = 464;
/// The reply in a short record, in the clear; its last byte is the status.
pub const SHORT_REPLY: usize = 202;
/// The reply in a long record, in the clear; its last byte is the status.
pub const LONG_REPLY: usize = 512;
/// How long every tunnel of the network lives, in seconds.
pub const TUNNEL_LIFETIME_SECS: u32 = 600;

const GATEWAY_FLAG: u8 = 0x80;
const ENDPOINT_FLAG: u8 = 0x40;

/// What a hop is in its tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// IBGW: takes messages from anyone.
    InboundGateway,
    /// Between two hops.
    Participant,
    /// OBEP: delivers.
    OutboundEndpoint,
}

impl Role {
    const fn flag(self) -> u8 {
        match self {
            Self::InboundGateway => GATEWAY_FLAG,
            Self::Participant => 0,
            Self::OutboundEndpoint => ENDPOINT_FLAG,
        }
    }

    fn from_flag(flag: u8, r: &Reader<'_>) -> Result<Self, DecodeError> {
        match flag & (GATEWAY_FLAG | ENDPOINT_FLAG) {
            0 => Ok(Self::Participant),
            GATEWAY_FLAG => Ok(Self::InboundGateway),
            ENDPOINT_FLAG => Ok(Self::OutboundEndpoint),
            _ => Err(r.invalid("role")),
        }
    }
}

/// What a router is asked to do for a tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildRequest {
    /// The tunnel's id at this hop.
    pub receive_tunnel: TunnelId,
    /// Its id at the next hop; for an OBEP, of the tunnel that carries the reply.
    pub next_tunnel: TunnelId,
    /// The next hop; for an OBEP, the gateway of the reply tunnel.
    pub next_router: RouterHash,
    /// What the hop is.
    pub role: Role,
    /// When it was asked, to the minute (short) or hour (long).
    pub requested: Date,
    /// Seconds the tunnel is to live.
    pub lifetime_secs: u32,
    /// The id of the message that carries the reply on.
    pub next_message_id: u32,
    /// Bandwidth wishes and others.
    pub options: Mapping,
}

impl BuildRequest {
    /// The request of a short record, padded with random bytes.
    pub fn encode_short(&self, rng: &mut Rng) -> [u8; SHORT_REQUEST] {
        let mut w = Writer::with_capacity(SHORT_REQUEST);
        w.write(&self.receive_tunnel);
        w.write(&self.next_tunnel);
        w.bytes(self.next_router.as_bytes());
        w.u8(self.role.flag());
        w.u16(0); // more flags
        w.u8(0); // layer encryption: AES
        w.u32(u32::try_from(self.requested.as_secs() / 60).unwrap_or(u32::MAX));
        w.u32(self.lifetime_secs);
        w.u32(self.next_message_id);
        w.write(&self.options);
        let mut out = [0; SHORT_REQUEST];
        rng.fill(&mut out);
        for (slot, byte) in out.iter_mut().zip(w.as_slice()) {
            *slot = *byte;
        }
        out
    }

    /// Reads the request of a short record.
    pub fn decode_short(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(SPEC_SHORT, bytes);
        let (receive_tunnel, next_tunnel) = (r.read()?, r.read()?);
        let next_router = RouterHash::new(r.array()?);
        let flag = r.u8()?;
        let role = Role::from_flag(flag, &r)?;
        r.u16()?;
        if r.u8()? != 0 {
            return Err(r.invalid("layer encryption type"));
        }
        let requested = Date::from_secs(u64::from(r.u32()?) * 60);
        let (lifetime_secs, next_message_id) = (r.u32()?, r.u32()?);
        // A malformed options field says nothing that we need.
        let options = r.read::<Mapping>().unwrap_or_default();
        Ok(Self {
            receive_tunnel,
            next_tunnel,
            next_router,
            role,
            requested,
            lifetime_secs,
            next_message_id,
            options,
        })
    }
}

/// What a creator asks for a tunnel's bandwidth (proposal 168), in KB/s: tunnel
/// messages of 1,024 bytes a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BandwidthWish {
    /// `m`: with less the tunnel is of no use.
    pub least: Option<u32>,
    /// `r`: what is hoped for.
    pub wanted: Option<u32>,
    /// `l`: more is to be dropped; for an IBGW only.
    pub limit: Option<u32>,
}

impl BandwidthWish {
    /// What the options of a request say. What is no positive number, or more
    /// than a later one of `m`, `r` and `l`, says nothing.
    pub fn parse(options: &Mapping) -> Self {
        let limit = rate(options, "l");
        let wanted = rate(options, "r").filter(|r| limit.is_none_or(|l| *r <= l));
        let least = rate(options, "m").filter(|m| wanted.or(limit).is_none_or(|most| *m <= most));
        Self { least, wanted, limit }
    }

    /// The options of a request for a hop of this role.
    pub fn options(&self, role: Role) -> Mapping {
        let limit = self.limit.filter(|_| role == Role::InboundGateway);
        let pairs = [("m", self.least), ("r", self.wanted), ("l", limit)];
        let pairs = pairs.into_iter().filter_map(|(key, rate)| Some((key, rate?.max(1).to_string())));
        // Three short pairs: a mapping is never full of them.
        Mapping::from_pairs(pairs).unwrap_or_default()
    }

    /// Whether an answer should say what there is.
    pub const fn wants_answer(&self) -> bool {
        self.least.is_some() || self.wanted.is_some()
    }
}

/// A rate in decimal digits: 1 KB/s to 4 TB/s.
fn rate(options: &Mapping, key: &str) -> Option<u32> {
    let text = options.get(key)?;
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|rate| digits && *rate > 0)
}

/// The keys that a long record carries in the open request.
#[derive(Clone)]
pub struct LongKeys {
    /// Layer key.
    pub layer: [u8; 32],
    /// IV key.
    pub iv: [u8; 32],
    /// Encrypts the other records.
    pub reply: [u8; 32],
    /// Its IV.
    pub reply_iv: [u8; 16],
}

/// Reads the request of a long record.
pub fn decode_long(bytes: &[u8]) -> Result<(BuildRequest, LongKeys), DecodeError> {
    let mut r = Reader::new(SPEC_LONG, bytes);
    let (receive_tunnel, next_tunnel) = (r.read()?, r.read()?);
    let next_router = RouterHash::new(r.array()?);
    let keys = LongKeys { layer: r.array()?, iv: r.array()?, reply: r.array()?, reply_iv: r.array()? };
    let flag = r.u8()?;
    let role = Role::from_flag(flag, &r)?;
    r.take(3)?; // more flags
    let requested = Date::from_secs(u64::from(r.u32()?) * 60);
    let (lifetime_secs, next_message_id) = (r.u32()?, r.u32()?);
    let options = r.read::<Mapping>().unwrap_or_default();
    let request = BuildRequest {
        receive_tunnel,
        next_tunnel,
        next_router,
        role,
        requested,
        lifetime_secs,
        next_message_id,
        options,
    };
    Ok((request, keys))
}

/// A hop's answer, to be encrypted into its record: `size` bytes with the
/// status last. `offer`: of a hop that accepts, the bandwidth there is, in KB/s.
pub fn encode_reply(size: usize, accept: bool, offer: Option<u32>, rng: &mut Rng) -> Vec<u8> {
    /// The only refusal that routers send, whatever the reason.
    const REFUSED: u8 = 30;
    let mut out = vec![0; size];
    rng.fill(&mut out);
    let offer = offer.filter(|_| accept).map(|rate| ("b", rate.to_string()));
    let options = Mapping::from_pairs(offer).unwrap_or_default();
    for (slot, byte) in out.iter_mut().zip(options.to_bytes()) {
        *slot = byte;
    }
    if let Some(status) = out.last_mut() {
        *status = if accept { 0 } else { REFUSED };
    }
    out
}

/// Whether a decrypted reply accepts. Any status but 0 refuses.
pub fn reply_accepts(reply: &[u8]) -> bool {
    reply.last() == Some(&0)
}

/// The bandwidth that a decrypted reply offers, in KB/s.
pub fn reply_offer(reply: &[u8]) -> Option<u32> {
    let options = reply.get(..reply.len().checked_sub(1)?)?;
    rate(&Reader::new(SPEC_SHORT, options).read().ok()?, "b")
}

/// The records of a build message, to be changed in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildRecords {
    record: usize,
    bytes: Vec<u8>,
}

impl BuildRecords {
    /// Records of this size, all zero.
    pub fn new(record: usize, count: usize) -> Self {
        Self { record, bytes: vec![0; record * count.min(MAX_RECORDS)] }
    }

    /// Reads a message body: a count, then as many records of this size.
    pub fn decode(body: &[u8], record: usize) -> Result<Self, DecodeError> {
        let mut r = Reader::new(SPEC_MESSAGE, body);
        let count = usize::from(r.u8()?);
        if count == 0 || count > MAX_RECORDS {
            return Err(r.error(DecodeErrorKind::Limit("records")));
        }
        let bytes = r.take(count * record)?.to_vec();
        r.finish()?;
        Ok(Self { record, bytes })
    }

    /// The message body.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::with_capacity(1 + self.bytes.len());
        w.u8(self.len() as u8);
        w.bytes(&self.bytes);
        w.into_vec()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.bytes.len() / self.record
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Record `i`; an empty slice if there is none.
    pub fn get(&self, i: usize) -> &[u8] {
        self.bytes.get(i * self.record..(i + 1) * self.record).unwrap_or_default()
    }

    /// Record `i`, to be changed; an empty slice if there is none.
    pub fn get_mut(&mut self, i: usize) -> &mut [u8] {
        self.bytes.get_mut(i * self.record..(i + 1) * self.record).unwrap_or_default()
    }

    /// Which record is for the router of this hash.
    pub fn find(&self, router: &RouterHash) -> Option<usize> {
        let prefix = router.as_bytes().first_chunk::<HASH_PREFIX>()?;
        (0..self.len()).find(|i| self.get(*i).starts_with(prefix))
    }
}

/// The next hop's tunnel id as a number that is never zero.
pub fn random_tunnel_id(rng: &mut Rng) -> TunnelId {
    let id: NonZeroU32 = rng.nonzero_u32();
    TunnelId(id)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any, prop_assert_eq, proptest};

    use super::*;

    fn request() -> impl Strategy<Value = BuildRequest> {
        (1_u32.., 1_u32.., any::<[u8; 32]>(), 0..3, 0_u32..30_000_000, any::<u32>(), any::<bool>()).prop_map(
            |(receive, next, router, role, minutes, id, wish)| BuildRequest {
                receive_tunnel: TunnelId::new(receive).unwrap(),
                next_tunnel: TunnelId::new(next).unwrap(),
                next_router: RouterHash::new(router),
                role: [Role::InboundGateway, Role::Participant, Role::OutboundEndpoint][role as usize],
                requested: Date::from_secs(u64::from(minutes) * 60),
                lifetime_secs: TUNNEL_LIFETIME_SECS,
                next_message_id: id,
                options: if wish { Mapping::from_pairs([("m", "12")]).unwrap() } else { Mapping::new() },
            },
        )
    }

    proptest! {
        #[test]
        fn short_requests_survive_the_round_trip(request in request(), seed: [u8; 32]) {
            let bytes = request.encode_short(&mut Rng::from_seed(seed));
            prop_assert_eq!(BuildRequest::decode_short(&bytes).unwrap(), request);
        }

        #[test]
        fn no_bytes_make_the_decoders_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
            let _ = BuildRequest::decode_short(&bytes);
            let _ = decode_long(&bytes);
            let _ = reply_offer(&bytes);
            for size in [SHORT_RECORD, LONG_RECORD] {
                if let Ok(records) = BuildRecords::decode(&bytes, size) {
                    prop_assert_eq!(records.encode(), bytes.clone());
                }
            }
        }
    }

    #[test]
    fn replies_say_yes_or_no() {
        let mut rng = Rng::from_seed([1; 32]);
        assert!(reply_accepts(&encode_reply(SHORT_REPLY, true, None, &mut rng)));
        let no = encode_reply(LONG_REPLY, false, Some(9), &mut rng);
        assert!(!reply_accepts(&no) && no.len() == LONG_REPLY && no.last() == Some(&30));
        assert!(!reply_accepts(&[]));
    }

    #[test]
    fn an_answer_offers_bandwidth_only_with_a_yes() {
        let mut rng = Rng::from_seed([1; 32]);
        let mut offer = |accept, offer| reply_offer(&encode_reply(SHORT_REPLY, accept, offer, &mut rng));
        assert_eq!(offer(true, Some(4_000_000_000)), Some(4_000_000_000));
        assert_eq!([offer(true, None), offer(false, Some(7))], [None, None]);
        assert_eq!(reply_offer(&[]), None);
    }

    #[test]
    fn wishes_that_make_no_sense_are_none() {
        let parse = |pairs: &[(&str, &str)]| {
            let wish = BandwidthWish::parse(&Mapping::from_pairs(pairs.iter().copied()).unwrap());
            (wish.least, wish.wanted, wish.limit)
        };
        assert_eq!(parse(&[("m", "1"), ("r", "20"), ("l", "300")]), (Some(1), Some(20), Some(300)));
        assert_eq!(parse(&[("m", "50"), ("r", "20")]), (None, Some(20), None));
        assert_eq!(parse(&[("m", "5"), ("l", "4")]), (None, None, Some(4)));
        for nonsense in ["", "0", "-1", "+1", "1.5", "1e3", " 1", "99999999999", "\u{663}", "x"] {
            assert_eq!(parse(&[("m", nonsense), ("r", nonsense), ("l", nonsense)]), (None, None, None));
        }
        let wish = BandwidthWish { least: Some(1), wanted: Some(2), limit: Some(3) };
        assert_eq!(BandwidthWish::parse(&wish.options(Role::InboundGateway)), wish);
        let elsewhere = BandwidthWish::parse(&wish.options(Role::Participant));
        assert_eq!(elsewhere, BandwidthWish { limit: None, ..wish });
        assert!(BandwidthWish::default().options(Role::Participant).is_empty());
    }

    #[test]
    fn a_role_cannot_be_both_ends() {
        let mut bytes = [1; SHORT_REQUEST];
        bytes[40] = 0xc0;
        assert_eq!(BuildRequest::decode_short(&bytes).unwrap_err().kind, DecodeErrorKind::Invalid("role"));
    }
}
