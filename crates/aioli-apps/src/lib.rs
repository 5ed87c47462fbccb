//! What people use a router with: proxies for browsers and other programs, client
//! and server tunnels, and the names of sites. All of it speaks to the router
//! through the embedding API of `aioli-node`, or through SAM, and connects to
//! nothing else unless it is told to.
//!
//! ```text
//!  browser ─► http proxy ─┐
//!  program ─► socks ──────┼─► Naming ─► address book, b32 ─► Outlet ─► Way ─► router
//!  program ─► tunnel ─────┘                                               │
//!  local server ◄─ tunnel ◄──────────────────────────────────────────────┘
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
