//! One module for each outside system, behind the engine's traits.
//!
//! Stands above `fedi-engine` and the plain clients; only front ends name what is in
//! here.

pub mod secrets;
