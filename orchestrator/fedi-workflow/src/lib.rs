//! What the front ends call: look at the world, plan, and say how things are.
//!
//! Stands between the pure planner and the engine on one side and `fedi` and the panel
//! to come on the other, so that neither front end can do what the other cannot.
//! **Invariant:** names no concrete driver, prints nothing.

mod desk;
mod error;
mod image;
mod look;
mod remembered;

pub use desk::{Desk, Prepared};
pub use error::WorkflowError;
pub use image::image;
pub use look::GuestState;
