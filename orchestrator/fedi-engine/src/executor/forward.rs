//! The way forward.

use fedi_model::event::Event;
use fedi_model::plan::{Action, Stage, Step};
use fedi_model::resource::Resource;
use fedi_model::run::{FailureKind, RunEvent, StepState, holds_data};
use futures::future::join_all;
use tokio::sync::Semaphore;

use super::context::Context;
use super::{Cut, Executor, Next, gone, guarded};
use crate::drivers::{DriverError, DriverErrorKind};

impl Executor<'_> {
    /// Carries out what is not done. Returns when the run is over or paused, or has
    /// turned back; the journal's state says which.
    pub(crate) async fn forward(&self) -> Result<(), Cut> {
        let stages = self.journal.state().plan.stages.clone();
        for stage in &stages {
            if !self.stage(stage).await? {
                return self.stopped().await;
            }
        }
        self.journal.append(RunEvent::Completed).await
    }

    /// Carries a stage out; `false` when not all of it is done.
    async fn stage(&self, stage: &Stage) -> Result<bool, Cut> {
        let steps: Vec<&Step> = {
            let run = self.journal.state();
            stage.steps.iter().filter(|step| !run.step(&step.id).is_finished()).collect()
        };
        if steps.is_empty() {
            return Ok(true);
        }
        if !self.stop.is_requested() {
            self.journal.tell(Event::StageStarted { title: stage.title.clone() });
        }
        let places = Semaphore::new(self.options.concurrency);
        let ends = join_all(steps.iter().map(|step| async {
            let _place = places.acquire().await;
            self.carry_out(step).await
        }))
        .await;
        ends.into_iter().try_fold(true, |all, end| Ok(all & end?))
    }

    /// Decides what follows when a stage is not done.
    async fn stopped(&self) -> Result<(), Cut> {
        let (failure, pivoted, unhealthy) = {
            let state = self.journal.state();
            (state.failure.clone(), state.pivoted, state.is_applied_but_unhealthy())
        };
        if self.stop.operator.is_requested() || self.stop.lost.is_requested() {
            return self.journal.append(RunEvent::Paused { reason: "Interrupted".to_owned() }).await;
        }
        if unhealthy {
            return self.journal.append(RunEvent::Completed).await;
        }
        let (reason, kind) =
            failure.map_or_else(|| ("Stopped".to_owned(), FailureKind::Interrupted), |it| (it.message, it.kind));
        if pivoted || kind == FailureKind::Interrupted {
            return self.journal.append(RunEvent::Paused { reason }).await;
        }
        self.journal.append(RunEvent::Unwinding { reason: reason.clone(), asked: false }).await?;
        self.journal.tell(Event::Unwinding { reason });
        Ok(())
    }

    /// Carries a step out, with tries; `false` when it is not done.
    async fn carry_out(&self, step: &Step) -> Result<bool, Cut> {
        if self.stop.is_requested() {
            return Ok(false);
        }
        if let Action::Pivot { reason } = &step.action {
            self.journal.append(RunEvent::Pivoted { step: step.id.clone() }).await?;
            self.journal.tell(Event::Pivoted { reason: reason.clone() });
            return Ok(true);
        }
        let Some(_turn) = self.turn(step).await else { return Ok(false) };
        self.journal.tell(Event::StepStarted { step: step.id.clone(), title: step.title.clone() });
        let mut tries = self.tries();
        loop {
            let Err(error) = self.attempt(step).await? else {
                self.journal.tell(Event::StepFinished { step: step.id.clone() });
                return Ok(true);
            };
            let failed = RunEvent::Failed { step: step.id.clone(), failure: error.clone().into() };
            self.journal.append(failed).await?;
            if let Next::GiveUp(failure) = self.after_failure(step, &mut tries, error).await {
                // What is merely unhealthy or interrupted is no reason to stop the others.
                if matches!(failure.kind, FailureKind::Transient | FailureKind::Permanent) {
                    self.stop.halt.request();
                }
                self.journal.tell(Event::StepFailed { step: step.id.clone(), failure });
                return Ok(false);
            }
        }
    }

    /// Waits until no other run works on the step's resource; `None` when the run is
    /// to stop first.
    pub(super) async fn turn(&self, step: &Step) -> Option<Option<tokio::sync::OwnedMutexGuard<()>>> {
        let Some(resource) = step.resource() else { return Some(None) };
        tokio::select! {
            turn = self.turns.take(resource) => Some(Some(turn)),
            () = self.stop.requested() => None,
        }
    }

    /// One try: intent, effect, outcome.
    async fn attempt(&self, step: &Step) -> Result<Result<(), DriverError>, Cut> {
        let before = match self.before(step).await {
            Ok(before) => before,
            Err(error) => return Ok(Err(error)),
        };
        self.journal.append(RunEvent::Started { step: step.id.clone(), before: before.map(Box::new) }).await?;
        match self.effect(step).await {
            Ok(after) => {
                self.journal.append(RunEvent::Finished { step: step.id.clone(), after: after.map(Box::new) }).await?;
                Ok(Ok(()))
            }
            Err(error) => Ok(Err(error)),
        }
    }

    /// What was there before the step's first try.
    async fn before(&self, step: &Step) -> Result<Option<Resource>, DriverError> {
        if let StepState::Started { before } | StepState::Failed { before, .. } = self.journal.state().step(&step.id) {
            return Ok(before.clone());
        }
        let like = match &step.action {
            Action::Ensure { desired, .. } => desired,
            Action::Remove { resource } => resource,
            Action::Run { .. } | Action::Pivot { .. } => return Ok(None),
        };
        // Nothing is begun yet: looking may be broken off, and after it the run may still
        // stop here.
        let found = tokio::select! {
            biased;
            () = self.stop.requested() => None,
            found = guarded(step, self.world.observe(like)) => Some(found?),
        };
        let Some(found) = found.filter(|_| !self.stop.is_requested()) else {
            return Err(DriverError::new(DriverErrorKind::Interrupted, format!("Stopped before `{}`", step.title)));
        };
        match found {
            Some(found) => same(step, found).map(Some),
            None if was_there(step) && holds_data(like) => {
                Err(gone(step, like).hint("Find out what became of it; run the command again to plan afresh"))
            }
            None => Ok(None),
        }
    }

    /// Has the effect; what is there now.
    async fn effect(&self, step: &Step) -> Result<Option<Resource>, DriverError> {
        let context = Context::new(step, self.journal, &self.stop);
        match &step.action {
            Action::Ensure { desired, .. } => {
                let after = guarded(step, self.world.ensure(desired, &context)).await?;
                same(step, after).map(Some)
            }
            Action::Remove { resource } => {
                guarded(step, self.world.remove(resource, &context)).await?;
                Ok(None)
            }
            Action::Run { task } => {
                guarded(step, self.world.run(task, &context)).await?;
                Ok(None)
            }
            Action::Pivot { .. } => Ok(None),
        }
    }
}

/// Whether the thing was there when the plan was made, and is to stay.
fn was_there(step: &Step) -> bool {
    matches!(step.action, Action::Ensure { observed: Some(_), .. })
}

/// A driver that answers with another thing than it was asked for is wrong.
fn same(step: &Step, found: Resource) -> Result<Resource, DriverError> {
    if step.resource().as_ref() == Some(&found.id()) {
        return Ok(found);
    }
    Err(DriverError::new(DriverErrorKind::Failed, format!("Failed at `{}`", step.title))
        .cause(format!("The driver answered with `{}`: a mistake in fedi", found.id())))
}
