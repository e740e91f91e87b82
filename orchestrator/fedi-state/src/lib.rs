//! The state of an application: captured, restored and verified, one module per
//! kind behind one trait.
//!
//! Layer: above `fedi-model`, below `fedi-guest`, which carries it out on the
//! guest. The bulk work is done by well-kept tools (`pg_dump`, `mariadb-dump`,
//! `restic`); this crate is the contract around them: order, guarantees,
//! verification. It is synchronous and keeps nothing running.
//! **Invariants: restoring goes only into empty places; what is called good was
//! compared with what was observed; a failed dump is a failed capture; no secret's
//! value is in a manifest, log, argument or error.**

pub mod bucket;
pub mod derived;
pub mod directory;
pub mod fingerprint;
pub mod kind;
pub mod mysql;
pub mod postgres;
pub mod redis;
pub mod repository;
pub mod snapshot;
pub mod stage;

mod account;
mod digests;
mod error;
mod listing;
mod remove;
mod sums;
mod tool;
mod tree;
mod work;

pub use account::{Account, Accounts};
pub use error::{ErrorClass, StateError};
pub use kind::{Contents, Delta, Kind, Report};
pub use remove::remove_folder;
pub use snapshot::{Consistency, Observed, Snapshot};
pub use stage::{ItemStage, Stage};
pub use work::{Cancel, Meter, Observer, Progress, Silent, Tools, Work};
