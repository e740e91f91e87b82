//! What the front ends call: look at the world, plan, and say how things are.
//!
//! Stands between the pure planner and the engine on one side and `fedi` and the panel
//! to come on the other, so that neither front end can do what the other cannot.
//! **Invariant:** names no concrete driver, prints nothing.

mod backup;
mod clone;
mod desk;
mod error;
mod history;
mod image;
mod look;
mod overdue;
mod remembered;
mod restore;

pub use backup::PreparedBackup;
pub use desk::{Desk, Prepared};
pub use error::WorkflowError;
pub use history::{BackupHistory, Done, Failed};
pub use image::image;
pub use look::GuestState;
pub use overdue::{is_drill_due, is_overdue, overdue_after};
pub use restore::{PreparedRestore, Snapshot};
