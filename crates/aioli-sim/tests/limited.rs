//! A bandwidth limit in virtual time: `docs/bandwidth.md` has the demands.

use aioli_sim::{LIMIT as MORE, LIMITED_LINK as FASTER, LinkModel, broken, limited};

const LIMIT: u64 = 128 * 1024;
const LINK: LinkModel = LinkModel { rate: Some(400_000), ..FASTER };
const SECONDS: u64 = 25;

#[test]
fn a_limit_is_held_and_neither_own_streams_nor_others_starve() {
    let table = limited(LIMIT, LINK, SECONDS, 4).unwrap();
    assert_eq!(broken(&table, LIMIT), None, "{table:?}");
    let sent: u64 = table.iter().map(|s| s.sent).sum();
    assert!(sent >= LIMIT * SECONDS * 70 / 100, "{sent} bytes sent in all: {table:?}");
    let own = |stream: usize| table.iter().map(|s| s.arrived[stream]).sum::<u64>();
    for stream in [0, 1] {
        assert!(own(stream) >= LIMIT * SECONDS / 5, "own stream {stream} had {}: {table:?}", own(stream));
    }
    let relayed: u64 = table.iter().map(|s| s.relayed).sum();
    assert!(relayed > 0, "nothing was relayed, so this tells nothing: {table:?}");
}

/// Others' acknowledgements of a megabyte a second filled what was received, and nothing slowed them: the own stream
/// that sends stood still for seconds, for its acknowledgements waited behind them.
#[test]
fn own_streams_go_on_while_others_press() {
    let table = limited(MORE, FASTER, 18, 3).unwrap();
    assert_eq!(broken(&table, MORE), None, "{table:?}");
}
