//! `i2p-tunnel`: tunnels listed, described and removed in the data directory of a
//! router, which follows the file; and tunnels over the SAM of a router that is
//! not to know of them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aioli_apps::address_book::AddressBook;
use aioli_apps::resolve::Naming;
use aioli_apps::tunnels::{
    Defaults, Described, Kind, State, TunnelConfig, TunnelInfo, Tunnels, TunnelsConfig, TunnelsFile,
    from_i2pd,
};
use aioli_apps::way::Way;
use aioli_node::make_private_dir;
use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::services::describe_tunnel;
use crate::terminal::{complain, say};

/// What tunnels do is looked at this often.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Client and server tunnels: ordinary programs in I2P.
#[derive(Debug, Parser)]
#[command(name = "i2p-tunnel", version)]
#[expect(missing_docs, reason = "what stands at a field is said to the user")]
pub struct Cli {
    #[command(subcommand)]
    pub task: Task,
    /// The data directory of i2p-router.
    #[arg(long, value_name = "DIR", env = "I2P_DATA_DIR", default_value = "~/.aioli", global = true)]
    pub data_dir: String,
    /// error, warn, info, debug or trace; logs go to stderr.
    #[arg(long, default_value = "warn", env = "I2P_LOG_LEVEL", global = true)]
    pub log_level: tracing::Level,
}

/// What `i2p-tunnel` can do.
#[derive(Debug, Subcommand)]
pub enum Task {
    /// Run tunnels over the SAM of a router, until Ctrl-C.
    ///
    /// Those of `tunnels.toml` and `tunnels.conf` with these names, or all that are enabled; or one that is described
    /// by --type and the other options alone.
    Start {
        /// Tunnels to run.
        names: Vec<String>,
        /// Where SAM of the router listens.
        #[arg(long, value_name = "HOST:PORT", env = "I2P_SAM", default_value = "127.0.0.1:7656")]
        sam: SocketAddr,
        /// Run a tunnel of this type that the other options describe.
        #[arg(long = "type", value_name = "TYPE", conflicts_with = "names", value_parser = kind)]
        kind: Option<Kind>,
        /// How that one is.
        #[command(flatten)]
        description: Description,
    },
    /// List the tunnels that are described.
    List,
    /// Describe one more in `tunnels.toml`. A running router starts it within seconds.
    Add {
        /// Its name.
        name: String,
        /// client, irc-client, http-proxy, socks, server, http-server, http-bidir or irc-server.
        #[arg(value_name = "TYPE", value_parser = kind)]
        kind: Kind,
        /// How it is.
        #[command(flatten)]
        description: Description,
    },
    /// Remove a tunnel of `tunnels.toml`. Its keys stay.
    Remove {
        /// Its name.
        name: String,
    },
}

/// How a tunnel is: `docs/tunnels.md` has all settings.
#[derive(Debug, Args)]
pub struct Description {
    /// Where local programs connect to.
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<SocketAddr>,
    /// Whom a client reaches; may be given several times.
    #[arg(long, value_name = "NAME.i2p[:PORT]")]
    destination: Vec<String>,
    /// Where the local server listens; may be given several times.
    #[arg(long, value_name = "IP:PORT")]
    target: Vec<String>,
    /// Key file in `destinations/`.
    #[arg(long, value_name = "FILE")]
    keys: Option<String>,
    /// Only these destinations may come; may be given several times.
    #[arg(long, value_name = "B32")]
    allow: Vec<String>,
    /// These may not.
    #[arg(long, value_name = "B32")]
    deny: Vec<String>,
    /// Option of tunnels or streams, as inbound.length=2; may be given several times.
    #[arg(long = "option", value_name = "KEY=VALUE")]
    options: Vec<String>,
    /// Any other setting, as limits.peer_minute=10; may be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
}

fn kind(text: &str) -> Result<Kind, String> {
    let known = Kind::ALL.into_iter().find(|kind| kind.name() == text);
    known.ok_or_else(|| format!("give one of {}", Kind::ALL.map(Kind::name).join(", ")))
}

/// Does it.
pub fn run(task: Task, data_dir: &Path) -> Result<()> {
    let file = TunnelsFile::of(data_dir);
    match task {
        Task::List => list(&file, data_dir),
        Task::Add { name, kind, description } => {
            let config = description.config(name, kind)?;
            let there = read(&file, data_dir).tunnels;
            let taken = there.iter().any(|other| other.name == config.name);
            ensure!(!taken, "there is a tunnel {:?} already: choose another name", config.name);
            let made = make_private_dir(data_dir);
            made.with_context(|| format!("cannot make {}", data_dir.display()))?;
            let own = config.own_b32(data_dir).context("cannot make its keys")?;
            file.add(&config).with_context(|| format!("cannot change {}", file.path().display()))?;
            say(format!("added to {}", file.path().display()));
            if let Some(own) = own.filter(|_| kind.hosts()) {
                say(format!("others reach it as {own}"));
            }
            Ok(())
        }
        Task::Remove { name } => {
            file.remove(&name)
                .with_context(|| format!("cannot remove {name:?} from {}", file.path().display()))?;
            say(format!("removed from {}", file.path().display()));
            Ok(())
        }
        Task::Start { names, sam, kind, description } => {
            let chosen = match kind {
                Some(kind) => vec![description.config(kind.name().to_owned(), kind)?],
                None => chosen(&names, &file, data_dir)?,
            };
            start(sam, chosen, data_dir)
        }
    }
}

impl Description {
    fn config(self, name: String, kind: Kind) -> Result<TunnelConfig> {
        let mut table = toml::Table::new();
        let text = |text: String| toml::Value::String(text);
        let texts =
            |texts: Vec<String>| toml::Value::Array(texts.into_iter().map(toml::Value::String).collect());
        table.insert("name".to_owned(), text(name));
        table.insert("type".to_owned(), text(kind.name().to_owned()));
        let one = [("listen", self.listen.map(|address| address.to_string())), ("keys", self.keys)];
        table.extend(one.into_iter().filter_map(|(key, value)| Some((key.to_owned(), text(value?)))));
        let many = [
            ("destination", self.destination),
            ("target", self.target),
            ("allow", self.allow),
            ("deny", self.deny),
        ];
        let given = many.into_iter().filter(|(_, list)| !list.is_empty());
        table.extend(given.map(|(key, list)| (key.to_owned(), texts(list))));
        let mut options = toml::Table::new();
        for option in &self.options {
            let (key, value) = pair(option, "--option")?;
            options.insert(key.to_owned(), text(value.to_owned()));
        }
        if !options.is_empty() {
            table.insert("options".to_owned(), toml::Value::Table(options));
        }
        for setting in &self.settings {
            let (key, given) = pair(setting, "--set")?;
            // What is no number, truth or list is a text.
            let parsed: Result<toml::Table, _> = format!("value = {given}").parse();
            let value = parsed.ok().and_then(|mut table| table.remove("value"));
            set(&mut table, key, value.unwrap_or_else(|| text(given.to_owned())))?;
        }
        let config: TunnelConfig =
            toml::Value::Table(table).try_into().map_err(|error: toml::de::Error| {
                anyhow::anyhow!("{}", error.to_string().trim().replace('\n', ", "))
            })?;
        config.check()?;
        if let Some(option) = config.unused_options().first() {
            bail!("options: {option} means nothing to this router");
        }
        Ok(config)
    }
}

fn pair<'a>(text: &'a str, option: &str) -> Result<(&'a str, &'a str)> {
    let (key, value) = text.split_once('=').with_context(|| format!("{option} {text}: give KEY=VALUE"))?;
    Ok((key.trim(), value.trim()))
}

/// Sets `a.b` in a table.
fn set(table: &mut toml::Table, key: &str, value: toml::Value) -> Result<()> {
    match key.split_once('.') {
        None => drop(table.insert(key.to_owned(), value)),
        Some((outer, inner)) => {
            let of = table.entry(outer).or_insert_with(|| toml::Value::Table(toml::Table::new()));
            let of = of.as_table_mut().with_context(|| format!("--set {key}: {outer} has no parts"))?;
            of.insert(inner.to_owned(), value);
        }
    }
    Ok(())
}

/// All that is described in a data directory.
fn read(file: &TunnelsFile, data_dir: &Path) -> Described {
    let mut described = file.read();
    described.add(from_i2pd(&data_dir.join("tunnels.conf"), &data_dir.join("tunnels.d")));
    described
}

fn list(file: &TunnelsFile, data_dir: &Path) -> Result<()> {
    let Described { tunnels, problems, warnings, .. } = read(file, data_dir);
    for config in &tunnels {
        let own = config.known_b32(data_dir).unwrap_or_default();
        let from = config.listen.map(|address| address.to_string());
        let ends = [&*config.destination, &*config.target].concat().join(",");
        let off = if config.enabled { "" } else { "  (not started)" };
        let from = from.unwrap_or_default();
        let line = format!("{:<20} {:<12} {from:<21} {ends}  {own}{off}", config.name, config.kind.name());
        say(line.trim_end());
    }
    if tunnels.is_empty() {
        say(format!("no tunnels in {}; `i2p-tunnel add` makes one", file.path().display()));
    }
    problems.iter().chain(&warnings).for_each(complain);
    ensure!(problems.is_empty(), "{} descriptions are wrong", problems.len());
    Ok(())
}

/// The tunnels of these names, or all that are enabled.
fn chosen(names: &[String], file: &TunnelsFile, data_dir: &Path) -> Result<Vec<TunnelConfig>> {
    let Described { tunnels, problems, warnings, .. } = read(file, data_dir);
    problems.iter().chain(&warnings).for_each(complain);
    let mut by_name: BTreeMap<_, _> =
        tunnels.into_iter().map(|config| (config.name.clone(), config)).collect();
    if names.is_empty() {
        let enabled: Vec<_> = by_name.into_values().filter(|config| config.enabled).collect();
        ensure!(!enabled.is_empty(), "there is no tunnel to run: describe one, or give --type");
        return Ok(enabled);
    }
    let find = |name: &String| by_name.remove(name).with_context(|| format!("there is no tunnel {name:?}"));
    let found: Result<Vec<_>> = names.iter().map(find).collect();
    let mut found = found?;
    found.iter_mut().for_each(|config| config.enabled = true);
    Ok(found)
}

/// Runs tunnels until a signal.
fn start(sam: SocketAddr, configured: Vec<TunnelConfig>, data_dir: &Path) -> Result<()> {
    let naming = Arc::new(Naming::new(Arc::new(AddressBook::open(data_dir)?)));
    let tunnels = Tunnels::start(TunnelsConfig {
        way: Way::Sam(sam),
        naming,
        defaults: Defaults::default(),
        data_dir: Some(data_dir.to_owned()),
        file: None,
        i2pd: None,
        configured,
    });
    let tunnels = tunnels.context("cannot start the tunnels")?;
    let all = tunnels.list();
    all.iter().for_each(|tunnel| say(describe_tunnel(tunnel)));
    ensure!(all.iter().any(|tunnel| tunnel.state != State::Failed), "no tunnel could be started");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for signals")?;
        let mut terminate = signal(SignalKind::terminate()).context("cannot wait for signals")?;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            () = tell(&tunnels) => {}
        }
        say("stopped");
        Ok(())
    })
}

/// Says what becomes of tunnels, as it changes.
async fn tell(tunnels: &Tunnels) {
    let mut said: BTreeMap<String, (State, String)> = BTreeMap::new();
    loop {
        for TunnelInfo { config, state, detail, .. } in tunnels.list() {
            let before = said.insert(config.name.clone(), (state, detail.clone()));
            if before.is_none_or(|before| before != (state, detail.clone())) {
                say(format!("tunnel \"{}\": {detail}", config.name));
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(subcommand)]
        task: Task,
    }

    fn described(line: &str) -> Result<TunnelConfig> {
        let words = std::iter::once("i2p-tunnel").chain(line.split(' '));
        match Cli::try_parse_from(words)?.task {
            Task::Add { name, kind, description } => description.config(name, kind),
            other @ (Task::Start { .. } | Task::List | Task::Remove { .. }) => bail!("{other:?}"),
        }
    }

    #[test]
    fn every_setting_can_be_given() {
        let config = described(
            "add site http-server --target 127.0.0.1:8080 --target 127.0.0.1:8081 --keys site.dat --deny bad.i2p \
             --option inbound.length=2 --set limits.peer_minute=10 --set host_name=site.i2p --set unique_local=true",
        );
        let config = config.unwrap();
        assert_eq!((config.target.len(), config.limits.peer_minute, config.unique_local), (2, 10, true));
        assert_eq!(
            (config.host_name.as_deref(), &*config.options["inbound.length"]),
            (Some("site.i2p"), "2")
        );
    }

    #[test]
    fn what_is_not_possible_is_said() {
        for (line, why) in [
            ("add a b --target 127.0.0.1:1", "give one of client"),
            ("add a server", "target"),
            ("add a server --target web:80", "IP:PORT"),
            ("add a client --listen 127.0.0.1:1 --destination x.com", "ends with .i2p"),
            ("add a socks --listen 127.0.0.1:1 --set nothing=1", "unknown field `nothing`"),
            ("add a socks --listen 127.0.0.1:1 --set x", "KEY=VALUE"),
            ("add a socks --listen 127.0.0.1:1 --option i2cp.x=1", "means nothing"),
        ] {
            let error = described(line).unwrap_err();
            assert!(format!("{error:#}").contains(why), "{line}: {error:#}");
        }
    }
}
