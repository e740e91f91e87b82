//! The plan that captures a deployment's state into a repository.

use fedi_model::name::RepositoryName;
use fedi_model::plan::{Plan, SCHEMA, Stage, Step, Task, Workflow};
use fedi_model::resource::{GuestRef, Resource, ResourceId, Secret, Service};
use fedi_model::state::Consistency;
use uuid::Uuid;

use crate::inputs::Known;
use crate::refusal::{PlanError, Refusal};
use crate::title;

/// What is to be captured.
#[derive(Debug, Clone)]
pub struct BackupInputs<'a> {
    /// Its guest.
    pub guest: GuestRef,
    /// Where to.
    pub repository: &'a RepositoryName,
    /// What may move meanwhile.
    pub consistency: Consistency,
    /// Marks the snapshot.
    pub key: Uuid,
    /// Whether the guest answers.
    pub answers: bool,
    /// How many keys secrets are encrypted to.
    pub recipients: usize,
}

/// What to do to capture the state, or what stands in the way.
pub fn plan_backup(inputs: &BackupInputs<'_>, known: &Known) -> Result<Plan, PlanError> {
    let deployment = &inputs.guest.deployment;
    let mut refusals = Vec::new();
    let lease = match known.now(&ResourceId::lease(deployment)) {
        Some(Resource::Lease(lease)) if known.ledger.contains_key(&ResourceId::vm(deployment)) => Some(lease),
        _ => None,
    };
    match lease {
        None => refusals.push(Refusal::NothingToCapture { deployment: deployment.clone() }),
        Some(_) if !inputs.answers => refusals.push(Refusal::GuestSilent { deployment: deployment.clone() }),
        Some(_) => {}
    }
    let password = Secret::password_of(inputs.repository);
    let first = known.now(&Resource::Secret(password.clone()).id()).is_none();
    refusals.extend(few_recipients(inputs.repository, first, inputs.recipients));
    let (Some(lease), true) = (lease, refusals.is_empty()) else {
        return Err(PlanError { verb: "back up", deployment: deployment.clone(), refusals });
    };
    let mut stages = Vec::new();
    let mut stage = |title: &str, steps: Vec<Step>| {
        if !steps.is_empty() {
            stages.push(Stage { title: title.to_owned(), steps });
        }
    };
    stage("secrets", secrets(&[password, Secret::fingerprint_key_of(deployment)], known));
    let (guest, app) = (inputs.guest.clone(), lease.app.clone());
    let service = Resource::Service(Service { guest: guest.clone(), app: app.clone() });
    let stops = inputs.consistency == Consistency::Quiesced;
    let mut notes = Vec::new();
    if stops {
        stage("stop", vec![Step::remove(title::resource(&service), service.clone())]);
        notes.push(format!("`{deployment}` is away while its state is captured"));
    }
    let capture = Task::Capture {
        guest,
        app,
        repository: inputs.repository.clone(),
        consistency: inputs.consistency,
        key: inputs.key,
        fail_safe: false,
    };
    stage("capture", vec![Step::run(title::task(&capture), capture)]);
    if stops {
        stage("start", vec![Step::ensure(title::resource(&service), service, None)]);
    }
    Ok(Plan {
        schema: SCHEMA,
        workflow: Workflow::Backup,
        deployment: deployment.clone(),
        host: inputs.guest.host.clone(),
        stages,
        notes,
    })
}

/// A password that only one key can read would be lost with that key, and all backups.
pub(crate) fn few_recipients(repository: &RepositoryName, first: bool, recipients: usize) -> Option<Refusal> {
    (first && recipients < 2).then(|| Refusal::OneRecipient { repository: repository.clone() })
}

/// Steps for secrets of fedi's own that are not there yet.
pub(crate) fn secrets(wanted: &[Secret], known: &Known) -> Vec<Step> {
    let missing = wanted.iter().filter(|secret| known.now(&Resource::Secret((*secret).clone()).id()).is_none());
    missing.map(|secret| Step::ensure(title::new_secret(secret), Resource::Secret(secret.clone()), None)).collect()
}
