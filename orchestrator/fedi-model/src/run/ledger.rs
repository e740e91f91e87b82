//! What fedi owns: the ledger, as far as an event changes it.

use super::undo::is_kept;
use super::{RunEvent, RunState};
use crate::plan::{Action, StepId};
use crate::resource::{Resource, ResourceId};

/// What an event does to the ledger. The ledger is layered: a step lays its resource
/// over what earlier runs knew of it, and undoing the step takes the layer off, so that
/// a thing which was there before and was never fedi's does not become fedi's.
#[derive(Debug, Clone, PartialEq)]
pub enum LedgerChange {
    /// Nothing.
    None,
    /// The step made the resource be like this.
    Made {
        /// By which step.
        step: StepId,
        /// As it is.
        resource: Box<Resource>,
    },
    /// The step made the resource not be.
    Gone {
        /// By which step.
        step: StepId,
        /// Which resource.
        resource: ResourceId,
        /// What lived on it, see [`Resource::takes_along`]: gone too, and for good. No
        /// plan removes such a resource before its pivot, so no undo comes back to it.
        along: Vec<ResourceId>,
    },
    /// The step is taken back: as if it had never been.
    Reverted {
        /// Which step.
        step: StepId,
    },
}

impl RunState {
    /// What `event` does to the ledger. To be asked before the event is applied.
    pub fn ledger_change(&self, event: &RunEvent) -> LedgerChange {
        let Some(step) = event.step().and_then(|id| self.plan.step(id)) else {
            return LedgerChange::None;
        };
        let (Action::Ensure { desired: resource, .. } | Action::Remove { resource }) = &step.action else {
            return LedgerChange::None;
        };
        let id = step.id.clone();
        let as_found = |found: Option<&Resource>| match found {
            Some(found) => LedgerChange::Made { step: id.clone(), resource: Box::new(found.clone()) },
            None => LedgerChange::Gone { step: id.clone(), resource: resource.id(), along: resource.takes_along() },
        };
        match event {
            RunEvent::Finished { after, .. } => as_found(after.as_deref()),
            RunEvent::Undone { .. } => match &step.action {
                Action::Ensure { desired, .. } if is_kept(desired) => LedgerChange::None,
                _ => LedgerChange::Reverted { step: id },
            },
            // What is still as it was before is none of this step's doing.
            RunEvent::Left { now, .. } if now.as_deref() == self.step(&step.id).before() => {
                LedgerChange::Reverted { step: id }
            }
            RunEvent::Left { now, .. } => as_found(now.as_deref()),
            _ => LedgerChange::None,
        }
    }
}
