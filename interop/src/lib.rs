//! Real routers and real clients in network namespaces.
//!
//! ```text
//!   main ── scenario ──┐            net::     namespaces, gateways, processes, the delaying forwarder
//!        │  ├─ browse ─┤
//!        │  ├─ join ───┤
//!        │  ├─ leak ───┤
//!        │  ├─ limit ──┤
//!        │  ├─ mapping ┤
//!        │  └─ reach ──┤
//!        └─ compare ───┼─ network ─ router ─ net::{namespace, process}
//!                      └─ client::  SAM programs, each run inside the namespace of its router
//! ```
//!
//! Our router is run as a program, like the others. Of its crates only the load
//! of handshakes uses one, the transport, as the initiators.
//! No namespace has a route or a link to the outside, and a router is not
//! started in one that has.

#![allow(clippy::print_stdout, reason = "a program for a terminal: its output is its purpose")]

pub mod browse;
pub mod canary;
pub mod client;
pub mod compare;
pub mod introduce;
pub mod join;
pub mod leak;
pub mod limit;
pub mod mapping;
pub mod moving;
pub mod net;
pub mod network;
pub mod reach;
pub mod report;
pub mod reseed_server;
pub mod router;
pub mod router_info;
pub mod scenario;
pub(crate) mod site;
pub mod soak;
pub mod tunnels;
