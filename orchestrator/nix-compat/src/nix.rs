//! The `nix` command: where it is, what it is told every time, and its version.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use tokio::process::Command;
use tokio::sync::OnceCell;

use crate::command::{self, Finished};
use crate::error::NixError;
use crate::log::{Event, Log};

/// The `nix` command with its settings.
#[derive(Debug, Clone)]
pub struct Nix {
    program: PathBuf,
    environment: BTreeMap<OsString, OsString>,
    options: BTreeMap<String, String>,
    store: Option<String>,
    version: std::sync::Arc<OnceCell<Version>>,
}

/// How a call is watched: what happens goes to `emit`, and it is killed at the limit.
pub struct Watch<'a> {
    /// Gets what happens, from within the call.
    pub emit: &'a mut (dyn FnMut(Event) + Send),
    /// Longest time.
    pub limit: Duration,
}

/// Version of Nix, or of the fork that answers to its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// 2 in 2.34.
    pub major: u32,
    /// 34 in 2.34.
    pub minor: u32,
    /// Whether it is Lix, which counts on its own from 2.90.
    pub lix: bool,
    /// The whole line, for messages.
    pub text: String,
}

impl Version {
    /// Reads the first line of `nix --version`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let line = text.lines().next()?.trim();
        let number = line.rsplit(' ').next()?;
        let mut parts = number.split(|c: char| !c.is_ascii_digit());
        let (major, minor) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        Some(Self { major, minor, lix: line.contains("(Lix"), text: line.to_owned() })
    }

    /// Whether `nix path-info --json` wants `--json-format` (Nix 2.33).
    pub(crate) fn has_json_format(&self) -> bool {
        !self.lix && (self.major, self.minor) >= (2, 33)
    }

    /// Whether the commands that this crate uses are there (Nix 2.8).
    fn is_enough(&self) -> bool {
        (self.major, self.minor) >= (2, 8)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Default for Nix {
    fn default() -> Self {
        Self::new()
    }
}

impl Nix {
    /// The `nix` of the search path.
    pub fn new() -> Self {
        Self {
            program: PathBuf::from("nix"),
            environment: BTreeMap::new(),
            options: BTreeMap::new(),
            store: None,
            version: std::sync::Arc::default(),
        }
    }

    /// Another `nix`.
    #[must_use]
    pub fn with_program(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = program.into();
        self.version = std::sync::Arc::default();
        self
    }

    /// A variable of the environment, for every call.
    #[must_use]
    pub fn with_environment(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.insert(name.into(), value.into());
        self
    }

    /// A setting of nix.conf(5), for every call.
    #[must_use]
    pub fn with_option(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.options.insert(name.into(), value.into());
        self
    }

    /// Another store than the machine's own, as a store URI: `local?root=/srv/store`.
    #[must_use]
    pub fn with_store(mut self, store: impl Into<String>) -> Self {
        self.store = Some(store.into());
        self
    }

    /// The version; asked once. Refuses one that is too old.
    pub async fn version(&self) -> Result<Version, NixError> {
        let ask = || async {
            let mut command = Command::new(&self.program);
            command.envs(&self.environment).arg("--version");
            let finished = command::run(command, Duration::from_secs(30), &mut |_| {}).await?;
            let text = String::from_utf8_lossy(&finished.stdout).into_owned();
            let version = Version::parse(&text).ok_or_else(|| NixError::Answer {
                what: "nix --version".to_owned(),
                message: format!("`{}` names no version", text.trim().escape_default()),
            })?;
            if !version.is_enough() {
                let message = format!("{version} is too old; Nix 2.8 or newer is needed");
                return Err(NixError::Invalid { message });
            }
            Ok(version)
        };
        self.version.get_or_try_init(ask).await.cloned()
    }

    /// `nix <words>` with all settings, its log in the form for programs.
    pub(crate) fn command<I: IntoIterator<Item: AsRef<OsStr>>>(&self, words: I) -> Command {
        let mut command = Command::new(&self.program);
        command.args(words).envs(&self.environment);
        command.args(["--extra-experimental-features", "nix-command flakes"]);
        command.args(["--log-format", "internal-json"]);
        if let Some(store) = &self.store {
            command.arg("--store").arg(store);
        }
        for (name, value) in &self.options {
            command.arg("--option").arg(name).arg(value);
        }
        command
    }

    /// Runs a command and reads its log.
    pub(crate) async fn run(&self, command: Command, watch: &mut Watch<'_>) -> Result<(Finished, Log), NixError> {
        let mut log = Log::default();
        let mut warned = std::collections::BTreeSet::new();
        let emit = &mut *watch.emit;
        let finished = command::run(command, watch.limit, &mut |line| {
            log.take(line, &mut |event| {
                // The same warning comes once for every file that is looked at.
                if !matches!(&event, Event::Warning { text } if !warned.insert(text.clone())) {
                    emit(event);
                }
            });
        })
        .await?;
        Ok((finished, log))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn versions_of_all_forks() {
        for (text, expected) in [
            ("nix (Nix) 2.8.0\n", (2, 8, false)),
            ("nix (Nix) 2.34.0pre20260101_abcdef0", (2, 34, false)),
            ("nix (Lix, like Nix) 2.93.3\nSystem type: x86_64-linux", (2, 93, true)),
            ("nix (Determinate Nix 3.11.2) 2.31.1", (2, 31, false)),
        ] {
            let version = Version::parse(text).unwrap();
            assert_eq!((version.major, version.minor, version.lix), expected, "{text}");
        }
        assert!(Version::parse("command not found").is_none());
    }

    proptest! {
        #[test]
        fn any_version_is_read(text in "\\PC*") {
            let _ = Version::parse(&text);
        }
    }
}
