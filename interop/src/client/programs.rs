//! The client programs that others wrote libraries for, and one transfer
//! between two of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use crate::net::namespace::Namespace;
use crate::net::process::{Process, run};
use crate::router::{Kind, Router};

/// Whose library an application is built on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Client {
    /// Python, `i2p.socket`.
    Python,
    /// Node.js, `@diva.exchange/i2p-sam`.
    Npm,
    /// Rust, `yosemite`.
    Yosemite,
}

impl Client {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Python, Self::Npm, Self::Yosemite];

    /// Its name in a report.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Python => "python i2p.socket",
            Self::Npm => "npm i2p-sam",
            Self::Yosemite => "rust yosemite",
        }
    }
}

/// Where the client programs are installed.
#[derive(Clone, Debug)]
pub struct Programs {
    sources: PathBuf,
    installed: PathBuf,
}

/// How long a session and a connection may take, and how slow a stream may be before it counts as stuck.
const SESSION: Duration = Duration::from_secs(120);
const CONNECT: Duration = Duration::from_secs(90);
const SLOWEST_BYTES_PER_SECOND: usize = 100_000;

impl Programs {
    /// Below the repository's `target` directory, as `cargo` lays it out.
    pub fn new(root: &Path) -> Self {
        Self { sources: root.join("interop/clients"), installed: root.join("target/interop") }
    }

    /// Installs the Python and npm libraries where they are not yet.
    pub fn install(&self, clients: &[Client]) -> Result<()> {
        fs::create_dir_all(&self.installed)?;
        if clients.contains(&Client::Python) && !self.python().exists() {
            let venv = self.installed.join("venv");
            run(Command::new("python3").args(["-m", "venv"]).arg(&venv)).context("package python3-venv")?;
            let requirements = self.sources.join("requirements.txt");
            let pip = Command::new(venv.join("bin/pip"))
                .args(["install", "--quiet", "-r"])
                .arg(requirements)
                .status()?;
            if !pip.success() {
                fs::remove_dir_all(&venv)?;
                anyhow::bail!("pip could not install i2p.socket");
            }
        }
        if clients.contains(&Client::Npm) {
            let npm = self.installed.join("npm");
            fs::create_dir_all(&npm)?;
            for file in ["package.json", "stream.js"] {
                fs::copy(self.sources.join(file), npm.join(file))?;
            }
            if !npm.join("node_modules/@diva.exchange/i2p-sam").exists() {
                run(Command::new("npm")
                    .args(["install", "--omit=dev", "--no-audit", "--no-fund"])
                    .current_dir(npm))?;
            }
        }
        Ok(())
    }

    fn python(&self) -> PathBuf {
        self.installed.join("venv/bin/python")
    }

    /// The command that runs a client in a namespace, without its arguments.
    fn command(&self, client: Client, namespace: &Namespace) -> Result<Command> {
        let mut command;
        match client {
            Client::Python => {
                command = namespace.command(&self.python());
                command.arg(self.sources.join("stream.py"));
            }
            Client::Npm => {
                command = namespace.command(Path::new("node"));
                command.arg(self.installed.join("npm/stream.js"));
            }
            Client::Yosemite => {
                command = namespace.command(&std::env::current_exe()?);
                command.arg("yosemite");
            }
        }
        Ok(command)
    }
}

/// One transfer to be made: `bytes` in each direction between two programs of a kind.
#[derive(Clone, Copy, Debug)]
pub struct Transfer<'a> {
    /// The programs used at both ends.
    pub client: Client,
    /// The router of the connecting application.
    pub from: &'a Router,
    /// The router of the accepting application.
    pub to: &'a Router,
    /// Payload in each direction.
    pub bytes: usize,
    /// Tunnel length, both directions, both sides.
    pub hops: usize,
    /// Where the logs go.
    pub logs: &'a Path,
}

/// Inbound tunnels asked of i2pd. 2.45.1 does not publish a LeaseSet before the first outbound tunnel
/// stands, and looks again only when the next inbound tunnel does: with few of them that may be minutes.
const I2PD_INBOUND: usize = 8;

/// What a transfer took.
#[derive(Clone, Copy, Debug)]
pub struct Took {
    /// Until both sessions were there and the stream was open.
    pub to_connect: Duration,
    /// From then until the last byte of the second direction.
    pub to_transfer: Duration,
}

impl Transfer<'_> {
    /// Makes the transfer and compares what was sent with what arrived.
    pub fn run(&self, programs: &Programs) -> Result<Took> {
        let begun = Instant::now();
        let mut server = programs.command(self.client, self.to.namespace())?;
        server.arg("serve").arg(self.bytes.to_string());
        self.add_options(&mut server, self.to.kind());
        let log = |side: &str| self.logs.join(format!("{:?}-{side}.log", self.client).to_lowercase());
        let (mut server, from_server) = Process::start_talking(server, "the accepting side", &log("serve"))?;
        let mut destination = from_server.expect("DESTINATION", SESSION)?;
        if self.from.kind() == Kind::I2pd {
            // The npm library loses the padding of what it parses; i2pd insists on it, we do not.
            while destination.len() % 4 != 0 {
                destination.push('=');
            }
        }

        let mut client = programs.command(self.client, self.from.namespace())?;
        client.arg("connect").arg(self.bytes.to_string()).arg(&destination);
        self.add_options(&mut client, self.from.kind());
        let (mut client, from_client) =
            Process::start_talking(client, "the connecting side", &log("connect"))?;
        from_client.expect("CONNECTED", SESSION + CONNECT)?;
        let connected = Instant::now();

        let limit = Duration::from_secs(60 + u64::try_from(self.bytes / SLOWEST_BYTES_PER_SECOND)?);
        let sent = from_client.expect("SENT", limit)?;
        let received = from_server.expect("RECEIVED", limit)?;
        ensure!(sent == received, "towards the server: sent {sent}, received {received}");
        let sent = from_server.expect("SENT", limit)?;
        let received = from_client.expect("RECEIVED", limit)?;
        ensure!(sent == received, "towards the client: sent {sent}, received {received}");
        let took = Took { to_connect: connected - begun, to_transfer: connected.elapsed() };
        from_client.expect("DONE", limit)?;
        client.stop(Duration::from_secs(2));
        server.stop(Duration::from_secs(2));
        Ok(took)
    }

    /// The tunnel length in the words of each program.
    fn add_options(&self, command: &mut Command, router: Kind) {
        let hops = self.hops;
        match self.client {
            Client::Python | Client::Npm => {
                command.arg(format!("inbound.length={hops}")).arg(format!("outbound.length={hops}"));
                if router == Kind::I2pd {
                    // By default i2pd 2.45.1 offers these programs ElGamal alone, which we do not speak.
                    command.arg("i2cp.leaseSetEncType=4");
                    command.arg(format!("inbound.quantity={I2PD_INBOUND}"));
                }
            }
            Client::Yosemite => {
                command.arg(format!("--hops={hops}"));
                if router == Kind::I2pd {
                    // By default yosemite asks for 6,4; i2pd 2.45.1 crashes on a type that it does not know.
                    command.arg("--encryption=4").arg(format!("--inbound-quantity={I2PD_INBOUND}"));
                }
            }
        }
    }
}
