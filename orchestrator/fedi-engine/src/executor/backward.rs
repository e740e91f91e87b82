//! The way back.

use fedi_model::event::Event;
use fedi_model::plan::{Action, Step, StepId};
use fedi_model::run::{Failure, RunEvent, Undo, holds_data, is_opaque};

use super::context::Context;
use super::{Cut, Executor, Next, gone, guarded};
use crate::drivers::DriverError;

impl Executor<'_> {
    /// Takes back what was begun, the last step first. Returns when all is taken back
    /// or the run is paused.
    pub(crate) async fn backward(&self) -> Result<(), Cut> {
        let steps = self.journal.state().to_undo();
        for id in steps {
            if self.stop.is_requested() {
                return self.journal.append(RunEvent::Paused { reason: "Interrupted".to_owned() }).await;
            }
            if let Err(failure) = self.take_back(&id).await? {
                return self.journal.append(RunEvent::Paused { reason: failure.message }).await;
            }
        }
        self.journal.append(RunEvent::Unwound).await
    }

    /// Takes a step back, with tries.
    async fn take_back(&self, id: &StepId) -> Result<Result<(), Failure>, Cut> {
        let (step, undo) = {
            let state = self.journal.state();
            (state.plan.step(id).cloned(), state.undo(id))
        };
        let Some(step) = step.filter(|_| undo != Undo::Nothing) else {
            self.journal.append(RunEvent::Undone { step: id.clone() }).await?;
            return Ok(Ok(()));
        };
        self.journal.tell(Event::StepUndoing { step: id.clone(), title: step.title.clone() });
        let _turn = self.turn(&step).await;
        let mut tries = self.tries();
        loop {
            let Err(error) = self.undo_effect(&step, &undo).await else {
                self.journal.append(RunEvent::Undone { step: id.clone() }).await?;
                self.journal.tell(Event::StepUndone { step: id.clone() });
                return Ok(Ok(()));
            };
            let failed = RunEvent::UndoFailed { step: id.clone(), failure: error.clone().into() };
            self.journal.append(failed).await?;
            if let Next::GiveUp(failure) = self.after_failure(&step, &mut tries, error).await {
                self.journal.tell(Event::StepUndoFailed { step: id.clone(), failure: failure.clone() });
                return Ok(Err(failure));
            }
        }
    }

    async fn undo_effect(&self, step: &Step, undo: &Undo) -> Result<(), DriverError> {
        let context = Context::new(step, self.journal, &self.stop);
        match undo {
            Undo::Nothing => Ok(()),
            Undo::Remove(resource) => guarded(step, self.world.remove(resource, &context)).await,
            Undo::Restore(before) => {
                // Looked at first: what still is as it was must not be touched, least of
                // all where it is somebody else's and that is why the step failed. Looked
                // at as it was before the step, by what the step was to make of it: what
                // it added is not to be found in `before`.
                let like = match &step.action {
                    Action::Ensure { desired, .. } => desired,
                    _ => before,
                };
                let now = guarded(step, self.world.observe(like)).await?;
                if now.is_none() && holds_data(before) {
                    let hint = "Find out what became of it; `fedi run abandon` leaves things as they are";
                    return Err(gone(step, before).hint(hint));
                }
                if now.as_ref() != Some(before) || is_opaque(before) {
                    guarded(step, self.world.ensure(before, &context)).await?;
                }
                Ok(())
            }
        }
    }
}
