//! All tunnels of a program: which there are, which of them run, and the handle
//! that others list and change them by.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use aioli_wire::base32;
use serde::Serialize;
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::config::{ConfigError, Defaults, TunnelConfig};
use super::files::{self, Edit, TunnelsFile};
use super::run::{Character, Homes, Running};
use super::sources::{Files, Found};
use super::stats::{Counters, TunnelStats};
use crate::resolve::Naming;
use crate::way::Way;

/// Tunnels at most.
pub const MAX_TUNNELS: usize = 256;
/// Files of descriptions are looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What tunnels need.
#[derive(Debug)]
pub struct TunnelsConfig {
    /// The router that they use.
    pub way: Way,
    /// Whence names are.
    pub naming: Arc<Naming>,
    /// Tunnels of destinations whose description names no numbers.
    pub defaults: Defaults,
    /// Where keys and access lists are. None has new keys at each start.
    pub data_dir: Option<PathBuf>,
    /// What is followed, and changed by programs. None keeps what is added in memory alone.
    pub file: Option<TunnelsFile>,
    /// Where i2pd's descriptions are: a file like `tunnels.conf`, and a directory like `tunnels.d`.
    pub i2pd: Option<(PathBuf, PathBuf)>,
    /// Descriptions that come from elsewhere and that no program changes.
    pub configured: Vec<TunnelConfig>,
}

/// Where a tunnel is described.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// In the router's configuration, or on a command line.
    Configuration,
    /// In `tunnels.toml`, which programs may change.
    File,
    /// In a file of i2pd's.
    I2pd(PathBuf),
}

/// What a tunnel is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It is not to run.
    Stopped,
    /// It waits for the tunnels of its destination.
    Starting,
    /// It can be used.
    Ready,
    /// It can be used, and builds its tunnels for the next connection.
    Idle,
    /// It cannot run; `detail` says why.
    Failed,
}

/// One tunnel as it is now.
#[derive(Clone, Debug, Serialize)]
pub struct TunnelInfo {
    /// Its description, without its secrets.
    pub config: TunnelConfig,
    /// Where that is.
    pub origin: Origin,
    /// What it is doing.
    pub state: State,
    /// The same in words, with the reason.
    pub detail: String,
    /// Where it listens, with the port that was drawn.
    pub listening: Option<SocketAddr>,
    /// The b32 name of its destination, once it has one.
    pub b32: Option<String>,
    /// The destination in base64.
    pub destination: Option<String>,
    /// What it has done.
    pub stats: TunnelStats,
}

/// Why a tunnel is not changed.
#[derive(Debug, Error)]
pub enum TunnelError {
    /// There is none.
    #[error("there is no tunnel \"{0}\"")]
    Unknown(String),
    /// There is one already.
    #[error("there is a tunnel \"{0}\" already: choose another name")]
    Exists(String),
    /// It is described where no program writes.
    #[error("the tunnel \"{name}\" is described in {place}: change it there")]
    Elsewhere {
        /// Which.
        name: String,
        /// Where.
        place: String,
    },
    /// A setting is not possible.
    #[error("tunnel \"{name}\": {error}")]
    Config {
        /// Which.
        name: String,
        /// What is wrong.
        error: ConfigError,
    },
    /// There are too many.
    #[error("there are {MAX_TUNNELS} tunnels already: remove one first")]
    Limit,
    /// The file cannot be written.
    #[error("cannot change {}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// A tunnel, running or not.
struct Entry {
    config: TunnelConfig,
    origin: Origin,
    running: Option<Running>,
    failure: Option<String>,
    counters: Arc<Counters>,
}

#[derive(Default)]
struct Table {
    entries: BTreeMap<String, Entry>,
    homes: Homes,
    problems: Vec<String>,
}

struct Inner {
    config: TunnelsConfig,
    files: Files,
    runtime: Handle,
    table: Mutex<Table>,
    stop: Mutex<Option<(oneshot::Sender<()>, JoinHandle<()>)>>,
}

/// The tunnels of a program. Clones are the same; with the last one they end.
#[derive(Clone)]
pub struct Tunnels {
    inner: Arc<Inner>,
    _end: Arc<End>,
}

/// Ends the tunnels when the last handle is dropped, whoever else looks at them at that time.
struct End(Arc<Inner>);

impl std::fmt::Debug for Tunnels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tunnels({})", self.inner.lock().entries.len())
    }
}

impl Tunnels {
    /// Starts what is described, on a thread of its own, and follows the files from then on.
    pub fn start(config: TunnelsConfig) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let files = Files::new(config.file.clone(), config.i2pd.clone());
        let inner = Arc::new(Inner {
            config,
            files,
            runtime: handle,
            table: Mutex::default(),
            stop: Mutex::default(),
        });
        inner.reload();
        let watched = Arc::downgrade(&inner);
        let thread = std::thread::Builder::new().name("tunnels".into()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = follow(watched) => {}
                    // An error means that the handle is gone: stop as well.
                    _ = stopped => {}
                }
            });
        })?;
        *inner.stop.lock().unwrap_or_else(PoisonError::into_inner) = Some((stop, thread));
        Ok(Self { _end: Arc::new(End(Arc::clone(&inner))), inner })
    }

    /// All tunnels, by name.
    pub fn list(&self) -> Vec<TunnelInfo> {
        self.inner.lock().entries.values().map(Entry::info).collect()
    }

    /// One of them.
    pub fn get(&self, name: &str) -> Option<TunnelInfo> {
        self.inner.lock().entries.get(name).map(Entry::info)
    }

    /// What is wrong with descriptions in files, a line each.
    pub fn problems(&self) -> Vec<String> {
        self.inner.lock().problems.clone()
    }

    /// Describes one more in `tunnels.toml`, and starts it if it is to run.
    pub fn add(&self, config: TunnelConfig) -> Result<(), TunnelError> {
        check(&config)?;
        let mut table = self.inner.lock();
        if table.entries.contains_key(&config.name) {
            return Err(TunnelError::Exists(config.name));
        }
        if table.entries.len() >= MAX_TUNNELS {
            return Err(TunnelError::Limit);
        }
        self.inner.edit(&Edit::Add(&config))?;
        self.inner.put(&mut table, config, Origin::File);
        table.homes.release();
        Ok(())
    }

    /// Describes a tunnel of `tunnels.toml` anew, under the same name or another. It starts anew if it runs.
    pub fn change(&self, name: &str, mut config: TunnelConfig) -> Result<(), TunnelError> {
        let mut table = self.inner.lock();
        let before = changeable(&table, name)?.clone();
        config.unmask(&before);
        check(&config)?;
        if config.name != name && table.entries.contains_key(&config.name) {
            return Err(TunnelError::Exists(config.name));
        }
        self.inner.edit(&Edit::Change(name, &config))?;
        // Under its new name it is what was there before.
        if let Some(entry) = table.entries.remove(name) {
            table.entries.insert(config.name.clone(), entry);
        }
        self.inner.put(&mut table, config, Origin::File);
        table.homes.release();
        Ok(())
    }

    /// Ends a tunnel of `tunnels.toml` and removes its description. Its keys stay.
    pub fn remove(&self, name: &str) -> Result<(), TunnelError> {
        let mut table = self.inner.lock();
        changeable(&table, name)?;
        self.inner.edit(&Edit::Remove(name))?;
        table.entries.remove(name);
        Ok(())
    }

    /// Starts a tunnel until the program ends, whether or not its description says so. One that runs goes on.
    pub fn start_one(&self, name: &str) -> Result<(), TunnelError> {
        let mut table = self.inner.lock();
        let Table { entries, homes, .. } = &mut *table;
        let entry = entries.get_mut(name).ok_or_else(|| TunnelError::Unknown(name.to_owned()))?;
        if entry.running.is_none() {
            self.inner.run(entry, homes);
        }
        Ok(())
    }

    /// Ends a tunnel and its connections until it is started again, or the program is.
    pub fn stop_one(&self, name: &str) -> Result<(), TunnelError> {
        let mut table = self.inner.lock();
        let entry = table.entries.get_mut(name).ok_or_else(|| TunnelError::Unknown(name.to_owned()))?;
        (entry.running, entry.failure) = (None, None);
        Ok(())
    }

    /// Reads the files now rather than within seconds.
    pub fn reload(&self) {
        self.inner.reload();
    }
}

fn check(config: &TunnelConfig) -> Result<(), TunnelError> {
    config.check().map_err(|error| TunnelError::Config { name: config.name.clone(), error })
}

/// The description of a tunnel that programs may change.
fn changeable<'a>(table: &'a Table, name: &str) -> Result<&'a TunnelConfig, TunnelError> {
    let entry = table.entries.get(name).ok_or_else(|| TunnelError::Unknown(name.to_owned()))?;
    let place = match &entry.origin {
        Origin::File => return Ok(&entry.config),
        Origin::Configuration => "the configuration of the router".to_owned(),
        Origin::I2pd(path) => path.display().to_string(),
    };
    Err(TunnelError::Elsewhere { name: name.to_owned(), place })
}

impl Drop for End {
    fn drop(&mut self) {
        self.0.lock().entries.clear();
        let Some((stop, thread)) = self.0.stop.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return;
        };
        // An error means that it has ended already.
        let _ = stop.send(());
        if thread.join().is_err() {
            tracing::error!("the thread of the tunnels panicked; please report the message above");
        }
    }
}

/// Follows the files for as long as there is a handle.
async fn follow(inner: Weak<Inner>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Some(inner) = inner.upgrade() else { return };
        if inner.files.have_changed() {
            inner.reload();
        }
        inner.retry();
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn edit(&self, edit: &Edit<'_>) -> Result<(), TunnelError> {
        let Some(file) = &self.config.file else { return Ok(()) };
        let path = file.path();
        // It is read again at the next look, with what others have changed meanwhile.
        files::edit(path, edit).map_err(|error| TunnelError::File { path: path.to_owned(), error })
    }

    /// Makes the table what the files say.
    fn reload(&self) {
        let mut table = self.lock();
        let Found { mut tunnels, mut problems, unreadable } = self.files.read();
        let configured = self.config.configured.iter().map(|config| (config.clone(), Origin::Configuration));
        tunnels.splice(0..0, configured);
        let mut wanted: BTreeMap<String, (TunnelConfig, Origin)> = BTreeMap::new();
        for (config, origin) in tunnels {
            if wanted.contains_key(&config.name) {
                problems.push(format!(
                    "tunnel \"{}\" is described twice; the second one is left out",
                    config.name
                ));
            } else if wanted.len() >= MAX_TUNNELS {
                problems.push(format!("tunnel \"{}\" is left out: {MAX_TUNNELS} are enough", config.name));
            } else {
                wanted.insert(config.name.clone(), (config, origin));
            }
        }
        for problem in problems.iter().filter(|problem| !table.problems.contains(problem)) {
            tracing::warn!("{problem}");
        }
        table.problems = problems;
        // Without a file, what was added is nowhere else.
        let in_memory = self.config.file.is_none();
        let stays = |name: &String, entry: &Entry| {
            wanted.contains_key(name)
                || in_memory && entry.origin == Origin::File
                || unreadable.contains(&entry.origin)
        };
        let Table { entries, homes, .. } = &mut *table;
        let gone = entries.extract_if(.., |name, entry| !stays(name, entry));
        let kept: Vec<_> = gone.filter_map(|(_, entry)| Some(entry.running?.stop(homes))).collect();
        for (config, origin) in wanted.into_values() {
            let same = table
                .entries
                .get(&config.name)
                .is_some_and(|entry| entry.config == config && entry.origin == origin);
            if !same {
                self.put(&mut table, config, origin);
            }
        }
        drop(kept);
        table.homes.release();
    }

    /// Starts what could not: a port may be free by now, or a file mended.
    fn retry(&self) {
        let mut table = self.lock();
        let Table { entries, homes, .. } = &mut *table;
        let failed = entries.values_mut().filter(|entry| entry.running.is_none() && entry.failure.is_some());
        failed.for_each(|entry| self.run(entry, homes));
    }

    /// Puts a description in the place of the one of its name, and starts it if it is to run. [`Homes::release`] is
    /// up to the caller.
    fn put(&self, table: &mut Table, config: TunnelConfig, origin: Origin) {
        let before = table.entries.remove(&config.name);
        let counters = before.as_ref().map_or_else(Arc::default, |entry| Arc::clone(&entry.counters));
        // The destination lives on if the tunnel that follows has one of the same kind.
        let character = |config| Character::of(config, &self.config);
        let same = before.as_ref().is_some_and(|entry| character(&entry.config) == character(&config));
        let kept = before.and_then(|entry| entry.running).map(|running| running.stop(&mut table.homes));
        let kept = kept.filter(|_| same);
        let mut entry = Entry { config, origin, running: None, failure: None, counters };
        if entry.config.enabled {
            self.run(&mut entry, &mut table.homes);
        }
        drop(kept);
        table.entries.insert(entry.config.name.clone(), entry);
    }

    fn run(&self, entry: &mut Entry, homes: &mut Homes) {
        match Running::start(&entry.config, &entry.counters, homes, &self.config, &self.runtime) {
            Ok(running) => (entry.running, entry.failure) = (Some(running), None),
            Err(why) => {
                if entry.failure.as_ref() != Some(&why) {
                    tracing::warn!("tunnel \"{}\" cannot start: {why}", entry.config.name);
                }
                entry.failure = Some(why);
            }
        }
    }
}

impl Entry {
    fn info(&self) -> TunnelInfo {
        let destination = self.running.as_ref().and_then(Running::destination);
        let mut stats = self.counters.read();
        if let Some(running) = &self.running {
            running.add_to(&mut stats);
        }
        let (state, detail) = match (&self.running, &self.failure) {
            (Some(running), _) => running.state(),
            (None, Some(why)) => (State::Failed, why.clone()),
            (None, None) => (State::Stopped, "it is not started".to_owned()),
        };
        TunnelInfo {
            config: self.config.masked(),
            origin: self.origin.clone(),
            state,
            detail,
            listening: self.running.as_ref().and_then(Running::listening),
            b32: destination.as_ref().map(|destination| base32::host_name(&destination.hash())),
            destination: destination.map(|destination| destination.to_base64()),
            stats,
        }
    }
}
