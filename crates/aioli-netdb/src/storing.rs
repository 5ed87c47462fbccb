//! What comes in: from disk, from sessions, as stores and as replies.
//!
//! ```text
//!                  RouterInfo                        LeaseSet
//! session, DSM     stored, served                    only as a floodfill; served
//! router garlic    stored, served                    only as a floodfill; served
//! our tunnels      only if sought; served unless     only if sought in that view; not served
//!                  sought for a client
//! client tunnels   never                             only if sought in that view; not served
//! clove            never                             in that view; not served
//! ```

use std::sync::Arc;

use aioli_core::{Cx, Duration, Now};
use aioli_wire::i2np::{DatabaseStore, StoreData};
use aioli_wire::{DestinationHash, Hash, LeaseSet, RouterHash, RouterInfo, Unverified, Verified};

use crate::admission::{self, Rejected};
use crate::routers::{Origin, Stored};
use crate::search::SearchKey;
use crate::{NetDb, ReplyPaths, Source, View, config};

impl NetDb {
    /// A RouterInfo file. What is refused will be removed from the disk.
    pub fn load(&mut self, bytes: impl AsRef<[u8]>, cx: &mut Cx<'_>) -> Result<RouterHash, Rejected> {
        // Few routers: better old ones than none.
        let few = self.routers.len() < config::FEW_ROUTERS;
        let max_age = if few { Duration::MAX } else { config::MAX_ROUTER_AGE_FEW };
        self.take_file(bytes.as_ref(), false, max_age, cx)
    }

    /// A RouterInfo from a reseed bundle or another router's directory. It will
    /// be written to the disk.
    pub fn import(&mut self, bytes: impl AsRef<[u8]>, cx: &mut Cx<'_>) -> Result<RouterHash, Rejected> {
        self.take_file(bytes.as_ref(), true, config::MAX_ROUTER_AGE_FEW, cx)
    }

    fn take_file(
        &mut self,
        bytes: &[u8],
        record: bool,
        max_age: Duration,
        cx: &Cx<'_>,
    ) -> Result<RouterHash, Rejected> {
        self.begin(cx.now);
        let info = RouterInfo::decode_unverified(bytes).map_err(|_| Rejected::Malformed)?;
        let hash = info.claims().hash();
        let origin = Origin { met: false, sought: true, asked: true, served: true, record };
        match self.admit_router(info, origin, max_age, cx.now) {
            Ok(_) => Ok(hash),
            Err(Rejected::Stale) if !self.clock_known => {
                if self.doubtful.len() < self.config.limits.routers {
                    self.doubtful.insert(hash);
                }
                Err(Rejected::Stale)
            }
            Err(why) => {
                self.routers.discard_record(hash);
                Err(why)
            }
        }
    }

    /// A RouterInfo that came outside of messages, as in a handshake.
    pub fn store(
        &mut self,
        info: Unverified<RouterInfo>,
        from: Source,
        cx: &mut Cx<'_>,
    ) -> Result<Stored, Rejected> {
        self.begin(cx.now);
        let hash = info.claims().hash();
        let met = from == Source::Peer(hash);
        // The transport bounds how many sessions begin.
        let origin = Origin { met, sought: false, asked: true, served: true, record: true };
        let result = self.admit_router(info, origin, self.max_router_age(), cx.now);
        if result.is_ok() {
            self.finish_router_search(&hash, cx);
        }
        result
    }

    /// Checks and stores a RouterInfo.
    fn admit_router(
        &mut self,
        info: Unverified<RouterInfo>,
        origin: Origin,
        max_age: Duration,
        now: Now,
    ) -> Result<Stored, Rejected> {
        let result = self.try_admit_router(info, origin, max_age, now);
        match result {
            Ok(Stored::New | Stored::Newer) => self.stats.routers_stored += 1,
            Ok(Stored::Known) | Err(Rejected::Ours) => {}
            Err(Rejected::Signature(_)) => self.stats.bad_signatures += 1,
            Err(Rejected::Crowded) => self.stats.routers_crowded += 1,
            Err(Rejected::Busy) => self.stats.stores_throttled += 1,
            Err(_) => self.stats.routers_refused += 1,
        }
        result
    }

    fn try_admit_router(
        &mut self,
        info: Unverified<RouterInfo>,
        origin: Origin,
        max_age: Duration,
        now: Now,
    ) -> Result<Stored, Rejected> {
        admission::router_info(info.claims(), &self.config, now.wall, max_age, self.clock_known)?;
        let hash = info.claims().hash();
        // An old copy needs no signature check: it only proves that we know it.
        let known = self.routers.get(&hash).filter(|old| old.published >= info.claims().published);
        let info = match known {
            Some(known) if known.bytes() != info.claims().bytes() => return Ok(Stored::Known),
            Some(known) => Arc::clone(known),
            None if !self.routers.has_room(&hash, origin, now.mono) => return Err(Rejected::Crowded),
            None if !(origin.met || origin.asked || self.gate.may_check(now.mono)) => {
                return Err(Rejected::Busy);
            }
            None => self.check(info).map_err(Rejected::Signature)?,
        };
        let (stored, evicted) = self.routers.insert(info, origin, now.mono).map_err(|_| Rejected::Crowded)?;
        self.stats.routers_evicted += u64::from(evicted);
        Ok(stored)
    }

    /// A LeaseSet that came along with a client's message.
    pub fn store_lease_set(
        &mut self,
        view: View,
        set: Unverified<LeaseSet>,
        cx: &mut Cx<'_>,
    ) -> Result<Stored, Rejected> {
        self.begin(cx.now);
        let key = set.claims().key();
        let result = self.admit_lease_set(view, set, false, cx.now);
        if let Some(known) = self.lease_set(view, &key)
            && result.is_ok()
        {
            self.finish_lease_set_search(view, &known, cx);
        }
        result
    }

    /// Checks and stores a LeaseSet in a view.
    pub(crate) fn admit_lease_set(
        &mut self,
        view: View,
        set: Unverified<LeaseSet>,
        served: bool,
        now: Now,
    ) -> Result<Stored, Rejected> {
        let result = self.try_admit_lease_set(view, set, served, now);
        match result {
            Ok(Stored::New | Stored::Newer) => self.stats.lease_sets_stored += 1,
            Ok(Stored::Known) => {}
            Err(Rejected::Signature(_)) => self.stats.bad_signatures += 1,
            Err(Rejected::Busy) => self.stats.stores_throttled += 1,
            Err(_) => self.stats.lease_sets_refused += 1,
        }
        result
    }

    fn try_admit_lease_set(
        &mut self,
        view: View,
        set: Unverified<LeaseSet>,
        served: bool,
        now: Now,
    ) -> Result<Stored, Rejected> {
        admission::lease_set(set.claims(), now.wall)?;
        let (key, version) = (set.claims().key(), set.claims().version());
        if !self.lease_sets_of(view).wants(&key, version) {
            let same = self
                .lease_sets_of(view)
                .get(&key, now.wall)
                .is_some_and(|s| s.bytes() == set.claims().bytes());
            if served && same {
                self.lease_sets_of(view).mark_served(&key);
            }
            return Ok(Stored::Known);
        }
        // What a floodfill is told by others, nobody here has asked for.
        if served && !self.gate.may_check(now.mono) {
            return Err(Rejected::Busy);
        }
        let set = Arc::new(set.verify().map_err(Rejected::Signature)?);
        let (stored, evicted) = self.lease_sets_of(view).insert(set, served);
        self.stats.lease_sets_evicted += u64::from(evicted);
        Ok(stored)
    }

    /// A DatabaseStore: a store, a flood or a reply.
    pub(crate) fn on_store(
        &mut self,
        from: Source,
        store: DatabaseStore,
        cx: &mut Cx<'_>,
        paths: &dyn ReplyPaths,
    ) {
        match &store.data {
            StoreData::RouterInfo { .. } => self.on_router_store(from, store, cx, paths),
            StoreData::LeaseSet { .. } => self.on_lease_set_store(from, store, cx),
        }
    }

    /// Something wrong came from there.
    pub(crate) fn note_wrong(&mut self, from: Source, why: Rejected, cx: &mut Cx<'_>) {
        if self.gate.note(from, why, cx) {
            self.stats.senders_muted += 1;
        }
    }

    /// Whether a store that nobody asked for is looked at.
    fn gate_opens(&mut self, from: Source, cx: &Cx<'_>) -> bool {
        let opens = self.gate.opens(from, cx.now.mono);
        self.stats.stores_throttled += u64::from(!opens);
        opens
    }

    fn on_router_store(
        &mut self,
        from: Source,
        store: DatabaseStore,
        cx: &mut Cx<'_>,
        paths: &dyn ReplyPaths,
    ) {
        let hash = RouterHash::from(store.key);
        let sought = self.router_search_is_secret(&hash);
        let allowed = match from {
            Source::Tunnel(View::Client(_)) => false,
            Source::Tunnel(View::Router) => sought.is_some(),
            Source::Peer(_) | Source::Garlic => true,
        };
        if !allowed {
            self.stats.unsolicited += 1;
            return;
        }
        if sought.is_none() && !self.gate_opens(from, cx) {
            return;
        }
        let Some(Ok(info)) = store.data.decode_router_info() else {
            self.stats.malformed += 1;
            self.note_wrong(from, Rejected::Malformed, cx);
            return;
        };
        if info.claims().hash() != hash {
            self.stats.wrong_keys += 1;
            self.note_wrong(from, Rejected::WrongKey, cx);
            return;
        }
        if paths.is_barred(info.claims()) {
            self.stats.routers_refused += 1;
            return;
        }
        let published = info.claims().published;
        let through_tunnel = matches!(from, Source::Tunnel(_));
        let origin = Origin {
            met: from == Source::Peer(hash),
            sought: self.router_is_wanted(&hash),
            asked: sought.is_some(),
            served: !through_tunnel || sought == Some(false),
            record: true,
        };
        let stored = match self.admit_router(info, origin, self.max_router_age(), cx.now) {
            Ok(stored) => stored,
            Err(why) => {
                self.note_wrong(from, why, cx);
                return;
            }
        };
        self.finish_router_search(&hash, cx);
        if through_tunnel {
            return;
        }
        let young = cx.now.wall.since(published) < config::MAX_FLOOD_AGE;
        self.acknowledge(from, &store, stored != Stored::Known && young, cx);
    }

    fn on_lease_set_store(&mut self, from: Source, store: DatabaseStore, cx: &mut Cx<'_>) {
        if self.floodfill && !self.gate_opens(from, cx) {
            return;
        }
        let Some(Ok(set)) = store.data.decode_lease_set() else {
            self.stats.malformed += 1;
            self.note_wrong(from, Rejected::Malformed, cx);
            return;
        };
        if Hash::from(set.claims().key()) != store.key {
            self.stats.wrong_keys += 1;
            self.note_wrong(from, Rejected::WrongKey, cx);
            return;
        }
        match from {
            Source::Tunnel(view) => self.on_lease_set_reply(view, set, cx),
            Source::Peer(_) | Source::Garlic if self.floodfill => {
                let hidden = set.claims().flags().contains(aioli_wire::LeaseSetFlags::UNPUBLISHED);
                let stored = match self.admit_lease_set(View::Router, set, true, cx.now) {
                    Ok(stored) => stored,
                    Err(why) => {
                        self.note_wrong(from, why, cx);
                        return;
                    }
                };
                self.acknowledge(from, &store, stored != Stored::Known && !hidden, cx);
            }
            Source::Peer(_) | Source::Garlic => self.stats.unsolicited += 1,
        }
    }

    /// A LeaseSet out of a tunnel: sought, or one of ours looked up to verify it.
    fn on_lease_set_reply(&mut self, view: View, set: Unverified<LeaseSet>, cx: &Cx<'_>) {
        let key = set.claims().key();
        let Some(set) = self.on_verify_reply(view, set, cx) else { return };
        if !self.searches.contains_key(&SearchKey::lease_set(view, key.into())) {
            self.stats.unsolicited += 1;
            return;
        }
        if self.admit_lease_set(view, set, false, cx.now).is_ok()
            && let Some(known) = self.lease_set(view, &key)
        {
            self.finish_lease_set_search(view, &known, cx);
        }
    }

    /// The LeaseSet that others may have, if we are a floodfill.
    pub(crate) fn served_lease_set(
        &self,
        key: &DestinationHash,
        now: Now,
    ) -> Option<&Arc<Verified<LeaseSet>>> {
        let sets = self.lease_sets.get(&View::Router).filter(|_| self.floodfill)?;
        sets.served(key, now.wall)
    }
}
