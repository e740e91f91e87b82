//! How fedi reaches what is on a stand-in guest: what `fedi-guest` would do, done to a
//! file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use fedi_engine::drivers::{
    Activation, Confirm, DriverError, DriverErrorKind, Facts, GuestAccess, GuestSession, HookOutcome, SecretValue,
    StepContext, UnitHealth,
};
use fedi_model::name::{AppName, SecretName};
use fedi_model::resource::{Delivery, GuestRef, Lease};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::state::{AppState, GuestFault, GuestState, States};

/// Guests as fedi reaches them.
#[derive(Debug, Clone)]
pub struct StandInGuests {
    states: States,
}

impl StandInGuests {
    /// The guests in that folder.
    pub fn new(root: &Path) -> Self {
        Self { states: States::in_folder(root) }
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

fn full(state: &GuestState) -> DriverError {
    DriverError::new(DriverErrorKind::Unavailable, format!("Guest `{}`: Failed to write a file", state.name))
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
struct StandInSession {
    guests: StandInGuests,
    uuid: Uuid,
    deployment: String,
    host_key: String,
}

impl StandInSession {
    fn with<T>(&self, act: impl FnOnce(&mut GuestState) -> Result<T, DriverError>) -> Result<T, DriverError> {
        self.guests.with(self.uuid, &self.deployment, &self.host_key, act)
    }

    fn refused(&self, kind: DriverErrorKind, what: impl std::fmt::Display) -> DriverError {
        DriverError::new(kind, format!("Guest `{}`: {what}", self.deployment))
    }
}

impl AppState {
    /// The versions of its secrets.
    pub(super) fn versions(&self) -> BTreeMap<String, u32> {
        self.secrets.iter().map(|(name, (version, _))| (name.clone(), *version)).collect()
    }
}

#[async_trait]
impl GuestSession for StandInSession {
    async fn facts(&mut self) -> Result<Facts, DriverError> {
        self.with(|state| {
            let apps = state.apps.iter();
            let held = apps.clone().filter(|(_, app)| app.held);
            Ok(Facts {
                uuid: Some(state.uuid),
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
        self.with(|state| {
            if state.fault == Some(GuestFault::DiskFull) {
                return Err(full(state));
            }
            state.app(delivery.app.as_str()).secrets = secrets;
            Ok(())
        })
    }

    async fn run_unit(&mut self, unit: &str, _: Duration, _: &dyn StepContext) -> Result<HookOutcome, DriverError> {
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
            known.runs_with = Some(known.versions());
            Ok(())
        })
    }

    async fn health(&mut self, app: &AppName) -> Result<Vec<UnitHealth>, DriverError> {
        self.with(|state| {
            let healthy = state.app(app.as_str()).runs_with.is_some();
            let state = if healthy { "active (running)" } else { "inactive (dead)" };
            Ok(vec![UnitHealth { unit: format!("{app}.service"), healthy, state: state.to_owned() }])
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
        let result = self.with(|state| {
            if !state.copied.contains(&activation.toplevel) {
                let what = format!("There is no system `{}`", activation.toplevel);
                return Err(self.refused(DriverErrorKind::Invalid, what));
            }
            if state.fault == Some(GuestFault::ActivationFails) {
                let what = format!("Failed to activate the system on the guest `{}`", state.name);
                return Err(DriverError::new(DriverErrorKind::Failed, what)
                    .cause("`switch-to-configuration` exited with 4")
                    .left(format!("The guest `{}` runs its former system", state.name)));
            }
            let before = state.system.replace(activation.toplevel.clone());
            state.unconfirmed = Some((token, activation.toplevel.clone(), before));
            for app in state.apps.values_mut().filter(|app| app.held && app.runs_with.is_none()) {
                app.runs_with = Some(app.versions());
            }
            if state.fault == Some(GuestFault::LostAfterSwitch) {
                state.fault = Some(GuestFault::NeverUp);
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
}

/// The names of all applications that run on any guest.
pub(crate) fn running(states: &[GuestState]) -> BTreeSet<(Uuid, String)> {
    let apps = states.iter().filter(|state| state.answers()).flat_map(|state| {
        state.apps.iter().filter(|(_, app)| app.runs_with.is_some()).map(|(name, _)| (state.uuid, name.clone()))
    });
    apps.collect()
}
