//! The record of an activation, in `/run` so that a restart forgets it: the
//! earlier system boots then, which is what a rollback would have done.
//!
//! The agent and its supervisor share the record. Whoever changes it holds the
//! lock and goes through [`advance`], so that a confirmation and the end of the
//! waiting time cannot both win.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::GuestError;
use crate::file::{self, Access};
use crate::guest::{Guest, since_boot_ms};
use crate::protocol::{Activation, ErrorKind, Phase, Reason};

pub(super) const FOLDER: &str = "/run/fedi/activation";

/// An activation with all that its supervisor needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub activation: Activation,
    pub profile: PathBuf,
    /// Go back to this generation of the profile on commit, instead of making a new one.
    pub to_generation: Option<u64>,
    /// The profile's generation before, to return to if the commit fails.
    pub generation_before: Option<u64>,
    pub confirm_within_s: u32,
    pub timeout_s: u32,
}

/// What can happen to an activation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// The supervisor begins.
    Switch,
    /// The system is active.
    Switched { deadline_ms: u64 },
    /// Something went wrong that needs a rollback.
    Fail(Reason),
    /// The orchestrator confirms.
    Confirm { now_ms: u64 },
    /// The orchestrator cancels.
    Cancel,
    /// The supervisor's clock has run out.
    Expire { now_ms: u64, seconds: u32 },
    /// Profile and boot loader are set.
    Committed { generation: u64 },
    /// The earlier system is active again.
    Restored,
    /// It is not.
    RestoreFailed { error: String },
}

/// The phase after a step, or why the step is refused.
pub(super) fn advance(phase: &Phase, step: Step) -> Result<Phase, GuestError> {
    use Phase::{Committing, Confirmed, RollbackFailed, RolledBack, RollingBack, Starting, Switching, Waiting};
    Ok(match (phase, step) {
        (Starting, Step::Switch) => Switching,
        (Switching, Step::Switched { deadline_ms }) => Waiting { deadline_ms },
        (Starting | Switching | Committing, Step::Fail(reason)) => RollingBack { reason },
        (Waiting { deadline_ms }, Step::Confirm { now_ms }) if now_ms < *deadline_ms => Committing,
        (Waiting { deadline_ms }, Step::Expire { now_ms, seconds }) if now_ms >= *deadline_ms => {
            RollingBack { reason: Reason::NotConfirmed { seconds } }
        }
        (Waiting { .. }, Step::Cancel) => RollingBack { reason: Reason::Cancelled },
        (Committing, Step::Committed { generation }) => Confirmed { generation },
        (RollingBack { reason }, Step::Restored) => RolledBack { reason: reason.clone() },
        (RollingBack { reason }, Step::RestoreFailed { error }) => RollbackFailed { reason: reason.clone(), error },
        // Asked again after the answer was lost.
        (Committing | Confirmed { .. }, Step::Confirm { .. })
        | (RollingBack { .. } | RolledBack { .. } | RollbackFailed { .. }, Step::Cancel) => phase.clone(),
        (_, Step::Confirm { .. }) => return Err(too_late("confirmed", phase)),
        (_, Step::Cancel) => return Err(too_late("cancelled", phase)),
        (_, step) => {
            let message = format!("The activation is in {phase:?}, where {step:?} cannot happen");
            return Err(GuestError::refused(ErrorKind::TooLate, message));
        }
    })
}

fn too_late(what: &str, phase: &Phase) -> GuestError {
    let why = match phase {
        Phase::Starting | Phase::Switching => "it is not active yet".to_owned(),
        Phase::Waiting { .. } => "its time has run out".to_owned(),
        Phase::Committing | Phase::Confirmed { .. } => "it has been confirmed".to_owned(),
        Phase::RollingBack { reason } | Phase::RolledBack { reason } | Phase::RollbackFailed { reason, .. } => {
            format!("it was rolled back ({})", crate::error::reason_text(reason))
        }
    };
    GuestError::refused(ErrorKind::TooLate, format!("The activation cannot be {what}: {why}"))
}

/// Whether nothing more will happen.
pub(super) fn is_final(phase: &Phase) -> bool {
    matches!(phase, Phase::Confirmed { .. } | Phase::RolledBack { .. } | Phase::RollbackFailed { .. })
}

/// The folder of the record.
#[derive(Debug, Clone)]
pub(super) struct Store {
    above: PathBuf,
    folder: PathBuf,
}

/// The store, locked; unlocked when dropped.
pub(super) struct Locked<'a> {
    store: &'a Store,
    _lock: File,
}

impl Store {
    pub(super) fn of(guest: &Guest) -> Self {
        Self { above: guest.path("/run/fedi"), folder: guest.path(FOLDER) }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// What `switch-to-configuration` wrote.
    pub(super) fn output(&self) -> PathBuf {
        self.folder.join("output.log")
    }

    fn state(&self) -> PathBuf {
        self.folder.join("state.json")
    }

    /// The last activation, if there was one since boot.
    pub(super) fn last(&self) -> Result<Option<Record>, GuestError> {
        let path = self.state();
        let Some(bytes) = file::read(&path)? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| GuestError::Damaged { path, what: error.to_string() })
    }

    /// The activation with this token.
    pub(super) fn get(&self, token: Uuid) -> Result<Record, GuestError> {
        self.last()?.filter(|record| record.activation.token == token).ok_or_else(|| {
            let message = format!("There is no activation {token} on this guest");
            GuestError::refused(ErrorKind::UnknownActivation, message).with_hint(
                "If the guest was restarted since, the system that was permanent before is active; activate again",
            )
        })
    }

    pub(super) fn lock(&self) -> Result<Locked<'_>, GuestError> {
        file::folder(&self.above, 0o711)?;
        file::folder(&self.folder, 0o700)?;
        let lock = file::lock(&self.folder.join("lock"))?;
        Ok(Locked { store: self, _lock: lock })
    }

    /// Takes one step, under the lock.
    pub(super) fn step(&self, token: Uuid, step: impl FnOnce(&Record) -> Step) -> Result<Record, GuestError> {
        self.get(token)?;
        let locked = self.lock()?;
        let mut record = self.get(token)?;
        let next = advance(&record.activation.phase, step(&record))?;
        if next != record.activation.phase {
            record.activation.phase = next;
            locked.write(&record)?;
        }
        Ok(record)
    }

    /// As [`Store::step`] with the current time.
    pub(super) fn confirm(&self, token: Uuid) -> Result<Record, GuestError> {
        self.step(token, |_| Step::Confirm { now_ms: since_boot_ms() })
    }
}

impl Locked<'_> {
    pub(super) fn write(&self, record: &Record) -> Result<(), GuestError> {
        let path = self.store.state();
        let bytes = serde_json::to_vec(record)
            .map_err(|error| GuestError::Damaged { path: path.clone(), what: error.to_string() })?;
        file::replace(&path, &bytes, Access::PRIVATE)
    }

    /// Records a new activation, with an empty output.
    pub(super) fn begin(&self, record: &Record) -> Result<(), GuestError> {
        let output = self.store.output();
        file::remove(&output)?;
        OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(&output)
            .map_err(GuestError::file("create", &output))?;
        self.write(record)
    }
}

/// The last lines of the output.
pub(super) fn tail(path: &Path, lines: usize) -> Vec<String> {
    const MOST: u64 = 64 * 1024;
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(MOST)))?;
        let mut bytes = Vec::new();
        file.take(MOST).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    // For a message about another failure: what cannot be read is left out.
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].iter().map(|line| (*line).to_owned()).collect()
}
