//! The settings files of the other routers: Java's properties and i2pd's INI.

use std::collections::BTreeMap;

/// Settings or sections that are read at most.
const MAX: usize = 10_000;

/// The settings of a Java properties file as Java I2P writes them.
pub(super) fn parse(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter(|line| !line.starts_with(['#', ';']));
    let pairs = lines.filter_map(|line| {
        let line = line.split('#').next().unwrap_or_default();
        let (key, value) = line.split_once('=')?;
        let key = key.trim();
        (!key.is_empty()).then(|| (key.to_owned(), value.trim().to_owned()))
    });
    pairs.take(MAX).collect()
}

/// The sections of an INI file, in order, with their settings.
pub(super) fn sections(text: &str) -> Vec<(String, BTreeMap<String, String>)> {
    let mut found: Vec<(String, BTreeMap<String, String>)> = Vec::new();
    for line in text.lines().map(str::trim).take(MAX) {
        if line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            found.push((name.trim().to_owned(), BTreeMap::new()));
        } else if let Some((key, value)) = line.split_once('=')
            && let Some((_, section)) = found.last_mut()
        {
            section.insert(key.trim().to_owned(), value.trim().to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read_and_nonsense_is_passed_over() {
        let java = parse("# a = b\n; c=d\n\ntunnel.0.name=I2P HTTP Proxy\nkey = v=w # why\n=x\nnothing\n");
        assert_eq!(java.len(), 2);
        assert_eq!((&*java["tunnel.0.name"], &*java["key"]), ("I2P HTTP Proxy", "v=w"));
        let ini = sections("lost=1\n[A b]\ntype = client\n#port = 1\n;x=y\nport=2\n[C]\n[broken\nkey=\n");
        let names: Vec<_> = ini.iter().map(|(name, of)| (name.as_str(), of.len())).collect();
        assert_eq!(names, [("A b", 2), ("C", 1)]);
        assert_eq!(ini[0].1["port"], "2");
    }
}
