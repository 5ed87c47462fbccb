//! The capability letters that routers publish (`network-database#caps`).

use std::fmt;

/// How much bandwidth a router shares, by its letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bandwidth {
    /// Under 12 KB/s.
    K,
    /// 12 to 48 KB/s.
    L,
    /// 48 to 64 KB/s.
    M,
    /// 64 to 128 KB/s.
    N,
    /// 128 to 256 KB/s.
    O,
    /// 256 to 2,000 KB/s.
    P,
    /// Over 2,000 KB/s.
    X,
}

impl Bandwidth {
    /// The class of a router that shares this many KB/s.
    pub const fn from_shared_kbytes(rate: u64) -> Self {
        match rate {
            0..12 => Self::K,
            12..48 => Self::L,
            48..64 => Self::M,
            64..128 => Self::N,
            128..256 => Self::O,
            256..=2000 => Self::P,
            _ => Self::X,
        }
    }

    /// Its letter.
    pub const fn letter(self) -> char {
        match self {
            Self::K => 'K',
            Self::L => 'L',
            Self::M => 'M',
            Self::N => 'N',
            Self::O => 'O',
            Self::P => 'P',
            Self::X => 'X',
        }
    }

    const fn from_letter(letter: char) -> Option<Self> {
        Some(match letter {
            'K' => Self::K,
            'L' => Self::L,
            'M' => Self::M,
            'N' => Self::N,
            'O' => Self::O,
            'P' => Self::P,
            'X' => Self::X,
            _ => return None,
        })
    }
}

/// How gladly a router takes part in tunnels now (proposal 162).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Congestion {
    /// No letter.
    #[default]
    None,
    /// D: medium congestion, or a slow router.
    Medium,
    /// E: high congestion; most requests are refused.
    High,
    /// G: rejects all tunnels.
    RejectingAll,
}

/// What a router says about itself in `caps`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Capabilities {
    /// f: holds a part of the network database.
    pub floodfill: bool,
    /// H: does not publish itself.
    pub hidden: bool,
    /// R: reachable.
    pub reachable: bool,
    /// U: not reachable directly.
    pub unreachable: bool,
    /// The highest bandwidth letter given.
    pub bandwidth: Option<Bandwidth>,
    /// The congestion letter.
    pub congestion: Congestion,
}

impl Capabilities {
    /// Reads the letters; those that mean nothing are skipped.
    pub fn parse(letters: &str) -> Self {
        let mut caps = Self::default();
        for letter in letters.chars() {
            match letter {
                'f' => caps.floodfill = true,
                'H' => caps.hidden = true,
                'R' => caps.reachable = true,
                'U' => caps.unreachable = true,
                'D' => caps.congestion = caps.congestion.max(Congestion::Medium),
                'E' => caps.congestion = caps.congestion.max(Congestion::High),
                'G' => caps.congestion = caps.congestion.max(Congestion::RejectingAll),
                other => caps.bandwidth = caps.bandwidth.max(Bandwidth::from_letter(other)),
            }
        }
        caps
    }
}

impl fmt::Display for Capabilities {
    /// The letters in the order in which routers publish them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let congestion = match self.congestion {
            Congestion::None => None,
            Congestion::Medium => Some('D'),
            Congestion::High => Some('E'),
            Congestion::RejectingAll => Some('G'),
        };
        let letters = [
            self.bandwidth.map(Bandwidth::letter),
            self.floodfill.then_some('f'),
            self.hidden.then_some('H'),
            self.reachable.then_some('R'),
            self.unreachable.then_some('U'),
            congestion,
        ];
        letters.into_iter().flatten().try_for_each(|letter| fmt::Write::write_char(f, letter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_round_trip() {
        for text in ["", "XfR", "LU", "PfRD", "OHE", "KRG"] {
            assert_eq!(Capabilities::parse(text).to_string(), text);
        }
    }

    #[test]
    fn old_and_unknown_letters_are_tolerated() {
        let caps = Capabilities::parse("fPOR7é");
        assert_eq!(caps.to_string(), "PfR");
        assert_eq!(caps.bandwidth, Some(Bandwidth::P));
    }

    #[test]
    fn bandwidth_boundaries() {
        for (rate, letter) in [(0, 'K'), (12, 'L'), (48, 'M'), (64, 'N'), (128, 'O'), (256, 'P'), (2001, 'X')]
        {
            assert_eq!(Bandwidth::from_shared_kbytes(rate).letter(), letter);
        }
    }
}
