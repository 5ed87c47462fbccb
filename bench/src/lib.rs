//! What the benches share: two transports with a pipe between them, and a hop
//! that was asked to take part in a tunnel. See `README.md`.

mod datagrams;
mod hop;
mod pair;
pub mod peers;

pub use datagrams::{Datagrams, Victim};
pub use hop::Hop;
pub use pair::Pair;

use aioli_core::{Date, Instant, Now};

/// The time at which everything here happens.
pub fn now() -> Now {
    Now { mono: Instant::from_micros(1_000_000_000), wall: Date::from_secs(1_780_000_020) }
}
