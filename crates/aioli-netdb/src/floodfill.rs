//! Serving others: confirming and flooding stores, answering lookups
//! (`network-database#flooding`, `i2np#databaselookup`).

use std::sync::Arc;

use aioli_core::{Cx, Date};
use aioli_wire::i2np::{
    DatabaseLookup, DatabaseSearchReply, DatabaseStore, DeliveryStatus, LookupType, MAX_SEARCH_REPLY_PEERS,
    ReplyEncryption, StoreData, StoreReply,
};
use aioli_wire::{DestinationHash, Hash, MessageType, RouterHash, RouterInfo, Verified, Wire};

use crate::{NetDb, Output, RoutingKey, Source, Via, config};

impl NetDb {
    /// A valid store has been kept, or was known: says so to who asked for it,
    /// and floods it if it is news from its owner.
    pub(crate) fn acknowledge(&mut self, from: Source, store: &DatabaseStore, flood: bool, cx: &mut Cx<'_>) {
        // Without a token it has been flooded to us, or answers us.
        let Some(reply) = store.reply.filter(|_| self.floodfill) else { return };
        self.confirm(from, reply, cx);
        if !flood {
            return;
        }
        if self.floods_of.allow(store.key, cx.now.mono) {
            self.flood(from, store, cx);
        } else {
            self.stats.floods_throttled += 1;
        }
    }

    fn confirm(&mut self, from: Source, reply: StoreReply, cx: &mut Cx<'_>) {
        let status = DeliveryStatus { id: reply.token.get().into(), time: cx.now.wall };
        let message = Self::message(MessageType::DeliveryStatus, &status, cx);
        match reply.tunnel {
            Some(tunnel) => {
                let gateway = reply.gateway;
                self.outputs.push_back(Output::SendTunnel { gateway, tunnel, message, wrap: None });
            }
            // Nobody may direct us at somebody else.
            None if from == Source::Peer(reply.gateway) => {
                let (to, via) = (reply.gateway, Via::Direct);
                self.outputs.push_back(Output::Send { to, via, message, garlic: false });
            }
            None => {}
        }
    }

    fn flood(&mut self, from: Source, store: &DatabaseStore, cx: &mut Cx<'_>) {
        let near_midnight = match &store.data {
            StoreData::RouterInfo { .. } => config::NEXT_DAY_ROUTER,
            StoreData::LeaseSet { .. } => config::NEXT_DAY_LEASE_SET,
        };
        let owner = RouterHash::from(store.key);
        let keep = |h: &RouterHash| *h != owner && from != Source::Peer(*h);
        let mut targets = self.flood_targets(&store.key, cx.now.wall, config::FLOOD_TO, keep);
        let midnight = cx.now.wall.until_utc_midnight();
        if midnight <= near_midnight {
            let tomorrow = cx.now.wall + midnight;
            for next in self.flood_targets(&store.key, tomorrow, config::FLOOD_NEXT_DAY, keep) {
                if !targets.contains(&next) {
                    targets.push(next);
                }
            }
        }
        let copy = DatabaseStore { key: store.key, reply: None, data: store.data.clone() };
        for to in targets {
            self.stats.floods += 1;
            let message = Self::message(MessageType::DatabaseStore, &copy, cx);
            self.outputs.push_back(Output::Send { to, via: Via::Direct, message, garlic: false });
        }
    }

    fn flood_targets(
        &self,
        key: &Hash,
        at: Date,
        n: usize,
        mut keep: impl FnMut(&RouterHash) -> bool,
    ) -> Vec<RouterHash> {
        let (near, now) = (RoutingKey::of(key, at), self.now.mono);
        let mut targets = self.routers.good_floodfills(&near, n, now, &mut keep);
        // One that nobody has tried yet, if it would be among them: dialling it shows what it is.
        let stranger = self.routers.stranger_for(&near, now, |h| !targets.contains(h) && keep(h));
        let closer =
            |h: &RouterHash| targets.last().is_some_and(|last| near.distance(h) < near.distance(last));
        targets.extend(stranger.filter(closer));
        targets
    }

    /// A DatabaseLookup of another router.
    pub(crate) fn on_lookup(&mut self, from: Source, lookup: &DatabaseLookup, cx: &mut Cx<'_>) {
        // Our tunnels are for our own replies: who asks there wants to know what
        // a client knows. And a direct reply goes to none but the asker.
        let direct_to_other = lookup.reply_tunnel.is_none() && from != Source::Peer(lookup.from);
        let old_encryption = matches!(lookup.reply, ReplyEncryption::Aes { .. });
        let ours = lookup.from == self.our_hash() && lookup.reply_tunnel.is_none();
        if matches!(from, Source::Tunnel(_)) {
            self.stats.unsolicited += 1;
            return;
        }
        if direct_to_other || old_encryption || ours || *lookup.key.as_bytes() == [0; 32] {
            self.stats.lookups_refused += 1;
            return;
        }
        let asker = (lookup.from, lookup.reply_tunnel.map_or(0, |t| t.get()));
        if !self.lookups_of.allow(asker, cx.now.mono) {
            self.stats.lookups_throttled += 1;
            return;
        }
        match self.answer(lookup, cx) {
            Some(store) => {
                self.stats.lookups_answered += 1;
                self.reply(lookup, MessageType::DatabaseStore, &store, cx);
            }
            None => {
                self.stats.lookups_referred += 1;
                let referral = self.referral(lookup, cx.now.wall);
                self.reply(lookup, MessageType::DatabaseSearchReply, &referral, cx);
            }
        }
    }

    /// What is sought, if we have it and may give it.
    fn answer(&self, lookup: &DatabaseLookup, cx: &Cx<'_>) -> Option<DatabaseStore> {
        let router = matches!(lookup.kind, LookupType::RouterInfo | LookupType::Any);
        let lease_set = matches!(lookup.kind, LookupType::LeaseSet | LookupType::Any);
        if router {
            let hash = RouterHash::from(lookup.key);
            let ours = self.local.as_ref().filter(|info| hash == self.our_hash() && !info.caps().hidden);
            // Whoever publishes to us does so sooner; of an older one there is a newer elsewhere.
            let max_age = self.max_router_age();
            let young = |info: &&Arc<Verified<RouterInfo>>| cx.now.wall.since(info.published) <= max_age;
            if let Some(info) = ours.or_else(|| self.routers.served(&hash).filter(young)) {
                return Some(DatabaseStore::router_info(info, None));
            }
        }
        let key = DestinationHash::from(lookup.key);
        let set = lease_set.then(|| self.served_lease_set(&key, cx.now)).flatten()?;
        Some(DatabaseStore::lease_set(&Arc::clone(set), None))
    }

    /// Who may know better; for an exploration, who else there is.
    fn referral(&self, lookup: &DatabaseLookup, now: Date) -> DatabaseSearchReply {
        let keep = |h: &RouterHash| *h != lookup.from && !lookup.excluded.contains(h);
        let near = RoutingKey::of(&lookup.key, now);
        let peers = if lookup.kind == LookupType::Exploratory {
            self.routers.closest_others(&near, MAX_SEARCH_REPLY_PEERS, keep)
        } else {
            self.routers.good_floodfills(&near, config::SEARCH_REPLY_PEERS, self.now.mono, keep)
        };
        DatabaseSearchReply { key: lookup.key, peers, from: self.our_hash() }
    }

    fn reply<'a>(
        &mut self,
        lookup: &DatabaseLookup,
        kind: MessageType,
        body: &impl Wire<'a>,
        cx: &mut Cx<'_>,
    ) {
        let message = Self::message(kind, body, cx);
        let Some(tunnel) = lookup.reply_tunnel else {
            self.outputs.push_back(Output::Send {
                to: lookup.from,
                via: Via::Direct,
                message,
                garlic: false,
            });
            return;
        };
        let wrap = match &lookup.reply {
            ReplyEncryption::Ecies { key, tag } => Some((key.clone(), *tag)),
            ReplyEncryption::None | ReplyEncryption::Aes { .. } => None,
        };
        self.outputs.push_back(Output::SendTunnel { gateway: lookup.from, tunnel, message, wrap });
    }
}
