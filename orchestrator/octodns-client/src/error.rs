//! What can go wrong, sorted by what a caller does about it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::name::{InvalidName, ZoneName};
use crate::plan::{Change, Conflict};
use crate::record::RecordKey;
use crate::value::InvalidValue;

/// What a failed operation left in the zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// Nothing was written.
    Nothing,
    /// Writing had begun and the zone could not be read afterwards. Plan
    /// again: the new plan holds what is still missing.
    Unknown,
    /// Writing had begun; this is what the zone was read to hold afterwards.
    Known { applied: Vec<RecordKey>, pending: Vec<RecordKey> },
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing was changed"),
            Self::Unknown => f.write_str("it is not known what was changed"),
            Self::Known { applied, pending } if applied.is_empty() => {
                write!(f, "none of the {} changes was made", pending.len())
            }
            Self::Known { applied, pending } if pending.is_empty() => {
                write!(f, "all {} changes were made", applied.len())
            }
            Self::Known { applied, pending } => {
                write!(f, "{} of {} changes were made", applied.len(), applied.len() + pending.len())
            }
        }
    }
}

/// A failure of an operation on a zone.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A wanted record exists and is somebody else's.
    #[error("A record in the way is not owned: {}", list(conflicts))]
    Conflict { zone: ZoneName, conflicts: Vec<Conflict> },
    /// The zone is not as it was when the plan was made.
    #[error("Zone `{zone}` changed after it was planned")]
    Drift {
        zone: ZoneName,
        /// What would have to be done now.
        now: Vec<Change>,
    },
    /// More would be deleted than was allowed, or something not named.
    #[error("{} would be deleted or touched, {limit} allowed: {}", records.len(), list(records))]
    TooMuchChange { zone: ZoneName, records: Vec<RecordKey>, limit: u64 },
    /// A record is not valid, or the provider does not take it.
    #[error("A record was refused: {message}")]
    Validation { message: String },
    /// The provider's settings or class do not work.
    #[error("The DNS provider is not set up right: {message}")]
    Config { message: String },
    /// The provider refused who we are.
    #[error("The DNS provider refused the credentials: {message}")]
    Auth { message: String, effect: Effect },
    /// The provider did not answer, or not in a usable way: worth retrying.
    #[error("The DNS provider is not available ({effect}): {message}")]
    Unavailable { message: String, effect: Effect },
    /// The provider does not have the zone.
    #[error("The DNS provider has no zone `{zone}`: {message}")]
    NotFound { zone: ZoneName, message: String },
    /// No answer before the deadline.
    #[error("The DNS provider took too long ({effect}): {message}")]
    Timeout { message: String, effect: Effect },
    /// An error of a provider's own that fits none of the classes.
    #[error("The DNS provider failed ({effect}): {exception}: {message}")]
    Provider { exception: String, message: String, effect: Effect },
    /// The Python environment is missing or broken.
    #[error(transparent)]
    Venv(#[from] VenvError),
    /// The worker process died or answered nonsense.
    #[error("The octoDNS worker failed ({effect}): {message}")]
    Protocol { message: String, effect: Effect },
}

impl Error {
    /// Whether the same call may work later without anybody changing anything.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Timeout { .. })
    }

    /// What the failed call left in the zone.
    pub fn effect(&self) -> Effect {
        match self {
            Self::Auth { effect, .. }
            | Self::Unavailable { effect, .. }
            | Self::Timeout { effect, .. }
            | Self::Provider { effect, .. }
            | Self::Protocol { effect, .. } => effect.clone(),
            _ => Effect::Nothing,
        }
    }

    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Conflict { conflicts, .. } => conflict_hint(conflicts),
            Self::Drift { .. } => "Plan again and look at what differs".to_owned(),
            Self::TooMuchChange { .. } => "Allow the deletes explicitly if they are meant".to_owned(),
            Self::Auth { .. } => "Check the provider's key and what it may do".to_owned(),
            Self::Config { message } if message.starts_with("no provider ") => {
                "Name the provider's package among those to install beside octoDNS".to_owned()
            }
            Self::NotFound { zone, .. } => {
                format!("Create the zone `{zone}` at the provider, or check its name")
            }
            Self::Unavailable { effect, .. } | Self::Timeout { effect, .. } => match effect {
                Effect::Nothing => "Try again when the provider answers".to_owned(),
                _ => "Plan again when the provider answers; what is done is not done twice".to_owned(),
            },
            Self::Venv(error) => return error.hint(),
            _ => return None,
        })
    }
}

/// TXT is where several owners really want one name (verification strings and
/// SPF at the apex); a set has one owner here, so say what to do instead.
fn conflict_hint(conflicts: &[Conflict]) -> String {
    let text = conflicts.iter().any(|c| c.wanted.kind == crate::RecordType::Txt);
    if text {
        "Add the value to the existing TXT record by hand, or use a name of its own"
    } else {
        "Remove the record, or choose another name"
    }
    .to_owned()
}

impl From<InvalidName> for Error {
    fn from(error: InvalidName) -> Self {
        Self::Validation { message: error.to_string() }
    }
}

impl From<InvalidValue> for Error {
    fn from(error: InvalidValue) -> Self {
        Self::Validation { message: error.to_string() }
    }
}

/// Why there is no usable Python environment.
#[derive(Debug, thiserror::Error)]
pub enum VenvError {
    #[error("No Python interpreter at `{}`", .0.display())]
    NoPython(PathBuf),
    #[error("Python {found} at `{}` is too old, 3.10 or newer is needed", path.display())]
    OldPython { path: PathBuf, found: String },
    #[error("Python at `{}` has no `{module}` module", path.display())]
    NoModule { path: PathBuf, module: &'static str },
    #[error("Failed to install octoDNS into `{}`: {message}", path.display())]
    Install { path: PathBuf, message: String },
    #[error("octoDNS {found} is not supported, {wanted} is needed")]
    Version { found: String, wanted: &'static str },
    #[error("The octoDNS environment does not start: {0}")]
    Broken(String),
    #[error("Another process has been installing octoDNS into `{}` for {} s", path.display(), waited.as_secs())]
    Busy { path: PathBuf, waited: Duration },
    #[error("Failed to {what} `{}`", path.display())]
    Io { what: &'static str, path: PathBuf, source: std::io::Error },
}

impl VenvError {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoPython(_) | Self::OldPython { .. } => {
                "Install Python 3.10 or newer, or name an interpreter that has octoDNS"
            }
            Self::NoModule { .. } => "Install `python3-venv` (Debian, Ubuntu)",
            Self::Install { .. } => "Check that the Python package index can be reached",
            Self::Version { .. } => "Install a supported octoDNS beside that interpreter",
            Self::Broken(_) => "Remove the environment's directory; it is made anew",
            Self::Busy { .. } | Self::Io { .. } => return None,
        };
        Some(hint.to_owned())
    }
}

fn list<T: fmt::Display>(items: &[T]) -> String {
    const SHOWN: usize = 5;
    let mut text: Vec<String> = items.iter().take(SHOWN).map(ToString::to_string).collect();
    if items.len() > SHOWN {
        text.push(format!("and {} more", items.len() - SHOWN));
    }
    text.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::RecordName;
    use crate::record::RecordType;

    fn key(name: &str) -> RecordKey {
        RecordKey::new(RecordName::new(name).unwrap(), RecordType::A)
    }

    #[test]
    fn an_effect_says_how_far_it_got() {
        let known = |applied: &[&str], pending: &[&str]| Effect::Known {
            applied: applied.iter().map(|n| key(n)).collect(),
            pending: pending.iter().map(|n| key(n)).collect(),
        };
        assert_eq!(known(&["a"], &["b", "c"]).to_string(), "1 of 3 changes were made");
        assert_eq!(known(&[], &["b"]).to_string(), "none of the 1 changes was made");
        assert_eq!(known(&["a"], &[]).to_string(), "all 1 changes were made");
    }

    #[test]
    fn a_long_list_is_cut() {
        let records: Vec<RecordKey> = (0..7).map(|i| key(&format!("r{i}.org"))).collect();
        let error = Error::TooMuchChange { zone: ZoneName::new("org").unwrap(), records, limit: 2 };
        let text = error.to_string();
        assert!(text.starts_with("7 would be deleted or touched, 2 allowed: r0.org A; "));
        assert!(text.ends_with("; and 2 more"), "{text}");
    }
}
