//! The state of applications on stand-in guests: kept as a text an item, captured into
//! and restored from stand-in repositories under the agent's own rules.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fedi_engine::drivers::{
    BackupConfig, BackupStatus, Capture, Captured, DriverError, DriverErrorKind, HookOutcome, Paused, Place,
    RepositoryAccess, Restore, Restored, StepContext, VerifiedItem,
};
use fedi_model::manifest::App;
use fedi_model::name::AppName;
use fedi_model::state::Consistency;
use fedi_state::fingerprint::FingerprintKey;
use fedi_state::snapshot::{Observed, ObservedDirectory, ObservedSecret, SCHEMA, Snapshot};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::repository::{StandInSnapshot, digest};
use super::session::{StandInSession, full};
use super::state::{AppState, GuestFault};

/// What the guest's own backups were given; never the secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupSettings {
    /// Where to.
    pub location: String,
    /// When, as systemd takes it.
    pub schedule: Option<String>,
    /// What may move meanwhile.
    pub consistency: Consistency,
}

/// What state that was made a copy's ends with.
const REHOMED: &str = ", of a copy";

impl AppState {
    /// An application that runs has state: what it finds, or what it makes.
    pub(super) fn seed(&mut self) {
        for item in &self.items {
            self.state.entry(item.clone()).or_insert_with(|| format!("made by epoch {}", self.epoch));
        }
    }
}

impl StandInSession {
    fn app(&self, name: &AppName) -> Result<App, DriverError> {
        let manifest = self.with(|state| Ok(state.system.clone()))?.and_then(|system| self.guests.manifest(&system));
        let what = format!("The manifest has no application `{name}`");
        manifest
            .and_then(|mut manifest| manifest.apps.remove(name))
            .ok_or_else(|| self.refused(DriverErrorKind::Invalid, what))
    }

    pub(super) fn pause(&self, app: &AppName) -> Result<Paused, DriverError> {
        self.with(|state| {
            state.app(app.as_str()).runs_with = None;
            Ok(Paused::default())
        })
    }

    pub(super) async fn capture(&self, capture: &Capture, cx: &dyn StepContext) -> Result<Captured, DriverError> {
        let declared = self.app(&capture.app)?;
        let tag = format!("run:{}", capture.run);
        let (repositories, repository) = (&self.guests.repositories, &capture.repository);
        if let Some(made) = repositories.made_by(&self.deployment, repository, &tag).await? {
            return Ok(captured(made, 0));
        }
        cx.progress("capture", Some(0), None);
        let app = self.with(|state| {
            if state.fault == Some(GuestFault::DiskFull) {
                return Err(full(state));
            }
            if state.fault == Some(GuestFault::CaptureFails) {
                let what = format!("Guest `{}`: `pg_dump` ended with exit status 1", state.name);
                return Err(DriverError::new(DriverErrorKind::Failed, what));
            }
            let app = state.app(capture.app.as_str()).clone();
            if capture.consistency == Consistency::Quiesced && app.runs_with.is_some() {
                return Err(self.refused(DriverErrorKind::Drift, format!("`{}` runs", capture.app)));
            }
            Ok(app)
        })?;
        let snapshot = self.observed(capture, &declared, &app)?;
        let manifest = serde_json::to_value(&snapshot).unwrap();
        let now = Timestamp::now();
        let id = digest(format!("{tag} {now} {manifest}").as_bytes());
        let tags = [
            format!("deployment:{}", snapshot.deployment),
            format!("app:{}", snapshot.app),
            format!("version:{}", snapshot.app_version),
            format!("epoch:{}", snapshot.epoch),
            format!("consistency:{}", snapshot.consistency),
            tag.clone(),
        ];
        let made = StandInSnapshot {
            id,
            original: None,
            time: now,
            tags: tags.into(),
            manifest,
            sealed_secrets: capture.sealed_secrets.clone(),
            state: app.state,
        };
        let made = repositories.store(&self.deployment, repository, made, &tag).await?;
        let bytes = size(&made.state);
        Ok(captured(made, bytes))
    }

    fn observed(&self, capture: &Capture, declared: &App, app: &AppState) -> Result<Snapshot, DriverError> {
        let key = std::str::from_utf8(capture.fingerprint_key.expose()).unwrap_or_default();
        let key = FingerprintKey::from_base64(key)
            .map_err(|error| self.refused(DriverErrorKind::Invalid, error.to_string()))?;
        let secrets = declared.secrets.iter().filter_map(|(name, secret)| {
            let value = STANDARD.decode(app.values.get(name.as_str())?).unwrap();
            let fingerprint = key.fingerprint(&capture.app, name, &value);
            let protects = secret.protects.clone();
            Some((name.clone(), ObservedSecret { class: secret.class, fingerprint, protects }))
        });
        let items = declared.items.keys().map(|item| {
            let content = app.state.get(item).cloned().unwrap_or_default();
            let observed = ObservedDirectory {
                path: format!("/stand-in/{item}"),
                resolved: None,
                files: 1,
                folders: 1,
                links: 0,
                bytes: content.len() as u64,
                moving: 0,
                in_use: false,
                left_out: 0,
                digest: digest(content.as_bytes()),
            };
            (item.clone(), Observed::Directory(observed))
        });
        let now = Timestamp::now();
        Ok(Snapshot {
            schema: SCHEMA,
            fedi: env!("CARGO_PKG_VERSION").to_owned(),
            deployment: capture.deployment.clone(),
            app: capture.app.clone(),
            app_version: declared.version.clone(),
            schema_version: None,
            epoch: app.epoch,
            began: now,
            ended: now,
            consistency: capture.consistency,
            items: items.collect(),
            order: declared.order.clone(),
            secrets: secrets.collect(),
        })
    }

    pub(super) fn places(&self, app: &AppName) -> Result<Vec<Place>, DriverError> {
        let declared = self.app(app)?;
        self.with(|state| {
            let app = state.app(app.as_str());
            let place = |item: &String| {
                let holds = app.state.get(item);
                let bytes = holds.map_or(0, |text| text.len() as u64);
                let what = format!("stand-in for `{item}`");
                Place { item: item.clone(), what, holds: holds.map(|text| format!("`{text}`")), bytes }
            };
            Ok(declared.order.iter().map(place).collect())
        })
    }

    async fn fetched(&self, restore: &Restore) -> Result<StandInSnapshot, DriverError> {
        self.guests.repositories.snapshot(&self.deployment, &restore.repository, &restore.snapshot).await
    }

    /// Refuses where the application may run, or runs.
    fn may_replace(&self, name: &AppName, app: &AppState) -> Result<(), DriverError> {
        if app.held {
            return Err(self.refused(DriverErrorKind::Drift, format!("The lease of `{name}` is held here")));
        }
        if app.runs_with.is_some() {
            return Err(self.refused(DriverErrorKind::Drift, format!("`{name}` runs")));
        }
        Ok(())
    }

    pub(super) async fn restore(&self, restore: &Restore, cx: &dyn StepContext) -> Result<Restored, DriverError> {
        let declared = self.app(&restore.app)?;
        let made = self.fetched(restore).await?;
        let snapshot: Snapshot = serde_json::from_value(made.manifest).unwrap();
        snapshot
            .fits(&restore.app, &declared)
            .map_err(|error| self.refused(DriverErrorKind::Invalid, error.to_string()))?;
        cx.progress("restore", Some(0), None);
        self.with(|state| {
            let fault = state.fault;
            if fault == Some(GuestFault::DiskFull) {
                return Err(full(state));
            }
            let app = state.app(restore.app.as_str());
            self.may_replace(&restore.app, app)?;
            for item in &snapshot.order {
                match app.state.get(item) {
                    Some(there) if Some(there) != made.state.get(item) => {
                        return Err(self.refused(DriverErrorKind::Foreign, format!("`{item}` is not empty")));
                    }
                    _ => {}
                }
            }
            if fault == Some(GuestFault::RestoreDiffers) {
                let what = format!("`{}` is not what was captured", snapshot.order.join("`, `"));
                return Err(self.refused(DriverErrorKind::Failed, what));
            }
            app.state.clone_from(&made.state);
            Ok(())
        })?;
        self.compare(restore).await
    }

    /// Makes restored state that of a copy; once or twice is the same.
    pub(super) fn rehome(&self) -> Result<HookOutcome, DriverError> {
        self.with(|state| {
            let log = match state.apps.values_mut().next() {
                _ if state.fault == Some(GuestFault::RehomeFails) => "the users are those of another server",
                Some(app) if app.runs_with.is_some() || app.held => "the application runs here",
                Some(app) if app.state.is_empty() => "there is no state",
                Some(app) => {
                    for text in app.state.values_mut().filter(|text| !text.ends_with(REHOMED)) {
                        text.push_str(REHOMED);
                    }
                    return Ok(HookOutcome { result: "success".to_owned(), log: Vec::new() });
                }
                None => "there is no application",
            };
            Ok(HookOutcome { result: "exit-code".to_owned(), log: vec![log.to_owned()] })
        })
    }

    pub(super) async fn compare(&self, restore: &Restore) -> Result<Restored, DriverError> {
        let made = self.fetched(restore).await?;
        self.with(|state| {
            let app = state.app(restore.app.as_str());
            if app.state != made.state {
                return Err(self.refused(DriverErrorKind::Failed, "The state is not what was captured"));
            }
            let items = app.state.keys().map(|item| VerifiedItem {
                item: item.clone(),
                checks: vec!["it is the recorded text".to_owned()],
                notes: Vec::new(),
            });
            Ok(Restored { items: items.collect() })
        })
    }

    pub(super) async fn clear(
        &self,
        app: &AppName,
        repository: &RepositoryAccess,
        fail_safe: &str,
    ) -> Result<(), DriverError> {
        let snapshot = self.guests.repositories.manifest(&self.deployment, repository, fail_safe).await?;
        if snapshot.app != *app || snapshot.consistency != Consistency::Quiesced {
            return Err(self.refused(DriverErrorKind::Invalid, format!("`{fail_safe}` makes up for nothing here")));
        }
        self.with(|state| {
            let known = state.app(app.as_str());
            self.may_replace(app, known)?;
            known.state.clear();
            Ok(())
        })
    }

    pub(super) fn set_backup(&self, app: &AppName, config: Option<&BackupConfig>) -> Result<(), DriverError> {
        self.with(|state| {
            if state.fault == Some(GuestFault::DiskFull) {
                return Err(full(state));
            }
            state.app(app.as_str()).backup = config.map(|config| BackupSettings {
                location: config.repository.location.clone(),
                schedule: config.schedule.clone(),
                consistency: config.consistency,
            });
            Ok(())
        })
    }

    pub(super) fn backups(&self, app: &AppName) -> Result<BackupStatus, DriverError> {
        self.with(|state| {
            let configured = state.app(app.as_str()).backup.is_some();
            Ok(BackupStatus { configured, ..BackupStatus::default() })
        })
    }
}

fn size(state: &BTreeMap<String, String>) -> u64 {
    state.values().map(|text| text.len() as u64).sum()
}

fn captured(made: StandInSnapshot, new_bytes: u64) -> Captured {
    Captured { snapshot: made.id, manifest: made.manifest, bytes: size(&made.state), new_bytes }
}
