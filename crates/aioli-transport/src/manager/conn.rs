//! One connection: which state it is in, and the steps of its handshake.

use std::net::{IpAddr, SocketAddr};

use aioli_core::{Cx, Instant};
use aioli_wire::RouterHash;
use aioli_wire::router_info::RouterInfo;
use aioli_wire::verified::Verified;

use super::session::Session;
use crate::PeerMisbehaved;
use crate::ntcp2::MESSAGE_LEN;
use crate::ntcp2::data_phase::DataPhase;
use crate::ntcp2::initiator::{self, AwaitCreatedPadding, AwaitSessionCreated};
use crate::ntcp2::responder::{AwaitRequestPadding, AwaitSessionConfirmed, AwaitSessionRequest};
use crate::replay::ReplayCache;
use crate::{ConnId, Lane, Limits, Stats};

/// One TCP connection.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) state: State,
    pub(super) inbound: bool,
    /// Accepted, or lined up to be dialled.
    pub(super) began: Instant,
    /// Whom we dialled or who has introduced itself.
    pub(super) peer: Option<RouterHash>,
    /// Where we dialled.
    pub(super) dialled: Option<SocketAddr>,
    /// Where it came from.
    pub(super) from: Option<IpAddr>,
    /// Counted against `connections_per_ip`.
    pub(super) group: Option<IpGroup>,
    /// Counted as a handshake under way.
    pub(super) pending: bool,
    /// Bytes of a handshake message that is not complete.
    pub(super) rx: Vec<u8>,
    /// Handshake messages and terminations, ready to be written.
    pub(super) tx: Vec<u8>,
    /// Whether `Output::Transmit` has been said.
    pub(super) transmit: bool,
    /// Waits within the bandwidth limit to send, in this line.
    pub(super) parked: Option<Lane>,
    /// Waits within the bandwidth limit to read.
    pub(super) reader_parked: bool,
    /// Bytes that it may read, counted as read already.
    pub(super) granted: usize,
}

/// What a connection waits for.
#[derive(Debug)]
pub(super) enum State {
    Dialling(initiator::Remote),
    AwaitSessionCreated(Box<AwaitSessionCreated>),
    AwaitCreatedPadding(Box<AwaitCreatedPadding>),
    AwaitSessionRequest(AwaitSessionRequest),
    AwaitRequestPadding(Box<AwaitRequestPadding>),
    AwaitSessionConfirmed(Box<AwaitSessionConfirmed>),
    Established(Box<Session>),
    /// Message 1 was wrong: read so many bytes more, then abort.
    Probed {
        left: usize,
    },
    /// The last bytes are to be written.
    Closing,
}

/// What a handshake step led to.
pub(super) enum Step {
    /// More bytes are needed.
    Wait,
    /// The state has changed; try the next.
    Again,
    /// A session, and whatever came behind message 3.
    Established { data_phase: DataPhase, alice: Option<Verified<RouterInfo>>, behind: Vec<u8> },
    /// The keys are good, the peer is not.
    Refused { data_phase: DataPhase, why: PeerMisbehaved },
    /// Message 1 was wrong.
    Probe(PeerMisbehaved),
    /// A later message was wrong.
    Failed(PeerMisbehaved),
}

/// What the steps may use of the transport.
pub(super) struct Shared<'a> {
    pub(super) replay: &'a mut ReplayCache,
    pub(super) limits: &'a Limits,
    pub(super) stats: &'a mut Stats,
    /// What the clock of whom we dialled shows: theirs minus ours in milliseconds.
    pub(super) clock: Option<i64>,
}

impl Conn {
    pub(super) const fn new(
        state: State,
        inbound: bool,
        began: Instant,
        peer: Option<RouterHash>,
        group: Option<IpGroup>,
    ) -> Self {
        Self {
            state,
            inbound,
            began,
            peer,
            dialled: None,
            from: None,
            group,
            pending: true,
            rx: Vec::new(),
            tx: Vec::new(),
            transmit: false,
            parked: None,
            reader_parked: false,
            granted: 0,
        }
    }

    /// Takes the handshake one state further if its bytes are there.
    pub(super) fn step(&mut self, shared: &mut Shared<'_>, cx: &mut Cx<'_>) -> Step {
        if self.rx.len() < self.needed() {
            return Step::Wait;
        }
        match std::mem::replace(&mut self.state, State::Closing) {
            State::AwaitSessionRequest(s) => self.session_request(s, shared, cx),
            State::AwaitRequestPadding(s) => self.request_padding(*s, cx),
            State::AwaitSessionConfirmed(s) => self.session_confirmed(*s, shared, cx),
            State::AwaitSessionCreated(s) => self.session_created(*s, shared, cx),
            State::AwaitCreatedPadding(s) => self.created_padding(*s),
            state @ (State::Dialling(_) | State::Established(_) | State::Probed { .. } | State::Closing) => {
                self.state = state;
                Step::Wait
            }
        }
    }

    /// Bytes that the state takes at once.
    fn needed(&self) -> usize {
        match &self.state {
            State::AwaitSessionRequest(_) | State::AwaitSessionCreated(_) => MESSAGE_LEN,
            State::AwaitRequestPadding(s) => s.padding(),
            State::AwaitCreatedPadding(s) => s.padding(),
            State::AwaitSessionConfirmed(s) => s.len(),
            State::Dialling(_) | State::Established(_) | State::Probed { .. } | State::Closing => usize::MAX,
        }
    }

    fn session_request(&mut self, s: AwaitSessionRequest, shared: &mut Shared<'_>, cx: &Cx<'_>) -> Step {
        let mut message: Vec<u8> = self.rx.drain(..MESSAGE_LEN).collect();
        match s.on_session_request(&mut message, shared.replay, shared.limits, cx) {
            Ok(next) => {
                if next.skewed().is_some() {
                    shared.stats.clock_skews += 1;
                }
                self.state = State::AwaitRequestPadding(Box::new(next));
                Step::Again
            }
            Err(why) => Step::Probe(why),
        }
    }

    fn request_padding(&mut self, s: AwaitRequestPadding, cx: &mut Cx<'_>) -> Step {
        if self.rx.len() > s.padding() {
            return Step::Probe(PeerMisbehaved::OutOfTurn);
        }
        match s.on_padding(&std::mem::take(&mut self.rx), cx) {
            Ok((message, next)) => {
                self.tx.extend_from_slice(&message);
                self.state = State::AwaitSessionConfirmed(Box::new(next));
                Step::Wait
            }
            Err(why) => Step::Probe(why),
        }
    }

    fn session_confirmed(&mut self, s: AwaitSessionConfirmed, shared: &Shared<'_>, cx: &Cx<'_>) -> Step {
        let behind = self.rx.split_off(s.len());
        let mut message = std::mem::take(&mut self.rx);
        match s.on_session_confirmed(&mut message, shared.limits, cx) {
            Ok(confirmed) => {
                let data_phase = confirmed.data_phase;
                match confirmed.alice {
                    Ok(alice) => Step::Established { data_phase, alice: Some(alice.router_info), behind },
                    Err(why) => Step::Refused { data_phase, why },
                }
            }
            Err(why) => Step::Failed(why),
        }
    }

    fn session_created(&mut self, s: AwaitSessionCreated, shared: &mut Shared<'_>, cx: &Cx<'_>) -> Step {
        let mut message: Vec<u8> = self.rx.drain(..MESSAGE_LEN).collect();
        match s.on_session_created(&mut message, shared.limits, &mut shared.clock, cx) {
            Ok(next) => {
                self.state = State::AwaitCreatedPadding(Box::new(next));
                Step::Again
            }
            Err(why) => Step::Failed(why),
        }
    }

    fn created_padding(&mut self, s: AwaitCreatedPadding) -> Step {
        if self.rx.len() > s.padding() {
            return Step::Failed(PeerMisbehaved::OutOfTurn);
        }
        match s.on_padding(&std::mem::take(&mut self.rx)) {
            Ok((message, data_phase)) => {
                self.tx.extend_from_slice(&message);
                Step::Established { data_phase, alice: None, behind: Vec::new() }
            }
            Err(why) => Step::Failed(why),
        }
    }
}

/// Addresses that one host usually has all of: an IPv4 address, an IPv6 /64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct IpGroup(bool, u64);

impl IpGroup {
    pub(super) fn of(addr: SocketAddr) -> Self {
        match addr.ip().to_canonical() {
            IpAddr::V4(ip) => Self(false, u64::from(ip.to_bits())),
            IpAddr::V6(ip) => Self(true, (ip.to_bits() >> 64) as u64),
        }
    }
}

/// A timer that belongs to no connection.
pub(super) const NO_CONN: ConnId = ConnId(u64::MAX);
