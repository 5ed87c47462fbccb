//! The hop table: what to do with the messages of a tunnel id.
//!
//! The hot path. A batch is grouped by tunnel, so that each layer runs over
//! all messages of one key side by side; bodies are changed in place and moved
//! to the next hop's queue.

use aioli_core::crypto::aes::TunnelLayer;
use aioli_core::{Bucket, Cx, Duration, Instant};
use aioli_wire::i2np::TunnelGateway;
use aioli_wire::tunnel::{Fragment, TUNNEL_DATA_SIZE, TunnelDelivery, fragments};
use aioli_wire::{Message, MessageId, MessageType, RouterHash, TunnelId, Wire};

use crate::packer::Packer;
use crate::reassembly::MAX_MESSAGE;
use crate::types::Output;
use crate::{Timer, Tunnels};

/// What we send on expires after this time.
pub(crate) const MESSAGE_LIFETIME: Duration = Duration::from_secs(20);
/// What the delivery instructions and padding of a message take in a tunnel, about.
const IN_TUNNEL: usize = 64;
/// A tunnel of others that carried nothing for so long gives way when many
/// crowd here: creators have to test theirs within 2 minutes.
const IDLE: Duration = Duration::from_secs(150);

/// What we are in a tunnel.
#[derive(Debug)]
pub(crate) enum Entry {
    /// A hop of someone's tunnel.
    Transit(Box<Transit>),
    /// The end of our own inbound tunnel of this id.
    Endpoint(TunnelId),
}

/// A hop of someone's tunnel.
#[derive(Debug)]
pub(crate) struct Transit {
    pub(crate) kind: TransitKind,
    pub(crate) layer: TunnelLayer,
    pub(crate) ends: Instant,
    /// Whether it has carried anything.
    pub(crate) used: bool,
    /// What was promised to it, in KB/s.
    pub(crate) promised_kbps: u32,
    /// What it may bring, at a gateway whose creator wants no more.
    pub(crate) limit: Option<Bucket>,
}

/// Where a hop's messages come from and go to.
#[derive(Debug)]
pub(crate) enum TransitKind {
    /// IBGW: from anyone.
    Gateway { next: RouterHash, next_tunnel: TunnelId, packer: Packer },
    /// From the previous hop only.
    Participant { previous: RouterHash, next: RouterHash, next_tunnel: TunnelId },
    /// OBEP: from the previous hop only.
    Endpoint { previous: RouterHash },
}

/// The TunnelData messages of a batch that belong to one tunnel.
struct Group {
    tunnel: u32,
    messages: Vec<Message>,
}

impl Tunnels {
    /// TunnelData messages from one peer.
    pub(crate) fn on_data(&mut self, from: RouterHash, messages: Vec<Message>, cx: &mut Cx<'_>) {
        let mut groups: Vec<Group> = Vec::new();
        for message in messages {
            let Some(tunnel) = self.admit(&from, &message, cx.now.mono) else { continue };
            match groups.iter_mut().find(|g| g.tunnel == tunnel) {
                Some(group) => group.messages.push(message),
                None => groups.push(Group { tunnel, messages: vec![message] }),
            }
        }
        for group in groups {
            match self.entries.get(&group.tunnel) {
                Some(Entry::Transit(_)) => self.relay(group, cx),
                Some(Entry::Endpoint(id)) => {
                    let id = *id;
                    self.receive(id, group.messages, cx);
                }
                None => self.stats.unknown_tunnel += 1,
            }
        }
    }

    /// The tunnel id of a message that may pass.
    fn admit(&mut self, from: &RouterHash, message: &Message, now: Instant) -> Option<u32> {
        if message.body.len() != TUNNEL_DATA_SIZE {
            self.stats.malformed += 1;
            return None;
        }
        let (id, rest) = message.body.split_first_chunk::<4>()?;
        let id = u32::from_be_bytes(*id);
        let expected = match self.entries.get(&id) {
            None => {
                self.stats.unknown_tunnel += 1;
                return None;
            }
            Some(Entry::Endpoint(own)) => self.inbound.get(own).and_then(|t| t.hops.last().copied()),
            Some(Entry::Transit(transit)) => match &transit.kind {
                TransitKind::Gateway { .. } => None,
                TransitKind::Participant { previous, .. } | TransitKind::Endpoint { previous } => {
                    Some(*previous)
                }
            },
        };
        if expected != Some(*from) {
            self.stats.wrong_previous_hop += 1;
            return None;
        }
        let (iv, data) = rest.split_first_chunk::<16>()?;
        let mut fingerprint = *iv;
        for (a, b) in fingerprint.iter_mut().zip(data) {
            *a ^= b;
        }
        if !self.duplicates.insert(&fingerprint, now) {
            self.stats.duplicates += 1;
            return None;
        }
        Some(id)
    }

    fn relay(&mut self, mut group: Group, cx: &mut Cx<'_>) {
        self.police(&mut group.messages, cx.now.mono);
        let Some(Entry::Transit(transit)) = self.entries.get_mut(&group.tunnel) else { return };
        transit.used = true;
        self.stats.transit_messages += group.messages.len() as u64;
        self.stats.transit_bytes += (group.messages.len() * TUNNEL_DATA_SIZE) as u64;
        encrypt_all(&transit.layer, &mut group.messages);
        match &transit.kind {
            TransitKind::Participant { next, next_tunnel, .. } => {
                let (to, expires) = (*next, cx.now.wall + MESSAGE_LIFETIME);
                for message in &mut group.messages {
                    if let Some(id) = message.body.first_chunk_mut::<4>() {
                        *id = next_tunnel.get().to_be_bytes();
                    }
                    message.id = MessageId(cx.rng.u32());
                    message.expires = expires;
                }
                self.outputs.push_back(Output::Send { to, messages: group.messages, transit: true });
            }
            TransitKind::Endpoint { .. } => {
                for message in &group.messages {
                    self.deliver_fragments(group.tunnel, &message.body, cx);
                }
            }
            TransitKind::Gateway { .. } => {}
        }
    }

    /// Drops what comes faster than others' tunnels may use.
    fn police(&mut self, messages: &mut Vec<Message>, now: Instant) {
        let Some(bucket) = &mut self.transit_rate else { return };
        let before = messages.len();
        messages.retain(|_| {
            let passes = bucket.available(now) > 0;
            if passes {
                bucket.take(TUNNEL_DATA_SIZE as u64, now);
            }
            passes
        });
        self.stats.transit_policed += (before - messages.len()) as u64;
    }

    /// At an OBEP: sends on what the fragments complete.
    fn deliver_fragments(&mut self, tunnel: u32, body: &[u8], cx: &mut Cx<'_>) {
        for (delivery, bytes) in self.reassemble(tunnel, body, cx.now.mono) {
            let Ok(message) = Message::decode_standard(&bytes) else {
                self.stats.malformed += 1;
                continue;
            };
            match delivery {
                TunnelDelivery::Router(to) => {
                    self.outputs.push_back(Output::Send { to, messages: vec![message], transit: true });
                }
                TunnelDelivery::Tunnel(gateway, tunnel) => {
                    self.send_to_gateway((gateway, tunnel), &bytes, true, cx);
                }
                // Nobody but a tunnel's owner receives at its end.
                TunnelDelivery::Local => self.stats.malformed += 1,
            }
        }
    }

    /// Takes the fragments of a decrypted tunnel message; returns the messages that they complete.
    pub(crate) fn reassemble(
        &mut self,
        tunnel: u32,
        body: &[u8],
        now: Instant,
    ) -> Vec<(TunnelDelivery, Vec<u8>)> {
        let mut done = Vec::new();
        let Ok(mut reader) = fragments(body) else {
            self.stats.malformed += 1;
            return done;
        };
        while !reader.is_empty() {
            let Ok(fragment) = Fragment::decode(&mut reader) else {
                self.stats.malformed += 1;
                break;
            };
            done.extend(self.reassembly.push(tunnel, &fragment, now));
        }
        done
    }

    /// A message that someone puts into a tunnel whose gateway we are.
    pub(crate) fn on_gateway_message(&mut self, message: &Message, cx: &mut Cx<'_>) {
        let Ok(gateway) = TunnelGateway::from_bytes(&message.body) else {
            self.stats.malformed += 1;
            return;
        };
        self.enter_tunnel(gateway.tunnel, gateway.message, cx);
    }

    /// Puts a standard-header message into a tunnel whose gateway we are.
    pub(crate) fn enter_tunnel(&mut self, tunnel: TunnelId, message: &[u8], cx: &mut Cx<'_>) {
        if message.len() > MAX_MESSAGE {
            self.stats.oversized += 1;
            return;
        }
        let limit = self.config.limits.gateway_bytes;
        match self.entries.get_mut(&tunnel.get()) {
            Some(Entry::Transit(transit)) => {
                let TransitKind::Gateway { next_tunnel, packer, .. } = &mut transit.kind else {
                    self.stats.unknown_tunnel += 1;
                    return;
                };
                if let Some(bucket) = &mut transit.limit {
                    if bucket.available(cx.now.mono) == 0 {
                        self.stats.gateway_limited += 1;
                        return;
                    }
                    bucket.take((message.len() + IN_TUNNEL) as u64, cx.now.mono);
                }
                if packer.len() + message.len() > limit {
                    self.stats.gateway_overflows += 1;
                    return;
                }
                packer.push(TunnelDelivery::Local, message, *next_tunnel, cx.rng);
                transit.used = true;
                self.waiting_gateways.insert(tunnel.get());
            }
            Some(Entry::Endpoint(id)) if self.inbound.get(id).is_some_and(|t| t.hops.is_empty()) => {
                let id = *id;
                self.receive_message(id, message);
            }
            Some(Entry::Endpoint(_)) | None => self.stats.unknown_tunnel += 1,
        }
    }

    pub(crate) fn flush_gateway(&mut self, id: u32, cx: &mut Cx<'_>) {
        let Some(Entry::Transit(transit)) = self.entries.get_mut(&id) else { return };
        let Transit { layer, kind: TransitKind::Gateway { next, next_tunnel, packer }, .. } = &mut **transit
        else {
            return;
        };
        let bodies = packer.take(*next_tunnel, cx.rng);
        if bodies.is_empty() {
            return;
        }
        let mut messages = data_messages(bodies, cx);
        encrypt_all(layer, &mut messages);
        self.stats.transit_messages += messages.len() as u64;
        self.stats.transit_bytes += (messages.len() * TUNNEL_DATA_SIZE) as u64;
        self.outputs.push_back(Output::Send { to: *next, messages, transit: true });
    }

    /// Sends a standard-header message into a tunnel that starts at another router, or here.
    pub(crate) fn send_to_gateway(
        &mut self,
        (gateway, tunnel): (RouterHash, TunnelId),
        message: &[u8],
        transit: bool,
        cx: &mut Cx<'_>,
    ) {
        if gateway == self.config.our_hash {
            self.enter_tunnel(tunnel, message, cx);
            return;
        }
        let message = Message {
            kind: MessageType::TunnelGateway,
            id: MessageId(cx.rng.u32()),
            expires: cx.now.wall + MESSAGE_LIFETIME,
            body: TunnelGateway { tunnel, message }.to_bytes(),
        };
        self.outputs.push_back(Output::Send { to: gateway, messages: vec![message], transit });
    }

    /// Installs an entry until `until`. False: the id is taken.
    pub(crate) fn install(&mut self, id: TunnelId, entry: Entry, until: Instant, now: Instant) -> bool {
        if self.entries.contains_key(&id.get()) {
            return false;
        }
        let first_look = match &entry {
            Entry::Transit(_) => {
                self.transit += 1;
                until.min(now + IDLE)
            }
            Entry::Endpoint(_) => until,
        };
        self.entries.insert(id.get(), entry);
        self.timers.set(Timer::Entry(id.get()), first_look);
        true
    }

    /// An entry's time is over, or a look at whether it is used is due.
    pub(crate) fn on_entry_timer(&mut self, id: u32, now: Instant) {
        if let Some(Entry::Transit(transit)) = self.entries.get_mut(&id)
            && transit.ends > now
        {
            let crowded = self.transit > self.config.limits.transit_tunnels / 2;
            if !transit.used {
                // A promise that is not used goes to others.
                self.promised_kbps -= u64::from(std::mem::take(&mut transit.promised_kbps));
            }
            if transit.used || !crowded {
                self.timers.set(Timer::Entry(id), transit.ends);
                return;
            }
            self.stats.transit_idle += 1;
        }
        self.end_entry(id);
    }

    /// Removes an entry whose time is over.
    pub(crate) fn end_entry(&mut self, id: u32) {
        self.timers.stop(&Timer::Entry(id));
        self.reassembly.end(id);
        match self.entries.remove(&id) {
            Some(Entry::Transit(transit)) => {
                self.transit -= 1;
                self.promised_kbps -= u64::from(transit.promised_kbps);
            }
            Some(Entry::Endpoint(own)) => self.end_inbound(own),
            None => {}
        }
    }
}

/// Wraps bodies as TunnelData messages.
pub(crate) fn data_messages(bodies: Vec<Vec<u8>>, cx: &mut Cx<'_>) -> Vec<Message> {
    let expires = cx.now.wall + MESSAGE_LIFETIME;
    bodies
        .into_iter()
        .map(|body| Message { kind: MessageType::TunnelData, id: MessageId(cx.rng.u32()), expires, body })
        .collect()
}

/// The layered part of each body: IV and data.
pub(crate) fn layered(messages: &mut [Message]) -> Vec<&mut [u8]> {
    messages.iter_mut().filter_map(|m| m.body.get_mut(4..)).collect()
}

fn encrypt_all(layer: &TunnelLayer, messages: &mut [Message]) {
    layer.encrypt_batch(&mut layered(messages));
}
