//! A data centre in one network namespace, for tests and the demo.
//!
//! Layer: beside the product, like `fedi-sim`. Everything fedi talks to in production is here as a real server
//! (PowerDNS, an ACME certificate authority, sshd and systemd on guests) or as a simulator that speaks the real
//! protocol (Proxmox VE). Invariant: a process of a sandbox lives in the sandbox's cgroup, a mount in a mount
//! namespace of its own and an interface in its network namespace, so that one kill ends all of it, also after
//! a crash of whatever started it.

mod acme;
mod backup;
mod cgroup;
mod command;
mod credentials;
mod dns;
mod error;
mod event;
pub mod host;
mod layout;
#[cfg(test)]
mod matrix_tests;
mod namespace;
pub mod nspawn;
mod options;
mod sandbox;
mod status;
#[cfg(test)]
mod testing;
mod topology;

pub use error::SandboxError;
pub use event::Event;
pub use nspawn::NspawnBackend;
pub use options::{DEFAULT_NAME, SandboxOptions};
pub use sandbox::Sandbox;
pub use status::{Guest, Part, Status};
pub use topology::{ACME_DIRECTORY, HOSTS, SimulatedHost};

/// What the functions of this crate return.
pub type Result<T, E = SandboxError> = std::result::Result<T, E>;
