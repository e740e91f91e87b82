//! A run: a plan being carried out, as its journal tells it.
//!
//! The journal is an append-only list of [`RunEvent`]s; [`RunState::apply`] is the one
//! function that folds them, and it refuses an event that cannot follow.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::plan::{Action, Plan, StepId};
use crate::resource::Resource;

/// Names a run: a number that grows by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub u64);

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl FromStr for RunId {
    type Err = std::num::ParseIntError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// Why a step failed, in a form that is journaled and printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Failure {
    /// What was being done to which thing: `Failed to create VM ...`.
    pub message: String,
    /// The causes, outermost first.
    #[serde(default)]
    pub causes: Vec<String>,
    /// The next thing to try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// What was left behind in the world, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<String>,
    /// What it means for the run.
    pub kind: FailureKind,
}

/// What a failure means for the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// The same step may well succeed later: the network, a lock, a full disk.
    Transient,
    /// It fails again until somebody changes something.
    Permanent,
    /// Applied, but the application is not healthy.
    Unhealthy,
    /// The operator stopped it.
    Interrupted,
}

/// One line of a run's journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum RunEvent {
    /// The first: what will be done.
    Planned {
        /// The whole plan.
        plan: Box<Plan>,
    },
    /// A step begins; durable before its effect.
    Started {
        /// Which.
        step: StepId,
        /// The resource as it was, `None` where it was not there (or for a task).
        before: Option<Box<Resource>>,
    },
    /// Something a driver must find again after a crash: a task's name, a chosen id.
    Noted {
        /// In which step.
        step: StepId,
        /// Key, the driver's own.
        key: String,
        /// Value.
        value: String,
    },
    /// A step is done.
    Finished {
        /// Which.
        step: StepId,
        /// The resource as it is now, `None` where it is gone (or for a task).
        after: Option<Box<Resource>>,
    },
    /// A step failed; it may have had part of its effect.
    Failed {
        /// Which.
        step: StepId,
        /// Why.
        failure: Failure,
    },
    /// There is no way back from here.
    Pivoted {
        /// The pivot step.
        step: StepId,
    },
    /// The run goes backwards from here.
    Unwinding {
        /// Why: the failure that did it, or the operator's word.
        reason: String,
    },
    /// A step's effect is taken back.
    Undone {
        /// Which.
        step: StepId,
    },
    /// The run stopped and can go on.
    Paused {
        /// Why.
        reason: String,
    },
    /// A process took the run up again.
    Resumed {
        /// Which process, in words: `user@machine (pid 4711)`.
        holder: String,
    },
    /// The run is over: everything is done.
    Completed,
    /// The run is over: everything is taken back.
    Unwound,
    /// The run is over by the operator's word; what it had done stays.
    Abandoned,
}

/// An event with its place and time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RunRecord {
    /// Number within the run, from 0, without gaps.
    pub seq: u64,
    /// When it was appended.
    pub at: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub event: RunEvent,
}

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

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunPhase {
    /// Going forward.
    Forward,
    /// Going backward.
    Backward,
    /// Stopped, can go on or back.
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
    /// Whether the pivot is behind it.
    pub pivoted: bool,
    /// Where each begun step stands.
    pub steps: BTreeMap<StepId, StepState>,
    /// What drivers noted, by step and key.
    pub notes: BTreeMap<(StepId, String), String>,
    /// How many events it has.
    pub events: u64,
    /// When it was planned.
    pub started: Timestamp,
    /// When the last event was appended.
    pub updated: Timestamp,
    /// Why it stands still or goes back, where it does.
    pub reason: Option<String>,
    /// The last failure.
    pub failure: Option<Failure>,
}

impl RunState {
    /// Begins a run with its first record, which must be [`RunEvent::Planned`].
    pub fn begin(id: RunId, first: &RunRecord) -> Result<Self, Refused> {
        let RunEvent::Planned { plan } = &first.event else {
            return Err(Refused { run: id, seq: first.seq, what: "the first event must be `planned`".to_owned() });
        };
        if first.seq != 0 {
            return Err(Refused { run: id, seq: first.seq, what: "the first event must have number 0".to_owned() });
        }
        Ok(Self {
            id,
            plan: (**plan).clone(),
            phase: RunPhase::Forward,
            pivoted: false,
            steps: BTreeMap::new(),
            notes: BTreeMap::new(),
            events: 1,
            started: first.at,
            updated: first.at,
            reason: None,
            failure: None,
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

    /// Takes the next event, or refuses it and stays as it was.
    pub fn apply(&mut self, record: &RunRecord) -> Result<(), Refused> {
        let run = self.id;
        let refuse = |what: String| Refused { run, seq: record.seq, what };
        if record.seq != self.events {
            return Err(refuse(format!("expected event {}", self.events)));
        }
        if self.phase.is_over() {
            return Err(refuse(format!("the run is {}", self.phase)));
        }
        self.transition(&record.event).map_err(refuse)?;
        self.events += 1;
        self.updated = record.at;
        Ok(())
    }

    fn transition(&mut self, event: &RunEvent) -> Result<(), String> {
        match event {
            RunEvent::Planned { .. } => return Err("a run is planned once".to_owned()),
            RunEvent::Started { step, before } => {
                self.must_be(RunPhase::Forward)?;
                let before = match self.known(step)? {
                    StepState::Waiting => before.as_deref().cloned(),
                    // Run again: what was there before the first try counts.
                    StepState::Started { before } | StepState::Failed { before, .. } => before.clone(),
                    other => return Err(format!("step `{step}` is {}", other.word())),
                };
                self.steps.insert(step.clone(), StepState::Started { before });
            }
            RunEvent::Noted { step, key, value } => {
                self.known(step)?;
                self.notes.insert((step.clone(), key.clone()), value.clone());
            }
            RunEvent::Finished { step, after } => {
                self.must_be(RunPhase::Forward)?;
                let StepState::Started { before } = self.known(step)? else {
                    return Err(format!("step `{step}` was not started"));
                };
                let finished = StepState::Finished { before: before.clone(), after: after.as_deref().cloned() };
                self.steps.insert(step.clone(), finished);
            }
            RunEvent::Failed { step, failure } => {
                let StepState::Started { before } = self.known(step)? else {
                    return Err(format!("step `{step}` was not started"));
                };
                let failed = StepState::Failed { before: before.clone(), failure: failure.clone() };
                self.steps.insert(step.clone(), failed);
                self.failure = Some(failure.clone());
            }
            RunEvent::Pivoted { step } => {
                self.must_be(RunPhase::Forward)?;
                if !matches!(self.plan.step(step).map(|step| &step.action), Some(Action::Pivot { .. })) {
                    return Err(format!("step `{step}` is no pivot"));
                }
                self.pivoted = true;
                self.steps.insert(step.clone(), StepState::Finished { before: None, after: None });
            }
            RunEvent::Unwinding { reason } => {
                if self.pivoted {
                    return Err("the run is past its pivot".to_owned());
                }
                self.phase = RunPhase::Backward;
                self.reason = Some(reason.clone());
            }
            RunEvent::Undone { step } => {
                self.must_be(RunPhase::Backward)?;
                match self.known(step)? {
                    StepState::Started { .. } | StepState::Finished { .. } | StepState::Failed { .. } => {}
                    other => return Err(format!("step `{step}` is {}", other.word())),
                }
                self.steps.insert(step.clone(), StepState::Undone);
            }
            RunEvent::Paused { reason } => {
                // A run that was going back stays on its way back.
                if self.phase == RunPhase::Forward {
                    self.phase = RunPhase::Paused;
                }
                self.reason = Some(reason.clone());
            }
            RunEvent::Resumed { .. } => {
                if self.phase == RunPhase::Paused {
                    self.phase = RunPhase::Forward;
                }
                self.reason = None;
            }
            RunEvent::Completed => {
                self.must_be(RunPhase::Forward)?;
                if let Some(step) = self.plan.steps().find(|step| !self.step(&step.id).is_finished()) {
                    return Err(format!("step `{}` is not done", step.id));
                }
                self.phase = RunPhase::Completed;
                self.failure = None;
            }
            RunEvent::Unwound => {
                self.must_be(RunPhase::Backward)?;
                if let Some((step, _)) = self.steps.iter().find(|(_, state)| !matches!(state, StepState::Undone)) {
                    return Err(format!("step `{step}` is not undone"));
                }
                self.phase = RunPhase::Unwound;
            }
            RunEvent::Abandoned => self.phase = RunPhase::Abandoned,
        }
        Ok(())
    }

    fn must_be(&self, phase: RunPhase) -> Result<(), String> {
        if self.phase == phase { Ok(()) } else { Err(format!("the run is {}", self.phase)) }
    }

    fn known(&self, step: &StepId) -> Result<&StepState, String> {
        if self.plan.step(step).is_none() {
            return Err(format!("the plan has no step `{step}`"));
        }
        Ok(self.step(step))
    }
}

impl StepState {
    /// Whether the step is done.
    pub fn is_finished(&self) -> bool {
        matches!(self, Self::Finished { .. })
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Started { .. } => "started",
            Self::Finished { .. } => "finished",
            Self::Failed { .. } => "failed",
            Self::Undone => "undone",
        }
    }
}
