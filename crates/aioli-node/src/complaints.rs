//! Lines for the log about what others got wrong, at most one of a kind a
//! minute: a router on the open internet is probed all day.

use aioli_core::{Duration, Instant};

use crate::node::Snapshot;

/// No kind is told more often.
const EVERY: Duration = Duration::from_secs(60);

/// A kind of thing that others get wrong.
struct Kind {
    count: fn(&Snapshot) -> u64,
    text: &'static str,
}

const KINDS: &[Kind] = &[
    Kind {
        count: |s| s.stats.handshakes_failed,
        text: "connections to the router port were closed: no valid NTCP2 handshake (garbage, a probe or an \
               incompatible router)",
    },
    Kind { count: |s| s.stats.replays, text: "handshakes were refused: they were replays of earlier ones" },
    Kind {
        count: |s| s.stats.bad_frames + s.stats.bad_messages,
        text: "frames or messages of other routers were damaged and dropped",
    },
    Kind {
        count: |s| s.stats.refused_connections,
        text: "connections to the router port were refused by a limit",
    },
    Kind { count: |s| s.sam.bad_lines, text: "lines on the SAM port were no SAM commands and were refused" },
    Kind {
        count: |s| s.sam.refused_connections + s.sam.refused_streams,
        text: "SAM connections or streams were refused: too many at once",
    },
];

/// What was told, and when.
#[derive(Debug, Default)]
pub(crate) struct Complaints {
    told: [(u64, Option<Instant>); KINDS.len()],
}

impl Complaints {
    /// What is worth a line now.
    pub(crate) fn lines(&mut self, snapshot: &Snapshot, now: Instant) -> Vec<String> {
        let mut lines = Vec::new();
        for (kind, (told, at)) in KINDS.iter().zip(&mut self.told) {
            let count = (kind.count)(snapshot);
            let may = at.is_none_or(|at| now.since(at) >= EVERY);
            if count > *told && may {
                lines.push(format!("{} {}", count - *told, kind.text));
                (*told, *at) = (count, Some(now));
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_told_at_once_and_then_once_a_minute() {
        let (mut complaints, mut snapshot) = (Complaints::default(), Snapshot::default());
        assert!(complaints.lines(&snapshot, Instant::ZERO).is_empty());
        snapshot.stats.handshakes_failed = 2;
        snapshot.sam.bad_lines = 1;
        let lines = complaints.lines(&snapshot, Instant::ZERO);
        assert!(lines[0].starts_with("2 connections to the router port"), "{lines:?}");
        assert!(lines[1].starts_with("1 lines on the SAM port"), "{lines:?}");
        snapshot.stats.handshakes_failed = 9;
        assert!(complaints.lines(&snapshot, Instant::ZERO + Duration::from_secs(59)).is_empty());
        let lines = complaints.lines(&snapshot, Instant::ZERO + Duration::from_secs(60));
        assert_eq!(lines.len(), 1);
        assert!(lines[0].starts_with("7 connections"), "{lines:?}");
    }
}
