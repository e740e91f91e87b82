//! A run: a plan being carried out, as its journal tells it.
//!
//! The journal is an append-only list of [`RunEvent`]s. [`RunState`] is what they fold
//! to; its one transition function refuses an event that cannot follow. What has to be
//! taken back ([`Undo`]) and what fedi owns afterwards ([`LedgerChange`]) are derived
//! from it, so that every store and every executor agrees on them.

mod check;
mod event;
mod failure;
mod ledger;
mod sound;
mod state;
mod undo;

pub use event::{RunEvent, RunRecord};
pub use failure::{Failure, FailureKind};
pub use ledger::LedgerChange;
pub use sound::{UnsoundPlan, check_plan, holds_data};
pub use state::{Direction, Refused, RunPhase, RunState, StepState};
pub use undo::{Undo, is_opaque};

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

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
