//! Carries plans out: the journal, the executor, and the traits that drivers
//! implement.
//!
//! Stands above `fedi-model`, knows no concrete outside system. **Invariants:** the
//! intent of a step is durable before its effect; only [`store`] opens the database;
//! nothing here prints or exits.

pub mod drivers;
pub mod store;
mod world;

pub use world::World;
