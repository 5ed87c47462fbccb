//! Programs that use a router through SAM v3, run inside its namespace.
//!
//! They speak to the runner in lines on their standard output: `DESTINATION …`,
//! `CONNECTED`, `SENT <bytes> <sha-256>`, `RECEIVED <bytes> <sha-256>`, `DONE`,
//! or `ERROR …`.

/// Where Debian has `curl`.
pub(crate) const CURL: &str = "/usr/bin/curl";

pub mod chromium;
pub mod first_tunnel;
pub mod handshakes;
pub mod load;
pub mod programs;
pub mod sam;
pub mod yosemite;
