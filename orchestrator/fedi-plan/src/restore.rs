//! The plans that bring an application's state back: onto a new guest, in the place of
//! what a guest has, and onto a guest that only proves it and goes again.
//!
//! A new guest is brought up as by a deploy, but dormant: its system is switched to
//! before the right to run is given, so that nothing seeds the places that the state
//! goes to. What a guest has is captured first; taking the run back brings that back.

use fedi_model::manifest::{App, Item};
use fedi_model::name::{AppName, DeploymentName, SecretName};
use fedi_model::plan::{Plan, SCHEMA, Step, Task, Workflow};
use fedi_model::resource::{HostKey, Lease, Resource, ResourceId, Secret, SnapshotRef, State};
use fedi_model::state::Consistency;
use uuid::Uuid;

use crate::backup;
use crate::deploy::{Planner, create, refusals_before, refusals_of, refused};
use crate::desired::{Desired, app_of};
use crate::inputs::{DeployInputs, Known};
use crate::refusal::{PlanError, Refusal};
use crate::title;

/// What a plan has to know of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotFacts {
    /// Which.
    pub at: SnapshotRef,
    /// When it was taken, in words.
    pub taken: String,
    /// Its application.
    pub app: AppName,
    /// The application's version.
    pub version: String,
    /// What moved while it was taken.
    pub consistency: Consistency,
    /// Bytes of the state.
    pub bytes: u64,
    /// A line an item: `database: PostgreSQL synapse, 171 tables, 41200 rows`.
    pub items: Vec<String>,
}

/// What is to be restored.
#[derive(Debug, Clone)]
pub struct RestoreInputs<'a> {
    /// The deployment to bring up.
    pub deploy: DeployInputs<'a>,
    /// Out of which snapshot.
    pub snapshot: &'a SnapshotFacts,
    /// Why the snapshot cannot go there: another application, an older version, a
    /// missing secret, in words.
    pub misfits: Vec<String>,
    /// Sessions that end, since their secrets are others now.
    pub sessions_lost: Vec<SecretName>,
    /// Marks the snapshot of what a guest has.
    pub fail_safe: Uuid,
    /// Whether the guest answers, where there is one.
    pub answers: bool,
}

const REHEARSE: &str = "rehearse the restore of";

/// For estimates: what a small machine restores in a second.
const BYTES_A_SECOND: u64 = 30 << 20;

/// What to do so that the deployment is as the snapshot has it.
pub fn plan_restore(inputs: &RestoreInputs<'_>, known: &Known) -> Result<Plan, PlanError> {
    let checked = Planned::check("restore", inputs, known)?;
    let mut planner = checked.planner(inputs, known);
    if known.now(&ResourceId::vm(&inputs.deploy.deployment.name)).is_some() {
        in_place(&mut planner, inputs);
    } else {
        bring_up(&mut planner, inputs, Named::Yes);
        let lease = planner.desired.lease.clone();
        start(&mut planner, lease);
    }
    Ok(plan(Workflow::Restore, inputs, planner))
}

/// Whether a rehearsal would write into the deployment's own bucket. What the guest serves
/// itself, on the loopback address, is the rehearsal's.
fn is_shared(app: &App, item: &Item) -> bool {
    let served = |endpoint: &str| app.hooks.serve.is_some() && endpoint.starts_with("http://127.0.0.1:");
    matches!(item, Item::Bucket(bucket) if !served(&bucket.endpoint))
}

/// What to do to prove that the snapshot can be restored. The inputs are those of a
/// deployment of its own, which is gone afterwards.
pub fn plan_drill(inputs: &RestoreInputs<'_>, known: &Known) -> Result<Plan, PlanError> {
    // Whoever rehearses thinks of the deployment, not of the one that goes again.
    let rehearsed = |error| PlanError { deployment: inputs.snapshot.at.deployment.clone(), ..error };
    rehearsal(inputs, known).map_err(rehearsed)
}

fn rehearsal(inputs: &RestoreInputs<'_>, known: &Known) -> Result<Plan, PlanError> {
    let checked = Planned::check(REHEARSE, inputs, known)?;
    let shared = checked.app.items.iter().filter(|(_, item)| is_shared(checked.app, item));
    let mut refusals: Vec<Refusal> = shared.map(|(item, _)| Refusal::SharedBucket { item: item.clone() }).collect();
    let vm = ResourceId::vm(&inputs.deploy.deployment.name);
    if known.now(&vm).is_some() || known.ledger.contains_key(&vm) {
        refusals.push(Refusal::DrillLeft { deployment: inputs.deploy.deployment.name.clone() });
    }
    if !refusals.is_empty() {
        return Err(refused(REHEARSE, &inputs.deploy, refusals));
    }
    let mut planner = checked.planner(inputs, known);
    bring_up(&mut planner, inputs, Named::No);
    planner.stage("pivot", vec![Step::pivot("It came back: from here on the rehearsal is cleared away")]);
    clear_away(&mut planner);
    planner.run("proof", Task::RecordProof { snapshot: inputs.snapshot.at.clone() });
    planner.notes.push("The guest of a rehearsal has no right to run and no name: nobody can reach it".to_owned());
    Ok(plan(Workflow::Drill, inputs, planner))
}

pub(crate) fn plan(workflow: Workflow, inputs: &RestoreInputs<'_>, planner: Planner<'_>) -> Plan {
    let snapshot = inputs.snapshot;
    let mut notes = vec![format!(
        "Snapshot {} of `{}`: {} {} of {}, {}, {}",
        snapshot.at.short(),
        snapshot.at.deployment,
        snapshot.app,
        snapshot.version,
        snapshot.taken,
        title::bytes(snapshot.bytes),
        snapshot.consistency
    )];
    let time = match snapshot.bytes / BYTES_A_SECOND {
        0..60 => "less than a minute".to_owned(),
        seconds => format!("about {} min", seconds.div_ceil(60)),
    };
    notes.push(format!("At 30 MiB a second the state takes {time} to bring back"));
    if planner.app.version != snapshot.version {
        notes.push(format!("{} {} takes over the state of {}", snapshot.app, planner.app.version, snapshot.version));
    }
    if !inputs.sessions_lost.is_empty() {
        notes.push("People will have to log in again: the secret of their sessions is another one now".to_owned());
    }
    notes.extend(planner.notes);
    Plan {
        schema: SCHEMA,
        workflow,
        deployment: inputs.deploy.deployment.name.clone(),
        host: inputs.deploy.deployment.host.clone(),
        stages: planner.stages,
        notes,
    }
}

/// Inputs that nothing speaks against.
pub(crate) struct Planned<'a> {
    desired: Desired,
    pub(crate) app: &'a App,
}

impl<'a> Planned<'a> {
    pub(crate) fn check(verb: &'static str, inputs: &RestoreInputs<'a>, known: &Known) -> Result<Self, PlanError> {
        let rehearsal = verb == REHEARSE;
        let deploy = &inputs.deploy;
        let mut refusals = refusals_before(deploy, known);
        let (desired, app) = match (crate::desired::desired(deploy, known), app_of(deploy)) {
            (Ok(desired), Ok(app)) => (desired, app),
            (desired, _) => {
                refusals.extend(desired.err().unwrap_or_default());
                return Err(refused(verb, deploy, refusals));
            }
        };
        refusals.extend(refusals_of(deploy, known, &desired));
        if rehearsal {
            // An application that is never started can do without.
            refusals.retain(|refusal| !matches!(refusal, Refusal::MissingSecrets { .. }));
        }
        let misfits = inputs
            .misfits
            .iter()
            .map(|why| Refusal::Misfit { snapshot: inputs.snapshot.at.short().to_owned(), why: why.clone() });
        refusals.extend(misfits);
        let need = needed_gib(inputs.snapshot.bytes);
        if desired.vm.state_gib < need {
            refusals.push(Refusal::NoRoom { has: desired.vm.state_gib, needs: need });
        }
        let there = known.now(&ResourceId::vm(&deploy.deployment.name)).is_some();
        if there && !inputs.answers {
            refusals.push(Refusal::GuestSilent { deployment: deploy.deployment.name.clone() });
        }
        if refusals.is_empty() { Ok(Self { desired, app }) } else { Err(refused(verb, deploy, refusals)) }
    }

    pub(crate) fn planner<'b>(&'b self, inputs: &'b RestoreInputs<'_>, known: &'b Known) -> Planner<'b> {
        Planner {
            inputs: &inputs.deploy,
            known,
            desired: &self.desired,
            app: self.app,
            stages: Vec::new(),
            notes: Vec::new(),
        }
    }
}

/// The state twice over: as it is fetched, and in its places.
fn needed_gib(bytes: u64) -> u32 {
    u32::try_from(bytes.saturating_mul(2).div_ceil(1 << 30)).unwrap_or(u32::MAX).saturating_add(1)
}

fn state(planner: &Planner<'_>, inputs: &RestoreInputs<'_>) -> State {
    State {
        guest: planner.desired.guest.clone(),
        app: planner.inputs.deployment.app().clone(),
        repository: inputs.snapshot.at.repository.clone(),
        snapshot: Some(inputs.snapshot.at.clone()),
        fail_safe: None,
        holds: Vec::new(),
    }
}

/// The key that later snapshots name secrets with.
fn fingerprint_key(planner: &mut Planner<'_>, inputs: &RestoreInputs<'_>) {
    let key = Secret::fingerprint_key_of(&inputs.deploy.deployment.name);
    let key = Secret { from: inputs.deploy.recovered.get(&key.name).cloned(), ..key };
    if planner.desired.backups.is_none() {
        planner.stage("identity", backup::secrets(&[key], planner.known));
    }
}

/// Whether a guest gets its names in DNS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Named {
    Yes,
    No,
}

/// A new guest with its state, dormant.
pub(crate) fn bring_up(planner: &mut Planner<'_>, inputs: &RestoreInputs<'_>, named: Named) {
    planner.reserve(true);
    fingerprint_key(planner, inputs);
    planner.machine(true);
    planner.notes.clear();
    planner.guest(true, true);
    if named == Named::Yes {
        planner.names();
    }
    let delivery = planner.guest_step(&Resource::Delivery(planner.desired.delivery.clone()), true);
    planner.stage("secrets", delivery.into_iter().collect());
    planner.stage("system", vec![create(&Resource::System(planner.desired.system.clone()))]);
    let wanted = Resource::State(state(planner, inputs));
    let step = Step::ensure(title::resource(&wanted), wanted, None).with_changes(inputs.snapshot.items.clone());
    planner.stage("state", vec![step]);
}

/// Gives the right to run and starts the application.
pub(crate) fn start(planner: &mut Planner<'_>, lease: Lease) {
    let reason = "From here on the application writes data of its own: a failure pauses, nothing is unwound";
    planner.stage("pivot", vec![Step::pivot(reason)]);
    planner.stage("lease", vec![create(&Resource::Lease(lease))]);
    let (guest, app) = (planner.desired.guest.clone(), planner.inputs.deployment.app().clone());
    planner.stage("start", vec![Step::run(format!("start {app}"), Task::Restart { guest, app })]);
    planner.backups(planner.known.now(&ResourceId::vm(&planner.inputs.deployment.name)).is_none());
    planner.probe();
    rebuild(planner);
}

/// What is made again out of the rest, in the order of restoring.
fn rebuild(planner: &mut Planner<'_>) {
    let app = planner.app;
    let made_by = |item: &String| match app.items.get(item) {
        Some(Item::Derived(derived)) => derived.rebuild.clone(),
        _ => None,
    };
    let units: Vec<(String, String)> =
        app.order.iter().filter_map(|item| Some((item.clone(), made_by(item)?))).collect();
    for (item, unit) in units {
        let guest = planner.desired.guest.clone();
        planner.run("rebuild", Task::Rebuild { guest, item, unit });
    }
}

/// The state in the place of what the guest has, which is captured before.
fn in_place(planner: &mut Planner<'_>, inputs: &RestoreInputs<'_>) {
    let name = &inputs.deploy.deployment.name;
    let held = match planner.known.now(&ResourceId::lease(name)) {
        Some(Resource::Lease(lease)) => Some(lease.clone()),
        _ => None,
    };
    let found = match planner.known.seen(&ResourceId::state(name)) {
        Some(Resource::State(found)) => Some(found.clone()),
        _ => None,
    };
    planner.reserve(false);
    fingerprint_key(planner, inputs);
    let epoch = inputs.deploy.epoch.max(held.as_ref().map_or(0, |lease| lease.epoch));
    if let Some(held) = held {
        let held = Resource::Lease(Lease { back_as: Some(epoch + 1), ..held });
        let stop = Step::remove(format!("{}, which stops it", title::resource(&held)), held);
        planner.stage("stop", vec![stop]);
    }
    let mut wanted = state(planner, inputs);
    if let Some(found) = found {
        wanted.fail_safe = Some(inputs.fail_safe);
        let capture = Task::Capture {
            guest: wanted.guest.clone(),
            app: wanted.app.clone(),
            repository: wanted.repository.clone(),
            consistency: Consistency::Quiesced,
            key: inputs.fail_safe,
            fail_safe: true,
        };
        planner.run("fail-safe", capture);
        let replaced = found.holds.iter().map(|line| format!("- {line}"));
        let comes = inputs.snapshot.items.iter().map(|line| format!("+ {line}"));
        let changes = replaced.chain(comes).collect();
        let found = Resource::State(State { fail_safe: wanted.fail_safe, ..found });
        let wanted = Resource::State(wanted);
        let step = Step::ensure(title::resource(&wanted), wanted, Some(found)).with_changes(changes);
        planner.stage("state", vec![step]);
        planner.notes.push(format!(
            "What `{name}` has now is captured before it is replaced, and comes back if the restore fails"
        ));
    } else {
        let wanted = Resource::State(wanted);
        let step = Step::ensure(title::resource(&wanted), wanted, None).with_changes(inputs.snapshot.items.clone());
        planner.stage("state", vec![step]);
    }
    planner.notes.push(format!("`{name}` is away while its state is replaced"));
    let lease = Lease { epoch: epoch + 2, back_as: None, ..planner.desired.lease.clone() };
    start(planner, lease);
}

/// All that [`bring_up`] made, the last first.
fn clear_away(planner: &mut Planner<'_>) {
    let desired = planner.desired;
    let gone = |resource: Resource| Step::remove(title::resource(&resource), resource);
    planner.stage("machine", vec![gone(Resource::Vm(desired.vm.clone()))]);
    let mut steps = vec![gone(Resource::HostKey(HostKey { guest: desired.guest.clone(), key: None }))];
    steps.extend(desired.addresses.iter().map(|address| gone(Resource::Address(address.clone()))));
    planner.stage("release", steps);
    let made: Vec<Secret> = planner
        .stages
        .iter()
        .flat_map(|stage| &stage.steps)
        .filter_map(|step| match &step.action {
            fedi_model::plan::Action::Ensure { desired, .. } => match &**desired {
                Resource::Secret(secret) => Some(secret.clone()),
                _ => None,
            },
            _ => None,
        })
        .collect();
    planner.stage("forget", made.into_iter().map(|secret| gone(Resource::Secret(secret))).collect());
}

/// The deployment that a rehearsal of `name` has.
pub fn drill_of(name: &DeploymentName) -> Option<DeploymentName> {
    DeploymentName::new(format!("{name}-drill")).ok()
}
