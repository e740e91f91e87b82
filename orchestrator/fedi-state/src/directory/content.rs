//! The bytes of files: copied and digested in one read, holes kept as holes.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use sha2::{Digest, Sha256};

use crate::error::StateError;
use crate::work::Meter;

/// Size of the buffer that contents go through, bytes.
pub(super) const BUFFER: usize = 256 * 1024;
/// Smallest hole that is kept, bytes.
const HOLE: usize = 4096;

/// Why a file was not copied.
pub(super) enum Fault {
    Read(io::Error),
    Write(io::Error),
    Stopped(StateError),
}

/// Reads a file to its end, into `to` if there is one; returns size and SHA-256.
pub(super) fn copy(
    from: &mut File,
    to: Option<&File>,
    sparse: bool,
    buffer: &mut [u8],
    meter: &mut Meter<'_>,
) -> Result<(u64, String), Fault> {
    let mut hash = Sha256::new();
    let mut at = 0_u64;
    loop {
        let read = match from.read(buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Fault::Read(error)),
        };
        let bytes = &buffer[..read];
        hash.update(bytes);
        if let Some(to) = to {
            if sparse { write_around_holes(to, bytes, at) } else { to.write_all_at(bytes, at) }
                .map_err(Fault::Write)?;
        }
        at += read as u64;
        meter.add(read as u64, 0).map_err(Fault::Stopped)?;
    }
    if let Some(to) = to
        && sparse
    {
        to.set_len(at).map_err(Fault::Write)?;
    }
    Ok((at, format!("{:x}", hash.finalize())))
}

fn write_around_holes(to: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    let mut offset = at;
    for block in bytes.chunks(HOLE) {
        if block.iter().any(|byte| *byte != 0) {
            to.write_all_at(block, offset)?;
        }
        offset += block.len() as u64;
    }
    Ok(())
}
