//! Ending a run where it stands.

use fedi_model::event::Event;
use fedi_model::plan::{Action, Step};
use fedi_model::run::{Direction, RunEvent, RunState, StepState};

use super::{Cut, Executor, guarded};

impl Executor<'_> {
    /// Ends the run. What became of steps without a known outcome is looked at first,
    /// so that what they made stays known as fedi's; what cannot be looked at is told.
    pub(crate) async fn leave(&self) -> Result<(), Cut> {
        let unclear: Vec<Step> = {
            let state = self.journal.state();
            state.plan.steps().filter(|step| is_unclear(&state, step)).cloned().collect()
        };
        for step in unclear {
            let like = match &step.action {
                Action::Ensure { desired, .. } => desired,
                Action::Remove { resource } => resource,
                Action::Run { .. } | Action::Pivot { .. } => continue,
            };
            let seen = tokio::select! {
                seen = guarded(&step, self.world.observe(like)) => seen.ok(),
                () = self.stop.requested() => None,
            };
            match seen {
                Some(now) if now.as_ref().is_none_or(|now| now.id() == like.id()) => {
                    self.journal.append(RunEvent::Left { step: step.id.clone(), now: now.map(Box::new) }).await?;
                }
                _ => self.journal.tell(Event::Notice {
                    message: format!("Could not look at `{}`: it may or may not be there", like.id()),
                }),
            }
        }
        self.journal.append(RunEvent::Abandoned).await
    }
}

fn is_unclear(state: &RunState, step: &Step) -> bool {
    match state.step(&step.id) {
        StepState::Waiting | StepState::Undone => false,
        StepState::Started { .. } | StepState::Failed { .. } => true,
        // On the way back it may have been taken back in part.
        StepState::Finished { .. } => state.direction == Direction::Backward,
    }
}
