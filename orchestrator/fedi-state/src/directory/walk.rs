//! The walk through a folder: into a stage, or beside a listing to compare.
//!
//! It goes by open folders, never by whole paths, so that no link that is put in
//! its way leads it elsewhere; and keeps in memory only the names on the way down.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, Stat, fstat, linkat, mkdirat, openat, readlinkat, statat, symlinkat, unlinkat,
};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::Directory;
use super::attributes::{self, Owner};
use super::content::{self, Fault};
use crate::error::{ErrorClass, StateError};
use crate::listing::{Entry, EntryKind, Name, Reader, Writer};
use crate::snapshot::ObservedDirectory;
use crate::work::{Meter, Work};

/// How often a file that changes while it is read is read anew.
const ATTEMPTS: u32 = 3;
/// Changes this close to the capture may be followed by others at the same time stamp.
const RACY_SECONDS: i64 = 2;

pub(super) const FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
pub(super) const FILE: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);
pub(super) const NEW: OFlags = OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::CLOEXEC);

/// What is remembered of a file between captures into one stage.
#[derive(Serialize, Deserialize)]
struct Remembered {
    path: Name,
    ino: u64,
    size: u64,
    mtime: String,
    ctime: String,
    sha256: String,
}

/// The first line of what is remembered.
#[derive(Serialize, Deserialize)]
struct Header {
    began: i64,
}

/// What an earlier capture remembered, read along the walk.
struct Previous {
    reader: Reader,
    began: i64,
    next: Option<Remembered>,
}

impl Previous {
    /// Something that does not read is as good as nothing.
    fn open(path: &Path) -> Option<Self> {
        let mut reader = Reader::open(path).ok()?;
        let header: Header = reader.next().ok()??;
        let next = reader.next().ok()?;
        Some(Self { reader, began: header.began, next })
    }

    fn find(&mut self, path: &[u8]) -> Option<&Remembered> {
        while self.next.as_ref().is_some_and(|next| order(&next.path.0, path).is_lt()) {
            self.next = self.reader.next().ok().flatten();
        }
        self.next.as_ref().filter(|next| next.path.0 == path)
    }
}

struct IntoStage {
    root: PathBuf,
    /// The stage's tree, to find the first name of a hard link in.
    tree: OwnedFd,
    previous: Option<Previous>,
    memory: Writer,
    owned: bool,
}

enum Side {
    Stage(IntoStage),
    Beside { reader: Reader, next: Option<Entry>, wrong: Vec<String> },
}

/// The first name of a file with several.
struct First {
    path: Name,
    size: u64,
    sha256: String,
    sparse: bool,
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
    pub(super) moved_bytes: u64,
    pub(super) moved_files: u64,
}

/// A folder on both sides, and its path below the top.
struct Here {
    source: OwnedFd,
    stage: Option<OwnedFd>,
    path: Vec<u8>,
}

impl<'a> Walk<'a> {
    pub(super) fn into_stage(
        work: &'a Work,
        directory: &'a Directory,
        strict: bool,
        tree: &Path,
        previous: &Path,
        memory: &Path,
    ) -> Result<Self, StateError> {
        match mkdirat(CWD, tree, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(StateError::file("make", tree)(error)),
        }
        let opened = openat(CWD, tree, FOLDER, Mode::empty()).map_err(StateError::file("open", tree))?;
        let mut memory = Writer::create(memory)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        memory.line(&Header { began: i64::try_from(now).unwrap_or(0) })?;
        let owned = rustix::process::geteuid().is_root();
        let previous = Previous::open(previous);
        let side = Side::Stage(IntoStage { root: tree.to_owned(), tree: opened, previous, memory, owned });
        let meter = work.meter(format!("copy {}", directory.declared.path), None);
        Ok(Self::new(directory, strict, side, meter))
    }

    pub(super) fn comparing(work: &'a Work, directory: &'a Directory, reader: Reader) -> Self {
        let meter = work.meter(format!("compare {}", directory.declared.path), None);
        Self::new(directory, true, Side::Beside { reader, next: None, wrong: Vec::new() }, meter)
    }

    fn new(directory: &'a Directory, strict: bool, side: Side, meter: Meter<'a>) -> Self {
        let seen = ObservedDirectory {
            path: String::new(),
            resolved: None,
            files: 0,
            folders: 0,
            links: 0,
            bytes: 0,
            moving: 0,
            left_out: 0,
            digest: String::new(),
        };
        Self {
            directory,
            strict,
            top: PathBuf::new(),
            side,
            meter,
            firsts: BTreeMap::new(),
            buffer: vec![0; content::BUFFER],
            seen,
            moved_bytes: 0,
            moved_files: 0,
        }
    }

    /// Walks through `top` and writes the listing.
    pub(super) fn run(&mut self, top: &Path, mut list: Writer) -> Result<ObservedDirectory, StateError> {
        top.clone_into(&mut self.top);
        let source = openat(CWD, top, FOLDER, Mode::empty()).map_err(StateError::file("open", top))?;
        let stage = match &self.side {
            Side::Stage(stage) => Some(stage.tree.try_clone().map_err(StateError::file("open", &stage.root))?),
            Side::Beside { .. } => None,
        };
        if let Side::Beside { reader, next, .. } = &mut self.side {
            *next = reader.next()?;
        }
        self.folder(&Here { source, stage, path: Vec::new() }, false, &mut list)?;
        self.seen.digest = list.finish()?;
        Ok(self.seen.clone())
    }

    /// Ends what was remembered.
    pub(super) fn finish(self) -> Result<(), StateError> {
        self.meter.finish();
        match self.side {
            Side::Stage(stage) => stage.memory.finish().map(drop),
            Side::Beside { .. } => Ok(()),
        }
    }

    /// The differences from the listing, at most `shown` of them.
    pub(super) fn differences(self, shown: usize) -> Result<Vec<String>, StateError> {
        let Side::Beside { mut reader, mut next, mut wrong } = self.side else { return Ok(Vec::new()) };
        while wrong.len() < shown
            && let Some(entry) = next
        {
            wrong.push(format!("`{:?}` is missing", entry.path));
            next = reader.next()?;
        }
        wrong.truncate(shown);
        Ok(wrong)
    }

    fn folder(&mut self, here: &Here, excluded: bool, list: &mut Writer) -> Result<(), StateError> {
        let before = fstat(&here.source).map_err(self.reading(&here.path))?;
        let shown: &[u8] = if here.path.is_empty() { b"." } else { &here.path };
        let mut entry = attributes::entry(&self.directory.accounts, shown, EntryKind::Folder, &before);
        entry.xattrs = attributes::xattrs(here.source.as_fd()).map_err(self.reading(&here.path))?;
        self.seen.folders += 1;
        self.emit(list, &entry)?;
        let names = if excluded { Vec::new() } else { names(&here.source).map_err(self.reading(&here.path))? };
        if let Some(stage) = &here.stage {
            let wanted: BTreeSet<&[u8]> = names.iter().map(Vec::as_slice).collect();
            for name in self::names(stage).map_err(self.writing(&here.path))? {
                if !wanted.contains(name.as_slice()) {
                    remove(stage, &name).map_err(self.writing(&here.path))?;
                    self.moved_files += 1;
                }
            }
        }
        for name in names {
            self.child(here, &name, list)?;
        }
        let after = fstat(&here.source).map_err(self.reading(&here.path))?;
        if self.strict && attributes::mtime(&after) != attributes::mtime(&before) {
            return Err(self.changed(&here.path));
        }
        if let Some(stage) = &here.stage {
            attributes::apply(stage, self.owner(&entry)?.as_ref(), &entry).map_err(self.writing(&here.path))?;
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
            Err(Errno::NOENT) => return self.vanished(here, name, &path),
            Err(error) => return Err(self.reading(&path)(error)),
        };
        let excluded = self.directory.exclude.is_match(Name(path.clone()).as_path());
        match attributes::file_type(&stat) {
            FileType::Directory => {
                let source = match openat(&here.source, name, FOLDER, Mode::empty()) {
                    Ok(source) => source,
                    Err(Errno::NOENT | Errno::NOTDIR) => return self.vanished(here, name, &path),
                    Err(error) => return Err(self.reading(&path)(error)),
                };
                let stage = match &here.stage {
                    Some(stage) => Some(open_or_make(stage, name).map_err(self.writing(&path))?),
                    None => None,
                };
                self.folder(&Here { source, stage, path }, excluded, list)
            }
            _ if excluded => self.drop_staged(here, name, &path),
            FileType::RegularFile => self.file(here, name, &path, &stat, list),
            FileType::Symlink => self.link(here, name, &path, &stat, list),
            FileType::Socket | FileType::Fifo => {
                self.seen.left_out += 1;
                self.drop_staged(here, name, &path)
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
            Err(Errno::NOENT | Errno::INVAL) => return self.vanished(here, name, path),
            Err(error) => return Err(self.reading(path)(error)),
        };
        let mut entry = attributes::entry(&self.directory.accounts, path, EntryKind::Link, stat);
        if let Some(stage) = &here.stage {
            let same = readlinkat(stage, name, Vec::new()).is_ok_and(|staged| staged.as_bytes() == target);
            if !same {
                remove(stage, name).map_err(self.writing(path))?;
                symlinkat(target.as_slice(), stage, name).map_err(self.writing(path))?;
                self.moved_files += 1;
            }
            let owner = self.owner(&entry)?;
            attributes::apply_to_link(stage, name, owner.as_ref(), &entry).map_err(self.writing(path))?;
        }
        entry.target = Some(Name(target));
        self.seen.links += 1;
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
        let mut entry = attributes::entry(&self.directory.accounts, path, EntryKind::File, stat);
        let identity = (stat.st_dev, stat.st_ino);
        if let Some(first) = self.firsts.get(&identity) {
            entry.same_as = Some(first.path.clone());
            (entry.size, entry.sha256, entry.sparse) = (Some(first.size), Some(first.sha256.clone()), first.sparse);
            if let (Some(stage), Side::Stage(side)) = (&here.stage, &self.side) {
                remove(stage, name).map_err(self.writing(path))?;
                linkat(&side.tree, first.path.as_path(), stage, name, AtFlags::empty()).map_err(self.writing(path))?;
            }
            // Attributes are the inode's, hence those of the first name.
            self.seen.files += 1;
            return self.emit(list, &entry);
        }
        let opened = match openat(&here.source, name, FILE, Mode::empty()) {
            Ok(opened) => opened,
            Err(Errno::NOENT | Errno::LOOP) => return self.vanished(here, name, path),
            Err(error) => return Err(self.reading(path)(error)),
        };
        let mut file = File::from(opened);
        let remembered = self.remembered(here, name, path, stat);
        // Its attributes are in the stage as well: they cannot change without the time of change.
        let staged = remembered.is_some();
        let found = match remembered {
            Some(sha256) => Found { stat: *stat, size: attributes::size(stat), sha256 },
            None => self.copy(here, name, path, &mut file)?,
        };
        entry = attributes::entry(&self.directory.accounts, path, EntryKind::File, &found.stat);
        entry.xattrs = attributes::xattrs(file.as_fd()).map_err(self.reading(path))?;
        entry.sparse = attributes::has_holes(&found.stat);
        if let Some(stage) = here.stage.as_ref().filter(|_| !staged) {
            let owner = self.owner(&entry)?;
            let staged = openat(stage, name, FILE, Mode::empty()).map_err(self.writing(path))?;
            attributes::apply(staged, owner.as_ref(), &entry).map_err(self.writing(path))?;
        }
        if let Side::Stage(side) = &mut self.side {
            side.memory.line(&Remembered {
                path: entry.path.clone(),
                ino: found.stat.st_ino,
                size: found.size,
                mtime: entry.mtime.clone(),
                ctime: attributes::ctime(&found.stat),
                sha256: found.sha256.clone(),
            })?;
        }
        if stat.st_nlink > 1 {
            let (path, sha256) = (entry.path.clone(), found.sha256.clone());
            self.firsts.insert(identity, First { path, size: found.size, sha256, sparse: entry.sparse });
        }
        (entry.size, entry.sha256) = (Some(found.size), Some(found.sha256));
        self.seen.files += 1;
        self.seen.bytes += found.size;
        self.emit(list, &entry)?;
        self.meter.add(0, 1)
    }

    /// The digest of a file that is in the stage already and has not changed since.
    fn remembered(&mut self, here: &Here, name: &[u8], path: &[u8], stat: &Stat) -> Option<String> {
        let (Side::Stage(side), Some(stage)) = (&mut self.side, &here.stage) else { return None };
        let previous = side.previous.as_mut()?;
        let began = previous.began;
        let known = previous.find(path)?;
        let settled = i128::from(stat.st_ctime) < i128::from(began - RACY_SECONDS);
        let same = known.ino == stat.st_ino
            && known.size == attributes::size(stat)
            && known.mtime == attributes::mtime(stat)
            && known.ctime == attributes::ctime(stat);
        let staged = statat(stage, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        let staged_same = attributes::file_type(&staged) == FileType::RegularFile
            && attributes::size(&staged) == known.size
            && attributes::mtime(&staged) == known.mtime;
        (settled && same && staged_same).then(|| known.sha256.clone())
    }

    /// Copies or only reads a file, anew if it changed meanwhile.
    fn copy(&mut self, here: &Here, name: &[u8], path: &[u8], file: &mut File) -> Result<Found, StateError> {
        for attempt in 1.. {
            let before = fstat(&*file).map_err(self.reading(path))?;
            let target = match &here.stage {
                Some(stage) => {
                    remove(stage, name).map_err(self.writing(path))?;
                    let new = openat(stage, name, NEW, Mode::RUSR | Mode::WUSR).map_err(self.writing(path))?;
                    Some(File::from(new))
                }
                None => None,
            };
            let sparse = attributes::has_holes(&before);
            let copied = content::copy(file, target.as_ref(), sparse, &mut self.buffer, &mut self.meter);
            let (size, sha256) = copied.map_err(|fault| match fault {
                Fault::Read(error) => self.reading(path)(error),
                Fault::Write(error) => self.writing(path)(error),
                Fault::Stopped(error) => error,
            })?;
            let after = fstat(&*file).map_err(self.reading(path))?;
            let calm = size == attributes::size(&before)
                && attributes::size(&after) == attributes::size(&before)
                && attributes::mtime(&after) == attributes::mtime(&before);
            if calm || attempt == ATTEMPTS {
                if !calm && self.strict {
                    return Err(self.changed(path));
                }
                self.seen.moving += u64::from(!calm);
                self.moved_bytes += size;
                self.moved_files += 1;
                // A change of the owner or the mode meanwhile is in `after`.
                return Ok(Found { stat: after, size, sha256 });
            }
            io::Seek::rewind(file).map_err(self.reading(path))?;
        }
        Err(self.changed(path))
    }

    fn emit(&mut self, list: &mut Writer, entry: &Entry) -> Result<(), StateError> {
        list.line(entry)?;
        let Side::Beside { reader, next, wrong } = &mut self.side else { return Ok(()) };
        while let Some(expected) = next {
            match order(&expected.path.0, &entry.path.0) {
                std::cmp::Ordering::Less => wrong.push(format!("`{:?}` is missing", expected.path)),
                std::cmp::Ordering::Greater => break,
                std::cmp::Ordering::Equal => {
                    // Whether there are holes is the file system's affair.
                    expected.sparse = entry.sparse;
                    if let Some(what) = difference(expected, entry) {
                        wrong.push(format!("`{:?}` has another {what}", entry.path));
                    }
                    *next = reader.next()?;
                    return Ok(());
                }
            }
            *next = reader.next()?;
        }
        wrong.push(format!("`{:?}` is additional", entry.path));
        Ok(())
    }

    /// Something went away between being listed and being read.
    fn vanished(&mut self, here: &Here, name: &[u8], path: &[u8]) -> Result<(), StateError> {
        if self.strict { Err(self.changed(path)) } else { self.drop_staged(here, name, path) }
    }

    fn drop_staged(&mut self, here: &Here, name: &[u8], path: &[u8]) -> Result<(), StateError> {
        match &here.stage {
            Some(stage) => remove(stage, name).map_err(self.writing(path)),
            None => Ok(()),
        }
    }

    /// Whom to give a staged entry to; nobody, if that is not ours to do.
    fn owner(&self, entry: &Entry) -> Result<Option<Owner>, StateError> {
        match &self.side {
            Side::Stage(stage) if stage.owned => Owner::of(&self.directory.accounts, entry).map(Some),
            _ => Ok(None),
        }
    }

    fn changed(&self, path: &[u8]) -> StateError {
        let message = format!("`{}` changed while it was read", self.shown(path).display());
        StateError::refused(ErrorClass::Changed, message)
            .with_hint("Something still writes there; see which process does")
    }

    fn shown(&self, path: &[u8]) -> PathBuf {
        self.top.join(Name(path.to_vec()).as_path())
    }

    fn reading<E: Into<io::Error>>(&self, path: &[u8]) -> impl FnOnce(E) -> StateError + use<E> {
        let path = self.shown(path);
        move |error| StateError::file("read", &path)(error)
    }

    fn writing<E: Into<io::Error>>(&self, path: &[u8]) -> impl FnOnce(E) -> StateError + use<E> {
        let root = match &self.side {
            Side::Stage(stage) => &stage.root,
            Side::Beside { .. } => &self.top,
        };
        let path = root.join(Name(path.to_vec()).as_path());
        move |error| StateError::file("write", &path)(error)
    }
}

struct Found {
    stat: Stat,
    size: u64,
    sha256: String,
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

/// The order of the walk: a folder before what is in it, names by their bytes.
pub(super) fn order(one: &[u8], other: &[u8]) -> std::cmp::Ordering {
    match (one == b".", other == b".") {
        (true, true) => std::cmp::Ordering::Equal,
        (true, false) => std::cmp::Ordering::Less,
        (false, true) => std::cmp::Ordering::Greater,
        (false, false) => one.split(|b| *b == b'/').cmp(other.split(|b| *b == b'/')),
    }
}

/// The names in a folder, in the order of their bytes.
pub(super) fn names(folder: &OwnedFd) -> io::Result<Vec<Vec<u8>>> {
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

/// Removes whatever has that name, with all that is in it.
pub(super) fn remove(folder: &OwnedFd, name: &[u8]) -> io::Result<()> {
    match unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR) => {}
        Err(error) => return Err(error.into()),
    }
    let inner = openat(folder, name, FOLDER, Mode::empty())?;
    for name in names(&inner)? {
        remove(&inner, &name)?;
    }
    Ok(unlinkat(folder, name, AtFlags::REMOVEDIR)?)
}

/// Opens a folder of the stage, making it if it is not there.
fn open_or_make(stage: &OwnedFd, name: &[u8]) -> io::Result<OwnedFd> {
    match openat(stage, name, FOLDER, Mode::empty()) {
        Ok(opened) => return Ok(opened),
        Err(Errno::NOENT) => {}
        Err(Errno::NOTDIR | Errno::LOOP) => remove(stage, name)?,
        Err(error) => return Err(error.into()),
    }
    mkdirat(stage, name, Mode::RWXU)?;
    Ok(openat(stage, name, FOLDER, Mode::empty())?)
}
