//! What is in an image file: `qemu-img info`, as far as importing cares.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::error::{ApiError, ApiResult};

/// Sizes of an image in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ImageInfo {
    pub(crate) virtual_size: u64,
    /// Data in it, as far as its file shows.
    pub(crate) data: u64,
    pub(crate) has_backing_file: bool,
}

/// Why an image cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ImageError {
    Missing,
    WrongFormat,
}

fn be64(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|slice| slice.try_into().ok()).map_or(0, u64::from_be_bytes)
}

/// Looks into a file that claims to be of `format`.
pub(crate) fn inspect(path: &Path, format: &str) -> Result<ImageInfo, ImageError> {
    let mut file = File::open(path).map_err(|_| ImageError::Missing)?;
    let length = file.metadata().map_err(|_| ImageError::Missing)?.len();
    let mut head = Vec::new();
    file.by_ref().take(512).read_to_end(&mut head).map_err(|_| ImageError::Missing)?;
    match format {
        "qcow2" => {
            // Magic, version 2 or 3, then offset of the backing file's name, ..., virtual size.
            let sound = head.len() >= 72 && head.starts_with(b"QFI\xfb") && matches!(head[7], 2 | 3);
            if !sound {
                return Err(ImageError::WrongFormat);
            }
            let has_backing_file = be64(&head, 8) != 0;
            Ok(ImageInfo { virtual_size: be64(&head, 24), data: length, has_backing_file })
        }
        "vmdk" => {
            let sectors = head.get(12..20).and_then(|slice| slice.try_into().ok()).map(u64::from_le_bytes);
            match sectors.filter(|_| head.starts_with(b"KDMV")) {
                Some(sectors) => Ok(ImageInfo { virtual_size: sectors * 512, data: length, has_backing_file: false }),
                None => Err(ImageError::WrongFormat),
            }
        }
        _ => Ok(ImageInfo { virtual_size: length.next_multiple_of(512), data: length, has_backing_file: false }),
    }
}

/// The check of a file nobody has vouched for. `log` hears what the failing command printed.
pub(crate) fn inspect_untrusted(
    path: &Path,
    shown: &str,
    format: &str,
    log: impl FnOnce(String),
) -> ApiResult<ImageInfo> {
    if format == "ova" {
        return Ok(ImageInfo { virtual_size: 0, data: 0, has_backing_file: false });
    }
    match inspect(path, format) {
        Ok(info) if info.has_backing_file => {
            Err(ApiError::die(format!("backing file not allowed for untrusted image '{shown}'!")))
        }
        Ok(info) => Ok(info),
        Err(ImageError::Missing) => Err(ApiError::die(format!("failed to stat '{shown}'"))),
        Err(ImageError::WrongFormat) => {
            log(format!("command '/usr/bin/qemu-img info '--output=json' {shown} -f {format}' failed: exit code 1"));
            Err(ApiError::die(format!("qemu-img: Could not open '{shown}': Image is not in {format} format")))
        }
    }
}

/// SHA-256 of a file in lower-case hex.
pub(crate) fn sha256_of(path: &Path) -> io::Result<String> {
    let mut hasher = Sha256::new();
    io::copy(&mut File::open(path)?, &mut hasher)?;
    Ok(hex::encode(hasher.finalize()))
}

/// A small, valid and empty qcow2 header, for tests and demonstrations.
pub(crate) fn qcow2_header(virtual_size: u64) -> Vec<u8> {
    let mut header = Vec::with_capacity(104);
    header.extend(b"QFI\xfb");
    header.extend(3_u32.to_be_bytes());
    header.extend(0_u64.to_be_bytes());
    header.extend(0_u32.to_be_bytes());
    header.extend(16_u32.to_be_bytes());
    header.extend(virtual_size.to_be_bytes());
    header.resize(100, 0);
    header.extend(104_u32.to_be_bytes());
    header
}

/// A qcow2 of version 3 that is an empty disk of 1 GiB: what tests and demonstrations
/// upload as a guest image. Always the same bytes.
pub fn empty_qcow2() -> Vec<u8> {
    let mut file = qcow2_header(1 << 30);
    // One entry in the table of the first level.
    file[36..40].copy_from_slice(&1_u32.to_be_bytes());
    file.resize(1 << 16, 0);
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_qcow2_header_tells_the_virtual_size() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.qcow2");
        std::fs::write(&path, qcow2_header(8 << 20)).unwrap();
        assert_eq!(inspect(&path, "qcow2").unwrap().virtual_size, 8 << 20);
        std::fs::write(&path, b"garbage").unwrap();
        assert_eq!(inspect(&path, "qcow2"), Err(ImageError::WrongFormat));
    }
}
