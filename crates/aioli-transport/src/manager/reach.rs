//! Peer tests and introductions, as the router above sees them; and dials of those who can only be reached through
//! an introducer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use aioli_core::{Cx, Date, Duration, Instant};
use aioli_wire::RouterHash;
use aioli_wire::router_info::RouterInfo;
use aioli_wire::ssu2::Introducer;
use aioli_wire::verified::Verified;

use super::conn::State;
use super::dial::Over;
use super::udp::UdpDial;
use super::{Output, Transport};
use crate::ssu2::{ConnectError, Family, IntroKey, Remote};
use crate::{ConnId, DialError};

/// Doubts about our address lead to something at most this often.
const DOUBT: Duration = Duration::from_secs(5);
/// So many routers may doubt it in this time, each once: one that lies makes us write to everybody no more often.
const DOUBTERS: (usize, Duration) = (16, Duration::from_secs(10 * 60));
/// A dial waits so long for a session with an introducer.
const FOR_AN_INTRODUCER: Duration = Duration::from_secs(12);

/// A router that can only be reached through introducers.
#[derive(Clone, Debug)]
pub(super) struct Introduced {
    /// Its address is not known.
    pub(super) remote: Remote,
    family: Family,
    introducers: Vec<Introducer>,
}

const fn unspecified(family: Family) -> SocketAddr {
    match family {
        Family::V4 => SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
        Family::V6 => SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0),
    }
}

impl Transport {
    /// How the router can be reached through introducers, if that is the only way over SSU2.
    pub(super) fn introduced(&self, to: &RouterInfo, now: Date) -> Option<Introduced> {
        self.udp.as_ref()?;
        to.ssu2().find_map(|a| {
            let usable = |family| match family {
                Family::V4 => self.ipv4 && a.ipv4,
                Family::V6 => self.ipv6 && a.ipv6,
            };
            let family = Family::ALL.into_iter().find(|f| a.host.is_none() && usable(*f))?;
            let fresh = |i: &&Introducer| i.router != to.hash() && i.expires.is_none_or(|at| now < at);
            let introducers = a.introducers.iter().filter(fresh).copied().collect::<Vec<_>>();
            let remote = Remote {
                hash: to.hash(),
                static_key: a.static_key,
                intro_key: IntroKey(a.intro_key),
                address: unspecified(family),
                mtu: a.mtu,
            };
            (!introducers.is_empty()).then_some(Introduced { remote, family, introducers })
        })
    }

    /// Asks the introducers with whom there are sessions; or waits, and says whom a session is wanted with.
    pub(super) fn connect_via(&mut self, conn: ConnId, cx: &mut Cx<'_>) {
        let dial = self.udp.as_ref().and_then(|udp| udp.dials.get(&conn));
        let Some(via) = dial.and_then(UdpDial::via).cloned() else { return };
        let peer = via.remote.hash;
        let (info, room) = (self.dialled_info(&peer), self.udp_room());
        let (Some(udp), Some(info)) = (&mut self.udp, info) else { return };
        udp.endpoint.set_session_limit(room);
        match udp.endpoint.connect_through(via.remote, info, via.family, &via.introducers, cx) {
            Ok(()) => {
                udp.for_introducers.stop(&conn);
                if let Some(dial) = udp.dials.get_mut(&conn) {
                    dial.way = None;
                }
                self.after_udp(cx);
            }
            Err(ConnectError::NotIntroduced) => {
                if udp.for_introducers.get(&conn).is_none() {
                    udp.for_introducers.set(conn, cx.now.mono + FOR_AN_INTRODUCER);
                    let routers = via.introducers.iter().map(|i| i.router).collect();
                    self.outputs.push_back(Output::WantIntroducers { routers });
                }
            }
            Err(reason) => {
                udp.take_dial(conn);
                self.end_dial(peer, conn, super::udp::dial_error(reason), cx);
            }
        }
    }

    /// There is a session with somebody who may be an introducer that dials wait for.
    pub(super) fn introducer_is_here(&mut self, peer: &RouterHash, cx: &mut Cx<'_>) {
        let Some(udp) = &self.udp else { return };
        let waits = |conn: &ConnId, via: &Introduced| {
            udp.for_introducers.get(conn).is_some() && via.introducers.iter().any(|i| i.router == *peer)
        };
        let dials = udp.dials.iter().filter_map(|(conn, dial)| Some((conn, dial.via()?)));
        let waiting = dials.filter(|(conn, via)| waits(conn, via)).map(|(conn, _)| *conn).collect::<Vec<_>>();
        waiting.into_iter().for_each(|conn| self.connect_via(conn, cx));
    }

    /// No introducer came in time.
    pub(super) fn give_up_introducers(&mut self, cx: &mut Cx<'_>) {
        while let Some(conn) = self.udp.as_mut().and_then(|udp| udp.for_introducers.pop_expired(cx.now.mono))
        {
            let dial = self.udp.as_mut().and_then(|udp| udp.dials.remove(&conn));
            if let Some(via) = dial.as_ref().and_then(UdpDial::via) {
                self.end_dial(via.remote.hash, conn, DialError::NotIntroduced, cx);
            }
        }
    }

    /// Tells who a router is that [`Output::WantRouterInfo`] asked for.
    pub fn learn(&mut self, info: Arc<Verified<RouterInfo>>, cx: &mut Cx<'_>) {
        if let Some(udp) = &mut self.udp {
            udp.endpoint.learn(info, cx);
            self.after_udp(cx);
        }
    }

    /// Asks a peer to have this address tested: [`Output::PeerTested`] tells what came of it. False if it cannot be
    /// asked.
    pub fn test_reachability(&mut self, bob: &RouterHash, address: SocketAddr, cx: &mut Cx<'_>) -> bool {
        let Some(udp) = &mut self.udp else { return false };
        let asked = udp.endpoint.test_reachability(bob, address, cx).is_ok();
        self.after_udp(cx);
        asked
    }

    /// Where our packets seem to come from, as far as it is known.
    pub const fn set_external(&mut self, ipv4: Option<SocketAddr>, ipv6: Option<SocketAddr>) {
        if let Some(udp) = &mut self.udp {
            udp.endpoint.set_external(ipv4, ipv6);
        }
    }

    /// Whether introducers are wanted, by IPv4 and IPv6. [`Output::RelayTag`] tells who is one.
    pub fn want_tags(&mut self, ipv4: bool, ipv6: bool) {
        if let Some(udp) = &mut self.udp {
            udp.endpoint.want_tags(ipv4, ipv6);
        }
    }

    /// Asks a peer to introduce others to us, or to go on doing so.
    pub fn request_tag(&mut self, bob: &RouterHash, cx: &mut Cx<'_>) {
        if let Some(udp) = &mut self.udp {
            udp.endpoint.request_tag(bob);
            self.after_udp(cx);
        }
    }

    /// Our name at a peer that introduces others to us.
    pub fn tag_at(&self, bob: &RouterHash) -> Option<u32> {
        self.udp.as_ref()?.endpoint.tag_at(bob)
    }

    /// Where the peers of our SSU2 sessions are.
    pub fn ssu2_peers(&self) -> Vec<(RouterHash, SocketAddr)> {
        let Some(udp) = &self.udp else { return Vec::new() };
        let at = |peer: &RouterHash| Some((*peer, udp.endpoint.address_of(peer)?));
        udp.endpoint.peers().filter_map(at).collect()
    }

    /// Whether SSU2 has not led to the router lately.
    pub fn is_silent(&self, peer: &RouterHash, now: Instant) -> bool {
        self.udp.as_ref().is_none_or(|udp| udp.back_off.holds(peer, now))
    }

    /// Begins a session over SSU2, whatever else there is with the router.
    pub fn connect_ssu2(&mut self, to: &Arc<Verified<RouterInfo>>, cx: &mut Cx<'_>) {
        if self.udp.as_ref().is_some_and(|udp| !udp.endpoint.is_connected(&to.hash())) {
            self.dial_besides(to, Over::Ssu2, cx);
        }
    }

    /// Begins a session over NTCP2 anew, whatever else there is with the router: it may still send into one that is
    /// lost, and a new one takes its place.
    pub fn reconnect_ntcp2(&mut self, to: &Arc<Verified<RouterInfo>>, cx: &mut Cx<'_>) {
        let sessions = self.peers.get(&to.hash()).map(|p| [p.active, p.spare]).unwrap_or_default();
        if sessions.into_iter().flatten().all(|conn| self.is_udp(conn)) && !self.widen_dial(to, cx) {
            self.dial_besides(to, Over::Ntcp2, cx);
        }
    }

    /// Begins to dial a router over one transport, whatever there is over the other. If it cannot be dialled, another
    /// may, or it has to come to us.
    fn dial_besides(&mut self, to: &Arc<Verified<RouterInfo>>, over: Over, cx: &mut Cx<'_>) {
        let hash = to.hash();
        if self.peers.get(&hash).is_none_or(|p| p.dial.is_none()) {
            let _ = self.dial_over(to, over, cx);
            self.forget_if_unused(&hash);
        }
    }

    /// The network has changed under us: everybody is told something, so that sessions of SSU2 move with us and
    /// connections that are broken show it.
    pub fn addresses_changed(&mut self, now: Instant) {
        if let Some(udp) = &mut self.udp {
            udp.doubted = Some(now);
            udp.endpoint.addresses_changed();
        }
        for conn in self.conn_ids.clone() {
            if let Some(State::Established(session)) = self.conns.get_mut(&conn).map(|c| &mut c.state) {
                session.greet = true;
                self.wake(conn);
            }
        }
        self.say_datagrams();
    }

    /// A peer sees us elsewhere than before. Whoever is silent until we say something learns of it.
    pub(super) fn doubt_address(&mut self, by: RouterHash, now: Instant) {
        let Some(udp) = &mut self.udp else { return };
        if udp.doubted.is_some_and(|at| now.since(at) < DOUBT) {
            return;
        }
        udp.doubters.retain(|(at, _)| now.since(*at) < DOUBTERS.1);
        if udp.doubters.len() < DOUBTERS.0 && udp.doubters.iter().all(|(_, who)| *who != by) {
            udp.doubters.push((now, by));
            self.addresses_changed(now);
        }
    }

    /// A peer's session over SSU2 goes on at another address. Its connection over NTCP2, which cannot, is as good as
    /// gone.
    pub(super) fn on_moved(&mut self, hash: RouterHash) {
        let Some(udp) = self.udp_conn(&hash) else { return };
        let Some(peer) = self.peers.get_mut(&hash) else { return };
        if peer.spare == Some(udp) {
            std::mem::swap(&mut peer.active, &mut peer.spare);
            self.wake_any(udp);
        }
    }
}
