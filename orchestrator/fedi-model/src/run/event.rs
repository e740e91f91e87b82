//! The lines of a run's journal.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Failure;
use crate::plan::{Plan, StepId};
use crate::resource::Resource;

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
    /// A step failed. One that had started may have had part of its effect; one that
    /// had not touched nothing and stays waiting.
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
        /// Whether the operator asked for it; else a failure did.
        #[serde(default)]
        asked: bool,
    },
    /// A step's effect is taken back.
    Undone {
        /// Which.
        step: StepId,
    },
    /// A step's effect could not be taken back.
    UndoFailed {
        /// Which.
        step: StepId,
        /// Why.
        failure: Failure,
    },
    /// The run stopped and can go on, in the direction it had.
    Paused {
        /// Why.
        reason: String,
    },
    /// A process took the run up again.
    Resumed {
        /// Which process, in words: `user@machine (pid 4711)`.
        holder: String,
    },
    /// What a step without a known outcome left in the world; said before
    /// [`RunEvent::Abandoned`], so that what fedi made stays known as its own.
    Left {
        /// Which.
        step: StepId,
        /// The resource as it is.
        now: Option<Box<Resource>>,
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

impl RunEvent {
    /// The step that it is about.
    pub fn step(&self) -> Option<&StepId> {
        match self {
            Self::Started { step, .. }
            | Self::Noted { step, .. }
            | Self::Finished { step, .. }
            | Self::Failed { step, .. }
            | Self::Pivoted { step }
            | Self::Undone { step }
            | Self::UndoFailed { step, .. }
            | Self::Left { step, .. } => Some(step),
            Self::Planned { .. }
            | Self::Unwinding { .. }
            | Self::Paused { .. }
            | Self::Resumed { .. }
            | Self::Completed
            | Self::Unwound
            | Self::Abandoned => None,
        }
    }

    /// Its name, as the journal writes it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Planned { .. } => "planned",
            Self::Started { .. } => "started",
            Self::Noted { .. } => "noted",
            Self::Finished { .. } => "finished",
            Self::Failed { .. } => "failed",
            Self::Pivoted { .. } => "pivoted",
            Self::Unwinding { .. } => "unwinding",
            Self::Undone { .. } => "undone",
            Self::UndoFailed { .. } => "undo-failed",
            Self::Paused { .. } => "paused",
            Self::Resumed { .. } => "resumed",
            Self::Left { .. } => "left",
            Self::Completed => "completed",
            Self::Unwound => "unwound",
            Self::Abandoned => "abandoned",
        }
    }
}
