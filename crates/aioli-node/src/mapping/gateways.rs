//! The gateways of the system's default routes.

use std::io;
use std::net::IpAddr;

/// Who stands between a network of ours and the Internet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gateway {
    /// Its address on our side.
    pub address: IpAddr,
    /// Ours on that side.
    pub local: IpAddr,
    /// The index of the interface between.
    pub interface: u32,
}

/// Those that the routing table names, with our address towards each.
pub(super) fn of_the_system() -> io::Result<Vec<Gateway>> {
    let mut all = Vec::new();
    for interface in netdev::get_interfaces() {
        let Some(gateway) = &interface.gateway else { continue };
        let index = interface.index;
        let own = interface.ipv4_addrs();
        for address in &gateway.ipv4 {
            let near = interface.ipv4.iter().find(|net| net.contains(address)).map(|net| net.addr());
            if let Some(local) = near.or_else(|| own.first().copied()) {
                all.push(Gateway { address: (*address).into(), local: local.into(), interface: index });
            }
        }
        // The lowest public address is the one that is published.
        let public =
            interface.ipv6_addrs().into_iter().map(IpAddr::V6).filter(|ip| aioli_wire::ip::is_public(*ip));
        if let (Some(address), Some(local)) = (gateway.ipv6.first(), public.min()) {
            all.push(Gateway { address: (*address).into(), local, interface: index });
        }
    }
    Ok(all)
}
