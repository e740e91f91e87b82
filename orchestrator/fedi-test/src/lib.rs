//! For tests of everything that carries plans out: a world in memory, faults, a clock
//! that jumps, a store that crashes, and the generic workflow tests.
//!
//! A workflow gives [`workflow`] a [`Testbed`](workflow::Testbed) and is run twice,
//! failed at every call, and killed after every journal append.
//! [`store_suite`] is what every store must do. A dev-dependency only; it panics where a test should fail.
#![allow(clippy::unwrap_used, clippy::expect_used)]

pub mod child;
mod clock;
mod context;
mod crash;
mod delegate;
mod faults;
mod map_world;
mod program;
pub mod sample;
pub mod store_suite;
pub mod workflow;

pub use clock::TestClock;
pub use context::{Recorder, TestContext, dead_holder, folder};
pub use crash::{CrashAt, CrashingStore};
pub use faults::{Calls, Fault, FaultyWorld, Moment, Verb};
pub use map_world::MapWorld;
pub use program::program;
