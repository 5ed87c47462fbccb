//! `cargo xtask deb`: the Debian package, from the programs, `packaging/` and `docs/`.
//!
//! Made with `dpkg-deb` alone. The same commit gives the same package, whoever builds it and where: the programs know
//! no path of this machine, and all times are the commit's.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{cargo_program, run, target_dir};

/// The programs of the package.
const PROGRAMS: [&str; 3] = ["i2p-router", "i2p-tunnel", "aioli"];
/// Shells with completions: what clap calls a file, and where Debian has it.
const SHELLS: [(&str, &str, &str, &str); 3] = [
    ("bash", "NAME.bash", "usr/share/bash-completion/completions", "NAME"),
    ("zsh", "_NAME", "usr/share/zsh/vendor-completions", "_NAME"),
    ("fish", "NAME.fish", "usr/share/fish/vendor_completions.d", "NAME.fish"),
];

/// What to make.
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// Programs that were built already, in this directory, instead of a release build.
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// The package's revision, behind the version.
    #[arg(long, default_value_t = 1)]
    revision: u32,
    /// Then install, start, upgrade and remove it in a fresh Debian (root, debootstrap); with a directory, in a copy of that.
    #[arg(long, value_name = "ROOT", num_args = 0..=1)]
    check: Option<Option<PathBuf>>,
}

/// Makes the package and says where it is.
pub(crate) fn deb(arguments: &Arguments) -> Result<()> {
    let programs = match &arguments.programs {
        Some(directory) => directory.clone(),
        None => release(None)?,
    };
    let package = package(&programs, arguments.revision)?;
    println!("{}", package.display());
    if let Some(root) = &arguments.check {
        let next = self::package(&programs, arguments.revision + 1)?;
        run(Command::new("packaging/test-deb.sh").arg(package).arg(next).args(root))?;
    }
    Ok(())
}

/// A release build that is the same everywhere; says where its programs are.
pub(crate) fn release(target: Option<&str>) -> Result<PathBuf> {
    let here = env::current_dir()?;
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")))
        .context("HOME is not set")?;
    // C and Rust write paths into assertions.
    let maps = [(&here, "/aioli"), (&home, "/cargo")];
    let flags = |option: &str| {
        let of = |(from, to): &(&PathBuf, &str)| format!("{option}={}={to}", from.display());
        maps.iter().map(of).collect::<Vec<_>>().join(" ")
    };
    let mut command = Command::new(cargo_program());
    command.args(["build", "--release", "--locked", "--package", "aioli", "--bins"]);
    command.args(target.iter().flat_map(|target| ["--target", target]));
    command.env("RUSTFLAGS", flags("--remap-path-prefix")).env("CFLAGS", flags("-ffile-prefix-map"));
    run(command.env("SOURCE_DATE_EPOCH", epoch()?))?;
    Ok(target_dir().join(target.unwrap_or_default()).join("release"))
}

/// When the commit was made.
fn epoch() -> Result<String> {
    if let Ok(given) = env::var("SOURCE_DATE_EPOCH") {
        return Ok(given);
    }
    output(Command::new("git").args(["log", "-1", "--format=%ct"])).context("SOURCE_DATE_EPOCH is not set")
}

fn package(programs: &Path, revision: u32) -> Result<PathBuf> {
    let version = format!("{}-{revision}", env!("CARGO_PKG_VERSION"));
    let architecture = output(Command::new("dpkg").arg("--print-architecture"))?;
    let directory = target_dir().join("debian");
    let tree = directory.join(format!("aioli_{version}"));
    if tree.exists() {
        fs::remove_dir_all(&tree)?;
    }
    let libc = add_programs(programs, &tree)?;
    add_from_command_line(programs, &tree)?;
    add_files(&tree)?;
    add_control(&tree, &version, &architecture, &libc)?;
    let file = directory.join(format!("aioli_{version}_{architecture}.deb"));
    let mut command = Command::new("dpkg-deb");
    command.args(["--root-owner-group", "-Zxz", "--build"]).arg(&tree).arg(&file);
    run(command.env("SOURCE_DATE_EPOCH", epoch()?).stdout(std::process::Stdio::null()))?;
    fs::remove_dir_all(&tree)?;
    Ok(file)
}

/// The stripped programs; says which C library they need.
fn add_programs(programs: &Path, tree: &Path) -> Result<String> {
    let mut libc = (0, 0);
    for name in PROGRAMS {
        let to = tree.join("usr/bin").join(name);
        copy(&programs.join(name), &to, 0o755)?;
        run(Command::new("strip").arg("--strip-all").arg(&to))?;
        libc = libc.max(libc_of(&fs::read(&to)?));
    }
    ensure!(libc > (0, 0), "the programs need no version of the C library: are they for Linux?");
    Ok(format!("{}.{}", libc.0, libc.1))
}

/// The newest version of glibc whose symbols a program asks for.
fn libc_of(program: &[u8]) -> (u32, u32) {
    const NAME: &[u8] = b"GLIBC_";
    let versions = program.windows(NAME.len()).enumerate().filter(|(_, window)| *window == NAME).filter_map(
        |(at, _)| {
            let text = program.get(at + NAME.len()..)?.split(|byte| *byte == 0).next()?;
            let (major, minor) = std::str::from_utf8(text).ok()?.split_once('.')?;
            Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
        },
    );
    versions.max().unwrap_or_default()
}

/// Manual pages and completions.
fn add_from_command_line(programs: &Path, tree: &Path) -> Result<()> {
    let aioli = programs.join("aioli").canonicalize()?;
    let made = tree.join("made");
    let pages = tree.join("usr/share/man/man1");
    run(Command::new(&aioli).arg("man").arg(&pages))?;
    let all = fs::read_dir(&pages)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    run(Command::new("gzip").args(["-9", "--no-name"]).args(all))?;
    for (shell, made_as, directory, name) in SHELLS {
        output(Command::new(&aioli).args(["completions", shell]).arg(&made))?;
        for program in PROGRAMS {
            let to = tree.join(directory).join(name.replace("NAME", program));
            copy(&made.join(made_as.replace("NAME", program)), &to, 0o644)?;
        }
    }
    fs::remove_dir_all(made)?;
    Ok(())
}

/// The unit, the configuration and the documents.
fn add_files(tree: &Path) -> Result<()> {
    copy(Path::new("packaging/aioli.service"), &tree.join("usr/lib/systemd/system/aioli.service"), 0o644)?;
    copy(Path::new("packaging/router.toml"), &tree.join("etc/aioli/router.toml"), 0o644)?;
    let documents = tree.join("usr/share/doc/aioli");
    for entry in fs::read_dir("docs")? {
        let path = entry?.path();
        if path.extension() == Some(OsStr::new("md")) {
            copy(&path, &documents.join(path.file_name().unwrap_or_default()), 0o644)?;
        }
    }
    copy(Path::new("CHANGELOG.md"), &documents.join("CHANGELOG.md"), 0o644)?;
    let licence = fs::read_to_string("LICENSE")?;
    let terms = licence.lines().skip_while(|line| !line.starts_with("Permission"));
    let terms = terms.map(|line| if line.is_empty() { " .".to_owned() } else { format!(" {line}") });
    let text = fs::read_to_string("packaging/debian/copyright")?;
    let text = text.replace("@LICENSE@", &terms.collect::<Vec<_>>().join("\n"));
    write(&documents.join("copyright"), &text, 0o644)
}

fn add_control(tree: &Path, version: &str, architecture: &str, libc: &str) -> Result<()> {
    let control = tree.join("DEBIAN");
    let text = fs::read_to_string("packaging/debian/control")?
        .replace("@VERSION@", version)
        .replace("@ARCHITECTURE@", architecture)
        .replace("@GLIBC@", libc)
        .replace("@SIZE@", &size(tree)?.div_ceil(1024).to_string());
    write(&control.join("control"), &text, 0o644)?;
    copy(Path::new("packaging/debian/conffiles"), &control.join("conffiles"), 0o644)?;
    for script in ["postinst", "prerm", "postrm"] {
        copy(&Path::new("packaging/debian").join(script), &control.join(script), 0o755)?;
    }
    Ok(())
}

/// Bytes of all files below a directory.
fn size(directory: &Path) -> Result<u64> {
    fs::read_dir(directory)?.try_fold(0, |sum, entry| {
        let entry = entry?;
        let of = if entry.file_type()?.is_dir() { size(&entry.path())? } else { entry.metadata()?.len() };
        Ok(sum + of)
    })
}

fn copy(from: &Path, to: &Path, mode: u32) -> Result<()> {
    place(to, mode, || fs::copy(from, to).map(drop))
        .with_context(|| format!("{} to {}", from.display(), to.display()))
}

fn write(to: &Path, text: &str, mode: u32) -> Result<()> {
    place(to, mode, || fs::write(to, text)).with_context(|| to.display().to_string())
}

fn place(to: &Path, mode: u32, make: impl FnOnce() -> std::io::Result<()>) -> Result<()> {
    fs::create_dir_all(to.parent().context("a file in a directory")?)?;
    make()?;
    Ok(fs::set_permissions(to, fs::Permissions::from_mode(mode))?)
}

/// What a program says in a line.
fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("running {}", command.get_program().display()))?;
    let program = command.get_program().display();
    ensure!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_c_library_that_is_asked_for_is_found() {
        assert_eq!(libc_of(b"xGLIBC_2.17\0yGLIBC_2.34\0GLIBC_2.2.5\0GLIBC_PRIVATE\0GLIBC_"), (2, 34));
        assert_eq!(libc_of(b"nothing"), (0, 0));
    }
}
