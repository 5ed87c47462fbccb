//! The ends of our own tunnels.
//!
//! ```text
//!  send ─► packer ─► undo every hop's layer, last hop first ─► first hop ... OBEP
//!  IBGW ... last hop ─► undo every hop's layer, last hop first ─► fragments ─► Received
//! ```

use aioli_core::crypto::aes::TunnelLayer;
use aioli_core::{Cx, Date, Duration, Instant, Rng};
use aioli_wire::i2np::MAX_BODY_SIZE;
use aioli_wire::tunnel::{TUNNEL_DATA_SIZE, TunnelDelivery};
use aioli_wire::{Lease, Message, RouterHash, TunnelId};

use crate::hops::{Entry, data_messages, layered};
use crate::packer::Packer;
use crate::types::{Delivery, NoTunnel, Output, PoolId};
use crate::{Timer, Tunnels};

/// How long every tunnel of the network lives.
pub(crate) const LIFETIME: Duration = Duration::from_secs(600);
/// An endpoint still takes messages this long after its tunnel's end, for clocks that differ.
pub(crate) const GRACE: Duration = Duration::from_secs(60);
/// A tunnel is not given new work this close to its end.
pub(crate) const STOP_USING: Duration = Duration::from_secs(30);

/// Our inbound tunnel.
#[derive(Debug)]
pub(crate) struct Inbound {
    pub(crate) pool: PoolId,
    pub(crate) hops: Vec<RouterHash>,
    pub(crate) layers: Vec<TunnelLayer>,
    pub(crate) gateway: RouterHash,
    pub(crate) gateway_tunnel: TunnelId,
    /// Bytes since the last sweep.
    pub(crate) carried: u64,
    pub(crate) ends: Instant,
    pub(crate) ends_wall: Date,
    pub(crate) health: Health,
}

/// Our outbound tunnel.
#[derive(Debug)]
pub(crate) struct Outbound {
    pub(crate) pool: PoolId,
    pub(crate) hops: Vec<RouterHash>,
    pub(crate) layers: Vec<TunnelLayer>,
    /// The tunnel's id at the first hop.
    pub(crate) first_tunnel: TunnelId,
    /// Bytes since the last sweep.
    pub(crate) carried: u64,
    pub(crate) ends: Instant,
    pub(crate) health: Health,
    pub(crate) packer: Packer,
}

/// What tests say of a tunnel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Health {
    /// When to test next.
    pub(crate) test_at: Instant,
    /// When to have another in its place.
    pub(crate) replace_at: Instant,
    /// Failed tests in a row.
    pub(crate) failures: u8,
}

impl Inbound {
    pub(crate) const fn lease(&self) -> Lease {
        Lease { gateway: self.gateway, tunnel: self.gateway_tunnel, end: self.ends_wall }
    }
}

impl Tunnels {
    /// Sends messages out of a pool's tunnel: the one asked for if it still
    /// stands, else any. Returns which. They leave with the next flush.
    pub fn send(
        &mut self,
        pool: PoolId,
        via: Option<TunnelId>,
        deliveries: Vec<(Delivery, Message)>,
        cx: &mut Cx<'_>,
    ) -> Result<TunnelId, NoTunnel> {
        let asked = via.filter(|id| self.pools.get(&pool).is_some_and(|p| p.outbound.contains(id)));
        let id = asked.or_else(|| self.pick_outbound(pool, cx.rng)).ok_or(NoTunnel)?;
        let zero_hop = self.outbound.get(&id).is_none_or(|t| t.hops.is_empty());
        for (delivery, message) in deliveries {
            if zero_hop {
                self.send_from_here(delivery, message, cx);
                continue;
            }
            let Some(tunnel) = self.outbound.get_mut(&id) else { break };
            if message.body.len() > MAX_BODY_SIZE {
                self.stats.oversized += 1;
                continue;
            }
            if tunnel.packer.len() + message.body.len() > self.config.limits.gateway_bytes {
                self.stats.gateway_overflows += 1;
                continue;
            }
            let delivery = match delivery {
                Delivery::Router(to) => TunnelDelivery::Router(to),
                Delivery::Tunnel(gateway, id) => TunnelDelivery::Tunnel(gateway, id),
            };
            tunnel.packer.push(delivery, &message.encode_standard(), tunnel.first_tunnel, cx.rng);
        }
        if !zero_hop {
            self.waiting_outbound.insert(id);
        }
        Ok(id)
    }

    /// Any outbound tunnel of a pool, one that did not fail of late if there is one.
    pub fn pick_outbound(&self, pool: PoolId, rng: &mut Rng) -> Option<TunnelId> {
        let all = &self.pools.get(&pool)?.outbound;
        rng.choose(&self.good(all, false)).or_else(|| rng.choose(all)).copied()
    }

    /// Where a pool can be reached: its inbound tunnels that did not fail of late, or all.
    pub fn reply_leases(&self, pool: PoolId) -> Vec<Lease> {
        let Some(all) = self.pools.get(&pool).map(|p| &p.inbound) else { return Vec::new() };
        let good = self.good(all, true);
        let chosen = if good.is_empty() { all } else { &good };
        chosen.iter().filter_map(|id| self.inbound.get(id)).map(Inbound::lease).collect()
    }

    fn send_from_here(&mut self, delivery: Delivery, message: Message, cx: &mut Cx<'_>) {
        match delivery {
            Delivery::Router(to) => {
                self.outputs.push_back(Output::Send { to, messages: vec![message], transit: false })
            }
            Delivery::Tunnel(gateway, tunnel) => {
                self.send_to_gateway((gateway, tunnel), &message.encode_standard(), false, cx);
            }
        }
    }

    pub(crate) fn flush_outbound(&mut self, id: TunnelId, cx: &mut Cx<'_>) {
        let Some(tunnel) = self.outbound.get_mut(&id) else { return };
        let Some(first_hop) = tunnel.hops.first().copied() else { return };
        let bodies = tunnel.packer.take(tunnel.first_tunnel, cx.rng);
        if bodies.is_empty() {
            return;
        }
        tunnel.carried += (bodies.len() * TUNNEL_DATA_SIZE) as u64;
        let mut messages = data_messages(bodies, cx);
        let mut bodies = layered(&mut messages);
        for layer in tunnel.layers.iter().rev() {
            layer.decrypt_batch(&mut bodies);
        }
        self.outputs.push_back(Output::Send { to: first_hop, messages, transit: false });
    }

    /// TunnelData at the end of our inbound tunnel.
    pub(crate) fn receive(&mut self, id: TunnelId, mut messages: Vec<Message>, cx: &Cx<'_>) {
        let Some(tunnel) = self.inbound.get_mut(&id) else { return };
        tunnel.carried += (messages.len() * TUNNEL_DATA_SIZE) as u64;
        // What comes through it works.
        tunnel.health.failures = 0;
        let mut bodies = layered(&mut messages);
        for layer in tunnel.layers.iter().rev() {
            layer.decrypt_batch(&mut bodies);
        }
        for message in &messages {
            debug_assert_eq!(message.body.len(), TUNNEL_DATA_SIZE, "admitted by its size");
            for (delivery, bytes) in self.reassemble(id.get(), &message.body, cx.now.mono) {
                // Whoever fills our tunnel cannot make us send for them.
                if delivery == TunnelDelivery::Local {
                    self.receive_message(id, &bytes);
                } else {
                    self.stats.malformed += 1;
                }
            }
        }
    }

    pub(crate) fn receive_message(&mut self, id: TunnelId, bytes: &[u8]) {
        let Some(pool) = self.inbound.get(&id).map(|t| t.pool) else { return };
        match Message::decode_standard(bytes) {
            Ok(message) => self.outputs.push_back(Output::Received { pool, tunnel: id, message }),
            Err(_) => self.stats.malformed += 1,
        }
    }

    /// Takes an inbound tunnel of ours into use.
    pub(crate) fn add_inbound(&mut self, id: TunnelId, tunnel: Inbound) -> bool {
        let until = tunnel.ends + GRACE;
        if !self.install(id, Entry::Endpoint(id), until, until) {
            return false;
        }
        self.inbound.insert(id, tunnel);
        true
    }

    /// Takes an outbound tunnel of ours into use.
    pub(crate) fn add_outbound(&mut self, id: TunnelId, tunnel: Outbound) {
        self.timers.set(Timer::Outbound(id), tunnel.ends);
        self.outbound.insert(id, tunnel);
    }

    /// An inbound tunnel of ours is over.
    pub(crate) fn end_inbound(&mut self, id: TunnelId) {
        if let Some(tunnel) = self.inbound.remove(&id) {
            self.outputs.push_back(Output::TunnelEnded { hops: tunnel.hops });
            self.refresh_pool(tunnel.pool);
        }
    }

    /// An outbound tunnel of ours is over.
    pub(crate) fn end_outbound(&mut self, id: TunnelId) {
        self.timers.stop(&Timer::Outbound(id));
        if let Some(tunnel) = self.outbound.remove(&id) {
            self.outputs.push_back(Output::TunnelEnded { hops: tunnel.hops });
            self.refresh_pool(tunnel.pool);
        }
    }
}
