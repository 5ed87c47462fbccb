//! One TCP connection: what waits to be written, and how it ends.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Notify;

/// Bytes asked of the state machine at a time.
pub(crate) const WRITE_BATCH: usize = 64 * 1024;

/// How a link is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It goes on.
    Open,
    /// Close once everything is written.
    Drain,
    /// Reset at once.
    Reset,
    /// It is gone: only its task must end.
    Gone,
}

/// What the kernel may hold of one connection, in bytes; none for its own choice.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SocketBuffers {
    /// Of what we do not read yet.
    pub(crate) receive: Option<usize>,
    /// Of what the peer does not take yet.
    pub(crate) send: Option<usize>,
}

/// A connection of the driver.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) stream: TcpStream,
    /// Wakes the link's task to look at its state again.
    pub(crate) kick: Notify,
    out: RefCell<Outgoing>,
    blocked: Cell<bool>,
    /// Nothing follows what is queued, though the connection goes on.
    finishing: Cell<bool>,
    ending: Cell<Ending>,
}

#[derive(Debug, Default)]
struct Outgoing {
    bytes: Vec<u8>,
    written: usize,
}

/// What a write came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// All that there was.
    All,
    /// The socket takes no more now.
    Blocked,
    /// The connection is broken.
    Broken,
}

impl Link {
    pub(crate) fn new(stream: TcpStream) -> Self {
        // Latency matters more than packet count, and frames are batched already.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!("TCP_NODELAY: {error}");
        }
        Self {
            stream,
            kick: Notify::new(),
            out: RefCell::default(),
            blocked: Cell::new(false),
            finishing: Cell::new(false),
            ending: Cell::new(Ending::Open),
        }
    }

    /// Has the kernel take no more than this: otherwise it takes megabytes ahead of a bandwidth limit,
    /// and of a small machine's memory.
    pub(crate) fn limit_buffers(&self, buffers: SocketBuffers) {
        let socket = socket2::SockRef::from(&self.stream);
        if let Some(Err(error)) = buffers.receive.map(|bytes| socket.set_recv_buffer_size(bytes)) {
            tracing::debug!("SO_RCVBUF: {error}");
        }
        if let Some(Err(error)) = buffers.send.map(|bytes| socket.set_send_buffer_size(bytes)) {
            tracing::debug!("SO_SNDBUF: {error}");
        }
    }

    /// Has the kernel give the connection up when the other end acknowledges nothing for this long.
    pub(crate) fn limit_patience(&self, patience: Duration) {
        #[cfg(any(target_os = "android", target_os = "linux"))]
        if let Err(error) = socket2::SockRef::from(&self.stream).set_tcp_user_timeout(Some(patience)) {
            tracing::debug!("TCP_USER_TIMEOUT: {error}");
        }
        #[cfg(not(any(target_os = "android", target_os = "linux")))]
        let _ = patience;
    }

    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked.get()
    }

    pub(crate) fn ending(&self) -> Ending {
        self.ending.get()
    }

    pub(crate) fn end(&self, ending: Ending) {
        self.ending.set(ending);
        self.kick.notify_one();
    }

    /// Half-closes the connection once everything is written.
    pub(crate) fn finish(&self) {
        self.finishing.set(true);
        self.kick.notify_one();
    }

    /// Half-closes the connection if that is wanted and can be done now.
    pub(crate) fn finish_if_drained(&self) {
        if !self.is_blocked()
            && self.finishing.replace(false)
            && let Err(error) = socket2::SockRef::from(&self.stream).shutdown(std::net::Shutdown::Write)
        {
            tracing::debug!("half-close: {error}");
        }
    }

    /// Writes until the socket blocks or `pull` has no more.
    pub(crate) fn flush(&self, mut pull: impl FnMut(&mut Vec<u8>) -> bool) -> Written {
        let mut out = self.out.borrow_mut();
        loop {
            if out.written == out.bytes.len() {
                out.bytes.clear();
                out.written = 0;
                if !pull(&mut out.bytes) || out.bytes.is_empty() {
                    // An idle link holds no memory.
                    out.bytes = Vec::new();
                    self.blocked.set(false);
                    return Written::All;
                }
            }
            match self.stream.try_write(&out.bytes[out.written..]) {
                Ok(n) => out.written += n,
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                    self.blocked.set(true);
                    self.kick.notify_one();
                    return Written::Blocked;
                }
                Err(_) => return Written::Broken,
            }
        }
    }
}
