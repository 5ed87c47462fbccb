//! Every I2P byte format, and nothing else: no secrets, no policy.
//!
//! Each structure implements [`Wire`]: a decoder that borrows and that no
//! input can make panic, and an encoder that cannot fail because the types
//! hold the limits. `Wire::SPEC` names the section of the specifications.

pub mod codec;

pub use codec::{DecodeError, DecodeErrorKind, Reader, Wire, Writer};
