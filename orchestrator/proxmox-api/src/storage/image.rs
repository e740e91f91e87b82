//! An image file of this machine, and the name that it gets from its content.

use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::Error;

/// Bytes that are read at once.
const CHUNK: usize = 1 << 20;

/// The SHA-256 digest of an image, and the file name made of it. Equal names are equal images, so that an image
/// that is there already need not be sent again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ContentAddress {
    /// In lower-case hexadecimal digits.
    pub sha256: String,
}

impl ContentAddress {
    /// From 64 hexadecimal digits.
    pub fn new(sha256: &str) -> Option<Self> {
        let sound = sha256.len() == 64 && sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
        sound.then(|| Self { sha256: sha256.to_ascii_lowercase() })
    }

    /// `PREFIX-<16 digits>.qcow2`. Proxmox takes letters, digits, `_`, `.` and `-` in names.
    pub fn file_name(&self, prefix: &str) -> String {
        format!("{prefix}-{}.qcow2", &self.sha256[..16])
    }
}

/// An image file of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalImage {
    pub path: PathBuf,
    pub address: ContentAddress,
    /// Bytes.
    pub size: u64,
}

impl LocalImage {
    /// Reads the file through, for its digest.
    pub async fn read(path: &Path) -> Result<Self, Error> {
        let owned = path.to_owned();
        let (digest, size) = tokio::task::spawn_blocking(move || digest(&owned))
            .await
            .map_err(|error| Error::preparation("The image was not read to its end").with_cause(error))?
            .map_err(|error| unreadable(path, error))?;
        Ok(Self { path: path.to_owned(), address: ContentAddress { sha256: digest }, size })
    }
}

pub(super) fn unreadable(path: &Path, error: std::io::Error) -> Error {
    Error::preparation(format!("the image `{}` cannot be read: {error}", path.display())).with_cause(error)
}

fn digest(path: &Path) -> std::io::Result<(String, u64)> {
    let mut file = std::fs::File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; CHUNK];
    let mut size = 0;
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
        size += count as u64;
    }
    let mut digits = String::with_capacity(64);
    for byte in hasher.finalize() {
        digits.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or_default());
        digits.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or_default());
    }
    Ok((digits, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_is_named_by_its_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.qcow2");
        std::fs::write(&path, b"abc").unwrap();
        let image = LocalImage::read(&path).await.unwrap();
        assert_eq!(image.size, 3);
        assert!(image.address.sha256.starts_with("ba7816bf8f01cfea"));
        assert_eq!(image.address.file_name("fedi-base"), "fedi-base-ba7816bf8f01cfea.qcow2");
        assert_eq!(ContentAddress::new(&image.address.sha256.to_uppercase()), Some(image.address));
        assert!(LocalImage::read(&folder.path().join("none")).await.is_err());
    }
}
