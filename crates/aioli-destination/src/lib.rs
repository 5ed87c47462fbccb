//! End to end, from one destination to another: encrypted sessions, garlic to
//! routers, LeaseSets, streams. See ARCHITECTURE.md.

pub mod lease_set;
pub mod local;
pub mod ratchet;
mod replay;
pub mod router_garlic;
pub mod streaming;

pub use local::{Config, EndReason, Limits, LocalDestination, Output, Stats, StreamEvent, Target, Why};
