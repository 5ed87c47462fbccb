//! The addresses of this computer that other routers can reach, as they come and go.
//!
//! Looked at every two seconds. A router that was given no address publishes what
//! is found; one behind a NAT has none but those that its gateways map. Any router
//! is told when addresses go, so that its sessions move or are begun anew.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use aioli_router::Presumed;

use crate::driver::Shared;
use crate::mapping::Transport;

/// How often the interfaces are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// An address is published when it was there so many times in a row: interfaces that come up try several.
const SEEN_OFTEN: usize = 3;

/// How our addresses are found out.
pub struct AddressWatch {
    /// The port that is published with each.
    pub port: u16,
    /// Of this family; the unspecified address that is listened on.
    pub listening: IpAddr,
    /// Private addresses count as well, for a private network.
    pub private: bool,
    /// Whether what is found is published. If not, the router only follows changes of the network.
    pub publishes: bool,
    /// How often to look.
    pub every: Duration,
    /// The addresses of the computer; [`AddressWatch::new`] asks the system.
    pub source: Box<dyn FnMut() -> io::Result<Vec<IpAddr>> + Send>,
}

impl fmt::Debug for AddressWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AddressWatch").field("port", &self.port).field("listening", &self.listening).finish()
    }
}

impl AddressWatch {
    /// Looks at the system's interfaces.
    pub fn new(port: u16, listening: IpAddr, private: bool) -> Self {
        Self { port, listening, private, publishes: true, every: LOOK_EVERY, source: Box::new(interfaces) }
    }

    /// The same for a router whose address is known, or not to be.
    pub fn unpublished(self) -> Self {
        Self { publishes: false, ..self }
    }

    /// The address to publish at the moment.
    pub fn look(&mut self) -> io::Result<Option<IpAddr>> {
        let found = (self.source)()?;
        Ok(self.choose(None, &found))
    }

    /// The address to publish at the moment, staying with the present one as long as it is there.
    fn choose(&self, present: Option<IpAddr>, found: &[IpAddr]) -> Option<IpAddr> {
        let fits = |ip: &&IpAddr| ip.is_ipv4() == self.listening.is_ipv4() && self.fits(**ip);
        let fit: Vec<_> = found.iter().filter(fits).copied().collect();
        present.filter(|ip| fit.contains(ip)).or_else(|| fit.iter().min().copied())
    }

    fn fits(&self, ip: IpAddr) -> bool {
        aioli_wire::ip::is_public(ip)
            || (self.private && !(is_local(ip) || ip.is_unspecified() || ip.is_multicast()))
    }
}

fn interfaces() -> io::Result<Vec<IpAddr>> {
    Ok(if_addrs::get_if_addrs()?.into_iter().map(|interface| interface.ip()).collect())
}

/// What is known of our addresses, from the two sources that there are.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// Of an interface.
    own: RefCell<Option<SocketAddr>>,
    /// Of gateways: which of their ports lead to ours.
    mapped: RefCell<Vec<(Transport, SocketAddr)>>,
}

impl Known {
    fn set_own(&self, own: Option<SocketAddr>, shared: &Shared) {
        self.own.replace(own);
        self.tell(shared);
    }

    /// What gateways map from now on.
    pub(crate) fn set_mapped(&self, mapped: Vec<(Transport, SocketAddr)>, shared: &Shared) {
        if *self.mapped.borrow() != mapped {
            self.mapped.replace(mapped);
            self.tell(shared);
        }
    }

    /// A mapped address is one that others reach; that of the interface behind it is not.
    fn tell(&self, shared: &Shared) {
        let mapped = self.mapped.borrow();
        let of = |wanted| {
            let found: Vec<_> = mapped.iter().filter(|(t, _)| *t == wanted).map(|(_, a)| *a).collect();
            if found.is_empty() { self.own.borrow().iter().copied().collect() } else { found }
        };
        let presumed = Presumed { udp: of(Transport::Udp), tcp: of(Transport::Tcp) };
        shared.with_machines(|m, now| m.router.set_presumed(presumed, now));
    }
}

/// Tells the router its address, now and whenever it changes; and that the network has changed.
pub(crate) async fn watch(shared: Rc<Shared>, known: Rc<Known>, mut watch: AddressWatch) {
    let (mut published, mut candidate, mut seen, mut failing) = (None, None, 0, false);
    let mut before: Option<BTreeSet<IpAddr>> = None;
    loop {
        match (watch.source)() {
            Ok(found) => {
                failing = false;
                let now: BTreeSet<_> = found.iter().copied().filter(|ip| !is_local(*ip)).collect();
                if let Some(before) = before.replace(now.clone()).filter(|before| *before != now) {
                    shared.network_changed(&(&before - &now));
                }
                if !watch.listening.is_loopback() {
                    let (ipv4, ipv6) = families(&found);
                    shared.with_machines(|m, _| m.router.set_families(ipv4, ipv6));
                }
                let chosen = watch.choose(published, &found).filter(|_| watch.publishes);
                seen = if chosen == candidate { seen + 1 } else { 1 };
                candidate = chosen;
                // At the start there is nothing to be cautious about.
                if chosen != published && (seen >= SEEN_OFTEN || published.is_none()) {
                    published = chosen;
                    known.set_own(chosen.map(|ip| SocketAddr::new(ip, watch.port)), &shared);
                }
            }
            Err(error) if !failing => {
                tracing::warn!("cannot look at the network interfaces: {error}. The address stays as it was");
                failing = true;
            }
            Err(_) => {}
        }
        tokio::time::sleep(watch.every).await;
    }
}

/// In which families others can be dialled: those of which there is an address, or both if there is none yet.
fn families(found: &[IpAddr]) -> (bool, bool) {
    let ipv4 = found.iter().any(|ip| ip.is_ipv4() && !ip.is_loopback());
    let ipv6 = found.iter().any(|ip| ip.is_ipv6() && !is_local(*ip));
    if ipv4 || ipv6 { (ipv4, ipv6) } else { (true, true) }
}

/// Whether an address is of no use beyond this computer and its next neighbours.
fn is_local(ip: IpAddr) -> bool {
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    ip.is_loopback() || link_local
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(present: Option<&str>, there: &[&str], listening: &str, private: bool) -> Option<String> {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let there: Vec<_> = there.iter().map(|t| ip(t)).collect();
        let watch = AddressWatch::new(1, ip(listening), private);
        watch.choose(present.map(ip), &there).map(|ip| ip.to_string())
    }

    #[test]
    fn only_what_others_reach_is_published_and_not_without_need_changed() {
        let home = ["127.0.0.1", "192.168.1.7", "fe80::1", "169.254.1.1", "::1"];
        assert_eq!(chosen(None, &home, "0.0.0.0", false), None);
        assert_eq!(chosen(None, &home, "0.0.0.0", true).as_deref(), Some("192.168.1.7"));
        assert_eq!(chosen(None, &home, "::", true), None);
        let server = ["10.0.0.3", "45.1.2.9", "45.1.2.3", "2a01:4f8::2"];
        assert_eq!(chosen(None, &server, "0.0.0.0", false).as_deref(), Some("45.1.2.3"));
        assert_eq!(chosen(Some("45.1.2.9"), &server, "0.0.0.0", false).as_deref(), Some("45.1.2.9"));
        assert_eq!(chosen(Some("45.1.2.8"), &server, "0.0.0.0", false).as_deref(), Some("45.1.2.3"));
        assert_eq!(chosen(None, &server, "::", false).as_deref(), Some("2a01:4f8::2"));
    }

    #[test]
    fn a_family_without_an_address_is_not_dialled() {
        let of = |there: &[&str]| families(&there.iter().map(|t| t.parse().unwrap()).collect::<Vec<_>>());
        assert_eq!(of(&["127.0.0.1", "::1", "192.168.1.7", "fe80::1"]), (true, false));
        assert_eq!(of(&["127.0.0.1", "::1", "2a01:4f8::2"]), (false, true));
        assert_eq!(of(&["169.254.1.2", "2a01:4f8::2"]), (true, true), "a gateway may translate");
        assert_eq!(of(&["127.0.0.1", "::1"]), (true, true), "the network is not up yet");
    }

    #[test]
    fn the_systems_interfaces_can_be_read() {
        assert!(interfaces().unwrap().iter().any(IpAddr::is_loopback));
    }
}
