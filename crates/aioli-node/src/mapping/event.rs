//! What is told of port mapping, and why it failed.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use thiserror::Error;

use super::{Protocol, Transport};

/// Why a gateway did not map a port.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MappingError {
    /// Nobody answered.
    #[error("no answer")]
    NoAnswer,
    /// The gateway does not speak the protocol.
    #[error("the gateway does not support it")]
    Unsupported,
    /// The gateway's settings or its state forbid it.
    #[error("the gateway refuses: {0}")]
    Refused(String),
    /// The gateway has no address on its other side.
    #[error("the gateway is not connected to the Internet")]
    NotConnected,
    /// There is nothing to translate.
    #[error("not for IPv6")]
    NotForIpv6,
    /// The gateway's answer makes no sense.
    #[error("the gateway's answer makes no sense: {0}")]
    Nonsense(String),
    /// The system's network functions failed.
    #[error("{0}")]
    Network(String),
}

/// What is told of port mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MappingEvent {
    /// A port of a gateway leads to us.
    Mapped {
        /// By which protocol.
        protocol: Protocol,
        /// By whom.
        gateway: IpAddr,
        /// For what.
        transport: Transport,
        /// Which address and port.
        external: SocketAddr,
        /// Whether the address is one of the Internet; otherwise another gateway is in the way.
        reachable: bool,
    },
    /// A gateway did not map our port.
    Failed {
        /// By which protocol.
        protocol: Protocol,
        /// Who.
        gateway: IpAddr,
        /// Why not.
        error: MappingError,
    },
    /// A mapping could not be renewed; it is asked for anew.
    Lost {
        /// By which protocol.
        protocol: Protocol,
        /// By whom.
        gateway: IpAddr,
        /// Why.
        error: MappingError,
    },
    /// No gateway mapped anything.
    Nothing {
        /// Our port.
        port: u16,
    },
}

impl MappingEvent {
    /// Whether it tells of this gateway.
    pub(super) fn is_of(&self, address: IpAddr) -> bool {
        match self {
            Self::Mapped { gateway, .. } | Self::Failed { gateway, .. } | Self::Lost { gateway, .. } => {
                *gateway == address
            }
            Self::Nothing { .. } => false,
        }
    }
}

impl fmt::Display for MappingEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mapped { protocol, gateway, transport, external, reachable } => {
                let transport = match transport {
                    Transport::Tcp => "TCP",
                    Transport::Udp => "UDP",
                };
                write!(
                    f,
                    "port mapping: {external} ({transport}) leads to this router, by {protocol} at {gateway}"
                )?;
                if *reachable {
                    return Ok(());
                }
                write!(
                    f,
                    ". But that is no address of the Internet: {gateway} is itself behind a gateway, which has to \
                     forward the port as well, or behind the provider's address translation"
                )
            }
            Self::Failed { protocol, gateway, error } => {
                write!(f, "port mapping: {protocol} at {gateway}: {error}")
            }
            Self::Lost { protocol, gateway, error } => {
                write!(f, "port mapping: {protocol} at {gateway} did not renew its mapping: {error}")
            }
            Self::Nothing { port } => write!(
                f,
                "port mapping: no gateway mapped port {port}. Switch on UPnP, NAT-PMP or PCP in the gateway's settings, \
                 or have it forward TCP and UDP port {port} to this computer; --no-port-mapping stops asking"
            ),
        }
    }
}
