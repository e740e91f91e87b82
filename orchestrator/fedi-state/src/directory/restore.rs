//! Bringing a folder back: built beside its place, checked byte by byte against the
//! listing, then put there in one step.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, fstat, linkat, mkdirat, openat, statvfs, symlinkat, syncfs};
use rustix::io::Errno;

use super::attributes::{self, Owner};
use super::content::{self, Fault};
use super::walk::{FILE, FOLDER, NEW};
use crate::account::Accounts;
use crate::error::{ErrorClass, StateError};
use crate::kind::Contents;
use crate::listing::{Entry, EntryKind, Name, Reader};
use crate::sums;
use crate::work::{Meter, Work};

/// What fedi builds in, inside a mount point.
const INSIDE: &str = ".fedi-restoring";
/// How many symbolic links at the top are followed.
const LINKS: u32 = 10;

/// An entry of a place.
struct Seen {
    is_folder: bool,
    bytes: u64,
}

/// Where a folder goes to.
pub(super) struct Place {
    /// Its path, links at the top resolved; it may not be there yet.
    pub(super) path: PathBuf,
}

impl Place {
    pub(super) fn find(path: &Path) -> Result<Self, StateError> {
        let mut path = path.to_owned();
        for _ in 0..LINKS {
            match fs::read_link(&path) {
                Ok(target) => path = path.parent().unwrap_or(Path::new("/")).join(target),
                Err(_) => return Ok(Self { path }),
            }
        }
        Err(StateError::damaged(format!("`{}` is a symbolic link that leads nowhere", path.display())))
    }

    /// Whether nothing is there but folders, which hold nothing, and what fedi itself
    /// left unfinished.
    pub(super) fn is_empty(&self) -> Result<bool, StateError> {
        if self.path.join(INSIDE).join("whole").exists() {
            return Ok(true);
        }
        match self.entries(&mut |entry| Ok(entry.is_folder)) {
            Ok(empty) => Ok(empty),
            Err(StateError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// What is there, in words and bytes.
    pub(super) fn contents(&self, work: &Work) -> Result<Contents, StateError> {
        let (mut files, mut bytes) = (0_u64, 0);
        self.entries(&mut |entry| {
            work.check()?;
            if !entry.is_folder {
                files += 1;
                bytes += entry.bytes;
            }
            Ok(true)
        })?;
        Ok(Contents { what: format!("{files} files"), bytes })
    }

    /// Removes all that is there; the folder itself stays as it is.
    pub(super) fn empty(&self, work: &Work) -> Result<(), StateError> {
        let entries = match fs::read_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(StateError::file("read", &self.path))?,
        };
        for entry in entries {
            work.check()?;
            let entry = entry.map_err(StateError::file("read", &self.path))?;
            let path = entry.path();
            let kind = entry.file_type().map_err(StateError::file("look at", &path))?;
            let removed = if kind.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(StateError::file("remove", &path))?;
        }
        Ok(())
    }

    /// Shows every entry but fedi's own, a folder before what is in it, until `each`
    /// says that it has seen enough: then the answer is `false`.
    fn entries(&self, each: &mut dyn FnMut(&Seen) -> Result<bool, StateError>) -> Result<bool, StateError> {
        let mut folders = vec![self.path.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).map_err(StateError::file("read", &folder))? {
                let entry = entry.map_err(StateError::file("read", &folder))?;
                if folder == self.path && entry.file_name() == INSIDE {
                    continue;
                }
                let found = entry.metadata().map_err(StateError::file("look at", &entry.path()))?;
                if !each(&Seen { is_folder: found.is_dir(), bytes: found.len() })? {
                    return Ok(false);
                }
                if found.is_dir() {
                    folders.push(entry.path());
                }
            }
        }
        Ok(true)
    }

    /// Removes the empty folders of an empty place; refuses what is no empty folder.
    fn make_room(&self) -> Result<(), StateError> {
        let mut folders = vec![self.path.clone()];
        let mut found = Vec::new();
        while let Some(folder) = folders.pop() {
            let entries = match fs::read_dir(&folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                entries => entries.map_err(StateError::file("read", &folder))?,
            };
            for entry in entries {
                let path = entry.map_err(StateError::file("read", &folder))?.path();
                if path != self.path.join(INSIDE) {
                    found.push(path.clone());
                    folders.push(path);
                }
            }
        }
        for folder in found.iter().rev() {
            fs::remove_dir(folder).map_err(StateError::file("remove", folder))?;
        }
        Ok(())
    }

    /// Fills it. On a failure it is as it was before.
    pub(super) fn fill(
        &self,
        work: &Work,
        accounts: &Accounts,
        tree: &Path,
        list: &Path,
        in_use: bool,
    ) -> Result<(), StateError> {
        let parent = self.path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(parent).map_err(StateError::file("make", parent))?;
        let new = if self.is_mount_point(parent)? {
            self.path.join(INSIDE)
        } else {
            let name = self.path.file_name().unwrap_or_default();
            let name = sums::hex(std::os::unix::ffi::OsStrExt::as_bytes(name));
            parent.join(format!(".fedi-restoring-{}", &name[..16]))
        };
        let inside = new.starts_with(&self.path);
        let whole = new.join("whole");
        if !(inside && whole.exists()) {
            room(new.parent().unwrap_or(parent), list)?;
            clear(&new)?;
            fs::create_dir(&new).map_err(StateError::file("make", &new))?;
            let built = build(work, accounts, tree, &new.join("tree"), list, in_use);
            if let Err(error) = built {
                clear(&new)?;
                return Err(error);
            }
        }
        if !(inside && whole.exists()) {
            self.make_room()?;
        }
        if inside {
            fs::write(&whole, "").map_err(StateError::file("write", &whole))?;
            self.move_in(accounts, &new, list)
        } else {
            let target = &self.path;
            fs::rename(new.join("tree"), target).map_err(StateError::file("move into place", target))?;
            clear(&new)
        }
    }

    fn is_mount_point(&self, parent: &Path) -> Result<bool, StateError> {
        let device =
            |path: &Path| fs::metadata(path).map(|found| found.dev()).map_err(StateError::file("look at", path));
        Ok(self.path.exists() && device(&self.path)? != device(parent)?)
    }

    /// Moves what was built inside a mount point up, each entry at once; goes on
    /// where an earlier run stopped.
    fn move_in(&self, accounts: &Accounts, new: &Path, list: &Path) -> Result<(), StateError> {
        let tree = new.join("tree");
        let entries = fs::read_dir(&tree).map_err(StateError::file("read", &tree))?;
        for entry in entries {
            let entry = entry.map_err(StateError::file("read", &tree))?;
            let target = self.path.join(entry.file_name());
            fs::rename(entry.path(), &target).map_err(StateError::file("move into place", &target))?;
        }
        clear(new)?;
        if let Some(top) = Reader::open(list)?.next::<Entry>()? {
            let folder = File::open(&self.path).map_err(StateError::file("open", &self.path))?;
            let owner = Owner::of(accounts, &top)?;
            attributes::apply(folder, Some(&owner), &top).map_err(StateError::file("change", &self.path))?;
        }
        Ok(())
    }
}

/// Refuses a disk without room for it all.
fn room(folder: &Path, list: &Path) -> Result<(), StateError> {
    let (mut reader, mut bytes) = (Reader::open(list)?, 0);
    while let Some(entry) = reader.next::<Entry>()? {
        // How much of a sparse file is holes shows only when it is written.
        if !entry.sparse && entry.same_as.is_none() {
            bytes += entry.size.unwrap_or(0);
        }
    }
    let found = statvfs(folder).map_err(StateError::file("look at", folder))?;
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    if free >= bytes {
        return Ok(());
    }
    let message = format!("`{}` has {free} bytes free; {bytes} are needed", folder.display());
    Err(StateError::refused(ErrorClass::Full, message))
}

fn clear(path: &Path) -> Result<(), StateError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StateError::file("remove", path)(error)),
        _ => Ok(()),
    }
}

/// A folder that is being built, and its counterpart in the stage.
struct Open {
    entry: Entry,
    /// Nothing where the folder was gone when it was stored: then it is not made either.
    both: Option<(OwnedFd, OwnedFd)>,
}

struct Builder<'a> {
    accounts: &'a Accounts,
    tree: &'a Path,
    top: &'a Path,
    in_use: bool,
    stack: Vec<Open>,
    buffer: Vec<u8>,
    meter: Meter<'a>,
}

fn build(
    work: &Work,
    accounts: &Accounts,
    tree: &Path,
    top: &Path,
    list: &Path,
    in_use: bool,
) -> Result<(), StateError> {
    let meter = work.meter(format!("restore {}", top.display()), None);
    let mut builder =
        Builder { accounts, tree, top, in_use, stack: Vec::new(), buffer: vec![0; content::BUFFER], meter };
    let mut reader = Reader::open(list)?;
    while let Some(entry) = reader.next::<Entry>()? {
        builder.add(entry)?;
    }
    while let Some(open) = builder.stack.pop() {
        builder.close(&open)?;
    }
    let folder = File::open(top).map_err(StateError::file("open", top))?;
    syncfs(folder).map_err(StateError::file("write", top))?;
    builder.meter.finish();
    Ok(())
}

impl Builder<'_> {
    fn add(&mut self, entry: Entry) -> Result<(), StateError> {
        if !entry.path.is_plain() {
            return Err(StateError::damaged(format!("The listing has the path `{:?}`", entry.path)));
        }
        if entry.path.0 == b"." {
            let stage = openat(CWD, self.tree, FOLDER, Mode::empty()).map_err(StateError::file("open", self.tree))?;
            mkdirat(CWD, self.top, Mode::RWXU).map_err(StateError::file("make", self.top))?;
            let new = openat(CWD, self.top, FOLDER, Mode::empty()).map_err(StateError::file("open", self.top))?;
            self.stack.push(Open { entry, both: Some((stage, new)) });
            return Ok(());
        }
        let path = entry.path.0.clone();
        let (parent, name) = match path.iter().rposition(|b| *b == b'/') {
            Some(at) => (&path[..at], &path[at + 1..]),
            None => (b".".as_slice(), path.as_slice()),
        };
        while self.stack.last().is_some_and(|open| open.entry.path.0 != parent) {
            if let Some(open) = self.stack.pop() {
                self.close(&open)?;
            }
        }
        let Some(open) = self.stack.last() else {
            return Err(StateError::damaged(format!("The listing has `{:?}` out of its order", entry.path)));
        };
        let Some((stage, new)) = &open.both else {
            if entry.kind == EntryKind::Folder {
                self.stack.push(Open { entry, both: None });
            }
            return Ok(());
        };
        let (reading, writing) = (failing("read", self.tree, &entry), failing("write", self.top, &entry));
        match (entry.kind, &entry.same_as, &entry.target) {
            (EntryKind::Folder, ..) => {
                let stage = match openat(stage, name, FOLDER, Mode::empty()) {
                    Err(error) if self.in_use && is_gone(error) => {
                        self.stack.push(Open { entry, both: None });
                        return Ok(());
                    }
                    stage => stage.map_err(reading)?,
                };
                let made = mkdirat(new, name, Mode::RWXU).and_then(|()| openat(new, name, FOLDER, Mode::empty()));
                let new = made.map_err(writing)?;
                self.stack.push(Open { entry, both: Some((stage, new)) });
                Ok(())
            }
            (EntryKind::Link, _, Some(target)) => {
                let owner = Owner::of(self.accounts, &entry)?;
                symlinkat(target.0.as_slice(), new, name).map_err(writing)?;
                attributes::apply_to_link(new, name, Some(&owner), &entry).map_err(failing("change", self.top, &entry))
            }
            (EntryKind::File, first, _) if first.as_ref().is_none_or(Name::is_plain) => {
                let from = match opened(stage, name) {
                    Err(error) if self.in_use && is_gone(error) => return Ok(()),
                    from => from.map_err(reading)?,
                };
                if let (Some(first), Some((_, top))) = (first, self.stack.first().and_then(|top| top.both.as_ref())) {
                    match linkat(top, first.as_path(), new, name, AtFlags::empty()) {
                        // Its first name was gone when it was stored: this one is a file of its own.
                        Err(error) if self.in_use && is_gone(error) => {}
                        linked => return linked.map_err(writing),
                    }
                }
                let to = openat(new, name, NEW, Mode::RUSR | Mode::WUSR).map_err(writing)?;
                self.file(from, &File::from(to), entry)
            }
            _ => Err(StateError::damaged(format!("The listing has `{:?}` without what belongs to it", entry.path))),
        }
    }

    fn file(&mut self, mut from: File, to: &File, mut entry: Entry) -> Result<(), StateError> {
        let staged = fstat(&from).map_err(failing("read", self.tree, &entry))?;
        let copied = content::copy(&mut from, Some(to), entry.sparse, &mut self.buffer, &mut self.meter);
        let (size, sha256) = copied.map_err(|fault| match fault {
            Fault::Read(error) => failing("read", self.tree, &entry)(error),
            Fault::Write(error) => failing("write", self.top, &entry)(error),
            Fault::Stopped(error) => error,
        })?;
        if self.in_use && entry.is_newer(&staged) {
            entry.mtime = attributes::mtime(&staged);
        } else if entry.size != Some(size) || entry.sha256.as_deref() != Some(&sha256) {
            let path = self.tree.join(entry.path.as_path());
            return Err(StateError::damaged(format!("`{}` is not what was captured", path.display())));
        }
        let owner = Owner::of(self.accounts, &entry)?;
        attributes::apply(to.as_fd(), Some(&owner), &entry).map_err(failing("change", self.top, &entry))?;
        self.meter.add(0, 1)
    }

    fn close(&self, open: &Open) -> Result<(), StateError> {
        let Some((_, new)) = &open.both else { return Ok(()) };
        let owner = Owner::of(self.accounts, &open.entry)?;
        attributes::apply(new, Some(&owner), &open.entry).map_err(failing("change", self.top, &open.entry))
    }
}

/// Opens a file of the stage.
fn opened(folder: &OwnedFd, name: &[u8]) -> rustix::io::Result<File> {
    let file = File::from(openat(folder, name, FILE, Mode::empty())?);
    match attributes::file_type(&fstat(&file)?) {
        FileType::RegularFile => Ok(file),
        _ => Err(Errno::NOTDIR),
    }
}

/// Whether a file system says so of what is not there, or something else by now.
fn is_gone(error: Errno) -> bool {
    matches!(error, Errno::NOENT | Errno::NOTDIR | Errno::LOOP)
}

fn failing<E: Into<io::Error>>(
    action: &'static str,
    root: &Path,
    entry: &Entry,
) -> impl FnOnce(E) -> StateError + use<E> {
    let path = root.join(Name(entry.path.0.clone()).as_path());
    move |error| StateError::file(action, &path)(error)
}
