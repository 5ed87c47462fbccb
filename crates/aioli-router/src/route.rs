//! What goes where: the translation of one part's outputs into another's
//! inputs.
//!
//! ```text
//!  from a peer ─┬─ TunnelData, TunnelGateway, builds ─► tunnels
//!               ├─ Garlic ─► our key or an expected reply ─► its cloves
//!               ├─ Store, Lookup, SearchReply ─► netdb (as from that peer)
//!               └─ DeliveryStatus ─► tunnel test, else netdb
//!  out of our exploratory tunnels ─► the same, as learned by the router
//!  out of a destination's tunnels ─► its own view and its own keys, nothing else
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;

use aioli_core::map::{Table, table};
use aioli_core::{Cx, Duration, Instant, Rng};
use aioli_destination::router_garlic::{seal_reply, seal_to_router};
use aioli_netdb::{NetDb, Record, ReplyPaths, Source, Via, View};
use aioli_transport::{DialError, Lane, Transport};
use aioli_tunnel::{BuildResult, Delivery, Places, PoolId, Tunnels};
use aioli_wire::garlic::{Clove, CloveDelivery};
use aioli_wire::i2np::{DeliveryStatus, TunnelGateway};
use aioli_wire::ip::Subnet;
use aioli_wire::{
    Lease, Message, MessageId, MessageType, RouterHash, RouterInfo, TunnelId, Unverified, Wire,
};

use crate::bans::Bans;
use crate::event::Event;
use crate::router::{Output, Router, StoreWrite, cx};
use crate::tap::Tapped;

/// Messages whose id is remembered, per generation.
const SEEN_PER_GENERATION: usize = 65_536;
/// How long a generation lasts: an id is remembered for one to two of them.
const SEEN_GENERATION: Duration = Duration::from_secs(120);
/// A message is late when it expired this long ago, for clocks that differ.
const LATE: Duration = Duration::from_secs(60);
/// What we wrap ourselves expires after this time.
const WRAPPER_LIFETIME: Duration = Duration::from_secs(15);

/// Message ids of late, against replays. Two generations of bounded size.
#[derive(Debug)]
pub(crate) struct SeenMessages {
    young: Table<u32, ()>,
    old: Table<u32, ()>,
    turned: Instant,
}

impl SeenMessages {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        Self { young: table(rng), old: table(rng), turned: Instant::ZERO }
    }

    /// Whether the id is new. It is not from now on.
    fn insert(&mut self, id: MessageId, now: Instant) -> bool {
        if self.young.len() >= SEEN_PER_GENERATION {
            self.turn(now);
        }
        !self.old.contains_key(&id.0) && self.young.insert(id.0, ()).is_none()
    }

    pub(crate) fn expire(&mut self, now: Instant) {
        if now.since(self.turned) >= SEEN_GENERATION {
            self.turn(now);
        }
    }

    fn turn(&mut self, now: Instant) {
        std::mem::swap(&mut self.young, &mut self.old);
        self.young.clear();
        self.turned = now;
    }

    pub(crate) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

/// What the NetDB may know about tunnels and sessions.
struct Paths<'a> {
    tunnels: &'a Tunnels,
    transport: &'a Transport,
    bans: &'a Bans,
    now: Instant,
}

impl ReplyPaths for Paths<'_> {
    fn inbound(&self, view: View) -> Option<Lease> {
        let leases = self.tunnels.reply_leases(pool_of(view));
        // Any will do; the clock spreads the choice.
        let choice = usize::try_from(self.now.as_micros() / 1_000).unwrap_or(0);
        leases.get(choice.checked_rem(leases.len())?).cloned()
    }

    fn has_outbound(&self, view: View) -> bool {
        self.tunnels.has_outbound(pool_of(view))
    }

    fn is_connected(&self, router: &RouterHash) -> bool {
        self.transport.is_connected(router)
    }

    fn is_barred(&self, router: &RouterInfo) -> bool {
        self.bans.bars(router, self.now)
    }
}

/// Where routers are, as they publish it.
struct Addresses<'a>(&'a NetDb);

impl Places for Addresses<'_> {
    fn subnet(&self, router: &RouterHash) -> Option<Subnet> {
        let info = self.0.router(router)?;
        info.addresses.iter().find_map(|a| a.endpoint()).map(|endpoint| Subnet::of(endpoint.ip()))
    }
}

const fn pool_of(view: View) -> PoolId {
    match view {
        View::Router => PoolId::EXPLORATORY,
        View::Client(pool) => PoolId(pool),
    }
}

/// The view of a tunnel pool.
pub(crate) fn view_of(pool: PoolId) -> View {
    if pool == PoolId::EXPLORATORY { View::Router } else { View::Client(pool.0) }
}

impl Router {
    /// Moves messages between the parts until none moves.
    pub(crate) fn settle(&mut self) {
        loop {
            let moved = self.drain_transport()
                | self.drain_tunnels()
                | self.drain_netdb()
                | self.drain_sessions()
                | self.drain_loopback();
            if moved {
                continue;
            }
            self.tunnels.flush(&mut cx!(self));
            // A search that was asked for a moment ago begins at once.
            if self.netdb.next_timeout().is_some_and(|(at, _)| at <= self.now.mono) {
                self.with_paths(|netdb, cx, paths| netdb.handle_timeout(cx, paths));
            }
            if !(self.drain_tunnels() | self.drain_netdb()) {
                return;
            }
        }
    }

    /// Calls the NetDB with a look at tunnels and sessions.
    pub(crate) fn with_paths<T>(
        &mut self,
        f: impl FnOnce(&mut NetDb, &mut Cx<'_>, &dyn ReplyPaths) -> T,
    ) -> T {
        let now = self.now.mono;
        let paths = Paths { tunnels: &self.tunnels, transport: &self.transport, bans: &self.bans, now };
        f(&mut self.netdb, &mut Cx { now: self.now, rng: &mut self.rng }, &paths)
    }

    fn drain_transport(&mut self) -> bool {
        use aioli_transport::Output as T;
        let mut moved = false;
        while let Some(output) = self.transport.poll_output() {
            moved = true;
            match output {
                T::Dial { conn, to } => self.outputs.push_back(Output::Dial { conn, to }),
                T::Transmit(conn) => self.outputs.push_back(Output::Transmit(conn)),
                T::Datagrams => self.outputs.push_back(Output::Datagrams),
                T::ReadMore(conn) => self.outputs.push_back(Output::ReadMore(conn)),
                T::Close { conn, reset } => self.outputs.push_back(Output::Close { conn, reset }),
                T::HandshakeFailed { from, why } => self.on_handshake_failed(from, why),
                T::Established { peer, inbound, router_info } => {
                    if !self.welcomes(&peer, router_info.as_ref().map(Unverified::claims)) {
                        continue;
                    }
                    self.profiles.connected(&peer, inbound, self.now.mono);
                    self.on_peer();
                    match router_info {
                        Some(info) => self.store_router(info, peer),
                        None => self.netdb.note_alive(&peer, &mut cx!(self)),
                    }
                    if !std::mem::replace(&mut self.met_a_peer, true) {
                        self.outputs.push_back(Output::Event(Event::FirstPeer));
                        self.tell_building(0, 0);
                    }
                }
                T::Disconnected { .. } => {}
                T::Lost { peer } => self.on_lost(peer),
                T::Silent { at } => self.on_silent(at),
                T::Stray { from } => self.on_stray(from),
                T::DialFailed { peer, reason, dropped } => self.on_dial_failed(&peer, reason, dropped.len()),
                T::Messages { from, messages } => self.on_messages(from, messages),
                T::RouterInfo { from, ri, .. } => self.store_router(ri, from),
                T::PeerClock { peer, at, ahead_ms } => {
                    let heard = self.clock.on_peer(peer, at, ahead_ms);
                    self.on_clock(heard);
                }
                T::ObservedAddress { at, address, .. } => self.on_seen(at.ip(), address),
                T::Visitor { from } => self.on_visitor(from),
                T::PeerTested { by, address, outcome } => self.on_tested(by, address, outcome),
                T::RelayTag { by, at, tag } => self.on_relay_tag(by, at, tag),
                T::WantRouterInfo { router } => self.tell_transport(&router),
                T::WantIntroducers { routers } => self.bring_introducers(&routers),
                // Who is right is seen from all clocks together, and those that came to us were chosen by nobody.
                T::ClockSkew { .. } => {}
            }
        }
        moved
    }

    fn on_dial_failed(&mut self, peer: &RouterHash, reason: DialError, dropped: usize) {
        self.dropped += dropped as u64;
        if reason.blames_peer() {
            self.profiles.unreachable(peer, self.now.mono);
        }
        self.note_dial_failed(*peer, reason);
        self.netdb.note_unreachable(peer, &mut cx!(self));
        self.tunnels.handle_peer_gone(peer, &mut cx!(self));
    }

    fn store_router(&mut self, info: Unverified<RouterInfo>, from: RouterHash) {
        if self.refuses(info.claims()) || self.netdb.store(info, Source::Peer(from), &mut cx!(self)).is_err()
        {
            self.dropped += 1;
        }
    }

    /// All messages of one read from a session.
    fn on_messages(&mut self, from: RouterHash, messages: Vec<Message>) {
        let too_late = self.now.wall - LATE;
        let mut for_tunnels = Vec::with_capacity(messages.len());
        for message in messages {
            if message.expires < too_late {
                self.dropped += 1;
            } else if message.kind == MessageType::TunnelData {
                // Tunnels have a duplicate filter of their own.
                for_tunnels.push(message);
            } else if !self.seen.insert(message.id, self.now.mono) {
                self.dropped += 1;
            } else if is_for_tunnels(message.kind) {
                for_tunnels.push(message);
            } else {
                self.on_direct(from, message);
            }
        }
        if !for_tunnels.is_empty() {
            self.tunnels.handle_message(from, for_tunnels, &mut cx!(self), &Addresses(&self.netdb));
        }
    }

    /// A message from a peer's session that is not for a tunnel.
    #[expect(clippy::wildcard_enum_match_arm, reason = "whatever else comes has no business here")]
    fn on_direct(&mut self, from: RouterHash, message: Message) {
        match message.kind {
            MessageType::Garlic => self.on_garlic(Some(from), message),
            MessageType::DatabaseStore | MessageType::DatabaseLookup | MessageType::DatabaseSearchReply => {
                self.tell_netdb(Source::Peer(from), &message);
            }
            MessageType::DeliveryStatus => self.on_delivery_status(Source::Peer(from), &message),
            _ => self.dropped += 1,
        }
    }

    fn on_delivery_status(&mut self, source: Source, message: &Message) {
        let id = DeliveryStatus::from_bytes(&message.body).map(|status| status.id.get());
        let is_test = id.is_ok_and(|id| self.tunnels.handle_delivery_status(id, &mut cx!(self)));
        if !is_test {
            self.tell_netdb(source, message);
        }
    }

    /// Garlic to our router's key, or the answer to a question of the router.
    fn on_garlic(&mut self, from: Option<RouterHash>, message: Message) {
        match self.reply_views.take(&message.body) {
            Some(view) => self.on_reply(view, message),
            None => self.on_router_garlic(from, message),
        }
    }

    /// The answer to a question of this view.
    fn on_reply(&mut self, view: View, mut message: Message) {
        let Ok(opened) = self.garlic.open(&mut message.body, &mut cx!(self)) else { return };
        for clove in opened.cloves {
            self.on_clear(view, clove.message);
        }
    }

    /// A message that came through tunnels of this view, out of any garlic.
    #[expect(clippy::wildcard_enum_match_arm, reason = "whatever else comes has no business here")]
    pub(crate) fn on_clear(&mut self, view: View, message: Message) {
        match message.kind {
            MessageType::OutboundTunnelBuildReply => {
                self.tunnels.handle_build_reply(&message, &mut cx!(self));
            }
            MessageType::DeliveryStatus => self.on_delivery_status(Source::Tunnel(view), &message),
            MessageType::DatabaseStore | MessageType::DatabaseSearchReply => {
                self.tell_netdb(Source::Tunnel(view), &message);
            }
            _ => self.dropped += 1,
        }
    }

    fn on_router_garlic(&mut self, from: Option<RouterHash>, mut message: Message) {
        let Ok(opened) = self.garlic.open(&mut message.body, &mut cx!(self)) else { return };
        for clove in opened.cloves {
            match clove.delivery {
                CloveDelivery::Local => self.on_own_clove(from, clove.message),
                CloveDelivery::Router(to) => self.send(RouterHash::new(to), clove.message),
                CloveDelivery::Tunnel(gateway, tunnel) => {
                    self.send_to_tunnel(RouterHash::new(gateway), TunnelId(tunnel), &clove.message);
                }
                CloveDelivery::Destination(_) => self.dropped += 1,
            }
        }
    }

    /// What someone sent to our router, unseen by whoever carried it.
    #[expect(clippy::wildcard_enum_match_arm, reason = "whatever else comes has no business here")]
    fn on_own_clove(&mut self, from: Option<RouterHash>, message: Message) {
        match message.kind {
            MessageType::DatabaseStore | MessageType::DatabaseLookup | MessageType::DatabaseSearchReply => {
                self.tell_netdb(Source::Garlic, &message);
            }
            MessageType::DeliveryStatus => self.on_delivery_status(Source::Garlic, &message),
            kind if is_for_tunnels(kind) && kind != MessageType::TunnelData => {
                let from = from.unwrap_or(self.hash);
                self.tunnels.handle_message(from, vec![message], &mut cx!(self), &Addresses(&self.netdb));
            }
            _ => self.dropped += 1,
        }
    }

    fn drain_tunnels(&mut self) -> bool {
        use aioli_tunnel::Output as T;
        let mut moved = false;
        while let Some(output) = self.tunnels.poll_output() {
            moved = true;
            match output {
                T::Send { to, messages, transit } => {
                    self.send_all(to, if transit { Lane::Transit } else { Lane::Own }, messages);
                }
                T::Received { pool, message, .. } => self.on_received(pool, message),
                T::ExpectReply { pool, tag, key, until } => {
                    if self.reply_views.expect(tag, view_of(pool), until) {
                        self.garlic.expect_reply(tag, key, until);
                    }
                }
                T::LeasesChanged { pool, leases } => self.on_leases(pool, leases),
                T::PoolChanged { pool, inbound, outbound } => self.on_pool(pool, inbound, outbound),
                T::BuildBegun { last } => self.let_it_reach_us(&last),
                T::BuildDone { pool, inbound, hops, offers, result, took } => {
                    self.on_build_done(&hops, &result, took);
                    for (hop, kbps) in offers {
                        self.profiles.offered(&hop, kbps, self.now.mono);
                    }
                    if result == BuildResult::Accepted {
                        self.confirm_guard(pool, if inbound { hops.last() } else { hops.first() });
                    }
                }
                T::TestDone { hops, ok, rtt } => {
                    let hops = if !ok && self.slept_through(rtt) { Vec::new() } else { hops };
                    for hop in &hops {
                        self.profiles.tested(hop, ok, self.now.mono);
                    }
                }
                T::Carried { hops, bytes_per_sec } => {
                    for hop in &hops {
                        self.profiles.carried(hop, bytes_per_sec, self.now.mono);
                    }
                }
                T::TunnelEnded { hops } => {
                    self.own_tunnels = self.own_tunnels.saturating_sub(u32::from(!hops.is_empty()));
                    for hop in &hops {
                        if let Some(count) = self.in_use.get_mut(hop) {
                            *count -= 1;
                            if *count == 0 {
                                self.in_use.remove(hop);
                            }
                        }
                    }
                }
            }
        }
        moved
    }

    fn on_build_done(&mut self, hops: &[RouterHash], result: &BuildResult, took: Duration) {
        let now = self.now.mono;
        tracing::debug!(?hops, ?result, ?took, "build");
        self.tap_build(hops, result, took);
        match result {
            BuildResult::Accepted => {
                self.own_tunnels += u32::from(!hops.is_empty());
                for hop in hops {
                    self.profiles.agreed(hop, took, now);
                    self.profiles.proved(hop, now);
                    self.netdb.note_alive(hop, &mut cx!(self));
                    *self.in_use.entry(*hop).or_default() += 1;
                }
            }
            BuildResult::Rejected { by } => {
                let by: BTreeSet<_> = by.iter().collect();
                for hop in hops {
                    if by.contains(hop) {
                        self.profiles.declined(hop, now);
                    } else {
                        self.profiles.agreed(hop, took, now);
                    }
                }
            }
            BuildResult::TimedOut if self.slept_through(took) => {}
            BuildResult::TimedOut => {
                for hop in hops {
                    self.profiles.unanswered(hop, hops.len() - 1, now);
                }
            }
            BuildResult::Failed => {}
        }
    }

    /// Whoever cannot dial us needs a session that we began.
    fn let_it_reach_us(&mut self, peer: &RouterHash) {
        if !self.config.is_reachable()
            && let Some(info) = self.netdb.router(peer).map(Arc::clone)
        {
            self.transport.connect(&info, &mut cx!(self));
        }
    }

    /// A tunnel came about with this peer next to us.
    fn confirm_guard(&mut self, pool: PoolId, peer: Option<&RouterHash>) {
        let Some((key, peer)) = self.tunnels.order_key(pool).zip(peer) else { return };
        if pool != PoolId::EXPLORATORY && (self.roster.is_large() || self.guards.has(key)) {
            self.guards.confirm(key, *peer, self.now.wall, &mut self.rng);
        }
    }

    /// A message came out of one of our inbound tunnels.
    fn on_received(&mut self, pool: PoolId, message: Message) {
        if message.expires < self.now.wall - LATE {
            self.dropped += 1;
            return;
        }
        let view = view_of(pool);
        match (view, message.kind) {
            (View::Router, MessageType::Garlic) => self.on_garlic(None, message),
            (View::Client(_), MessageType::Garlic) => match self.reply_views.take(&message.body) {
                Some(asked) if asked == view => self.on_reply(view, message),
                Some(_) => self.dropped += 1,
                None => self.on_destination_message(pool, message),
            },
            _ => self.on_clear(view, message),
        }
    }

    fn on_pool(&mut self, pool: PoolId, inbound: usize, outbound: usize) {
        if pool != PoolId::EXPLORATORY {
            self.on_session_pool(pool, inbound, outbound);
            return;
        }
        let ready = inbound > 0 && outbound > 0;
        if ready && !self.ready {
            self.outputs.push_back(Output::Event(Event::Ready { inbound, outbound }));
        } else if !ready && self.ready && !self.shutting_down {
            self.outputs.push_back(Output::Event(Event::TunnelsLost));
        } else if !ready && inbound + outbound > 0 && !self.shutting_down {
            self.tell_building(inbound, outbound);
        }
        self.ready = ready;
    }

    fn drain_netdb(&mut self) -> bool {
        let mut moved = false;
        while let Some(output) = self.netdb.poll_output() {
            moved = true;
            self.on_netdb_output(output);
        }
        moved
    }

    pub(crate) fn on_netdb_output(&mut self, output: aioli_netdb::Output) {
        use aioli_netdb::Output as N;
        match output {
            N::Send { to, via, message, garlic } => self.send_for_netdb(to, via, message, garlic),
            N::SendTunnel { gateway, tunnel, message, wrap } => {
                let message = match wrap {
                    Some((key, tag)) => {
                        let sealed = seal_reply(&key, tag, &[clove(&message)], &mut cx!(self));
                        let Ok(body) = sealed else { return };
                        self.wrapper(body)
                    }
                    None => message,
                };
                self.send_to_tunnel(gateway, tunnel, &message);
            }
            N::ExpectReply { view, tag, key, until } => {
                if self.reply_views.expect(tag, view, until) {
                    self.garlic.expect_reply(tag, key, until);
                }
            }
            N::Found { id, view, lease_set } => self.on_lease_set(id, view, Some(lease_set)),
            N::NotFound { id, view, .. } => self.on_lease_set(id, view, None),
            N::Silent(view) => self.tunnels.suspect(pool_of(view), &cx!(self)),
            N::RouterFound(info) => {
                for message in self.awaiting.take(&info.hash()) {
                    self.transport.send(&info, Lane::Own, message, &mut cx!(self));
                }
            }
            N::RouterNotFound(hash) => {
                self.dropped += self.awaiting.take(&hash).len() as u64;
                self.tunnels.handle_peer_gone(&hash, &mut cx!(self));
            }
            N::Published { what, .. } => self.on_published(&what),
            N::RenewLocal => self.renew_own_info(),
            N::Record(Record::StoreRouter(hash, bytes)) => {
                self.outputs.push_back(Output::Store(StoreWrite::RouterInfo { hash, bytes }));
            }
            N::Record(Record::RemoveRouter(hash)) => {
                self.outputs.push_back(Output::Store(StoreWrite::RemoveRouterInfo(hash)));
            }
            N::SearchEnded(ended) => self.outputs.push_back(Output::Tapped(Tapped::Search(ended))),
        }
    }

    fn send_for_netdb(&mut self, to: RouterHash, via: Via, message: Message, garlic: bool) {
        let message = if garlic {
            let Some(info) = self.netdb.router(&to).map(Arc::clone) else { return };
            let key = info.identity.encryption_key();
            let Ok(body) = seal_to_router(&key, &[clove(&message)], &mut cx!(self)) else { return };
            self.wrapper(body)
        } else {
            message
        };
        match via {
            Via::Direct => self.send(to, message),
            Via::Tunnel(view) => {
                let deliveries = vec![(Delivery::Router(to), message)];
                if self.tunnels.send(pool_of(view), None, deliveries, &mut cx!(self)).is_err() {
                    self.dropped += 1;
                }
            }
        }
    }

    fn drain_loopback(&mut self) -> bool {
        let mut moved = false;
        while let Some(message) = self.loopback.pop_front() {
            moved = true;
            self.on_messages(self.hash, vec![message]);
        }
        moved
    }

    fn wrapper(&mut self, body: Vec<u8>) -> Message {
        Message {
            kind: MessageType::Garlic,
            id: MessageId(self.rng.u32()),
            expires: self.now.wall + WRAPPER_LIFETIME,
            body,
        }
    }

    /// Sends into a tunnel that starts at another router.
    fn send_to_tunnel(&mut self, gateway: RouterHash, tunnel: TunnelId, message: &Message) {
        let inner = message.encode_standard();
        let gateway_message = Message {
            kind: MessageType::TunnelGateway,
            id: MessageId(self.rng.u32()),
            expires: message.expires,
            body: TunnelGateway { tunnel, message: &inner }.to_bytes(),
        };
        self.send(gateway, gateway_message);
    }

    fn send(&mut self, to: RouterHash, message: Message) {
        self.send_all(to, Lane::Own, vec![message]);
    }

    /// Sends over a session, dialling or looking the router up first if need be.
    fn send_all(&mut self, to: RouterHash, lane: Lane, messages: Vec<Message>) {
        if to == self.hash {
            self.loopback.extend(messages);
            return;
        }
        for message in messages {
            let Err(message) = self.transport.send_to(&to, lane, message, &mut cx!(self)) else { continue };
            if let Some(info) = self.netdb.router(&to).map(Arc::clone) {
                if self.refuses(&info) {
                    self.dropped += 1;
                    self.netdb.forget_router(&to);
                    self.tunnels.handle_peer_gone(&to, &mut cx!(self));
                    continue;
                }
                self.transport.send(&info, lane, message, &mut cx!(self));
            } else if self.awaiting.push(to, message, self.now.mono) {
                self.with_paths(|netdb, cx, _| netdb.find_router(&to, cx));
            }
        }
    }
}

const fn is_for_tunnels(kind: MessageType) -> bool {
    matches!(
        kind,
        MessageType::TunnelData
            | MessageType::TunnelGateway
            | MessageType::ShortTunnelBuild
            | MessageType::VariableTunnelBuild
    )
}

/// The message as the only clove of a garlic, for its receiver.
fn clove(message: &Message) -> Clove<'_> {
    Clove {
        delivery: CloveDelivery::Local,
        kind: message.kind.code(),
        id: message.id.0,
        expires: message.expires,
        body: &message.body,
    }
}
