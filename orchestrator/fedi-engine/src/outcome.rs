//! How a run ended, or how far it came.

use fedi_model::run::{Direction, Failure, FailureKind, RunId, RunPhase, RunState};

use crate::store::StoreError;

/// How a run ended, or how far it came.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The plan had no steps; no run was begun.
    NothingToDo,
    /// Everything is done.
    Completed {
        /// Which run.
        run: RunId,
    },
    /// Everything is applied, but the application is not healthy. The run is over:
    /// `fedi status` looks again, and a changed deployment can be deployed right away.
    Unhealthy {
        /// Which run.
        run: RunId,
        /// What the probe found.
        failure: Failure,
    },
    /// Everything is taken back.
    Unwound {
        /// Which run.
        run: RunId,
        /// Why; `None` where the operator asked for it.
        failure: Option<Failure>,
    },
    /// It stopped part-way and can be resumed.
    Paused {
        /// Which run.
        run: RunId,
        /// Which way it was going.
        direction: Direction,
        /// Whether it is past the point from which there is no way back.
        pivoted: bool,
        /// Why, in words.
        reason: String,
        /// The failure behind it, if it is one.
        failure: Option<Failure>,
    },
    /// It is over by the operator's word; what it had done stays.
    Abandoned {
        /// Which run.
        run: RunId,
    },
}

impl Outcome {
    /// What a run that stopped has come to.
    pub(crate) fn of(state: &RunState) -> Self {
        let run = state.id;
        match (state.phase, &state.failure) {
            (RunPhase::Completed, Some(failure)) => Self::Unhealthy { run, failure: failure.clone() },
            (RunPhase::Completed, None) => Self::Completed { run },
            (RunPhase::Unwound, failure) => {
                Self::Unwound { run, failure: failure.clone().filter(|_| !state.asked_back) }
            }
            (RunPhase::Abandoned, _) => Self::Abandoned { run },
            (RunPhase::Forward | RunPhase::Backward | RunPhase::Paused, failure) => Self::Paused {
                run,
                direction: state.direction,
                pivoted: state.pivoted,
                reason: state.reason.clone().unwrap_or_else(|| "it was cut off".to_owned()),
                failure: state
                    .undo_failure
                    .as_ref()
                    .or(failure.as_ref())
                    .filter(|failure| failure.kind != FailureKind::Interrupted)
                    .cloned(),
            },
        }
    }

    /// The run, where there is one.
    pub fn run(&self) -> Option<RunId> {
        match self {
            Self::NothingToDo => None,
            Self::Completed { run }
            | Self::Unhealthy { run, .. }
            | Self::Unwound { run, .. }
            | Self::Paused { run, .. }
            | Self::Abandoned { run } => Some(*run),
        }
    }

    /// Why it did not end as wanted.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Unhealthy { failure, .. } => Some(failure),
            Self::Unwound { failure, .. } | Self::Paused { failure, .. } => failure.as_ref(),
            Self::NothingToDo | Self::Completed { .. } | Self::Abandoned { .. } => None,
        }
    }

    /// The exit code that tells it: 0 done as asked, 1 failed and taken back, 4 stopped
    /// part-way, 6 applied but unhealthy.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NothingToDo
            | Self::Completed { .. }
            | Self::Abandoned { .. }
            | Self::Unwound { failure: None, .. } => 0,
            Self::Unwound { failure: Some(_), .. } => 1,
            Self::Paused { .. } => 4,
            Self::Unhealthy { .. } => 6,
        }
    }
}

/// Why the engine refused, or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The journal refused, before anything was touched.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The journal failed in the middle of a run. Every effect so far is in it, or its
    /// intent is.
    #[error("Run {run} cannot go on without its journal")]
    Cut {
        /// Which run.
        run: RunId,
        /// What the journal says.
        source: StoreError,
    },
    /// The plan cannot be carried out as it stands.
    #[error("The plan cannot be carried out: {0}")]
    Unsound(#[from] fedi_model::run::UnsoundPlan),
    /// The run is over.
    #[error("Run {run} is {phase}")]
    Over {
        /// Which run.
        run: RunId,
        /// How it ended.
        phase: RunPhase,
    },
    /// Another task of this process works on it.
    #[error("Run {run} is being worked on already")]
    Driven {
        /// Which run.
        run: RunId,
    },
    /// There is no way back.
    #[error("Run {run} cannot be undone: it is past the point of no return")]
    PastPivot {
        /// Which run.
        run: RunId,
    },
}

impl EngineError {
    /// The next thing to try.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.hint(),
            Self::Cut { run, source } => Some(source.hint().map_or_else(
                || format!("Go on with `fedi run resume {run}`"),
                |hint| format!("{hint}; then go on with `fedi run resume {run}`"),
            )),
            Self::Unsound(_) => Some("This is a mistake in fedi; please report it with the plan".to_owned()),
            Self::Driven { .. } => None,
            Self::Over { run, .. } => Some(format!("See `fedi run show {run}`")),
            Self::PastPivot { run } => Some(format!(
                "Finish it with `fedi run resume {run}`, or leave things as they are with `fedi run abandon {run}`"
            )),
        }
    }

    /// The exit code that tells it: 2 refused, 4 stopped part-way, 5 somebody else
    /// holds the writer lease.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Store(StoreError::Held(_) | StoreError::Stale { .. })
            | Self::Cut { source: StoreError::Held(_) | StoreError::Stale { .. }, .. }
            | Self::Driven { .. } => 5,
            Self::Cut { .. } => 4,
            Self::Store(_) | Self::Unsound(_) | Self::Over { .. } | Self::PastPivot { .. } => 2,
        }
    }
}
