//! One I2P router as a plain value: the composition of transport, NetDB,
//! tunnels and destinations, which do not know each other.
//!
//! A driver tells it what happened and does what it asks; see [`Router`].

mod bandwidth;
mod bans;
mod barring;
pub mod blocklist;
pub mod client;
mod clock;
mod config;
mod event;
mod garlic;
mod guards;
mod identity;
mod introducers;
mod lag;
mod lifecycle;
mod limits;
mod own_info;
mod profiles;
mod reach;
pub mod reachability;
mod role;
mod roster;
mod route;
mod router;
mod selection;
mod sessions;
mod stats;
pub mod tap;
mod view;
mod ways;

pub use aioli_transport::ssu2::Family;
pub use aioli_transport::{Bandwidth, ConnId, SessionView, Transmit};
pub use aioli_tunnel::{PoolId, TunnelView};
pub use bans::{BanReason, Subject};
pub use blocklist::Blocklist;
pub use client::{ClientEvent, SessionId, SessionOptions, StreamId, TunnelOptions};
pub use clock::ClockSource;
pub use config::{Config, PUBLIC_NETWORK};
pub use event::Event;
pub use identity::Identity;
pub use limits::{Limits, Profile};
pub use own_info::create_router_info;
pub use profiles::StoredProfile;
pub use reach::Presumed;
pub use role::FloodfillRole;
pub use router::{LoadError, Output, Router, StoreWrite};
pub use stats::Stats;
pub use view::{DestinationView, Details, Overview, PeerView, RouterView};
