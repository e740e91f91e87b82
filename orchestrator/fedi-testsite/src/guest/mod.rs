//! Guests that are files. [`StandInMachines`] is what the simulator boots; [`StandInGuests`]
//! is how fedi reaches what is on them.

mod keeping;
mod machine;
mod operator;
mod repository;
mod restic;
mod session;
mod state;

pub use keeping::BackupSettings;
pub use machine::StandInMachines;
pub use operator::StandInVault;
pub(crate) use repository::is_stand_in;
pub use repository::{StandInRepositories, StandInRepository, StandInSnapshot};
pub use session::StandInGuests;
pub(crate) use session::running;
pub use state::{AppState, GuestFault, GuestState};
