//! A list of addresses and routers that the user wants nothing to do with, in
//! the format of Java I2P's `blocklist.txt`.
//!
//! ```text
//! # a comment
//! entry                  comment:entry                  comment:more comment:entry
//! entry: 192.0.2.1 | 192.0.2.0/24 | 192.0.2.0-192.0.2.9 | the same in IPv6, also in [brackets]
//!      | a router's hash in I2P Base64, 44 characters
//! ```

use std::net::{IpAddr, Ipv4Addr};

use aioli_wire::RouterHash;
use thiserror::Error;

/// The most entries that are kept.
pub const MAX_BLOCKLIST_ENTRIES: usize = 300_000;
/// The largest file that need be read, in bytes.
pub const MAX_BLOCKLIST_BYTES: u64 = 32 << 20;
/// Characters of a line at most.
const MAX_LINE: usize = 1_000;
/// Wrong lines that are reported one by one.
const MAX_REPORTED: usize = 10;

/// Addresses and routers, sorted for a search in logarithmic time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blocklist {
    /// First and last address of ranges that do not touch.
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
    routers: Vec<RouterHash>,
}

/// Why a line of a blocklist is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BlocklistError {
    /// There is no entry in it.
    #[error("no address, range or router hash")]
    NoEntry,
    /// More than a thousand characters.
    #[error("too long")]
    TooLong,
    /// There are [`MAX_BLOCKLIST_ENTRIES`] before it.
    #[error("only the first {MAX_BLOCKLIST_ENTRIES} entries are used")]
    Full,
}

/// The lines that were not used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// How many.
    pub lines: usize,
    /// The first ten, with their numbers from 1.
    pub first: Vec<(usize, BlocklistError)>,
}

enum Entry {
    V4(u32, u32),
    V6(u128, u128),
    Router(RouterHash),
}

impl Blocklist {
    /// Reads the text of a file. A wrong line is skipped and reported.
    pub fn parse(text: &str) -> (Self, Skipped) {
        let (mut list, mut skipped) = (Self::default(), Skipped::default());
        for (i, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Err(why) = list.add(line) {
                skipped.lines += 1;
                if skipped.first.len() < MAX_REPORTED {
                    skipped.first.push((i + 1, why));
                }
            }
        }
        list.v4 = merged(list.v4, |end| end.checked_add(1));
        list.v6 = merged(list.v6, |end| end.checked_add(1));
        list.routers.sort_unstable();
        list.routers.dedup();
        (list, skipped)
    }

    fn add(&mut self, line: &str) -> Result<(), BlocklistError> {
        if line.len() > MAX_LINE {
            return Err(BlocklistError::TooLong);
        }
        if self.len() >= MAX_BLOCKLIST_ENTRIES {
            return Err(BlocklistError::Full);
        }
        // What stands before a colon may be a comment, or an IPv6 address goes on behind it.
        let starts = std::iter::once(0).chain(line.match_indices(':').map(|(at, _)| at + 1));
        let entry = starts.filter_map(|at| line.get(at..)).find_map(|text| entry(text.trim()));
        match entry.ok_or(BlocklistError::NoEntry)? {
            Entry::V4(first, last) => self.v4.push((first, last)),
            Entry::V6(first, last) => self.v6.push((first, last)),
            Entry::Router(hash) => self.routers.push(hash),
        }
        Ok(())
    }

    /// Ranges of addresses and routers in it.
    pub const fn len(&self) -> usize {
        self.v4.len() + self.v6.len() + self.routers.len()
    }

    /// Whether it bars nobody.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether this address is in it.
    pub fn has_ip(&self, ip: IpAddr) -> bool {
        match ip.to_canonical() {
            IpAddr::V4(ip) => contains(&self.v4, u32::from(ip)),
            IpAddr::V6(ip) => contains(&self.v6, u128::from(ip)),
        }
    }

    /// Whether this router is in it.
    pub fn has_router(&self, hash: &RouterHash) -> bool {
        self.routers.binary_search(hash).is_ok()
    }
}

fn contains<T: Ord + Copy>(ranges: &[(T, T)], at: T) -> bool {
    let behind = ranges.partition_point(|(first, _)| *first <= at);
    behind.checked_sub(1).and_then(|i| ranges.get(i)).is_some_and(|(_, last)| at <= *last)
}

/// Sorts the ranges and joins those that overlap or touch.
fn merged<T: Ord + Copy>(mut ranges: Vec<(T, T)>, next: impl Fn(T) -> Option<T>) -> Vec<(T, T)> {
    ranges.sort_unstable();
    let mut out: Vec<(T, T)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match out.last_mut() {
            Some((_, end)) if next(*end).is_none_or(|after| first <= after) => *end = last.max(*end),
            _ => out.push((first, last)),
        }
    }
    out.shrink_to_fit();
    out
}

fn entry(text: &str) -> Option<Entry> {
    // A hash may contain a hyphen, too.
    if let Some((first, last)) = text.split_once('-')
        && let (Some(first), Some(last)) = (address(first), address(last))
    {
        return range(first, last);
    }
    if let Some((base, bits)) = text.split_once('/') {
        return cidr(address(base)?, bits.trim().parse().ok()?);
    }
    match address(text) {
        Some(ip) => range(ip, ip),
        None => RouterHash::from_base64(text).filter(|_| text.len() == 44).map(Entry::Router),
    }
}

fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let inner = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    inner.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

fn range(first: IpAddr, last: IpAddr) -> Option<Entry> {
    match (first, last) {
        (IpAddr::V4(a), IpAddr::V4(b)) if a <= b => Some(Entry::V4(a.into(), b.into())),
        (IpAddr::V6(a), IpAddr::V6(b)) if a <= b => Some(Entry::V6(a.into(), b.into())),
        _ => None,
    }
}

fn cidr(base: IpAddr, bits: u32) -> Option<Entry> {
    match base {
        IpAddr::V4(ip) if bits <= 32 => {
            let host = u32::MAX.checked_shr(bits).unwrap_or(0);
            let first = u32::from(ip) & !host;
            range(Ipv4Addr::from(first).into(), Ipv4Addr::from(first | host).into())
        }
        IpAddr::V6(ip) if bits <= 128 => {
            let host = u128::MAX.checked_shr(bits).unwrap_or(0);
            let first = u128::from(ip) & !host;
            Some(Entry::V6(first, first | host))
        }
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn every_kind_of_entry_bars_what_it_says_and_nothing_else() {
        let hash = RouterHash::new([0xf8; 32]);
        assert!(hash.to_base64().contains('-'));
        let text = format!(
            "# list\n\n9.9.9.9\nspam:10.0.0.0/8\nbots:of:many:1.2.3.4-1.2.4.255\n2001:db8::/32\nv6:[2a00:1::5]\n\
             x:2a01::1-2a01::ff\nrouter:{}\n0.0.0.0/32\n",
            hash.to_base64()
        );
        let (list, skipped) = Blocklist::parse(&text);
        assert_eq!(skipped, Skipped::default());
        assert_eq!(list.len(), 8);
        let barred = [
            "9.9.9.9",
            "10.0.0.0",
            "10.255.255.255",
            "1.2.3.4",
            "1.2.4.255",
            "2001:db8:ffff::1",
            "2a00:1::5",
            "2a01::80",
            "::ffff:9.9.9.9",
            "0.0.0.0",
        ];
        let free = [
            "9.9.9.8",
            "9.9.9.10",
            "11.0.0.0",
            "1.2.3.3",
            "1.2.5.0",
            "2001:db9::",
            "2a00:1::4",
            "2a01::100",
            "0.0.0.1",
        ];
        assert!(barred.iter().all(|a| list.has_ip(ip(a))));
        assert!(free.iter().all(|a| !list.has_ip(ip(a))));
        assert!(list.has_router(&hash) && !list.has_router(&RouterHash::new([8; 32])));
    }

    #[test]
    fn wrong_lines_are_named_and_skipped() {
        let long = "x".repeat(2_000);
        let text = format!(
            "1.2.3.4\nexample.com\n1.2.3.4/33\n9.9.9.9-1.1.1.1\n1.1.1.1-::1\n{long}\nbad:\nQUFB\n5.6.7.8\n"
        );
        let (list, skipped) = Blocklist::parse(&text);
        assert_eq!((list.len(), skipped.lines), (2, 7));
        let lines: Vec<usize> = skipped.first.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(skipped.first[4].1, BlocklistError::TooLong);
        let (_, skipped) = Blocklist::parse(&"?\n".repeat(50));
        assert_eq!((skipped.lines, skipped.first.len()), (50, 10));
    }

    #[test]
    fn overlapping_ranges_become_one() {
        let (list, _) =
            Blocklist::parse("1.0.0.0-1.0.0.9\n1.0.0.5-1.0.0.20\n1.0.0.21\n0.0.0.0/0\n255.255.255.255");
        assert_eq!(list.len(), 1);
        assert!(list.has_ip(ip("255.255.255.255")) && list.has_ip(ip("0.0.0.0")));
    }

    proptest! {
        #[test]
        fn the_search_finds_what_a_scan_finds(
            ranges in proptest::collection::vec((0u32..500, 0u32..20), 0..40), at in 0u32..600,
        ) {
            let line = |(a, n): &(u32, u32)| {
                format!("{}-{}\n", Ipv4Addr::from(*a), Ipv4Addr::from(a + n))
            };
            let (list, _) = Blocklist::parse(&ranges.iter().map(line).collect::<String>());
            let scan = ranges.iter().any(|(a, n)| (*a..=a + n).contains(&at));
            prop_assert_eq!(list.has_ip(Ipv4Addr::from(at).into()), scan);
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,200}") {
            let _ = Blocklist::parse(&text);
        }
    }
}
