//! The guest's own backups: what a timer needs to make one without the orchestrator, what
//! they did, and how that is told to people and to monitoring.
//!
//! `/var/lib/fedi/backup/<app>.json` holds the way into the repository and is root's
//! alone; beside it `<app>.status.json` says what was done, and
//! `/var/lib/fedi/metrics/fedi-backup.prom` says so to Prometheus' node exporter.

mod metrics;
mod run;

use std::path::PathBuf;

use fedi_model::AppName;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::command::{self, SHORT};
use crate::error::GuestError;
use crate::file::{self, Access};
use crate::guest::Guest;
use crate::manifest;
use crate::protocol::{BackupAttempt, BackupConfig, BackupConfigure, BackupStatus, BackupStatusRequest};

pub use run::Outcome;
pub(crate) use run::{resume, run};

const FOLDER: &str = "/var/lib/fedi/backup";

/// What the backups did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    schema: u32,
    #[serde(default)]
    last_success: Option<BackupAttempt>,
    #[serde(default)]
    last_failure: Option<BackupAttempt>,
}

fn folder(guest: &Guest) -> Result<PathBuf, GuestError> {
    let folder = guest.path(FOLDER);
    file::folder(&guest.path("/var/lib/fedi"), 0o711)?;
    file::folder(&folder, 0o700)?;
    Ok(folder)
}

fn config_path(guest: &Guest, app: &AppName) -> Result<PathBuf, GuestError> {
    Ok(folder(guest)?.join(format!("{app}.json")))
}

fn config(guest: &Guest, app: &AppName) -> Result<Option<BackupConfig>, GuestError> {
    let path = config_path(guest, app)?;
    let Some(bytes) = file::read(&path)? else { return Ok(None) };
    // The parser's own words could quote a secret.
    let damaged = |_| GuestError::Damaged { path, what: "it is no configuration of a backup".to_owned() };
    serde_json::from_slice(&bytes).map(Some).map_err(damaged)
}

fn record_path(guest: &Guest, app: &AppName) -> Result<PathBuf, GuestError> {
    Ok(folder(guest)?.join(format!("{app}.status.json")))
}

fn record(guest: &Guest, app: &AppName) -> Result<Record, GuestError> {
    let path = record_path(guest, app)?;
    let Some(bytes) = file::read(&path)? else { return Ok(Record::default()) };
    serde_json::from_slice(&bytes).map_err(|error| GuestError::Damaged { path, what: error.to_string() })
}

/// Notes how a backup ended, for people and for monitoring.
fn note(guest: &Guest, app: &AppName, config: &BackupConfig, attempt: BackupAttempt) -> Result<(), GuestError> {
    let mut record = Record { schema: 1, ..record(guest, app)? };
    if attempt.snapshot.is_some() {
        (record.last_success, record.last_failure) = (Some(attempt), None);
    } else {
        record.last_failure = Some(attempt);
    }
    let path = record_path(guest, app)?;
    let bytes = serde_json::to_vec_pretty(&record)
        .map_err(|error| GuestError::Damaged { path: path.clone(), what: error.to_string() })?;
    file::replace(&path, &bytes, Access::PRIVATE)?;
    metrics::write(guest, app, config, &record)
}

/// Sets the backups of an application up, or takes them away.
pub(crate) fn configure(guest: &Guest, request: &BackupConfigure) -> Result<BackupStatus, GuestError> {
    let app = &request.app;
    let path = config_path(guest, app)?;
    if let Some(config) = &request.config {
        manifest::app(guest, app)?;
        let unwritable = |_| GuestError::Damaged { path: path.clone(), what: "it cannot be expressed".to_owned() };
        let bytes = zeroize::Zeroizing::new(serde_json::to_vec(config).map_err(unwritable)?);
        file::replace(&path, &bytes, Access::PRIVATE)?;
        metrics::write(guest, app, config, &record(guest, app)?)?;
    } else {
        file::remove(&path)?;
        metrics::remove(guest, app)?;
    }
    status(guest, &BackupStatusRequest { app: app.clone() })
}

/// What the backups of an application did.
pub(crate) fn status(guest: &Guest, request: &BackupStatusRequest) -> Result<BackupStatus, GuestError> {
    let configured = config(guest, &request.app)?.is_some();
    let Record { last_success, last_failure, .. } = record(guest, &request.app)?;
    Ok(BackupStatus { configured, next: next(guest, &request.app)?, last_success, last_failure })
}

/// When the application's timer goes off next; `None` if there is none.
fn next(guest: &Guest, app: &AppName) -> Result<Option<Timestamp>, GuestError> {
    let mut systemctl = guest.command("systemctl");
    let unit = format!("fedi-backup-{app}.timer");
    systemctl.env("TZ", "UTC").args([
        "show",
        "--timestamp=unix",
        "--property=NextElapseUSecRealtime",
        "--value",
        "--",
        &unit,
    ]);
    let text = match command::succeed(systemctl, SHORT) {
        Ok(text) => text,
        // A machine without systemd has no timers.
        Err(GuestError::Start { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(elapse(text.trim()))
}

/// A time as `systemctl show --timestamp=unix` writes it: `@4070921400`, or, of a timer
/// and up to systemd 252 at least, `Thu 2099-01-01 03:30:00 UTC`.
fn elapse(text: &str) -> Option<Timestamp> {
    let at = match text.strip_prefix('@') {
        Some(seconds) => Timestamp::from_second(seconds.parse().ok()?).ok()?,
        None => match text.split_whitespace().collect::<Vec<_>>()[..] {
            [_, date, time, "UTC"] => format!("{date}T{time}Z").parse().ok()?,
            _ => return None,
        },
    };
    Some(at).filter(|at| at.as_second() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{RepositoryAccess, SecretValue};
    use fedi_state::Consistency;

    fn config() -> BackupConfig {
        let repository = RepositoryAccess {
            location: "/srv/backup".to_owned(),
            password: SecretValue::new("secret"),
            rest: None,
            s3: None,
            sftp: None,
            ca: None,
        };
        BackupConfig {
            deployment: fedi_model::DeploymentName::new("home").unwrap(),
            repository,
            consistency: Consistency::Live,
            schedule: None,
            fingerprint_key: SecretValue::new("secret"),
            sealed_secrets: SecretValue::new("secret"),
        }
    }

    /// What happened last is told, also where the clock was ahead, and years ago, meanwhile.
    #[test]
    fn a_clock_that_was_ahead_hides_no_failure_and_no_success() {
        let root = tempfile::tempdir().unwrap();
        let guest = Guest::in_folder(root.path(), root.path());
        let app = AppName::new("matrix").unwrap();
        let noted = |at: &str, snapshot: Option<&str>| {
            let at: Timestamp = at.parse().unwrap();
            let (snapshot, error) = (snapshot.map(str::to_owned), snapshot.is_none().then(|| "why".to_owned()));
            let attempt = BackupAttempt { at, took_ms: 1, snapshot, bytes: 1, new_bytes: 1, error };
            note(&guest, &app, &config(), attempt).unwrap();
            let record = record(&guest, &app).unwrap();
            let text = std::fs::read_to_string(root.path().join("var/lib/fedi/metrics/fedi-backup.prom")).unwrap();
            let figure = |name: &str| {
                let own = format!("fedi_backup_{name}{{deployment=\"home\",app=\"matrix\"}} ");
                text.lines().find_map(|line| line.strip_prefix(&own)).map(|value| value.parse::<i64>().unwrap())
            };
            let success = record.last_success.and_then(|it| it.snapshot).unwrap_or_default();
            let at = figure("last_success_timestamp_seconds").and_then(|at| Timestamp::from_second(at).ok());
            (success, record.last_failure.is_some(), figure("last_run_success"), at.map(|at| at.to_string()))
        };
        let (ahead, now, before) = ("2031-01-01T00:00:00Z", "2026-01-01T00:00:00Z", "1970-01-02T00:00:00Z");
        let told = |success: &str, failed: bool, at: &str| {
            (success.to_owned(), failed, Some(i64::from(!failed)), Some(at.to_owned()))
        };
        assert_eq!(noted(ahead, Some("a")), told("a", false, ahead));
        assert_eq!(noted(now, None), told("a", true, ahead));
        assert_eq!(noted(now, Some("b")), told("b", false, now));
        assert_eq!(noted(ahead, None), told("b", true, now));
        assert_eq!(noted(before, Some("c")), told("c", false, before));
    }

    #[test]
    fn times_of_timers() {
        let wanted = "2099-01-01T03:30:00Z".parse().ok();
        assert_eq!(elapse("@4070921400"), wanted);
        assert_eq!(elapse("Thu 2099-01-01 03:30:00 UTC"), wanted);
        for none in ["", "0", "@0", "n/a", "Thu 2099-01-01 03:30:00 CET"] {
            assert_eq!(elapse(none), None, "{none}");
        }
    }
}
