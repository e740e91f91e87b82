//! Guests that are files. [`StandInMachines`] is what the simulator boots; [`StandInGuests`]
//! is how fedi reaches what is on them.

mod machine;
mod session;
mod state;

pub use machine::StandInMachines;
pub use session::StandInGuests;
pub(crate) use session::running;
pub use state::{AppState, GuestFault, GuestState};
