//! `i2p-router --setup`: a short dialogue that writes the configuration file.
//!
//! Three questions at most, in plain lines, so that it works without a terminal; `--setup=paranoid` asks none of them.
//! A file that is there is replaced only by someone who says so.

use std::io::BufRead;
use std::path::{Path, PathBuf};

use aioli_node::{make_private_dir, write_atomic};
use anyhow::{Context, Result, bail, ensure};

use crate::settings::{LEAST_KBPS, MOST_KBPS, file};

/// What `--setup` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Which answers; none asks.
    pub kind: Option<Kind>,
    /// Where to write them.
    pub file: PathBuf,
    /// The router reads this file without being told.
    pub usual: bool,
}

/// For whom the configuration is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// For most.
    Auto,
    /// For whoever would rather ask nobody anything.
    Paranoid,
    /// For a machine that is there to relay.
    Performance,
}

impl Kind {
    const ALL: [(&str, Self); 3] =
        [("auto", Self::Auto), ("paranoid", Self::Paranoid), ("performance", Self::Performance)];

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        let name = name.trim();
        Self::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, kind)| kind)
    }
}

/// Where questions are asked.
pub struct Talk<'a> {
    /// What the user types.
    pub input: &'a mut dyn BufRead,
    /// What the user reads.
    pub say: &'a mut dyn FnMut(&str),
}

impl std::fmt::Debug for Talk<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Talk")
    }
}

impl Talk<'_> {
    /// Asks until the answer is one.
    fn ask<T>(&mut self, question: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<T> {
        loop {
            (self.say)(question);
            let mut line = String::new();
            if self.input.read_line(&mut line)? == 0 {
                bail!(
                    "the answers ended before the questions; --setup=auto, paranoid or performance asks none"
                );
            }
            match parse(line.trim()) {
                Ok(answer) => return Ok(answer),
                Err(why) => (self.say)(&format!("  {why}")),
            }
        }
    }
}

/// A line of the file.
struct Line {
    why: &'static str,
    key: &'static str,
    value: String,
}

fn line(key: &'static str, value: impl ToString, why: &'static str) -> Line {
    Line { why, key, value: value.to_string() }
}

/// Asks what has to be asked, writes the file and says what is in it.
pub fn run(request: &Request, talk: &mut Talk<'_>) -> Result<()> {
    let path = request.file.display();
    if request.file.exists() {
        let replace = request.kind.is_none()
            && talk.ask(&format!("{path} is there already. Replace it? [y/N]"), |answer| match answer {
                "y" | "yes" => Ok(true),
                "" | "n" | "no" => Ok(false),
                _ => Err("answer y or n".to_owned()),
            })?;
        ensure!(replace, "{path} is left as it is: move it away, or name another file with --config");
    }
    let lines = match request.kind {
        Some(kind) => lines(kind),
        None => dialogue(talk)?,
    };
    let text = text(&lines);
    // A mistake of ours must not become the user's.
    if let Some(problem) = file::problems(&text, &|_| None).first() {
        bail!("line {} of what was to be written is wrong: {}", problem.line, problem.what);
    }
    write(&request.file, &text)?;
    (talk.say)(&format!("\nwritten to {path}:\n\n{}", text.trim_end()));
    let config = if request.usual { String::new() } else { format!(" --config {path}") };
    (talk.say)(&format!("\nStart the router with: i2p-router{config}"));
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    let cannot = || format!("cannot write {}", path.display());
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        make_private_dir(directory).with_context(cannot)?;
    }
    write_atomic(path, text.as_bytes(), 0o600).with_context(cannot)
}

/// The questions.
fn dialogue(talk: &mut Talk<'_>) -> Result<Vec<Line>> {
    (talk.say)(
        "auto         the defaults; asks time servers and the gateway, so that it works at once\n\
         paranoid     asks nobody what it can do without, offers nothing to other programs but the proxies\n\
         performance  for a machine that is on all day and has bandwidth to spare",
    );
    let kind = talk.ask("Which? [auto]", |answer| match answer {
        "" => Ok(Kind::Auto),
        name => Kind::named(name).ok_or_else(|| "answer auto, paranoid or performance".to_owned()),
    })?;
    let mut lines = lines(kind);
    let limit = talk.ask("How many KB/s may it use each way? [no limit]", |answer| match answer {
        "" => Ok(None),
        text => match text.parse::<u64>() {
            Ok(kbps @ LEAST_KBPS..=MOST_KBPS) => Ok(Some(kbps)),
            _ => Err(format!("answer a number from {LEAST_KBPS} to {MOST_KBPS}, or nothing")),
        },
    })?;
    let why = "In each direction, in KB/s (1,024 bytes); of it 80 % at most are for others.";
    lines.extend(limit.map(|kbps| line("bandwidth", kbps, why)));
    let proxy = talk.ask(
        "A proxy for finding first peers, as socks5://127.0.0.1:9050? Without one, reseed servers see your address. [none]",
        |answer| match answer {
            "" => Ok(None),
            url => {
                let problem = file::problems(&format!("reseed-proxy = {url:?}"), &|_| None).pop();
                problem.map_or_else(|| Ok(Some(url.to_owned())), |problem| Err(problem.what))
            }
        },
    )?;
    let why = "Reseed servers see this proxy's address in place of yours.";
    lines.extend(proxy.map(|url| line("reseed-proxy", format!("{url:?}"), why)));
    Ok(lines)
}

/// What each kind sets besides the defaults.
fn lines(kind: Kind) -> Vec<Line> {
    match kind {
        Kind::Auto => vec![line(
            "floodfill",
            "\"auto\"",
            "Serves the network database when this machine turns out to be fit for it.",
        )],
        Kind::Paranoid => vec![
            line("port", 0, "A random port, drawn once: 9700 would tell everybody on the line what this is."),
            line("ntp", "\"never\"", "No time server learns that this computer is on; peers tell the time."),
            line("no-port-mapping", true, "The gateway is not asked to let others in."),
            line(
                "no-subscriptions",
                true,
                "Nobody's address book is fetched; names come from hosts.txt alone.",
            ),
            line(
                "no-sam",
                true,
                "No other program of this computer can use the router. Applications need this line gone.",
            ),
            line("floodfill", false, "Stores and answers nothing for the network."),
            line("log-level", "\"warn\"", "Little is written down."),
        ],
        Kind::Performance => vec![
            line(
                "profile",
                "\"server\"",
                "Limits for thousands of connections; raise the file limit too (aioli doctor says).",
            ),
            line(
                "floodfill",
                "\"auto\"",
                "Serves the network database when this machine turns out to be fit for it.",
            ),
            line("transit-share", 90, "Of the bandwidth, what others' tunnels may use."),
        ],
    }
    .into_iter()
    .chain([line("tunnel-length", 3, "Hops of each tunnel: fewer are faster and hide less.")])
    .collect()
}

fn text(lines: &[Line]) -> String {
    let head = "# Written by i2p-router --setup. Every other setting has its default;\n\
                # docs/configuration.md has them all, i2p-router --print-config shows what is in force.\n";
    let lines = lines.iter().map(|Line { why, key, value }| format!("\n# {why}\n{key} = {value}\n"));
    std::iter::once(head.to_owned()).chain(lines).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::settings::Settings;

    /// What is said to these answers, how it ends and the settings that follow.
    fn answer(path: &Path, kind: Option<Kind>, answers: &str) -> (String, Result<()>, Option<Settings>) {
        let mut said = String::new();
        let mut input = answers.as_bytes();
        let request = Request { kind, file: path.to_owned(), usual: false };
        let mut say = |line: &str| said.extend([line, "\n"]);
        let result = run(&request, &mut Talk { input: &mut input, say: &mut say });
        let args = ["i2p-router", "--config", path.to_str().unwrap()].map(str::to_owned);
        (said, result, Settings::resolve(args, |_| None).ok())
    }

    #[test]
    fn every_kind_gives_settings_that_are_possible() {
        for (name, kind) in Kind::ALL {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("new/router.toml");
            let (said, result, settings) = answer(&path, Some(kind), "");
            result.unwrap();
            let settings = settings.unwrap();
            assert_eq!(Kind::named(name), Some(kind));
            assert_eq!(settings.tunnel_length, 3);
            assert_eq!(settings.time_servers.is_none(), kind == Kind::Paranoid);
            assert_eq!(settings.sam.is_none(), kind == Kind::Paranoid);
            assert!(said.contains("tunnel-length = 3") && said.contains("i2p-router --config"), "{said}");
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn questions_are_asked_until_they_are_answered() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("router.toml");
        let answers = "fast\nperformance\n8\n256\nhttps://x\nsocks5://127.0.0.1:9050\n";
        let (said, result, settings) = answer(&path, None, answers);
        result.unwrap();
        let settings = settings.unwrap();
        assert_eq!(settings.bandwidth.inbound, Some(262_144));
        assert_eq!(settings.reseed_proxy.as_deref(), Some("socks5://127.0.0.1:9050"));
        for complaint in
            ["answer auto, paranoid or performance", "from 16 to 100000000", "give http://HOST:PORT"]
        {
            assert!(said.contains(complaint), "{said}");
        }
        let (_, result, _) = answer(&dir.path().join("other.toml"), None, "auto\n");
        assert!(result.unwrap_err().to_string().contains("answers ended"));
        assert!(!dir.path().join("other.toml").exists());
    }

    #[test]
    fn what_is_there_is_replaced_only_when_asked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("router.toml");
        for (kind, answers) in [(Some(Kind::Auto), ""), (None, "n\n"), (None, "\n"), (None, "")] {
            fs::write(&path, "port = 1\n").unwrap();
            let (_, result, _) = answer(&path, kind, answers);
            result.unwrap_err();
            assert_eq!(fs::read_to_string(&path).unwrap(), "port = 1\n");
        }
        let (_, result, settings) = answer(&path, None, "maybe\ny\n\n\n\n");
        result.unwrap();
        assert_eq!(settings.unwrap().port, 9700);
    }
}
