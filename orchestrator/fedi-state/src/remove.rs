//! Removing folders that fedi made, never what somebody has mounted in them.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, StatxAttributes, StatxFlags, openat, statx, unlinkat};
use rustix::io::Errno;

use crate::error::{ErrorClass, StateError};

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Removes a folder with all that is in it, if it is there. Links are removed, not
/// followed; a mount point in it stops everything, and what is mounted is not touched.
pub fn remove_folder(path: &Path) -> Result<(), StateError> {
    let folder = match openat(CWD, path, FOLDER, Mode::empty()) {
        Ok(folder) => folder,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(StateError::file("remove", path)(error)),
    };
    for name in names(&folder).map_err(StateError::file("read", path))? {
        remove(&folder, &name).map_err(|error| stopped(path, error))?;
    }
    std::fs::remove_dir(path).map_err(StateError::file("remove", path))
}

/// Removes whatever has that name, with all that is in it.
fn remove(folder: &OwnedFd, name: &[u8]) -> io::Result<()> {
    let found = match statx(folder, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::TYPE) {
        Ok(found) => found,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
        return Err(Errno::XDEV.into());
    }
    if FileType::from_raw_mode(found.stx_mode.into()) != FileType::Directory {
        return Ok(unlinkat(folder, name, AtFlags::empty())?);
    }
    let inner = openat(folder, name, FOLDER, Mode::empty())?;
    for name in names(&inner)? {
        remove(&inner, &name)?;
    }
    Ok(unlinkat(folder, name, AtFlags::REMOVEDIR)?)
}

/// The names in a folder, in the order of their bytes.
pub(crate) fn names(folder: &OwnedFd) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    names.sort();
    Ok(names)
}

fn stopped(path: &Path, error: io::Error) -> StateError {
    if error.raw_os_error() != Some(Errno::XDEV.raw_os_error()) {
        return StateError::file("remove", path)(error);
    }
    let message = format!("Something is mounted in `{}`, which was to be removed", path.display());
    StateError::refused(ErrorClass::Changed, message).with_hint("Unmount it; what is in it was not touched")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn links_are_removed_and_not_followed() {
        let place = tempfile::tempdir().unwrap();
        let (stage, other) = (place.path().join("stage"), place.path().join("other"));
        fs::create_dir_all(stage.join("a/b")).unwrap();
        fs::create_dir(&other).unwrap();
        fs::write(other.join("kept"), "").unwrap();
        std::os::unix::fs::symlink(&other, stage.join("a/link")).unwrap();
        fs::write(stage.join("a/b/file"), "").unwrap();
        remove_folder(&stage).unwrap();
        remove_folder(&stage).unwrap();
        assert!(!stage.exists() && other.join("kept").exists());
        std::os::unix::fs::symlink(&other, &stage).unwrap();
        assert!(remove_folder(&stage).is_err() && other.join("kept").exists());
    }
}
