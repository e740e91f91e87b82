//! The plan that brings a deployment up, or to what its files say.
//!
//! Stages in order: reserve, image, machine, guest, names, secrets, pivot, lease,
//! system, verify. Only what differs appears; waiting and checking appear only beside
//! a change that asks for them; where nothing differs the plan is empty.

use fedi_model::inventory::{DnsDriver, HostKeyPin};
use fedi_model::manifest::{App, Generator};
use fedi_model::name::SecretName;
use fedi_model::plan::{Plan, Probe, SCHEMA, Stage, Step, Task, Workflow};
use fedi_model::resource::{DeliveredFile, NicAddress, Records, Resource, ResourceId};

use crate::backup;
use crate::compare::{self, Difference};
use crate::desired::{Desired, app_of};
use crate::inputs::{DeployInputs, Known};
use crate::records::full_name;
use crate::refusal::{PlanError, Refusal};
use crate::title;

/// Everything that a deployment is to consist of, in the order that it is made in:
/// what there is to look at before planning. Fails as [`plan_deploy`] does.
pub fn desired(inputs: &DeployInputs<'_>, known: &Known) -> Result<Vec<Resource>, PlanError> {
    let desired = crate::desired::desired(inputs, known).map_err(|refusals| refused("deploy", inputs, refusals))?;
    Ok(desired.into_resources())
}

/// What to do so that the deployment is as its files say, or everything that stands in
/// the way.
pub fn plan_deploy(inputs: &DeployInputs<'_>, known: &Known) -> Result<Plan, PlanError> {
    let mut refusals = refusals_before(inputs, known);
    let (desired, app) = match (crate::desired::desired(inputs, known), app_of(inputs)) {
        (Ok(desired), Ok(app)) => (desired, app),
        (desired, _) => {
            refusals.extend(desired.err().unwrap_or_default());
            return Err(refused("deploy", inputs, refusals));
        }
    };
    refusals.extend(refusals_of(inputs, known, &desired));
    if !refusals.is_empty() {
        return Err(refused("deploy", inputs, refusals));
    }
    let mut planner = Planner { inputs, known, desired: &desired, app, stages: Vec::new(), notes: Vec::new() };
    planner.stages();
    let (stages, notes) = (planner.stages, planner.notes);
    Ok(Plan {
        schema: SCHEMA,
        workflow: Workflow::Deploy,
        deployment: inputs.deployment.name.clone(),
        host: inputs.deployment.host.clone(),
        stages,
        notes,
    })
}

pub(crate) fn refused(verb: &'static str, inputs: &DeployInputs<'_>, refusals: Vec<Refusal>) -> PlanError {
    PlanError { verb, deployment: inputs.deployment.name.clone(), refusals }
}

/// Conditions on the inputs alone.
pub(crate) fn refusals_before(inputs: &DeployInputs<'_>, known: &Known) -> Vec<Refusal> {
    let deployment = inputs.deployment;
    let mut refusals = Vec::new();
    if let Some(by) = inputs.taken.get(deployment.domain()).filter(|by| **by != deployment.name) {
        refusals.push(Refusal::DomainTaken { domain: deployment.domain().clone(), by: by.clone() });
    }
    if inputs.addresses.is_empty() {
        refusals.push(Refusal::NoAddress { host: deployment.host.clone() });
    }
    if let Some(Resource::Vm(made)) = known.ledger.get(&ResourceId::vm(&deployment.name))
        && made.host != deployment.host
    {
        refusals.push(Refusal::OtherHost { runs_on: made.host.clone(), file_under: deployment.host.clone() });
    }
    refusals
}

/// Conditions on what is wanted against what there is.
pub(crate) fn refusals_of(inputs: &DeployInputs<'_>, known: &Known, desired: &Desired) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    let vm = ResourceId::vm(&inputs.deployment.name);
    if let Some(Resource::Vm(found)) = known.now(&vm)
        && found.state_gib > desired.vm.state_gib
    {
        refusals.push(Refusal::Shrink { from: found.state_gib, to: desired.vm.state_gib });
    }
    if let (Some(Resource::Vm(made)), Some(_)) = (known.ledger.get(&vm), known.now(&vm)) {
        let words = |nics: &[NicAddress]| nics.iter().map(|nic| nic.address.addr().to_string()).collect::<Vec<_>>();
        let (mut before, mut now) = (words(&made.addresses), words(&desired.vm.addresses));
        before.sort();
        now.sort();
        if before != now {
            refusals.push(Refusal::AddressesChanged { made: before, held: now });
        }
    }
    let missing: Vec<_> = desired
        .secrets
        .iter()
        .filter(|secret| known.now(&ResourceId::secret(&secret.deployment, &secret.name)).is_none())
        .filter_map(|secret| match &secret.generator {
            Generator::Operator { describe, optional: false } => Some((secret.name.clone(), describe.clone())),
            _ => None,
        })
        .collect();
    if !missing.is_empty() {
        refusals.push(Refusal::MissingSecrets { deployment: inputs.deployment.name.clone(), secrets: missing });
    }
    if let (Some(wanted), Some((_, [password, _]))) = (&inputs.backups, &desired.backups) {
        let first = known.now(&Resource::Secret(password.clone()).id()).is_none();
        refusals.extend(backup::few_recipients(&wanted.repository, first, wanted.recipients));
    }
    refusals.extend(domain_changed(inputs, known, desired));
    if inputs.host.dns.driver != DnsDriver::Manual {
        refusals.extend(desired.records.iter().flat_map(|wanted| foreign(wanted, known)));
    }
    refusals
}

/// An application that has run under one name never takes another.
fn domain_changed(inputs: &DeployInputs<'_>, known: &Known, desired: &Desired) -> Option<Refusal> {
    known.ledger.get(&ResourceId::system(&inputs.deployment.name))?;
    let domain = inputs.deployment.domain().as_str();
    let names = |records: &Records| -> Vec<String> {
        let points_here = records.sets.iter().filter(|set| ["A", "AAAA", "CNAME"].contains(&set.kind.as_str()));
        points_here.map(|set| full_name(&set.name, &records.zone)).collect()
    };
    let mut before: Vec<String> = known
        .ledger
        .values()
        .filter_map(|resource| if let Resource::Records(records) = resource { Some(names(records)) } else { None })
        .flatten()
        .collect();
    before.sort();
    before.dedup();
    let wanted = desired.records.iter().flat_map(names).any(|name| name == domain);
    let moved = wanted && !before.is_empty() && before.iter().all(|name| name != domain);
    moved.then(|| Refusal::DomainChanged { domain: inputs.deployment.domain().clone(), before })
}

/// Record sets that are there, that fedi wants to write, and that it did not write.
fn foreign(wanted: &Records, known: &Known) -> Vec<Refusal> {
    let id = Resource::Records(wanted.clone()).id();
    let Some(Resource::Records(found)) = known.seen(&id) else { return Vec::new() };
    let owned = match known.ledger.get(&id) {
        Some(Resource::Records(owned)) => owned.sets.as_slice(),
        _ => &[],
    };
    let not_ours = found.sets.iter().filter(|set| {
        let same_pair = |other: &&fedi_model::resource::RecordSet| other.name == set.name && other.kind == set.kind;
        wanted.sets.iter().any(|other| same_pair(&other)) && !owned.iter().any(|other| same_pair(&other))
    });
    not_ours
        .map(|set| Refusal::ForeignRecord {
            name: full_name(&set.name, &wanted.zone),
            kind: set.kind.clone(),
            zone: wanted.zone.clone(),
            values: set.values.clone(),
        })
        .collect()
}

pub(crate) fn create(wanted: &Resource) -> Step {
    Step::ensure(title::resource(wanted), wanted.clone(), None)
}

/// Puts stages together: what deploying and restoring have in common.
pub(crate) struct Planner<'a> {
    pub(crate) inputs: &'a DeployInputs<'a>,
    pub(crate) known: &'a Known,
    pub(crate) desired: &'a Desired,
    pub(crate) app: &'a App,
    pub(crate) stages: Vec<Stage>,
    pub(crate) notes: Vec<String>,
}

impl Planner<'_> {
    fn stages(&mut self) {
        let new_guest = self.known.now(&ResourceId::vm(&self.inputs.deployment.name)).is_none();
        self.reserve(new_guest);
        let restarts = self.machine(new_guest);
        self.guest(new_guest, restarts);
        self.names();
        let first_system = self.application(new_guest);
        self.backups(new_guest);
        self.tidy();
        self.verify(first_system);
    }

    /// Addresses and secrets; secrets that are made out of others come after those.
    pub(crate) fn reserve(&mut self, new_guest: bool) {
        let mut steps: Vec<Step> = Vec::new();
        for wanted in &self.desired.addresses {
            let resource = Resource::Address(wanted.clone());
            // Held for this plan already; the journal learns of it by this step.
            let step = if self.known.ledger.contains_key(&resource.id()) {
                self.step(&resource, |found| match found {
                    Resource::Address(found) => compare::address(wanted, found),
                    _ => None,
                })
            } else {
                Some(create(&resource))
            };
            steps.extend(step);
        }
        let mut derived = Vec::new();
        for wanted in &self.desired.secrets {
            let resource = Resource::Secret(wanted.clone());
            if self.known.now(&resource.id()).is_some() {
                continue;
            }
            let step = || Step::ensure(title::new_secret(wanted), resource, None);
            match wanted.generator {
                _ if wanted.from.is_some() => steps.push(step()),
                Generator::Operator { .. } => {}
                Generator::RsaPublicKey { .. } => derived.push(step()),
                _ => steps.push(step()),
            }
        }
        // The key of a guest that is gone would make the new one a stranger.
        let pinned = Resource::HostKey(self.desired.host_key.clone()).id();
        if let Some(stale) = self.known.now(&pinned)
            && new_guest
        {
            steps.push(Step::remove(format!("{} that is gone", title::resource(stale)), stale.clone()));
        }
        self.stage("reserve", steps);
        self.stage("derive", derived);
        if let Some((_, secrets)) = &self.desired.backups {
            self.stage("repository", backup::secrets(secrets, self.known));
        }
    }

    /// The image, for a new guest, and the VM. Returns whether its guest starts or
    /// restarts.
    pub(crate) fn machine(&mut self, new_guest: bool) -> bool {
        let image = Resource::Image(self.desired.image.clone());
        if new_guest && self.known.seen(&image.id()).is_none() {
            self.stage("image", vec![Step::ensure(title::resource(&image), image, None)]);
        }
        let wanted = &self.desired.vm;
        let mut restarts = new_guest;
        // What an abandoned run had begun may have come to be after it.
        let unknown = !new_guest && !self.known.ledger.contains_key(&ResourceId::vm(&wanted.deployment));
        let step = self.step(&Resource::Vm(wanted.clone()), |found| match found {
            Resource::Vm(found) => {
                restarts |= compare::restarts(wanted, found);
                let mut lines = compare::vm(wanted, found).unwrap_or_default();
                if unknown {
                    lines.push("begun by a run that was abandoned".to_owned());
                }
                (!lines.is_empty()).then_some(lines)
            }
            _ => None,
        });
        let changes = step.is_some();
        self.stage("machine", step.into_iter().collect());
        if new_guest && self.known.ledger.contains_key(&ResourceId::vm(&self.inputs.deployment.name)) {
            let (deployment, host) = (&self.inputs.deployment.name, &self.inputs.deployment.host);
            self.notes.push(format!(
                "The VM that fedi made for `{deployment}` is gone from `{host}`; the new one begins without its data"
            ));
        } else if changes && restarts && !new_guest {
            self.notes.push(format!("`{}` is away while its guest starts", self.inputs.deployment.name));
        }
        restarts
    }

    /// The pinned host key, and the wait until the guest answers.
    pub(crate) fn guest(&mut self, new_guest: bool, restarts: bool) {
        let wanted = &self.desired.host_key;
        let pin = if new_guest {
            Some(create(&Resource::HostKey(wanted.clone())))
        } else {
            self.step(&Resource::HostKey(wanted.clone()), |found| match found {
                Resource::HostKey(found) => compare::host_key(wanted, found),
                _ => None,
            })
        };
        if pin.is_some() && self.inputs.host.host_key_pin == HostKeyPin::FirstContact {
            self.notes.push(
                "The guest's SSH host key is taken from whoever answers first (`host-key-pin = \"first-contact\"`)"
                    .to_owned(),
            );
        }
        let answers = self.known.looked_at(&ResourceId::system(&self.inputs.deployment.name));
        let wait = restarts || pin.is_some() || (!answers && self.guest_differs());
        if !new_guest && !restarts && !answers {
            self.notes.push(format!(
                "The guest of `{}` does not answer; what it has is taken from the journal",
                self.inputs.deployment.name
            ));
        }
        self.stage("guest", pin.into_iter().collect());
        if wait {
            self.run("contact", Task::AwaitGuest { guest: self.desired.guest.clone() });
        }
    }

    /// The records, and the wait until they can be seen: certificates need them.
    pub(crate) fn names(&mut self) {
        let (mut steps, mut waits) = (Vec::new(), Vec::new());
        for wanted in &self.desired.records {
            let resource = Resource::Records(wanted.clone());
            let id = resource.id();
            let as_records = |resource: Option<&'_ Resource>| match resource {
                Some(Resource::Records(records)) => Some(records.clone()),
                _ => None,
            };
            let found = as_records(self.known.now(&id));
            let owned = as_records(self.known.ledger.get(&id));
            if let Some(changes) = compare::records(wanted, found.as_ref(), owned.as_ref()) {
                let title = title::resource(&resource);
                steps.push(Step::ensure(title, resource, found.map(Resource::Records)).with_changes(changes));
                waits.push(Task::AwaitRecords { records: wanted.clone() });
            }
        }
        if !steps.is_empty() && self.inputs.host.dns.driver == DnsDriver::Manual {
            self.notes.push("DNS is yours to write: fedi shows the records and waits until they are there".to_owned());
        }
        self.stage("names", steps);
        let waits = waits.into_iter().map(|task| Step::run(title::task(&task), task)).collect();
        self.stage("propagation", waits);
    }

    /// Secrets, lease and system of the guest. Returns whether the system is new to it.
    fn application(&mut self, new_guest: bool) -> bool {
        let delivery = self.guest_step(&Resource::Delivery(self.desired.delivery.clone()), new_guest);
        let lease = self.guest_step(&Resource::Lease(self.desired.lease.clone()), new_guest);
        let wanted = Resource::System(self.desired.system.clone());
        let mut system = self.guest_step(&wanted, new_guest);
        if let (Some(_), None, Some(found)) = (&lease, &system, self.known.now(&wanted.id())) {
            let again = Step::ensure(title::resource(&wanted), wanted.clone(), Some(found.clone()));
            system = Some(again.with_changes(vec!["starts the application under its new lease".to_owned()]));
        }
        let first = system.is_some() && (new_guest || self.known.now(&wanted.id()).is_none());
        let renewed = if new_guest || delivery.is_none() { Vec::new() } else { self.renewed_secrets() };
        let restarts = lease.is_none() && renewed.iter().any(|name| !self.app.secrets[name].restart_units.is_empty());
        let pivot = |planner: &mut Self, from_here: &str| {
            let reason = format!("From here on {from_here}: a failure pauses, nothing is unwound");
            planner.stage("pivot", vec![Step::pivot(reason)]);
        };
        if !renewed.is_empty() {
            // The store gives the newest value of a secret only.
            pivot(self, "the application gets new values of its secrets");
        }
        self.stage("secrets", delivery.into_iter().collect());
        if renewed.is_empty() && (lease.is_some() || system.is_some()) {
            pivot(self, "the application writes data of its own");
        }
        self.stage("lease", lease.into_iter().collect());
        self.stage("system", system.into_iter().collect());
        if restarts {
            let guest = self.desired.guest.clone();
            self.run("restart", Task::Restart { guest, app: self.inputs.deployment.app().clone() });
        }
        first
    }

    /// Secrets that the guest has an older value of.
    fn renewed_secrets(&self) -> Vec<SecretName> {
        let wanted = &self.desired.delivery;
        let Some(Resource::Delivery(found)) = self.known.now(&ResourceId::delivery(&wanted.guest.deployment)) else {
            return Vec::new();
        };
        let old = |(name, file): &(&SecretName, &DeliveredFile)| {
            found.files.get(*name).is_some_and(|other| other.version != file.version)
        };
        wanted.files.iter().filter(old).map(|(name, _)| name.clone()).collect()
    }

    /// What the guest needs to make backups by itself. It is given anew with new secrets,
    /// which travel with every snapshot.
    pub(crate) fn backups(&mut self, new_guest: bool) {
        let id = ResourceId::backups(&self.inputs.deployment.name);
        let Some((wanted, _)) = &self.desired.backups else {
            if let Some(found) = self.known.ledger.get(&id)
                && !new_guest
            {
                self.stage("backups", vec![Step::remove(title::resource(found), found.clone())]);
            }
            return;
        };
        let resource = Resource::Backups(wanted.clone());
        let delivers = self
            .stages
            .iter()
            .flat_map(|stage| &stage.steps)
            .any(|step| matches!(step.resource(), Some(id) if id.kind() == "delivery"));
        let step = match self.known.now(&id) {
            Some(found @ Resource::Backups(there)) if !new_guest => {
                let changes = compare::backups(wanted, there)
                    .or_else(|| delivers.then(|| vec!["takes the new secrets along".to_owned()]));
                changes.map(|changes| {
                    Step::ensure(title::resource(&resource), resource.clone(), Some(found.clone()))
                        .with_changes(changes)
                })
            }
            _ => Some(create(&resource)),
        };
        self.stage("backups", step.into_iter().collect());
    }

    /// Records in zones that nothing is wanted in any more.
    fn tidy(&mut self) {
        let wanted =
            |id: &ResourceId| self.desired.records.iter().any(|records| Resource::Records(records.clone()).id() == *id);
        let old = self.known.ledger.iter().filter(|(id, resource)| {
            matches!(resource, Resource::Records(_)) && !wanted(id) && self.known.observed.get(*id) != Some(&None)
        });
        let steps = old.map(|(_, resource)| Step::remove(title::resource(resource), resource.clone())).collect();
        self.stage("tidy", steps);
    }

    /// The first administrator, and the look whether it is all healthy.
    fn verify(&mut self, first_system: bool) {
        if let Some(admin) = &self.app.admin
            && (first_system || !self.inputs.admin_made)
        {
            let guest = self.desired.guest.clone();
            let app = self.inputs.deployment.app().clone();
            self.run("administrator", Task::CreateAdmin { guest, app, admin: admin.clone() });
        }
        if self.stages.is_empty() {
            return;
        }
        self.probe();
    }

    /// The look whether all is healthy.
    pub(crate) fn probe(&mut self) {
        let probe = Probe {
            guest: self.desired.guest.clone(),
            app: self.inputs.deployment.app().clone(),
            unit: self.app.hooks.probe.as_ref().map(|hook| hook.unit.clone()),
            endpoints: self.app.endpoints.clone(),
            records: self.desired.records.clone(),
        };
        self.run("verify", Task::Probe { probe: Box::new(probe) });
    }

    /// Whether anything on the guest is not as wanted.
    fn guest_differs(&self) -> bool {
        let desired = self.desired;
        [
            Resource::Delivery(desired.delivery.clone()),
            Resource::Lease(desired.lease.clone()),
            Resource::System(desired.system.clone()),
        ]
        .iter()
        .any(|wanted| self.guest_step(wanted, false).is_some())
    }

    pub(crate) fn guest_step(&self, wanted: &Resource, new_guest: bool) -> Option<Step> {
        if let Resource::Delivery(delivery) = wanted
            && delivery.files.is_empty()
            && (new_guest || self.known.now(&wanted.id()).is_none())
        {
            return None;
        }
        if new_guest {
            return Some(create(wanted));
        }
        self.step(wanted, |found| match (wanted, found) {
            (Resource::Delivery(wanted), Resource::Delivery(found)) => compare::delivery(wanted, found),
            (Resource::Lease(wanted), Resource::Lease(found)) => compare::lease(wanted, found),
            (Resource::System(wanted), Resource::System(found)) => compare::system(wanted, found),
            _ => None,
        })
    }

    /// The step that makes `wanted` be, unless it is so already.
    fn step(&self, wanted: &Resource, compare: impl FnOnce(&Resource) -> Difference) -> Option<Step> {
        let Some(found) = self.known.now(&wanted.id()) else { return Some(create(wanted)) };
        let changes = compare(found)?;
        Some(Step::ensure(title::resource(wanted), wanted.clone(), Some(found.clone())).with_changes(changes))
    }

    pub(crate) fn run(&mut self, stage: &str, task: Task) {
        self.stage(stage, vec![Step::run(title::task(&task), task)]);
    }

    pub(crate) fn stage(&mut self, title: &str, steps: Vec<Step>) {
        if !steps.is_empty() {
            self.stages.push(Stage { title: title.to_owned(), steps });
        }
    }
}
