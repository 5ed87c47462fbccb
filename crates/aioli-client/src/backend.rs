//! What a client machine needs of a router: exactly its client methods, so
//! that tests can stand in for one.

use aioli_core::Now;
use aioli_router::Router;
use aioli_router::client::{
    ClientLookup, SessionError, SessionId, SessionOptions, StreamEnd, StreamId, Target,
};
use aioli_wire::DestinationHash;
use aioli_wire::keyfile::DestinationKeys;

/// A router as its clients see it. See the methods of [`Router`] of the same names.
pub trait Backend {
    /// Makes a local destination; [`aioli_router::ClientEvent::SessionReady`] follows.
    fn create_session(&mut self, options: SessionOptions, now: Now) -> Result<SessionId, SessionError>;
    /// Ends a local destination and its streams.
    fn destroy_session(&mut self, session: SessionId, now: Now);
    /// The keys of a local destination.
    fn session_keys(&self, session: SessionId) -> Option<&DestinationKeys>;
    /// Opens a stream.
    fn connect(
        &mut self,
        session: SessionId,
        to: Target,
        from_port: u16,
        to_port: u16,
        now: Now,
    ) -> Result<StreamId, StreamEnd>;
    /// Whether peers may open streams to us.
    fn set_listening(&mut self, session: SessionId, on: bool, now: Now);
    /// Queues bytes; returns how many were taken.
    fn stream_send(&mut self, session: SessionId, stream: StreamId, bytes: &[u8], now: Now) -> usize;
    /// How many bytes `stream_send` would take.
    fn stream_room(&self, session: SessionId, stream: StreamId) -> usize;
    /// Appends up to `max` received bytes to `out`; returns how many.
    fn stream_recv(
        &mut self,
        session: SessionId,
        stream: StreamId,
        out: &mut Vec<u8>,
        max: usize,
        now: Now,
    ) -> usize;
    /// Whether the peer has finished and everything was read.
    fn stream_at_end(&self, session: SessionId, stream: StreamId) -> bool;
    /// Sends what is queued, then says that no more follows; reading goes on.
    fn stream_close_write(&mut self, session: SessionId, stream: StreamId, now: Now);
    /// Sends what is queued, then closes; what arrives is dropped.
    fn stream_close(&mut self, session: SessionId, stream: StreamId, now: Now);
    /// Ends a stream at once.
    fn stream_reset(&mut self, session: SessionId, stream: StreamId, now: Now);
    /// Looks a destination up; [`aioli_router::ClientEvent::LookupDone`] follows.
    fn lookup(&mut self, session: Option<SessionId>, hash: DestinationHash, now: Now) -> ClientLookup;
}

impl Backend for Router {
    fn create_session(&mut self, options: SessionOptions, now: Now) -> Result<SessionId, SessionError> {
        Self::create_session(self, options, now)
    }
    fn destroy_session(&mut self, session: SessionId, now: Now) {
        Self::destroy_session(self, session, now);
    }
    fn session_keys(&self, session: SessionId) -> Option<&DestinationKeys> {
        Self::session_keys(self, session)
    }
    fn connect(
        &mut self,
        session: SessionId,
        to: Target,
        from_port: u16,
        to_port: u16,
        now: Now,
    ) -> Result<StreamId, StreamEnd> {
        Self::connect(self, session, to, from_port, to_port, now)
    }
    fn set_listening(&mut self, session: SessionId, on: bool, now: Now) {
        Self::set_listening(self, session, on, now);
    }
    fn stream_send(&mut self, session: SessionId, stream: StreamId, bytes: &[u8], now: Now) -> usize {
        Self::stream_send(self, session, stream, bytes, now)
    }
    fn stream_room(&self, session: SessionId, stream: StreamId) -> usize {
        Self::stream_room(self, session, stream)
    }
    fn stream_recv(
        &mut self,
        session: SessionId,
        stream: StreamId,
        out: &mut Vec<u8>,
        max: usize,
        now: Now,
    ) -> usize {
        Self::stream_recv(self, session, stream, out, max, now)
    }
    fn stream_at_end(&self, session: SessionId, stream: StreamId) -> bool {
        Self::stream_at_end(self, session, stream)
    }
    fn stream_close_write(&mut self, session: SessionId, stream: StreamId, now: Now) {
        Self::stream_close_write(self, session, stream, now);
    }
    fn stream_close(&mut self, session: SessionId, stream: StreamId, now: Now) {
        Self::stream_close(self, session, stream, now);
    }
    fn stream_reset(&mut self, session: SessionId, stream: StreamId, now: Now) {
        Self::stream_reset(self, session, stream, now);
    }
    fn lookup(&mut self, session: Option<SessionId>, hash: DestinationHash, now: Now) -> ClientLookup {
        Self::lookup(self, session, hash, now)
    }
}
