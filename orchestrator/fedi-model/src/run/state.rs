//! What a journal folds to.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Failure, FailureKind, RunEvent, RunId, RunRecord, check_plan};
use crate::plan::{Action, Plan, Step, StepId};
use crate::resource::Resource;

/// Where a step stands.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum StepState {
    /// Not begun.
    #[default]
    Waiting,
    /// Begun, outcome unknown: run it again, or undo it.
    Started {
        /// The resource as it was.
        before: Option<Resource>,
    },
    /// Done.
    Finished {
        /// The resource as it was.
        before: Option<Resource>,
        /// The resource as it is.
        after: Option<Resource>,
    },
    /// Tried and failed; may have had part of its effect.
    Failed {
        /// The resource as it was.
        before: Option<Resource>,
        /// Why.
        failure: Failure,
    },
    /// Taken back.
    Undone,
}

impl StepState {
    /// Whether the step is done.
    pub fn is_finished(&self) -> bool {
        matches!(self, Self::Finished { .. })
    }

    /// The resource as it was before the step's first try.
    pub fn before(&self) -> Option<&Resource> {
        match self {
            Self::Started { before } | Self::Finished { before, .. } | Self::Failed { before, .. } => before.as_ref(),
            Self::Waiting | Self::Undone => None,
        }
    }

    /// A word for people.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Started { .. } => "started",
            Self::Finished { .. } => "finished",
            Self::Failed { .. } => "failed",
            Self::Undone => "undone",
        }
    }
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunPhase {
    /// Going forward.
    Forward,
    /// Going backward.
    Backward,
    /// Stopped; can go on in its [`Direction`].
    Paused,
    /// Over: done.
    Completed,
    /// Over: taken back.
    Unwound,
    /// Over: left as it is.
    Abandoned,
}

impl RunPhase {
    /// Whether the run is over.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Completed | Self::Unwound | Self::Abandoned)
    }
}

impl fmt::Display for RunPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Forward => "running",
            Self::Backward => "unwinding",
            Self::Paused => "paused",
            Self::Completed => "completed",
            Self::Unwound => "unwound",
            Self::Abandoned => "abandoned",
        })
    }
}

/// Which way a run goes, or will go once it is resumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Carrying its steps out.
    Forward,
    /// Taking them back.
    Backward,
}

/// An event that cannot follow: the journal is damaged, or fedi is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Event {seq} of run {run} cannot follow: {what}")]
pub struct Refused {
    /// Which run.
    pub run: RunId,
    /// Which event.
    pub seq: u64,
    /// Why, in words.
    pub what: String,
}

/// A run as its journal tells it.
#[derive(Debug, Clone, PartialEq)]
pub struct RunState {
    /// Its name.
    pub id: RunId,
    /// What it carries out.
    pub plan: Plan,
    /// Where it stands.
    pub phase: RunPhase,
    /// Which way it goes.
    pub direction: Direction,
    /// Whether the pivot is behind it.
    pub pivoted: bool,
    /// Whether it goes backward because the operator asked for it.
    pub asked_back: bool,
    /// Where each begun step stands.
    pub steps: BTreeMap<StepId, StepState>,
    /// What drivers noted, by step and key.
    pub notes: BTreeMap<(StepId, String), String>,
    /// How many events it has: the number of the next one.
    pub events: u64,
    /// When it was planned.
    pub started: Timestamp,
    /// When the last event was appended.
    pub updated: Timestamp,
    /// Why it stands still or goes back, where it does.
    pub reason: Option<String>,
    /// The last failure on its way forward; on its way back, why it turned.
    pub failure: Option<Failure>,
    /// The last failure on its way back.
    pub undo_failure: Option<Failure>,
}

impl RunState {
    /// Begins a run with its first record, which must be [`RunEvent::Planned`] with a
    /// plan that [`check_plan`] accepts.
    pub fn begin(id: RunId, first: &RunRecord) -> Result<Self, Refused> {
        let refuse = |what: String| Refused { run: id, seq: first.seq, what };
        if first.seq != 0 {
            return Err(refuse("the first event must have number 0".to_owned()));
        }
        let RunEvent::Planned { plan } = &first.event else {
            return Err(refuse("the first event must be `planned`".to_owned()));
        };
        check_plan(plan).map_err(|unsound| refuse(unsound.to_string()))?;
        Ok(Self {
            id,
            plan: (**plan).clone(),
            phase: RunPhase::Forward,
            direction: Direction::Forward,
            pivoted: false,
            asked_back: false,
            steps: BTreeMap::new(),
            notes: BTreeMap::new(),
            events: 1,
            started: first.at,
            updated: first.at,
            reason: None,
            failure: None,
            undo_failure: None,
        })
    }

    /// Folds a whole journal.
    pub fn fold(id: RunId, records: &[RunRecord]) -> Result<Self, Refused> {
        let Some((first, rest)) = records.split_first() else {
            return Err(Refused { run: id, seq: 0, what: "the run has no events".to_owned() });
        };
        let mut state = Self::begin(id, first)?;
        for record in rest {
            state.apply(record)?;
        }
        Ok(state)
    }

    /// Where `step` stands.
    pub fn step(&self, step: &StepId) -> &StepState {
        const WAITING: &StepState = &StepState::Waiting;
        self.steps.get(step).unwrap_or(WAITING)
    }

    /// What `step` noted under `key`.
    pub fn note(&self, step: &StepId, key: &str) -> Option<&str> {
        self.notes.get(&(step.clone(), key.to_owned())).map(String::as_str)
    }

    /// The steps that are not done, in order.
    pub fn unfinished(&self) -> impl Iterator<Item = &Step> {
        self.plan.steps().filter(|step| !self.step(&step.id).is_finished())
    }

    /// Whether all that is not done is a look at the application's health which did
    /// not find it healthy: everything is applied.
    pub fn is_applied_but_unhealthy(&self) -> bool {
        let mut any = false;
        self.unfinished().all(|step| {
            any = true;
            matches!(step.action, Action::Run { .. })
                && matches!(
                    self.step(&step.id),
                    StepState::Failed { failure: Failure { kind: FailureKind::Unhealthy, .. }, .. }
                )
        }) && any
    }

    /// Takes the next event, or refuses it and stays as it was.
    pub fn apply(&mut self, record: &RunRecord) -> Result<(), Refused> {
        self.check(record)?;
        self.take(&record.event);
        self.events += 1;
        self.updated = record.at;
        Ok(())
    }

    /// The transition of an event that [`RunState::check`] let pass.
    fn take(&mut self, event: &RunEvent) {
        match event {
            RunEvent::Planned { .. } | RunEvent::Left { .. } => {}
            RunEvent::Started { step, before } => {
                let before = match self.step(step) {
                    // Run again: what was there before the first try counts.
                    StepState::Started { before } | StepState::Failed { before, .. } => before.clone(),
                    _ => before.as_deref().cloned(),
                };
                self.steps.insert(step.clone(), StepState::Started { before });
            }
            RunEvent::Noted { step, key, value } => {
                self.notes.insert((step.clone(), key.clone()), value.clone());
            }
            RunEvent::Finished { step, after } => {
                let before = self.step(step).before().cloned();
                self.steps.insert(step.clone(), StepState::Finished { before, after: after.as_deref().cloned() });
            }
            RunEvent::Failed { step, failure } => {
                if let StepState::Started { before } = self.step(step) {
                    let failed = StepState::Failed { before: before.clone(), failure: failure.clone() };
                    self.steps.insert(step.clone(), failed);
                }
                // A step that only stopped because of another is not the reason.
                if failure.kind != FailureKind::Interrupted || self.failure.is_none() {
                    self.failure = Some(failure.clone());
                }
            }
            RunEvent::Pivoted { step } => {
                self.pivoted = true;
                self.steps.insert(step.clone(), StepState::Finished { before: None, after: None });
            }
            RunEvent::Unwinding { reason, asked } => {
                self.phase = RunPhase::Backward;
                self.direction = Direction::Backward;
                self.asked_back = *asked;
                self.reason = Some(reason.clone());
            }
            RunEvent::Undone { step } => {
                self.steps.insert(step.clone(), StepState::Undone);
            }
            RunEvent::UndoFailed { failure, .. } => self.undo_failure = Some(failure.clone()),
            RunEvent::Paused { reason } => {
                self.phase = RunPhase::Paused;
                self.reason = Some(reason.clone());
            }
            RunEvent::Resumed { .. } => match self.direction {
                Direction::Forward => {
                    self.phase = RunPhase::Forward;
                    self.reason = None;
                }
                Direction::Backward => {
                    self.phase = RunPhase::Backward;
                    self.undo_failure = None;
                }
            },
            RunEvent::Completed => {
                self.phase = RunPhase::Completed;
                self.reason = None;
                if !self.is_applied_but_unhealthy() {
                    self.failure = None;
                }
            }
            RunEvent::Unwound => self.phase = RunPhase::Unwound,
            RunEvent::Abandoned => self.phase = RunPhase::Abandoned,
        }
    }
}
