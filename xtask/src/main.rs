//! `cargo xtask`: the project's own tasks, the same for a person and for CI.

#![allow(clippy::print_stdout, reason = "a program for a terminal: its output is its purpose")]

mod deb;
mod links;
mod signers;
mod sources;
mod tidy;

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};

/// The project's own tasks.
#[derive(Parser, Debug)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand, Debug)]
enum Task {
    /// Everything that a change must pass, apart from interop: format, lints, tests, docs, licences, tidy.
    Ci {
        /// Leaves the tests out, where they have just been run.
        #[arg(long)]
        no_test: bool,
        /// Fails if cargo-deny is missing, instead of saying so.
        #[arg(long)]
        deny: bool,
    },
    /// Which crate may use which, headers, sizes of files and functions.
    Tidy,
    /// Real routers and clients in network namespaces (root): `--scenario a,b,c,d`, `--quick`; see `--help`.
    #[command(disable_help_flag = true)]
    Interop {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Ten i2pd beside ten of ours, and ten of ours over SSU2 alone (root): writes bench/RESULTS.md.
    #[command(disable_help_flag = true)]
    Compare {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Our decoders, cryptography and data against others' files, which are not part of the repository.
    Vectors {
        /// The directory that has them.
        directory: PathBuf,
    },
    /// The entry of crates/aioli-node/data/reseed.toml for a certificate: of a signer, or of a server.
    Signer {
        /// The certificate in PEM.
        certificate: PathBuf,
    },
    /// The Debian package, in target/debian.
    Deb(deb::Arguments),
    /// A release build that is the same wherever it is made.
    Release {
        /// For another platform: x86_64-unknown-linux-musl makes programs that need no library.
        #[arg(long)]
        target: Option<String>,
    },
    /// The memory of our router in each profile; fails if `tiny` takes more than it may.
    #[command(disable_help_flag = true)]
    Memory {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// A simulated network: `--seed N --scenario S`.
    #[command(disable_help_flag = true)]
    Sim {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    match run_task(Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run_task(task: Task) -> Result<()> {
    let here = env::current_dir()?;
    env::set_current_dir(root()?)?;
    match task {
        Task::Vectors { directory } => vectors(&here.join(directory)),
        Task::Signer { certificate } => signers::print(&here.join(certificate)),
        Task::Ci { no_test, deny } => ci(no_test, deny),
        Task::Deb(arguments) => deb::deb(&arguments),
        Task::Release { target } => {
            println!("{}", deb::release(target.as_deref())?.display());
            Ok(())
        }
        Task::Tidy => tidy::tidy(Path::new(".")),
        Task::Interop { arguments } => interop("run", &arguments),
        Task::Compare { arguments } => interop("compare", &arguments),
        Task::Memory { arguments } => {
            cargo(["build", "--release", "--package", "aioli", "--bin", "i2p-router"])?;
            let own =
                ["run", "--release", "--package", "aioli-bench", "--bin", "router_memory", "--", "--check"];
            cargo(own.into_iter().chain(arguments.iter().map(String::as_str)))
        }
        Task::Sim { arguments } => {
            let own = ["run", "--release", "--package", "aioli-sim", "--"];
            cargo(own.into_iter().chain(arguments.iter().map(String::as_str)))
        }
    }
}

/// What CI runs, in the order in which it is quickest to hear of a failure.
fn ci(no_test: bool, deny: bool) -> Result<()> {
    let begun = Instant::now();
    step("tidy", || tidy::tidy(Path::new(".")))?;
    step("fmt", || cargo(["fmt", "--all", "--check"]))?;
    step("clippy", || {
        cargo(["clippy", "--workspace", "--all-targets", "--locked", "--", "--deny", "warnings"])
    })?;
    if !no_test {
        step("test", || cargo(["test", "--workspace", "--locked", "--quiet"]))?;
    }
    step("doc", || {
        let mut command = Command::new(cargo_program());
        command.args(["doc", "--workspace", "--no-deps", "--document-private-items", "--locked", "--quiet"]);
        run(command.env("RUSTDOCFLAGS", "--deny warnings"))
    })?;
    licences(deny)?;
    unit()?;
    println!("ci: passed in {} s", begun.elapsed().as_secs());
    Ok(())
}

/// The tests named `shared_vectors`, with the files that they do nothing without, and the certificates of signers.
fn vectors(directory: &Path) -> Result<()> {
    let directory = directory.canonicalize().with_context(|| directory.display().to_string())?;
    step("vectors", || {
        let mut command = Command::new(cargo_program());
        // All of the workspace, so that nothing is built anew with other features.
        command.args(["test", "--workspace", "--locked", "--quiet", "--test", "shared_vectors"]);
        run(command.env("AIOLI_VECTORS", &directory))
    })?;
    let certificates = signers::compare(&directory.join("su3/signers"))?;
    println!("vectors: the files agree, and so do {certificates} certificates with the reseed data");
    Ok(())
}

/// cargo-deny, which is not part of a Rust installation.
fn licences(required: bool) -> Result<()> {
    let mut probe = Command::new(cargo_program());
    let probe = probe.args(["deny", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !required && !probe.is_ok_and(|status| status.success()) {
        println!("== deny: NOT CHECKED, cargo-deny is not installed (cargo install --locked cargo-deny)");
        return Ok(());
    }
    step("deny", || cargo(["deny", "--log-level", "error", "check", "bans", "licenses", "sources"]))
}

/// What systemd thinks of the unit's confinement, where it is installed: at most 2.0 of 10.
fn unit() -> Result<()> {
    const THRESHOLD: &str = "--threshold=20";
    let mut probe = Command::new("systemd-analyze");
    let probe = probe.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !probe.is_ok_and(|status| status.success()) {
        println!("== unit: NOT CHECKED, systemd-analyze is not installed (package systemd)");
        return Ok(());
    }
    step("unit", || {
        let mut command = Command::new("systemd-analyze");
        let command =
            command.args(["security", "--offline=true", THRESHOLD, "--no-pager", "packaging/aioli.service"]);
        run(command.stdout(Stdio::null()))
    })
}

/// Builds our programs and the interop runner, and lets that one do the rest.
fn interop(task: &str, arguments: &[String]) -> Result<()> {
    let programs = ["--package", "aioli", "--bin", "i2p-router", "--bin", "aioli"];
    let runner = ["--package", "interop", "--bin", "interop"];
    cargo(["build", "--release", "--quiet"].into_iter().chain(programs).chain(runner))?;
    run(Command::new(target_dir().join("release/interop")).arg(task).args(arguments))
}

/// Runs a step and says so.
fn step(name: &str, task: impl FnOnce() -> Result<()>) -> Result<()> {
    println!("== {name}");
    let begun = Instant::now();
    task().with_context(|| format!("step {name}"))?;
    println!("== {name}: {:.1} s", begun.elapsed().as_secs_f64());
    Ok(())
}

fn cargo<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Result<()> {
    run(Command::new(cargo_program()).args(arguments))
}

fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().display().to_string();
    let status = command.status().with_context(|| format!("running {program}"))?;
    ensure!(status.success(), "{program} ended with {status}");
    Ok(())
}

/// The cargo that runs us.
fn cargo_program() -> String {
    env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from)
}

/// The workspace, above this crate.
fn root() -> Result<PathBuf> {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_dir.parent().map(Path::to_owned).context("xtask lies in the workspace")
}
