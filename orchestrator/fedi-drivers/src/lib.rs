//! One module for each outside system, behind the engine's traits, and the
//! [`site::Site`] that puts them together into the world that plans act upon.
//!
//! Stands above `fedi-engine` and the plain clients; only front ends name what is in
//! here.

pub mod dns;
pub mod guest;
pub mod health;
pub mod hypervisor;
pub mod repository;
pub mod secrets;
pub mod site;
pub mod system;
