//! The agent on the guest, and the protocol by which the orchestrator speaks to it.
//!
//! Layer: above `fedi-state` and `fedi-model`, below `fedi-drivers` (which uses
//! [`protocol`] and [`tree`] only). The rest is what the `fedi-guest` program does on
//! the guest.
//! It is synchronous and keeps nothing running: what outlives a session is done
//! by systemd units. **Invariants: an application runs only under a lease that
//! this very machine holds; a system stays only if it was confirmed; a secret's
//! value is in no message, log, argument or file but its own.**

pub mod agent;
pub mod protocol;
pub mod tree;

mod backup;
mod command;
mod error;
mod facts;
mod file;
mod guest;
mod health;
mod hook;
mod lease;
mod manifest;
mod netlink;
mod secrets;
mod serve;
mod state;
mod system;
mod systemd;

pub use error::GuestError;
pub use fedi_state::Cancel;
pub use guest::Guest;
pub use serve::serve;
