//! Prebuilt systems: folders that are copied to the guest (rsync), each under the
//! digest of its content. A copy is made beside its place and moved there only
//! when it is whole, so that what has a final path can be activated.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::profile::Profile;
use super::{FEDI_PROFILES, SWITCH, SYSTEMS, running};
use crate::error::GuestError;
use crate::file;
use crate::guest::Guest;
use crate::protocol::{ErrorKind, SealSystem, SealedSystem, StageSystem, StagedSystem};
use crate::tree::{self, TreeError};

const STAGING: &str = ".staging-";
const REPLACED: &str = ".replaced-";

/// Makes a place to copy a system to, or says that it is there already.
pub(crate) fn stage(guest: &Guest, request: &StageSystem) -> Result<StagedSystem, GuestError> {
    let digest = checked(&request.digest)?;
    file::folder(&guest.path("/var/lib/fedi"), 0o711)?;
    file::folder(&guest.path(SYSTEMS), 0o755)?;
    let system = Path::new(SYSTEMS).join(digest);
    let staging = Path::new(SYSTEMS).join(format!("{STAGING}{digest}"));
    let final_place = guest.path(&system);
    let present = final_place.is_dir() && digest_of(&final_place)? == digest;
    if !present {
        file::folder(&guest.path(&staging), 0o755)?;
    }
    let base = match running(guest)?.filter(|running| running.starts_with(SYSTEMS) && *running != system) {
        Some(running) => Some(running),
        None => Profile::at(Path::new(FEDI_PROFILES))?.current(guest)?.map(|current| current.1),
    };
    let base = base.filter(|base| guest.path(base).is_dir());
    Ok(StagedSystem { present, staging, system, base })
}

/// Checks a copied system and puts it in its place.
pub(crate) fn seal(guest: &Guest, request: &SealSystem) -> Result<SealedSystem, GuestError> {
    let digest = checked(&request.digest)?;
    let system = Path::new(SYSTEMS).join(digest);
    let final_place = guest.path(&system);
    let staging = guest.path(SYSTEMS).join(format!("{STAGING}{digest}"));
    if !staging.is_dir() {
        if final_place.is_dir() && digest_of(&final_place)? == digest {
            return Ok(SealedSystem { system });
        }
        return Err(GuestError::refused(ErrorKind::Missing, format!("There is no copy of system {digest} to seal"))
            .with_hint("Stage it and copy it first"));
    }
    let found = digest_of(&staging)?;
    if found != digest {
        let message = format!("The copy of system {digest} is not whole: its digest is {found}");
        return Err(GuestError::refused(ErrorKind::Damaged, message)
            .with_hint("Copy it again; what is right already is not sent twice"));
    }
    if !staging.join(SWITCH).is_file() {
        return Err(GuestError::refused(ErrorKind::Invalid, format!("System {digest} has no `{SWITCH}`")));
    }
    let folder = File::open(&staging).map_err(GuestError::file("open", &staging))?;
    rustix::fs::syncfs(&folder).map_err(|error| GuestError::file("sync", &staging)(error.into()))?;
    if final_place.exists() {
        // It is damaged; processes that run from it keep what they have open.
        let replaced = guest.path(SYSTEMS).join(format!("{REPLACED}{digest}"));
        remove_folder(&replaced)?;
        fs::rename(&final_place, &replaced).map_err(GuestError::file("move", &final_place))?;
        put(&staging, &final_place)?;
        remove_folder(&replaced)?;
    } else {
        put(&staging, &final_place)?;
    }
    Ok(SealedSystem { system })
}

fn put(staging: &Path, place: &Path) -> Result<(), GuestError> {
    fs::rename(staging, place).map_err(GuestError::file("put in place", place))?;
    file::sync_folder_of(place)
}

/// Removes every system that no generation holds and that does not run, and what
/// was left of copies.
pub(super) fn remove_unused(guest: &Guest) -> Result<Vec<PathBuf>, GuestError> {
    let generations = Profile::at(Path::new(FEDI_PROFILES))?.generations(guest)?.generations;
    let mut used: BTreeSet<PathBuf> = generations.into_iter().map(|generation| generation.system).collect();
    used.extend(running(guest)?);
    let mut removed = Vec::new();
    for name in file::names(&guest.path(SYSTEMS))? {
        let system = Path::new(SYSTEMS).join(&name);
        let ours = tree::is_digest(&name) || name.starts_with(STAGING) || name.starts_with(REPLACED);
        if ours && !used.contains(&system) {
            remove_folder(&guest.path(&system))?;
            removed.push(system);
        }
    }
    Ok(removed)
}

fn remove_folder(path: &Path) -> Result<(), GuestError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(GuestError::file("remove", path)(error)),
        _ => Ok(()),
    }
}

fn checked(digest: &str) -> Result<&str, GuestError> {
    if tree::is_digest(digest) {
        return Ok(digest);
    }
    Err(GuestError::refused(ErrorKind::Invalid, "The digest of a system is 64 hexadecimal digits"))
}

fn digest_of(folder: &Path) -> Result<String, GuestError> {
    tree::digest(folder).map_err(|error| match error {
        TreeError::Read { path, source } => GuestError::File { action: "read", path, source },
        TreeError::Special { .. } => GuestError::refused(ErrorKind::Invalid, error.to_string()),
    })
}
