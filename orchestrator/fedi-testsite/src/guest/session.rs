//! How fedi reaches what is on a stand-in guest: what `fedi-guest` would do, done to a
//! file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fedi_engine::drivers::{
    Activation, BackupConfig, BackupStatus, Capture, Captured, Confirm, DriverError, DriverErrorKind, Facts,
    GuestAccess, GuestSession, HookOutcome, Paused, Place, RepositoryAccess, Restore, Restored, SecretValue,
    StepContext, UnitHealth,
};
use fedi_model::manifest::Manifest;
use fedi_model::name::{AppName, SecretName};
use fedi_model::resource::{Delivery, GuestRef, Lease};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::repository::StandInRepositories;
use super::state::{AppState, GuestFault, GuestState, States};
use crate::files::Files;

/// Guests as fedi reaches them.
#[derive(Debug, Clone)]
pub struct StandInGuests {
    states: States,
    manifests: Files,
    /// Where they capture to.
    pub repositories: StandInRepositories,
}

impl StandInGuests {
    /// The guests in that folder.
    pub fn new(root: &Path) -> Self {
        Self {
            states: States::in_folder(root),
            manifests: Files::new(root.join("manifests")),
            repositories: StandInRepositories::new(root),
        }
    }

    /// What a system declares.
    pub(crate) fn declared(&self, toplevel: &str, manifest: &Manifest) {
        self.manifests.change(&toplevel.replace('/', "_"), |known| *known = Some(manifest.clone()));
    }

    /// What a system was said to declare.
    pub(super) fn manifest(&self, toplevel: &str) -> Option<Manifest> {
        self.manifests.read(&toplevel.replace('/', "_"))
    }

    /// All guests there are, also those that are off.
    pub fn all(&self) -> Vec<GuestState> {
        self.states.all()
    }

    /// The one guest of that name.
    pub fn named(&self, name: &str) -> Option<GuestState> {
        let mut found = self.all().into_iter().filter(|state| state.name == name);
        let first = found.next();
        assert!(found.next().is_none(), "there are two guests called {name}");
        first
    }

    /// Changes the guest of that name behind fedi's back.
    pub fn change(&self, name: &str, change: impl FnOnce(&mut GuestState)) {
        let uuid = self.named(name).expect("a guest of that name").uuid;
        self.states.change(uuid, |state| change(state.as_mut().unwrap()));
    }

    /// From now on the guest does this wrong, or nothing.
    pub fn set_fault(&self, name: &str, fault: Option<GuestFault>) {
        self.change(name, |state| state.fault = fault);
    }

    /// A system is on the guest now.
    pub(crate) fn copied(&self, guest: &GuestRef, host_key: &str, toplevel: &str) -> Result<(), DriverError> {
        self.with(guest.uuid, guest.deployment.as_str(), host_key, |state| {
            if state.fault == Some(GuestFault::DiskFull) {
                return Err(full(state));
            }
            state.copied.insert(toplevel.to_owned());
            Ok(())
        })
    }

    /// Does something to a guest that answers and shows the right key.
    fn with<T>(
        &self,
        uuid: Uuid,
        deployment: &str,
        host_key: &str,
        act: impl FnOnce(&mut GuestState) -> Result<T, DriverError>,
    ) -> Result<T, DriverError> {
        self.states.change(uuid, |state| match state {
            Some(state) if state.answers() => {
                if state.shown_key() != host_key {
                    return Err(DriverError::new(
                        DriverErrorKind::Foreign,
                        format!("The guest `{deployment}` shows another SSH host key than the pinned one"),
                    )
                    .hint("Find out why before anything else: somebody may stand in between"));
                }
                act(state)
            }
            _ => {
                Err(DriverError::new(DriverErrorKind::Unavailable, format!("Failed to reach the guest `{deployment}`"))
                    .cause("Connection timed out"))
            }
        })
    }
}

pub(super) fn full(state: &GuestState) -> DriverError {
    DriverError::new(DriverErrorKind::Failed, format!("Guest `{}`: Failed to write a file", state.name))
        .cause("No space left on device (os error 28)")
        .hint("Grow the state disk (`resources.state-gib`), or make room on the guest")
}

#[async_trait]
impl GuestAccess for StandInGuests {
    async fn shown_host_key(&self, guest: &GuestRef) -> Result<Option<String>, DriverError> {
        Ok(self.states.get(guest.uuid).filter(GuestState::answers).map(|state| state.shown_key()))
    }

    async fn open(&self, guest: &GuestRef, host_key: &str) -> Result<Box<dyn GuestSession>, DriverError> {
        self.with(guest.uuid, guest.deployment.as_str(), host_key, |_| Ok(()))?;
        Ok(Box::new(StandInSession {
            guests: self.clone(),
            uuid: guest.uuid,
            deployment: guest.deployment.to_string(),
            host_key: host_key.to_owned(),
        }))
    }
}

/// A session with a stand-in guest.
pub(super) struct StandInSession {
    pub(super) guests: StandInGuests,
    uuid: Uuid,
    pub(super) deployment: String,
    host_key: String,
}

impl StandInSession {
    pub(super) fn with<T>(
        &self,
        act: impl FnOnce(&mut GuestState) -> Result<T, DriverError>,
    ) -> Result<T, DriverError> {
        self.guests.with(self.uuid, &self.deployment, &self.host_key, act)
    }

    pub(super) fn refused(&self, kind: DriverErrorKind, what: impl std::fmt::Display) -> DriverError {
        DriverError::new(kind, format!("Guest `{}`: {what}", self.deployment))
    }
}

impl AppState {
    /// The versions of its secrets.
    pub(super) fn versions(&self) -> BTreeMap<String, u32> {
        self.secrets.iter().map(|(name, (version, _))| (name.clone(), *version)).collect()
    }

    /// It starts, or starts again.
    pub(super) fn run(&mut self) {
        self.runs_with = Some(self.versions());
        self.seed();
    }
}

#[async_trait]
impl GuestSession for StandInSession {
    async fn facts(&mut self) -> Result<Facts, DriverError> {
        self.with(|state| {
            let apps = state.apps.iter();
            let held = apps.clone().filter(|(_, app)| app.held);
            Ok(Facts {
                uuid: Some(if state.fault == Some(GuestFault::OtherMachine) { Uuid::nil() } else { state.uuid }),
                agent_version: env!("CARGO_PKG_VERSION").to_owned(),
                hostname: state.name.clone(),
                uptime_s: 1,
                system: state.system.clone(),
                leases: held.map(|(name, app)| (name.clone(), app.epoch)).collect(),
                seen_epochs: apps.clone().map(|(name, app)| (name.clone(), app.epoch)).collect(),
                secrets: apps.map(|(name, app)| (name.clone(), app.versions())).collect(),
                free_bytes: BTreeMap::new(),
            })
        })
    }

    async fn grant_lease(&mut self, lease: &Lease) -> Result<(), DriverError> {
        let app = lease.app.as_str();
        self.with(|state| {
            let known = state.app(app);
            if lease.epoch < known.epoch || (lease.epoch == known.epoch && !known.held) {
                let what = format!("Epoch {} of `{app}` is too old: this guest has seen {}", lease.epoch, known.epoch);
                return Err(self.refused(DriverErrorKind::Foreign, what));
            }
            (known.epoch, known.held) = (lease.epoch, true);
            Ok(())
        })
    }

    async fn revoke_lease(&mut self, app: &AppName) -> Result<u64, DriverError> {
        self.with(|state| {
            let app = state.app(app.as_str());
            (app.held, app.runs_with) = (false, None);
            Ok(app.epoch)
        })
    }

    async fn deliver(
        &mut self,
        delivery: &Delivery,
        values: &BTreeMap<SecretName, (SecretValue, u32)>,
    ) -> Result<(), DriverError> {
        let digest = |value: &SecretValue| -> String { hex::encode(Sha256::digest(value.expose())) };
        let secrets: BTreeMap<String, (u32, String)> = delivery
            .files
            .keys()
            .filter_map(|name| values.get(name).map(|(value, version)| (name.to_string(), (*version, digest(value)))))
            .collect();
        let encoded = |name: &SecretName| Some((name.to_string(), STANDARD.encode(values.get(name)?.0.expose())));
        let encoded = delivery.files.keys().filter_map(encoded).collect();
        self.with(|state| {
            if state.fault == Some(GuestFault::DiskFull) {
                return Err(full(state));
            }
            let app = state.app(delivery.app.as_str());
            (app.secrets, app.values) = (secrets, encoded);
            Ok(())
        })
    }

    async fn run_unit(&mut self, unit: &str, _: Duration, _: &dyn StepContext) -> Result<HookOutcome, DriverError> {
        if unit.contains("rehome") {
            return self.rehome();
        }
        self.with(|state| {
            let running = state.apps.values_mut().find(|app| app.runs_with.is_some());
            let Some(app) = running else {
                let log = vec!["the application does not run".to_owned()];
                return Ok(HookOutcome { result: "exit-code".to_owned(), log });
            };
            if unit.contains("admin") {
                app.admins = 1;
            }
            Ok(HookOutcome { result: "success".to_owned(), log: Vec::new() })
        })
    }

    async fn restart(&mut self, app: &AppName, _: Duration, _: &dyn StepContext) -> Result<(), DriverError> {
        self.with(|state| {
            let known = state.app(app.as_str());
            if !known.held {
                return Err(self.refused(DriverErrorKind::Failed, format!("The lease of `{app}` is not held here")));
            }
            known.run();
            Ok(())
        })
    }

    async fn health(&mut self, app: &AppName) -> Result<Vec<UnitHealth>, DriverError> {
        self.with(|state| {
            let lasting = state.fault == Some(GuestFault::UnitFailed);
            let healthy = !lasting && state.app(app.as_str()).runs_with.is_some();
            let state = if healthy { "active (running)" } else { "inactive (dead)" };
            Ok(vec![UnitHealth { unit: format!("{app}.service"), healthy, state: state.to_owned(), lasting }])
        })
    }

    async fn activate(&mut self, activation: &Activation, cx: &dyn StepContext) -> Result<Confirm, DriverError> {
        let noted = cx.recall("activation").await.and_then(|text| Uuid::parse_str(&text).ok());
        let joined = |state: &GuestState| {
            let same = |(token, system, _): &(Uuid, String, Option<String>)| {
                Some(*token) == noted && *system == activation.toplevel
            };
            state.unconfirmed.as_ref().is_some_and(same)
        };
        if let Some(token) = noted
            && self.with(|state| Ok(joined(state)))?
        {
            return Ok(Confirm { token: token.to_string() });
        }
        let token = Uuid::new_v4();
        cx.note("activation", &token.to_string()).await?;
        let declared = self.guests.manifest(&activation.toplevel);
        let result = self.with(|state| {
            if !state.copied.contains(&activation.toplevel) {
                let what = format!("There is no system `{}`", activation.toplevel);
                return Err(self.refused(DriverErrorKind::Invalid, what));
            }
            if state.fault == Some(GuestFault::ActivationFails) {
                let what = format!("Failed to activate the system on the guest `{}`", state.name);
                return Err(DriverError::new(DriverErrorKind::Failed, what)
                    .cause("`switch-to-configuration` exited with 4")
                    .hint("Look at the units' journal on the guest")
                    .left(format!("The guest `{}` runs its former system", state.name)));
            }
            let before = state.system.replace(activation.toplevel.clone());
            for (name, app) in declared.iter().flat_map(|manifest| &manifest.apps) {
                state.app(name.as_str()).items = app.items.keys().cloned().collect();
            }
            state.unconfirmed = Some((token, activation.toplevel.clone(), before));
            for app in state.apps.values_mut().filter(|app| app.held && app.runs_with.is_none()) {
                app.run();
            }
            match state.fault {
                Some(GuestFault::LostAfterSwitch) => state.fault = Some(GuestFault::NeverUp),
                Some(GuestFault::ApplicationDies) => state.apps.values_mut().for_each(|app| app.runs_with = None),
                _ => {}
            }
            Ok(())
        });
        result.map(|()| Confirm { token: token.to_string() })
    }

    async fn confirm(&mut self, confirm: &Confirm) -> Result<(), DriverError> {
        self.with(|state| match state.unconfirmed.take() {
            Some((token, ..)) if token.to_string() == confirm.token => Ok(()),
            other => {
                state.unconfirmed = other;
                Err(self.refused(DriverErrorKind::Failed, "No activation waits for this confirmation"))
            }
        })
    }

    async fn pause_state(&mut self, app: &AppName, _: bool, _: &dyn StepContext) -> Result<Paused, DriverError> {
        self.pause(app)
    }

    async fn resume_state(&mut self, app: &AppName, cx: &dyn StepContext) -> Result<(), DriverError> {
        if self.with(|state| Ok(state.app(app.as_str()).runs_with.is_some()))? {
            return Ok(());
        }
        self.restart(app, Duration::ZERO, cx).await
    }

    async fn capture_state(&mut self, capture: &Capture, cx: &dyn StepContext) -> Result<Captured, DriverError> {
        self.capture(capture, cx).await
    }

    async fn state_places(&mut self, app: &AppName) -> Result<Vec<Place>, DriverError> {
        self.places(app)
    }

    async fn restore_state(&mut self, restore: &Restore, cx: &dyn StepContext) -> Result<Restored, DriverError> {
        self.restore(restore, cx).await
    }

    async fn verify_state(&mut self, restore: &Restore, _: &dyn StepContext) -> Result<Restored, DriverError> {
        self.compare(restore).await
    }

    async fn clear_state(
        &mut self,
        app: &AppName,
        repository: &RepositoryAccess,
        fail_safe: &str,
        _: &dyn StepContext,
    ) -> Result<(), DriverError> {
        self.clear(app, repository, fail_safe).await
    }

    async fn configure_backup(&mut self, app: &AppName, config: Option<&BackupConfig>) -> Result<(), DriverError> {
        self.set_backup(app, config)
    }

    async fn backup_status(&mut self, app: &AppName) -> Result<BackupStatus, DriverError> {
        self.backups(app)
    }
}

/// The names of all applications that run on any guest.
pub(crate) fn running(states: &[GuestState]) -> BTreeSet<(Uuid, String)> {
    let apps = states.iter().filter(|state| state.answers()).flat_map(|state| {
        state.apps.iter().filter(|(_, app)| app.runs_with.is_some()).map(|(name, _)| (state.uuid, name.clone()))
    });
    apps.collect()
}
