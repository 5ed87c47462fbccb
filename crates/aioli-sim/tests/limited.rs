//! A bandwidth limit in virtual time: `docs/bandwidth.md` has the demands.

use aioli_core::Duration;
use aioli_sim::{LinkModel, Second, limited};

const LIMIT: u64 = 128 * 1024;
const LINK: LinkModel = LinkModel {
    delay: Duration::from_millis(2),
    jitter: Duration::from_micros(200),
    loss_permille: 0,
    rate: Some(400_000),
};
const SECONDS: u64 = 25;

/// The most that any `window` seconds in a row carry.
fn most(table: &[Second], window: usize, of: fn(&Second) -> u64) -> u64 {
    table.windows(window).map(|seconds| seconds.iter().map(of).sum()).max().unwrap_or(0)
}

#[test]
fn a_limit_is_held_and_neither_own_streams_nor_others_starve() {
    let table = limited(LIMIT, LINK, SECONDS, 4).unwrap();
    for direction in [|s: &Second| s.sent, |s: &Second| s.received] {
        let (ten, one) = (most(&table, 10, direction), most(&table, 1, direction));
        assert!(ten <= LIMIT * 10 * 105 / 100, "{ten} bytes in ten seconds: {table:?}");
        assert!(one <= LIMIT * 2, "{one} bytes in a second: {table:?}");
    }
    let sent: u64 = table.iter().map(|s| s.sent).sum();
    assert!(sent >= LIMIT * SECONDS * 70 / 100, "{sent} bytes sent in all: {table:?}");
    let own = |stream: usize| table.iter().map(|s| s.arrived[stream]).sum::<u64>();
    for stream in [0, 1] {
        assert!(own(stream) >= LIMIT * SECONDS / 5, "own stream {stream} had {}: {table:?}", own(stream));
    }
    let relayed: u64 = table.iter().map(|s| s.relayed).sum();
    assert!(relayed > 0, "nothing was relayed, so this tells nothing: {table:?}");
}
