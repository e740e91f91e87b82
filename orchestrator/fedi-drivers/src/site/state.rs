//! State: captured into repositories, brought back out of them, with the secrets that
//! travel along.

use std::time::Duration;

use fedi_engine::SecretBundle;
use fedi_engine::drivers::{
    BackupConfig, BackupStatus, Capture, DriverError, DriverErrorKind, Restore, SecretKey, SecretValue, StepContext,
    StoredSnapshot, VerifiedItem, run_tag,
};
use fedi_model::name::{AppName, DeploymentName, RepositoryName};
use fedi_model::resource::{Backups, GuestRef, Lease, Resource, ResourceId, Secret, Service, SnapshotRef, State};
use fedi_model::state::Consistency;
use uuid::Uuid;

use super::Site;

/// What waits to go out of a large server takes its time to be deleted.
const REHOME: Duration = Duration::from_secs(900);
/// Feeds and caches of a large server take their time.
const REBUILD: Duration = Duration::from_secs(6 * 3600);

impl Site {
    /// What is in the places of the state; `None` where all are empty.
    pub(super) async fn observe_state(&self, like: &State) -> Result<Option<State>, DriverError> {
        if self.guests.pinned(&like.guest).await?.is_none() {
            return Ok(None);
        }
        // Where no system has said what the state is, there is none.
        match self.guests.facts(&like.guest).await? {
            Some(facts) if facts.system.is_some() => {}
            _ => return Ok(None),
        }
        let mut session = self.guests.session(&like.guest).await?;
        let places = session.state_places(&like.app).await?;
        self.guests.keep(&like.guest, session).await;
        let holds: Vec<String> = places
            .into_iter()
            .filter_map(|place| place.holds.map(|holds| format!("{}: {}, {holds}", place.item, place.what)))
            .collect();
        Ok((!holds.is_empty()).then(|| State { snapshot: None, holds, ..like.clone() }))
    }

    /// Brings the state of a snapshot into the places. What is in them goes before, but
    /// only where it is in a quiesced snapshot, the fail-safe.
    pub(super) async fn restore_state(&self, wanted: &State, cx: &dyn StepContext) -> Result<(), DriverError> {
        let guest = &wanted.guest;
        if wanted.fail_safe.is_none() && self.is_in_use(wanted).await? {
            return Ok(());
        }
        let fail_safe = match wanted.fail_safe {
            Some(key) => Some(self.captured_as(guest, &wanted.repository, key).await?),
            None => None,
        };
        let target = match (&wanted.snapshot, &fail_safe) {
            (Some(snapshot), _) => snapshot.clone(),
            (None, Some(fail_safe)) => fail_safe.clone(),
            (None, None) => {
                return Err(DriverError::new(
                    DriverErrorKind::Failed,
                    format!("Failed to bring back the state of `{}`", guest.deployment),
                )
                .cause("The plan names no snapshot"));
            }
        };
        let repository = self.vault.repositories.access(&target.repository, &target.deployment).await?;
        let mut session = self.guests.session(guest).await?;
        if let Some(fail_safe) = &fail_safe
            && cx.recall("cleared for").await.as_deref() != Some(&target.id)
        {
            cx.progress("clearing the places of the state", None, None);
            session.clear_state(&wanted.app, &repository, &fail_safe.id, cx).await?;
            cx.note("cleared for", &target.id).await?;
        }
        let restore = Restore { app: wanted.app.clone(), repository, snapshot: target.id.clone() };
        let restored = session.restore_state(&restore, cx).await?;
        self.guests.keep(guest, session).await;
        for VerifiedItem { item, notes, .. } in &restored.items {
            for note in notes {
                cx.notice(&format!("{item}: {note}"));
            }
        }
        let checks: usize = restored.items.iter().map(|item| item.checks.len()).sum();
        let snapshot = target.short();
        cx.notice(&format!(
            "State of `{}` is that of snapshot {snapshot}: {} items, {checks} checks",
            guest.deployment,
            restored.items.len()
        ));
        Ok(())
    }

    /// Whether the application runs on the state of that snapshot already.
    async fn is_in_use(&self, wanted: &State) -> Result<bool, DriverError> {
        let held = self.guests.facts(&wanted.guest).await?;
        if !held.is_some_and(|facts| facts.leases.contains_key(wanted.app.as_str())) {
            return Ok(false);
        }
        let made = self.ledger.made(&ResourceId::state(&wanted.guest.deployment)).await?;
        Ok(
            matches!(made, Some(Resource::State(made)) if made.snapshot == wanted.snapshot && made.guest == wanted.guest),
        )
    }

    /// The snapshot that was captured under that key.
    async fn captured_as(
        &self,
        guest: &GuestRef,
        repository: &RepositoryName,
        key: Uuid,
    ) -> Result<SnapshotRef, DriverError> {
        let stored = self.vault.repositories.list(repository, &guest.deployment).await?;
        let run = run_tag(key, true);
        let found = stored.into_iter().find(|one: &StoredSnapshot| one.tag("run") == Some(&run));
        let made = found.map(|one| SnapshotRef {
            repository: repository.clone(),
            deployment: guest.deployment.clone(),
            id: one.id,
        });
        made.ok_or_else(|| {
            DriverError::new(DriverErrorKind::Failed, format!("Failed to replace the state of `{}`", guest.deployment))
                .cause(format!("Repository `{repository}` does not have the fail-safe snapshot"))
                .left(format!("The state of `{}` is untouched", guest.deployment))
        })
    }

    /// Captures the state; the snapshot's id, and sizes in bytes, are noted.
    pub(super) async fn capture(
        &self,
        guest: &GuestRef,
        app: &AppName,
        repository: &RepositoryName,
        consistency: Consistency,
        run: String,
        cx: &dyn StepContext,
    ) -> Result<(), DriverError> {
        let (fingerprint_key, sealed_secrets) = self.sealed(&guest.deployment).await?;
        let capture = Capture {
            app: app.clone(),
            deployment: guest.deployment.clone(),
            repository: self.vault.repositories.access(repository, &guest.deployment).await?,
            consistency,
            fingerprint_key,
            sealed_secrets,
            run,
        };
        let mut session = self.guests.session(guest).await?;
        let captured = session.capture_state(&capture, cx).await?;
        self.guests.keep(guest, session).await;
        cx.note("bytes", &captured.bytes.to_string()).await?;
        cx.note("new bytes", &captured.new_bytes.to_string()).await?;
        cx.note("snapshot", &captured.snapshot).await
    }

    pub(super) async fn record_proof(&self, snapshot: &SnapshotRef, cx: &dyn StepContext) -> Result<(), DriverError> {
        let id = self.vault.repositories.mark_proved(snapshot).await?;
        cx.note("snapshot", &id).await
    }

    /// What the guest has to make backups by itself, as it was last given.
    pub(super) async fn observe_backups(&self, like: &Backups) -> Result<Option<Resource>, DriverError> {
        match self.backup_status(&like.guest, &like.app).await? {
            Some(status) if status.configured => self.ledger.made(&ResourceId::backups(&like.guest.deployment)).await,
            _ => Ok(None),
        }
    }

    /// What the guest's own backups have done; `None` while it has no system.
    pub async fn backup_status(&self, guest: &GuestRef, app: &AppName) -> Result<Option<BackupStatus>, DriverError> {
        match self.guests.facts(guest).await? {
            Some(facts) if facts.system.is_some() => {}
            _ => return Ok(None),
        }
        let mut session = self.guests.session(guest).await?;
        let status = session.backup_status(app).await?;
        self.guests.keep(guest, session).await;
        Ok(Some(status))
    }

    pub(super) async fn configure_backups(&self, wanted: &Backups) -> Result<(), DriverError> {
        let deployment = &wanted.guest.deployment;
        let (fingerprint_key, sealed_secrets) = self.sealed(deployment).await?;
        let config = BackupConfig {
            deployment: deployment.clone(),
            repository: self.vault.repositories.access(&wanted.repository, deployment).await?,
            consistency: wanted.consistency,
            schedule: Some(wanted.schedule.clone()),
            fingerprint_key,
            sealed_secrets,
        };
        let mut session = self.guests.session(&wanted.guest).await?;
        session.configure_backup(&wanted.app, Some(&config)).await?;
        self.guests.keep(&wanted.guest, session).await;
        Ok(())
    }

    pub(super) async fn forget_backups(&self, backups: &Backups) -> Result<(), DriverError> {
        let mut session = self.guests.session(&backups.guest).await?;
        session.configure_backup(&backups.app, None).await?;
        self.guests.keep(&backups.guest, session).await;
        Ok(())
    }

    /// A deployment's fingerprint key, and the secrets that travel with its snapshots.
    async fn sealed(&self, deployment: &DeploymentName) -> Result<(SecretValue, Vec<u8>), DriverError> {
        let bundle = SecretBundle::gather(self.secrets.as_ref(), deployment).await?;
        let own = Secret::fingerprint_key_of(deployment);
        let Some(key) = bundle.find(&own.app, &own.name).map(|secret| secret.value.clone()) else {
            let what = format!("Failed to seal the secrets of `{deployment}`");
            return Err(DriverError::new(DriverErrorKind::Drift, what)
                .cause("The store does not have its fingerprint key any more"));
        };
        Ok((key, self.vault.seal.seal(&bundle.to_plain()?).await?))
    }

    /// A secret out of a snapshot, instead of a new one.
    pub(super) async fn recover(
        &self,
        secret: &Secret,
        key: &SecretKey,
        snapshot: &SnapshotRef,
    ) -> Result<Resource, DriverError> {
        let missing = || {
            DriverError::new(DriverErrorKind::Invalid, format!("Failed to recover the secret `{key}`"))
                .cause(format!("The snapshot `{}` does not have it", snapshot.short()))
        };
        let sealed = self.sealed_of(snapshot).await?.ok_or_else(missing)?;
        let bundle = SecretBundle::from_plain(&self.vault.seal.open(&sealed).await?)?;
        let found = bundle.find(&key.app, &key.name).ok_or_else(missing)?;
        let version = self.secrets.put(key, found.class, &found.generator, &found.value, 0).await?;
        Ok(Resource::Secret(Secret { version: Some(version), ..secret.clone() }))
    }

    /// The encrypted secrets of a snapshot, fetched once for all steps that ask.
    async fn sealed_of(&self, snapshot: &SnapshotRef) -> Result<Option<Vec<u8>>, DriverError> {
        let mut last = self.sealed.lock().await;
        if let Some((at, sealed)) = &*last
            && at == snapshot
        {
            return Ok(Some(sealed.clone()));
        }
        let found = self.vault.repositories.sealed_secrets(snapshot).await?;
        *last = found.clone().map(|sealed| (snapshot.clone(), sealed));
        Ok(found)
    }

    /// Gives the right to run. What is given back after it was taken comes under a
    /// later epoch, and the application starts again.
    pub(super) async fn grant(&self, lease: &Lease, cx: &dyn StepContext) -> Result<(), DriverError> {
        let Some(epoch) = lease.back_as else { return self.guests.grant(lease).await };
        self.guests.grant(&Lease { epoch, back_as: None, ..lease.clone() }).await?;
        self.guests.restart(&lease.guest, &lease.app, cx).await
    }

    /// An application is in service while it has the right to run and a unit of it runs.
    pub(super) async fn observe_service(&self, like: &Service) -> Result<Option<Service>, DriverError> {
        let held = self.guests.facts(&like.guest).await?;
        if !held.is_some_and(|facts| facts.leases.contains_key(like.app.as_str())) {
            return Ok(None);
        }
        let mut session = self.guests.session(&like.guest).await?;
        let units = session.health(&like.app).await?;
        self.guests.keep(&like.guest, session).await;
        Ok(units.iter().any(|unit| unit.healthy).then(|| like.clone()))
    }

    pub(super) async fn pause(&self, service: &Service, cx: &dyn StepContext) -> Result<(), DriverError> {
        let mut session = self.guests.session(&service.guest).await?;
        let paused = session.pause_state(&service.app, true, cx).await?;
        self.guests.keep(&service.guest, session).await;
        let left: u64 = paused.queued.values().sum();
        if left > 0 {
            cx.notice(&format!("{left} queued jobs of `{}` were not run out; they are captured", service.app));
        }
        Ok(())
    }

    pub(super) async fn resume(&self, service: &Service, cx: &dyn StepContext) -> Result<(), DriverError> {
        let mut session = self.guests.session(&service.guest).await?;
        session.resume_state(&service.app, cx).await?;
        self.guests.keep(&service.guest, session).await;
        Ok(())
    }

    /// Makes restored state that of a copy. One that this journal has given the right to run
    /// was made so before.
    pub(super) async fn rehome(&self, guest: &GuestRef, unit: &str, cx: &dyn StepContext) -> Result<(), DriverError> {
        let granted = self.ledger.made(&ResourceId::lease(&guest.deployment)).await?.is_some();
        let held = self.guests.facts(guest).await?.is_some_and(|facts| !facts.leases.is_empty());
        if granted && held {
            return Ok(());
        }
        let what = format!("Failed to make the state of `{}` that of a copy", guest.deployment);
        self.unit_succeeds(guest, unit, REHOME, what, cx).await
    }

    /// What is made again is not missed by an application that runs: a failure is told,
    /// and holds nothing up.
    pub(super) async fn rebuild(
        &self,
        guest: &GuestRef,
        item: &str,
        unit: &str,
        cx: &dyn StepContext,
    ) -> Result<(), DriverError> {
        let what = format!("Failed to make {item} of `{}` again", guest.deployment);
        match self.unit_succeeds(guest, unit, REBUILD, what, cx).await {
            Err(error) if error.kind == DriverErrorKind::Failed => {
                let causes = error.causes.join("; ");
                cx.notice(&format!("{}: {causes}. Start `{unit}` on the guest once that is mended", error.message));
                Ok(())
            }
            result => result,
        }
    }
}
