//! Builds of our own (`tunnel-creation-ecies#creator`).
//!
//! ```text
//!  outbound: us ─STBM─► hop 1 ─► ... ─► OBEP ─garlic─► reply tunnel ─► us
//!  inbound:  us ─garlic, outbound tunnel─► IBGW ─STBM─► ... ─► last hop ─STBM─► us
//! ```
//!
//! Every hop's record is sealed to it. As each hop encrypts all records but
//! its own on the way, a record is decrypted beforehand by the keys of the
//! hops that it passes first; the answers are decrypted afterwards by the keys
//! of those that they passed later.

use aioli_core::crypto::aead::ChaChaKey;
use aioli_core::crypto::aes::TunnelLayer;
use aioli_core::crypto::build_keys::{self, HopKeys};
use aioli_core::crypto::secret::ct_eq;
use aioli_core::crypto::{chacha20, noise_n, x25519};
use aioli_core::{Cx, Date, Duration, Instant, bug};
use aioli_wire::build::{
    BuildRecords, BuildRequest, HASH_PREFIX, MAX_RECORDS, Role, SHORT_RECORD, TUNNEL_LIFETIME_SECS,
    random_tunnel_id, reply_accepts, reply_offer,
};
use aioli_wire::garlic::{Clove, CloveDelivery, PayloadWriter};
use aioli_wire::i2np::Garlic;
use aioli_wire::{Message, MessageId, MessageType, RouterHash, SessionTag, TunnelId, Wire};

use crate::hops::MESSAGE_LIFETIME;
use crate::own::{Inbound, LIFETIME, Outbound};
use crate::packer::Packer;
use crate::pool;
use crate::transit::record_nonce;
use crate::types::{BuildResult, Delivery, Hop, Output, PoolId};
use crate::{Timer, Tunnels};

/// Records in a message at least, so that short tunnels do not stand out.
const MIN_RECORDS: usize = 4;
/// A build that was not answered by then has failed.
const TIMEOUT: Duration = Duration::from_secs(10);
/// But an answer until then still makes a tunnel.
const LATE: Duration = Duration::from_secs(40);

/// A build under way.
#[derive(Debug)]
pub(crate) struct Build {
    pub(crate) pool: PoolId,
    pub(crate) inbound: bool,
    pub(crate) hops: Vec<BuildHop>,
    /// Of the record that is ours, in an inbound build: its place and what it must be in the end.
    own_record: Option<(usize, Vec<u8>)>,
    /// The tunnel's id at our end.
    own_tunnel: TunnelId,
    pub(crate) started: Instant,
    pub(crate) started_wall: Date,
}

/// A hop that was asked.
#[derive(Debug)]
pub(crate) struct BuildHop {
    pub(crate) hash: RouterHash,
    keys: HopKeys,
    /// The transcript of its request: what its answer is bound to.
    h: [u8; 32],
    slot: usize,
    tunnel: TunnelId,
}

/// The tunnel of the other direction that takes part in a build: it carries an
/// inbound build to its gateway, or the answer of an outbound one to us.
#[derive(Clone, Copy)]
struct Pair {
    pool: PoolId,
    tunnel: TunnelId,
}

impl Tunnels {
    /// Begins a build through these hops, of which there is at least one. False: it cannot be begun now.
    pub(crate) fn start_build(&mut self, pool: PoolId, inbound: bool, hops: &[Hop], cx: &mut Cx<'_>) -> bool {
        let pair = self.pair(pool, inbound, cx);
        let own_tunnel = random_tunnel_id(cx.rng);
        let end = if inbound {
            // The last hop hands the answer straight to us.
            (self.config.our_hash, own_tunnel)
        } else {
            let reply_tunnel = pair.and_then(|p| self.inbound.get(&p.tunnel));
            let Some(reply_tunnel) = reply_tunnel else { return false };
            (reply_tunnel.gateway, reply_tunnel.gateway_tunnel)
        };
        let id = self.new_build_id(cx);
        let Some((build, records)) = self.seal_build(pool, inbound, hops, own_tunnel, end, id, cx) else {
            return false;
        };
        self.stats.builds_started += 1;
        if let Some(last) = hops.last().filter(|_| inbound) {
            self.outputs.push_back(Output::BuildBegun { last: last.hash });
        }
        tracing::debug!(id, ?pool, inbound, reply = ?end, "build begun");
        self.send_build(&build, hops, &records, pair, cx);
        self.timers.set(Timer::Build(id), cx.now.mono + TIMEOUT);
        self.builds.insert(id, build);
        true
    }

    /// A message id that no build under way has.
    fn new_build_id(&self, cx: &mut Cx<'_>) -> u32 {
        loop {
            let id = cx.rng.u32();
            if !self.is_awaited(id) {
                return id;
            }
        }
    }

    /// Whether a message of this id is the answer to a build of ours.
    pub(crate) fn is_awaited(&self, id: u32) -> bool {
        self.builds.contains_key(&id) || self.late_builds.contains_key(&id)
    }

    /// Whether a build of the pool can be brought on its way.
    pub(crate) fn has_pair(&self, pool: PoolId, inbound: bool, cx: &mut Cx<'_>) -> bool {
        (pool == PoolId::EXPLORATORY && inbound) || self.pair(pool, inbound, cx).is_some()
    }

    /// A tunnel of the pool itself, or else of the router. If builds keep
    /// failing, the fault may lie with the pool's own.
    fn pair(&self, pool: PoolId, inbound: bool, cx: &mut Cx<'_>) -> Option<Pair> {
        let own = self.any_of(pool, !inbound, cx);
        if pool == PoolId::EXPLORATORY {
            return own;
        }
        let exploratory = self.any_of(PoolId::EXPLORATORY, !inbound, cx);
        // Through one that only stands in, a hop would see whose tunnel it becomes part of.
        let exploratory = exploratory.filter(|_| !self.only_stand_ins(PoolId::EXPLORATORY, !inbound));
        if self.keeps_failing(pool, inbound) { exploratory.or(own) } else { own.or(exploratory) }
    }

    fn any_of(&self, pool: PoolId, inbound: bool, cx: &mut Cx<'_>) -> Option<Pair> {
        let tunnels = self.pools.get(&pool).map(|p| if inbound { &p.inbound } else { &p.outbound })?;
        cx.rng.choose(tunnels).map(|tunnel| Pair { pool, tunnel: *tunnel })
    }

    /// Makes the records. None: a peer's key is unusable.
    #[expect(clippy::too_many_arguments, reason = "one call site; a struct would only rename them")]
    fn seal_build(
        &self,
        pool: PoolId,
        inbound: bool,
        hops: &[Hop],
        own_tunnel: TunnelId,
        end: (RouterHash, TunnelId),
        id: u32,
        cx: &mut Cx<'_>,
    ) -> Option<(Build, BuildRecords)> {
        let wish = self.pools.get(&pool).map(|p| p.wish(inbound)).unwrap_or_default();
        let with_own = inbound && hops.len() < MAX_RECORDS;
        let count = (hops.len() + usize::from(with_own)).clamp(MIN_RECORDS, MAX_RECORDS);
        let mut slots: Vec<usize> = (0..count).collect();
        cx.rng.shuffle(&mut slots);
        let mut records = BuildRecords::new(SHORT_RECORD, count);
        for slot in 0..count {
            cx.rng.fill(records.get_mut(slot));
        }
        let tunnels: Vec<TunnelId> = hops.iter().map(|_| random_tunnel_id(cx.rng)).collect();
        let mut asked: Vec<BuildHop> = Vec::with_capacity(hops.len());
        for (i, hop) in hops.iter().enumerate() {
            let next = hops.get(i + 1).zip(tunnels.get(i + 1)).map(|(h, t)| (h.hash, *t));
            let is_last = next.is_none();
            let (next_router, next_tunnel) = next.unwrap_or(end);
            let role = role_of(inbound, i, is_last);
            let request = BuildRequest {
                receive_tunnel: *tunnels.get(i)?,
                next_tunnel,
                next_router,
                role,
                requested: cx.now.wall,
                lifetime_secs: TUNNEL_LIFETIME_SECS,
                next_message_id: if is_last { id } else { cx.rng.u32() },
                options: wish.options(role),
            };
            let (sealed, state) =
                noise_n::seal(&hop.encryption_key, &request.encode_short(cx.rng), cx.rng).ok()?;
            let slot = *slots.get(i)?;
            let (prefix, rest) = records.get_mut(slot).split_at_mut_checked(HASH_PREFIX)?;
            prefix.copy_from_slice(hop.hash.as_bytes().get(..HASH_PREFIX)?);
            rest.copy_from_slice(&sealed);
            let keys = build_keys::derive(&state.ck, role == Role::OutboundEndpoint);
            // The hops before this one encrypt its record on the way: decrypt it for each of them.
            for before in &asked {
                chacha20::xor(before.keys.reply.as_bytes(), &record_nonce(slot), records.get_mut(slot));
            }
            asked.push(BuildHop { hash: hop.hash, keys, h: state.h, slot, tunnel: request.receive_tunnel });
        }
        let own_slot = slots.get(hops.len()).copied().filter(|_| with_own);
        let own_record =
            own_slot.map(|slot| (slot, self.fake_own_record(records.get_mut(slot), slot, &asked, cx)));
        let build = Build {
            pool,
            inbound,
            hops: asked,
            own_record,
            own_tunnel,
            started: cx.now.mono,
            started_wall: cx.now.wall,
        };
        Some((build, records))
    }

    /// Our own record in an inbound build looks like any hop's, so that the last
    /// hop does not see that the way ends with us. Returns it.
    fn fake_own_record(&self, record: &mut [u8], slot: usize, hops: &[BuildHop], cx: &mut Cx<'_>) -> Vec<u8> {
        let key = x25519::PrivateKey::generate(cx.rng).public();
        let start = self.config.our_hash.as_bytes().iter().take(HASH_PREFIX).chain(&key.0);
        for (to, byte) in record.iter_mut().zip(start) {
            *to = *byte;
        }
        let shown = record.to_vec();
        // Only what the last hop sends may show our name: the gateway must not learn it.
        for hop in hops {
            chacha20::xor(hop.keys.reply.as_bytes(), &record_nonce(slot), record);
        }
        shown
    }

    fn send_build(
        &mut self,
        build: &Build,
        hops: &[Hop],
        records: &BuildRecords,
        pair: Option<Pair>,
        cx: &mut Cx<'_>,
    ) {
        let Some(first) = hops.first() else { return };
        let mut message = Message {
            kind: MessageType::ShortTunnelBuild,
            id: MessageId(cx.rng.u32()),
            expires: cx.now.wall + MESSAGE_LIFETIME,
            body: records.encode(),
        };
        if !build.inbound {
            let garlic = build.hops.last().and_then(|h| h.keys.garlic.clone());
            if let Some((key, tag)) = garlic {
                let until = cx.now.mono + LATE;
                let pool = pair.map_or(build.pool, |p| p.pool);
                self.outputs.push_back(Output::ExpectReply { pool, tag: SessionTag(tag), key, until });
            }
            self.outputs.push_back(Output::Send { to: first.hash, messages: vec![message], transit: false });
            return;
        }
        if let Some(garlic) = wrap_for_gateway(first, &message, cx) {
            message = garlic;
        }
        if let Some(Pair { pool, tunnel }) = pair {
            let deliveries = vec![(Delivery::Router(first.hash), message)];
            if self.send(pool, Some(tunnel), deliveries, cx).is_err() {
                bug!("a tunnel of {pool:?} was there a moment ago");
            }
        } else {
            self.outputs.push_back(Output::Send { to: first.hash, messages: vec![message], transit: false });
        }
    }

    /// An OutboundTunnelBuildReply, out of its garlic.
    pub fn handle_build_reply(&mut self, message: &Message, cx: &mut Cx<'_>) {
        self.on_build_reply(message.id.0, &message.body, false, cx);
    }

    pub(crate) fn on_build_reply(&mut self, id: u32, body: &[u8], inbound: bool, cx: &mut Cx<'_>) {
        // An answer that came the wrong way is none.
        let awaited = self.builds.get(&id).or_else(|| self.late_builds.get(&id));
        if awaited.is_none_or(|b| b.inbound != inbound) {
            return;
        }
        let late = self.late_builds.contains_key(&id);
        let Some(build) = self.builds.remove(&id).or_else(|| self.late_builds.remove(&id)) else { return };
        self.timers.stop(&Timer::Build(id));
        self.timers.stop(&Timer::LateBuild(id));
        let mut offers = Vec::new();
        let result = match BuildRecords::decode(body, SHORT_RECORD) {
            Ok(mut records) => read_answers(&build, &mut records, &mut offers),
            Err(_) => BuildResult::Failed,
        };
        let accepted = result == BuildResult::Accepted;
        match &result {
            BuildResult::Accepted if late => self.stats.builds_late += 1,
            BuildResult::Accepted => self.stats.builds_succeeded += 1,
            BuildResult::Rejected { .. } => self.stats.builds_refused += 1,
            BuildResult::TimedOut | BuildResult::Failed => self.stats.builds_failed += 1,
        }
        let hops: Vec<RouterHash> = build.hops.iter().map(|h| h.hash).collect();
        tracing::debug!(id, pool = ?build.pool, inbound = build.inbound, ?hops, ?result, "build answered");
        let took = cx.now.mono.since(build.started);
        let (pool, inbound) = (build.pool, build.inbound);
        // The pool may have gone while the build was under way: the tunnel is then left to die.
        let used = accepted && self.pools.contains_key(&pool) && self.take_into_use(build, cx);
        let result = if accepted && !used { BuildResult::Failed } else { result };
        self.outputs.push_back(Output::BuildDone { pool, inbound, hops, offers, result, took });
        if !late {
            self.on_build_ended(pool, inbound, used, cx);
        } else if used {
            self.refresh_pool(pool);
        }
    }

    fn take_into_use(&mut self, build: Build, cx: &mut Cx<'_>) -> bool {
        let Some(first) = build.hops.first() else { return false };
        let hops: Vec<RouterHash> = build.hops.iter().map(|h| h.hash).collect();
        let layers = build
            .hops
            .iter()
            .map(|h| TunnelLayer::new(h.keys.layer.as_bytes(), h.keys.iv.as_bytes()))
            .collect();
        let ends = build.started + LIFETIME;
        let health = pool::new_health(build.started, cx);
        let (gateway, gateway_tunnel) = (first.hash, first.tunnel);
        if build.inbound {
            let tunnel = Inbound {
                pool: build.pool,
                hops,
                layers,
                gateway,
                gateway_tunnel,
                carried: 0,
                ends,
                ends_wall: build.started_wall + LIFETIME,
                health,
            };
            self.add_inbound(build.own_tunnel, tunnel)
        } else {
            let tunnel = Outbound {
                pool: build.pool,
                hops,
                layers,
                first_tunnel: gateway_tunnel,
                carried: 0,
                ends,
                health,
                packer: Packer::default(),
            };
            self.add_outbound(build.own_tunnel, tunnel);
            true
        }
    }

    pub(crate) fn on_build_timeout(&mut self, id: u32, cx: &Cx<'_>) {
        let Some(build) = self.give_up(id, cx) else { return };
        if self.late_builds.len() < self.config.limits.late_builds {
            self.timers.set(Timer::LateBuild(id), build.started + LATE);
            self.late_builds.insert(id, build);
        }
    }

    /// Waits no longer for a build.
    fn give_up(&mut self, id: u32, cx: &Cx<'_>) -> Option<Build> {
        let build = self.builds.remove(&id)?;
        self.timers.stop(&Timer::Build(id));
        tracing::debug!(id, pool = ?build.pool, inbound = build.inbound, "build not answered");
        self.stats.builds_timed_out += 1;
        let pool = build.pool;
        let hops = build.hops.iter().map(|h| h.hash).collect();
        let took = cx.now.mono.since(build.started);
        let inbound = build.inbound;
        self.outputs.push_back(Output::BuildDone {
            pool,
            inbound,
            hops,
            offers: Vec::new(),
            result: BuildResult::TimedOut,
            took,
        });
        self.on_build_ended(pool, inbound, false, cx);
        Some(build)
    }

    /// A peer cannot be reached: builds that start with it need not wait for
    /// their answer, and tunnels that start with it must prove themselves.
    pub fn handle_peer_gone(&mut self, peer: &RouterHash, cx: &mut Cx<'_>) {
        let lost: Vec<_> = self
            .builds
            .iter()
            .filter(|(_, b)| !b.inbound && b.hops.first().is_some_and(|h| h.hash == *peer))
            .map(|(id, _)| *id)
            .collect();
        for id in lost {
            self.give_up(id, cx);
        }
        self.suspect_tunnels_from(peer, cx);
    }
}

/// Hides the build from those who carry it to the gateway. None: its key is unusable.
fn wrap_for_gateway(gateway: &Hop, message: &Message, cx: &mut Cx<'_>) -> Option<Message> {
    let mut w = PayloadWriter::new();
    w.date_time(cx.now.wall);
    w.clove(&Clove {
        delivery: CloveDelivery::Local,
        kind: message.kind.code(),
        id: message.id.0,
        expires: message.expires,
        body: &message.body,
    });
    let (sealed, _) = noise_n::seal(&gateway.encryption_key, &w.into_vec(), cx.rng).ok()?;
    Some(Message {
        kind: MessageType::Garlic,
        id: MessageId(cx.rng.u32()),
        expires: message.expires,
        body: Garlic { bytes: &sealed }.to_bytes(),
    })
}

/// Undoes what later hops did to each answer, and opens it.
fn read_answers(
    build: &Build,
    records: &mut BuildRecords,
    offers: &mut Vec<(RouterHash, u32)>,
) -> BuildResult {
    let untouched = |(slot, expected): &(usize, Vec<u8>)| ct_eq(records.get(*slot), expected);
    if !build.own_record.as_ref().is_none_or(untouched) {
        return BuildResult::Failed;
    }
    let mut refused = Vec::new();
    for (i, hop) in build.hops.iter().enumerate() {
        let record = records.get_mut(hop.slot);
        for later in build.hops.iter().skip(i + 1) {
            chacha20::xor(later.keys.reply.as_bytes(), &record_nonce(hop.slot), record);
        }
        let opened = ChaChaKey::new(hop.keys.reply.as_bytes()).open_in_place(hop.slot as u64, &hop.h, record);
        match opened {
            Ok(n) if reply_accepts(record.get(..n).unwrap_or_default()) => {
                let offer = reply_offer(record.get(..n).unwrap_or_default());
                offers.extend(offer.map(|kbps| (hop.hash, kbps)));
            }
            Ok(_) => refused.push(hop.hash),
            Err(_) => return BuildResult::Failed,
        }
    }
    if refused.is_empty() { BuildResult::Accepted } else { BuildResult::Rejected { by: refused } }
}

/// What the hop at `i` of a tunnel does.
const fn role_of(inbound: bool, i: usize, is_last: bool) -> Role {
    match (inbound, i) {
        (true, 0) => Role::InboundGateway,
        (false, _) if is_last => Role::OutboundEndpoint,
        _ => Role::Participant,
    }
}
