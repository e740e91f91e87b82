//! The plan that removes a deployment and all that it holds: its names first, then
//! its application, guest, addresses, and the secrets last. Images are kept: they are
//! shared.

use std::collections::BTreeSet;

use fedi_model::plan::{Plan, SCHEMA, Stage, Step, Workflow};
use fedi_model::resource::{Resource, ResourceId};

use crate::inputs::{DestroyInputs, Known};
use crate::refusal::{PlanError, Refusal};
use crate::title;

/// What to do so that nothing of the deployment is left; empty when nothing is.
///
/// What the journal knows and the world does not have any more is removed all the
/// same, so that the journal forgets it.
pub fn plan_destroy(inputs: &DestroyInputs<'_>, known: &Known) -> Result<Plan, PlanError> {
    if let Some(what) = not_made(inputs, known) {
        let refusals = vec![Refusal::NotMade { what }];
        return Err(PlanError { verb: "destroy", deployment: inputs.deployment.clone(), refusals });
    }
    let things = Things { known };
    let vm = things.of(|resource| matches!(resource, Resource::Vm(_)));
    let secrets = things.of(|resource| matches!(resource, Resource::Secret(_)));
    let mut stages = Vec::new();
    let mut stage = |title: &str, steps: Vec<Step>| {
        if !steps.is_empty() {
            stages.push(Stage { title: title.to_owned(), steps });
        }
    };

    stage("names", things.of(|resource| matches!(resource, Resource::Records(_))));
    if !vm.is_empty() || !secrets.is_empty() {
        stage("pivot", vec![Step::pivot("From here on data is destroyed: a failure pauses, nothing is unwound")]);
    }
    // The guest may be gone, or not answer: then there is nothing to stop.
    let id = ResourceId::lease(inputs.deployment);
    let lease = known.seen(&id).filter(|_| known.seen(&ResourceId::vm(inputs.deployment)).is_some());
    stage("stop", lease.map(|lease| remove(known, &id, lease)).into_iter().collect());
    let mut notes = Vec::new();
    if !vm.is_empty() || !secrets.is_empty() {
        notes.push(format!(
            "The data and the identity of `{}` are gone for good: without a backup nobody can run it again",
            inputs.deployment
        ));
    }
    if !vm.is_empty() && !known.looked_at(&id) {
        notes.push(format!(
            "The guest of `{}` does not answer; its VM is stopped without a word to the application",
            inputs.deployment
        ));
    }
    stage("machine", vm);
    stage("release", things.of(|resource| matches!(resource, Resource::HostKey(_) | Resource::Address(_))));
    stage("secrets", secrets);
    Ok(Plan {
        schema: SCHEMA,
        workflow: Workflow::Destroy,
        deployment: inputs.deployment.clone(),
        host: inputs.host.clone(),
        stages,
        notes,
    })
}

/// A VM that stands there without the journal knowing its UUID, in words.
fn not_made(inputs: &DestroyInputs<'_>, known: &Known) -> Option<String> {
    let id = ResourceId::vm(inputs.deployment);
    let Some(Resource::Vm(found)) = known.seen(&id) else { return None };
    match known.ledger.get(&id) {
        Some(Resource::Vm(made)) if made.uuid == found.uuid => None,
        // A run had begun to make it, and was abandoned before that was done.
        None if inputs.uuid == Some(found.uuid) => None,
        _ => Some(format!("the VM of `{}` with the UUID {}", inputs.deployment, found.uuid)),
    }
}

struct Things<'a> {
    known: &'a Known,
}

impl Things<'_> {
    /// Steps that remove everything of a kind, whether seen or only known.
    fn of(&self, kind: fn(&Resource) -> bool) -> Vec<Step> {
        let seen = self.known.observed.iter().filter(|(_, found)| found.as_ref().is_some_and(kind)).map(|(id, _)| id);
        let made = self.known.ledger.iter().filter(|(_, made)| kind(made)).map(|(id, _)| id);
        let ids: BTreeSet<&ResourceId> = seen.chain(made).collect();
        ids.into_iter().filter_map(|id| self.step(id)).collect()
    }

    fn step(&self, id: &ResourceId) -> Option<Step> {
        let (seen, made) = (self.known.seen(id), self.known.ledger.get(id));
        // Whatever else is seen in a zone, fedi takes away what it wrote.
        let seen = seen.filter(|seen| !matches!(seen, Resource::Records(_)));
        let resource = seen.or(made)?;
        Some(remove(self.known, id, resource))
    }
}

fn remove(known: &Known, id: &ResourceId, resource: &Resource) -> Step {
    let gone = if known.observed.get(id) == Some(&None) { ", already gone" } else { "" };
    Step::remove(format!("{}{gone}", title::resource(resource)), resource.clone())
}
