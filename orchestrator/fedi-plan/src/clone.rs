//! The plan of a copy: a second deployment with the state of another, under a domain of
//! its own, fenced in so that it cannot pass for the first.
//!
//! What the fence is, the first's system says (`fence` of its manifest). The copy's system
//! has to be one with it: then it declares `hooks.rehome`, which takes out of the restored
//! state what waits to go out to people and servers, before anything starts. Nothing that
//! belongs to the first is touched: its snapshot is read, and that is all.

use std::collections::BTreeSet;

use fedi_model::inventory::Deployment;
use fedi_model::manifest::{App, Fence, Item, SecretClass};
use fedi_model::name::{AppName, DeploymentName, SecretName};
use fedi_model::plan::{Plan, Task, Workflow};
use fedi_model::resource::ResourceId;

use crate::deploy::refused;
use crate::desired::app_of;
use crate::inputs::Known;
use crate::refusal::{PlanError, Refusal};
use crate::restore::{Named, Planned, RestoreInputs, bring_up, plan, start};

const CLONE: &str = "clone to";

/// What to do to bring up a second deployment with the state of another, whose system
/// declares `first`.
pub fn plan_clone(inputs: &RestoreInputs<'_>, first: &App, known: &Known) -> Result<Plan, PlanError> {
    let deploy = &inputs.deploy;
    let refusals = fence_refusals(inputs, first, known);
    if !refusals.is_empty() {
        return Err(refused(CLONE, deploy, refusals));
    }
    let checked = Planned::check(CLONE, inputs, known)?;
    let mut planner = checked.planner(inputs, known);
    bring_up(&mut planner, inputs, Named::Yes);
    if let Some(rehome) = &checked.app.hooks.rehome {
        let guest = planner.desired.guest.clone();
        planner.run("rehome", Task::Rehome { guest, unit: rehome.unit.clone() });
    }
    let lease = planner.desired.lease.clone();
    start(&mut planner, lease);
    let (new, from) = (&deploy.deployment.name, &inputs.snapshot.at.deployment);
    if let Some(fence) = &first.fence {
        planner.notes.push(format!("The settings of `{new}` keep it from passing for `{from}`: {}", words(fence)));
    }
    planner.notes.push(format!(
        "`{new}` is a copy to look at: it has keys of its own and speaks to no other server; nobody who follows \
         `{from}` follows it"
    ));
    planner.notes.push(format!(
        "Accounts and passwords are those of `{from}`; sessions are not taken over, and nothing that waited to go \
         out of `{from}` goes out of the copy"
    ));
    Ok(plan(Workflow::Clone, inputs, planner))
}

/// Why there can be no copy of a deployment whose system declares `first`, whatever the
/// copy's files say; `None` where there can be one.
pub fn not_clonable(new: &DeploymentName, from: &Deployment, first: &App) -> Option<PlanError> {
    let refusals = vec![no_fence(from.app(), &from.name, first)];
    first.fence.is_none().then(|| PlanError { verb: CLONE, deployment: new.clone(), refusals })
}

fn no_fence(app: &AppName, from: &DeploymentName, first: &App) -> Refusal {
    Refusal::NotClonable { app: app.clone(), from: from.clone(), carried: carried_identity(first) }
}

/// Why the clone cannot be made at all: it would pass for the first, or get into its way.
fn fence_refusals(inputs: &RestoreInputs<'_>, first: &App, known: &Known) -> Vec<Refusal> {
    let (deployment, from) = (&inputs.deploy.deployment, &inputs.snapshot.at.deployment);
    let vm = ResourceId::vm(&deployment.name);
    if deployment.name == *from || known.now(&vm).is_some() || known.ledger.contains_key(&vm) {
        return vec![Refusal::TargetExists { deployment: deployment.name.clone() }];
    }
    let Some(fence) = &first.fence else { return vec![no_fence(deployment.app(), from, first)] };
    // An application that the system does not have is told of by what comes after.
    let Ok(app) = app_of(&inputs.deploy) else { return Vec::new() };
    let mut refusals = Vec::new();
    if app.hooks.rehome.is_none() || app.fence.as_ref() != Some(fence) {
        refusals.push(Refusal::NotFenced {
            from: from.clone(),
            file: format!("hosts/{}/deployments/{}.toml", deployment.host, deployment.name),
            set: lines(fence),
            unset: fence.unset.clone(),
        });
    }
    let firsts: BTreeSet<&str> = names(first).collect();
    let taken: BTreeSet<&str> =
        names(app).chain([deployment.domain().as_str()]).filter(|name| firsts.contains(name)).collect();
    refusals.extend(taken.into_iter().map(|name| Refusal::NameOfFirst { name: name.to_owned(), from: from.clone() }));
    let shared = app.items.iter().filter(|(_, item)| is_shared(app, item, first));
    refusals.extend(shared.map(|(item, _)| Refusal::BucketOfFirst { item: item.clone(), from: from.clone() }));
    refusals
}

/// Names that an application answers at.
fn names(app: &App) -> impl Iterator<Item = &str> {
    app.records.iter().map(|record| record.name.as_str())
}

/// Whether an item lies in a bucket of the first. What a guest serves itself, on the
/// loopback address, is its own.
fn is_shared(app: &App, item: &Item, first: &App) -> bool {
    let Item::Bucket(bucket) = item else { return false };
    if app.hooks.serve.is_some() && bucket.endpoint.starts_with("http://127.0.0.1:") {
        return false;
    }
    first.items.values().any(|item| match item {
        Item::Bucket(theirs) => theirs.bucket == bucket.bucket && theirs.endpoint == bucket.endpoint,
        _ => false,
    })
}

/// Identity secrets without which the captured state cannot be read.
fn carried_identity(app: &App) -> Vec<SecretName> {
    let carried = app.secrets.iter().filter(|(_, it)| it.class == SecretClass::Identity && !it.protects.is_empty());
    carried.map(|(name, _)| name.clone()).collect()
}

/// `federation.enable = false`, as TOML has it.
fn lines(fence: &Fence) -> Vec<String> {
    fence.set.iter().map(|(key, value)| format!("`{key} = {value}`")).collect()
}

fn words(fence: &Fence) -> String {
    let unset = fence.unset.iter().map(|key| format!("no `{key}`"));
    lines(fence).into_iter().chain(unset).collect::<Vec<_>>().join(", ")
}
