//! How fast to send over a path that loses, delays and reorders at random.
//!
//! Streams and SSU2 sessions share this: streams count packets, sessions bytes.
//! Whoever sends decides what is acknowledged and what is lost, and tells it here.
//!
//! ```text
//!  packet leaves ──► Delivery::depart ──► Departure, kept with the packet
//!  it arrives    ──► Delivery::sample ──► RateSample ─┐
//!                    Rtt::sample ─────────────────────┼─► Controller::on_ack
//!  losses        ─────────────────────────► AckEvent ─┘     │ window, pacing_rate
//!                                                          Pacer: when the next may leave
//! ```
//!
//! `docs/streaming.md` and `docs/ssu2.md` tell why, and what was measured.

mod controller;
mod delivery;
mod pacer;
mod rtt;

pub use controller::{AckEvent, Controller, INITIAL_WINDOW, Path};
pub use delivery::{Delivery, Departure, RateSample};
pub use pacer::Pacer;
pub use rtt::{Rtt, Timeouts};
