//! Sessions between routers: NTCP2 and SSU2 in both roles, as state machines without I/O.
//!
//! [`Transport`] owns every connection. A driver moves bytes between it and
//! TCP sockets, and datagrams between it and UDP sockets; the router above hands
//! it I2NP messages and gets them back in batches. SSU2 by itself is [`ssu2`].
//!
//! ```text
//!            send, send_to ┌───────────┐ Messages, Established, DialFailed, ...
//!  router ────────────────►│           │────────────────► router
//!                          │ Transport │
//!  socket ────────────────►│           │────────────────► socket
//!     handle_bytes (in place)──────────┘ poll_transmit (sealed in the output buffer), Dial, Close
//! ```
//!
//! A driver calls [`Transport::poll_output`] until it is empty after every
//! other call. On [`Output::Datagrams`] it calls [`Transport::poll_datagrams`] as
//! long as the UDP socket takes them, until that gives nothing. On [`Output::Transmit`] it pulls with
//! [`Transport::poll_transmit`] as long as the socket takes bytes, until that
//! returns false. On [`Output::Close`] without `reset` it first writes what it
//! has pulled.

mod back_off;
mod config;
mod handshake;
mod manager;
mod ntcp2;
mod output;
mod pace;
mod queue;
mod replay;
mod shaper;
pub mod ssu2;
mod stats;

pub use config::{Bandwidth, Config, Limits, Ssu2Keys};
pub use handshake::PeerMisbehaved;
pub use manager::{SessionView, Transport};
pub use output::{ConnId, DialError, DisconnectReason, Output, Transmit, Why};
pub use queue::Lane;
pub use stats::Stats;
