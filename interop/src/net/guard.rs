//! A second process that removes the namespaces when this one is killed.
//!
//! It holds the reading end of a pipe whose writing end dies with the run, for
//! whatever reason; then it removes what is left. It sits in a process group of
//! its own, so that Ctrl-C reaches the run alone.

use std::io::{Read, stdin};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use super::namespace::sweep_prefix;

/// The guard of one network. It ends when this is dropped.
#[derive(Debug)]
pub struct Guard {
    child: Child,
}

impl Guard {
    /// Starts the guard of the namespaces with this prefix: this program again, as `interop guard <prefix>`.
    pub fn start(prefix: &str) -> Result<Self> {
        let program = std::env::current_exe().context("finding this program")?;
        let mut command = Command::new(program);
        command.arg("guard").arg(prefix).stdin(Stdio::piped()).stdout(Stdio::null()).process_group(0);
        Ok(Self { child: command.spawn().context("starting the guard")? })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// What the guard's process does: waits for the end of the run, then tidies up.
pub fn guard(prefix: &str) -> Result<()> {
    let mut ignored = Vec::new();
    let _ = stdin().read_to_end(&mut ignored);
    sweep_prefix(prefix)
}
