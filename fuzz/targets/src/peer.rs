//! A router of tests, and a peer that holds all keys of a handshake and puts any bytes
//! into its payloads. Its packets are made here anew, from the specification (`ssu2`).

use std::net::SocketAddr;
use std::sync::Arc;

use aioli_core::crypto::aead::ChaChaKey;
use aioli_core::crypto::chacha20;
use aioli_core::crypto::ed25519::SigningKey;
use aioli_core::crypto::noise::{self, SymmetricState};
use aioli_core::crypto::ssu2::{DataKeys, confirmed_header_key, created_header_key, data_keys};
use aioli_core::crypto::x25519::{PrivateKey, PublicKey};
use aioli_core::{Cx, Now, Rng};
use aioli_transport::ssu2::{Config, Endpoint, IntroKey, Output, Remote};
use aioli_wire::router_info::RouterInfoParts;
use aioli_wire::ssu2::{
    ConnectionId, Fragment, LONG_HEADER, LongHeader, PacketType, SHORT_HEADER, ShortHeader, Ssu2Parts,
};
use aioli_wire::{Mapping, RouterAddress, RouterIdentity, RouterInfo, Verified, Wire};

use crate::NOW;

pub(crate) const NET_ID: u8 = 99;

/// The keys of a router, and what it publishes.
#[derive(Debug)]
pub(crate) struct Router {
    pub(crate) static_key: PrivateKey,
    pub(crate) intro_key: IntroKey,
    pub(crate) iv: [u8; 16],
    pub(crate) address: SocketAddr,
    pub(crate) info: Arc<Verified<RouterInfo>>,
}

impl Router {
    pub(crate) fn new(n: u8) -> Self {
        let mut rng = Rng::from_seed([n; 32]);
        let signing = SigningKey::generate(&mut rng);
        let encryption = PrivateKey::generate(&mut rng).public();
        let (static_key, intro_key) = (PrivateKey::generate(&mut rng), IntroKey(rng.bytes()));
        let (address, iv) = (SocketAddr::from(([198, 18, 0, n], 9_000)), rng.bytes());
        let ssu2 = Ssu2Parts {
            cost: 8,
            static_key: &static_key.public(),
            intro_key: &intro_key.0,
            host: Some(address),
            caps: "BC4",
            mtu: 1_500,
            introducers: &[],
        };
        let ntcp2 = RouterAddress::ntcp2(10, &static_key.public(), Some((address, iv)));
        let options = [("caps", "LR"), ("netId", "99"), ("router.version", "0.9.67")];
        let parts = RouterInfoParts {
            identity: RouterIdentity::create(&encryption, &signing.public(), &rng.bytes()),
            published: NOW.wall,
            addresses: ssu2.address().into_iter().chain(ntcp2).collect(),
            options: Mapping::from_pairs(options).unwrap_or_default(),
        };
        let info = Arc::new(RouterInfo::create(parts, &signing));
        Self { static_key, intro_key, iv, address, info }
    }

    pub(crate) fn remote(&self) -> Remote {
        Remote {
            hash: self.info.hash(),
            static_key: self.static_key.public(),
            intro_key: self.intro_key,
            address: self.address,
            mtu: 1_500,
        }
    }
}

/// An endpoint, what drives it, and what it has said.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) endpoint: Endpoint,
    pub(crate) now: Now,
    rng: Rng,
    pub(crate) sent: Vec<Vec<u8>>,
    pub(crate) established: bool,
}

impl Node {
    pub(crate) fn new(router: &Router, n: u8) -> Self {
        let mut rng = Rng::from_seed([n; 32]);
        let mut config = Config::new(router.static_key.clone(), router.intro_key);
        (config.net_id, config.private_network) = (NET_ID, true);
        let mut endpoint = Endpoint::new(config, &mut rng);
        endpoint.set_router_info(Arc::clone(&router.info));
        Self { endpoint, now: NOW, rng, sent: Vec::new(), established: false }
    }

    /// Calls the endpoint, then takes what it puts out.
    #[expect(clippy::wildcard_enum_match_arm, reason = "what else is told does not matter here")]
    pub(crate) fn with<T>(&mut self, f: impl FnOnce(&mut Endpoint, &mut Cx<'_>) -> T) -> T {
        let mut cx = Cx { now: self.now, rng: &mut self.rng };
        let result = f(&mut self.endpoint, &mut cx);
        while let Some(output) = self.endpoint.poll_output(&mut cx) {
            match output {
                Output::Datagram { bytes, .. } => self.sent.push(bytes),
                Output::Established { .. } => self.established = true,
                _ => {}
            }
        }
        result
    }

    /// Takes a datagram. Gives the first that it sends.
    pub(crate) fn take(&mut self, from: SocketAddr, mut bytes: Vec<u8>) -> Option<Vec<u8>> {
        self.sent.clear();
        self.with(|e, cx| e.handle_datagram(from, &mut bytes, cx));
        self.sent.first().cloned()
    }
}

/// Puts on or takes off the masks of a header, and of the key behind it up to `end`.
pub(crate) fn mask(packet: &mut [u8], key1: &[u8; 32], key2: &[u8; 32], end: usize) {
    let len = packet.len();
    let sample = |from: usize| -> [u8; 12] { std::array::from_fn(|i| packet[len - from + i]) };
    let masks = [chacha20::mask(key1, &sample(24)), chacha20::mask(key2, &sample(12))];
    for (byte, mask) in packet.iter_mut().zip(masks.as_flattened()) {
        *byte ^= mask;
    }
    if end > SHORT_HEADER {
        chacha20::xor(key2, &[0; 12], &mut packet[SHORT_HEADER..end]);
    }
}

/// A payload that masks can sample: at least eight bytes.
fn padded(payload: &[u8]) -> Vec<u8> {
    let mut out = payload.to_vec();
    if out.len() < 8 {
        out.extend_from_slice(&[254, 0, 5, 0, 0, 0, 0, 0]);
    }
    out
}

/// A packet of any kind that only the introduction key seals.
pub(crate) fn sealed_with_intro(header: &LongHeader, key: &[u8; 32], payload: &[u8]) -> Vec<u8> {
    let mut packet = header.to_bytes();
    let mut payload = padded(payload);
    ChaChaKey::new(key).seal_in_place(u64::from(header.packet_number), &packet, &mut payload);
    packet.extend_from_slice(&payload);
    mask(&mut packet, key, key, LONG_HEADER);
    packet
}

pub(crate) const fn long(kind: PacketType, destination: u64, source: u64, token: u64) -> LongHeader {
    LongHeader {
        destination: ConnectionId(destination),
        packet_number: 7,
        kind,
        net_id: NET_ID,
        source: ConnectionId(source),
        token,
    }
}

/// A SessionRequest or SessionCreated around any payload; its keys are mixed in already.
fn noise_packet(
    header: &LongHeader,
    ephemeral: &PublicKey,
    noise: &mut SymmetricState,
    payload: &[u8],
    keys: [&[u8; 32]; 2],
) -> Vec<u8> {
    let mut packet = header.to_bytes();
    packet.extend_from_slice(&ephemeral.0);
    let mut payload = padded(payload);
    noise.encrypt_and_hash(&mut payload);
    packet.extend_from_slice(&payload);
    mask(&mut packet, keys[0], keys[1], LONG_HEADER + 32);
    packet
}

/// Alice, who says what she likes.
#[derive(Debug)]
pub(crate) struct Alice {
    pub(crate) router: Router,
    bob: Remote,
    ephemeral: PrivateKey,
    noise: SymmetricState,
    send: Option<DataKeys>,
}

/// The connection ids: Bob's, Alice's.
const IDS: (u64, u64) = (11, 12);

impl Alice {
    pub(crate) fn new(bob: Remote) -> Self {
        let ephemeral = PrivateKey::generate(&mut Rng::from_seed([77; 32]));
        Self { router: Router::new(1), bob, ephemeral, noise: SymmetricState::new(noise::SSU2), send: None }
    }

    pub(crate) fn token_request(&self, payload: &[u8]) -> Vec<u8> {
        sealed_with_intro(&long(PacketType::TokenRequest, IDS.0, IDS.1, 0), &self.bob.intro_key.0, payload)
    }

    /// The token of a Retry.
    pub(crate) fn token(&self, mut retry: Vec<u8>) -> u64 {
        let key = &self.bob.intro_key.0;
        mask(&mut retry, key, key, LONG_HEADER);
        LongHeader::from_bytes(&retry[..LONG_HEADER]).map_or(0, |h| h.token)
    }

    pub(crate) fn session_request(&mut self, token: u64, payload: &[u8]) -> Vec<u8> {
        let header = long(PacketType::SessionRequest, IDS.0, IDS.1, token);
        self.noise.mix_hash(&self.bob.static_key.0);
        self.noise.mix_hash(&header.to_bytes());
        self.noise.mix_hash(&self.ephemeral.public().0);
        if let Ok(secret) = self.ephemeral.diffie_hellman(&self.bob.static_key) {
            self.noise.mix_key(&secret);
        }
        let key = &self.bob.intro_key.0;
        noise_packet(&header, &self.ephemeral.public(), &mut self.noise, payload, [key, key])
    }

    /// SessionConfirmed in pieces of `size` bytes, in answer to SessionCreated.
    pub(crate) fn confirmed(&mut self, mut created: Vec<u8>, payload: &[u8], size: usize) -> Vec<Vec<u8>> {
        let key2 = created_header_key(&self.noise);
        mask(&mut created, &self.bob.intro_key.0, key2.as_bytes(), LONG_HEADER + 32);
        let mut theirs = PublicKey([0; 32]);
        theirs.0.copy_from_slice(&created[LONG_HEADER..LONG_HEADER + 32]);
        self.noise.mix_hash(&created[..LONG_HEADER]);
        self.noise.mix_hash(&theirs.0);
        let (Ok(ee), Ok(se)) =
            (self.ephemeral.diffie_hellman(&theirs), self.router.static_key.diffie_hellman(&theirs))
        else {
            return Vec::new();
        };
        self.noise.mix_key(&ee);
        if self.noise.decrypt_and_hash(&mut created[LONG_HEADER + 32..]).is_err() {
            return Vec::new();
        }
        let key2 = confirmed_header_key(&self.noise);
        let total = (64 + payload.len()).div_ceil(size).clamp(1, 15);
        let header = |number: usize| ShortHeader::Confirmed {
            destination: ConnectionId(IDS.0),
            fragment: Fragment { number: number as u8, total: total as u8 },
        };
        self.noise.mix_hash(&header(0).to_bytes());
        let mut sealed = self.router.static_key.public().0.to_vec();
        self.noise.encrypt_and_hash(&mut sealed);
        self.noise.mix_key(&se);
        let mut payload = payload.to_vec();
        self.noise.encrypt_and_hash(&mut payload);
        sealed.extend_from_slice(&payload);
        self.send = Some(data_keys(&self.noise).0);
        let piece = sealed.len().div_ceil(total);
        let pieces = sealed.chunks(piece.max(24)).enumerate();
        pieces
            .filter(|(_, piece)| piece.len() >= 24)
            .map(|(number, piece)| {
                let mut packet = header(number).to_bytes();
                packet.extend_from_slice(piece);
                mask(&mut packet, &self.bob.intro_key.0, key2.as_bytes(), SHORT_HEADER);
                packet
            })
            .collect()
    }

    /// A data packet around any payload.
    pub(crate) fn data(&self, number: u32, payload: &[u8]) -> Vec<u8> {
        let Some(keys) = &self.send else { return Vec::new() };
        let header = ShortHeader::Data {
            destination: ConnectionId(IDS.0),
            packet_number: number,
            immediate_ack: number.is_multiple_of(3),
        };
        let mut packet = header.to_bytes();
        let mut payload = padded(payload);
        ChaChaKey::new(keys.data.as_bytes()).seal_in_place(u64::from(number), &packet, &mut payload);
        packet.extend_from_slice(&payload);
        mask(&mut packet, &self.bob.intro_key.0, keys.header.as_bytes(), SHORT_HEADER);
        packet
    }
}

/// What Bob answers to a SessionRequest of a true Alice: SessionCreated around any payload.
pub(crate) fn session_created(bob: &Router, mut request: Vec<u8>, payload: &[u8]) -> Vec<u8> {
    let key1 = &bob.intro_key.0;
    mask(&mut request, key1, key1, LONG_HEADER + 32);
    let Ok(asked) = LongHeader::from_bytes(&request[..LONG_HEADER]) else { return Vec::new() };
    let mut alice = PublicKey([0; 32]);
    alice.0.copy_from_slice(&request[LONG_HEADER..LONG_HEADER + 32]);
    let mut noise = SymmetricState::new(noise::SSU2);
    noise.mix_hash(&bob.static_key.public().0);
    noise.mix_hash(&request[..LONG_HEADER]);
    noise.mix_hash(&alice.0);
    let ephemeral = PrivateKey::generate(&mut Rng::from_seed([78; 32]));
    let (Ok(es), Ok(ee)) = (bob.static_key.diffie_hellman(&alice), ephemeral.diffie_hellman(&alice)) else {
        return Vec::new();
    };
    noise.mix_key(&es);
    if noise.decrypt_and_hash(&mut request[LONG_HEADER + 32..]).is_err() {
        return Vec::new();
    }
    let key2 = created_header_key(&noise);
    let header = long(PacketType::SessionCreated, asked.source.0, asked.destination.0, 0);
    noise.mix_hash(&header.to_bytes());
    noise.mix_hash(&ephemeral.public().0);
    noise.mix_key(&ee);
    noise_packet(&header, &ephemeral.public(), &mut noise, payload, [key1, key2.as_bytes()])
}

/// A Retry around any payload, to the TokenRequest of a true Alice.
pub(crate) fn retry(bob: &Router, mut request: Vec<u8>, token: u64, payload: &[u8]) -> Vec<u8> {
    let key = &bob.intro_key.0;
    mask(&mut request, key, key, LONG_HEADER);
    let Ok(asked) = LongHeader::from_bytes(&request[..LONG_HEADER]) else { return Vec::new() };
    let header = long(PacketType::Retry, asked.source.0, asked.destination.0, token);
    sealed_with_intro(&header, key, payload)
}
