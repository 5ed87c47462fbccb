//! The machinery below the routers: network namespaces, gateways, supervised
//! processes and a forwarder that adds delay.

pub mod delay;
pub mod guard;
pub mod namespace;
pub mod nat;
pub mod process;
