//! A stream's buffers between its program and the router's thread.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use aioli_core::Now;
use aioli_router::Router;
use aioli_router::client::{StreamEnd, StreamId};
use aioli_wire::{Destination, DestinationHash};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Key, Session};

/// Bytes kept for a program that does not read, and of one that the network is too slow for. An idle
/// stream holds none.
const ROOM: usize = 128 * 1024;

/// How the program has left the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    No,
    /// What was written is delivered first.
    Closed,
    /// At once.
    Reset,
}

struct State {
    /// Received, not yet read.
    inbox: VecDeque<u8>,
    /// The router has, or may have, more than fits.
    held_back: bool,
    /// The peer has finished, and the inbox has all that is left.
    finished: bool,
    /// Written, not yet with the router.
    outbox: VecDeque<u8>,
    /// The program writes no more.
    shut: bool,
    /// The router knows that.
    shut_told: bool,
    left: Left,
    /// Of a program that has left: it lives until the router has what was written.
    session: Option<Session>,
    /// The stream is gone.
    end: Option<StreamEnd>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// The buffers of one stream.
pub(super) struct Pipe(Mutex<State>);

impl Pipe {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            inbox: VecDeque::new(),
            held_back: false,
            finished: false,
            outbox: VecDeque::new(),
            shut: false,
            shut_told: false,
            left: Left::No,
            session: None,
            end: None,
            reader: None,
            writer: None,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody takes the stream: it is to be reset.
    pub(super) fn refuse(&self) {
        self.lock().left = Left::Reset;
    }

    /// The stream is gone: no call of the program waits for it any longer.
    pub(super) fn end(&self, reason: StreamEnd) {
        let mut state = self.lock();
        state.end.get_or_insert(reason);
        state.outbox = VecDeque::new();
        state.wake_all();
    }

    /// Moves bytes both ways, as far as there is room. False: the program has left, forget the stream.
    pub(super) fn progress(&self, (session, stream): Key, router: &mut Router, now: Now) -> bool {
        let mut state = self.lock();
        if state.end.is_some() {
            return false;
        }
        if state.left == Left::Reset {
            router.stream_reset(session, stream, now);
            return false;
        }
        while !state.outbox.is_empty() {
            let taken = router.stream_send(session, stream, state.outbox.as_slices().0, now);
            state.outbox.drain(..taken);
            if taken == 0 {
                break;
            }
        }
        if state.outbox.is_empty() {
            state.outbox = VecDeque::new();
            if state.left == Left::Closed {
                router.stream_close(session, stream, now);
                return false;
            }
            if state.shut && !std::mem::replace(&mut state.shut_told, true) {
                router.stream_close_write(session, stream, now);
            }
        }
        if state.left == Left::No {
            state.pull((session, stream), router, now);
        }
        state.wake_able();
        true
    }
}

impl State {
    /// Takes what has come, as far as there is room.
    fn pull(&mut self, (session, stream): Key, router: &mut Router, now: Now) {
        let room = ROOM.saturating_sub(self.inbox.len());
        if self.finished || room == 0 {
            self.held_back = !self.finished;
            return;
        }
        let mut bytes = Vec::new();
        let got = router.stream_recv(session, stream, &mut bytes, room, now);
        if self.inbox.is_empty() {
            self.inbox = bytes.into();
        } else {
            self.inbox.extend(&bytes);
        }
        self.held_back = got >= room;
        // A stream that is gone is "at the end" as well, but its event says whether it was complete.
        self.finished = router.stream_exists(session, stream) && router.stream_at_end(session, stream);
    }

    fn wake_able(&mut self) {
        if (!self.inbox.is_empty() || self.finished)
            && let Some(waker) = self.reader.take()
        {
            waker.wake();
        }
        if self.outbox.len() < ROOM
            && let Some(waker) = self.writer.take()
        {
            waker.wake();
        }
    }

    fn wake_all(&mut self) {
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }
}

/// The other side of a stream.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) hash: DestinationHash,
    pub(super) destination: Option<Arc<Destination>>,
    /// Its port and ours.
    pub(super) ports: (u16, u16),
}

/// A stream to a destination. `shutdown` says that no more follows; what was written is still delivered,
/// and reading goes on. A stream that is dropped before that and before the peer has finished is reset.
pub struct Stream {
    pipe: Arc<Pipe>,
    id: StreamId,
    session: Session,
    peer: Peer,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stream({:?} with {:?})", self.id, self.peer.hash)
    }
}

impl Stream {
    pub(super) const fn new(pipe: Arc<Pipe>, id: StreamId, session: Session, peer: Peer) -> Self {
        Self { pipe, id, session, peer }
    }

    /// With whom.
    pub const fn peer(&self) -> DestinationHash {
        self.peer.hash
    }

    /// The peer's address, authenticated, if it has opened the stream.
    pub fn peer_destination(&self) -> Option<&Destination> {
        self.peer.destination.as_deref()
    }

    /// The peer's port and ours of a stream that it has opened, 0 where none was named; of one that we
    /// have opened, ours and the peer's.
    pub const fn ports(&self) -> (u16, u16) {
        self.peer.ports
    }

    /// Ends the stream at once, so that the peer sees that it broke off.
    pub fn reset(self) {
        self.pipe.lock().left = Left::Reset;
        // Dropping it does the rest.
    }

    fn mark(&self) {
        self.session.mark_stream(self.id);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut state = self.pipe.lock();
        if state.left == Left::No {
            state.left = if state.shut || state.finished { Left::Closed } else { Left::Reset };
        }
        if state.end.is_none() {
            state.session = Some(self.session.clone());
        }
        state.inbox = VecDeque::new();
        drop(state);
        self.mark();
    }
}

fn broken(end: StreamEnd) -> io::Error {
    use StreamEnd::{Closed, Encryption, Limit, NotFound, Reset, SessionClosed, Timeout};
    let kind = match end {
        Reset => io::ErrorKind::ConnectionReset,
        Timeout => io::ErrorKind::TimedOut,
        Closed => io::ErrorKind::BrokenPipe,
        NotFound | Encryption | Limit | SessionClosed | _ => io::ErrorKind::ConnectionAborted,
    };
    io::Error::new(kind, end)
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = self.pipe.lock();
        if state.inbox.is_empty() {
            return match state.end {
                _ if state.finished => Poll::Ready(Ok(())),
                Some(StreamEnd::Closed) => Poll::Ready(Ok(())),
                Some(end) => Poll::Ready(Err(broken(end))),
                None => {
                    state.reader = Some(cx.waker().clone());
                    Poll::Pending
                }
            };
        }
        let n = buf.remaining().min(state.inbox.len());
        let (first, second) = state.inbox.as_slices();
        let split = n.min(first.len());
        buf.put_slice(first.get(..split).unwrap_or_default());
        buf.put_slice(second.get(..n - split).unwrap_or_default());
        state.inbox.drain(..n);
        if state.inbox.is_empty() {
            state.inbox = VecDeque::new();
        }
        let more = state.held_back && state.inbox.len() <= ROOM / 2;
        if more {
            state.held_back = false;
        }
        drop(state);
        if more {
            self.mark();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.pipe.lock();
        if let Some(end) = state.end {
            return Poll::Ready(Err(broken(end)));
        }
        if state.shut {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = ROOM.saturating_sub(state.outbox.len());
        if room == 0 {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let taken = bytes.get(..bytes.len().min(room)).unwrap_or_default();
        state.outbox.extend(taken);
        drop(state);
        self.mark();
        Poll::Ready(Ok(taken.len()))
    }

    /// Nothing waits here: what is written goes to the router by itself.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pipe.lock().shut = true;
        self.mark();
        Poll::Ready(Ok(()))
    }
}
