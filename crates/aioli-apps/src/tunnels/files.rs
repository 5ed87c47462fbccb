//! Descriptions in TOML: `[[tunnels]]` in `tunnels.toml` or in the router's own
//! configuration. One that is wrong is named in a line and left out; the others
//! stand. What programs change keeps the comments of the rest.

use std::io;
use std::path::{Path, PathBuf};

use aioli_node::{read_bounded, write_atomic};
use serde::Serialize;
use toml_edit::{ArrayOfTables, DocumentMut, Item, Table};

use super::config::TunnelConfig;

/// No file of descriptions is larger.
const MAX_FILE: u64 = 4 << 20;
/// The key of the list, and the one of files that `aioli import` made at first.
const KEYS: [&str; 2] = ["tunnels", "tunnel"];
/// What a file begins with that a program makes.
const HEAD: &str = "# Tunnels of this router: see docs/tunnels.md. Changes take effect within seconds.\n";

/// What a file says.
#[derive(Debug, Default)]
pub struct Described {
    /// Descriptions that can be used.
    pub tunnels: Vec<TunnelConfig>,
    /// What is wrong with others, a line each.
    pub problems: Vec<String>,
}

/// Reads the descriptions of a list. `place` is the file, for people.
pub fn from_toml(value: toml::Value, place: &str) -> Described {
    let mut described = Described::default();
    let toml::Value::Array(list) = value else {
        described.problems.push(format!("{place}: tunnels must be a list: begin each with [[tunnels]]"));
        return described;
    };
    for (at, value) in list.into_iter().enumerate() {
        let name = value.get("name").and_then(toml::Value::as_str);
        let section = name.map_or_else(|| format!("tunnel {}", at + 1), |name| format!("tunnel \"{name}\""));
        match value.try_into::<TunnelConfig>() {
            Ok(config) => match config.check() {
                Ok(()) => {
                    for option in config.unused_options() {
                        described.problems.push(format!(
                            "{place}: {section}: options: {option} means nothing to this router"
                        ));
                    }
                    described.tunnels.push(config);
                }
                Err(error) => described.problems.push(format!("{place}: {section}: {error}; left out")),
            },
            Err(error) => {
                let error = error.to_string().trim().replace('\n', ", ");
                described.problems.push(format!("{place}: {section}: {error}; left out"));
            }
        }
    }
    described
}

/// Reads `tunnels.toml`; no file is no tunnels.
pub(super) fn read(path: &Path) -> Described {
    let place = path.display().to_string();
    let problem = |problem: String| Described { tunnels: Vec::new(), problems: vec![problem] };
    let bytes = match read_bounded(path, MAX_FILE) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Described::default(),
        Err(error) => return problem(format!("cannot read {place}: {error}")),
    };
    let text = String::from_utf8_lossy(&bytes);
    let mut table: toml::Table = match text.parse() {
        Ok(table) => table,
        Err(error) => return problem(format!("{place}, {}", at_line(&text, &error))),
    };
    let mut described = Described::default();
    for key in KEYS {
        if let Some(value) = table.remove(key) {
            let Described { tunnels, problems } = from_toml(value, &place);
            described.tunnels.extend(tunnels);
            described.problems.extend(problems);
        }
    }
    if let Some(key) = table.keys().next() {
        described.problems.push(format!("{place}: {key} is no setting: begin each tunnel with [[tunnels]]"));
    }
    described
}

fn at_line(text: &str, error: &toml::de::Error) -> String {
    let at = error.span().map_or(0, |span| span.start);
    let line = 1 + text.bytes().take(at).filter(|b| *b == b'\n').count();
    format!("line {line}: {}", error.message())
}

/// What becomes of a description in a file.
pub(super) enum Edit<'a> {
    Add(&'a TunnelConfig),
    /// That of this name becomes another.
    Change(&'a str, &'a TunnelConfig),
    Remove(&'a str),
}

/// Changes a file, which keeps all else that is in it.
pub(super) fn edit(path: &Path, edit: &Edit<'_>) -> io::Result<()> {
    let text = match read_bounded(path, MAX_FILE) {
        Ok(bytes) => String::from_utf8(bytes).map_err(|_| wrong("it is no text"))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => HEAD.to_owned(),
        Err(error) => return Err(error),
    };
    let mut document: DocumentMut = text.parse().map_err(|_| wrong("it is no TOML; mend it first"))?;
    let key = KEYS.into_iter().find(|key| document.contains_key(key)).unwrap_or("tunnels");
    let list = document.entry(key).or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()));
    let list = list.as_array_of_tables_mut().ok_or_else(|| wrong("begin each tunnel with [[tunnels]]"))?;
    let find = |list: &ArrayOfTables, name: &str| {
        list.iter().position(|table| table.get("name").and_then(Item::as_str) == Some(name))
    };
    match edit {
        Edit::Add(config) => list.push(table(config)?),
        Edit::Change(name, config) => {
            let at = find(list, name).ok_or_else(|| wrong("the tunnel is not in it any more"))?;
            let mut table = table(config)?;
            if let Some(old) = list.get_mut(at) {
                // A comment above it stays.
                *table.decor_mut() = old.decor().clone();
                table.set_position(old.position());
                *old = table;
            }
        }
        Edit::Remove(name) => {
            let at = find(list, name).ok_or_else(|| wrong("the tunnel is not in it any more"))?;
            list.remove(at);
        }
    }
    write_atomic(path, document.to_string().as_bytes(), 0o600)
}

fn wrong(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.to_owned())
}

/// A description as it stands in a file.
fn table(config: &TunnelConfig) -> io::Result<Table> {
    let text = to_toml(std::slice::from_ref(config)).map_err(io::Error::other)?;
    let mut document: DocumentMut = text.parse().map_err(io::Error::other)?;
    let Some(Item::ArrayOfTables(mut list)) = document.remove("tunnels") else {
        return Err(wrong("a description did not become a table"));
    };
    let mut table = list.get_mut(0).map(std::mem::take).unwrap_or_default();
    table.decor_mut().set_prefix("\n");
    table.set_position(None);
    Ok(table)
}

/// Descriptions as they stand in a file.
pub fn to_toml(tunnels: &[TunnelConfig]) -> Result<String, toml::ser::Error> {
    #[derive(Serialize)]
    struct File<'a> {
        tunnels: &'a [TunnelConfig],
    }
    toml::to_string(&File { tunnels })
}

/// Where a data directory has its descriptions.
pub(super) fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("tunnels.toml")
}
