//! One SAM connection: what it is for, what it has sent, what waits to be written.

use std::collections::VecDeque;
use std::net::IpAddr;

use aioli_core::Instant;
use aioli_router::client::{ClientLookup, SessionId, StreamId};

/// A line is never longer: a private key with options needs some 4 KB.
pub(super) const MAX_LINE: usize = 32 * 1024;
/// Answers kept for a client that does not read; then it is not read either.
pub(super) const MAX_ANSWERS: usize = 64 * 1024;
/// Bytes kept of a client that sends data before its stream is open.
pub(super) const MAX_EARLY: usize = 64 * 1024;

/// What a connection is for. Each state is entered by one reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// `HELLO` must come first.
    Greeting,
    /// Commands are taken.
    Ready,
    /// `SESSION CREATE` waits for tunnels.
    Creating { nick: String, deadline: Instant },
    /// The control connection of a session; commands are taken.
    Control { nick: String },
    /// `NAMING LOOKUP` waits for the NetDB; `then` is the state to go back to.
    LookingUp { lookup: ClientLookup, name: String, then: Box<Self> },
    /// `STREAM CONNECT` waits for the peer.
    Connecting { session: SessionId, stream: StreamId, silent: bool },
    /// `STREAM ACCEPT` waits for a peer.
    Accepting { nick: String, silent: bool },
    /// `STREAM FORWARD`: incoming streams go to a port until this connection closes.
    Forwarding { nick: String },
    /// A connection that we opened for a forwarded stream, not yet there.
    Dialling { session: SessionId, stream: StreamId, greeting: Vec<u8> },
    /// Bytes of a stream.
    Stream { session: SessionId, stream: StreamId },
    /// Nothing more is read; what is queued is written.
    Closing,
}

impl State {
    /// Whether it waits for a stream and wants to be told if none comes.
    pub(super) const fn waits_loudly(&self) -> bool {
        matches!(self, Self::Connecting { silent: false, .. } | Self::Accepting { silent: false, .. })
    }
}

/// A connection.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) state: State,
    /// Who connected.
    pub(super) from: IpAddr,
    /// `HELLO` must have come by then.
    pub(super) greet_by: Instant,
    /// The negotiated version.
    pub(super) version: (u8, u8),
    /// Received, not yet used.
    pub(super) input: VecDeque<u8>,
    /// To be written before any stream bytes.
    pub(super) output: Vec<u8>,
    /// The client has finished sending.
    pub(super) ended: bool,
    /// The peer of its stream has finished sending: `Finish` was asked of the driver.
    pub(super) finish_sent: bool,
    /// `Close` was asked of the driver.
    pub(super) close_sent: bool,
}

impl Conn {
    pub(super) const fn new(state: State, from: IpAddr, greet_by: Instant) -> Self {
        Self {
            state,
            from,
            greet_by,
            version: (3, 0),
            input: VecDeque::new(),
            output: Vec::new(),
            ended: false,
            finish_sent: false,
            close_sent: false,
        }
    }

    /// When it must have got further.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Creating { deadline, .. } => Some(deadline),
            State::Greeting if !self.close_sent => Some(self.greet_by),
            _ => None,
        }
    }

    /// Whether its client asks without reading the answers.
    pub(super) const fn is_clogged(&self) -> bool {
        self.output.len() >= MAX_ANSWERS
    }

    /// Whether the next line may be carried out now.
    pub(super) fn takes_commands(&self) -> bool {
        !self.is_clogged() && matches!(self.state, State::Greeting | State::Ready | State::Control { .. })
    }

    /// Takes the next whole line, without its end. Text that is not UTF-8 is replaced, for it matches nothing.
    pub(super) fn next_line(&mut self) -> Option<String> {
        let end = self.input.iter().position(|b| *b == b'\n')?;
        let mut bytes: Vec<u8> = self.input.drain(..=end).collect();
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Queues a line.
    pub(super) fn say(&mut self, line: &str) {
        self.output.extend_from_slice(line.as_bytes());
        self.output.push(b'\n');
    }
}
