//! Blocks that a session sends until the peer has acknowledged them: those of
//! introductions and peer tests (`ssu2#retransmissions`).

use std::collections::VecDeque;

use super::outbox::{Carried, Control};

/// The largest block that goes here: with everything else it fits the least packet of all paths.
pub(super) const MAX_NOTICE: usize = 1_100;

/// One block.
#[derive(Debug)]
struct Notice {
    id: u32,
    bytes: Vec<u8>,
    /// Not on its way.
    waits: bool,
}

/// All that a session has to say so.
#[derive(Debug, Default)]
pub(super) struct Notices {
    list: VecDeque<Notice>,
    next: u32,
}

impl Notices {
    /// Queues a block. False if it is too large, or if `limit` others are not acknowledged.
    pub(super) fn push(&mut self, bytes: Vec<u8>, limit: usize) -> bool {
        if bytes.len() > MAX_NOTICE || self.list.len() >= limit {
            return false;
        }
        self.list.push_back(Notice { id: self.next, bytes, waits: true });
        self.next = self.next.wrapping_add(1);
        true
    }

    /// Whether something is to be sent.
    pub(super) fn has_ready(&self) -> bool {
        self.list.iter().any(|n| n.waits)
    }

    /// Writes what fits, in order, before the packet is `end` bytes long.
    pub(super) fn fill(&mut self, out: &mut Vec<u8>, end: usize, carried: &mut Vec<Carried>) {
        for notice in self.list.iter_mut().filter(|n| n.waits) {
            if out.len() + notice.bytes.len() > end {
                return;
            }
            out.extend_from_slice(&notice.bytes);
            notice.waits = false;
            carried.push(Carried::Control(Control::Notice(notice.id)));
        }
    }

    /// The peer has it.
    pub(super) fn on_acked(&mut self, id: u32) {
        self.list.retain(|n| n.id != id);
    }

    /// It is to be sent again.
    pub(super) fn on_lost(&mut self, id: u32) {
        self.list.iter_mut().filter(|n| n.id == id).for_each(|n| n.waits = true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_sent_until_it_is_acknowledged() {
        let mut notices = Notices::default();
        assert!(
            notices.push(vec![1; 600], 3) && notices.push(vec![2; 600], 3) && notices.push(vec![3; 10], 3)
        );
        assert!(!notices.push(vec![4; 10], 3), "no room");
        assert!(!notices.push(vec![4; MAX_NOTICE + 1], 9), "too large");
        let (mut out, mut carried) = (Vec::new(), Vec::new());
        notices.fill(&mut out, 1_000, &mut carried);
        assert_eq!((out.len(), carried.len()), (600, 1), "in order: a small one does not overtake");
        notices.fill(&mut out, 2_000, &mut carried);
        assert_eq!((out.len(), carried.len(), notices.has_ready()), (1_210, 3, false));
        notices.on_acked(0);
        notices.on_lost(1);
        notices.on_lost(0);
        let (mut again, mut carried) = (Vec::new(), Vec::new());
        notices.fill(&mut again, 2_000, &mut carried);
        assert_eq!(again, [2; 600]);
        notices.on_acked(1);
        notices.on_acked(2);
        assert!(notices.list.is_empty());
    }
}
