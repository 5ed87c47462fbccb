//! All that is wrong with a configuration file, line by line, for `aioli doctor`. A router stops at the first.

use aioli_apps::tunnels::from_toml;
use toml::de::DeTable;

use super::{SETTINGS, SettingsError, Source, Values};

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileProblem {
    /// On which line, from 1.
    pub line: usize,
    /// What, and what to do.
    pub what: String,
}

/// What is wrong with each line of a file. What settings mean together is not looked at.
pub fn problems(text: &str, env: &impl Fn(&str) -> Option<String>) -> Vec<FileProblem> {
    let line_of = |at| super::line_at(text, at);
    let (spans, errors) = DeTable::parse_recoverable(text);
    let syntax = errors.iter().map(|error| FileProblem {
        line: line_of(error.span().map_or(0, |span| span.start)),
        what: error.message().to_owned(),
    });
    let mut found: Vec<_> = syntax.collect();
    let Ok(values) = text.parse::<toml::Table>() else { return found };
    for (key, value) in values {
        let span = spans.get_ref().iter().find(|(name, _)| name.get_ref().as_ref() == key);
        let line = span.map_or(1, |(name, _)| line_of(name.span().start));
        if key == "tunnels" {
            let described = from_toml(value, "[[tunnels]]");
            let whats = described.problems.into_iter().chain(described.warnings);
            found.extend(whats.map(|what| FileProblem { line, what }));
        } else {
            found.extend(problem(&key, value, env).map(|what| FileProblem { line, what }));
        }
    }
    found.sort_by_key(|problem| problem.line);
    found
}

/// What is wrong with one setting by itself.
fn problem(key: &str, value: toml::Value, env: &impl Fn(&str) -> Option<String>) -> Option<String> {
    let name = key.replace('_', "-");
    let Some(setting) = SETTINGS.iter().find(|s| s.key == name) else {
        return Some(format!("there is no setting \"{key}\"; i2p-router --help lists them"));
    };
    let value = match super::file_value(value) {
        Ok(value) => value,
        Err(kind) => return Some(format!("{name} cannot be a {kind}")),
    };
    let of = |s: &super::Setting| match s.key == setting.key {
        true => (s.key, value.clone(), Source::File),
        false => (s.key, s.default.to_owned(), Source::Default),
    };
    match Values(SETTINGS.iter().map(of).collect()).check(false, env) {
        Err(SettingsError::Value { key, value, reason, .. }) if key == setting.key => {
            Some(format!("{key} = \"{value}\" is not possible: {reason}"))
        }
        // Another setting is to blame, or none.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_line_is_named() {
        let text =
            "# a comment\nport = 9700\nprot = 1\n\nbandwidth = 3\nhost = [\"a\"]\ndata_dir = \"~/x\"\n";
        let found = problems(text, &|_| None);
        let lines: Vec<_> = found.iter().map(|p| (p.line, p.what.as_str())).collect();
        let [(3, unknown), (5, small), (6, list)] = lines[..] else { panic!("{lines:?}") };
        assert!(unknown.contains("no setting \"prot\""), "{unknown}");
        assert!(small.contains("bandwidth = \"3\" is not possible: give at least 16"), "{small}");
        assert_eq!(list, "host cannot be a array");
        assert_eq!(problems("port = 9700\n", &|_| None), []);
        let socks = "[[tunnels]]\nname = \"a\"\ntype = \"socks\"\nlisten = \"127.0.0.1:1\"\n";
        assert_eq!(problems(socks, &|_| None), []);
        let tunnels = problems(&format!("port = 9700\n{}", socks.replace("listen", "lsten")), &|_| None);
        assert!(tunnels.len() == 1 && tunnels[0].what.contains("lsten"), "{tunnels:?}");
        let broken = problems("port = 9700\nhost =\n", &|_| None);
        assert_eq!(broken.first().map(|p| p.line), Some(2), "{broken:?}");
    }
}
