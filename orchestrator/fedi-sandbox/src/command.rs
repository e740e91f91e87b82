//! Running programs: the ones that answer at once, and daemons that stay in a cgroup of the sandbox.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::cgroup::Cgroup;
use crate::{Result, SandboxError};

/// Joins a cgroup and a network namespace, gets a private name resolution, then becomes the command.
pub(crate) const ENTER: &str = include_str!("scripts/enter.sh");
/// The same as a daemon: in a session of its own, adopted by init.
pub(crate) const DAEMON: &str = include_str!("scripts/daemon.sh");

/// The only path that programs of the sandbox are looked up on.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs a program with a clean environment and returns what it printed.
pub(crate) fn output<I, S>(what: &str, program: &str, args: I) -> Result<String>
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    let out = Command::new(program)
        .args(args)
        .env_clear()
        .env("PATH", PATH)
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .output()
        .map_err(|source| missing_or_io(program, what, source))?;
    if out.status.success() {
        return Ok(String::from_utf8_lossy(&out.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&out.stderr);
    Err(SandboxError::Command { what: what.to_owned(), output: tail(&text, 5) })
}

/// The error for a program that could not be started.
pub(crate) fn missing_or_io(program: &str, what: &str, source: std::io::Error) -> SandboxError {
    if source.kind() == std::io::ErrorKind::NotFound {
        SandboxError::MissingProgram { program: program.to_owned() }
    } else {
        SandboxError::Io { what: what.to_owned(), source }
    }
}

/// The last lines of a text, on one line.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    all[all.len().saturating_sub(lines)..].join("; ")
}

/// A server process of the sandbox.
pub(crate) struct Daemon {
    /// For messages: `PowerDNS`.
    pub(crate) title: &'static str,
    /// The cgroup that is its alone.
    pub(crate) cgroup: Cgroup,
    /// The network namespace's file.
    pub(crate) netns: PathBuf,
    /// The folder with its `resolv.conf` and `nsswitch.conf`.
    pub(crate) etc: PathBuf,
    /// Where its output is appended.
    pub(crate) log: PathBuf,
}

impl Daemon {
    /// Starts it unless it runs, then waits until `ready` says so.
    pub(crate) fn ensure(
        &self,
        argv: &[impl AsRef<OsStr>],
        env: &[(&str, String)],
        patience: Duration,
        mut ready: impl FnMut() -> bool,
    ) -> Result<()> {
        if !self.cgroup.populated() {
            self.start(argv, env)?;
        }
        let deadline = Instant::now() + patience;
        loop {
            if ready() {
                return Ok(());
            }
            let why = if !self.cgroup.populated() {
                "it exited".to_owned()
            } else if Instant::now() > deadline {
                format!("no answer after {} s", patience.as_secs())
            } else {
                sleep(Duration::from_millis(20));
                continue;
            };
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            let why = format!("{why} ({})", tail(&log, 3));
            return Err(SandboxError::NotReady { part: self.title.to_owned(), why, log: self.log.clone() });
        }
    }

    fn start(&self, argv: &[impl AsRef<OsStr>], env: &[(&str, String)]) -> Result<()> {
        self.cgroup.create()?;
        let log = append(&self.log)?;
        let errors = log.try_clone().map_err(SandboxError::io("open the log"))?;
        let what = format!("start {}", self.title);
        let status = Command::new("sh")
            .args(["-c", DAEMON, "sandbox-daemon", ENTER])
            .arg(self.cgroup.joined())
            .arg(&self.netns)
            .arg(&self.etc)
            .args(argv)
            .env_clear()
            .env("PATH", PATH)
            .env("LC_ALL", "C.UTF-8")
            .env("HOME", "/nonexistent")
            .envs(env.iter().map(|(key, value)| (key, value)))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .status()
            .map_err(|source| missing_or_io("sh", &what, source))?;
        if status.success() {
            return Ok(());
        }
        let output = tail(&fs::read_to_string(&self.log).unwrap_or_default(), 3);
        Err(SandboxError::Command { what, output })
    }
}

/// Opens a log for appending, readable by root alone.
pub(crate) fn append(path: &Path) -> Result<fs::File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .map_err(SandboxError::io(format!("open `{}`", path.display())))
}
