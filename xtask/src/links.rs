//! Links between the documents: every relative one leads to a file, and its `#part` to a heading of it; every page of
//! the book is in its contents.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result};

/// Documents beside those in `docs/`.
const OTHERS: &[&str] =
    &["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "packaging/README.md", "fuzz/README.md"];
/// The book's contents.
const SUMMARY: &str = "docs/SUMMARY.md";

/// Checks the links of all documents.
pub(crate) fn links(root: &Path, findings: &mut Vec<String>) -> Result<()> {
    let mut documents = BTreeMap::new();
    let pages =
        fs::read_dir(root.join("docs"))?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let pages = pages.into_iter().filter(|path| path.extension().is_some_and(|e| e == "md"));
    let others = OTHERS.iter().map(|name| root.join(name)).filter(|path| path.exists());
    for path in pages.chain(others) {
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        documents.insert(path.strip_prefix(root).unwrap_or(&path).to_owned(), text);
    }
    for (name, text) in &documents {
        for (line, link) in links_of(text) {
            let problem = problem(root, &documents, name, link);
            findings.extend(problem.map(|why| format!("{}:{line}: {link}: {why}", name.display())));
        }
    }
    unlisted(&documents, findings);
    Ok(())
}

/// Pages that the contents of the book do not name.
fn unlisted(documents: &BTreeMap<PathBuf, String>, findings: &mut Vec<String>) {
    let summary = documents.get(Path::new(SUMMARY)).map_or("", String::as_str);
    let listed: BTreeSet<_> =
        links_of(summary).into_iter().map(|(_, link)| Path::new("docs").join(link)).collect();
    let missing = documents.keys().filter(|page| page.starts_with("docs") && *page != Path::new(SUMMARY));
    let missing = missing.filter(|page| !listed.contains(*page));
    findings.extend(missing.map(|page| format!("{SUMMARY}: lacks {}", page.display())));
}

/// What is wrong with a link from a document.
fn problem(root: &Path, documents: &BTreeMap<PathBuf, String>, from: &Path, link: &str) -> Option<String> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (path, part) = link.split_once('#').map_or((link, None), |(path, part)| (path, Some(part)));
    let target = if path.is_empty() { from.to_owned() } else { normal(&from.parent()?.join(path)) };
    let Some(text) = documents.get(&target) else {
        return (!root.join(&target).exists()).then(|| "there is no such file".to_owned());
    };
    let part = part?;
    let found = text.lines().filter_map(|line| line.strip_prefix('#')).any(|heading| anchor(heading) == part);
    (!found).then(|| format!("{} has no such heading", target.display()))
}

/// The path without `..`.
fn normal(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut so_far, component| {
        if component == Component::ParentDir {
            so_far.pop();
        } else {
            so_far.push(component);
        }
        so_far
    })
}

/// The name by which a heading is linked to.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// The targets of links in a document, with their lines; those in code are none.
fn links_of(text: &str) -> Vec<(usize, &str)> {
    let (mut found, mut code) = (Vec::new(), false);
    for (at, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            code = !code;
        } else if !code {
            let targets = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
            found.extend(targets.map(|target| (at + 1, target)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_followed_and_code_is_left_out() {
        let text = "a [b](c.md#two-words) and [d](https://e/)\n```\n[f](g.md)\n```\n[h](#own)\n";
        assert_eq!(links_of(text), [(1, "c.md#two-words"), (1, "https://e/"), (5, "#own")]);
        let documents = BTreeMap::from([
            (PathBuf::from("docs/a.md"), "# Own\n".to_owned()),
            (PathBuf::from("docs/c.md"), "## Two words\n".to_owned()),
        ]);
        let at = |link| problem(Path::new("/nowhere"), &documents, Path::new("docs/a.md"), link);
        for good in ["c.md", "c.md#two-words", "#own", "https://e/", "../docs/c.md"] {
            assert_eq!(at(good), None, "{good}");
        }
        for bad in ["d.md", "c.md#three", "#other", "../c.md"] {
            assert!(at(bad).is_some(), "{bad}");
        }
        let mut findings = Vec::new();
        unlisted(&documents, &mut findings);
        assert_eq!(findings.len(), 2);
    }

    #[test]
    fn headings_become_names_as_everywhere() {
        assert_eq!(anchor("# Where the other's `code` is (2)"), "where-the-others-code-is-2");
    }
}
