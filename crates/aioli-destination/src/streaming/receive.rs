//! The receiving half: order, gaps, and when to acknowledge.

use std::collections::{BTreeSet, VecDeque};

use aioli_wire::streaming::MAX_NACKS;

/// Numbers beyond the next expected one that are still taken.
pub(super) const MAX_AHEAD: u32 = 12_288;

/// What a packet meant for the receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// The next one, with no gap behind it.
    InOrder,
    /// The first to show a new gap.
    NewGap,
    /// Filled a gap, or came after a known one.
    OutOfOrder,
    /// Filled the oldest gap: data became readable.
    Filled,
    /// Known already.
    Duplicate,
    /// Too far ahead, or the buffer is full.
    Refused,
}

/// The receiving half of a stream.
#[derive(Clone, Debug, Default)]
pub(super) struct ReceiveHalf {
    next: u32,
    /// One more than the highest number received.
    end: u32,
    missing: BTreeSet<u32>,
    /// Packets from `next` on, where received.
    ahead: VecDeque<Option<Vec<u8>>>,
    ahead_bytes: usize,
    ready: VecDeque<Vec<u8>>,
    ready_bytes: usize,
    /// Bytes of the first ready chunk that were read.
    read: usize,
    /// Number of the packet with CLOSE.
    closed_at: Option<u32>,
    /// Nobody reads: payload is dropped.
    discard: bool,
}

impl ReceiveHalf {
    /// Takes packet `sequence`.
    pub(super) fn accept(&mut self, sequence: u32, payload: &[u8], close: bool, limit: usize) -> Arrival {
        if sequence < self.next || (sequence < self.end && !self.missing.contains(&sequence)) {
            return Arrival::Duplicate;
        }
        let beyond_close = self.closed_at.is_some_and(|at| sequence > at);
        let full = self.buffered() + payload.len() > limit && sequence != self.next;
        let too_far = sequence - self.next > MAX_AHEAD || sequence == u32::MAX;
        if too_far || beyond_close || full {
            return Arrival::Refused;
        }
        if close {
            self.closed_at = Some(sequence);
        }
        let new_gap = sequence > self.end;
        if sequence >= self.end {
            self.missing.extend(self.end..sequence);
            self.end = sequence + 1;
        } else {
            self.missing.remove(&sequence);
        }
        if sequence == self.next {
            return self.take_next(payload);
        }
        let i = (sequence - self.next) as usize;
        if self.ahead.len() <= i {
            self.ahead.resize(i + 1, None);
        }
        let kept = if self.discard { Vec::new() } else { payload.to_vec() };
        self.ahead_bytes += kept.len();
        if let Some(slot) = self.ahead.get_mut(i) {
            *slot = Some(kept);
        }
        if new_gap { Arrival::NewGap } else { Arrival::OutOfOrder }
    }

    fn take_next(&mut self, payload: &[u8]) -> Arrival {
        if !self.discard && !payload.is_empty() {
            self.ready_bytes += payload.len();
            self.ready.push_back(payload.to_vec());
        }
        self.next += 1;
        let had_gap = !self.ahead.is_empty();
        self.ahead.pop_front();
        while let Some(slot) = self.ahead.front_mut() {
            let Some(bytes) = slot.take() else { break };
            self.ahead.pop_front();
            self.next += 1;
            self.ahead_bytes -= bytes.len();
            if !bytes.is_empty() {
                self.ready_bytes += bytes.len();
                self.ready.push_back(bytes);
            }
        }
        if had_gap { Arrival::Filled } else { Arrival::InOrder }
    }

    /// Moves readable bytes to `out`; gives how many.
    pub(super) fn read(&mut self, out: &mut [u8]) -> usize {
        let mut done = 0;
        while done < out.len() {
            let Some(chunk) = self.ready.front() else { break };
            let left = chunk.get(self.read..).unwrap_or(&[]);
            let n = left.len().min(out.len() - done);
            if let (Some(to), Some(from)) = (out.get_mut(done..done + n), left.get(..n)) {
                to.copy_from_slice(from);
            }
            done += n;
            self.read += n;
            if self.read == chunk.len() {
                self.ready.pop_front();
                self.read = 0;
            }
        }
        self.ready_bytes -= done;
        done
    }

    /// Takes the next chunk of readable bytes as it arrived.
    pub(super) fn read_chunk(&mut self) -> Option<Vec<u8>> {
        let mut chunk = self.ready.pop_front()?;
        chunk.drain(..std::mem::take(&mut self.read));
        self.ready_bytes -= chunk.len();
        Some(chunk)
    }

    /// Stops keeping data.
    pub(super) fn discard(&mut self) {
        self.discard = true;
        self.ready.clear();
        (self.ready_bytes, self.read) = (0, 0);
    }

    /// Bytes that can be read.
    pub(super) fn readable(&self) -> usize {
        self.ready_bytes
    }

    /// Bytes held.
    pub(super) fn buffered(&self) -> usize {
        self.ready_bytes + self.ahead_bytes
    }

    /// Whether the SYN has been received.
    pub(super) fn synchronized(&self) -> bool {
        self.next > 0
    }

    /// Whether packets are missing.
    #[cfg(test)]
    pub(super) fn has_gaps(&self) -> bool {
        !self.missing.is_empty()
    }

    /// Whether the peer's CLOSE and all before it were received.
    pub(super) fn closed(&self) -> bool {
        self.closed_at.is_some_and(|at| self.next > at)
    }

    /// Whether all was received and read.
    pub(super) fn at_end(&self) -> bool {
        self.closed() && self.ready.is_empty()
    }

    /// The acknowledgement: highest number, and what is missing below it. If
    /// more is missing than fits, the number is held back so that it is true.
    pub(super) fn acknowledge(&self, nacks: &mut Vec<u32>, most: usize) -> u32 {
        let most = most.min(MAX_NACKS);
        nacks.clear();
        nacks.extend(self.missing.iter().take(most));
        let unlisted = if self.missing.len() > most { self.missing.iter().nth(most) } else { None };
        unlisted.map_or_else(|| self.end.saturating_sub(1), |n| n.saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ROOM: usize = 1 << 20;

    #[test]
    fn gaps_are_listed_until_filled() {
        let mut r = ReceiveHalf::default();
        let mut nacks = Vec::new();
        assert_eq!(r.accept(0, b"a", false, ROOM), Arrival::InOrder);
        assert_eq!(r.accept(3, b"d", true, ROOM), Arrival::NewGap);
        assert_eq!(r.accept(3, b"d", true, ROOM), Arrival::Duplicate);
        assert_eq!(r.accept(4, b"e", false, ROOM), Arrival::Refused);
        assert_eq!((r.acknowledge(&mut nacks, MAX_NACKS), nacks.as_slice()), (3, [1, 2].as_slice()));
        assert_eq!(r.accept(2, b"c", false, ROOM), Arrival::OutOfOrder);
        assert_eq!(r.accept(1, b"b", false, ROOM), Arrival::Filled);
        let mut out = [0; 9];
        assert_eq!((r.read(&mut out), &out[..4]), (4, b"abcd".as_slice()));
        assert!(r.at_end() && !r.has_gaps());
    }

    #[test]
    fn more_gaps_than_fit_hold_the_number_back() {
        let mut r = ReceiveHalf::default();
        for n in (1..=601).step_by(2) {
            r.accept(n, b"x", false, ROOM);
        }
        let mut nacks = Vec::new();
        let through = r.acknowledge(&mut nacks, MAX_NACKS);
        assert_eq!((through, nacks.len(), nacks.last()), (509, 255, Some(&508)));
        assert!(nacks.iter().all(|n| *n <= through));
    }

    #[test]
    fn limits_refuse_but_never_the_next_packet() {
        let mut r = ReceiveHalf::default();
        assert_eq!(r.accept(MAX_AHEAD + 1, b"x", false, ROOM), Arrival::Refused);
        assert_eq!(r.accept(2, &[0; 80], false, 100), Arrival::NewGap);
        assert_eq!(r.accept(1, &[0; 80], false, 100), Arrival::Refused);
        assert_eq!(r.accept(0, &[0; 80], false, 100), Arrival::Filled);
    }

    proptest! {
        #[test]
        fn any_order_gives_the_same_bytes(order in Just((0..60u32).collect::<Vec<_>>()).prop_shuffle(),
                                          repeats in proptest::collection::vec(0..60u32, 0..40)) {
            let mut r = ReceiveHalf::default();
            let mut all = order;
            all.splice(30..30, repeats);
            for n in all {
                r.accept(n, &[n as u8; 3], n == 59, ROOM);
            }
            let mut out = Vec::new();
            while let Some(chunk) = r.read_chunk() {
                out.extend(chunk);
            }
            let expected: Vec<u8> = (0..60).flat_map(|n| [n as u8; 3]).collect();
            prop_assert_eq!(out, expected);
            prop_assert!(r.at_end());
        }
    }
}
