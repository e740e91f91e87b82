//! State and backups over a session: the engine's plain values as the agent's
//! requests, and its answers back.

use std::time::Duration;

use fedi_engine::drivers::{
    BackupAttempt, BackupConfig, BackupStatus, Capture, Captured, DriverError, Paused, Place, RepositoryAccess,
    Restore, Restored, SecretValue, StepContext, VerifiedItem,
};
use fedi_guest::protocol;
use fedi_model::name::AppName;

use super::session::{AgentSession, QUICK};

/// How long nothing at all may come from a guest that captures or restores. The
/// agent tells how far it is about twice a second; a server that flushes a large
/// database to a slow disk keeps it quiet for a while.
const LONG: Duration = Duration::from_secs(4 * 3600);

impl AgentSession {
    pub(super) async fn pause(
        &mut self,
        app: &AppName,
        drain: bool,
        cx: &dyn StepContext,
    ) -> Result<Paused, DriverError> {
        let call = protocol::StatePause { app: app.clone(), drain };
        Ok(Paused { queued: self.call(call, LONG, cx).await?.queued })
    }

    pub(super) async fn resume(&mut self, app: &AppName, cx: &dyn StepContext) -> Result<(), DriverError> {
        let gated = self.call(protocol::StateResume { app: app.clone() }, LONG, cx).await?;
        self.gated("start", app, &gated, protocol::GateAction::Start)
    }

    pub(super) async fn capture(&mut self, capture: &Capture, cx: &dyn StepContext) -> Result<Captured, DriverError> {
        let call = protocol::StateCapture {
            app: capture.app.clone(),
            deployment: capture.deployment.clone(),
            repository: access(&capture.repository),
            consistency: capture.consistency,
            fingerprint_key: secret(&capture.fingerprint_key),
            sealed_secrets: protocol::SecretValue::new(capture.sealed_secrets.clone()),
            run: capture.run.clone(),
        };
        let protocol::StateCaptured { snapshot, manifest, bytes, new_bytes } = self.call(call, LONG, cx).await?;
        Ok(Captured { snapshot, manifest, bytes, new_bytes })
    }

    pub(super) async fn places(&mut self, app: &AppName, cx: &dyn StepContext) -> Result<Vec<Place>, DriverError> {
        let found = self.call(protocol::StatePlaces { app: app.clone() }, LONG, cx).await?;
        let place = |protocol::StatePlace { item, what, holds, bytes }| Place { item, what, holds, bytes };
        Ok(found.places.into_iter().map(place).collect())
    }

    pub(super) async fn restore(&mut self, restore: &Restore, cx: &dyn StepContext) -> Result<Restored, DriverError> {
        let Restore { app, repository, snapshot } = restore.clone();
        let call = protocol::StateRestore { app, repository: access(&repository), snapshot };
        Ok(restored(self.call(call, LONG, cx).await?))
    }

    pub(super) async fn compare(&mut self, restore: &Restore, cx: &dyn StepContext) -> Result<Restored, DriverError> {
        let Restore { app, repository, snapshot } = restore.clone();
        let call = protocol::StateVerify { app, repository: access(&repository), snapshot };
        Ok(restored(self.call(call, LONG, cx).await?))
    }

    pub(super) async fn clear(
        &mut self,
        app: &AppName,
        repository: &RepositoryAccess,
        fail_safe: &str,
        cx: &dyn StepContext,
    ) -> Result<(), DriverError> {
        let call =
            protocol::StateClear { app: app.clone(), repository: access(repository), fail_safe: fail_safe.to_owned() };
        self.call(call, LONG, cx).await.map(|_| ())
    }

    pub(super) async fn set_backup(
        &mut self,
        app: &AppName,
        config: Option<&BackupConfig>,
        cx: &dyn StepContext,
    ) -> Result<(), DriverError> {
        let config = config.map(|config| protocol::BackupConfig {
            deployment: config.deployment.clone(),
            repository: access(&config.repository),
            consistency: config.consistency,
            schedule: config.schedule.clone(),
            fingerprint_key: secret(&config.fingerprint_key),
            sealed_secrets: protocol::SecretValue::new(config.sealed_secrets.clone()),
        });
        self.call(protocol::BackupConfigure { app: app.clone(), config }, QUICK, cx).await.map(|_| ())
    }

    pub(super) async fn backups(&mut self, app: &AppName, cx: &dyn StepContext) -> Result<BackupStatus, DriverError> {
        let status = self.call(protocol::BackupStatusRequest { app: app.clone() }, QUICK, cx).await?;
        Ok(BackupStatus {
            configured: status.configured,
            next: status.next,
            last_success: status.last_success.map(attempt),
            last_failure: status.last_failure.map(attempt),
        })
    }
}

fn secret(value: &SecretValue) -> protocol::SecretValue {
    protocol::SecretValue::new(value.expose())
}

fn access(access: &RepositoryAccess) -> protocol::RepositoryAccess {
    protocol::RepositoryAccess {
        location: access.location.clone(),
        password: secret(&access.password),
        rest: access
            .rest
            .as_ref()
            .map(|login| protocol::RestLogin { user: login.user.clone(), password: secret(&login.password) }),
        s3: access.s3.as_ref().map(|keys| protocol::S3Access {
            id: keys.id.clone(),
            secret: secret(&keys.secret),
            region: keys.region.clone(),
        }),
        sftp: access.sftp.as_ref().map(|sftp| protocol::SftpAccess {
            private_key: secret(&sftp.private_key),
            known_hosts: sftp.known_hosts.clone(),
        }),
        ca: access.ca.clone(),
    }
}

fn restored(verified: protocol::StateVerified) -> Restored {
    let item = |protocol::StateVerifiedItem { item, checks, notes }| VerifiedItem { item, checks, notes };
    Restored { items: verified.items.into_iter().map(item).collect() }
}

fn attempt(attempt: protocol::BackupAttempt) -> BackupAttempt {
    let protocol::BackupAttempt { at, took_ms, snapshot, bytes, new_bytes, error } = attempt;
    BackupAttempt { at, took: Duration::from_millis(took_ms), snapshot, bytes, new_bytes, error }
}

/// How far something is, on one line, as a person reads it.
pub(super) fn progress_line(what: &str, count: u64, rate: u64) -> String {
    let count = if count > 0 { format!(", {count} done") } else { String::new() };
    let rate = if rate > 0 { format!(", {} KiB/s", rate / 1024) } else { String::new() };
    format!("{what}{count}{rate}")
}
