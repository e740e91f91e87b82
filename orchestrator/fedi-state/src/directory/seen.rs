//! What a capture saw of every entry: to know files again without reading them, and to
//! find what moved until the snapshot was stored.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, CWD, Mode, Stat, openat, statat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::attributes;
use super::content::{self, Fault};
use super::walk::{FILE, FOLDER, order};
use crate::error::{ErrorClass, StateError};
use crate::listing::{Name, Reader};
use crate::stage::ItemStage;
use crate::work::{Meter, Work};

/// A change this close to a digest may be followed by another at the same time stamp: the
/// coarsest clock of a file system counts in twos.
const FRESH_SECONDS: i128 = 2;

/// An entry as a capture saw it.
#[derive(Serialize, Deserialize)]
pub(super) struct Seen {
    path: Name,
    ino: u64,
    size: u64,
    mtime: String,
    ctime: String,
    /// It changed so shortly before it was digested that its times do not prove its content.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) fresh: bool,
    /// Of a file, but not of its further names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) sha256: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) xattrs: BTreeMap<String, String>,
}

impl Seen {
    pub(super) fn new(path: &[u8], stat: &Stat) -> Self {
        Self {
            path: Name(path.to_vec()),
            ino: stat.st_ino,
            size: attributes::size(stat),
            mtime: attributes::mtime(stat),
            ctime: attributes::ctime(stat),
            fresh: false,
            sha256: None,
            xattrs: BTreeMap::new(),
        }
    }

    pub(super) fn is(&self, stat: &Stat) -> bool {
        self.ino == stat.st_ino
            && self.size == attributes::size(stat)
            && self.mtime == attributes::mtime(stat)
            && self.ctime == attributes::ctime(stat)
    }
}

/// Seconds since 1970, by the clock that files get their times from.
pub(super) fn now() -> i128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| i128::from(time.as_secs()))
}

/// Whether what was digested from `began` on may have changed since at the same times.
/// So may all that is from the future, where a clock was wrong.
pub(super) fn is_fresh(stat: &Stat, began: i128) -> bool {
    i128::from(stat.st_ctime) >= began - FRESH_SECONDS
}

/// What an earlier capture saw, read along a walk.
pub(super) struct Previous {
    reader: Reader,
    next: Option<Seen>,
}

impl Previous {
    pub(super) fn open(mut reader: Reader) -> Self {
        let next = reader.next().ok().flatten();
        Self { reader, next }
    }

    /// What it saw at that path; paths are asked for in the order of a walk.
    pub(super) fn find(&mut self, path: &[u8]) -> Option<&Seen> {
        while self.next.as_ref().is_some_and(|next| order(&next.path.0, path).is_lt()) {
            self.next = self.reader.next().ok().flatten();
        }
        self.next.as_ref().filter(|next| next.path.0 == path)
    }
}

/// Looks again at all that a capture saw; how many entries are not as they were. With
/// `strict` one of them is an error.
pub(super) fn look_again(work: &Work, stage: &ItemStage, top: &Path, strict: bool) -> Result<u64, StateError> {
    let folder = openat(CWD, top, FOLDER, Mode::empty()).map_err(StateError::file("open", top))?;
    let mut reader = stage.digests.of_capture(&stage.name)?;
    let mut meter = work.meter(format!("look again at {}", top.display()), None);
    let mut buffer = vec![0; content::BUFFER];
    let mut moved = 0;
    while let Some(seen) = reader.next::<Seen>()? {
        let still = is_still(&folder, &seen, &mut buffer, &mut meter).map_err(|fault| match fault {
            Fault::Read(error) | Fault::Write(error) => StateError::file("read", &top.join(seen.path.as_path()))(error),
            Fault::Stopped(error) => error,
        })?;
        if !still && strict {
            return Err(changed(&top.join(seen.path.as_path())));
        }
        moved += u64::from(!still);
        meter.add(0, 1)?;
    }
    Ok(moved)
}

/// Whether an entry is as it was seen; its content is read where its times prove nothing.
fn is_still(folder: &OwnedFd, seen: &Seen, buffer: &mut [u8], meter: &mut Meter<'_>) -> Result<bool, Fault> {
    let path = seen.path.as_path();
    match statat(folder, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if seen.is(&stat) => {}
        Ok(_) | Err(Errno::NOENT | Errno::NOTDIR) => return Ok(false),
        Err(error) => return Err(Fault::Read(error.into())),
    }
    let Some(sha256) = seen.sha256.as_ref().filter(|_| seen.fresh) else { return Ok(true) };
    match openat(folder, path, FILE, Mode::empty()) {
        Ok(file) => Ok(content::copy(&mut File::from(file), None, false, buffer, meter)?.1 == *sha256),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(false),
        Err(error) => Err(Fault::Read(error.into())),
    }
}

/// What a quiesced capture says of something that moved.
pub(super) fn changed(path: &Path) -> StateError {
    let message = format!("`{}` changed while it was read", path.display());
    StateError::refused(ErrorClass::Changed, message).with_hint("Something still writes there; see which process does")
}
