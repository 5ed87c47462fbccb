//! The data phase of one connection: frames out of a queue, messages out of frames.

use aioli_core::{Cx, Date, Duration, Instant};
use aioli_wire::i2np::{MAX_BODY_SIZE, Message};
use aioli_wire::ntcp2::{BLOCK_HEADER, Block, Blocks, TerminationReason, i2np_header};
use aioli_wire::router_info::RouterInfo;
use aioli_wire::verified::{Unverified, Verified};
use aioli_wire::{RouterHash, Writer};

use crate::PeerMisbehaved;
use crate::ntcp2::data_phase::{DataPhase, LENGTH};
use crate::queue::SendQueue;
use crate::shaper::Allowance;
use crate::{Lane, Limits, Stats};

/// A message that expired longer ago is dropped: clocks differ.
const LATE: Duration = Duration::from_secs(60);
/// A message dated further ahead is dropped (i2pd: 180 s), and clocks differ.
const EARLY: Duration = Duration::from_secs(240);
/// Frames with less payload are padded by up to 63 bytes, others by up to 15.
const SMALL: usize = 256;

/// The data phase of one connection.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) peer: RouterHash,
    pub(super) inbound: bool,
    pub(super) established: Instant,
    pub(super) last_activity: Instant,
    /// With its jitter.
    pub(super) idle_timeout: Duration,
    /// Our RouterInfo and clock are due.
    pub(super) refresh: bool,
    /// Bytes on the wire: received, sent.
    pub(super) bytes: (u64, u64),
    /// Something is to be said, so that a broken connection shows it.
    pub(super) greet: bool,
    data_phase: DataPhase,
}

/// What a frame may hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// Bytes of payload.
    pub(super) payload: usize,
    /// Of each lane.
    pub(super) allowance: Allowance,
}

/// What one `handle_bytes` gave.
#[derive(Debug, Default)]
pub(super) struct Received {
    pub(super) messages: Vec<Message>,
    pub(super) router_info: Option<(Unverified<RouterInfo>, bool)>,
    pub(super) terminated: Option<TerminationReason>,
    /// Their clock minus ours, if it was said and is too much.
    pub(super) skew: Option<i64>,
}

impl Session {
    pub(super) fn new(
        peer: RouterHash,
        inbound: bool,
        data_phase: DataPhase,
        idle_timeout: Duration,
        cx: &mut Cx<'_>,
    ) -> Self {
        let now = cx.now.mono;
        Self {
            peer,
            inbound,
            established: now,
            last_activity: now,
            idle_timeout: idle_timeout + cx.rng.duration(Duration::ZERO, idle_timeout / 8),
            refresh: false,
            bytes: (0, 0),
            greet: false,
            data_phase,
        }
    }

    /// Opens what came, in place.
    pub(super) fn receive(
        &mut self,
        bytes: &mut [u8],
        limits: &Limits,
        stats: &mut Stats,
        cx: &Cx<'_>,
    ) -> (Received, Result<(), PeerMisbehaved>) {
        let mut received = Received::default();
        let before = self.data_phase.opener.frames();
        let peer = self.peer;
        self.bytes.0 += bytes.len() as u64;
        let result = self.data_phase.opener.receive(bytes, |frame| {
            if received.terminated.is_some() {
                return Ok(());
            }
            for block in Blocks::new(frame) {
                received.block(block?, peer, limits, stats, cx);
            }
            Ok(())
        });
        let frames = self.data_phase.opener.frames() - before;
        stats.frames_received += frames;
        stats.messages_received += received.messages.len() as u64;
        if frames > 0 {
            self.last_activity = cx.now.mono;
        }
        (received, result)
    }

    /// Appends one frame of what waits, with the payload that there is room for unless
    /// one message alone is larger. False if nothing waits.
    pub(super) fn write_frame(
        &mut self,
        queue: Option<&mut SendQueue>,
        own: Option<&Verified<RouterInfo>>,
        out: &mut Vec<u8>,
        room: Room,
        stats: &mut Stats,
        cx: &mut Cx<'_>,
    ) -> bool {
        let start = out.len();
        out.extend_from_slice(&[0; LENGTH]);
        let payload = out.len();
        let refresh = std::mem::take(&mut self.refresh);
        let own = own.filter(|_| refresh);
        if std::mem::take(&mut self.greet) || own.is_some() {
            write_blocks(out, &[Block::DateTime(cx.now.wall)]);
        }
        if let Some(own) = own {
            write_blocks(out, &[Block::RouterInfo { flood: false, bytes: own.bytes() }]);
        }
        if let Some(queue) = queue {
            for lane in queue.next_order() {
                fill(out, payload, (queue, lane), room, stats, cx.now.wall);
            }
        }
        if out.len() == payload {
            out.truncate(start);
            return false;
        }
        let random = cx.rng.u32() as usize;
        let padding = if out.len() - payload < SMALL { random & 63 } else { random & 15 };
        // A message of the largest size leaves no room.
        if out.len() - payload + BLOCK_HEADER + padding <= MAX_BODY_SIZE {
            write_blocks(out, &[Block::Padding(padding)]);
        }
        self.data_phase.sealer.seal(out, start);
        self.bytes.1 += (out.len() - start) as u64;
        stats.frames_sent += 1;
        self.last_activity = cx.now.mono;
        true
    }

    /// Appends the frame that ends the session.
    pub(super) fn write_termination(
        &mut self,
        reason: TerminationReason,
        out: &mut Vec<u8>,
        cx: &mut Cx<'_>,
    ) {
        termination(&mut self.data_phase, reason, out, cx);
    }
}

/// Appends the frame that ends a session.
pub(super) fn termination(
    data_phase: &mut DataPhase,
    reason: TerminationReason,
    out: &mut Vec<u8>,
    cx: &mut Cx<'_>,
) {
    let start = out.len();
    out.extend_from_slice(&[0; LENGTH]);
    let received = data_phase.opener.frames();
    let padding = cx.rng.up_to(31) as usize;
    write_blocks(out, &[Block::Termination { received, reason }, Block::Padding(padding)]);
    data_phase.sealer.seal(out, start);
}

/// Moves messages of a lane into the frame whose payload starts at `payload`.
/// The last of them may take more than the allowance.
fn fill(
    out: &mut Vec<u8>,
    payload: usize,
    (queue, lane): (&mut SendQueue, Lane),
    room: Room,
    stats: &mut Stats,
    now: Date,
) {
    let start = out.len();
    while let Some(message) = queue.front(lane) {
        if out.len() - start >= room.allowance.of(lane) {
            break;
        }
        if !is_unfit(message, stats, now) {
            let used = out.len() - payload;
            let size = message.short_len();
            if used > 0 && used + BLOCK_HEADER + size > room.payload {
                break;
            }
            i2np_header(out, size as u16);
            message.encode_short(out);
            stats.messages_sent += 1;
        }
        queue.pop(lane);
    }
    if lane == Lane::Transit {
        stats.transit_bytes_sent += (out.len() - start) as u64;
    }
}

/// Whether a message is too old or too large to be sent, which is counted.
pub(super) fn is_unfit(message: &Message, stats: &mut Stats, now: Date) -> bool {
    // What we pass on for others was dated by their clocks.
    let expired = message.expires + LATE < now;
    let too_large = !expired && message.body.len() > MAX_BODY_SIZE;
    stats.dropped_expired += u64::from(expired);
    stats.dropped_too_large += u64::from(too_large);
    expired || too_large
}

fn write_blocks(out: &mut Vec<u8>, blocks: &[Block<'_>]) {
    let mut w = Writer::append_to(std::mem::take(out));
    for block in blocks {
        w.write(block);
    }
    *out = w.into_vec();
}

impl Received {
    fn block(&mut self, block: Block<'_>, peer: RouterHash, limits: &Limits, stats: &mut Stats, cx: &Cx<'_>) {
        let now = cx.now.wall;
        match block {
            Block::I2np(bytes) => match Message::decode_short(bytes) {
                Ok(message) if message.expires + LATE < now || now + EARLY < message.expires => {
                    stats.expired_received += 1;
                }
                Ok(message) => self.messages.push(message),
                Err(_) => stats.bad_messages += 1,
            },
            Block::RouterInfo { flood, bytes } => match RouterInfo::decode_unverified(bytes) {
                Ok(ri) if ri.claims().hash() == peer => self.router_info = Some((ri, flood)),
                Ok(_) | Err(_) => stats.bad_router_infos += 1,
            },
            Block::DateTime(theirs) => {
                let seconds = (theirs.as_secs() as i64).saturating_sub(i64::from(now.as_wire_secs()));
                if seconds.unsigned_abs() > u64::from(limits.clock_skew_secs) {
                    self.skew = Some(seconds);
                }
            }
            Block::Termination { reason, .. } => self.terminated = Some(reason),
            Block::Options(_) | Block::Padding(_) | Block::Unknown(_) => {}
        }
    }
}
