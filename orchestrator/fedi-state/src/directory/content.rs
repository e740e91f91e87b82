//! The bytes of files: copied and digested in one read, holes kept as holes.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};

use sha2::{Digest, Sha256};

use crate::error::StateError;
use crate::work::Meter;

/// Size of the buffer that contents go through, bytes.
pub(super) const BUFFER: usize = 256 * 1024;
/// From this size on a digest is worth a thread, bytes.
const LARGE: u64 = 4 << 20;
/// Buffers that wait for that thread.
const AHEAD: usize = 4;
/// Smallest hole that is kept, bytes.
const HOLE: usize = 4096;

/// Why a file was not copied.
pub(super) enum Fault {
    Read(io::Error),
    Write(io::Error),
    Stopped(StateError),
}

/// Reads a file to its end, into `to` if there is one; returns size and SHA-256. Of a
/// large file the digest is made beside, by a thread of its own.
pub(super) fn copy(
    from: &mut File,
    to: Option<&File>,
    sparse: bool,
    buffer: &mut [u8],
    meter: &mut Meter<'_>,
) -> Result<(u64, String), Fault> {
    let mut pass = Pass { to, sparse, at: 0, meter };
    let hash = if from.metadata().map_err(Fault::Read)?.len() < LARGE {
        let mut hash = Sha256::new();
        loop {
            let read = pass.next(from, buffer)?;
            if read == 0 {
                break hash;
            }
            hash.update(&buffer[..read]);
        }
    } else {
        digested_beside(|digest| {
            loop {
                let mut buffer = digest.buffer();
                let read = pass.next(from, &mut buffer)?;
                if read == 0 {
                    return Ok(());
                }
                digest.add(buffer, read);
            }
        })?
    };
    if let Some(to) = to
        && sparse
    {
        to.set_len(pass.at).map_err(Fault::Write)?;
    }
    Ok((pass.at, format!("{:x}", hash.finalize())))
}

/// A file on its way.
struct Pass<'a, 'm> {
    to: Option<&'a File>,
    sparse: bool,
    at: u64,
    meter: &'a mut Meter<'m>,
}

impl Pass<'_, '_> {
    /// Reads the next bytes and writes them; how many there were, 0 at the end.
    fn next(&mut self, from: &mut File, buffer: &mut [u8]) -> Result<usize, Fault> {
        let read = loop {
            match from.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read.map_err(Fault::Read)?,
            }
        };
        let bytes = &buffer[..read];
        if let Some(to) = self.to {
            if self.sparse { write_around_holes(to, bytes, self.at) } else { to.write_all_at(bytes, self.at) }
                .map_err(Fault::Write)?;
        }
        self.at += read as u64;
        self.meter.add(read as u64, 0).map_err(Fault::Stopped)?;
        Ok(read)
    }
}

/// A thread that digests what it is given.
struct Beside {
    full: SyncSender<(Vec<u8>, usize)>,
    empty: Receiver<Vec<u8>>,
}

impl Beside {
    /// A buffer that the thread is done with, or another one where it is slow or gone.
    fn buffer(&self) -> Vec<u8> {
        self.empty.try_recv().unwrap_or_else(|_| vec![0; BUFFER])
    }

    /// Digests the buffer's first bytes.
    fn add(&self, buffer: Vec<u8>, bytes: usize) {
        // Only fails after a panic there, which is found when the thread is joined.
        let _ = self.full.send((buffer, bytes));
    }
}

/// Lets `read` give its bytes to a thread; the digest when both are done.
fn digested_beside(read: impl FnOnce(&Beside) -> Result<(), Fault>) -> Result<Sha256, Fault> {
    let (full, taken) = sync_channel::<(Vec<u8>, usize)>(AHEAD);
    let (done, empty) = channel();
    std::thread::scope(|scope| {
        let digest = scope.spawn(move || {
            let mut hash = Sha256::new();
            for (buffer, bytes) in taken {
                hash.update(&buffer[..bytes]);
                // Nobody wants it back at the end.
                let _ = done.send(buffer);
            }
            hash
        });
        let result = {
            let beside = Beside { full, empty };
            read(&beside)
        };
        let hash = digest.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        result.map(|()| hash)
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::Work;

    fn copied(content: &[u8], sparse: bool) {
        let place = tempfile::tempdir().unwrap();
        let (from, to) = (place.path().join("from"), place.path().join("to"));
        std::fs::write(&from, content).unwrap();
        let work = Work::default();
        let (mut source, target) = (File::open(&from).unwrap(), File::create(&to).unwrap());
        let copy = copy(&mut source, Some(&target), sparse, &mut vec![0; BUFFER], &mut work.meter("copy", None));
        let Ok((size, digest)) = copy else { panic!("it was not copied") };
        assert_eq!((size, digest), (content.len() as u64, format!("{:x}", Sha256::digest(content))));
        assert!(std::fs::read(&to).unwrap() == content);
    }

    /// Around the sizes from which on another thread digests, and ends in mid-buffer.
    #[test]
    fn small_and_large_files_are_copied_and_digested() {
        let bytes: Vec<u8> = (0..LARGE * 2 + 13).map(|at| (at * at).to_le_bytes()[1]).collect();
        let large = usize::try_from(LARGE).unwrap();
        for size in [0, 1, BUFFER, large - 1, large, bytes.len()] {
            copied(&bytes[..size], false);
        }
    }

    #[test]
    fn holes_of_a_large_file_are_zeros() {
        let mut bytes = vec![0; 3 * usize::try_from(LARGE).unwrap()];
        bytes[5_000_000] = 1;
        copied(&bytes, true);
    }
}
