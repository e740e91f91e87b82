//! What fedi talks about: names, the operator's inventory, resources, the
//! manifest of a guest, plans, runs and events.
//!
//! The lowest layer. **Invariant: no I/O, no clock, no randomness, no async.**
//! Everything here is plain data that can be printed, journaled, compared and
//! sent to another machine. No type here ever holds a secret's value.

pub mod event;
pub mod inventory;
pub mod manifest;
pub mod name;
pub mod plan;
pub mod resource;
pub mod run;
pub mod state;

pub use name::{AppName, DeploymentName, Domain, HostName, NameError, RepositoryName, SecretName};
