//! Receiving: what comes out of our inbound tunnels, and what the cloves in
//! it may do. Nothing a peer sends here reaches the router's own database
//! except answers, which go out marked as such.

use std::sync::Arc;

use aioli_core::crypto::x25519::PublicKey;
use aioli_core::{Cx, Date, Duration};
use aioli_wire::client_payload::{self, protocol};
use aioli_wire::garlic::CloveDelivery;
use aioli_wire::i2np::{Data, DatabaseStore, Message, MessageType};
use aioli_wire::{DestinationHash, Wire};

use super::{LocalDestination, Output};
use crate::lease_set::encryption_key;
use crate::ratchet::OwnedClove;

/// How far past its time a message is still taken, for clocks that differ.
const EXPIRY_GRACE: Duration = Duration::from_secs(60);
/// A bundled LeaseSet may not claim to come from farther ahead.
const MAX_AHEAD: Duration = Duration::from_secs(120);

impl LocalDestination {
    pub(super) fn receive(&mut self, mut message: Message, cx: &mut Cx<'_>) {
        if expired(&message, cx.now.wall) {
            self.stats.expired += 1;
            return;
        }
        match message.kind {
            MessageType::Garlic => {
                let Ok(opened) = self.sessions.open(&mut message.body, cx) else { return };
                if let Some(key) = opened.from {
                    self.take_bundled(&key, &opened.cloves, cx);
                }
                let from = opened.from.and_then(|key| self.owners.get(&key).copied().flatten());
                for clove in opened.cloves {
                    self.on_clove(from, clove, cx);
                }
            }
            MessageType::DatabaseStore | MessageType::DatabaseSearchReply | MessageType::DeliveryStatus => {
                self.out.push_back(Output::ForRouter(message));
            }
            MessageType::DatabaseLookup
            | MessageType::TunnelData
            | MessageType::TunnelGateway
            | MessageType::Data
            | MessageType::VariableTunnelBuild
            | MessageType::VariableTunnelBuildReply
            | MessageType::ShortTunnelBuild
            | MessageType::OutboundTunnelBuildReply
            | MessageType::Unknown(_) => self.stats.unexpected += 1,
        }
    }

    /// Keeps the LeaseSet that the owner of `key` sent along: it must name
    /// that key and bear its destination's signature.
    fn take_bundled(&mut self, key: &PublicKey, cloves: &[OwnedClove], cx: &mut Cx<'_>) {
        for clove in cloves.iter().filter(|c| c.message.kind == MessageType::DatabaseStore) {
            let Some(set) = DatabaseStore::from_bytes(&clove.message.body)
                .ok()
                .and_then(|store| store.data.decode_lease_set())
                .and_then(Result::ok)
            else {
                self.stats.malformed += 1;
                continue;
            };
            let claims = set.claims();
            let known = self.remotes.get(&claims.key()).and_then(|r| r.lease_set.as_ref());
            if known.is_some_and(|known| known.bytes() == claims.bytes()) {
                continue;
            }
            let fits = encryption_key(claims) == Some(*key) && claims.version() <= cx.now.wall + MAX_AHEAD;
            match set.verify() {
                Ok(set) if fits => {
                    self.stats.bundled += 1;
                    self.learn(Arc::new(set), cx);
                }
                _ => self.stats.bundled_refused += 1,
            }
        }
    }

    fn on_clove(&mut self, from: Option<DestinationHash>, clove: OwnedClove, cx: &mut Cx<'_>) {
        let ours = match clove.delivery {
            CloveDelivery::Local => true,
            CloveDelivery::Destination(hash) => hash == *self.hash.as_bytes(),
            // A destination forwards nothing: it would show where it lives.
            CloveDelivery::Router(_) | CloveDelivery::Tunnel(..) => false,
        };
        if !ours {
            self.stats.unexpected += 1;
            return;
        }
        if expired(&clove.message, cx.now.wall) {
            self.stats.expired += 1;
            return;
        }
        match clove.message.kind {
            MessageType::Data => self.on_data(from, &clove.message.body, cx),
            MessageType::DatabaseStore => {} // taken before, or refused
            MessageType::DeliveryStatus => self.out.push_back(Output::ForRouter(clove.message)),
            MessageType::DatabaseLookup
            | MessageType::DatabaseSearchReply
            | MessageType::Garlic
            | MessageType::TunnelData
            | MessageType::TunnelGateway
            | MessageType::VariableTunnelBuild
            | MessageType::VariableTunnelBuildReply
            | MessageType::ShortTunnelBuild
            | MessageType::OutboundTunnelBuildReply
            | MessageType::Unknown(_) => self.stats.unexpected += 1,
        }
    }

    fn on_data(&mut self, from: Option<DestinationHash>, body: &[u8], cx: &mut Cx<'_>) {
        let decoded = Data::from_bytes(body).and_then(|data| client_payload::decode(data.payload));
        let Ok(payload) = decoded else {
            self.stats.malformed += 1;
            return;
        };
        self.stats.payloads += 1;
        if payload.protocol == protocol::STREAMING {
            self.streams.handle_packet(from, payload.ports, &payload.data, cx);
        } else {
            self.out.push_back(Output::Datagram {
                from,
                ports: payload.ports,
                protocol: payload.protocol,
                payload: payload.data,
            });
        }
    }
}

fn expired(message: &Message, now: Date) -> bool {
    message.expires + EXPIRY_GRACE < now
}
