//! What a protocol state machine may use besides itself: time, randomness and
//! timers as arguments, typed cryptography, and how fast to send.
//!
//! Nothing here performs I/O, reads a clock or draws entropy from the system.

pub mod bucket;
pub mod bug;
pub mod crypto;
pub mod flow;
pub mod map;
pub mod redact;
pub mod rng;
pub mod time;
pub mod timers;

pub use bucket::Bucket;
pub use redact::Redacted;
pub use rng::Rng;
pub use time::{Date, Duration, Instant, Now};
pub use timers::Timers;

/// All that a state machine may use besides itself.
#[derive(Debug)]
pub struct Cx<'a> {
    /// The driver's clocks at this call.
    pub now: Now,
    /// The randomness of this subsystem.
    pub rng: &'a mut Rng,
}

impl Cx<'_> {
    /// The same context for a callee.
    pub fn reborrow(&mut self) -> Cx<'_> {
        Cx { now: self.now, rng: self.rng }
    }
}
