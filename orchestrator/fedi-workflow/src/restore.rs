//! Restores: what a snapshot is, whether it fits, and the plans that bring it back.

use std::collections::BTreeMap;

use fedi_engine::SecretBundle;
use fedi_engine::drivers::{DriverError, DriverErrorKind, SecretKey, SecretValue};
use fedi_model::inventory::Deployment;
use fedi_model::manifest::{App, SecretClass};
use fedi_model::name::{DeploymentName, SecretName};
use fedi_model::plan::{Action, Plan};
use fedi_model::resource::{Address, GuestRef, Resource, ResourceId, Secret, SnapshotRef, State};
use fedi_plan::{DeployInputs, Known, RestoreInputs, SnapshotFacts};
use fedi_state::fingerprint::{FingerprintKey, check_secrets};
use fedi_state::snapshot::{Observed, Snapshot as Manifest};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::desk::{app_of, probe};
use crate::look::{self, GuestState};
use crate::remembered::Purpose;
use crate::{Desk, WorkflowError};

/// A snapshot, read.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// `snapshot.json`.
    pub manifest: Manifest,
    /// The same as plans need it.
    pub facts: SnapshotFacts,
}

/// A restore that is planned.
#[derive(Debug, Clone)]
pub struct PreparedRestore {
    /// What is to be done.
    pub plan: Plan,
    /// Out of which snapshot.
    pub snapshot: SnapshotFacts,
    /// How the guest is.
    pub guest: GuestState,
    fresh: Vec<Address>,
}

/// What a plan brings up.
#[derive(Debug)]
pub(crate) enum Goal {
    Restore,
    Drill,
    /// A copy of a deployment whose system declares this.
    Clone(Box<App>),
}

/// What is known of the secrets that a snapshot needs.
pub(crate) struct Secrets {
    pub(crate) recovered: BTreeMap<SecretName, SnapshotRef>,
    pub(crate) misfits: Vec<String>,
    pub(crate) sessions_lost: Vec<SecretName>,
}

impl Secrets {
    /// Nothing is known of them yet, but whether the application can read the state at all.
    pub(crate) fn unless_unfit(manifest: &Manifest, deployment: &Deployment, app: &App) -> Self {
        let misfits = manifest.fits(deployment.app(), app).err().map(|error| error.to_string());
        Self { recovered: BTreeMap::new(), misfits: misfits.into_iter().collect(), sessions_lost: Vec::new() }
    }
}

impl Desk {
    /// Reads what a snapshot says of itself.
    pub async fn snapshot(&self, at: &SnapshotRef) -> Result<Snapshot, WorkflowError> {
        let bytes = self.repositories.manifest(at).await?;
        let manifest = Manifest::from_json(&bytes).map_err(|error| {
            let made =
                DriverError::new(DriverErrorKind::Invalid, format!("Failed to read the snapshot `{}`", at.short()))
                    .because(&error);
            match error.hint() {
                Some(hint) => made.hint(hint),
                None => made,
            }
        })?;
        let facts = SnapshotFacts {
            at: at.clone(),
            taken: manifest.ended.strftime("%Y-%m-%d %H:%M UTC").to_string(),
            app: manifest.app.clone(),
            version: manifest.app_version.clone(),
            consistency: manifest.consistency,
            bytes: manifest.items.values().map(size).sum(),
            items: manifest.order.iter().filter_map(|name| Some(line(name, manifest.items.get(name)?))).collect(),
        };
        Ok(Snapshot { manifest, facts })
    }

    /// Plans to bring a deployment back as a snapshot has it: onto a new guest where there
    /// is none, else in the place of what the guest has.
    pub async fn restore(&self, deployment: &Deployment, at: &SnapshotRef) -> Result<PreparedRestore, WorkflowError> {
        self.bring(deployment, deployment, at, &Goal::Restore).await
    }

    /// Plans to prove that a snapshot can be restored, with a guest of its own that goes
    /// again.
    pub async fn drill(&self, deployment: &Deployment, at: &SnapshotRef) -> Result<PreparedRestore, WorkflowError> {
        let name = fedi_plan::drill_of(&deployment.name).ok_or_else(|| {
            DriverError::new(
                DriverErrorKind::Invalid,
                format!("The name `{}` is too long for a rehearsal", deployment.name),
            )
            .cause("The guest of a rehearsal is called the same, with `-drill` at the end, within 40 characters")
        })?;
        let rehearsal = Deployment { name, ..deployment.clone() };
        self.bring(&rehearsal, deployment, at, &Goal::Drill).await
    }

    /// Gives back what was reserved for a plan that is not carried out.
    pub async fn give_up_restore(&self, prepared: &PreparedRestore) -> Result<(), WorkflowError> {
        self.release(&prepared.fresh).await
    }

    /// To be called before the plan is carried out: what its way back grants is never
    /// granted again.
    pub async fn begin_restore(&self, prepared: &PreparedRestore) -> Result<(), WorkflowError> {
        let back = prepared.plan.steps().find_map(|step| match &step.action {
            Action::Remove { resource } => match &**resource {
                Resource::Lease(lease) => lease.back_as,
                _ => None,
            },
            _ => None,
        });
        if let Some(epoch) = back {
            self.remember_epoch(&prepared.plan.deployment, epoch).await?;
        }
        Ok(())
    }

    pub(crate) async fn bring(
        &self,
        deployment: &Deployment,
        like: &Deployment,
        at: &SnapshotRef,
        goal: &Goal,
    ) -> Result<PreparedRestore, WorkflowError> {
        let snapshot = self.snapshot(at).await?;
        let resolved = self.system(&like.host)?.resolve(like).await?;
        let app = app_of(&resolved.manifest, like)?;
        let secrets = match goal {
            Goal::Clone(_) => self.secrets_for_clone(deployment, &app, &snapshot).await?,
            Goal::Restore | Goal::Drill => self.secrets_for(deployment, &app, &snapshot).await?,
        };
        let ledger = self.ledger(&deployment.name).await?;
        let (addresses, fresh) = self.reserve(deployment, &ledger).await?;
        let prepared =
            self.plan_restore(deployment, ledger, &resolved, addresses, &snapshot.facts, secrets, goal).await;
        match prepared {
            Ok((plan, guest)) => Ok(PreparedRestore { plan, snapshot: snapshot.facts, guest, fresh }),
            Err(error) => {
                self.release(&fresh).await?;
                Err(error)
            }
        }
    }

    #[allow(clippy::too_many_arguments)]
    async fn plan_restore(
        &self,
        deployment: &Deployment,
        ledger: BTreeMap<ResourceId, Resource>,
        resolved: &fedi_engine::drivers::Resolved,
        addresses: Vec<Address>,
        snapshot: &SnapshotFacts,
        secrets: Secrets,
        goal: &Goal,
    ) -> Result<(Plan, GuestState), WorkflowError> {
        let taken = if matches!(goal, Goal::Drill) { BTreeMap::new() } else { self.taken(deployment) };
        let inputs = self.inputs(deployment, &ledger, resolved, addresses, &taken, Purpose::CarryOut).await?;
        let uuid = inputs.uuid;
        let deploy = DeployInputs {
            recovered: secrets.recovered,
            backups: if matches!(goal, Goal::Drill) { None } else { self.backups_of(deployment).await? },
            ..inputs
        };
        let mut known = Known { ledger, ..Known::default() };
        let mut wanted = fedi_plan::desired(&deploy, &known)?;
        wanted.retain(|resource| matches!(resource, Resource::Secret(_)));
        wanted.push(Resource::Secret(Secret::fingerprint_key_of(&deployment.name)));
        look::look(self.world.as_ref(), &wanted, &mut known).await?;
        let mut wanted = fedi_plan::desired(&deploy, &known)?;
        wanted.retain(|resource| match resource {
            Resource::Secret(_) => false,
            Resource::Records(_) => !matches!(goal, Goal::Drill),
            _ => true,
        });
        let app = app_of(&resolved.manifest, deployment)?;
        let guest: GuestRef = probe(deployment, &app, uuid, &wanted).guest;
        wanted.push(Resource::State(State {
            guest,
            app: deployment.app().clone(),
            repository: snapshot.at.repository.clone(),
            snapshot: None,
            fail_safe: None,
            holds: Vec::new(),
        }));
        let state = look::look(self.world.as_ref(), &wanted, &mut known).await?;
        let inputs = RestoreInputs {
            deploy,
            snapshot,
            misfits: secrets.misfits,
            sessions_lost: secrets.sessions_lost,
            fail_safe: Uuid::new_v4(),
            answers: state == GuestState::Answers,
        };
        let plan = match goal {
            Goal::Restore => fedi_plan::plan_restore(&inputs, &known),
            Goal::Drill => fedi_plan::plan_drill(&inputs, &known),
            Goal::Clone(first) => fedi_plan::plan_clone(&inputs, first, &known),
        };
        match plan {
            Ok(plan) => Ok((plan, state)),
            Err(refused) => Err(self.with_owners(refused).await?.into()),
        }
    }

    /// Whether the application can read the state: its version, and the secrets that
    /// are in the store or travel with the snapshot.
    async fn secrets_for(
        &self,
        deployment: &Deployment,
        app: &App,
        snapshot: &Snapshot,
    ) -> Result<Secrets, WorkflowError> {
        let (manifest, at) = (&snapshot.manifest, &snapshot.facts.at);
        let mut found = Secrets::unless_unfit(manifest, deployment, app);
        let bundle = self.bundle(at).await?;
        let in_bundle = |app, name: &SecretName| Some(bundle.as_ref()?.find(app, name)?.value.clone());
        let mut values: BTreeMap<SecretName, Zeroizing<Vec<u8>>> = BTreeMap::new();
        for name in app.secrets.keys().chain(manifest.secrets.keys()) {
            let stored = self.stored(&deployment.name, deployment.app(), name).await?;
            let value = stored.or_else(|| {
                let value = in_bundle(&manifest.app, name);
                if value.is_some() && app.secrets.contains_key(name) {
                    found.recovered.insert(name.clone(), at.clone());
                }
                value
            });
            if let Some(value) = value {
                values.insert(name.clone(), Zeroizing::new(value.expose().to_vec()));
            }
        }
        let own = Secret::fingerprint_key_of(&deployment.name);
        let stored = self.stored(&deployment.name, &own.app, &own.name).await?;
        let key = match (in_bundle(&own.app, &own.name), stored) {
            (Some(key), None) => {
                found.recovered.insert(own.name.clone(), at.clone());
                Some(key)
            }
            (Some(key), Some(_)) | (None, Some(key)) => Some(key),
            (None, None) => None,
        };
        let identity = manifest.secrets.values().any(|secret| secret.class == SecretClass::Identity);
        let Some(key) = key else {
            if identity {
                found.misfits.push(
                    "It has no `secrets.age` that this inventory can open, and the store has nothing of its deployment; \
                     its identity secrets are missing"
                        .to_owned(),
                );
            }
            return Ok(found);
        };
        let text = String::from_utf8_lossy(key.expose()).into_owned();
        let checked = FingerprintKey::from_base64(&text)
            .and_then(|key| check_secrets(manifest, &key, &|name| values.get(name).cloned()));
        match checked {
            Ok(report) => found.sessions_lost = report.session_lost,
            Err(error) => found.misfits.push(error.to_string()),
        }
        Ok(found)
    }

    /// The secrets that travel with a snapshot, where it has them.
    pub(crate) async fn bundle(&self, at: &SnapshotRef) -> Result<Option<SecretBundle>, WorkflowError> {
        Ok(match self.repositories.sealed_secrets(at).await? {
            Some(sealed) => Some(SecretBundle::from_plain(&self.seal.open(&sealed).await?)?),
            None => None,
        })
    }

    pub(crate) async fn stored(
        &self,
        deployment: &DeploymentName,
        app: &fedi_model::AppName,
        name: &SecretName,
    ) -> Result<Option<SecretValue>, WorkflowError> {
        let key = SecretKey { deployment: deployment.clone(), app: app.clone(), name: name.clone() };
        Ok(self.secrets.get(&key).await?.map(|(value, _)| value))
    }
}

fn size(item: &Observed) -> u64 {
    match item {
        Observed::Postgres(it) => it.bytes,
        Observed::Mysql(it) => it.bytes,
        Observed::Redis(it) => it.bytes,
        Observed::Bucket(it) => it.bytes,
        Observed::Directory(it) => it.bytes,
        Observed::Derived(_) => 0,
    }
}

/// An item in words.
fn line(name: &str, item: &Observed) -> String {
    let what = match item {
        Observed::Postgres(it) => format!(
            "PostgreSQL database {}, {} tables, {} rows",
            it.database,
            it.rows.len(),
            it.rows.values().sum::<u64>()
        ),
        Observed::Mysql(it) => {
            format!(
                "MariaDB database {}, {} tables, {} rows",
                it.database,
                it.rows.len(),
                it.rows.values().sum::<u64>()
            )
        }
        Observed::Redis(it) if it.skipped => format!("Redis {}, a cache that is not kept", it.instance),
        Observed::Redis(it) => format!("Redis {}, {} keys", it.instance, it.keys.values().sum::<u64>()),
        Observed::Bucket(it) => format!("bucket {}, {} objects", it.bucket, it.objects),
        Observed::Directory(it) => format!("folder {}, {} files", it.path, it.files),
        Observed::Derived(it) => match &it.rebuild {
            Some(unit) => format!("made again by {unit}"),
            None => "made again by the application".to_owned(),
        },
    };
    format!("{name}: {what}")
}
