//! A backup that the guest makes by itself: what `fedi-backup-<app>.service` runs.

use std::path::PathBuf;
use std::time::Instant;

use fedi_model::AppName;
use fedi_state::{Cancel, Consistency};
use jiff::Timestamp;

use super::{config, folder, note};
use crate::agent;
use crate::error::GuestError;
use crate::file::{self, Access};
use crate::guest::Guest;
use crate::lease;
use crate::protocol::{
    BackupAttempt, BackupConfig, ErrorKind, Event, LeaseState, StateCapture, StateCaptured, StatePause, StateResume,
};

/// How a backup ended that did not fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The guest is dormant: what it has is not the application's state.
    Dormant,
    /// It is stored.
    Stored {
        /// The snapshot's id.
        snapshot: String,
    },
}

/// While this is there the application was paused for a backup that has not ended.
fn paused_path(guest: &Guest, app: &AppName) -> Result<PathBuf, GuestError> {
    Ok(folder(guest)?.join(format!("{app}.paused")))
}

/// Makes a backup as it is configured.
pub(crate) fn run(
    guest: &Guest,
    app: &AppName,
    cancel: &Cancel,
    emit: &mut dyn FnMut(Event),
) -> Result<Outcome, GuestError> {
    let Some(config) = config(guest, app)? else {
        let message = format!("Backups of `{app}` are not configured on this guest");
        return Err(GuestError::refused(ErrorKind::Missing, message)
            .with_hint("Name a repository in the inventory and deploy again"));
    };
    match lease::get(guest, app)? {
        Some(lease) if lease.state == LeaseState::Held => {}
        _ => return Ok(Outcome::Dormant),
    }
    // Where an earlier one was killed between pausing and resuming.
    resume(guest, app, emit)?;
    let began = Instant::now();
    let result = attempt(guest, app, &config, cancel, emit);
    let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let at = Timestamp::now();
    let attempt = match &result {
        Ok(StateCaptured { snapshot, bytes, new_bytes, .. }) => BackupAttempt {
            at,
            took_ms,
            snapshot: Some(snapshot.clone()),
            bytes: *bytes,
            new_bytes: *new_bytes,
            error: None,
        },
        Err(error) => BackupAttempt {
            at,
            took_ms,
            snapshot: None,
            bytes: 0,
            new_bytes: 0,
            error: Some(error.reply().to_string()),
        },
    };
    let noted = note(guest, app, &config, attempt);
    let StateCaptured { snapshot, .. } = result?;
    noted?;
    Ok(Outcome::Stored { snapshot })
}

fn attempt(
    guest: &Guest,
    app: &AppName,
    config: &BackupConfig,
    cancel: &Cancel,
    emit: &mut dyn FnMut(Event),
) -> Result<StateCaptured, GuestError> {
    let capture = StateCapture {
        app: app.clone(),
        deployment: config.deployment.clone(),
        repository: config.repository.clone(),
        consistency: config.consistency,
        fingerprint_key: config.fingerprint_key.clone(),
        sealed_secrets: config.sealed_secrets.clone(),
        run: format!("timer-{}", uuid::Uuid::new_v4()),
    };
    if config.consistency != Consistency::Quiesced {
        return agent::call_cancellable(guest, capture, cancel, emit);
    }
    file::replace(&paused_path(guest, app)?, b"", Access::PRIVATE)?;
    let captured = agent::call_cancellable(guest, StatePause { app: app.clone(), drain: true }, cancel, emit)
        .and_then(|_| agent::call_cancellable(guest, capture, cancel, emit));
    // It runs again whatever became of the capture.
    let resumed = resume(guest, app, emit);
    let captured = captured?;
    resumed?;
    Ok(captured)
}

/// Starts an application that a backup paused and did not start again.
pub(crate) fn resume(guest: &Guest, app: &AppName, emit: &mut dyn FnMut(Event)) -> Result<(), GuestError> {
    let path = paused_path(guest, app)?;
    if file::read(&path)?.is_none() {
        return Ok(());
    }
    agent::call(guest, StateResume { app: app.clone() }, emit)?;
    file::remove(&path)
}
