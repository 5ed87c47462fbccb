//! UPnP: mappings of IPv4 (IGD:1) and pinholes of IPv6 (IGD:2).

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::time::Duration;

use igd_next::aio::tokio::{Tokio, search_gateway, search_ipv6_firewall_gateway};
use igd_next::aio::{Gateway as Translator, Ipv6FirewallGateway as Firewall};
use igd_next::{
    AddAnyPortError, AddPortError, GetExternalIpError, PinholeError, PortMappingProtocol, RemovePortError,
    RequestError, SearchError, SearchOptions,
};

use super::{Gateway, Got, LEASE, MappingError, Transport};

/// What the gateway's list of mappings says who asked.
const DESCRIPTION: &str = "aioli";
/// How long a search waits for answers.
const SEARCH_TIME: Duration = Duration::from_millis(2_500);
/// Searches are multicast and may get lost.
const SEARCHES: usize = 2;

/// A gateway that speaks UPnP.
pub(super) enum Igd {
    Translator(Translator<Tokio>),
    Firewall(Firewall<Tokio>),
}

/// What renews and removes a mapping.
#[derive(Clone, Debug)]
pub(super) enum Lease {
    Mapping {
        igd: Box<Translator<Tokio>>,
        transport: PortMappingProtocol,
        local: SocketAddr,
        external_port: u16,
        /// In seconds; 0 where the gateway knows no other.
        seconds: u32,
    },
    Pinhole {
        igd: Box<Firewall<Tokio>>,
        id: u16,
        address: SocketAddr,
    },
}

/// Looks for one on the network between us and `gateway`. It need not be `gateway` itself.
pub(super) async fn find(gateway: &Gateway) -> Result<Igd, MappingError> {
    let mut result = Err(MappingError::NoAnswer);
    for _ in 0..SEARCHES {
        result = match gateway.local {
            IpAddr::V4(_) => {
                let mut options = within(SearchOptions::default());
                options.bind_addr = SocketAddr::new(gateway.local, 0);
                search_gateway(options).await.map(Igd::Translator)
            }
            IpAddr::V6(_) => {
                let options = within(SearchOptions::ipv6(gateway.interface));
                search_ipv6_firewall_gateway(options).await.map(Igd::Firewall)
            }
        }
        .map_err(not_found);
        if result.is_ok() {
            break;
        }
    }
    result
}

fn within(mut options: SearchOptions) -> SearchOptions {
    options.timeout = Some(SEARCH_TIME);
    options.single_search_timeout = Some(SEARCH_TIME);
    options
}

impl Igd {
    /// Has it map our port, to the same outside if that is free.
    pub(super) async fn map(
        &self,
        gateway: &Gateway,
        transport: Transport,
        port: NonZeroU16,
    ) -> Result<Got, MappingError> {
        let transport = match transport {
            Transport::Tcp => PortMappingProtocol::TCP,
            Transport::Udp => PortMappingProtocol::UDP,
        };
        let local = SocketAddr::new(gateway.local, port.get());
        match self {
            Self::Translator(igd) => translate(igd, transport, local).await,
            Self::Firewall(igd) => {
                let SocketAddr::V6(client) = local else { return Err(MappingError::Unsupported) };
                let id = igd.add_pinhole(transport, client, seconds()).await.map_err(no_pinhole)?;
                let lease = Lease::Pinhole { igd: Box::new(igd.clone()), id, address: local };
                Ok(Got { external: local, lasts: Some(LEASE), lease: super::Lease::Upnp(lease) })
            }
        }
    }
}

fn seconds() -> u32 {
    u32::try_from(LEASE.as_secs()).unwrap_or(u32::MAX)
}

async fn translate(
    igd: &Translator<Tokio>,
    transport: PortMappingProtocol,
    local: SocketAddr,
) -> Result<Got, MappingError> {
    let ip = igd.get_external_ip().await.map_err(no_address)?;
    let mut lease = seconds();
    let mut result = igd.add_port(transport, local.port(), local, lease, DESCRIPTION).await;
    if matches!(result, Err(AddPortError::OnlyPermanentLeasesSupported)) {
        lease = 0;
        result = igd.add_port(transport, local.port(), local, lease, DESCRIPTION).await;
    }
    let external_port = match result {
        Ok(()) => local.port(),
        Err(AddPortError::PortInUse) => {
            let other = igd.add_any_port(transport, local, lease, DESCRIPTION).await;
            other.map_err(|error| {
                if let AddAnyPortError::RequestError(error) = error {
                    bad_request(error)
                } else {
                    MappingError::Refused(error.to_string())
                }
            })?
        }
        Err(error) => return Err(no_mapping(error)),
    };
    let lasts = (lease > 0).then_some(LEASE);
    let lease =
        Lease::Mapping { igd: Box::new(igd.clone()), transport, local, external_port, seconds: lease };
    Ok(Got { external: SocketAddr::new(ip, external_port), lasts, lease: super::Lease::Upnp(lease) })
}

impl Lease {
    /// Asks for as long again. The gateway may have another address by now.
    pub(super) async fn renew(&self) -> Result<(SocketAddr, Option<Duration>), MappingError> {
        match self {
            Self::Mapping { igd, transport, local, external_port, seconds } => {
                let added = igd.add_port(*transport, *external_port, *local, *seconds, DESCRIPTION).await;
                added.map_err(no_mapping)?;
                let ip = igd.get_external_ip().await.map_err(no_address)?;
                Ok((SocketAddr::new(ip, *external_port), (*seconds > 0).then_some(LEASE)))
            }
            Self::Pinhole { igd, id, address } => {
                igd.update_pinhole(*id, seconds()).await.map_err(no_pinhole)?;
                Ok((*address, Some(LEASE)))
            }
        }
    }

    pub(super) async fn remove(self) -> Result<(), MappingError> {
        match self {
            Self::Mapping { igd, transport, external_port, .. } => {
                igd.remove_port(transport, external_port).await.map_err(|error| {
                    if let RemovePortError::RequestError(error) = error {
                        bad_request(error)
                    } else {
                        MappingError::Refused(error.to_string())
                    }
                })
            }
            Self::Pinhole { igd, id, .. } => igd.remove_pinhole(id).await.map_err(no_pinhole),
        }
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "whatever else a library finds wrong with an answer")]
fn not_found(error: SearchError) -> MappingError {
    match error {
        SearchError::NoResponseWithinTimeout => MappingError::NoAnswer,
        SearchError::IoError(error) if error.kind() == ErrorKind::TimedOut => MappingError::NoAnswer,
        SearchError::IoError(error) => MappingError::Network(error.to_string()),
        error => MappingError::Nonsense(error.to_string()),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "whatever else a library finds wrong with an answer")]
fn bad_request(error: RequestError) -> MappingError {
    match error {
        RequestError::ErrorCode(code, text) => MappingError::Refused(format!("{text} (UPnP error {code})")),
        RequestError::UnsupportedAction(_) => MappingError::Unsupported,
        RequestError::IoError(error) if error.kind() == ErrorKind::TimedOut => MappingError::NoAnswer,
        RequestError::IoError(error) => MappingError::Network(error.to_string()),
        error => MappingError::Nonsense(error.to_string()),
    }
}

fn no_address(error: GetExternalIpError) -> MappingError {
    match error {
        GetExternalIpError::ActionNotAuthorized => MappingError::Refused(error.to_string()),
        GetExternalIpError::RequestError(error) => bad_request(error),
    }
}

fn no_mapping(error: AddPortError) -> MappingError {
    if let AddPortError::RequestError(error) = error {
        bad_request(error)
    } else {
        MappingError::Refused(error.to_string())
    }
}

fn no_pinhole(error: PinholeError) -> MappingError {
    match error {
        PinholeError::FirewallControlUnavailable => MappingError::Unsupported,
        PinholeError::RequestError(error) => bad_request(error),
        PinholeError::InvalidLeaseDuration
        | PinholeError::ActionNotAuthorized
        | PinholeError::PinholeSpaceExhausted
        | PinholeError::FirewallDisabled
        | PinholeError::InboundPinholeNotAllowed
        | PinholeError::NoSuchEntry => MappingError::Refused(error.to_string()),
    }
}
