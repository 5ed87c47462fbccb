//! Numbers and names as people read them.

pub(crate) use crate::http::escaped;

/// Bytes: `12.3 KB`.
pub fn bytes(n: u64) -> String {
    let units = ["KB", "MB", "GB", "TB", "PB"];
    if n < 1_024 {
        return format!("{n} B");
    }
    let (mut value, mut unit) = (n as f64 / 1_024.0, 0);
    while value >= 1_024.0 && unit + 1 < units.len() {
        value /= 1_024.0;
        unit += 1;
    }
    let name = units.get(unit).copied().unwrap_or_default();
    if value < 10.0 { format!("{value:.1} {name}") } else { format!("{value:.0} {name}") }
}

/// Seconds: `3 h 12 min`.
pub fn time(s: u64) -> String {
    match s {
        0..120 => format!("{s} s"),
        120..7_200 => format!("{} min", s / 60),
        7_200..172_800 => format!("{} h {} min", s / 3_600, s % 3_600 / 60),
        _ => format!("{} days {} h", s / 86_400, s % 86_400 / 3_600),
    }
}

/// The time of day, in UTC.
pub(crate) fn clock(at: u64) -> String {
    let s = at % 86_400;
    format!("{:02}:{:02}:{:02}", s / 3_600, s % 3_600 / 60, s % 60)
}

/// A hash by its first letters, the whole of it for whoever points at it.
pub(crate) fn short(hash: &str) -> String {
    let first: String = hash.chars().take(6).collect();
    format!("<abbr class=hash title=\"{}\">{}</abbr>", escaped(hash), escaped(&first))
}

/// A b32 name by its first letters.
pub(crate) fn short_b32(name: &str) -> String {
    let first: String = name.chars().take(10).collect();
    format!("<abbr class=hash title=\"{}\">{}….b32.i2p</abbr>", escaped(name), escaped(&first))
}

/// A number and what it counts.
pub(crate) fn count(n: u64, one: &str, many: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {many}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_short() {
        for (n, text) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1.0 KB"),
            (12_600, "12 KB"),
            (5 << 20, "5.0 MB"),
            (u64::MAX, "16384 PB"),
        ] {
            assert_eq!(bytes(n), text);
        }
        for (s, text) in
            [(0, "0 s"), (119, "119 s"), (130, "2 min"), (7_260, "2 h 1 min"), (200_000, "2 days 7 h")]
        {
            assert_eq!(time(s), text);
        }
        assert_eq!(clock(1_700_000_000), "22:13:20");
        assert!(short("<b>").contains("&lt;b&gt;"));
    }
}
