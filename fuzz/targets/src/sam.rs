//! SAM: lines of a local program, to a machine whose router takes everything.

use std::net::{IpAddr, Ipv4Addr};

use aioli_client::{Backend, Sam, SamConfig};
use aioli_core::{Now, Rng};
use aioli_router::client::{
    ClientLookup, SessionError, SessionId, SessionOptions, StreamEnd, StreamId, Target,
};
use aioli_wire::{DestinationHash, DestinationKeys};

use crate::NOW;

/// A router that says yes.
struct Yes;

impl Backend for Yes {
    fn create_session(&mut self, _: SessionOptions, _: Now) -> Result<SessionId, SessionError> {
        Ok(SessionId(1))
    }
    fn destroy_session(&mut self, _: SessionId, _: Now) {}
    fn session_keys(&self, _: SessionId) -> Option<&DestinationKeys> {
        None
    }
    fn connect(&mut self, _: SessionId, _: Target, _: u16, _: u16, _: Now) -> Result<StreamId, StreamEnd> {
        Ok(StreamId(1))
    }
    fn set_listening(&mut self, _: SessionId, _: bool, _: Now) {}
    fn stream_send(&mut self, _: SessionId, _: StreamId, bytes: &[u8], _: Now) -> usize {
        bytes.len()
    }
    fn stream_room(&self, _: SessionId, _: StreamId) -> usize {
        1_000
    }
    fn stream_recv(&mut self, _: SessionId, _: StreamId, _: &mut Vec<u8>, _: usize, _: Now) -> usize {
        0
    }
    fn stream_at_end(&self, _: SessionId, _: StreamId) -> bool {
        false
    }
    fn stream_close_write(&mut self, _: SessionId, _: StreamId, _: Now) {}
    fn stream_close(&mut self, _: SessionId, _: StreamId, _: Now) {}
    fn stream_reset(&mut self, _: SessionId, _: StreamId, _: Now) {}
    fn lookup(&mut self, _: Option<SessionId>, _: DestinationHash, _: Now) -> ClientLookup {
        ClientLookup(1)
    }
}

/// What a local program writes, in pieces as the first byte says. Answers are lines of text.
pub fn sam_lines(bytes: &[u8]) {
    let Some((cut, bytes)) = bytes.split_first() else { return };
    let mut sam = Sam::new(SamConfig::default(), Rng::from_seed([3; 32]));
    let host = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let conn = sam.accepted(host, NOW).expect("there is room");
    let mut answers = Vec::new();
    for piece in bytes.chunks(usize::from(*cut) + 1) {
        let room = sam.read_room(conn, &Yes);
        sam.handle_bytes(conn, &piece[..piece.len().min(room)], &mut Yes, NOW);
        sam.poll_transmit(conn, &mut answers, 1 << 16, &mut Yes, NOW);
        while sam.poll_output().is_some() {}
    }
    assert!(answers.is_ascii() || std::str::from_utf8(&answers).is_ok(), "answers are text");
    sam.handle_eof(conn, &mut Yes, NOW);
    sam.handle_closed(conn, &mut Yes, NOW);
    sam.poll_transmit(conn, &mut answers, 1 << 16, &mut Yes, NOW);
    assert!(sam.stats().sessions <= 1 && sam.stats().streams == 0);
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let hello = "HELLO VERSION MIN=3.0 MAX=3.3\n";
    let create = "SESSION CREATE STYLE=STREAM ID=a DESTINATION=TRANSIENT SIGNATURE_TYPE=7 inbound.length=1\n";
    let lines = [
        "",
        create,
        "NAMING LOOKUP NAME=example.b32.i2p\n",
        "NAMING LOOKUP NAME=ME\n",
        "DEST GENERATE SIGNATURE_TYPE=7\n",
        "STREAM CONNECT ID=a DESTINATION=\"x y\\\"z\" SILENT=true FROM_PORT=1 TO_PORT=65535\n",
        "STREAM ACCEPT ID=a\nSTREAM FORWARD ID=a PORT=99 HOST=127.0.0.1\n",
        "PING a b c\nPONG\nQUIT\n",
    ];
    lines.iter().map(|line| [b"\xc8", hello.as_bytes(), line.as_bytes()].concat()).collect()
}
