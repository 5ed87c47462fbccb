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
use aioli_core::{Cx, Date, Duration, Instant};
use aioli_wire::build::{
    BuildRecords, BuildRequest, HASH_PREFIX, MAX_RECORDS, Role, SHORT_RECORD, TUNNEL_LIFETIME_SECS,
    random_tunnel_id, reply_accepts,
};
use aioli_wire::garlic::{Clove, CloveDelivery, PayloadWriter};
use aioli_wire::i2np::Garlic;
use aioli_wire::{Mapping, Message, MessageId, MessageType, RouterHash, SessionTag, TunnelId, Wire};

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
    started_wall: Date,
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

/// Where the answer of an outbound build comes back.
struct ReplyPath {
    gateway: RouterHash,
    tunnel: TunnelId,
}

impl Tunnels {
    /// Begins a build through these hops, of which there is at least one. False: it cannot be begun now.
    pub(crate) fn start_build(&mut self, pool: PoolId, inbound: bool, hops: &[Hop], cx: &mut Cx<'_>) -> bool {
        let reply_path = if inbound {
            // The last hop hands the answer straight to us.
            None
        } else {
            match self.reply_path(pool, cx) {
                Some(path) => Some(path),
                None => return false,
            }
        };
        let id = self.new_build_id(cx);
        let own_tunnel = random_tunnel_id(cx.rng);
        let end = match &reply_path {
            Some(path) => (path.gateway, path.tunnel),
            None => (self.config.our_hash, own_tunnel),
        };
        let Some((build, records)) = self.seal_build(pool, inbound, hops, own_tunnel, end, id, cx) else {
            return false;
        };
        self.stats.builds_started += 1;
        tracing::debug!(id, ?pool, inbound, reply = ?end, "build begun");
        self.send_build(&build, hops, &records, id, cx);
        self.timers.set(Timer::Build(id), cx.now.mono + TIMEOUT);
        self.builds.insert(id, build);
        true
    }

    /// A message id that no build under way has.
    fn new_build_id(&self, cx: &mut Cx<'_>) -> u32 {
        loop {
            let id = cx.rng.u32();
            if !self.builds.contains_key(&id) {
                return id;
            }
        }
    }

    /// An inbound tunnel of the pool, or else of the router, for an answer.
    fn reply_path(&self, pool: PoolId, cx: &mut Cx<'_>) -> Option<ReplyPath> {
        let own = self.pools.get(&pool).and_then(|p| cx.rng.choose(&p.inbound));
        let exploratory = self.pools.get(&PoolId::EXPLORATORY).and_then(|p| cx.rng.choose(&p.inbound));
        let tunnel = self.inbound.get(own.or(exploratory)?)?;
        Some(ReplyPath { gateway: tunnel.gateway, tunnel: tunnel.gateway_tunnel })
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
            let role = match (inbound, i) {
                (true, 0) => Role::InboundGateway,
                (false, _) if is_last => Role::OutboundEndpoint,
                _ => Role::Participant,
            };
            let request = BuildRequest {
                receive_tunnel: *tunnels.get(i)?,
                next_tunnel,
                next_router,
                role,
                requested: cx.now.wall,
                lifetime_secs: TUNNEL_LIFETIME_SECS,
                next_message_id: if is_last { id } else { cx.rng.u32() },
                options: Mapping::new(),
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
        let own_record = if with_own {
            let slot = *slots.get(hops.len())?;
            Some((slot, self.fake_own_record(records.get_mut(slot), cx)))
        } else {
            None
        };
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

    /// Our own record in an inbound build: what any hop's looks like. Returns it.
    fn fake_own_record(&self, record: &mut [u8], cx: &mut Cx<'_>) -> Vec<u8> {
        let key = x25519::PrivateKey::generate(cx.rng).public();
        let start = self.config.our_hash.as_bytes().iter().take(HASH_PREFIX).chain(&key.0);
        for (slot, byte) in record.iter_mut().zip(start) {
            *slot = *byte;
        }
        record.to_vec()
    }

    fn send_build(&mut self, build: &Build, hops: &[Hop], records: &BuildRecords, id: u32, cx: &mut Cx<'_>) {
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
                let until = cx.now.mono + TIMEOUT + TIMEOUT;
                let output = Output::ExpectReply {
                    pool: self.reply_pool(build.pool),
                    tag: SessionTag(tag),
                    key,
                    until,
                };
                self.outputs.push_back(output);
            }
            self.outputs.push_back(Output::Send { to: first.hash, messages: vec![message] });
            return;
        }
        if let Some(garlic) = wrap_for_gateway(first, &message, cx) {
            message = garlic;
        }
        let pool = if self.has_outbound(build.pool) { build.pool } else { PoolId::EXPLORATORY };
        let deliveries = vec![(Delivery::Router(first.hash), message.clone())];
        if self.send(pool, None, deliveries, cx).is_err() {
            self.outputs.push_back(Output::Send { to: first.hash, messages: vec![message] });
        }
        debug_assert!(!self.builds.contains_key(&id), "the id is new");
    }

    /// The pool whose tunnel brings the answer of an outbound build.
    fn reply_pool(&self, pool: PoolId) -> PoolId {
        if self.pools.get(&pool).is_some_and(|p| !p.inbound.is_empty()) { pool } else { PoolId::EXPLORATORY }
    }

    /// An OutboundTunnelBuildReply, out of its garlic.
    pub fn handle_build_reply(&mut self, message: &Message, cx: &mut Cx<'_>) {
        if self.builds.contains_key(&message.id.0) {
            self.on_build_reply(message.id.0, &message.body, false, cx);
        }
    }

    pub(crate) fn on_build_reply(&mut self, id: u32, body: &[u8], inbound: bool, cx: &mut Cx<'_>) {
        // An answer that came the wrong way is none.
        if self.builds.get(&id).is_none_or(|b| b.inbound != inbound) {
            return;
        }
        let Some(build) = self.builds.remove(&id) else { return };
        self.timers.stop(&Timer::Build(id));
        let result = match BuildRecords::decode(body, SHORT_RECORD) {
            Ok(mut records) => read_answers(&build, &mut records),
            Err(_) => BuildResult::Failed,
        };
        let accepted = result == BuildResult::Accepted;
        match &result {
            BuildResult::Accepted => self.stats.builds_succeeded += 1,
            BuildResult::Rejected { .. } => self.stats.builds_refused += 1,
            BuildResult::TimedOut | BuildResult::Failed => self.stats.builds_timed_out += 1,
        }
        let hops: Vec<RouterHash> = build.hops.iter().map(|h| h.hash).collect();
        tracing::debug!(id, pool = ?build.pool, inbound = build.inbound, ?hops, ?result, "build answered");
        let took = cx.now.mono.since(build.started);
        let (pool, inbound) = (build.pool, build.inbound);
        // The pool may have gone while the build was under way: the tunnel is then left to die.
        let used = accepted && self.pools.contains_key(&pool) && self.take_into_use(build, cx);
        let result = if accepted && !used { BuildResult::Failed } else { result };
        self.outputs.push_back(Output::BuildDone { pool, hops, result, took });
        self.on_build_ended(pool, inbound, used, cx);
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
        let Some(build) = self.builds.remove(&id) else { return };
        tracing::debug!(id, pool = ?build.pool, inbound = build.inbound, "build not answered");
        self.stats.builds_timed_out += 1;
        let hops = build.hops.iter().map(|h| h.hash).collect();
        let took = cx.now.mono.since(build.started);
        self.outputs.push_back(Output::BuildDone {
            pool: build.pool,
            hops,
            result: BuildResult::TimedOut,
            took,
        });
        self.on_build_ended(build.pool, build.inbound, false, cx);
    }

    /// A peer cannot be reached: builds that start with it need not wait for their answer.
    pub fn handle_peer_gone(&mut self, peer: &RouterHash, cx: &mut Cx<'_>) {
        let lost: Vec<_> = self
            .builds
            .iter()
            .filter(|(_, b)| !b.inbound && b.hops.first().is_some_and(|h| h.hash == *peer))
            .map(|(id, _)| *id)
            .collect();
        for id in lost {
            self.timers.stop(&Timer::Build(id));
            self.on_build_timeout(id, cx);
        }
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
fn read_answers(build: &Build, records: &mut BuildRecords) -> BuildResult {
    if let Some((slot, expected)) = &build.own_record {
        for hop in &build.hops {
            chacha20::xor(hop.keys.reply.as_bytes(), &record_nonce(*slot), records.get_mut(*slot));
        }
        if !ct_eq(records.get(*slot), expected) {
            return BuildResult::Failed;
        }
    }
    let mut refused = Vec::new();
    for (i, hop) in build.hops.iter().enumerate() {
        let record = records.get_mut(hop.slot);
        for later in build.hops.iter().skip(i + 1) {
            chacha20::xor(later.keys.reply.as_bytes(), &record_nonce(hop.slot), record);
        }
        let opened = ChaChaKey::new(hop.keys.reply.as_bytes()).open_in_place(hop.slot as u64, &hop.h, record);
        match opened {
            Ok(n) if reply_accepts(record.get(..n).unwrap_or_default()) => {}
            Ok(_) => refused.push(hop.hash),
            Err(_) => return BuildResult::Failed,
        }
    }
    if refused.is_empty() { BuildResult::Accepted } else { BuildResult::Rejected { by: refused } }
}
