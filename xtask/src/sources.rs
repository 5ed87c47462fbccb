//! The workspace's Rust files, and as much of their syntax as the size rules need.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// All `.rs` files below `directory`, in order; build output is left out.
pub(crate) fn rust_files(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    collect(directory, &mut files)?;
    files.sort();
    Ok(files)
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(directory).with_context(|| format!("reading {}", directory.display()))?;
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        if path.is_dir() {
            if !name.starts_with('.') && name != "target" && name != "node_modules" {
                collect(&path, files)?;
            }
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// A function and its length.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    /// The line of its `fn`, from 1.
    pub(crate) line: usize,
    /// Its name.
    pub(crate) name: String,
    /// Its lines, from `fn` to the closing brace.
    pub(crate) lines: usize,
}

/// The functions of a file that rustfmt has formatted: a body ends at the first
/// closing brace that stands as deep as the line that begins it.
pub(crate) fn functions(text: &str) -> Vec<Function> {
    let lines = text.lines().collect::<Vec<_>>();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let indent = line.len() - line.trim_start().len();
        let rest = lines.iter().skip(at).take_while(|l| !ends_item(l, indent)).count();
        let closed_at_once = line.trim_end().ends_with(['}', ';']);
        let length = if closed_at_once { 1 } else { rest + 1 };
        found.push(Function { line: at + 1, name: name.to_owned(), lines: length });
    }
    found
}

/// Whether a line closes what began at `indent`: a brace, or the end of a declaration without body.
fn ends_item(line: &str, indent: usize) -> bool {
    let trimmed = line.trim_start();
    line.len() - trimmed.len() == indent
        && (trimmed.starts_with('}') || trimmed.ends_with(';') && trimmed.starts_with(')'))
}

/// The name of the function that begins on this line.
fn function_name(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace().peekable();
    while let Some(word) = words.next() {
        match word {
            "fn" => {
                let name = words.next()?;
                return name.split(['(', '<']).next();
            }
            "async" | "const" | "pub" | "unsafe" | "extern" => {}
            w if w.starts_with("pub(") => {}
            _ => return None,
        }
    }
    None
}

/// The line on which a file's inline tests begin, and how many lines they have.
pub(crate) fn inline_tests(text: &str) -> Option<(usize, usize)> {
    let lines = text.lines().collect::<Vec<_>>();
    let at = lines.windows(2).position(|pair| match pair {
        [cfg, module] => *cfg == "#[cfg(test)]" && module.starts_with("mod ") && module.ends_with('{'),
        _ => false,
    })?;
    Some((at + 1, lines.len() - at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_functions_and_their_ends() {
        let text = "fn a() {\n    x();\n}\n\nimpl B {\n    pub(crate) const fn b(\n        c: u8,\n    ) -> u8 {\n        {\n        }\n    }\n    fn c(&self);\n}\n// fn no()\n";
        let found = functions(text).into_iter().map(|f| (f.line, f.name, f.lines)).collect::<Vec<_>>();
        assert_eq!(found, [(1, "a".to_owned(), 3), (6, "b".to_owned(), 6), (12, "c".to_owned(), 1)]);
    }

    #[test]
    fn finds_inline_tests() {
        assert_eq!(inline_tests("a\n#[cfg(test)]\nmod tests {\n}\n"), Some((2, 3)));
        assert_eq!(inline_tests("a\n#[cfg(test)]\nmod tests;\n"), None);
    }
}
