//! Lines of a `hosts.txt` and the signed commands in them (`subscription`).
//!
//! ```text
//! name=destination                      first come, first kept
//! name=destination#!key=value#...#sig=  a command about the name, signed by the destination
//! #!action=remove#name=#dest=#sig=      one that needs no name to the left
//! ```

use std::collections::BTreeMap;

use aioli_core::Date;
use aioli_wire::{Destination, base64};
use thiserror::Error;

use crate::names::{HostName, NameError};

/// Letters of a line at most: two destinations and two signatures of the largest kinds.
pub const MAX_LINE: usize = 8 * 1024;
/// Letters of a destination, at least and at most.
const DESTINATION: (usize, usize) = (516, 616);

/// Why a line is not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LineError {
    /// It has no known form.
    #[error("the line is neither name=destination nor a command")]
    Form,
    /// It is too long.
    #[error("the line has more than {MAX_LINE} letters")]
    TooLong,
    /// The name cannot be one.
    #[error("not a name that can be kept: {0}")]
    Name(#[from] NameError),
    /// The destination is damaged.
    #[error("what follows the name is no destination")]
    Destination,
    /// A key occurs twice.
    #[error("a key of the command occurs twice")]
    DuplicateKey,
    /// A key that the command needs is not there.
    #[error("the command lacks a key that it needs")]
    MissingKey,
    /// An action of the future.
    #[error("the action is not known")]
    UnknownAction,
    /// A signature is wrong.
    #[error("a signature does not verify")]
    Signature,
    /// The command is no longer valid.
    #[error("the command has expired")]
    Expired,
}

/// What a line asks for. All signatures are verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A name, unless there is one.
    Add,
    /// A further name of a destination that has `old_name` already.
    AddName {
        /// The name that it has.
        old_name: HostName,
    },
    /// The destination's name `old_name` becomes the new one.
    ChangeName {
        /// The name until now.
        old_name: HostName,
    },
    /// The name moves to another destination, as `old` agrees.
    ChangeDestination {
        /// The destination until now.
        old: Destination,
    },
    /// The name has a further destination, as `old` agrees.
    AddDestination {
        /// The destination until now.
        old: Destination,
    },
    /// A name below `old_name`, as its destination agrees.
    AddSubdomain {
        /// The name above.
        old_name: HostName,
        /// Its destination.
        old: Destination,
    },
    /// What is said about the name changes.
    Update,
    /// The name is given up.
    Remove,
    /// All names of the destination are given up.
    RemoveAll,
}

/// A line that can be followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What it asks for.
    pub action: Action,
    /// The name that it is about.
    pub name: HostName,
    /// The destination that signed it, or is to be added.
    pub destination: Destination,
    /// All that stands after `#!`, to be handed on with the name.
    pub options: Option<Box<str>>,
}

type Options<'a> = BTreeMap<&'a str, &'a str>;

/// Reads a line. None: it says nothing.
pub fn parse(line: &str, now: Date) -> Result<Option<Record>, LineError> {
    let line = line.trim();
    if line.len() > MAX_LINE {
        return Err(LineError::TooLong);
    }
    let (plain, command) = match line.split_once("#!") {
        Some((plain, command)) => (plain.trim(), Some(command)),
        None => (line.split('#').next().unwrap_or_default().trim(), None),
    };
    // A comment, in which "#!" may occur anywhere.
    if plain.starts_with(['#', ';']) || (plain.is_empty() && command.is_none()) {
        return Ok(None);
    }
    let options = command.map(options).transpose()?.unwrap_or_default();
    let pair = if plain.is_empty() { None } else { Some(plain.split_once('=').ok_or(LineError::Form)?) };
    let (name, base64) = match pair {
        Some((name, base64)) => (name.trim(), base64.trim()),
        None => (key(&options, "name")?, key(&options, "dest")?),
    };
    let (name, destination) = (HostName::parse(name)?, destination(base64)?);
    if let Some(expires) = options.get("expires") {
        let expires = expires.parse().map_err(|_| LineError::Form)?;
        if Date::from_secs(expires) <= now {
            return Err(LineError::Expired);
        }
    }
    let action = match (options.get("action"), pair) {
        (None, Some(_)) => {
            // Plain lines need no signature; one that is there must be right.
            if options.contains_key("sig") {
                verify(pair, &options, "sig", &destination)?;
            }
            Action::Add
        }
        (None, None) => return Err(LineError::MissingKey),
        (Some(action), _) => {
            let action = read_action(action, &name, &options, pair)?;
            verify(pair, &options, "sig", &destination)?;
            action
        }
    };
    let options = command.map(|c| c.trim().into());
    Ok(Some(Record { action, name, destination, options }))
}

fn read_action(
    action: &str,
    name: &HostName,
    options: &Options<'_>,
    pair: Option<(&str, &str)>,
) -> Result<Action, LineError> {
    let old_name = || Ok::<_, LineError>(HostName::parse(key(options, "oldname")?)?);
    // The destination until now agrees with the inner signature.
    let old = || {
        let old = destination(key(options, "olddest")?)?;
        verify(pair, options, "oldsig", &old)?;
        Ok::<_, LineError>(old)
    };
    let read = match action {
        "addname" => Action::AddName { old_name: old_name()? },
        "changename" => Action::ChangeName { old_name: old_name()? },
        "changedest" => Action::ChangeDestination { old: old()? },
        "adddest" => Action::AddDestination { old: old()? },
        "addsubdomain" => {
            let old_name = old_name()?;
            let below = name.as_str().strip_suffix(old_name.as_str()).is_some_and(|l| l.ends_with('.'));
            if !below {
                return Err(LineError::Form);
            }
            Action::AddSubdomain { old_name, old: old()? }
        }
        "update" => Action::Update,
        "remove" => Action::Remove,
        "removeall" => Action::RemoveAll,
        _ => return Err(LineError::UnknownAction),
    };
    let stands_alone = matches!(read, Action::Remove | Action::RemoveAll);
    if stands_alone == pair.is_some() {
        return Err(LineError::Form);
    }
    Ok(read)
}

fn options(command: &str) -> Result<Options<'_>, LineError> {
    let mut options = BTreeMap::new();
    for part in command.trim().split('#').filter(|part| !part.is_empty()) {
        let (key, value) = part.split_once('=').ok_or(LineError::Form)?;
        if options.insert(key, value).is_some() {
            return Err(LineError::DuplicateKey);
        }
    }
    Ok(options)
}

fn key<'a>(options: &Options<'a>, key: &str) -> Result<&'a str, LineError> {
    options.get(key).copied().ok_or(LineError::MissingKey)
}

/// A destination within the rules of an address book.
pub fn destination(base64: &str) -> Result<Destination, LineError> {
    if base64.len() < DESTINATION.0 || base64.len() > DESTINATION.1 {
        return Err(LineError::Destination);
    }
    Destination::from_base64(base64).ok_or(LineError::Destination)
}

/// Checks `sig`, or the inner `oldsig`.
fn verify(
    pair: Option<(&str, &str)>,
    options: &Options<'_>,
    which: &str,
    signer: &Destination,
) -> Result<(), LineError> {
    let signature = base64::decode(key(options, which)?).ok_or(LineError::Signature)?;
    let text = signed_text(pair, options, which == "oldsig");
    signer.verify(text.as_bytes(), &signature).map_err(|_| LineError::Signature)
}

/// What is signed: the line without `sig`, and for the inner signature without `oldsig`, its keys in order.
fn signed_text(pair: Option<(&str, &str)>, options: &Options<'_>, inner: bool) -> String {
    let mut text =
        pair.map(|(name, base64)| format!("{}={}", name.trim(), base64.trim())).unwrap_or_default();
    let left_out = |key: &str| key == "sig" || (inner && key == "oldsig");
    let mut separator = "#!";
    for (key, value) in options.iter().filter(|(key, _)| !left_out(key)) {
        text.push_str(&format!("{separator}{key}={value}"));
        separator = "#";
    }
    text
}

#[cfg(test)]
pub(super) mod tests;
