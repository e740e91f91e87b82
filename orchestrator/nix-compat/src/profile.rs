//! Profiles on another machine, with Nix's own commands there.

use std::time::Duration;

use crate::error::NixError;
use crate::store_path::StorePath;

/// `nix-env` may wait for a garbage collection's lock.
const LIMIT: Duration = Duration::from_secs(300);

/// Runs commands on the machine that has the profile.
pub trait Runner: Sync {
    /// Runs a program with its arguments; what it printed, or its failure.
    fn run(&self, words: &[&str], limit: Duration) -> impl Future<Output = Result<String, NixError>> + Send;
}

/// A profile: `/nix/var/nix/profiles/system`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    path: String,
}

/// A generation of a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// Its number.
    pub number: u64,
    /// When it was made, in the machine's own time: `2026-11-21 08:00:00`.
    pub created: String,
    /// Whether it is the profile's current one.
    pub current: bool,
}

impl Profile {
    /// NixOS's own.
    pub fn system() -> Self {
        Self { path: "/nix/var/nix/profiles/system".to_owned() }
    }

    /// The profile at an absolute path.
    pub fn at(path: &str) -> Result<Self, NixError> {
        if !path.starts_with('/') || path.contains(char::is_control) {
            return Err(NixError::Invalid { message: format!("`{}` is no profile", path.escape_default()) });
        }
        Ok(Self { path: path.to_owned() })
    }

    /// Makes a path the current generation; a new one unless it already is.
    pub async fn set(&self, runner: &impl Runner, path: &StorePath) -> Result<(), NixError> {
        runner.run(&["nix-env", "--profile", &self.path, "--set", path.as_str()], LIMIT).await.map(drop)
    }

    /// All generations, oldest first.
    pub async fn generations(&self, runner: &impl Runner) -> Result<Vec<Generation>, NixError> {
        let text = runner.run(&["nix-env", "--profile", &self.path, "--list-generations"], LIMIT).await?;
        text.lines().filter(|line| !line.trim().is_empty()).map(parse).collect::<Option<_>>().ok_or_else(|| {
            NixError::Answer {
                what: "nix-env --list-generations".to_owned(),
                message: "a line has another form".to_owned(),
            }
        })
    }

    /// Where the current generation leads; `None` where there is none.
    pub async fn current(&self, runner: &impl Runner) -> Result<Option<StorePath>, NixError> {
        let text = runner.run(&["readlink", "-m", "--", &self.path], LIMIT).await?;
        Ok(StorePath::parse(text.trim()).ok())
    }

    /// Makes an earlier generation current: the one given, or the one before.
    pub async fn roll_back(&self, runner: &impl Runner, to: Option<u64>) -> Result<(), NixError> {
        let number = to.map(|number| number.to_string());
        let step = match &number {
            Some(number) => vec!["--switch-generation", number.as_str()],
            None => vec!["--rollback"],
        };
        runner.run(&[&["nix-env", "--profile", &self.path], &step[..]].concat(), LIMIT).await.map(drop)
    }
}

/// Reads a line of `nix-env --list-generations`: `   2   2026-11-21 08:00:00   (current)`.
fn parse(line: &str) -> Option<Generation> {
    let mut words = line.split_whitespace();
    let number = words.next()?.parse().ok()?;
    let (date, time) = (words.next()?, words.next()?);
    Some(Generation { number, created: format!("{date} {time}"), current: words.next() == Some("(current)") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_line_of_generations() {
        let line = "  12   2026-11-21 08:00:00   (current)";
        let created = "2026-11-21 08:00:00".to_owned();
        assert_eq!(parse(line), Some(Generation { number: 12, created, current: true }));
        assert!(!parse("1   2026-11-21 08:00:00   ").unwrap().current);
        assert_eq!(parse("warning: something"), None);
    }

    proptest! {
        #[test]
        fn any_line_is_read(line in "\\PC*") {
            let _ = parse(&line);
        }
    }
}
