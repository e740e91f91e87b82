//! The half of the transition function that can refuse. It changes nothing, so a
//! refused event leaves the state as it was.

use super::{Direction, Refused, RunEvent, RunPhase, RunRecord, RunState, StepState};
use crate::plan::{Action, Step, StepId};
use crate::resource::Resource;

impl RunState {
    /// Whether `record` can be the next one.
    pub fn check(&self, record: &RunRecord) -> Result<(), Refused> {
        let refuse = |what: String| Refused { run: self.id, seq: record.seq, what };
        if record.seq != self.events {
            return Err(refuse(format!("expected event {}", self.events)));
        }
        self.may_follow(&record.event).map_err(refuse)
    }

    fn may_follow(&self, event: &RunEvent) -> Result<(), String> {
        if self.phase.is_over() {
            return Err(format!("the run is {}", self.phase));
        }
        match event {
            RunEvent::Planned { .. } => Err("a run is planned once".to_owned()),
            RunEvent::Started { step, before } => self.may_start(step, before.as_deref()),
            RunEvent::Noted { step, .. } => {
                self.known(step)?;
                match (self.phase, self.step(step)) {
                    (RunPhase::Forward, StepState::Started { .. }) => Ok(()),
                    (RunPhase::Backward, state) if self.can_be_undone(state) => Ok(()),
                    (_, state) => Err(format!("step `{step}` is {} and the run {}", state.word(), self.phase)),
                }
            }
            RunEvent::Finished { step, after } => self.may_finish(step, after.as_deref()),
            RunEvent::Failed { step, .. } => {
                self.must_be(RunPhase::Forward)?;
                self.known(step)?;
                match self.step(step) {
                    StepState::Waiting | StepState::Started { .. } => Ok(()),
                    state => Err(format!("step `{step}` is {}", state.word())),
                }
            }
            RunEvent::Pivoted { step } => {
                self.must_be(RunPhase::Forward)?;
                if !matches!(self.known(step)?.action, Action::Pivot { .. }) {
                    return Err(format!("step `{step}` is no pivot"));
                }
                if self.step(step).is_finished() {
                    return Err(format!("step `{step}` is finished"));
                }
                self.its_turn(step)
            }
            RunEvent::Unwinding { .. } => {
                self.must_be(RunPhase::Forward)?;
                if self.pivoted { Err("the run is past its pivot".to_owned()) } else { Ok(()) }
            }
            RunEvent::Undone { step } | RunEvent::UndoFailed { step, .. } => {
                self.must_be(RunPhase::Backward)?;
                self.known(step)?;
                let state = self.step(step);
                if self.can_be_undone(state) { Ok(()) } else { Err(format!("step `{step}` is {}", state.word())) }
            }
            RunEvent::Paused { .. } => match self.phase {
                RunPhase::Forward | RunPhase::Backward => Ok(()),
                phase => Err(format!("the run is {phase}")),
            },
            RunEvent::Left { step, now } => {
                let known = self.known(step)?;
                if known.resource().is_none() || matches!(self.step(step), StepState::Waiting | StepState::Undone) {
                    return Err(format!("step `{step}` cannot have left anything"));
                }
                same_resource(known, now.as_deref())
            }
            RunEvent::Resumed { .. } | RunEvent::Abandoned => Ok(()),
            RunEvent::Completed => {
                self.must_be(RunPhase::Forward)?;
                match self.unfinished().next() {
                    Some(step) if !self.is_applied_but_unhealthy() => Err(format!("step `{}` is not done", step.id)),
                    _ => Ok(()),
                }
            }
            RunEvent::Unwound => {
                self.must_be(RunPhase::Backward)?;
                match self.steps.iter().find(|(_, state)| !matches!(state, StepState::Undone)) {
                    Some((step, _)) => Err(format!("step `{step}` is not undone")),
                    None => Ok(()),
                }
            }
        }
    }

    fn may_start(&self, step: &StepId, before: Option<&Resource>) -> Result<(), String> {
        self.must_be(RunPhase::Forward)?;
        let known = self.known(step)?;
        if matches!(known.action, Action::Pivot { .. }) {
            return Err(format!("step `{step}` is a pivot"));
        }
        match self.step(step) {
            StepState::Waiting | StepState::Started { .. } | StepState::Failed { .. } => {}
            state => return Err(format!("step `{step}` is {}", state.word())),
        }
        same_resource(known, before)?;
        self.its_turn(step)
    }

    fn may_finish(&self, step: &StepId, after: Option<&Resource>) -> Result<(), String> {
        self.must_be(RunPhase::Forward)?;
        let known = self.known(step)?;
        if !matches!(self.step(step), StepState::Started { .. }) {
            return Err(format!("step `{step}` is {}", self.step(step).word()));
        }
        match (&known.action, after) {
            (Action::Ensure { .. }, None) => Err(format!("step `{step}` made a resource and must say how it is")),
            (Action::Remove { .. }, Some(_)) => Err(format!("step `{step}` removed a resource that is still there")),
            _ => same_resource(known, after),
        }
    }

    /// Every step of the stages before must be done.
    fn its_turn(&self, step: &StepId) -> Result<(), String> {
        for stage in &self.plan.stages {
            if stage.steps.iter().any(|other| other.id == *step) {
                return Ok(());
            }
            if let Some(other) = stage.steps.iter().find(|other| !self.step(&other.id).is_finished()) {
                return Err(format!("step `{}` of an earlier stage is not done", other.id));
            }
        }
        Ok(())
    }

    fn can_be_undone(&self, state: &StepState) -> bool {
        self.direction == Direction::Backward && !matches!(state, StepState::Waiting | StepState::Undone)
    }

    fn must_be(&self, phase: RunPhase) -> Result<(), String> {
        if self.phase == phase { Ok(()) } else { Err(format!("the run is {}", self.phase)) }
    }

    fn known(&self, step: &StepId) -> Result<&Step, String> {
        self.plan.step(step).ok_or_else(|| format!("the plan has no step `{step}`"))
    }
}

/// A resource that an event tells of must be the one that the step is about.
fn same_resource(step: &Step, told: Option<&Resource>) -> Result<(), String> {
    match (step.resource(), told.map(Resource::id)) {
        (_, None) => Ok(()),
        (Some(own), Some(other)) if own == other => Ok(()),
        (_, Some(other)) => Err(format!("step `{}` is not about `{other}`", step.id)),
    }
}
