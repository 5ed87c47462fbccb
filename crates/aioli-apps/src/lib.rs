//! What people use a router with: proxies for browsers and other programs, and
//! the names of sites. All of it speaks to the router through the embedding API
//! of `aioli-node`, and connects to nothing else unless it is told to.
//!
//! ```text
//!  browser ─► http proxy ─┐
//!                         ├─► Naming ─► address book, b32 ─► Session::connect ─► router
//!  program ─► socks  ─────┘
//! ```

pub mod address_book;
pub mod console;
pub mod http;
pub mod listen;
pub mod names;
mod relay;
pub mod resolve;
pub mod run;
mod sam;
pub mod site;
pub mod socks;
pub mod tunnels;
pub mod way;

pub use run::{Apps, AppsConfig, AppsStats};
