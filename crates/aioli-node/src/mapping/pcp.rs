//! PCP and NAT-PMP, which share a port of the gateway (RFC 6887, RFC 6886).

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::time::Duration;

use crab_nat::{
    GatewayAddress, InternetProtocol, MappingFailure, PortMapping, PortMappingOptions, PortMappingType,
    TimeoutConfig, natpmp, pcp,
};

use super::{Gateway, Got, LEASE, Lease, MappingError, Protocol, Transport};

/// Asked at 0, 0.25, 0.75 and 1.75 s, given up at 3.75 s.
const PATIENCE: TimeoutConfig =
    TimeoutConfig { initial_timeout: Duration::from_millis(250), max_retries: 3, max_retry_timeout: None };

/// Has the gateway map a port.
pub(super) async fn map(
    gateway: &Gateway,
    protocol: Protocol,
    transport: Transport,
    port: NonZeroU16,
) -> Result<Got, MappingError> {
    if gateway.address.is_ipv6() {
        return Err(MappingError::NotForIpv6);
    }
    let address = GatewayAddress::from(gateway.address);
    let transport = match transport {
        Transport::Tcp => InternetProtocol::Tcp,
        Transport::Udp => InternetProtocol::Udp,
    };
    let options = PortMappingOptions {
        external_port: Some(port),
        lifetime_seconds: u32::try_from(LEASE.as_secs()).ok(),
        timeout_config: Some(PATIENCE),
    };
    let mapping = match protocol {
        Protocol::Pcp => {
            let request = pcp::BaseMapRequest::new(address, gateway.local, transport, port);
            pcp::port_mapping(request, None, None, options).await.map_err(MappingFailure::from)
        }
        Protocol::NatPmp | Protocol::Upnp => {
            natpmp::port_mapping(address, transport, port, options).await.map_err(MappingFailure::from)
        }
    };
    let mapping = mapping.map_err(reason)?;
    let external = external(&mapping).await?;
    Ok(Got { external, lasts: lasts(&mapping), lease: Lease::Pcp(mapping) })
}

/// Asks for another lease. The gateway may give another address.
pub(super) async fn renew(mapping: &mut PortMapping) -> Result<(SocketAddr, Option<Duration>), MappingError> {
    mapping.renew().await.map_err(reason)?;
    Ok((external(mapping).await?, lasts(mapping)))
}

pub(super) async fn remove(mapping: PortMapping) -> Result<(), MappingError> {
    mapping.try_drop().await.map_err(|(failure, _)| reason(failure))
}

fn lasts(mapping: &PortMapping) -> Option<Duration> {
    Some(Duration::from_secs(mapping.lifetime().into()))
}

/// Where others reach us through a mapping. NAT-PMP says the address only when asked.
async fn external(mapping: &PortMapping) -> Result<SocketAddr, MappingError> {
    let ip = match mapping.mapping_type() {
        PortMappingType::Pcp { external_ip, .. } => external_ip.to_canonical(),
        PortMappingType::NatPmp => {
            let asked = natpmp::external_address(mapping.gateway(), Some(PATIENCE)).await;
            IpAddr::V4(asked.map_err(|failure| reason(failure.into()))?)
        }
    };
    Ok(SocketAddr::new(ip, mapping.external_port().get()))
}

fn reason(failure: MappingFailure) -> MappingError {
    use natpmp::Failure as NatPmp;
    use pcp::Failure as Pcp;
    match failure {
        MappingFailure::NatPmp(NatPmp::Timeout) | MappingFailure::Pcp(Pcp::Timeout) => MappingError::NoAnswer,
        // A closed port of the gateway.
        MappingFailure::NatPmp(NatPmp::Socket(error)) | MappingFailure::Pcp(Pcp::Socket(error)) => {
            if error.kind() == std::io::ErrorKind::ConnectionRefused {
                MappingError::Unsupported
            } else {
                MappingError::Network(error.to_string())
            }
        }
        MappingFailure::NatPmp(NatPmp::UnsupportedVersion(_) | NatPmp::UnsupportedOpcode)
        | MappingFailure::Pcp(Pcp::UnsupportedVersion(_) | Pcp::UnsupportedOpcode) => {
            MappingError::Unsupported
        }
        MappingFailure::NatPmp(NatPmp::NetworkFailure) | MappingFailure::Pcp(Pcp::NetworkFailure(_)) => {
            MappingError::NotConnected
        }
        MappingFailure::NatPmp(NatPmp::InvalidResponse(why)) => MappingError::Nonsense(why.to_string()),
        MappingFailure::Pcp(Pcp::InvalidResponse(why)) => MappingError::Nonsense(why.to_string()),
        MappingFailure::NatPmp(failure) => refused(&failure.to_string()),
        MappingFailure::Pcp(failure) => refused(&failure.to_string()),
    }
}

fn refused(answer: &str) -> MappingError {
    let answer = answer.rsplit_once("code: ").map_or(answer, |(_, code)| code);
    MappingError::Refused(answer.to_lowercase())
}
