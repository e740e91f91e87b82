//! Guests over SSH: the system's own `ssh`, one pinned host key a guest, and
//! `fedi-guest` at the other end.

mod refusal;
mod session;
mod ssh;
mod state;

pub use refusal::refusal;
pub(crate) use session::AgentSession;
pub use ssh::{SshAccess, SshTarget};
