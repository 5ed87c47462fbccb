//! Dials: from the first packet to Bob until he has proven who he is.

use std::net::SocketAddr;

use aioli_core::{Cx, Duration, Instant};
use aioli_wire::RouterHash;
use aioli_wire::i2np::{MAX_BODY_SIZE, Message};

use super::super::alice::{
    AwaitRetry, AwaitSessionCreated, Established, Failed, Ids, Retry, SharedLocal, session_request,
    token_request,
};
use super::super::outbox::Pushed;
use super::super::session::{Begin, Session};
use super::super::{ConnectError, Output, PeerMisbehaved, Remote};
use super::{Endpoint, Key};
use crate::Lane;

/// TokenRequest is sent again at these times after the first.
const TOKEN_REQUEST: &[Duration] = &[Duration::from_secs(3), Duration::from_secs(9)];
/// SessionRequest is sent again at these times after the first.
const SESSION_REQUEST: &[Duration] =
    &[Duration::from_millis(1_250), Duration::from_millis(3_750), Duration::from_millis(8_750)];
/// Either must be answered within this.
const STEP_TIMEOUT: Duration = Duration::from_secs(15);
/// And both within this.
const TIMEOUT: Duration = Duration::from_secs(20);
/// What a message costs in a queue besides its body.
const OVERHEAD: usize = 12;

/// What is awaited.
#[derive(Debug)]
enum State {
    Retry(AwaitRetry),
    Created(Box<AwaitSessionCreated>),
}

/// A session that we asked for.
#[derive(Debug)]
pub(super) struct Dial {
    remote: Remote,
    state: State,
    began: Instant,
    step_began: Instant,
    resends: usize,
    /// Whether a token has come. Another Retry is then a copy, or late: the request that
    /// is on its way must not change.
    retried: bool,
    pub(super) waiting: Waiting,
}

/// Messages for when a session stands.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    queue: Vec<(Lane, Message)>,
    queued: usize,
}

impl Waiting {
    /// Queues a message for when the session stands.
    pub(super) fn push(&mut self, lane: Lane, message: Message, limit: usize) -> Pushed {
        let cost = message.body.len() + OVERHEAD;
        if message.body.len() > MAX_BODY_SIZE {
            return Pushed::TooLarge;
        }
        if self.queued + cost > limit {
            return Pushed::Full;
        }
        self.queued += cost;
        self.queue.push((lane, message));
        Pushed::Taken
    }

    /// All of them.
    pub(super) fn take(self) -> Vec<(Lane, Message)> {
        self.queue
    }
}

impl Dial {
    const fn ids(&self) -> Ids {
        match &self.state {
            State::Retry(state) => state.ids,
            State::Created(state) => state.ids,
        }
    }

    fn packet(&self) -> Vec<u8> {
        match &self.state {
            State::Retry(state) => state.packet.clone(),
            State::Created(state) => state.packet.clone(),
        }
    }

    const fn resend_times(&self) -> &'static [Duration] {
        match self.state {
            State::Retry(_) => TOKEN_REQUEST,
            State::Created(_) => SESSION_REQUEST,
        }
    }

    fn deadline(&self) -> Instant {
        let end = (self.step_began + STEP_TIMEOUT).min(self.began + TIMEOUT);
        self.resend_times().get(self.resends).map_or(end, |d| end.min(self.step_began + *d))
    }
}

impl Endpoint {
    /// Sends the first packet.
    pub(super) fn dial(
        &mut self,
        local: &SharedLocal,
        remote: Remote,
        cx: &mut Cx<'_>,
    ) -> Result<(), ConnectError> {
        let ids = loop {
            let ids = Ids::draw(cx);
            if !self.is_taken(ids.ours) {
                break ids;
            }
        };
        let state = match self.common.held.take(&remote.address, cx.now.wall) {
            Some(token) => {
                let state = session_request(local, &remote, ids, token, self.wants_tag(remote.address), cx)
                    .map_err(ConnectError::Handshake)?;
                State::Created(Box::new(state))
            }
            None => State::Retry(token_request(local, &remote, ids, cx)),
        };
        self.common.stats.dials += 1;
        let (now, at, hash) = (cx.now.mono, remote.address, remote.hash);
        let dial = Dial {
            remote,
            state,
            began: now,
            step_began: now,
            resends: 0,
            retried: false,
            waiting: Waiting::default(),
        };
        self.dialled.insert(hash, at);
        self.contact(at.ip(), now);
        self.transmit(at, dial.packet());
        self.keep_dial(dial);
        Ok(())
    }

    fn keep_dial(&mut self, dial: Dial) {
        let at = dial.remote.address;
        self.timers.set(Key::Dial(at), dial.deadline());
        self.dials.insert(at, dial);
    }

    fn take_dial(&mut self, at: &SocketAddr) -> Option<Dial> {
        self.timers.stop(&Key::Dial(*at));
        self.dials.remove(at)
    }

    /// Forgets a dial without a word.
    pub(super) fn forget_dial(&mut self, at: &SocketAddr) -> Vec<(Lane, Message)> {
        let Some(dial) = self.take_dial(at) else { return Vec::new() };
        self.dialled.remove(&dial.remote.hash);
        self.forget_unless_connected(&dial.remote.hash);
        dial.waiting.take()
    }

    fn fail_dial(&mut self, dial: Dial, reason: ConnectError) {
        self.common.stats.dials_failed += 1;
        self.dialled.remove(&dial.remote.hash);
        self.forget_unless_connected(&dial.remote.hash);
        if let ConnectError::Handshake(PeerMisbehaved::ClockSkew(seconds)) = reason {
            self.note_skew(seconds);
        }
        self.fail_waiting(dial.remote.hash, Some(dial.remote.address), reason, dial.waiting);
    }

    /// Tells that there will be no session with the peer.
    pub(super) fn fail_waiting(
        &mut self,
        peer: RouterHash,
        at: Option<SocketAddr>,
        reason: ConnectError,
        waiting: Waiting,
    ) {
        let dropped = waiting.take().into_iter().map(|(_, message)| message).collect();
        self.common.outputs.push_back(Output::ConnectFailed { peer, at, reason, dropped });
    }

    pub(super) fn on_dial_timeout(&mut self, at: SocketAddr, cx: &Cx<'_>) {
        let Some(mut dial) = self.take_dial(&at) else { return };
        let now = cx.now.mono;
        if now >= dial.step_began + STEP_TIMEOUT || now >= dial.began + TIMEOUT {
            self.fail_dial(dial, ConnectError::Timeout);
            return;
        }
        dial.resends += 1;
        self.common.stats.handshake_resends += 1;
        self.transmit(at, dial.packet());
        self.keep_dial(dial);
    }

    /// Takes a packet from where we dial. False if it is no answer.
    pub(super) fn on_dial_answer(&mut self, from: SocketAddr, packet: &mut [u8], cx: &mut Cx<'_>) -> bool {
        let Some(local) = self.local.clone() else { return false };
        let Some(mut dial) = self.take_dial(&from) else { return false };
        let limit = self.common.limits.clock_skew_secs;
        let retry = match dial.state {
            State::Created(state) if state.is_session_created(packet, &dial.remote) => {
                match state.on_session_created(packet, &local, &dial.remote, limit, cx) {
                    Ok(established) => {
                        self.note_clock(&dial.remote, established.ahead_ms);
                        dial.state = State::Retry(token_request(&local, &dial.remote, established.ids, cx));
                        self.on_created(dial, established, cx);
                        return true;
                    }
                    Err(Failed { state, why }) => {
                        dial.state = State::Created(state);
                        if let PeerMisbehaved::ClockSkew(seconds) = why {
                            self.note_clock(&dial.remote, seconds.saturating_mul(1_000));
                        }
                        return self.on_bad_answer(dial, why);
                    }
                }
            }
            State::Created(ref state) => state.on_retry(packet, &local, &dial.remote, limit, cx),
            State::Retry(ref state) => state.on_retry(packet, &local, &dial.remote, limit, cx),
        };
        match retry {
            Ok(retry) => {
                self.on_retry(dial, &local, retry, cx);
                true
            }
            Err(why) => self.on_bad_answer(dial, why),
        }
    }

    fn note_clock(&mut self, remote: &Remote, ahead_ms: i64) {
        let Remote { hash: peer, address: at, .. } = *remote;
        self.common.outputs.push_back(Output::PeerClock { peer, at, ahead_ms });
    }

    /// Goes on waiting unless the answer was authentic and final.
    fn on_bad_answer(&mut self, dial: Dial, why: PeerMisbehaved) -> bool {
        let is_final = matches!(why, PeerMisbehaved::ClockSkew(_) | PeerMisbehaved::Refused(_));
        if is_final {
            self.fail_dial(dial, ConnectError::Handshake(why));
        } else {
            self.keep_dial(dial);
        }
        is_final
    }

    /// Bob gave a token, or refused.
    fn on_retry(&mut self, mut dial: Dial, local: &SharedLocal, retry: Retry, cx: &mut Cx<'_>) {
        if let Some(reason) = retry.refused {
            return self.fail_dial(dial, ConnectError::Handshake(PeerMisbehaved::Refused(reason)));
        }
        if dial.retried {
            return self.keep_dial(dial);
        }
        let tag = self.wants_tag(dial.remote.address);
        match session_request(local, &dial.remote, dial.ids(), retry.token, tag, cx) {
            Ok(state) => dial.state = State::Created(Box::new(state)),
            Err(why) => return self.fail_dial(dial, ConnectError::Handshake(why)),
        }
        dial.retried = true;
        dial.resends = 0;
        dial.step_began = cx.now.mono;
        self.transmit(dial.remote.address, dial.packet());
        self.keep_dial(dial);
    }

    /// Bob has proven who he is.
    fn on_created(&mut self, dial: Dial, established: Established, cx: &mut Cx<'_>) {
        let Dial { remote, waiting, .. } = dial;
        self.dialled.remove(&remote.hash);
        if let Some(address) = established.observed {
            self.common.outputs.push_back(Output::ObservedAddress {
                by: remote.hash,
                at: remote.address,
                address,
                moved: false,
            });
        }
        if let Some(token) = established.token {
            self.common.held.insert(remote.address, token);
        }
        let begin = Begin {
            peer: remote.hash,
            ids: established.ids,
            remote: remote.address,
            inbound: false,
            send: &established.send,
            receive: &established.receive,
            their_intro: remote.intro_key,
            mtu: remote.mtu.min(self.config.mtu),
            rtt: established.rtt,
            confirmed: established.confirmed,
            window: self.common.limits.window,
        };
        let mut session = Session::begin(begin, cx);
        session.observed = established.observed;
        self.establish(session, None, waiting.take(), cx);
        if let Some(tag) = established.tag {
            self.on_tag(remote.hash, remote.address, tag, cx);
        }
    }
}
