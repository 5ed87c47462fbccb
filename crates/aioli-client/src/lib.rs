//! What local programs speak to a router, as state machines over the
//! router's client requests. SAM v3 (`api/samv3`) for streams, so far.
//!
//! A machine borrows the router for each call and returns what is to be
//! written; whoever drives it owns the sockets.

pub mod backend;
pub mod sam;

pub use backend::Backend;
pub use sam::{Sam, SamConfig, SamConn, SamOutput, SamStats, SessionDefaults};
