//! Files that are either the old or the new, never half of it: written beside
//! their place, synced, renamed, and the folder synced.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::process::{Gid, Uid};

use crate::error::GuestError;
use crate::protocol::ErrorKind;

/// Largest file of its own that the agent reads, in bytes.
const MAX_READ: u64 = 4 * 1024 * 1024;

/// Reads a small file; `None` where there is none.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, GuestError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(GuestError::file("open", path)(error)),
    };
    let mut bytes = Vec::new();
    file.take(MAX_READ + 1).read_to_end(&mut bytes).map_err(GuestError::file("read", path))?;
    if bytes.len() as u64 > MAX_READ {
        let what = format!("it is larger than {MAX_READ} bytes");
        return Err(GuestError::Damaged { path: path.to_owned(), what });
    }
    Ok(Some(bytes))
}

/// Reads a small text file; `None` where there is none.
pub(crate) fn read_text(path: &Path) -> Result<Option<String>, GuestError> {
    let Some(bytes) = read(path)? else { return Ok(None) };
    String::from_utf8(bytes)
        .map(Some)
        .map_err(|_| GuestError::Damaged { path: path.to_owned(), what: "it is not UTF-8".to_owned() })
}

/// Who a file belongs to and who may use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Access {
    /// Permission bits.
    pub mode: u32,
    /// Owner and group, where they are to be set.
    pub owner: Option<(Uid, Gid)>,
}

impl Access {
    /// For the agent alone.
    pub(crate) const PRIVATE: Self = Self { mode: 0o600, owner: None };
}

/// Replaces `path` by a file with these bytes. The folder must exist.
pub(crate) fn replace(path: &Path, bytes: &[u8], access: Access) -> Result<(), GuestError> {
    let temporary = beside(path);
    let written = write_new(&temporary, bytes, access)
        .and_then(|()| fs::rename(&temporary, path).map_err(GuestError::file("put in place", path)));
    if let Err(error) = written {
        // The first error is the one to report; the leftover is overwritten next time.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    sync_folder_of(path)
}

fn beside(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    path.with_file_name(name)
}

fn write_new(path: &Path, bytes: &[u8], access: Access) -> Result<(), GuestError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(GuestError::file("remove", path)(error)),
        _ => {}
    }
    let nofollow = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or(0);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(nofollow)
        .open(path)
        .map_err(GuestError::file("create", path))?;
    file.write_all(bytes).map_err(GuestError::file("write", path))?;
    // Owner first: changing it clears nothing that matters below 0o1000, and the
    // file is never open to anybody before it belongs to them.
    set_access(&file, path, access)?;
    file.sync_all().map_err(GuestError::file("sync", path))
}

/// Sets owner and mode of an open file.
pub(crate) fn set_access(file: &File, path: &Path, access: Access) -> Result<(), GuestError> {
    if let Some((uid, gid)) = access.owner {
        rustix::fs::fchown(file, Some(uid), Some(gid))
            .map_err(|error| GuestError::file("change the owner of", path)(error.into()))?;
    }
    file.set_permissions(Permissions::from_mode(access.mode)).map_err(GuestError::file("change the mode of", path))
}

/// Syncs the folder that `path` is in, so that a rename survives a power cut.
pub(crate) fn sync_folder_of(path: &Path) -> Result<(), GuestError> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(GuestError::file("sync", folder))
}

/// Makes `path` a folder of this user with this mode, with its parents. What is
/// there already must be such a folder and no symbolic link; its mode is set.
pub(crate) fn folder(path: &Path, mode: u32) -> Result<(), GuestError> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.is_dir() => {
            let message = format!("`{}` is no folder", path.display());
            Err(GuestError::refused(ErrorKind::Damaged, message))
        }
        Ok(found) if found.uid() != rustix::process::geteuid().as_raw() => {
            let message = format!("`{}` belongs to user {}, not to the agent's", path.display(), found.uid());
            Err(GuestError::refused(ErrorKind::Permission, message))
        }
        Ok(found) if found.mode() & 0o7777 == mode => Ok(()),
        Ok(_) => fs::set_permissions(path, Permissions::from_mode(mode))
            .map_err(GuestError::file("change the mode of", path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(parent) = path.parent().filter(|parent| !parent.exists()) {
                DirBuilder::new()
                    .recursive(true)
                    .mode(0o755)
                    .create(parent)
                    .map_err(GuestError::file("create", parent))?;
            }
            DirBuilder::new().mode(mode).create(path).map_err(GuestError::file("create", path))?;
            // Not subject to the umask.
            fs::set_permissions(path, Permissions::from_mode(mode))
                .map_err(GuestError::file("change the mode of", path))?;
            sync_folder_of(path)
        }
        Err(error) => Err(GuestError::file("look at", path)(error)),
    }
}

/// Holds a lock file until it is dropped; waits for whoever holds it.
pub(crate) fn lock(path: &Path) -> Result<File, GuestError> {
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(GuestError::file("open", path))?;
    flock(&lock, FlockOperation::LockExclusive).map_err(|error| GuestError::file("lock", path)(error.into()))?;
    Ok(lock)
}

/// The names in a folder, sorted; none where there is no folder.
pub(crate) fn names(path: &Path) -> Result<Vec<String>, GuestError> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(GuestError::file("list", path)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(GuestError::file("list", path))?;
        if let Ok(name) = entry.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Makes `link` a symbolic link to `target`, replacing what it was at once.
pub(crate) fn replace_link(target: &Path, link: &Path) -> Result<(), GuestError> {
    let temporary = beside(link);
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(GuestError::file("remove", &temporary)(error));
        }
        _ => {}
    }
    std::os::unix::fs::symlink(target, &temporary).map_err(GuestError::file("create", &temporary))?;
    fs::rename(&temporary, link).map_err(GuestError::file("put in place", link))?;
    sync_folder_of(link)
}

/// Removes a file, which may be gone already.
pub(crate) fn remove(path: &Path) -> Result<(), GuestError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(GuestError::file("remove", path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_with_the_wanted_mode() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        replace(&path, b"one", Access::PRIVATE).unwrap();
        replace(&path, b"two", Access { mode: 0o440, owner: None }).unwrap();
        assert_eq!(read(&path).unwrap().unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o440);
        assert_eq!(names(folder.path()).unwrap(), ["a"]);
    }

    #[test]
    fn a_link_is_never_followed() {
        let place = tempfile::tempdir().unwrap();
        let outside = place.path().join("outside");
        fs::create_dir(&outside).unwrap();
        std::os::unix::fs::symlink(&outside, place.path().join("inside")).unwrap();
        let error = folder(&place.path().join("inside"), 0o700).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged);
    }
}
