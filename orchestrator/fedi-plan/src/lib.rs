//! Decides what is to be done: desired and observed state in, a [`Plan`] out.
//!
//! Between `fedi-model`, whose types it speaks, and whatever carries plans out.
//! **Invariant: pure.** No I/O, no clock, no randomness; the same inputs give the same
//! plan, and planning again in the state that a plan leads to gives an empty plan.
//!
//! [`Plan`]: fedi_model::plan::Plan

mod backup;
mod clone;
mod compare;
mod deploy;
mod desired;
mod destroy;
mod inputs;
mod records;
mod refusal;
pub mod render;
mod restore;
mod sizing;
mod title;

pub use backup::{BackupInputs, plan_backup};
pub use clone::{not_clonable, plan_clone};
pub use deploy::{desired, plan_deploy};
pub use destroy::plan_destroy;
pub use inputs::{BackupsInput, DeployInputs, DestroyInputs, Known, SystemInput, families};
pub use records::zone_of;
pub use refusal::{PlanError, Refusal};
pub use restore::{RestoreInputs, SnapshotFacts, drill_of, plan_drill, plan_restore};
pub use sizing::{Size, default_size};
