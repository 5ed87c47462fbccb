//! What fuzzers give bytes to: one function for each format that strangers write.
//!
//! A function panics if something is wrong, and does nothing otherwise. `../fuzz_targets`
//! gives them to libFuzzer; `tests/mutations.rs` runs each on valid inputs that were changed.

mod formats;
mod peer;
mod sam;
mod ssu2;

pub use formats::{i2np, lease_set2, ntcp2_connection, ntcp2_frames, router_info};
pub use sam::sam_lines;
pub use ssu2::{ssu2_blocks, ssu2_datagrams, ssu2_handshake, ssu2_headers, ssu2_session};

use aioli_core::{Date, Duration, Instant, Now};
use aioli_wire::{Message, MessageId, MessageType, Wire, Writer};

/// One of the functions, and what it can be begun with.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its name, as in `fuzz_targets`.
    pub name: &'static str,
    /// What takes the bytes.
    pub run: fn(&[u8]),
    /// Valid inputs.
    pub seeds: Vec<Vec<u8>>,
    /// How many changed inputs a test can afford.
    pub iterations: u32,
}

/// All targets.
pub fn targets() -> Vec<Target> {
    let many = 20_000;
    let target = |name, run, seeds, iterations| Target { name, run, seeds, iterations };
    vec![
        target("i2np", i2np, formats::i2np_seeds(), many),
        target("lease_set2", lease_set2, formats::lease_set2_seeds(), many),
        target("ntcp2_connection", ntcp2_connection, formats::connection_seeds(), 4_000),
        target("ntcp2_frames", ntcp2_frames, formats::frame_seeds(), many),
        target("router_info", router_info, formats::router_info_seeds(), many),
        target("sam_lines", sam_lines, sam::seeds(), many),
        target("ssu2_blocks", ssu2_blocks, ssu2::block_seeds(), many),
        target("ssu2_datagrams", ssu2_datagrams, ssu2::operation_seeds(), 2_000),
        target("ssu2_handshake", ssu2_handshake, ssu2::handshake_seeds(), 4_000),
        target("ssu2_headers", ssu2_headers, ssu2::header_seeds(), many),
        target("ssu2_session", ssu2_session, ssu2::session_seeds(), 4_000),
    ]
}

/// When everything here happens.
pub(crate) const NOW: Now =
    Now { mono: Instant::from_micros(1_000_000_000), wall: Date::from_secs(1_780_000_020) };

/// A message with a body of so many bytes.
pub(crate) fn message(id: u32, len: usize) -> Message {
    let expires = NOW.wall + Duration::from_secs(30);
    Message { kind: MessageType::Data, id: MessageId(id), expires, body: vec![7; len] }
}

/// The same in its short form.
pub(crate) fn short(message: &Message) -> Vec<u8> {
    let mut out = Vec::new();
    message.encode_short(&mut out);
    out
}

/// Blocks in a row: a frame, or the payload of a packet.
pub(crate) fn row<'a, T: Wire<'a>>(blocks: &[T]) -> Vec<u8> {
    let mut w = Writer::new();
    blocks.iter().for_each(|b| w.write(b));
    w.into_vec()
}
