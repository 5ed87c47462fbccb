//! SSU2's own formats: headers, and the blocks of its payloads (`ssu2`).
//!
//! ```text
//! long     destination id 8 | packet number 4 | type 1 | version 1 | network 1 | flags 1
//!          | source id 8 | token 8                    SessionRequest and -Created, Retry, ...
//! short    destination id 8 | packet number 4 | type 1 | fragment or flags 1 | flags 2
//!                                                     SessionConfirmed, Data
//! payload  block, block, ..., [Termination], [Padding]; block = kind 1 | size 2 | data
//! ```
//!
//! Header protection and encryption are the transport's; here is plain text.

mod ack;
mod address;
mod block;
mod header;
mod introduce;
#[cfg(test)]
mod tests;

pub use crate::termination::TerminationReason;
pub use ack::{Ack, AckRanges};
pub use address::{Introducer, MAX_INTRODUCERS, Ssu2Address, Ssu2Parts};
pub use block::{
    Block, Blocks, FollowOn, NewToken, RouterInfoBlock, TAIL_RESERVE, follow_on_header, i2np_header,
};
pub use header::{ConnectionId, Fragment, LONG_HEADER, LongHeader, PacketType, SHORT_HEADER, ShortHeader};
pub use introduce::{
    Endpoint, PeerTest, RelayIntro, RelayRequest, RelayResponse, peer_test_signed, relay_request_signed,
    relay_response_signed,
};

/// The protocol version in long headers.
pub const VERSION: u8 = 2;
/// Bytes of the authentication tag behind everything encrypted.
pub const TAG_LEN: usize = 16;
/// Kind and size in front of a block's data.
pub const BLOCK_HEADER: usize = 3;
/// The smallest payload before its tag: header protection samples its end.
pub const MIN_PAYLOAD: usize = 8;
/// The smallest packet: a short header, the smallest payload and its tag.
pub const MIN_PACKET: usize = SHORT_HEADER + MIN_PAYLOAD + TAG_LEN;
/// The smallest IP packet that every path must carry.
pub const MIN_MTU: u16 = 1280;
/// The largest IP packet that is ever sent.
pub const MAX_MTU: u16 = 1500;
/// The largest block data: what the size field can say.
pub const MAX_BLOCK: usize = 65_535;

/// Bytes of IP and UDP headers around a packet to or from `ip`.
pub const fn ip_overhead(ip: &std::net::IpAddr) -> usize {
    match ip {
        std::net::IpAddr::V4(_) => 28,
        std::net::IpAddr::V6(_) => 48,
    }
}
