//! The end of a stream that breaks off: the application first reads what was received, as
//! the peer may take all that we have acknowledged for read, and then learns of the end.
//! Meanwhile what it writes is dropped, so that it does not wait for room.

use aioli_core::Duration;

use super::stream::{Io, Stream};
use super::{CloseReason, Output};

/// How long what was received waits for being read. It counts as received bytes do.
const LEFTOVER: Duration = Duration::from_secs(60);

impl Stream {
    /// Ends the stream.
    pub(super) fn end(&mut self, reason: CloseReason, io: &mut Io<'_>) {
        if self.ended.is_some() {
            return;
        }
        self.ended = Some(reason);
        self.leftover = Some(io.now + LEFTOVER);
        if self.receive.readable() == 0 {
            self.tell_end(io);
        } else if self.wants_room.take() {
            io.out.push_back(Output::Writable(self.id));
        }
    }

    /// Tells the application that the stream has ended, if it has and that was not told.
    pub(super) fn tell_end(&mut self, io: &mut Io<'_>) {
        if self.leftover.take().is_some()
            && let Some(reason) = self.ended
        {
            io.out.push_back(Output::Closed { id: self.id, reason });
        }
    }

    /// Whether nothing is left of it.
    pub(super) const fn is_over(&self) -> bool {
        self.ended.is_some() && self.leftover.is_none()
    }
}
