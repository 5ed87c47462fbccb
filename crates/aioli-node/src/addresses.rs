//! The addresses of this computer that other routers can reach, as they come and go.
//!
//! Looked at every few seconds, for a router that was given no address. A
//! computer behind a NAT has none but those that its gateways map.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use crate::driver::Shared;
use crate::mapping::Transport;

/// How often the interfaces are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// An address counts when it was there so many times in a row: interfaces that come up try several.
const SEEN_TWICE: usize = 2;

/// How our addresses are found out.
pub struct AddressWatch {
    /// The port that is published with each.
    pub port: u16,
    /// Of this family; the unspecified address that is listened on.
    pub listening: IpAddr,
    /// Private addresses count as well, for a private network.
    pub private: bool,
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
        Self { port, listening, private, every: LOOK_EVERY, source: Box::new(interfaces) }
    }

    /// The address to publish at the moment, staying with the present one as long as it is there.
    pub fn choose(&mut self, present: Option<IpAddr>) -> io::Result<Option<IpAddr>> {
        let mut fit = (self.source)()?;
        fit.retain(|ip| ip.is_ipv4() == self.listening.is_ipv4() && self.fits(*ip));
        fit.sort_unstable();
        Ok(present.filter(|ip| fit.contains(ip)).or_else(|| fit.first().copied()))
    }

    fn fits(&self, ip: IpAddr) -> bool {
        let link_local = match ip {
            IpAddr::V4(ip) => ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_unicast_link_local(),
        };
        aioli_wire::ip::is_public(ip)
            || (self.private && !(ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || link_local))
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
        let tcp = mapped.iter().filter(|(transport, _)| *transport == Transport::Tcp).map(|(_, a)| *a);
        let mut addresses: Vec<_> = tcp.collect();
        if addresses.is_empty() {
            addresses.extend(*self.own.borrow());
        }
        shared.with_machines(|m, now| m.router.set_published(addresses, now));
    }
}

/// Tells the router its address, now and whenever it changes.
pub(crate) async fn watch(shared: Rc<Shared>, known: Rc<Known>, mut watch: AddressWatch) {
    let (mut published, mut candidate, mut seen, mut failing) = (None, None, 0, false);
    loop {
        match watch.choose(published) {
            Ok(found) => {
                failing = false;
                seen = if found == candidate { seen + 1 } else { 1 };
                candidate = found;
                // At the start there is nothing to be cautious about.
                if found != published && (seen >= SEEN_TWICE || published.is_none()) {
                    published = found;
                    known.set_own(found.map(|ip| SocketAddr::new(ip, watch.port)), &shared);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(present: Option<&str>, there: &[&str], listening: &str, private: bool) -> Option<String> {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let there: Vec<_> = there.iter().map(|t| ip(t)).collect();
        let mut watch = AddressWatch::new(1, ip(listening), private);
        watch.source = Box::new(move || Ok(there.clone()));
        watch.choose(present.map(ip)).unwrap().map(|ip| ip.to_string())
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
    fn the_systems_interfaces_can_be_read() {
        assert!(interfaces().unwrap().iter().any(IpAddr::is_loopback));
    }
}
