//! The blocks by which routers introduce and test each other
//! (`ssu2#relayrequest`, `ssu2#relayresponse`, `ssu2#relayintro`, `ssu2#peertest`),
//! and what their signatures cover.

use std::net::{IpAddr, SocketAddr};

use aioli_core::Date;

use crate::codec::{DecodeError, Reader, Wire, Writer};
use crate::ids::RouterHash;

const REQUEST_PROLOGUE: &[u8; 16] = b"RelayRequestData";
const RESPONSE_PROLOGUE: &[u8; 16] = b"RelayAgreementOK";
const TEST_PROLOGUE: &[u8; 16] = b"PeerTestValidate";
/// Port and IPv4 address; port and IPv6 address.
const V4: usize = 6;
const V6: usize = 18;
/// The version of SSU that is meant; these blocks know no other.
const VERSION: u8 = 2;

/// An address and a port as SSU2 writes them: port first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint(pub SocketAddr);

impl Endpoint {
    pub(super) fn decode_sized(r: &mut Reader<'_>, size: usize) -> Result<Self, DecodeError> {
        let ip = |r: &mut Reader<'_>| match size {
            V4 => r.array::<4>().map(IpAddr::from),
            V6 => r.array::<16>().map(IpAddr::from),
            _ => Err(r.invalid("address size")),
        };
        let port = r.u16()?;
        Ok(Self(SocketAddr::new(ip(r)?, port)))
    }

    pub(super) fn encode_bare(&self, w: &mut Writer) {
        w.u16(self.0.port());
        match self.0.ip() {
            IpAddr::V4(ip) => w.bytes(&ip.octets()),
            IpAddr::V6(ip) => w.bytes(&ip.octets()),
        }
    }
}

impl<'a> Wire<'a> for Endpoint {
    const SPEC: &'static str = "ssu2#address";

    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let size = usize::from(r.u8()?);
        Self::decode_sized(r, size)
    }

    fn encode(&self, w: &mut Writer) {
        w.u8(if self.0.is_ipv4() { V4 } else { V6 } as u8);
        self.encode_bare(w);
    }
}

/// Alice asks Bob for an introduction to Charlie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayRequest<'a> {
    /// Names the introduction.
    pub nonce: u32,
    /// Charlie's at Bob.
    pub tag: u32,
    /// Alice's clock.
    pub timestamp: Date,
    /// Where Alice can be reached.
    pub alice: SocketAddr,
    /// Alice's.
    pub signature: &'a [u8],
}

impl<'a> Wire<'a> for RelayRequest<'a> {
    const SPEC: &'static str = "ssu2#relayrequest";

    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        r.u8()?; // flags, none known
        let (nonce, tag, timestamp) = (r.u32()?, r.u32()?, r.date_secs()?);
        version(r)?;
        let Endpoint(alice) = r.read()?;
        Ok(Self { nonce, tag, timestamp, alice, signature: r.rest() })
    }

    fn encode(&self, w: &mut Writer) {
        w.u8(0);
        self.encode_signed(w);
        w.bytes(self.signature);
    }
}

impl RelayRequest<'_> {
    fn encode_signed(&self, w: &mut Writer) {
        w.u32(self.nonce);
        w.u32(self.tag);
        w.u32(self.timestamp.as_wire_secs());
        w.u8(VERSION);
        w.write(&Endpoint(self.alice));
    }
}

/// What Alice signs for Charlie when she asks Bob.
pub fn relay_request_signed(request: &RelayRequest<'_>, bob: &RouterHash, charlie: &RouterHash) -> Vec<u8> {
    let mut w = Writer::with_capacity(16 + 64 + 32);
    w.bytes(REQUEST_PROLOGUE);
    w.write(bob);
    w.write(charlie);
    request.encode_signed(&mut w);
    w.into_vec()
}

/// Bob introduces Alice to Charlie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayIntro<'a> {
    /// Who Alice is.
    pub alice: RouterHash,
    /// What she asked, with her signature.
    pub request: RelayRequest<'a>,
}

impl<'a> Wire<'a> for RelayIntro<'a> {
    const SPEC: &'static str = "ssu2#relayintro";

    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        r.u8()?; // flags, none known
        let alice = r.read()?;
        let (nonce, tag, timestamp) = (r.u32()?, r.u32()?, r.date_secs()?);
        version(r)?;
        let Endpoint(address) = r.read()?;
        let request = RelayRequest { nonce, tag, timestamp, alice: address, signature: r.rest() };
        Ok(Self { alice, request })
    }

    fn encode(&self, w: &mut Writer) {
        w.u8(0);
        w.write(&self.alice);
        self.request.encode_signed(w);
        w.bytes(self.request.signature);
    }
}

/// Charlie's or Bob's answer to a relay request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayResponse<'a> {
    /// 0 if accepted; below 64 refused by Bob, from there by Charlie.
    pub code: u8,
    /// Of the request.
    pub nonce: u32,
    /// The signer's clock.
    pub timestamp: Date,
    /// Where Charlie can be reached, if he accepts.
    pub charlie: Option<SocketAddr>,
    /// Charlie's, or Bob's if he refuses.
    pub signature: &'a [u8],
    /// For Alice's SessionRequest, if accepted.
    pub token: Option<u64>,
}

impl<'a> Wire<'a> for RelayResponse<'a> {
    const SPEC: &'static str = "ssu2#relayresponse";

    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        r.u8()?; // flags, none known
        let (code, nonce) = (r.u8()?, r.u32()?);
        if code != 0 && r.is_empty() {
            // The specification lets a refusal end here.
            return Ok(Self {
                code,
                nonce,
                timestamp: Date::NULL,
                charlie: None,
                signature: &[],
                token: None,
            });
        }
        let timestamp = r.date_secs()?;
        version(r)?;
        let charlie = match usize::from(r.u8()?) {
            0 => None,
            size => Some(Endpoint::decode_sized(r, size)?.0),
        };
        let token_len = if code == 0 { 8 } else { 0 };
        let signature = match r.remaining().checked_sub(token_len) {
            Some(n) => r.take(n)?,
            None => return Err(r.invalid("token")),
        };
        let token = if code == 0 { Some(r.u64()?) } else { None };
        Ok(Self { code, nonce, timestamp, charlie, signature, token })
    }

    fn encode(&self, w: &mut Writer) {
        w.bytes(&[0, self.code]);
        self.encode_signed(w);
        w.bytes(self.signature);
        if self.code == 0 {
            w.u64(self.token.unwrap_or(0));
        }
    }
}

impl RelayResponse<'_> {
    fn encode_signed(&self, w: &mut Writer) {
        w.u32(self.nonce);
        w.u32(self.timestamp.as_wire_secs());
        w.u8(VERSION);
        match self.charlie {
            Some(charlie) => w.write(&Endpoint(charlie)),
            None => w.u8(0),
        }
    }
}

/// What Charlie signs for Alice when Bob introduces her, or Bob when he refuses.
pub fn relay_response_signed(response: &RelayResponse<'_>, bob: &RouterHash) -> Vec<u8> {
    let mut w = Writer::with_capacity(16 + 32 + 32);
    w.bytes(RESPONSE_PROLOGUE);
    w.write(bob);
    response.encode_signed(&mut w);
    w.into_vec()
}

/// A step of a peer test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerTest<'a> {
    /// From 1 to 7.
    pub message: u8,
    /// 0 if accepted; others only in messages 3 and 4.
    pub code: u8,
    /// Alice in message 2, Charlie in message 4, nobody in others.
    pub router: Option<RouterHash>,
    /// Names the test.
    pub nonce: u32,
    /// The signer's clock.
    pub timestamp: Date,
    /// The address that is tested.
    pub alice: SocketAddr,
    /// Alice's in messages 1 and 2, Charlie's in 3 and 4; may be empty in others.
    pub signature: &'a [u8],
}

impl<'a> Wire<'a> for PeerTest<'a> {
    const SPEC: &'static str = "ssu2#peertest";

    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let (message, code) = (r.u8()?, r.u8()?);
        if !(1..=7).contains(&message) {
            return Err(r.invalid("peer test message"));
        }
        r.u8()?; // flags, none known
        let router = if names_router(message) { Some(r.read()?) } else { None };
        version(r)?;
        let (nonce, timestamp) = (r.u32()?, r.date_secs()?);
        let Endpoint(alice) = r.read()?;
        Ok(Self { message, code, router, nonce, timestamp, alice, signature: r.rest() })
    }

    fn encode(&self, w: &mut Writer) {
        w.bytes(&[self.message, self.code, 0]);
        if names_router(self.message) {
            w.write(&self.router.unwrap_or(RouterHash::new([0; 32])));
        }
        self.encode_signed(w);
        w.bytes(self.signature);
    }
}

impl PeerTest<'_> {
    fn encode_signed(&self, w: &mut Writer) {
        w.u8(VERSION);
        w.u32(self.nonce);
        w.u32(self.timestamp.as_wire_secs());
        w.write(&Endpoint(self.alice));
    }
}

const fn names_router(message: u8) -> bool {
    matches!(message, 2 | 4)
}

/// What Alice signs in messages 1 and 2, and with `alice` named what Charlie
/// signs in messages 3 and 4.
pub fn peer_test_signed(test: &PeerTest<'_>, bob: &RouterHash, alice: Option<&RouterHash>) -> Vec<u8> {
    let mut w = Writer::with_capacity(16 + 64 + 32);
    w.bytes(TEST_PROLOGUE);
    w.write(bob);
    if let Some(alice) = alice {
        w.write(alice);
    }
    test.encode_signed(&mut w);
    w.into_vec()
}

fn version(r: &mut Reader<'_>) -> Result<(), DecodeError> {
    if r.u8()? == VERSION { Ok(()) } else { Err(r.invalid("SSU version")) }
}
