//! The rules that no compiler checks: which crate may use which, what the
//! protocol crates may not touch, a header in every file, sizes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::links;
use crate::sources::{functions, inline_tests, rust_files};

/// What each crate may use of the others: an arrow that is not here is refused.
///
/// core ◄ wire ◄ { transport | netdb | tunnel | destination } ◄ router ◄ client ◄ { node ◄ apps ◄ aioli, sim }
const ARROWS: &[(&str, &[&str])] = &[
    ("aioli-core", &[]),
    ("aioli-wire", &["aioli-core"]),
    ("aioli-transport", &["aioli-core", "aioli-wire"]),
    ("aioli-netdb", &["aioli-core", "aioli-wire"]),
    ("aioli-tunnel", &["aioli-core", "aioli-wire"]),
    ("aioli-destination", &["aioli-core", "aioli-wire"]),
    (
        "aioli-router",
        &["aioli-core", "aioli-wire", "aioli-transport", "aioli-netdb", "aioli-tunnel", "aioli-destination"],
    ),
    ("aioli-client", &["aioli-core", "aioli-wire", "aioli-router"]),
    ("aioli-node", &["aioli-core", "aioli-wire", "aioli-router", "aioli-client"]),
    ("aioli-sim", &["aioli-core", "aioli-wire", "aioli-router", "aioli-client"]),
    ("aioli-apps", &["aioli-core", "aioli-wire", "aioli-router", "aioli-node"]),
    ("aioli", &["aioli-core", "aioli-wire", "aioli-router", "aioli-client", "aioli-node", "aioli-apps"]),
    ("aioli-bench", &["aioli-core", "aioli-wire", "aioli-transport", "aioli-tunnel", "aioli-destination"]),
    ("aioli-fuzz-targets", &["aioli-core", "aioli-wire", "aioli-transport", "aioli-router", "aioli-client"]),
    ("interop", &["aioli-core", "aioli-wire", "aioli-transport", "testkit"]),
    ("testkit", &["aioli-wire"]),
    ("xtask", &[]),
];

/// Crates that are told what happened and return what to do: no I/O, no clock, no thread.
const PROTOCOL: &[&str] = &[
    "aioli-core",
    "aioli-wire",
    "aioli-transport",
    "aioli-netdb",
    "aioli-tunnel",
    "aioli-destination",
    "aioli-router",
    "aioli-client",
];

/// What those crates may neither depend on nor name. `std::net`'s addresses are data and allowed.
const FORBIDDEN_CRATES: &[&str] = &["tokio", "mio", "socket2", "getrandom", "rand", "futures", "async-trait"];
const FORBIDDEN_WORDS: &[&str] = &[
    "tokio::",
    "std::fs",
    "std::thread",
    "std::process",
    "std::net::Tcp",
    "std::net::Udp",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "SystemTime",
    "std::time::Instant",
    "async fn",
    "async move",
];

const MAX_FILE: usize = 1_000;
const MAX_FUNCTION: usize = 70;
const MAX_INLINE_TESTS: usize = 150;

/// What may be longer, and why. A path, or a path and a function after `::`.
const LONGER: &[(&str, &str)] = &[];

/// Checks everything and reports all findings at once.
pub(crate) fn tidy(root: &Path) -> Result<()> {
    let mut findings = Vec::new();
    arrows(&mut findings)?;
    let mut longer = LONGER.iter().map(|(what, _)| (*what, false)).collect::<BTreeMap<_, _>>();
    let files = rust_files(root)?;
    for path in &files {
        let name = path.strip_prefix(root).unwrap_or(path).display().to_string();
        let text = fs::read_to_string(path).with_context(|| name.clone())?;
        if !text.starts_with("//!") {
            findings.push(format!("{name}: does not begin with a `//!` header"));
        }
        sizes(&name, &text, &mut longer, &mut findings);
        purity(&name, &text, &mut findings);
    }
    links::links(root, &mut findings)?;
    for (what, used) in longer {
        if !used {
            findings.push(format!("{what}: listed as longer, but is not"));
        }
    }
    for finding in &findings {
        println!("{finding}");
    }
    ensure!(findings.is_empty(), "{} untidy", findings.len());
    println!("tidy: {} files", files.len());
    Ok(())
}

/// The dependencies that the manifests name, tests' included, against the list.
fn arrows(findings: &mut Vec<String>) -> Result<()> {
    let mut command = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    let output = command.args(["metadata", "--format-version", "1", "--no-deps"]).output()?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata = serde_json::from_slice::<Value>(&output.stdout)?;
    let packages = list(&metadata, "packages")?;
    let names = packages.iter().filter_map(|p| text(p, "name")).collect::<Vec<_>>();
    for package in packages {
        let name = text(package, "name").unwrap_or_default();
        let Some((_, allowed)) = ARROWS.iter().find(|(of, _)| *of == name) else {
            findings.push(format!("{name}: a crate that the list of arrows does not know"));
            continue;
        };
        for dependency in list(package, "dependencies")? {
            let used = text(dependency, "name").unwrap_or_default();
            let test = text(dependency, "kind") == Some("dev");
            // Tests may speak to a program in its own protocol.
            if names.contains(&used) && !test && !allowed.contains(&used) {
                findings.push(format!("{name} uses {used}: not an arrow of the architecture"));
            }
            if PROTOCOL.contains(&name) && !test && FORBIDDEN_CRATES.contains(&used) {
                findings.push(format!("{name} uses {used}: a protocol crate has no I/O"));
            }
        }
    }
    Ok(())
}

fn list<'a>(value: &'a Value, key: &str) -> Result<&'a Vec<Value>> {
    match value.get(key).and_then(Value::as_array) {
        Some(list) => Ok(list),
        None => bail!("cargo metadata has no {key}"),
    }
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key).and_then(Value::as_str)
}

/// Lengths of the file, of its inline tests and of its functions.
fn sizes(name: &str, text: &str, longer: &mut BTreeMap<&str, bool>, findings: &mut Vec<String>) {
    let mut allowed = |what: &str| longer.get_mut(what).map(|used| *used = true).is_some();
    let lines = text.lines().count();
    if lines > MAX_FILE && !allowed(name) {
        findings.push(format!("{name}: {lines} lines, more than {MAX_FILE}"));
    }
    let tests = inline_tests(text);
    if let Some((line, length)) = tests.filter(|(_, length)| *length > MAX_INLINE_TESTS) {
        findings.push(format!("{name}:{line}: {length} lines of tests: put them into a sibling tests.rs"));
    }
    for function in functions(text).iter().filter(|f| f.lines > MAX_FUNCTION) {
        if !allowed(&format!("{name}::{}", function.name)) {
            let (line, of, lines) = (function.line, &function.name, function.lines);
            findings.push(format!("{name}:{line}: {of} has {lines} lines, more than {MAX_FUNCTION}"));
        }
    }
}

/// What a protocol crate's code, tests apart, may not name.
fn purity(name: &str, text: &str, findings: &mut Vec<String>) {
    let pure = PROTOCOL.iter().any(|c| name.starts_with(&format!("crates/{c}/src/")));
    if !pure || name.contains("/tests") {
        return;
    }
    let code = inline_tests(text).map_or(usize::MAX, |(line, _)| line - 1);
    for (at, line) in text.lines().enumerate().take(code) {
        if line.trim_start().starts_with("//") {
            continue;
        }
        for word in FORBIDDEN_WORDS.iter().filter(|word| line.contains(**word)) {
            findings
                .push(format!("{name}:{}: `{word}`: a protocol crate has no I/O, clock or thread", at + 1));
        }
    }
}
