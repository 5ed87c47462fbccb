//! Shell completions and manual pages of the programs, made from their command lines.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Command;
use clap_complete::Shell;

/// Writes a completion file for each program into a directory, which is made if need be.
pub fn completions(shell: Shell, directory: &Path, programs: Vec<Command>) -> Result<Vec<PathBuf>> {
    make(directory)?;
    let mut files = Vec::new();
    for mut program in programs {
        let name = program.get_name().to_owned();
        let file = clap_complete::generate_to(shell, &mut program, name, directory);
        files.push(file.with_context(|| format!("cannot write into {}", directory.display()))?);
    }
    Ok(files)
}

/// Writes a manual page for each program and each of its tasks into a directory, which is made if need be.
pub fn pages(directory: &Path, programs: Vec<Command>) -> Result<()> {
    make(directory)?;
    for program in programs {
        clap_mangen::generate_to(program, directory)
            .with_context(|| format!("cannot write into {}", directory.display()))?;
    }
    Ok(())
}

fn make(directory: &Path) -> Result<()> {
    std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))
}
