//! Tunnels: ordinary programs of this computer in I2P, as clients and as servers
//! (`i2ptunnel`).
//!
//! ```text
//!  program ─► listen address ─► client ─► Outlet ─► a destination
//!  local server ◄─ target ◄─ server: access, limits, filters ◄─ Host ◄─ peers
//!
//!  configuration, tunnels.toml, tunnels.conf ─► table ─► what changed stops and starts
//!  console, i2p-tunnel ─► Tunnels: list, add, change, remove, start, stop ─┘
//! ```
//!
//! A description ([`TunnelConfig`]) is one tunnel. Those of `tunnels.toml` can be
//! changed while they run; a changed one starts anew, and the others keep their
//! connections.

mod access;
mod client;
mod config;
mod files;
mod http_server;
mod i2pd;
mod idle;
mod irc;
mod keys;
mod limits;
mod run;
mod server;
mod sources;
mod stats;
mod table;

pub use config::{ConfigError, Defaults, Kind, Limits, Secret, TunnelConfig};
pub use files::{Described, TunnelsFile, from_toml, to_toml};
pub use i2pd::{read_all as from_i2pd, tunnel as from_i2pd_settings};
pub use stats::TunnelStats;
pub use table::{MAX_TUNNELS, Origin, State, TunnelError, TunnelInfo, Tunnels, TunnelsConfig};
