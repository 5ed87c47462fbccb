//! Asks the gateways of a home network to let other routers in: PCP, NAT-PMP
//! and UPnP (RFC 6887, RFC 6886, UPnP IGD:1 and IGD:2).
//!
//! ```text
//!  gateways ─► PCP ─► NAT-PMP ─► UPnP      the first that maps TCP and UDP is kept
//!                │
//!                └─► held ─► renewed at half its lease ─► removed at the end
//! ```
//!
//! Only computers with a private address ask. IPv6 knows no translation but
//! firewalls: there UPnP is asked to open a pinhole.

mod event;
mod gateways;
mod igd;
mod pcp;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use crate::addresses::Known;
use crate::driver::Shared;
use crate::node::Notice;

pub use event::{MappingError, MappingEvent};
pub use gateways::Gateway;

/// How long a mapping is asked for. Short, so that a gateway that lost it while it restarted has it again soon.
const LEASE: Duration = Duration::from_secs(20 * 60);
/// How often it is looked whether the gateways are still the same.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Gateways that mapped nothing are asked again after so long.
const ASK_AGAIN: Duration = Duration::from_secs(10 * 60);
/// At the end, gateways that do not answer are given up after this time.
const REMOVE_WITHIN: Duration = Duration::from_secs(2);
/// Gateways asked at most.
const MAX_GATEWAYS: usize = 4;

/// What ports are mapped for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// TCP, for NTCP2.
    Tcp,
    /// UDP, for SSU2.
    Udp,
}

impl Transport {
    const BOTH: [Self; 2] = [Self::Tcp, Self::Udp];
}

/// How a gateway is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// RFC 6887.
    Pcp,
    /// RFC 6886.
    NatPmp,
    /// UPnP Internet Gateway Device.
    Upnp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pcp => "PCP",
            Self::NatPmp => "NAT-PMP",
            Self::Upnp => "UPnP",
        })
    }
}

/// What is to be mapped, and by whom.
pub struct MappingConfig {
    /// The port that the router listens on, TCP and UDP alike.
    pub port: NonZeroU16,
    /// The address that it listens on; its family is mapped.
    pub listening: IpAddr,
    /// Private external addresses count as well, for a private network.
    pub private: bool,
    /// The gateways to ask; [`MappingConfig::new`] asks the system.
    pub source: Box<dyn FnMut() -> io::Result<Vec<Gateway>> + Send>,
}

impl fmt::Debug for MappingConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MappingConfig").field("port", &self.port).field("listening", &self.listening).finish()
    }
}

impl MappingConfig {
    /// Asks the gateways of the system's default routes.
    pub fn new(port: NonZeroU16, listening: IpAddr, private: bool) -> Self {
        Self { port, listening, private, source: Box::new(gateways::of_the_system) }
    }
}

/// A port at a gateway that leads to us.
#[derive(Debug)]
struct Held {
    gateway: Gateway,
    protocol: Protocol,
    transport: Transport,
    /// Where others reach us through it.
    external: SocketAddr,
    /// How to renew and remove it.
    lease: Lease,
    renew_at: Instant,
}

#[derive(Clone, Debug)]
enum Lease {
    Pcp(crab_nat::PortMapping),
    Upnp(igd::Lease),
}

impl Lease {
    async fn renew(&mut self) -> Result<(SocketAddr, Option<Duration>), MappingError> {
        match self {
            Self::Pcp(mapping) => pcp::renew(mapping).await,
            Self::Upnp(lease) => lease.renew().await,
        }
    }

    async fn remove(self) -> Result<(), MappingError> {
        match self {
            Self::Pcp(mapping) => pcp::remove(mapping).await,
            Self::Upnp(lease) => lease.remove().await,
        }
    }
}

impl Held {
    fn new(gateway: Gateway, protocol: Protocol, transport: Transport, got: Got) -> Self {
        let renew_at = Instant::now() + half(got.lasts);
        Self { gateway, protocol, transport, external: got.external, lease: got.lease, renew_at }
    }
}

/// What a gateway gave.
struct Got {
    external: SocketAddr,
    lease: Lease,
    /// None for as long as the gateway runs.
    lasts: Option<Duration>,
}

/// Half a lease, and no lease is trusted for longer than ours.
fn half(lasts: Option<Duration>) -> Duration {
    lasts.map_or(LEASE, |lasts| lasts.clamp(2 * LOOK_EVERY, LEASE)) / 2
}

/// All mappings of a node.
#[derive(Debug)]
pub(crate) struct Mapper {
    port: NonZeroU16,
    listening: IpAddr,
    private: bool,
    held: RefCell<Vec<Held>>,
    /// What was last told, to say nothing twice.
    told: RefCell<Vec<MappingEvent>>,
}

impl Mapper {
    pub(crate) fn new(config: &MappingConfig) -> Rc<Self> {
        Rc::new(Self {
            port: config.port,
            listening: config.listening,
            private: config.private,
            held: RefCell::default(),
            told: RefCell::default(),
        })
    }

    /// Maps, renews, and follows the gateways as they come and go; says so to `addresses`, unless the user has
    /// named ours.
    pub(crate) async fn keep(
        self: Rc<Self>,
        shared: Rc<Shared>,
        addresses: Option<Rc<Known>>,
        config: MappingConfig,
    ) {
        let (mut source, mut known, mut ask_at) = (config.source, None, Instant::now());
        loop {
            let looked = tokio::task::spawn_blocking(move || (source(), source)).await;
            // The runtime is going down.
            let Ok((found, returned)) = looked else { return };
            source = returned;
            match found {
                Ok(found) => {
                    let found = self.worth_asking(found);
                    if known.as_ref() != Some(&found) {
                        self.held.borrow_mut().retain(|held| found.contains(&held.gateway));
                        (known, ask_at) = (Some(found), Instant::now());
                    }
                }
                Err(error) => tracing::warn!("cannot look for gateways: {error}"),
            }
            let gateways = known.as_deref().unwrap_or_default();
            let before = self.held.borrow().len();
            self.renew(&shared).await;
            let lost = self.held.borrow().len() < before;
            if (lost || Instant::now() >= ask_at) && gateways.iter().any(|gateway| !self.holds(gateway)) {
                self.ask(&shared, gateways).await;
                ask_at = Instant::now() + ASK_AGAIN;
            }
            if let Some(addresses) = &addresses {
                addresses.set_mapped(self.external(), &shared);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// The gateways through which this computer has a private address of the family that is listened on; all in IPv6.
    fn worth_asking(&self, mut found: Vec<Gateway>) -> Vec<Gateway> {
        found.retain(|gateway| {
            let local = gateway.local;
            let bound = self.listening.is_unspecified() || self.listening == local;
            bound
                && local.is_ipv4() == self.listening.is_ipv4()
                && (local.is_ipv6() || !aioli_wire::ip::is_public(local))
        });
        found.sort_unstable();
        found.dedup();
        found.truncate(MAX_GATEWAYS);
        found
    }

    fn holds(&self, gateway: &Gateway) -> bool {
        self.held.borrow().iter().any(|held| held.gateway == *gateway)
    }

    /// Asks those gateways that map nothing yet.
    async fn ask(&self, shared: &Shared, gateways: &[Gateway]) {
        let mut events = Vec::new();
        for gateway in gateways {
            if !self.holds(gateway) {
                self.ask_one(gateway, &mut events).await;
            }
        }
        if self.held.borrow().is_empty() {
            events.push(MappingEvent::Nothing { port: self.port.get() });
        }
        let mut told = self.told.borrow_mut();
        for event in events.iter().filter(|event| !told.contains(event)) {
            shared.notify(Notice::PortMapping(event.clone()));
        }
        *told = events;
    }

    async fn ask_one(&self, gateway: &Gateway, events: &mut Vec<MappingEvent>) {
        for protocol in [Protocol::Pcp, Protocol::NatPmp, Protocol::Upnp] {
            match self.map(gateway, protocol).await {
                Ok(()) => {
                    events.retain(|event| !event.is_of(gateway.address));
                    events.extend(self.mapped(gateway));
                    return;
                }
                // A firewall speaks no protocol of translators.
                Err(MappingError::NotForIpv6) => {}
                Err(error) => events.push(MappingEvent::Failed { protocol, gateway: gateway.address, error }),
            }
        }
    }

    /// Has one gateway map both transports, or neither.
    async fn map(&self, gateway: &Gateway, protocol: Protocol) -> Result<(), MappingError> {
        let asked = match protocol {
            Protocol::Upnp => Some(igd::find(gateway).await?),
            Protocol::Pcp | Protocol::NatPmp => None,
        };
        for transport in Transport::BOTH {
            let got = match &asked {
                Some(igd) => igd.map(gateway, transport, self.port).await,
                None => pcp::map(gateway, protocol, transport, self.port).await,
            };
            let got = match got {
                Ok(got) if got.external.ip().is_unspecified() => Err(MappingError::NotConnected),
                got => got,
            };
            match got {
                Ok(got) => {
                    self.held.borrow_mut().push(Held::new(gateway.clone(), protocol, transport, got));
                }
                Err(error) => {
                    self.remove(|held| held.gateway == *gateway).await;
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// What to tell of one gateway's mappings.
    fn mapped(&self, gateway: &Gateway) -> Vec<MappingEvent> {
        let held = self.held.borrow();
        let here = held.iter().filter(|held| held.gateway == *gateway);
        here.map(|held| MappingEvent::Mapped {
            protocol: held.protocol,
            gateway: gateway.address,
            transport: held.transport,
            external: held.external,
            reachable: self.reachable(held.external.ip()),
        })
        .collect()
    }

    fn reachable(&self, external: IpAddr) -> bool {
        self.private || aioli_wire::ip::is_public(external)
    }

    /// Renews what is due. What cannot be renewed is removed and asked for anew.
    async fn renew(&self, shared: &Shared) {
        // One at a time, and what is being renewed stays in the list, to be removed should the node stop now.
        while let Some((at, mut lease)) = self.due() {
            let renewed = lease.renew().await;
            let Some((gateway, events)) = self.renewed(at, lease, renewed) else { return };
            let lost = events.iter().any(|event| matches!(event, MappingEvent::Lost { .. }));
            events.into_iter().for_each(|event| shared.notify(Notice::PortMapping(event)));
            if lost {
                self.told.borrow_mut().clear();
                // Neither is worth anything to the router without the other.
                self.remove(|other| other.gateway == gateway).await;
            }
        }
    }

    /// A mapping to be renewed now.
    fn due(&self) -> Option<(usize, Lease)> {
        let (now, held) = (Instant::now(), self.held.borrow());
        held.iter()
            .enumerate()
            .find(|(_, held)| held.renew_at <= now)
            .map(|(at, held)| (at, held.lease.clone()))
    }

    /// Takes what came of a renewal; says at which gateway, and what is to be told of it.
    fn renewed(
        &self,
        at: usize,
        lease: Lease,
        result: Result<(SocketAddr, Option<Duration>), MappingError>,
    ) -> Option<(Gateway, Vec<MappingEvent>)> {
        let mut all = self.held.borrow_mut();
        let held = all.get_mut(at)?;
        let gateway = held.gateway.clone();
        let (external, lasts) = match result {
            Ok(renewed) => renewed,
            Err(error) => {
                let protocol = held.protocol;
                let lost = MappingEvent::Lost { protocol, gateway: gateway.address, error };
                return Some((gateway, vec![lost]));
            }
        };
        (held.lease, held.renew_at) = (lease, Instant::now() + half(lasts));
        let moved = std::mem::replace(&mut held.external, external) != external;
        drop(all);
        let events = if moved { self.mapped(&gateway) } else { Vec::new() };
        Some((gateway, events))
    }

    /// Where others reach us through gateways.
    fn external(&self) -> Vec<(Transport, SocketAddr)> {
        let held = self.held.borrow();
        let reachable = held.iter().filter(|held| self.reachable(held.external.ip()));
        let mut external: Vec<_> = reachable.map(|held| (held.transport, held.external)).collect();
        external.sort_unstable();
        external.dedup();
        external
    }

    /// Removes some mappings, within a bounded time.
    async fn remove(&self, which: impl Fn(&Held) -> bool) {
        let removed: Vec<_> = self.held.borrow_mut().extract_if(.., |held| which(held)).collect();
        let each = removed.into_iter().map(|held| async move {
            let (protocol, gateway) = (held.protocol, held.gateway.address);
            match tokio::time::timeout(REMOVE_WITHIN, held.lease.remove()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::info!("{protocol} at {gateway}: mapping not removed: {error}"),
                Err(_) => tracing::info!("{protocol} at {gateway} did not remove a mapping in time"),
            }
        });
        let tasks: Vec<_> = each.map(tokio::task::spawn_local).collect();
        for task in tasks {
            // A panic has been reported by the runtime.
            let _ = task.await;
        }
    }

    /// Removes all mappings at the end, within a bounded time.
    pub(crate) async fn remove_all(&self) {
        self.remove(|_| true).await;
    }
}
