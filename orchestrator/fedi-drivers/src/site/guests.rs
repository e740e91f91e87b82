//! Sessions with guests, kept open while a run needs them, and the resources that
//! live on a guest.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use fedi_engine::drivers::{
    Check, CheckState, DriverError, DriverErrorKind, Facts, GuestAccess, GuestSession, HealthReport, HookOutcome,
    Ledger, NoStep, SecretKey, SecretStore, StepContext, UnitHealth,
};
use fedi_model::name::AppName;
use fedi_model::plan::Probe;
use fedi_model::resource::{DeliveredFile, Delivery, GuestRef, HostKey, Lease, Resource, System};
use tokio::sync::Mutex;
use uuid::Uuid;

use super::tasks::unit_timeout;

/// Guests that fedi has pinned a key for.
pub struct Guests {
    access: Arc<dyn GuestAccess>,
    ledger: Arc<dyn Ledger>,
    idle: Mutex<HashMap<Uuid, Box<dyn GuestSession>>>,
}

impl Guests {
    pub(super) fn new(access: Arc<dyn GuestAccess>, ledger: Arc<dyn Ledger>) -> Self {
        Self { access, ledger, idle: Mutex::new(HashMap::new()) }
    }

    pub(super) fn access(&self) -> &dyn GuestAccess {
        self.access.as_ref()
    }

    /// The pinned key of the guest.
    pub(super) async fn pinned(&self, guest: &GuestRef) -> Result<Option<String>, DriverError> {
        let id = Resource::HostKey(HostKey { guest: guest.clone(), key: None }).id();
        Ok(match self.ledger.made(&id).await? {
            Some(Resource::HostKey(pin)) if pin.guest.uuid == guest.uuid => pin.key,
            _ => None,
        })
    }

    /// Forgets the session, as when the guest goes or its sshd was restarted.
    pub(super) async fn forget(&self, uuid: &Uuid) {
        self.idle.lock().await.remove(uuid);
    }

    /// A session with the guest: one that is open and still answers, else a new one.
    /// Hand it back with [`Guests::keep`] when all went well; one in which something
    /// failed is dropped.
    pub(super) async fn session(&self, guest: &GuestRef) -> Result<Box<dyn GuestSession>, DriverError> {
        let idle = self.idle.lock().await.remove(&guest.uuid);
        if let Some(mut session) = idle
            && session.facts().await.is_ok()
        {
            return Ok(session);
        }
        self.open(guest).await
    }

    /// Keeps a session for the next step.
    pub(super) async fn keep(&self, guest: &GuestRef, session: Box<dyn GuestSession>) {
        self.idle.lock().await.insert(guest.uuid, session);
    }

    /// Opens a new session with the pinned key.
    pub(super) async fn open(&self, guest: &GuestRef) -> Result<Box<dyn GuestSession>, DriverError> {
        let Some(key) = self.pinned(guest).await? else {
            return Err(DriverError::new(
                DriverErrorKind::Unavailable,
                format!("No SSH host key is pinned for the guest `{}`", guest.deployment),
            )
            .hint(format!("Run `fedi deploy {}`", guest.deployment)));
        };
        self.access.open(guest, &key).await
    }

    pub(super) async fn facts(&self, guest: &GuestRef) -> Result<Option<Facts>, DriverError> {
        if self.pinned(guest).await?.is_none() {
            return Ok(None);
        }
        let mut session = self.session(guest).await?;
        let facts = session.facts().await?;
        self.keep(guest, session).await;
        Ok(Some(facts))
    }

    pub(super) async fn observe(&self, like: &Resource) -> Result<Option<Resource>, DriverError> {
        let guest = match like {
            Resource::Delivery(it) => &it.guest,
            Resource::Lease(it) => &it.guest,
            Resource::System(it) => &it.guest,
            _ => return Ok(None),
        };
        Ok(self.facts(guest).await?.and_then(|facts| found_in(&facts, like)))
    }

    pub(super) async fn deliver(&self, delivery: &Delivery, store: &dyn SecretStore) -> Result<Delivery, DriverError> {
        let mut values = BTreeMap::new();
        let mut made = delivery.clone();
        for (name, file) in &mut made.files {
            let key = SecretKey {
                deployment: delivery.guest.deployment.clone(),
                app: delivery.app.clone(),
                name: name.clone(),
            };
            let Some((value, version)) = store.get(&key).await? else {
                return Err(DriverError::new(
                    DriverErrorKind::Invalid,
                    format!("Failed to deliver secrets to the guest `{}`", delivery.guest.deployment),
                )
                .cause(format!("The store has no secret `{key}`"))
                .hint(format!("Set it with `fedi secret set {} {name}`", key.deployment)));
            };
            file.version = Some(version);
            values.insert(name.clone(), (value, version));
        }
        let mut session = self.session(&delivery.guest).await?;
        session.deliver(&made, &values).await?;
        self.keep(&delivery.guest, session).await;
        Ok(made)
    }

    pub(super) async fn grant(&self, lease: &Lease) -> Result<(), DriverError> {
        let mut session = self.session(&lease.guest).await?;
        session.grant_lease(lease).await?;
        self.keep(&lease.guest, session).await;
        Ok(())
    }

    pub(super) async fn revoke(&self, lease: &Lease) -> Result<(), DriverError> {
        let mut session = self.session(&lease.guest).await?;
        session.revoke_lease(&lease.app).await?;
        self.keep(&lease.guest, session).await;
        Ok(())
    }

    pub(super) async fn restart(
        &self,
        guest: &GuestRef,
        app: &AppName,
        cx: &dyn StepContext,
    ) -> Result<(), DriverError> {
        let mut session = self.session(guest).await?;
        session.restart(app, unit_timeout(), cx).await?;
        self.keep(guest, session).await;
        Ok(())
    }

    async fn look_inside(
        &self,
        probe: &Probe,
    ) -> Result<(Vec<UnitHealth>, Option<(String, HookOutcome)>), DriverError> {
        let mut session = self.session(&probe.guest).await?;
        let units = session.health(&probe.app).await?;
        let outcome = match &probe.unit {
            Some(unit) => Some((unit.clone(), session.run_unit(unit, unit_timeout(), &NoStep::default()).await?)),
            None => None,
        };
        self.keep(&probe.guest, session).await;
        Ok((units, outcome))
    }

    /// Looks from inside: the application's units, and its probe unit.
    pub(super) async fn health(&self, probe: &Probe) -> HealthReport {
        let (units, outcome) = match self.look_inside(probe).await {
            Ok(found) => found,
            Err(error) => {
                // A guest that does not answer may be starting.
                let lasting = error.kind != DriverErrorKind::Unavailable;
                let detail = std::iter::once(error.message).chain(error.causes).collect::<Vec<_>>().join(": ");
                let what = format!("guest {}", probe.guest.deployment);
                let check = Check::new(what, CheckState::Failed, detail).lasting(lasting);
                return HealthReport { checks: vec![check] };
            }
        };
        let mut checks: Vec<Check> = units
            .into_iter()
            .map(|unit| {
                let state = if unit.healthy { CheckState::Fine } else { CheckState::Failed };
                Check::new(format!("unit {}", unit.unit), state, unit.state).lasting(unit.lasting)
            })
            .collect();
        if let Some((unit, outcome)) = outcome {
            let fine = outcome.result == "success";
            let mut detail = outcome.result;
            if let Some(last) = outcome.log.last().filter(|_| !fine) {
                detail = format!("{detail}: {last}");
            }
            let state = if fine { CheckState::Fine } else { CheckState::Failed };
            checks.push(Check::new(format!("probe {unit}"), state, detail));
        }
        HealthReport { checks }
    }
}

/// The resource on the guest that `like` asks for, as the guest's facts have it.
pub(super) fn found_in(facts: &Facts, like: &Resource) -> Option<Resource> {
    match like {
        Resource::Delivery(it) => {
            let versions = facts.secrets.get(it.app.as_str())?;
            let files = it.files.iter().filter_map(|(name, file)| {
                let version = versions.get(name.as_str())?;
                Some((name.clone(), DeliveredFile { version: Some(*version), ..file.clone() }))
            });
            Some(Resource::Delivery(Delivery { files: files.collect(), ..it.clone() }))
        }
        Resource::Lease(it) => {
            let epoch = *facts.leases.get(it.app.as_str())?;
            Some(Resource::Lease(Lease { epoch, ..it.clone() }))
        }
        Resource::System(it) => {
            let toplevel = facts.system.clone()?;
            Some(Resource::System(System { toplevel, ..it.clone() }))
        }
        _ => None,
    }
}
