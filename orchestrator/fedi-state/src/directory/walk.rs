//! The walk through a folder: to record what is in it, or beside a listing to compare.
//!
//! It goes by open folders, never by whole paths, so that no link that is put in
//! its way leads it elsewhere; and keeps in memory only the names on the way down.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat, statat};
use rustix::io::Errno;

use super::Directory;
use super::attributes;
use super::beside::Beside;
use super::content::{self, Fault};
use super::seen::{self, Previous, Seen};
use crate::error::{ErrorClass, StateError};
use crate::listing::{Entry, EntryKind, Name, Reader, Writer};
use crate::remove::names;
use crate::snapshot::ObservedDirectory;
use crate::stage::ItemStage;
use crate::tree::{Note, Source};
use crate::work::{Meter, Work};

/// How often a file that changes while it is read is read anew.
const ATTEMPTS: u32 = 3;

pub(super) const FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
pub(super) const FILE: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);
pub(super) const NEW: OFlags = OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::CLOEXEC);

/// What a walk does with what it finds.
enum Side {
    Record { note: Note, previous: Option<Box<Previous>>, seen: Writer, stage: ItemStage },
    Beside(Beside),
}

/// The first name of a file with several.
struct First {
    path: Name,
    size: u64,
    sha256: String,
    sparse: bool,
    moving: bool,
}

pub(super) struct Walk<'a> {
    directory: &'a Directory,
    strict: bool,
    top: PathBuf,
    side: Side,
    meter: Meter<'a>,
    firsts: BTreeMap<(u64, u64), First>,
    buffer: Vec<u8>,
    seen: ObservedDirectory,
}

/// A folder and its path below the top.
struct Here {
    source: OwnedFd,
    path: Vec<u8>,
}

impl<'a> Walk<'a> {
    /// Writes the listing of `top` into a stage, and notes that it shows there.
    pub(super) fn record(
        work: &'a Work,
        directory: &'a Directory,
        strict: bool,
        top: &Path,
        stage: &ItemStage,
    ) -> Result<ObservedDirectory, StateError> {
        let found = rustix::fs::stat(top).map_err(StateError::file("look at", top))?;
        let path = Name(std::os::unix::ffi::OsStrExt::as_bytes(top.as_os_str()).to_vec());
        let note = Note::create(stage, &Source { path, device: found.st_dev, inode: found.st_ino })?;
        let previous = stage.digests.of(&stage.name)?.map(|reader| Box::new(Previous::open(reader)));
        let seen = stage.digests.create(&stage.name)?;
        let side = Side::Record { note, previous, seen, stage: stage.clone() };
        let meter = work.meter(format!("digest {}", directory.declared.path), None);
        let mut walk = Self::new(directory, strict, side, meter);
        walk.seen.in_use = !strict;
        let found = walk.run(top, Writer::create(&stage.folder.join("files.jsonl"))?)?;
        walk.meter.finish();
        if let Side::Record { note, seen, .. } = walk.side {
            note.finish()?;
            seen.finish()?;
        }
        Ok(found)
    }

    /// Compares `top` with a listing, whose files lie in `tree` if that may be newer.
    pub(super) fn compare(
        work: &'a Work,
        directory: &'a Directory,
        top: &Path,
        list: &Path,
        tree: Option<PathBuf>,
    ) -> Result<Beside, StateError> {
        let meter = work.meter(format!("compare {}", directory.declared.path), None);
        let side = Side::Beside(Beside::new(Reader::open(list)?, tree)?);
        let mut walk = Self::new(directory, true, side, meter);
        walk.run(top, Writer::nowhere())?;
        match walk.side {
            Side::Beside(mut beside) => beside.finish().map(|()| beside),
            Side::Record { .. } => unreachable!("a comparison compares"),
        }
    }

    fn new(directory: &'a Directory, strict: bool, side: Side, meter: Meter<'a>) -> Self {
        Self {
            directory,
            strict,
            top: PathBuf::new(),
            side,
            meter,
            firsts: BTreeMap::new(),
            buffer: vec![0; content::BUFFER],
            seen: ObservedDirectory::default(),
        }
    }

    fn run(&mut self, top: &Path, mut list: Writer) -> Result<ObservedDirectory, StateError> {
        top.clone_into(&mut self.top);
        let source = openat(CWD, top, FOLDER, Mode::empty()).map_err(StateError::file("open", top))?;
        self.folder(&Here { source, path: Vec::new() }, false, &mut list)?;
        self.seen.digest = list.finish()?;
        Ok(self.seen.clone())
    }

    fn folder(&mut self, here: &Here, excluded: bool, list: &mut Writer) -> Result<(), StateError> {
        let before = fstat(&here.source).map_err(self.reading(&here.path))?;
        let shown: &[u8] = if here.path.is_empty() { b"." } else { &here.path };
        let mut entry = attributes::entry(&self.directory.accounts, shown, EntryKind::Folder, &before);
        entry.xattrs = attributes::xattrs(here.source.as_fd()).map_err(self.reading(&here.path))?;
        self.seen.folders += 1;
        self.emit(list, &entry)?;
        match (&mut self.side, excluded) {
            // What happens in it is of no interest.
            (Side::Record { note, .. }, true) => note.leave_out(&here.path, true)?,
            (Side::Record { seen, .. }, false) => seen.line(&Seen::new(shown, &before))?,
            (Side::Beside(_), _) => {}
        }
        let names = if excluded { Vec::new() } else { names(&here.source).map_err(self.reading(&here.path))? };
        for name in names {
            self.child(here, &name, list)?;
        }
        let after = fstat(&here.source).map_err(self.reading(&here.path))?;
        if self.strict && attributes::mtime(&after) != attributes::mtime(&before) {
            return Err(self.changed(&here.path));
        }
        Ok(())
    }

    fn child(&mut self, here: &Here, name: &[u8], list: &mut Writer) -> Result<(), StateError> {
        let mut path = here.path.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        let stat = match statat(&here.source, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return self.vanished(&path),
            Err(error) => return Err(self.reading(&path)(error)),
        };
        let excluded = self.directory.exclude.is_match(Name(path.clone()).as_path());
        match attributes::file_type(&stat) {
            FileType::Directory => {
                let source = match openat(&here.source, name, FOLDER, Mode::empty()) {
                    Ok(source) => source,
                    Err(Errno::NOENT | Errno::NOTDIR) => return self.vanished(&path),
                    Err(error) => return Err(self.reading(&path)(error)),
                };
                self.folder(&Here { source, path }, excluded, list)
            }
            _ if excluded => self.leave_out(&path),
            FileType::RegularFile => self.file(here, name, &path, &stat, list),
            FileType::Symlink => self.link(here, name, &path, &stat, list),
            FileType::Socket | FileType::Fifo => {
                self.seen.left_out += 1;
                self.leave_out(&path)
            }
            _ => {
                let message = format!("`{}` is a device", self.shown(&path).display());
                Err(StateError::refused(ErrorClass::Incompatible, message).with_hint("Exclude it in the contract"))
            }
        }
    }

    fn link(
        &mut self,
        here: &Here,
        name: &[u8],
        path: &[u8],
        stat: &Stat,
        list: &mut Writer,
    ) -> Result<(), StateError> {
        let target = match readlinkat(&here.source, name, Vec::new()) {
            Ok(target) => target.into_bytes(),
            Err(Errno::NOENT | Errno::INVAL) => return self.vanished(path),
            Err(error) => return Err(self.reading(path)(error)),
        };
        let mut entry = attributes::entry(&self.directory.accounts, path, EntryKind::Link, stat);
        entry.target = Some(Name(target));
        self.seen.links += 1;
        self.saw(&Seen::new(path, stat))?;
        self.emit(list, &entry)
    }

    fn file(
        &mut self,
        here: &Here,
        name: &[u8],
        path: &[u8],
        stat: &Stat,
        list: &mut Writer,
    ) -> Result<(), StateError> {
        let identity = (stat.st_dev, stat.st_ino);
        if let Some(first) = self.firsts.get(&identity) {
            let mut entry = attributes::entry(&self.directory.accounts, path, EntryKind::File, stat);
            entry.same_as = Some(first.path.clone());
            (entry.size, entry.sha256, entry.sparse) = (Some(first.size), Some(first.sha256.clone()), first.sparse);
            entry.moving = first.moving;
            // Attributes are the inode's, hence those of the first name.
            self.seen.files += 1;
            self.saw(&Seen::new(path, stat))?;
            return self.emit(list, &entry);
        }
        let (known, doubtful) = self.known(path, stat);
        let found = match known {
            Some(found) => found,
            None => match self.digest(here, name, path)? {
                Some(found) => found,
                None => return self.vanished(path),
            },
        };
        if doubtful.is_some_and(|sha256| sha256 != found.sha256)
            && let Side::Record { stage, .. } = &self.side
        {
            // It changed without a trace: what the repository has of it cannot be told from it.
            stage.digests.drop_all()?;
        }
        let mut entry = attributes::entry(&self.directory.accounts, path, EntryKind::File, &found.stat);
        entry.xattrs.clone_from(&found.xattrs);
        entry.sparse = attributes::has_holes(&found.stat);
        entry.moving = found.moving;
        if !found.moving {
            let mut seen = Seen::new(path, &found.stat);
            (seen.fresh, seen.sha256, seen.xattrs) = (found.fresh, Some(found.sha256.clone()), found.xattrs);
            self.saw(&seen)?;
        }
        if stat.st_nlink > 1 {
            let (path, sha256) = (entry.path.clone(), found.sha256.clone());
            let first = First { path, size: found.size, sha256, sparse: entry.sparse, moving: found.moving };
            self.firsts.insert(identity, first);
        }
        (entry.size, entry.sha256) = (Some(found.size), Some(found.sha256));
        self.seen.files += 1;
        self.seen.bytes += found.size;
        self.emit(list, &entry)?;
        self.meter.add(0, 1)
    }

    /// A file that the last capture saw just so; or, where that proves nothing, the digest
    /// that it had then.
    fn known(&mut self, path: &[u8], stat: &Stat) -> (Option<Found>, Option<String>) {
        let Side::Record { previous: Some(previous), .. } = &mut self.side else { return (None, None) };
        let Some(known) = previous.find(path).filter(|known| known.is(stat)) else { return (None, None) };
        match (&known.sha256, known.fresh) {
            (None, _) => (None, None),
            (Some(sha256), true) => (None, Some(sha256.clone())),
            (Some(sha256), false) => {
                let (size, sha256, xattrs) = (attributes::size(stat), sha256.clone(), known.xattrs.clone());
                (Some(Found { stat: *stat, size, sha256, xattrs, moving: false, fresh: false }), None)
            }
        }
    }

    /// Reads a file, anew if it changed meanwhile; `None` if it is gone.
    fn digest(&mut self, here: &Here, name: &[u8], path: &[u8]) -> Result<Option<Found>, StateError> {
        let opened = match openat(&here.source, name, FILE, Mode::empty()) {
            Ok(opened) => opened,
            Err(Errno::NOENT | Errno::LOOP) => return Ok(None),
            Err(error) => return Err(self.reading(path)(error)),
        };
        let mut file = File::from(opened);
        for attempt in 1.. {
            let began = seen::now();
            let before = fstat(&file).map_err(self.reading(path))?;
            let read = content::copy(&mut file, None, false, &mut self.buffer, &mut self.meter);
            let (size, sha256) = read.map_err(|fault| match fault {
                Fault::Read(error) | Fault::Write(error) => self.reading(path)(error),
                Fault::Stopped(error) => error,
            })?;
            let after = fstat(&file).map_err(self.reading(path))?;
            let calm = size == attributes::size(&before)
                && attributes::size(&after) == attributes::size(&before)
                && attributes::mtime(&after) == attributes::mtime(&before);
            if calm || attempt == ATTEMPTS {
                if !calm && self.strict {
                    return Err(self.changed(path));
                }
                self.seen.moving += u64::from(!calm);
                let xattrs = attributes::xattrs(file.as_fd()).map_err(self.reading(path))?;
                // A change of the owner or the mode meanwhile is in `after`.
                let fresh = seen::is_fresh(&after, began);
                return Ok(Some(Found { stat: after, size, sha256, xattrs, moving: !calm, fresh }));
            }
            io::Seek::rewind(&mut file).map_err(self.reading(path))?;
        }
        Err(self.changed(path))
    }

    fn emit(&mut self, list: &mut Writer, entry: &Entry) -> Result<(), StateError> {
        list.line(entry)?;
        match &mut self.side {
            Side::Beside(beside) => beside.found(entry),
            Side::Record { .. } => Ok(()),
        }
    }

    fn saw(&mut self, entry: &Seen) -> Result<(), StateError> {
        match &mut self.side {
            Side::Record { seen, .. } => seen.line(entry),
            Side::Beside(_) => Ok(()),
        }
    }

    fn leave_out(&mut self, path: &[u8]) -> Result<(), StateError> {
        match &mut self.side {
            Side::Record { note, .. } => note.leave_out(path, false),
            Side::Beside(_) => Ok(()),
        }
    }

    /// Something went away between being listed and being read.
    fn vanished(&mut self, path: &[u8]) -> Result<(), StateError> {
        if self.strict { Err(self.changed(path)) } else { Ok(()) }
    }

    fn changed(&self, path: &[u8]) -> StateError {
        seen::changed(&self.shown(path))
    }

    fn shown(&self, path: &[u8]) -> PathBuf {
        self.top.join(Name(path.to_vec()).as_path())
    }

    fn reading<E: Into<io::Error>>(&self, path: &[u8]) -> impl FnOnce(E) -> StateError + use<E> {
        let path = self.shown(path);
        move |error| StateError::file("read", &path)(error)
    }
}

/// A file as it was found.
struct Found {
    stat: Stat,
    size: u64,
    sha256: String,
    xattrs: BTreeMap<String, String>,
    moving: bool,
    fresh: bool,
}

/// The order of the walk: a folder before what is in it, names by their bytes.
pub(super) fn order(one: &[u8], other: &[u8]) -> std::cmp::Ordering {
    match (one == b".", other == b".") {
        (true, true) => std::cmp::Ordering::Equal,
        (true, false) => std::cmp::Ordering::Less,
        (false, true) => std::cmp::Ordering::Greater,
        (false, false) => one.split(|b| *b == b'/').cmp(other.split(|b| *b == b'/')),
    }
}
