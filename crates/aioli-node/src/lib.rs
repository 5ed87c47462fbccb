//! The only crate with I/O: sockets, clock, entropy, disk and threads.
//!
//! A [`Node`] is one router on one thread. Its tasks share the router without
//! locks, because they never run at once:
//!
//! ```text
//!   listener ─┐                       ┌─► store (its own thread: files)
//!   dialler  ─┤   ┌────────────────┐  │
//!   link     ─┼──►│ Router and Sam │──┼─► links: one vectored write a round
//!   timer    ─┘   └────────────────┘  └─► events to whoever holds the Node
//! ```

mod addresses;
mod clock;
mod complaints;
mod disk;
mod driver;
pub mod embed;
mod link;
mod links;
pub mod mapping;
mod node;
pub mod reseed;
mod sntp;
pub mod udp;

pub use addresses::AddressWatch;
pub use clock::{Clock, entropy};
pub use disk::{DataDir, DiskError, Holder, Inspection, make_private_dir, read_bounded, write_atomic};
pub use links::{LOSS_PARTS, LinkConditions};
pub use node::{FEW_ROUTERS, Node, NodeConfig, NodeError, Notice, Snapshot, bind, bind_udp};
pub use sntp::{SntpConfig, SntpError, clock_offset};
