//! Others' build requests (`tunnel-creation-ecies#record-processing`).
//!
//! A hop finds its record by its hash, opens it, decides, seals its answer
//! into the record's place, encrypts the other records, and sends all on.

use aioli_core::crypto::aead::ChaChaKey;
use aioli_core::crypto::aes::{CbcKey, TunnelLayer};
use aioli_core::crypto::build_keys::{self, HopKeys};
use aioli_core::crypto::{chacha20, noise_n, one_time};
use aioli_core::{Bucket, Cx, Duration, Instant};
use aioli_wire::build::{
    BandwidthWish, BuildRecords, BuildRequest, HASH_PREFIX, LONG_RECORD, LONG_REPLY, LongKeys, Role,
    SHORT_RECORD, SHORT_REPLY, decode_long, encode_reply,
};
use aioli_wire::garlic::{Clove, CloveDelivery, PayloadWriter};
use aioli_wire::i2np::Garlic;
use aioli_wire::{Message, MessageId, MessageType, RouterHash, Wire};

use crate::Tunnels;
use crate::hops::{Entry, MESSAGE_LIFETIME, Transit, TransitKind};
use crate::own::{GRACE, LIFETIME};
use crate::packer::Packer;
use crate::types::{Output, Places};

/// What others' tunnels may use if no limit is set, in KB/s, as far as promises go: the class that we publish.
const UNLIMITED_KBPS: u64 = 2_000;
/// So many times what there is may be promised.
const OVERBOOKED: u64 = 2;
/// Of what there is, one tunnel is promised this part at most.
const ONE_TUNNEL_PART: u64 = 8;
/// A gateway with a limit takes a message of this size whole.
const MIN_GATEWAY_BURST: u64 = 64 * 1024;
/// A request may be this old.
const MAX_AGE: Duration = Duration::from_secs(8 * 60);
/// A request's minute may lie this far ahead of our clock.
const MAX_AHEAD: Duration = Duration::from_secs(5 * 60);
/// As long as a request could pass for new, it is remembered; and some.
pub(crate) const REQUEST_WINDOW: Duration = Duration::from_secs(15 * 60);

impl Tunnels {
    /// A ShortTunnelBuild: the answer to a build of ours, or a request.
    pub(crate) fn on_short_build(
        &mut self,
        from: RouterHash,
        message: &Message,
        cx: &mut Cx<'_>,
        places: &dyn Places,
    ) {
        if self.is_awaited(message.id.0) {
            self.on_build_reply(message.id.0, &message.body, true, cx);
            return;
        }
        let Some((mut records, slot)) = self.own_record(&from, &message.body, SHORT_RECORD, places) else {
            return;
        };
        let Some(sealed) = records.get_mut(slot).get_mut(HASH_PREFIX..) else { return };
        if self.is_replay(sealed, cx) {
            return;
        }
        let Ok((plain, state)) = noise_n::open(&self.config.our_key, sealed) else {
            self.stats.malformed += 1;
            return;
        };
        let Ok(request) = BuildRequest::decode_short(plain) else {
            self.stats.malformed += 1;
            return;
        };
        let keys = build_keys::derive(&state.ck, request.role == Role::OutboundEndpoint);
        let layer = TunnelLayer::new(keys.layer.as_bytes(), keys.iv.as_bytes());
        let Some(answer) = self.decide(from, &request, layer, cx, places) else { return };
        let mut answer = encode_reply(SHORT_REPLY, answer.accept, answer.offer, cx.rng);
        ChaChaKey::new(keys.reply.as_bytes()).seal_in_place(slot as u64, &state.h, &mut answer);
        records.get_mut(slot).copy_from_slice(&answer);
        for other in (0..records.len()).filter(|i| *i != slot) {
            chacha20::xor(keys.reply.as_bytes(), &record_nonce(other), records.get_mut(other));
        }
        self.pass_on_short(&request, &keys, &records, cx);
    }

    /// A VariableTunnelBuild with long ECIES records: as a hop of others only.
    pub(crate) fn on_long_build(
        &mut self,
        from: RouterHash,
        message: &Message,
        cx: &mut Cx<'_>,
        places: &dyn Places,
    ) {
        let Some((mut records, slot)) = self.own_record(&from, &message.body, LONG_RECORD, places) else {
            return;
        };
        let Some(sealed) = records.get_mut(slot).get_mut(HASH_PREFIX..) else { return };
        if self.is_replay(sealed, cx) {
            return;
        }
        let Ok((plain, state)) = noise_n::open(&self.config.our_key, sealed) else {
            // An ElGamal record, most likely: dead, dropped.
            self.stats.malformed += 1;
            return;
        };
        let Ok((request, keys)) = decode_long(plain) else {
            self.stats.malformed += 1;
            return;
        };
        let layer = TunnelLayer::new(&keys.layer, &keys.iv);
        let Some(answer) = self.decide(from, &request, layer, cx, places) else { return };
        let mut answer = encode_reply(LONG_REPLY, answer.accept, answer.offer, cx.rng);
        ChaChaKey::new(state.ck.as_bytes()).seal_in_place(0, &state.h, &mut answer);
        records.get_mut(slot).copy_from_slice(&answer);
        let cipher = CbcKey::new(&keys.reply);
        for other in (0..records.len()).filter(|i| *i != slot) {
            cipher.encrypt(&keys.reply_iv, records.get_mut(other));
        }
        self.pass_on_long(&request, &keys, &records, cx);
    }

    /// The records and which is ours, of a neighbour that may ask us. Opening
    /// it is the costly part, so its share is counted before.
    fn own_record(
        &mut self,
        from: &RouterHash,
        body: &[u8],
        size: usize,
        places: &dyn Places,
    ) -> Option<(BuildRecords, usize)> {
        let records = BuildRecords::decode(body, size).ok();
        let found = records.and_then(|r| r.find(&self.config.our_hash).map(|slot| (r, slot)));
        if found.is_none() {
            self.stats.malformed += 1;
            return None;
        }
        if !self.throttle.admit(from, self.transit) {
            self.stats.throttled += 1;
            return None;
        }
        if places.subnet(from).is_some_and(|net| !self.throttle_subnet.admit(&net, self.transit)) {
            self.stats.throttled_subnet += 1;
            return None;
        }
        found
    }

    /// Whether this ephemeral key came before.
    fn is_replay(&mut self, sealed: &[u8], cx: &Cx<'_>) -> bool {
        let Some(ephemeral) = sealed.first_chunk::<16>() else { return true };
        let new = self.seen_builds.insert(ephemeral, cx.now.mono);
        if !new {
            self.stats.builds_replayed += 1;
        }
        !new
    }

    /// Whether the router that a tunnel goes on to may be sent one more request.
    fn admit_next(&mut self, next: &RouterHash, places: &dyn Places) -> bool {
        if !self.throttle_next.admit(next, self.transit) {
            self.stats.throttled += 1;
            return false;
        }
        if places.subnet(next).is_some_and(|net| !self.throttle_next_subnet.admit(&net, self.transit)) {
            self.stats.throttled_subnet += 1;
            return false;
        }
        true
    }

    /// Accepts or refuses; none: drop without an answer.
    fn decide(
        &mut self,
        from: RouterHash,
        request: &BuildRequest,
        layer: TunnelLayer,
        cx: &mut Cx<'_>,
        places: &dyn Places,
    ) -> Option<Answer> {
        let age = cx.now.wall.since(request.requested);
        let ahead = request.requested.since(cx.now.wall);
        if age > MAX_AGE || ahead > MAX_AHEAD {
            self.stats.malformed += 1;
            return None;
        }
        let is_endpoint = request.role == Role::OutboundEndpoint;
        if !is_endpoint && request.next_router == self.config.our_hash {
            // Nobody builds so; an answer to ourselves would only go round.
            self.stats.malformed += 1;
            return None;
        }
        if request.role == Role::Participant && request.next_router == from {
            // Two such hops, each the next of the other, would pass a message to and fro for ten minutes.
            self.stats.malformed += 1;
            return None;
        }
        // The way of an endpoint's answer is a tunnel of the creator, not a further hop.
        if !is_endpoint && !self.admit_next(&request.next_router, places) {
            return None;
        }
        let wish = BandwidthWish::parse(&request.options);
        let room = self.room_for_one();
        let enough = wish.least.is_none_or(|least| least <= room);
        self.stats.refused_bandwidth += u64::from(!enough);
        let willing = self.acceptance.draw(cx) && self.load.acceptance().draw(cx);
        let until = cx.now.mono + LIFETIME + GRACE;
        let accept = willing
            && enough
            && self.transit < self.config.limits.transit_tunnels
            // The lifetime asked for is not looked at: every tunnel lasts 600 s, and emissary puts a date there.
            && self.install(
                request.receive_tunnel,
                entry(from, request, layer, until, wish, cx.now.mono),
                until,
                cx.now.mono,
            );
        if accept {
            self.promised_kbps += u64::from(wish.least.unwrap_or(0));
            self.transit_ends = until;
            self.stats.transit_accepted += 1;
        } else {
            self.stats.transit_refused += 1;
        }
        // No more than was asked for: the answer is not to show how busy we are.
        let asked = wish.wanted.or(wish.least).filter(|_| wish.wants_answer());
        Some(Answer { accept, offer: asked.map(|kbps| kbps.min(room).max(1)) })
    }

    /// What can be promised to one more tunnel, in KB/s. Hops of one tunnel
    /// refuse for many reasons, and few use all they ask for, so more is
    /// promised than there is.
    fn room_for_one(&self) -> u32 {
        let all = self.transit_rate.as_ref().map_or(UNLIMITED_KBPS, |bucket| bucket.rate() / 1024);
        let free = all * 100_u64.saturating_sub(self.load.transit_percent) / 100;
        let left = (all * OVERBOOKED).saturating_sub(self.promised_kbps);
        u32::try_from(left.min(free).min(all / ONE_TUNNEL_PART)).unwrap_or(u32::MAX)
    }

    fn pass_on_short(
        &mut self,
        request: &BuildRequest,
        keys: &HopKeys,
        records: &BuildRecords,
        cx: &mut Cx<'_>,
    ) {
        let mut message = build_message(MessageType::ShortTunnelBuild, request, records, cx);
        let Some((key, tag)) = &keys.garlic else {
            self.outputs.push_back(Output::Send {
                to: request.next_router,
                messages: vec![message],
                transit: true,
            });
            return;
        };
        message.kind = MessageType::OutboundTunnelBuildReply;
        if request.next_router != self.config.our_hash {
            // Hidden from the hops of the reply tunnel.
            let mut w = PayloadWriter::new();
            w.clove(&Clove {
                delivery: CloveDelivery::Local,
                kind: message.kind.code(),
                id: message.id.0,
                expires: message.expires,
                body: &message.body,
            });
            let sealed = one_time::seal(key.as_bytes(), *tag, &w.into_vec());
            message.kind = MessageType::Garlic;
            message.body = Garlic { bytes: &sealed }.to_bytes();
        }
        self.send_to_gateway(
            (request.next_router, request.next_tunnel),
            &message.encode_standard(),
            true,
            cx,
        );
    }

    fn pass_on_long(
        &mut self,
        request: &BuildRequest,
        _keys: &LongKeys,
        records: &BuildRecords,
        cx: &mut Cx<'_>,
    ) {
        if request.role == Role::OutboundEndpoint {
            let reply = build_message(MessageType::VariableTunnelBuildReply, request, records, cx);
            self.send_to_gateway(
                (request.next_router, request.next_tunnel),
                &reply.encode_standard(),
                true,
                cx,
            );
        } else {
            let message = build_message(MessageType::VariableTunnelBuild, request, records, cx);
            self.outputs.push_back(Output::Send {
                to: request.next_router,
                messages: vec![message],
                transit: true,
            });
        }
    }
}

/// What a request is answered.
struct Answer {
    accept: bool,
    /// KB/s, if that was asked.
    offer: Option<u32>,
}

/// The IV of the records' ChaCha20: the index of the record it is applied to.
pub(crate) fn record_nonce(index: usize) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4] = index as u8;
    nonce
}

fn build_message(kind: MessageType, request: &BuildRequest, records: &BuildRecords, cx: &Cx<'_>) -> Message {
    Message {
        kind,
        id: MessageId(request.next_message_id),
        expires: cx.now.wall + MESSAGE_LIFETIME,
        body: records.encode(),
    }
}

fn entry(
    previous: RouterHash,
    request: &BuildRequest,
    layer: TunnelLayer,
    ends: Instant,
    wish: BandwidthWish,
    now: Instant,
) -> Entry {
    let (next, next_tunnel) = (request.next_router, request.next_tunnel);
    let kind = match request.role {
        Role::InboundGateway => TransitKind::Gateway { next, next_tunnel, packer: Packer::default() },
        Role::Participant => TransitKind::Participant { previous, next, next_tunnel },
        Role::OutboundEndpoint => TransitKind::Endpoint { previous },
    };
    let limit = wish.limit.filter(|_| request.role == Role::InboundGateway).map(|kbps| {
        let rate = u64::from(kbps) * 1024;
        Bucket::new(rate, rate.max(MIN_GATEWAY_BURST), now)
    });
    let promised_kbps = wish.least.unwrap_or(0);
    Entry::Transit(Box::new(Transit { kind, layer, ends, used: false, promised_kbps, limit }))
}
