//! `aioli doctor`: looks at what a router needs and says what is wrong and what to do.
//!
//! ```text
//!  settings, system, data directory, router ─► Facts ─► judge ─► findings ─► lines, or JSON
//! ```
//!
//! Nothing is changed, and nobody outside the computer is asked but the time servers of the settings.

mod facts;
mod judge;

use std::path::PathBuf;

use anyhow::Result;
use serde::Serialize;

use crate::settings::{Settings, SettingsError, Source, config_file_of, file};
use crate::terminal::say;
pub use facts::{Directory, Facts, Port, PortState, Running, Time};
pub use judge::judge;

/// What to look at.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The configuration file.
    pub config: Option<String>,
    /// The data directory, if another than the settings name.
    pub data_dir: Option<String>,
    /// As JSON.
    pub json: bool,
    /// Ask no time server.
    pub offline: bool,
    /// Further options of `i2p-router`.
    pub settings: Vec<String>,
}

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, not as well as it could.
    Warning,
    /// It does not work.
    Error,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at, in a word or two.
    pub check: &'static str,
    /// How bad it is.
    pub level: Level,
    /// A sentence.
    pub what: String,
    /// What to do about it.
    #[serde(rename = "do", skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Finding {
    pub(crate) fn ok(check: &'static str, what: impl Into<String>) -> Self {
        Self { check, level: Level::Ok, what: what.into(), remedy: None }
    }

    pub(crate) fn warning(check: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, level: Level::Warning, what: what.into(), remedy: Some(remedy.into()) }
    }

    pub(crate) fn error(check: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, level: Level::Error, what: what.into(), remedy: Some(remedy.into()) }
    }
}

/// Looks at everything, says it, and tells whether there is an error.
pub fn run(options: &Options, env: impl Fn(&str) -> Option<String>) -> Result<bool> {
    let (mut findings, settings) = configuration(options, &env);
    if let Some(settings) = settings {
        findings.extend(judge(&settings, &Facts::gather(&settings, options.offline)?));
    }
    say(if options.json { json(&findings)? } else { text(&findings) });
    Ok(findings.iter().any(|finding| finding.level == Level::Error))
}

/// What is wrong with the settings, and the settings if they can be used.
pub fn configuration(
    options: &Options,
    env: &impl Fn(&str) -> Option<String>,
) -> (Vec<Finding>, Option<Settings>) {
    const CHECK: &str = "configuration";
    let given = |name: &str, value: &Option<String>| {
        value.iter().flat_map(|v| [name.to_owned(), v.clone()]).collect::<Vec<_>>()
    };
    let args = ["i2p-router".to_owned()].into_iter().chain(given("--config", &options.config));
    let args = args.chain(given("--data-dir", &options.data_dir)).chain(options.settings.iter().cloned());
    let args: Vec<_> = args.collect();
    let path = config_file_of(args.iter().cloned(), env);
    let of_file = path.as_ref().map(|path| file_findings(path, env)).unwrap_or_default();
    match Settings::resolve(args, env) {
        Ok(settings) => {
            let from = path.map_or_else(
                || "no file; defaults, environment and options alone".to_owned(),
                |path| format!("{} can be used", path.display()),
            );
            let mut findings = of_file;
            if findings.is_empty() {
                findings.push(Finding::ok(CHECK, from));
            }
            (findings, Some(settings))
        }
        Err(SettingsError::File { .. } | SettingsError::Value { source_name: Source::File, .. })
            if !of_file.is_empty() =>
        {
            (of_file, None)
        }
        Err(error) => {
            let remedy = "the other checks need settings that are possible: run this again afterwards";
            (of_file.into_iter().chain([Finding::error(CHECK, error.to_string(), remedy)]).collect(), None)
        }
    }
}

fn file_findings(path: &PathBuf, env: &impl Fn(&str) -> Option<String>) -> Vec<Finding> {
    // A file that cannot be read is the settings' error.
    let Ok(text) = std::fs::read_to_string(path) else { return Vec::new() };
    let finding = |problem: file::FileProblem| {
        Finding::error(
            "configuration",
            format!("{}, line {}: {}", path.display(), problem.line, problem.what),
            "correct the line; docs/configuration.md has every setting",
        )
    };
    file::problems(&text, env).into_iter().map(finding).collect()
}

/// A line each, and what to do below it.
fn text(findings: &[Finding]) -> String {
    let count = |level| findings.iter().filter(|f| f.level == level).count();
    let line = |finding: &Finding| {
        let level = match finding.level {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Error => "error",
        };
        let remedy = finding.remedy.as_ref().map(|r| format!("\n{:26}{r}", "")).unwrap_or_default();
        format!("{level:<8} {:<16} {}{remedy}\n", finding.check, finding.what)
    };
    let all: String = findings.iter().map(line).collect();
    format!("{all}{} errors, {} warnings", count(Level::Error), count(Level::Warning))
}

fn json(findings: &[Finding]) -> Result<String> {
    #[derive(Serialize)]
    struct Report<'a> {
        findings: &'a [Finding],
    }
    Ok(serde_json::to_string_pretty(&Report { findings })?)
}

#[cfg(test)]
mod tests;
