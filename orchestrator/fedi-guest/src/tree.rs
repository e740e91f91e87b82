//! The digest of a folder: what a prebuilt system is named by, computed alike by
//! the orchestrator before it copies and by the guest after.
//!
//! SHA-256 over all entries in the order of their paths: kind, executable or
//! not, path, and a file's content or a link's target. Owners, times and other
//! mode bits do not count.

use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Why a folder has no digest.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// Something in it cannot be read.
    #[error("Failed to read `{}`", path.display())]
    Read {
        /// What.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Something in it is no file, folder or symbolic link.
    #[error("`{}` is neither file, folder nor symbolic link", path.display())]
    Special {
        /// What.
        path: PathBuf,
    },
}

/// The digest of a folder, 64 hexadecimal digits.
pub fn digest(folder: &Path) -> Result<String, TreeError> {
    let mut hash = Sha256::new();
    hash.update(b"fedi tree 1\n");
    add_folder(&mut hash, folder, Path::new(""))?;
    Ok(format!("{:x}", hash.finalize()))
}

/// Whether a text is a digest as [`digest`] makes it.
pub fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

fn add_folder(hash: &mut Sha256, top: &Path, below: &Path) -> Result<(), TreeError> {
    let folder = top.join(below);
    let failed = |source| TreeError::Read { path: folder.clone(), source };
    let mut names = Vec::<OsString>::new();
    for entry in fs::read_dir(&folder).map_err(failed)? {
        names.push(entry.map_err(failed)?.file_name());
    }
    names.sort();
    for name in names {
        let relative = below.join(&name);
        let path = top.join(&relative);
        let failed = |source| TreeError::Read { path: path.clone(), source };
        let found = fs::symlink_metadata(&path).map_err(failed)?;
        if found.is_dir() {
            add(hash, b'd', relative.as_os_str().as_bytes(), 0);
            add_folder(hash, top, &relative)?;
        } else if found.is_symlink() {
            let target = fs::read_link(&path).map_err(failed)?;
            let target = target.as_os_str().as_bytes();
            add(hash, b'l', relative.as_os_str().as_bytes(), target.len() as u64);
            hash.update(target);
        } else if found.is_file() {
            add(hash, if executable(&found) { b'x' } else { b'f' }, relative.as_os_str().as_bytes(), found.len());
            add_content(hash, &path, found.len()).map_err(failed)?;
        } else {
            return Err(TreeError::Special { path });
        }
    }
    Ok(())
}

fn executable(found: &Metadata) -> bool {
    found.mode() & 0o100 != 0
}

/// Every part has its length before it, so that no two trees read alike.
fn add(hash: &mut Sha256, kind: u8, path: &[u8], length: u64) {
    hash.update([kind]);
    hash.update((path.len() as u64).to_be_bytes());
    hash.update(path);
    hash.update(length.to_be_bytes());
}

fn add_content(hash: &mut Sha256, path: &Path, length: u64) -> io::Result<()> {
    let mut file = File::open(path)?.take(length);
    let mut buffer = vec![0; 64 * 1024];
    let mut left = length;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        left -= read as u64;
        hash.update(&buffer[..read]);
    }
    if left > 0 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it became shorter while it was read"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn sees_content_names_links_and_the_executable_bit() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        fs::create_dir(path("bin")).unwrap();
        fs::write(path("bin/run"), "#!/bin/sh\n").unwrap();
        let mut seen = vec![digest(place.path()).unwrap()];
        fs::set_permissions(path("bin/run"), fs::Permissions::from_mode(0o755)).unwrap();
        seen.push(digest(place.path()).unwrap());
        std::os::unix::fs::symlink("run", path("bin/link")).unwrap();
        seen.push(digest(place.path()).unwrap());
        fs::create_dir(path("empty")).unwrap();
        seen.push(digest(place.path()).unwrap());
        fs::write(path("bin/run"), "#!/bin/sh\n\n").unwrap();
        seen.push(digest(place.path()).unwrap());
        let distinct: std::collections::BTreeSet<_> = seen.iter().collect();
        assert_eq!(distinct.len(), seen.len());
        assert!(seen.iter().all(|digest| is_digest(digest)));
    }

    #[test]
    fn a_socket_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(place.path().join("socket")).unwrap();
        assert!(matches!(digest(place.path()), Err(TreeError::Special { .. })));
    }
}
