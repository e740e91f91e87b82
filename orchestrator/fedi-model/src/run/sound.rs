//! What a plan must be like so that it can be carried out and taken back.

use std::collections::BTreeSet;

use crate::plan::{Action, Plan, SCHEMA};
use crate::resource::Resource;

/// A plan that cannot be carried out as it stands: a mistake of whoever made it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnsoundPlan {
    /// Written by a newer fedi.
    #[error("the plan has schema {0}, this fedi knows {SCHEMA}")]
    Schema(u32),
    /// A stage without steps.
    #[error("stage `{0}` has no steps")]
    EmptyStage(String),
    /// Two steps of one name.
    #[error("the plan has two steps `{0}`")]
    SameStep(String),
    /// Steps of one stage may run together, so they must be about different things.
    #[error("two steps of stage `{stage}` are about `{resource}`")]
    SameResource {
        /// The stage.
        stage: String,
        /// The resource.
        resource: String,
    },
    /// What comes before a pivot and what comes after it must not run together.
    #[error("pivot `{0}` does not have a stage of its own")]
    PivotInCompany(String),
    /// Removing the thing destroys what no undo brings back.
    #[error("step `{0}` destroys data before the plan's pivot")]
    DestroysBeforePivot(String),
}

/// Checks what [`super::RunState::begin`] relies on.
pub fn check_plan(plan: &Plan) -> Result<(), UnsoundPlan> {
    if plan.schema != SCHEMA {
        return Err(UnsoundPlan::Schema(plan.schema));
    }
    let mut steps = BTreeSet::new();
    let mut pivoted = false;
    for stage in &plan.stages {
        if stage.steps.is_empty() {
            return Err(UnsoundPlan::EmptyStage(stage.title.clone()));
        }
        let mut resources = BTreeSet::new();
        for step in &stage.steps {
            if !steps.insert(&step.id) {
                return Err(UnsoundPlan::SameStep(step.id.to_string()));
            }
            if let Some(resource) = step.resource()
                && !resources.insert(resource.clone())
            {
                return Err(UnsoundPlan::SameResource { stage: stage.title.clone(), resource: resource.to_string() });
            }
            match &step.action {
                Action::Pivot { .. } if stage.steps.len() > 1 => {
                    return Err(UnsoundPlan::PivotInCompany(step.id.to_string()));
                }
                Action::Pivot { .. } => pivoted = true,
                Action::Remove { resource } if !pivoted && holds_data(resource) => {
                    return Err(UnsoundPlan::DestroysBeforePivot(step.id.to_string()));
                }
                Action::Ensure { .. } | Action::Remove { .. } | Action::Run { .. } => {}
            }
        }
    }
    Ok(())
}

/// Whether the thing holds what its description cannot bring back: made anew it would be
/// another one.
pub fn holds_data(resource: &Resource) -> bool {
    match resource {
        Resource::Vm(_) | Resource::Secret(_) => true,
        Resource::Address(_)
        | Resource::Image(_)
        | Resource::HostKey(_)
        | Resource::Records(_)
        | Resource::Delivery(_)
        | Resource::Lease(_)
        | Resource::System(_)
        | Resource::State(_)
        | Resource::Service(_)
        | Resource::Backups(_) => false,
    }
}
