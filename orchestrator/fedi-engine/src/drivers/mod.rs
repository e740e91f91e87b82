//! The traits behind which every outside system stands. `fedi-drivers` has one
//! module for each implementation; one conformance suite runs on all of a trait.
//!
//! All verbs are idempotent: `ensure` of what is already so changes nothing,
//! `remove` of what is already gone succeeds.

mod address;
mod dns;
mod guest;
mod health;
mod hypervisor;
mod ledger;
mod repository;
mod secret;
mod state;
mod system;

pub use address::{AddressBook, AddressRequest};
pub use dns::Dns;
pub use guest::{Activation, Confirm, Facts, GuestAccess, GuestSession, HookOutcome, UnitHealth};
pub use health::{Check, CheckState, HealthReport, OutsideProbe};
pub use hypervisor::{Hypervisor, HypervisorReport, MissingRight, StoredImage};
pub use ledger::Ledger;
pub use repository::{Repositories, RepositoryLock, Seal, StoredSnapshot, run_tag};
pub use secret::{SecretEntry, SecretKey, SecretStore, SecretValue, SecretVersion};
pub use state::{
    BackupAttempt, BackupConfig, BackupStatus, Capture, Captured, Paused, Place, RepositoryAccess, RestLogin, Restore,
    Restored, S3Access, SftpAccess, VerifiedItem,
};
pub use system::{Resolved, SystemSource};

use async_trait::async_trait;
use fedi_model::run::{Failure, FailureKind};

/// What a driver may use while it works on a step.
///
/// Notes are durable when `note` returns: what must be found again after a crash (a
/// chosen VM id, the name of a running task) is noted before the call that needs it.
#[async_trait]
pub trait StepContext: Send + Sync {
    /// The key that this step goes by, the same on every try: marks what it makes.
    fn key(&self) -> &str;

    /// Keeps `value` under `key` for this step, durably.
    async fn note(&self, key: &str, value: &str) -> Result<(), DriverError>;

    /// What this step noted before, in this try or an earlier one.
    async fn recall(&self, key: &str) -> Option<String>;

    /// Tells whoever watches; `done` of `total` where it can be counted.
    fn progress(&self, message: &str, done: Option<u64>, total: Option<u64>);

    /// Tells the operator something that should be seen after the run too.
    fn notice(&self, message: &str);

    /// Completes when the operator wants to stop; a driver that waits gives up then
    /// with [`DriverErrorKind::Interrupted`].
    async fn interrupted(&self);
}

/// A context for verbs that run outside of a step (observation, `fedi doctor`): keeps
/// notes in memory only, is never interrupted.
#[derive(Debug, Default)]
pub struct NoStep {
    notes: std::sync::Mutex<std::collections::BTreeMap<String, String>>,
}

#[async_trait]
impl StepContext for NoStep {
    fn key(&self) -> &'static str {
        "observe"
    }

    async fn note(&self, key: &str, value: &str) -> Result<(), DriverError> {
        self.notes.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(key.to_owned(), value.to_owned());
        Ok(())
    }

    async fn recall(&self, key: &str) -> Option<String> {
        self.notes.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get(key).cloned()
    }

    fn progress(&self, _: &str, _: Option<u64>, _: Option<u64>) {}

    fn notice(&self, _: &str) {}

    async fn interrupted(&self) {
        std::future::pending::<()>().await;
    }
}

/// Why a driver could not do what was asked.
///
/// The message says what was being done to which thing, capital first, no full stop;
/// the causes why, outermost first; neither ever holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct DriverError {
    /// What was being done to which thing.
    pub message: String,
    /// Why, outermost first.
    pub causes: Vec<String>,
    /// The next thing to try.
    pub hint: Option<String>,
    /// What is left behind in the world, in words.
    pub left: Option<String>,
    /// What follows from it.
    pub kind: DriverErrorKind,
}

/// What follows from a driver's error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DriverErrorKind {
    /// May well succeed later: network, lock, time-out, full disk.
    Unavailable,
    /// The system refuses these credentials or this right.
    Denied,
    /// Somebody else's thing stands there.
    Foreign,
    /// The world is not as it was when the plan was made.
    Drift,
    /// Nothing left to give: addresses, ids, space.
    Exhausted,
    /// What is asked for makes no sense, or a file it needs is wrong.
    Invalid,
    /// It is applied, but does not work.
    Unhealthy,
    /// The operator stopped it.
    Interrupted,
    /// None of these.
    Failed,
}

impl DriverError {
    /// An error of `kind` with `message`.
    pub fn new(kind: DriverErrorKind, message: impl Into<String>) -> Self {
        Self { message: message.into(), causes: Vec::new(), hint: None, left: None, kind }
    }

    /// Adds the chain of `error` and its sources to the causes.
    #[must_use]
    pub fn because(mut self, error: &(dyn std::error::Error + 'static)) -> Self {
        let mut next = Some(error);
        while let Some(error) = next {
            let text = error.to_string();
            if self.causes.last() != Some(&text) {
                self.causes.push(text);
            }
            next = error.source();
        }
        self
    }

    /// Adds one cause in words.
    #[must_use]
    pub fn cause(mut self, text: impl Into<String>) -> Self {
        self.causes.push(text.into());
        self
    }

    /// Sets the hint.
    #[must_use]
    pub fn hint(mut self, text: impl Into<String>) -> Self {
        self.hint = Some(text.into());
        self
    }

    /// Says what is left behind.
    #[must_use]
    pub fn left(mut self, text: impl Into<String>) -> Self {
        self.left = Some(text.into());
        self
    }
}

impl From<DriverError> for Failure {
    fn from(error: DriverError) -> Self {
        let kind = match error.kind {
            DriverErrorKind::Unavailable | DriverErrorKind::Exhausted => FailureKind::Transient,
            DriverErrorKind::Unhealthy => FailureKind::Unhealthy,
            DriverErrorKind::Interrupted => FailureKind::Interrupted,
            DriverErrorKind::Denied
            | DriverErrorKind::Foreign
            | DriverErrorKind::Drift
            | DriverErrorKind::Invalid
            | DriverErrorKind::Failed => FailureKind::Permanent,
        };
        Self { message: error.message, causes: error.causes, hint: error.hint, left: error.left, kind }
    }
}
