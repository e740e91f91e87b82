//! The private Python environment that holds octoDNS.
//!
//! Pinned and hashed requirements are part of the program. An environment is
//! complete only once its marker file is there, which is written last; what a
//! killed installation left behind is made anew.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use tokio::process::Command;

use crate::error::VenvError;

const REQUIREMENTS: &str = include_str!("../python/requirements.txt");
const MARKER: &str = "fedi-complete";
/// A slow package index is waited for, a stuck one is not.
const INSTALL_TIMEOUT: Duration = Duration::from_secs(600);
/// Importing what the requirements promise; a provider's own dependencies too.
const PROBE: &str = "import octodns.manager, octodns_powerdns, octodns_bind";

/// What an environment is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VenvSpec {
    /// The interpreter it is based on, a path or a name in `PATH`; 3.10 or newer.
    pub python: PathBuf,
    /// Further packages as pip names them, for providers beyond PowerDNS and
    /// RFC 2136: `octodns-cloudflare==1.1.0`.
    pub extra: Vec<String>,
}

impl Default for VenvSpec {
    fn default() -> Self {
        Self { python: PathBuf::from("python3"), extra: Vec::new() }
    }
}

/// A complete environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Venv {
    root: PathBuf,
}

impl Venv {
    /// The environment of `spec` below `dir` (such as `~/.cache/fedi/venvs`),
    /// made if it is not there yet. Several processes may ask at once.
    ///
    /// Making one takes about ten seconds and needs a package index; finding
    /// one takes two file look-ups.
    pub async fn ensure(dir: &Path, spec: &VenvSpec) -> Result<Self, VenvError> {
        let root = root(dir, spec);
        if is_complete(&root) {
            return Ok(Self { root });
        }
        let _lock = lock(dir, &root).await?;
        if is_complete(&root) {
            return Ok(Self { root });
        }
        build(&root, spec).await?;
        Ok(Self { root })
    }

    /// Makes the environment anew: for one that is complete but does not
    /// start, as after an upgrade of the interpreter it is based on.
    pub async fn repair(dir: &Path, spec: &VenvSpec) -> Result<Self, VenvError> {
        let root = root(dir, spec);
        let _lock = lock(dir, &root).await?;
        build(&root, spec).await?;
        Ok(Self { root })
    }

    /// The environment's interpreter.
    pub fn python(&self) -> PathBuf {
        self.root.join("bin").join("python")
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }
}

/// `<dir>/octodns-<hash>`: other requirements, another environment.
fn root(dir: &Path, spec: &VenvSpec) -> PathBuf {
    let mut hash = Sha256::new();
    hash.update(REQUIREMENTS);
    hash.update(spec.python.as_os_str().as_encoded_bytes());
    for package in &spec.extra {
        hash.update([0]);
        hash.update(package);
    }
    let digest = hash.finalize();
    let name = format!("octodns-{}", hex::encode(&digest[..8]));
    dir.join(name)
}

fn is_complete(root: &Path) -> bool {
    root.join(MARKER).is_file() && root.join("bin").join("python").exists()
}

/// Holds the environment's lock file: one installation at a time.
async fn lock(dir: &Path, root: &Path) -> Result<File, VenvError> {
    fs::create_dir_all(dir).map_err(|source| failed("create", dir, source))?;
    let path = root.with_extension("lock");
    let file = File::create(&path).map_err(|source| failed("create", &path, source))?;
    let start = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if start.elapsed() < INSTALL_TIMEOUT => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(TryLockError::WouldBlock) => {
                return Err(VenvError::Busy { path: root.to_owned(), waited: start.elapsed() });
            }
            Err(TryLockError::Error(source)) => return Err(failed("lock", &path, source)),
        }
    }
}

/// Installs everything into `root`; the marker comes last.
async fn build(root: &Path, spec: &VenvSpec) -> Result<(), VenvError> {
    check_version(&spec.python).await?;
    match fs::remove_dir_all(root) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            return Err(failed("remove", root, source));
        }
        _ => {}
    }
    tracing::info!(path = %root.display(), "installing octoDNS");
    make(root, &spec.python).await?;
    let python = root.join("bin").join("python");
    let requirements = root.join("requirements.txt");
    write(&requirements, REQUIREMENTS)?;
    pip(root, &python, &["--no-deps", "--require-hashes", "--requirement", &text(&requirements)]).await?;
    if !spec.extra.is_empty() {
        let constraints = root.join("constraints.txt");
        write(&constraints, &pins(REQUIREMENTS))?;
        let path = text(&constraints);
        let mut arguments = vec!["--constraint", path.as_str(), "--"];
        arguments.extend(spec.extra.iter().map(String::as_str));
        pip(root, &python, &arguments).await?;
    }
    let probe = output(Command::new(&python).args(["-I", "-c", PROBE]), &python).await?;
    if !probe.status.success() {
        return Err(VenvError::Broken(last_line(&probe.stderr)));
    }
    write(&root.join(MARKER), "")
}

/// `name==version` lines of hashed requirements.
fn pins(requirements: &str) -> String {
    let pinned: Vec<&str> = requirements
        .lines()
        .filter(|line| !line.starts_with(['#', ' ']))
        .map(|line| line.trim_end_matches(['\\', ' ']))
        .collect();
    pinned.join("\n")
}

async fn check_version(python: &Path) -> Result<(), VenvError> {
    const CODE: &str = "import sys; print('%d.%d' % sys.version_info[:2])";
    let answer = output(Command::new(python).args(["-I", "-c", CODE]), python).await?;
    let found = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
    let version: Vec<u32> = found.split('.').filter_map(|p| p.parse().ok()).collect();
    match version[..] {
        [major, minor] if (major, minor) >= (3, 10) => Ok(()),
        [_, _] => Err(VenvError::OldPython { path: python.to_owned(), found }),
        // it exists and is not a Python
        _ => Err(VenvError::NoPython(python.to_owned())),
    }
}

async fn make(root: &Path, python: &Path) -> Result<(), VenvError> {
    let made = output(Command::new(python).args(["-I", "-m", "venv"]).arg(root), python).await?;
    if made.status.success() {
        return Ok(());
    }
    let said = [&made.stdout[..], &made.stderr[..]].concat();
    let said_text = String::from_utf8_lossy(&said);
    for module in ["ensurepip", "venv"] {
        if said_text.contains(&format!("No module named {module}"))
            || said_text.contains(&format!("{module} is not available"))
        {
            return Err(VenvError::NoModule { path: python.to_owned(), module });
        }
    }
    Err(VenvError::Install { path: root.to_owned(), message: last_line(&said) })
}

async fn pip(root: &Path, python: &Path, arguments: &[&str]) -> Result<(), VenvError> {
    let mut command = Command::new(python);
    command.args(["-I", "-m", "pip", "install", "--quiet", "--no-input"]);
    command.args(["--disable-pip-version-check", "--prefer-binary"]);
    let done = output(command.args(arguments), python).await?;
    if done.status.success() {
        Ok(())
    } else {
        Err(VenvError::Install { path: root.to_owned(), message: last_line(&done.stderr) })
    }
}

/// Runs `command` to its end, bounded in time.
async fn output(command: &mut Command, python: &Path) -> Result<std::process::Output, VenvError> {
    let run = command.stdin(Stdio::null()).kill_on_drop(true).output();
    match tokio::time::timeout(INSTALL_TIMEOUT, run).await {
        Ok(Ok(output)) => Ok(output),
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => Err(VenvError::NoPython(python.to_owned())),
        Ok(Err(source)) => Err(failed("run", python, source)),
        Err(_) => Err(VenvError::Install {
            path: python.to_owned(),
            message: format!("no end after {} s", INSTALL_TIMEOUT.as_secs()),
        }),
    }
}

/// The line pip or Python ends with: the one that says what went wrong.
fn last_line(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let line = text.lines().map(str::trim).rfind(|line| !line.is_empty());
    line.unwrap_or("it said nothing").to_owned()
}

fn write(path: &Path, text: &str) -> Result<(), VenvError> {
    fs::write(path, text).map_err(|source| failed("write", path, source))
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn failed(what: &'static str, path: &Path, source: io::Error) -> VenvError {
    VenvError::Io { what, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_requirement_is_pinned_and_hashed() {
        let pinned = pins(REQUIREMENTS);
        assert!(pinned.lines().all(|line| line.contains("==")), "{pinned}");
        assert!(pinned.contains("octodns==1."));
        for block in REQUIREMENTS.lines().filter(|l| l.contains("==")) {
            assert!(block.ends_with('\\'), "{block} has no hash");
        }
        assert!(REQUIREMENTS.matches("--hash=sha256:").count() >= pinned.lines().count());
    }

    #[test]
    fn another_spec_is_another_directory() {
        let dir = Path::new("/cache");
        let plain = VenvSpec::default();
        let more = VenvSpec { extra: vec!["octodns-hetzner==1.0.0".into()], ..VenvSpec::default() };
        assert_eq!(root(dir, &plain), root(dir, &plain));
        assert_ne!(root(dir, &plain), root(dir, &more));
    }

    #[tokio::test]
    async fn a_missing_interpreter_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let spec = VenvSpec { python: "/nonexistent/python3".into(), extra: Vec::new() };
        let error = Venv::ensure(dir.path(), &spec).await.unwrap_err();
        assert_eq!(error.to_string(), "No Python interpreter at `/nonexistent/python3`");
        assert!(error.hint().unwrap().contains("3.10"));
    }

    #[tokio::test]
    async fn what_is_no_python_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let spec = VenvSpec { python: "/bin/true".into(), extra: Vec::new() };
        let error = Venv::ensure(dir.path(), &spec).await.unwrap_err();
        assert!(matches!(error, VenvError::NoPython(_)), "{error}");
    }
}
