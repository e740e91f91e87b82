//! What takes a step back, derived from what was there before it.

use super::{RunState, StepState};
use crate::plan::{Action, StepId};
use crate::resource::Resource;

/// What takes a step back.
#[derive(Debug, Clone, PartialEq)]
pub enum Undo {
    /// Nothing: it changed nothing, or what it made is kept on purpose.
    Nothing,
    /// The resource was not there: make it not be. Idempotent, so it is right for a
    /// step whose outcome is unknown too.
    Remove(Resource),
    /// The resource was like this: make it so again, unless it still is.
    Restore(Resource),
}

impl RunState {
    /// What takes `step` back as it stands now.
    pub fn undo(&self, step: &StepId) -> Undo {
        let (before, after) = match self.step(step) {
            StepState::Waiting | StepState::Undone => return Undo::Nothing,
            StepState::Started { before } | StepState::Failed { before, .. } => (before, None),
            StepState::Finished { before, after } if before == after => return Undo::Nothing,
            StepState::Finished { before, after } => (before, after.as_ref()),
        };
        match (self.plan.step(step).map(|step| &step.action), before) {
            (Some(Action::Ensure { desired, .. }), _) if is_kept(desired) => Undo::Nothing,
            (Some(Action::Ensure { desired, .. }), None) => {
                Undo::Remove(after.cloned().unwrap_or_else(|| (**desired).clone()))
            }
            (Some(Action::Ensure { .. } | Action::Remove { .. }), Some(before)) => Undo::Restore(before.clone()),
            (Some(Action::Remove { .. } | Action::Run { .. } | Action::Pivot { .. }) | None, _) => Undo::Nothing,
        }
    }

    /// Every step that is to be taken back, the last one first.
    pub fn to_undo(&self) -> Vec<StepId> {
        let mut steps: Vec<StepId> = self
            .plan
            .steps()
            .filter(|step| !matches!(self.step(&step.id), StepState::Waiting | StepState::Undone))
            .map(|step| step.id.clone())
            .collect();
        steps.reverse();
        steps
    }
}

/// Images are shared by deployments and named by their content: they stay. So does the
/// password of a repository, which may be encrypted with it by now.
pub(super) fn is_kept(resource: &Resource) -> bool {
    match resource {
        Resource::Image(_) => true,
        Resource::Secret(secret) => secret.is_of_repository(),
        _ => false,
    }
}

/// Whether looking at the thing twice cannot tell that it is still the same.
pub fn is_opaque(resource: &Resource) -> bool {
    matches!(resource, Resource::State(_))
}
