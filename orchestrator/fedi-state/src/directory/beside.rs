//! A folder beside a listing, entry by entry.
//!
//! Where the source was in use while it was stored, a file may be newer in the snapshot's
//! tree than its line says, or gone from it. Its times and size tell: then the place must
//! have what the tree has. A file whose times are those of its line must have its digest.

use std::fs::File;
use std::path::PathBuf;

use rustix::fs::{CWD, FileType, Mode, fstat, openat};
use rustix::io::Errno;

use super::attributes;
use super::walk::{FILE, order};
use crate::error::StateError;
use crate::listing::{Entry, EntryKind, Name, Reader};
use crate::sums;

/// Differences that are kept; more are not shown.
const SHOWN: usize = 5;

/// A listing that is read along a walk.
pub(super) struct Beside {
    reader: Reader,
    next: Option<Entry>,
    tree: Option<PathBuf>,
    /// The first differences, in words.
    pub(super) wrong: Vec<String>,
    /// Entries that moved until the snapshot was stored, and are as it has them.
    pub(super) moved: u64,
}

impl Beside {
    pub(super) fn new(mut reader: Reader, tree: Option<PathBuf>) -> Result<Self, StateError> {
        let next = reader.next()?;
        Ok(Self { reader, next, tree, wrong: Vec::new(), moved: 0 })
    }

    /// The next entry of the walk.
    pub(super) fn found(&mut self, entry: &Entry) -> Result<(), StateError> {
        while let Some(expected) = self.next.take() {
            match order(&expected.path.0, &entry.path.0) {
                std::cmp::Ordering::Less => self.missing(&expected)?,
                std::cmp::Ordering::Greater => {
                    self.next = Some(expected);
                    break;
                }
                std::cmp::Ordering::Equal => {
                    self.next = self.reader.next()?;
                    return self.both(expected, entry);
                }
            }
            self.next = self.reader.next()?;
        }
        self.differs(format!("`{:?}` is additional", entry.path));
        Ok(())
    }

    /// The walk is over.
    pub(super) fn finish(&mut self) -> Result<(), StateError> {
        while let Some(expected) = self.next.take() {
            self.missing(&expected)?;
            self.next = self.reader.next()?;
        }
        Ok(())
    }

    fn both(&mut self, mut expected: Entry, entry: &Entry) -> Result<(), StateError> {
        // Whether there are holes is the file system's affair.
        expected.sparse = entry.sparse;
        let Some(what) = difference(&expected, entry) else { return Ok(()) };
        if let Some(stored) = self.as_stored(&expected)? {
            // A folder that is gone from the tree is none that the place may have.
            match stored.map(|stored| difference(&stored, entry)) {
                Some(None) => {
                    self.moved += 1;
                    return Ok(());
                }
                Some(Some(what)) => self.differs(format!("`{:?}` has another {what}", entry.path)),
                None => self.differs(format!("`{:?}` is additional", entry.path)),
            }
            return Ok(());
        }
        self.differs(format!("`{:?}` has another {what}", entry.path));
        Ok(())
    }

    fn missing(&mut self, expected: &Entry) -> Result<(), StateError> {
        if matches!(self.as_stored(expected)?, Some(None)) {
            self.moved += 1;
        } else {
            self.differs(format!("`{:?}` is missing", expected.path));
        }
        Ok(())
    }

    /// What the snapshot's tree has of an entry that moved until it was stored; nothing
    /// inside if it was gone by then.
    #[allow(clippy::option_option)]
    fn as_stored(&self, expected: &Entry) -> Result<Option<Option<Entry>>, StateError> {
        let Some(tree) = &self.tree else { return Ok(None) };
        let path = tree.join(expected.path.as_path());
        let reading = || StateError::file::<std::io::Error>("read", &path);
        if expected.kind != EntryKind::File {
            // Made from the listing, unless what it is in is gone.
            let gone = std::fs::symlink_metadata(&path).is_err();
            return Ok(gone.then_some(None));
        }
        let file = match openat(CWD, &path, FILE, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(Some(None)),
            Err(error) => return Err(reading()(error.into())),
        };
        let stat = fstat(&file).map_err(|error| reading()(error.into()))?;
        if attributes::file_type(&stat) != FileType::RegularFile {
            return Ok(Some(None));
        }
        let first_gone = expected.same_as.as_ref().is_some_and(|first| !tree.join(first.as_path()).exists());
        if !first_gone && !expected.is_newer(&stat) {
            return Ok(None);
        }
        let same_as: Option<Name> = expected.same_as.clone().filter(|_| !first_gone);
        let (size, mtime) = (Some(attributes::size(&stat)), attributes::mtime(&stat));
        Ok(Some(Some(Entry { size, mtime, same_as, sha256: Some(sums::of_file(&path)?), ..expected.clone() })))
    }

    fn differs(&mut self, what: String) {
        if self.wrong.len() < SHOWN {
            self.wrong.push(what);
        }
    }
}

/// What is different about two entries of one path.
fn difference(expected: &Entry, found: &Entry) -> Option<&'static str> {
    [
        (expected.kind != found.kind, "type"),
        (expected.size != found.size, "size"),
        (expected.sha256 != found.sha256, "content"),
        (expected.target != found.target, "target"),
        (expected.owner != found.owner || expected.group != found.group, "owner"),
        (expected.kind != EntryKind::Link && expected.mode != found.mode, "mode"),
        (expected.xattrs != found.xattrs, "extended attribute"),
        (expected.same_as != found.same_as, "hard link"),
        (expected.mtime != found.mtime, "time"),
    ]
    .into_iter()
    .find_map(|(differs, what)| differs.then_some(what))
}
