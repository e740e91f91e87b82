//! The disk image of the sandbox: a real, empty qcow2 file that names a folder.
//!
//! fedi uploads it, checks its digest and lets the hypervisor import it like any other image. What a container
//! boots from is a folder, so a header extension of the file says which. Format: QEMU's docs/interop/qcow2.rst.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::{Result, SandboxError};

const CLUSTER: usize = 1 << 16;
const HEADER: usize = 104;
/// The same as the header itself says it.
const HEADER_LENGTH: u32 = 104;
/// Type of our header extension: `fedi` in ASCII; QEMU skips types it does not know.
const EXTENSION: [u8; 4] = *b"fedi";

/// Writes an image of this virtual size, in bytes, that stands for the folder `root`.
pub(crate) fn write_image(path: &Path, root: &Path, size: u64) -> Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, image(root, size))
        .and_then(|()| fs::rename(&new, path))
        .map_err(SandboxError::io(format!("write the image `{}`", path.display())))
}

fn image(root: &Path, size: u64) -> Vec<u8> {
    let name = root.as_os_str().as_bytes();
    // One entry of the first table covers 8,192 clusters.
    let entries = size.div_ceil(CLUSTER as u64 * 8192);
    let mut bytes = vec![0_u8; 4 * CLUSTER];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, b"QFI\xfb");
    put(4, &3_u32.to_be_bytes());
    put(20, &16_u32.to_be_bytes());
    put(24, &size.to_be_bytes());
    put(36, &u32::try_from(entries).unwrap_or(u32::MAX).to_be_bytes());
    put(40, &(3 * CLUSTER as u64).to_be_bytes());
    put(48, &(CLUSTER as u64).to_be_bytes());
    put(56, &1_u32.to_be_bytes());
    put(96, &4_u32.to_be_bytes());
    put(100, &HEADER_LENGTH.to_be_bytes());
    put(HEADER, &EXTENSION);
    put(HEADER + 4, &u32::try_from(name.len()).unwrap_or(0).to_be_bytes());
    put(HEADER + 8, name);
    // The reference counts: a table with one block, and the four clusters of this file in use once.
    put(CLUSTER, &(2 * CLUSTER as u64).to_be_bytes());
    for cluster in 0..4 {
        put(2 * CLUSTER + 2 * cluster, &1_u16.to_be_bytes());
    }
    bytes
}

/// The folder that an image stands for.
pub(super) fn read_root(path: &Path) -> Result<PathBuf> {
    let what = format!("read the image `{}`", path.display());
    let bytes = fs::read(path).map_err(SandboxError::io(what.clone()))?;
    let root = extension(&bytes).map(|name| PathBuf::from(std::ffi::OsStr::from_bytes(name)));
    match root {
        Some(root) if root.is_dir() => Ok(root),
        Some(root) => Err(SandboxError::Command { what, output: format!("`{}` is gone", root.display()) }),
        None => Err(SandboxError::Command { what, output: "it is no image of the sandbox".to_owned() }),
    }
}

fn extension(bytes: &[u8]) -> Option<&[u8]> {
    let head = bytes.get(..HEADER + 8)?;
    if head.get(..4)? != b"QFI\xfb" || head.get(HEADER..HEADER + 4)? != EXTENSION {
        return None;
    }
    let length = u32::from_be_bytes(head.get(HEADER + 4..)?.try_into().ok()?) as usize;
    bytes.get(HEADER + 8..HEADER + 8 + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_names_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("guest.qcow2");
        write_image(&path, folder.path(), 4 << 30).unwrap();
        assert_eq!(read_root(&path).unwrap(), folder.path());
    }

    #[test]
    fn another_image_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("other.qcow2");
        fs::write(&path, [0; 200]).unwrap();
        assert!(read_root(&path).unwrap_err().to_string().contains("no image of the sandbox"));
    }
}
