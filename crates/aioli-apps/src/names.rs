//! Host names of I2P (`naming#naming-rules`).

use std::fmt;

use thiserror::Error;

/// Letters of a name at most, with `.i2p`.
pub const MAX_NAME: usize = 67;

/// Names below these are the project's or a program's own.
const RESERVED: &[&str] = &["b32", "b33", "b64", "proxy", "router", "console", "mail"];

/// Why a text is no name of an address book.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    /// It is of another world.
    #[error("names of I2P end with .i2p")]
    Suffix,
    /// It is too long.
    #[error("it has more than {MAX_NAME} letters")]
    TooLong,
    /// A letter that none has.
    #[error("it has a letter that is none of a-z, 0-9, \".\" and \"-\"")]
    Letter,
    /// Dots and hyphens stand where they may not.
    #[error("\".\" and \"-\" may not stand at its beginning, nor beside each other")]
    Separator,
    /// It is not to be had.
    #[error("the name is reserved")]
    Reserved,
}

/// A name that an address book may hold: lower case, ends with `.i2p`, no hash.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostName(Box<str>);

impl HostName {
    /// Checks a name, which may be in upper case.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let name = text.to_ascii_lowercase();
        let labels = name.strip_suffix(".i2p").ok_or(NameError::Suffix)?;
        if name.len() > MAX_NAME {
            return Err(NameError::TooLong);
        }
        if !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'-') {
            return Err(NameError::Letter);
        }
        for label in labels.split('.') {
            let doubled = label.contains("--") && !label.starts_with("xn--");
            if label.is_empty() || label.starts_with('-') || label.ends_with('-') || doubled {
                return Err(NameError::Separator);
            }
        }
        if RESERVED.contains(&labels.rsplit('.').next().unwrap_or_default()) {
            return Err(NameError::Reserved);
        }
        Ok(Self(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The host of a request as names are looked up: lower case, without the `.alt` of `.i2p.alt` and without
/// the dot of the root. None if it is not of I2P.
pub fn i2p_host(host: &str) -> Option<String> {
    let host = host.to_ascii_lowercase();
    let host = host.strip_suffix('.').unwrap_or(&host);
    let host = host.strip_suffix(".alt").unwrap_or(host);
    host.strip_suffix(".i2p").filter(|labels| !labels.is_empty())?;
    Some(host.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rules() {
        for name in ["a.i2p", "Forum.I2P", "a-b.c.i2p", "xn--bcher-kva.i2p", "1.i2p", "www.proxy-list.i2p"] {
            assert_eq!(HostName::parse(name).unwrap().as_str(), name.to_ascii_lowercase());
        }
        let long = format!("{}.i2p", "a".repeat(64));
        for (name, error) in [
            ("example.com", NameError::Suffix),
            ("i2p", NameError::Suffix),
            (".i2p", NameError::Separator),
            (&*long, NameError::TooLong),
            ("a_b.i2p", NameError::Letter),
            ("ä.i2p", NameError::Letter),
            ("a..b.i2p", NameError::Separator),
            ("-a.i2p", NameError::Separator),
            ("a-.b.i2p", NameError::Separator),
            ("a.-b.i2p", NameError::Separator),
            ("a--b.i2p", NameError::Separator),
            ("proxy.i2p", NameError::Reserved),
            ("x.console.i2p", NameError::Reserved),
            ("lhbd7ojcaiofbfku7ixh47qj537g572zmhdc4oilvugzxdpdghua.b32.i2p", NameError::Reserved),
        ] {
            assert_eq!(HostName::parse(name), Err(error), "{name}");
        }
        assert!(HostName::parse(long.trim_start_matches('a')).is_err());
        assert!(HostName::parse(long.get(1..).unwrap()).is_ok());
    }

    #[test]
    fn hosts_of_i2p_and_others() {
        for (host, name) in [
            ("A.i2p", Some("a.i2p")),
            ("a.i2p.", Some("a.i2p")),
            ("a.i2p.alt", Some("a.i2p")),
            ("i2p", None),
            (".i2p", None),
            ("a.i2p.example.com", None),
            ("127.0.0.1", None),
            ("localhost", None),
            ("a.i2pp", None),
        ] {
            assert_eq!(i2p_host(host).as_deref(), name, "{host}");
        }
    }
}
