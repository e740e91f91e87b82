//! Carries plans out: the journal, the executor, and the traits that drivers
//! implement.
//!
//! Stands above `fedi-model`, knows no concrete outside system. **Invariants:** the
//! intent of a step is durable before its effect; only [`store`] opens the database;
//! nothing here prints or exits.
//!
//! [`Engine`] is the way in: it is given a [`Store`](store::Store), a [`World`], a
//! [`Clock`] and an [`Observer`], and starts, resumes, undoes and abandons runs.

mod address_table;
mod bundle;
mod clock;
pub mod drivers;
mod engine;
mod executor;
mod interrupt;
mod observer;
mod outcome;
mod report;
pub mod store;
mod world;

pub use address_table::AddressTable;
pub use bundle::{BundledSecret, SecretBundle};
pub use clock::{Clock, SystemClock};
pub use engine::{Engine, EngineOptions};
pub use interrupt::Interrupt;
pub use observer::{Observer, Unobserved};
pub use outcome::{EngineError, Outcome};
pub use report::{RunReport, RunSummary, StageReport, StepReport, load};
pub use world::World;
