//! The state of an application: paused, captured, restored, verified and cleared.
//!
//! `fedi-state` does the work, kind by kind; here is what only the guest knows: how its
//! servers are reached, whether the application runs, who holds the lease. Only one
//! operation works on an application's state at a time, and each can be called again
//! after it was cut off anywhere. **Invariants: nothing is restored or cleared under a
//! lease or beside a running application; a capture leaves its source as it was.**

mod access;
mod capture;
mod clear;
mod kinds;
mod lock;
mod pause;
mod restore;
mod room;
mod served;
mod session;

pub(crate) use capture::capture;
pub(crate) use clear::{clear, places};
pub(crate) use lock::lock;
pub(crate) use pause::{pause, resume};
pub(crate) use restore::{restore, verify};
pub(crate) use session::Session;

use fedi_model::AppName;

use crate::error::GuestError;
use crate::guest::Guest;
use crate::protocol::{ErrorKind, LeaseState};
use crate::{file, lease};

/// Where stages are made; on the disk that the state is on.
const STAGES: &str = "/var/lib/fedi/stage";

/// What is known of the files of the last snapshot; can be removed at any time.
const DIGESTS: &str = "/var/lib/fedi/digests";

/// Makes the folder of stages: a database's own programs pass through.
fn stages(guest: &Guest) -> Result<std::path::PathBuf, GuestError> {
    let folder = guest.path(STAGES);
    file::folder(&guest.path("/var/lib/fedi"), 0o711)?;
    file::folder(&folder, 0o711)?;
    Ok(folder)
}

/// Removes a folder with all that is in it, if it is there; never what is mounted in it.
fn remove(folder: &std::path::Path) -> Result<(), GuestError> {
    Ok(fedi_state::remove_folder(folder)?)
}

/// Refuses on a guest that may run the application: its state may not be replaced.
fn without_lease(guest: &Guest, app: &AppName) -> Result<(), GuestError> {
    match lease::get(guest, app)? {
        Some(lease) if lease.state == LeaseState::Held => {
            let message = format!("The lease of `{app}` is held here; its state may not be replaced");
            Err(GuestError::refused(ErrorKind::Held, message)
                .with_hint("Revoke it first (`fedi` does so in a restore in place); the state was not touched"))
        }
        _ => Ok(()),
    }
}
