//! Why the store could not do what was asked.

use std::error::Error;

use fedi_model::name::DeploymentName;
use fedi_model::run::RunId;

use super::{Fence, WriterLease};

/// Why the store could not do what was asked. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process holds the writer lease and is alive.
    #[error("Another fedi is at work: {0}")]
    Held(Box<WriterLease>),
    /// Another process has taken the writer lease since.
    #[error("Lost the right to write to the journal (fence {fence}): another fedi took over")]
    Stale {
        /// The fence that no longer counts.
        fence: Fence,
    },
    /// A deployment has one unfinished run at most.
    #[error("Run {run} of `{deployment}` is not finished")]
    Unfinished {
        /// The run.
        run: RunId,
        /// The deployment.
        deployment: DeploymentName,
    },
    /// No such run.
    #[error("There is no run {0}")]
    NoRun(RunId),
    /// The event is not the next one of its run: somebody else appended.
    #[error("Event {got} of run {run} came where event {expected} was expected")]
    Sequence {
        /// The run.
        run: RunId,
        /// The number that the next event has.
        expected: u64,
        /// The number that it had.
        got: u64,
    },
    /// What is stored does not agree with itself. It is left as it is.
    #[error("The state database `{place}` is damaged: {what}")]
    Damaged {
        /// Path of the file.
        place: String,
        /// What is wrong: `event 7 of run 3 does not match its checksum`.
        what: String,
    },
    /// The run's events do not follow each other.
    #[error("The journal does not agree with itself")]
    Refused(#[from] fedi_model::run::Refused),
    /// Written by a newer fedi.
    #[error("The state database `{place}` has version {found}; this fedi knows version {known}")]
    Newer {
        /// Path of the file.
        place: String,
        /// Its version.
        found: u32,
        /// The newest that this fedi knows.
        known: u32,
    },
    /// A database, but not fedi's.
    #[error("`{place}` is a database of another program")]
    Foreign {
        /// Path of the file.
        place: String,
    },
    /// Others could replace the file.
    #[error("The folder `{folder}` of the state database can be written by others")]
    Exposed {
        /// Path of the folder.
        folder: String,
    },
    /// The system below fails: disk full, file locked, no permission.
    #[error("Failed to {doing} in the state database `{place}`")]
    Unavailable {
        /// What was being done: `append an event`.
        doing: &'static str,
        /// Path of the file.
        place: String,
        /// The next thing to try.
        hint: Option<&'static str>,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

impl StoreError {
    /// The next thing to try.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Held(_) => Some(format!(
                "Wait until it is done. Should that process be gone, its lease can be taken over {} s after its last \
                 sign of life",
                super::LEASE_EXPIRES.as_secs()
            )),
            Self::Stale { .. } => Some("See `fedi run list`".to_owned()),
            Self::Unfinished { run, .. } => Some(format!(
                "Finish it with `fedi run resume {run}`, take it back with `fedi run undo {run}`, or leave things as \
                 they are with `fedi run abandon {run}`"
            )),
            Self::NoRun(_) => Some("`fedi run list` shows the runs there are".to_owned()),
            Self::Damaged { place, .. } => Some(format!(
                "Nothing was changed. Put a good copy of `{place}` in its place (keep the damaged one, with its \
                 `-wal` file); guests go on running without it"
            )),
            Self::Newer { .. } => Some("Use the newer fedi that wrote it".to_owned()),
            Self::Foreign { .. } => Some("Give fedi a file of its own".to_owned()),
            Self::Exposed { folder } => Some(format!("Run `chmod 700 {folder}`")),
            Self::Refused(_) => {
                Some("Nothing was changed; please report it with a copy of the state database".to_owned())
            }
            Self::Unavailable { hint, .. } => hint.map(str::to_owned),
            Self::Sequence { .. } => None,
        }
    }
}
