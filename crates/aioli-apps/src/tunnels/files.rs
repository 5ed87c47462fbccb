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
    /// What means nothing to this router, a line each.
    pub warnings: Vec<String>,
    /// The whole file could not be read: it says nothing about any tunnel.
    pub unreadable: bool,
}

impl Described {
    /// Adds what another place says.
    pub fn add(&mut self, other: Self) {
        self.tunnels.extend(other.tunnels);
        self.problems.extend(other.problems);
        self.warnings.extend(other.warnings);
    }
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
                    let unused = config.unused_options().join(", ");
                    if !unused.is_empty() {
                        described
                            .warnings
                            .push(format!("{place}: {section}: {unused}: means nothing to this router"));
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
    let problem =
        |problem: String| Described { problems: vec![problem], unreadable: true, ..Described::default() };
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
            described.add(from_toml(value, &place));
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

/// `tunnels.toml` of a data directory, for programs that do not run its tunnels.
#[derive(Clone, Debug)]
pub struct TunnelsFile(PathBuf);

impl TunnelsFile {
    /// That of this directory, whether or not it is there.
    pub fn of(data_dir: &Path) -> Self {
        Self(data_dir.join("tunnels.toml"))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// What it says.
    pub fn read(&self) -> Described {
        read(&self.0)
    }

    /// Describes one more.
    pub fn add(&self, config: &TunnelConfig) -> io::Result<()> {
        edit(&self.0, &Edit::Add(config))
    }

    /// Removes a description.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        edit(&self.0, &Edit::Remove(name))
    }
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
    // Comments at the end, or of a file that has nothing else, stay above what comes.
    let adds = matches!(edit, Edit::Add(_));
    let trailing =
        if adds { document.trailing().as_str().unwrap_or_default().to_owned() } else { String::new() };
    if adds {
        document.set_trailing("");
    }
    let key = KEYS.into_iter().find(|key| document.contains_key(key)).unwrap_or("tunnels");
    let list = document.entry(key).or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()));
    let list = list.as_array_of_tables_mut().ok_or_else(|| wrong("begin each tunnel with [[tunnels]]"))?;
    let find = |list: &ArrayOfTables, name: &str| {
        list.iter().position(|table| table.get("name").and_then(Item::as_str) == Some(name))
    };
    match edit {
        Edit::Add(config) => {
            let mut table = table(config)?;
            table.decor_mut().set_prefix(format!("{trailing}\n"));
            list.push(table);
        }
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

#[cfg(test)]
mod tests {
    use super::super::config::Kind;
    use super::*;

    fn client(name: &str, port: u16) -> TunnelConfig {
        let mut config = TunnelConfig::new(name, Kind::Client);
        config.listen = Some(([127, 0, 0, 1], port).into());
        config.destination = vec!["irc.i2p:6667".to_owned()];
        config
    }

    #[test]
    fn what_programs_change_leaves_the_rest_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let file = TunnelsFile::of(dir.path());
        file.add(&client("a", 1)).unwrap();
        file.add(&client("b", 2)).unwrap();
        let text = std::fs::read_to_string(file.path()).unwrap();
        let text = text.replace("[[tunnels]]\nname = \"b\"", "# mine\n[[tunnels]]\nname = \"b\" # of mine");
        std::fs::write(file.path(), text).unwrap();
        edit(file.path(), &Edit::Change("a", &client("c", 3))).unwrap();
        assert_eq!(file.read().tunnels, [client("c", 3), client("b", 2)]);
        let text = std::fs::read_to_string(file.path()).unwrap();
        assert!(text.contains("# mine\n") && text.contains("# of mine") && text.starts_with(HEAD), "{text}");
        file.remove("c").unwrap();
        assert_eq!(file.read().tunnels, [client("b", 2)]);
        assert!(file.remove("c").is_err());
        std::fs::write(file.path(), "not toml").unwrap();
        assert!(file.add(&client("d", 4)).is_err(), "a damaged file is left to its owner");
    }

    #[test]
    fn every_setting_is_written_as_it_is_read() {
        let mut config = TunnelConfig::new("all", Kind::HttpBidir);
        config.listen = Some(([127, 0, 0, 1], 1).into());
        config.enabled = false;
        config.keys = Some("site.dat".to_owned());
        config.target = vec!["127.0.0.1:80".to_owned(), "[::1]:80".to_owned()];
        config.target_for_port.insert("443".to_owned(), "127.0.0.1:443".to_owned());
        config.host_name = Some("site.i2p".to_owned());
        (config.i2p_headers, config.refuse_inproxies, config.unique_local) = (false, false, true);
        config.outproxy = vec!["false.i2p".to_owned()];
        config.deny = vec!["bad.i2p".to_owned()];
        config.limits.peer_minute = 7;
        (config.reduce_idle, config.reduce_to, config.idle_timeout) = (Some(20), 2, Some(5));
        config.options.insert("inbound.length".to_owned(), "2".to_owned());
        let text = to_toml(std::slice::from_ref(&config)).unwrap();
        let mut table: toml::Table = text.parse().unwrap();
        let described = from_toml(table.remove("tunnels").unwrap(), "x");
        assert_eq!((described.tunnels, described.problems), (vec![config], Vec::new()));
    }

    #[test]
    fn what_is_wrong_is_named_and_the_rest_stands() {
        let dir = tempfile::tempdir().unwrap();
        let file = TunnelsFile::of(dir.path());
        let good = "[[tunnels]]\nname = \"good\"\ntype = \"socks\"\nlisten = \"127.0.0.1:1\"\n";
        let bad = |settings: &str| format!("[[tunnels]]\nname = \"a\"\n{settings}\n{good}");
        let place = file.path().display().to_string();
        for (text, problem) in [
            (bad("type = \"x\""), "tunnel \"a\": unknown variant `x`"),
            (bad("type = \"socks\"\nlisten = \"here\""), "tunnel \"a\": invalid socket address syntax"),
            (bad("type = \"socks\"\nlisten = 1\n"), "in `listen`"),
            (bad("type = \"socks\"\n"), "tunnel \"a\": listen: give an address and a port"),
            (
                bad("type = \"server\"\nlisten = \"127.0.0.1:1\"\n"),
                "tunnel \"a\": listen: a tunnel of type server has no such setting",
            ),
            (bad("type = \"server\"\nport = 70000\n"), "in `port`"),
            (bad("type = \"server\"\ntarget = \"web:80\"\n"), "target: \"web:80\" is no IP:PORT"),
            (
                bad("type = \"server\"\nkeys = \"../x\"\ntarget = \"127.0.0.1:1\"\n"),
                "keys: give the name of a file",
            ),
            (
                bad("type = \"client\"\nlisten = \"127.0.0.1:1\"\ndestination = \"example.com\"\n"),
                "destination: \"example.com\" is neither",
            ),
            (bad("type = \"socks\"\nlsten = \"127.0.0.1:1\""), "unknown field `lsten`"),
            (
                bad("type = \"server\"\ntarget = \"127.0.0.1:1\"\n[tunnels.limits]\nmany = 1\n"),
                "unknown field `many`",
            ),
            (format!("x = 1\n{good}"), "x is no setting"),
        ] {
            std::fs::write(file.path(), &text).unwrap();
            let Described { tunnels, problems, .. } = file.read();
            let [named] = &problems[..] else { panic!("{text}: {problems:?}") };
            assert!(named.contains(problem) && named.starts_with(&place) && !named.contains('\n'), "{named}");
            assert!(tunnels.iter().any(|tunnel| tunnel.name == "good"), "{text}");
        }
        std::fs::write(file.path(), "a = \n").unwrap();
        assert!(file.read().problems[0].contains("line 1"), "{:?}", file.read().problems);
    }
}
