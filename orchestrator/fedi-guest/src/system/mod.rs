//! Systems on the guest: which one runs, which one boots, and how one becomes
//! the other.
//!
//! NixOS and the prebuilt folder go the same way. Both have
//! `bin/switch-to-configuration` (`test`: make active; `boot`: make permanent)
//! and a profile folder with `system` -> `system-<n>-link` -> the system. A
//! supervisor in a transient unit of systemd does `test`, waits for a
//! confirmation, and only then sets the profile and does `boot`; a lost session,
//! a failed activation and a restart all end with the earlier system.
//!
//! What a prebuilt system has to keep to, as NixOS does:
//! - `test` makes it active and can be repeated; it ends with 0 only if it is. What a
//!   restart must not keep of an unconfirmed system lies in `/run`, units included
//!   (`/run/systemd/system`); `fedi-guest boot` activates the permanent system anew.
//! - `boot` makes it permanent beyond the profile, where there is a boot loader.
//! - It puts its manifest at `/etc/fedi/manifest.json` and finds itself by its own path.
//! - It starts an application only through its gate, and the gate only after a unit with
//!   `ExecCondition=fedi-guest lease check <app>`.

mod activation;
mod folder;
mod follow;
mod operations;
mod profile;
mod supervisor;

use std::path::{Component, Path, PathBuf};

use crate::error::GuestError;
use crate::guest::Guest;
use crate::protocol::ErrorKind;

pub(crate) use folder::{seal, stage};
pub(crate) use operations::{SystemdRun, activate, cancel, confirm, prune, rollback, show};
pub(crate) use profile::Profile;
pub(crate) use supervisor::{activate_at_boot, supervise};

/// Where prebuilt systems lie.
pub(crate) const SYSTEMS: &str = "/var/lib/fedi/systems";
/// The profile folder of prebuilt systems.
pub(crate) const FEDI_PROFILES: &str = "/var/lib/fedi/system-profiles";
/// The profile folder of NixOS.
pub(crate) const NIX_PROFILES: &str = "/nix/var/nix/profiles";

const STORE: &str = "/nix/store";
const CURRENT: &str = "/run/current-system";
const SWITCH: &str = "bin/switch-to-configuration";

/// The system that is active.
pub(crate) fn running(guest: &Guest) -> Result<Option<PathBuf>, GuestError> {
    guest.link(CURRENT)
}

/// Refuses a path that is no system, or lies where none should.
fn check(guest: &Guest, system: &Path) -> Result<(), GuestError> {
    let plain = system.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    let parent = system.parent();
    if !plain || !(parent == Some(Path::new(STORE)) || parent == Some(Path::new(SYSTEMS))) {
        let message = format!("`{}` is no path of a system", system.display());
        return Err(GuestError::refused(ErrorKind::Invalid, message)
            .with_hint(format!("A system lies directly in `{STORE}` or `{SYSTEMS}`")));
    }
    let switch = guest.path(system).join(SWITCH);
    match std::fs::metadata(&switch) {
        Ok(found) if found.is_file() => Ok(()),
        _ => Err(GuestError::refused(
            ErrorKind::Missing,
            format!("The guest has no `{}`", system.join(SWITCH).display()),
        )
        .with_hint("Copy the system to the guest first, whole")),
    }
}

#[cfg(test)]
mod tests;
