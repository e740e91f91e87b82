//! What fedi remembers: runs and their journals, the ledger of what it made, who
//! writes, who has which address, and a few settings.
//!
//! Nothing outside of this module opens a database. [`Store`] is a trait so that a team
//! can keep it elsewhere than in a file; `fedi-test` has the conformance suite that
//! every implementation passes. [`SqliteStore`] is the embedded one.

mod addresses;
mod error;
mod holder;
mod lease;
mod ledger;
mod runs;
mod settings;
mod sqlite;

pub use addresses::{AddressStore, Exhausted, Hold, StoredAddress};
pub use error::StoreError;
pub use holder::Holder;
pub use lease::{Fence, LEASE_EXPIRES, LeaseStore, WriterLease};
pub use ledger::{LedgerEntry, LedgerStore};
pub use runs::{Append, RunRow, RunStore};
pub use settings::SettingStore;
pub use sqlite::SqliteStore;

/// Everything that fedi remembers. Every method is atomic and, once it returned
/// without an error, durable.
pub trait Store: RunStore + LedgerStore + LeaseStore + AddressStore + SettingStore {}

impl<T: RunStore + LedgerStore + LeaseStore + AddressStore + SettingStore> Store for T {}
