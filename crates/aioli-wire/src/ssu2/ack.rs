//! Which packets have come: the ACK block (`ssu2#ack`).
//!
//! ```text
//! ack through 4 | ack count 1 | (nack count 1 | ack count 1)*     from the highest down
//! ```

use std::ops::RangeInclusive;

use crate::codec::{DecodeError, Reader, Wire, Writer};

/// Bytes before the first pair.
const FIXED: usize = 5;

/// The packets that a peer says have come. Decoded only if no range reaches below 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack<'a> {
    /// The highest of them.
    through: u32,
    /// How many just below it have come as well.
    count: u8,
    /// Pairs: how many have not come, how many have.
    pairs: &'a [u8],
}

impl<'a> Ack<'a> {
    /// The highest packet number acknowledged.
    pub const fn through(&self) -> u32 {
        self.through
    }

    /// Runs of numbers that have come, from the highest down.
    pub const fn ranges(&self) -> AckRanges<'a> {
        AckRanges { next: Some((self.through, self.count)), pairs: self.pairs }
    }

    /// Appends a block's data for runs of numbers given from the highest down,
    /// which neither touch nor overlap. What would not fit in `room` bytes is left
    /// out; the first 256 numbers always fit. Returns the bytes written.
    pub fn encode_runs(
        runs: impl IntoIterator<Item = RangeInclusive<u32>>,
        room: usize,
        w: &mut Writer,
    ) -> usize {
        let start = w.len();
        let mut runs = runs.into_iter();
        let Some(first) = runs.next() else { return 0 };
        w.u32(*first.end());
        let mut more = first.end() - first.start();
        w.u8(more.min(255) as u8);
        more -= more.min(255);
        let fits = |w: &Writer| w.len() - start + 2 <= room.max(FIXED);
        let mut low = *first.start();
        loop {
            while more > 0 && fits(w) {
                w.bytes(&[0, more.min(255) as u8]);
                more -= more.min(255);
            }
            let Some(run) = runs.next().filter(|_| more == 0) else { break };
            let Some(mut gap) = low.checked_sub(*run.end()).and_then(|d| d.checked_sub(1)) else { break };
            while gap > 255 && fits(w) {
                w.bytes(&[255, 0]);
                gap -= 255;
            }
            if gap == 0 || gap > 255 || !fits(w) {
                break;
            }
            let count = run.end() - run.start() + 1;
            w.bytes(&[gap as u8, count.min(255) as u8]);
            more = count - count.min(255);
            low = *run.start();
        }
        w.len() - start
    }
}

impl<'a> Wire<'a> for Ack<'a> {
    const SPEC: &'static str = "ssu2#ack";

    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let (through, count) = (r.u32()?, r.u8()?);
        let mut left = u64::from(through) + 1;
        let mut take = |n: u8| match left.checked_sub(u64::from(n)) {
            Some(rest) => {
                left = rest;
                true
            }
            None => false,
        };
        if !take(1) || !take(count) {
            return Err(r.invalid("ack count"));
        }
        let pairs = r.rest();
        for pair in pairs.chunks(2) {
            let &[nacks, acks] = pair else { return Err(r.invalid("ack range")) };
            if (nacks == 0 && acks == 0) || !take(nacks) || !take(acks) {
                return Err(r.invalid("ack range"));
            }
        }
        Ok(Self { through, count, pairs })
    }

    fn encode(&self, w: &mut Writer) {
        w.u32(self.through);
        w.u8(self.count);
        w.bytes(self.pairs);
    }
}

/// Runs of packet numbers, from the highest down; runs may touch.
#[derive(Clone, Debug)]
pub struct AckRanges<'a> {
    /// The next run: its highest number and how many below that.
    next: Option<(u32, u8)>,
    pairs: &'a [u8],
}

impl Iterator for AckRanges<'_> {
    type Item = RangeInclusive<u32>;

    fn next(&mut self) -> Option<Self::Item> {
        let (high, below) = self.next.take()?;
        let low = high.saturating_sub(u32::from(below));
        // The number just above what the next pair describes.
        let mut above = low;
        while let Some((&[nacks, acks], rest)) = self.pairs.split_first_chunk::<2>() {
            self.pairs = rest;
            above = above.saturating_sub(u32::from(nacks));
            if acks > 0 {
                self.next = above.checked_sub(1).map(|top| (top, acks - 1));
                break;
            }
        }
        Some(low..=high)
    }
}
