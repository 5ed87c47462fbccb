//! Which version of the data directory this is, and how an older one becomes it.
//!
//! `aioli.version` holds two numbers: the layout that the directory has, and
//! the oldest layout whose programs can still use it. A program goes by the
//! second: something new beside the old files does not lock older programs
//! out, a changed meaning does.
//!
//! ```text
//! layout 0   up to November 2026: no aioli.version
//! layout 1   with peers.json, aioli.lock and aioli.version; programs of layout 0 can use it
//! ```

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{DiskError, MAX_STATE_FILE, read_bounded, write_atomic};

/// The layout that this program writes.
pub(super) const LAYOUT: u32 = 1;
/// Programs of this layout and later can use what this one writes.
const READABLE_FROM: u32 = 0;
/// Where the numbers are kept.
pub(super) const FILE: &str = "aioli.version";

/// `aioli.version`. What newer programs add is not looked at.
#[derive(Serialize, Deserialize)]
struct VersionFile {
    layout: u32,
    readable_from: u32,
    program: String,
}

/// Brings a directory up to this program's layout, or refuses it.
///
/// Each step may be repeated: the version is written last, and a kill in
/// between leaves the older one.
pub(super) fn settle(root: &Path) -> Result<(), DiskError> {
    let found = find(root)?;
    let io = |error| DiskError::Io { what: "the data directory", path: root.to_owned(), error };
    if found >= LAYOUT {
        return Ok(());
    }
    if found < 1 {
        clear_leftovers(root).map_err(io)?;
    }
    let file = VersionFile {
        layout: LAYOUT,
        readable_from: READABLE_FROM,
        program: format!("aioli {}", env!("CARGO_PKG_VERSION")),
    };
    let text = serde_json::to_vec_pretty(&file).unwrap_or_default();
    write_atomic(&root.join(FILE), &text, 0o644).map_err(io)
}

/// The layout of a directory that this program may use.
pub(super) fn find(root: &Path) -> Result<u32, DiskError> {
    let path = root.join(FILE);
    let bytes = match read_bounded(&path, MAX_STATE_FILE) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(DiskError::Io { what: "the version file", path, error }),
    };
    let file: VersionFile = serde_json::from_slice(&bytes)
        .map_err(|e| DiskError::VersionFile { path: path.clone(), reason: e.to_string() })?;
    if file.readable_from > LAYOUT {
        let program = file.program.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(40).collect();
        return Err(DiskError::Newer { path: root.to_owned(), program, layout: file.layout, ours: LAYOUT });
    }
    Ok(file.layout)
}

/// Removes the temporary files that kills have left behind.
fn clear_leftovers(root: &Path) -> io::Result<()> {
    for name in ["router.keys.tmp", "router.tmp", "router.state.tmp", ".writable", ".tmp"] {
        match fs::remove_file(root.join(name)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    Ok(())
}
