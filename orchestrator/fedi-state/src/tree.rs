//! Folders that are stored where they lie. A stage holds no copy of them: while it is
//! stored, each shows at its place in the stage, read-only, in a mount namespace that
//! only the storing thread and its programs have. **Invariant: outside of that thread
//! there is never a mount, so that nothing can be left behind, however it ends; whoever
//! removes a stage finds an empty folder there.**

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, MountPropagationFlags, mount_bind_recursive, mount_change, mount_remount};
use rustix::thread::UnshareFlags;
use serde::{Deserialize, Serialize};

use crate::error::{ErrorClass, StateError};
use crate::listing::{Name, Reader, Writer};
use crate::stage::{ItemStage, Stage};

/// What a note of a tree ends with, among what a stage remembers.
const NOTE: &str = "tree";
/// Names that one command line may leave out.
const MOST_ARGUMENTS: usize = 1000;

/// The first line of a note: the folder that shows at `items/<item>/tree`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Source {
    pub path: Name,
    pub device: u64,
    pub inode: u64,
}

/// Another line: something below it that is no part of the snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LeftOut {
    pub path: Name,
    /// Only what is in the folder, not the folder itself.
    pub inside: bool,
}

/// Notes which folder an item's tree is, and what of it is left out.
pub(crate) struct Note(Writer);

impl Note {
    pub(crate) fn create(stage: &ItemStage, source: &Source) -> Result<Self, StateError> {
        let tree = stage.folder.join("tree");
        fs::create_dir(&tree).map_err(StateError::file("make", &tree))?;
        let mut note = Writer::create(&stage.memory.with_extension(NOTE))?;
        note.line(source)?;
        Ok(Self(note))
    }

    pub(crate) fn leave_out(&mut self, path: &[u8], inside: bool) -> Result<(), StateError> {
        self.0.line(&LeftOut { path: Name(path.to_vec()), inside })
    }

    pub(crate) fn finish(self) -> Result<(), StateError> {
        self.0.finish().map(drop)
    }
}

/// No folder shows in a stage any more.
pub(crate) fn forget(stage: &Stage) -> Result<(), StateError> {
    Tree::all(stage)?
        .iter()
        .try_for_each(|tree| fs::remove_file(&tree.note).map_err(StateError::file("remove", &tree.note)))
}

/// A folder that shows in a stage.
struct Tree {
    source: Source,
    note: PathBuf,
    shown: PathBuf,
}

impl Tree {
    /// Those of a stage.
    fn all(stage: &Stage) -> Result<Vec<Self>, StateError> {
        let memory = stage.memory();
        let mut trees = Vec::new();
        let entries = match fs::read_dir(&memory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(trees),
            entries => entries.map_err(StateError::file("read", &memory))?,
        };
        for entry in entries {
            let note = entry.map_err(StateError::file("read", &memory))?.path();
            let item = note.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
            if note.extension().is_some_and(|extension| extension == NOTE) {
                let damaged = || StateError::damaged(format!("`{}` is empty", note.display()));
                let source = Reader::open(&note)?.next::<Source>()?.ok_or_else(damaged)?;
                trees.push(Self { source, shown: stage.item(item)?.folder.join("tree"), note });
            }
        }
        trees.sort_by(|one, other| one.shown.cmp(&other.shown));
        Ok(trees)
    }

    /// Shows it, in this thread's namespace.
    fn mount(&self) -> Result<(), StateError> {
        let failed = StateError::file::<io::Error>("show", &self.shown);
        let shown = || -> io::Result<()> {
            mount_bind_recursive(self.source.path.as_path(), &self.shown)?;
            for place in mounts_below(&self.shown)? {
                let read_only = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
                mount_remount(&place, read_only, c"")?;
            }
            Ok(())
        };
        shown().map_err(failed)?;
        let found = rustix::fs::stat(&self.shown).map_err(StateError::file("look at", &self.shown))?;
        if (found.st_dev, found.st_ino) == (self.source.device, self.source.inode) {
            return Ok(());
        }
        let message = format!("`{}` is another folder than before", self.source.path.as_path().display());
        Err(StateError::refused(ErrorClass::Changed, message))
    }
}

impl Stage {
    /// Does something while the stage shows the folders that were captured into it, in a
    /// thread of its own: programs that it starts see them too, nobody else does. Needs
    /// root where there is such a folder.
    pub fn shown<T: Send>(&self, work: impl FnOnce() -> Result<T, StateError> + Send) -> Result<T, StateError> {
        let trees = Tree::all(self)?;
        if trees.is_empty() {
            return work();
        }
        let inside = || {
            enter().map_err(StateError::file("enter a namespace for", self.root()))?;
            trees.iter().try_for_each(Tree::mount)?;
            work()
        };
        std::thread::scope(|scope| scope.spawn(inside).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    }

    /// Writes what the folders of the stage leave out, as `restic --exclude-file` reads
    /// it, the stage being at `root`. Returns the patterns that no line can hold.
    pub(crate) fn write_excluded(&self, root: &Path, file: &Path) -> Result<Vec<Vec<u8>>, StateError> {
        let writing = || StateError::file::<io::Error>("write", file);
        let mut lines = BufWriter::new(fs::File::create(file).map_err(writing())?);
        let mut arguments = Vec::new();
        for tree in Tree::all(self)? {
            let shown = tree.shown.strip_prefix(self.root()).unwrap_or(&tree.shown);
            let mut note = Reader::open(&tree.note)?;
            note.next::<Source>()?;
            while let Some(LeftOut { path, inside }) = note.next()? {
                let path = root.join(shown).join(path.as_path());
                let path = std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str());
                if path.contains(&b'\n') {
                    arguments.push(pattern(path, inside, false));
                } else {
                    let mut line = pattern(path, inside, true);
                    line.push(b'\n');
                    lines.write_all(&line).map_err(writing())?;
                }
            }
        }
        lines.flush().map_err(writing())?;
        if arguments.len() > MOST_ARGUMENTS {
            let message = "More than a thousand files that the contract leaves out have names of several lines";
            return Err(StateError::refused(ErrorClass::Incompatible, message)
                .with_hint("Leave out the folder that they are in"));
        }
        Ok(arguments)
    }
}

/// A namespace of mounts for this thread. What is unmounted outside goes here, too; what
/// is mounted here shows nowhere else.
#[allow(unsafe_code)]
fn enter() -> io::Result<()> {
    // SAFETY: only the view of file systems is unshared, and the working directory with
    // it; open files stay shared, so that no descriptor changes under anybody.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }?;
    Ok(mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?)
}

/// The mount points at and below a folder, by this thread's own table.
fn mounts_below(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let folder = folder.canonicalize()?;
    let table = fs::read("/proc/thread-self/mountinfo")?;
    let points = table.split(|byte| *byte == b'\n').filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
    let points = points.map(|point| Name(unescaped(point)).as_path().to_owned());
    Ok(points.filter(|point| point.starts_with(&folder)).collect())
}

/// `\040` and the like as the bytes that they stand for (proc(5)).
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let number = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        if let (b'\\', Some(byte)) = (first, number) {
            bytes.push(byte);
            rest = &after[3..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    bytes
}

/// What restic matches with exactly that path, or with all in that folder. A line of a
/// file has its variables replaced and loses blanks at its end, an argument does not.
pub(crate) fn pattern(path: &[u8], inside: bool, in_a_file: bool) -> Vec<u8> {
    let mut pattern = Vec::with_capacity(path.len() + 2);
    for byte in path {
        match byte {
            b'*' | b'?' | b'[' | b'\\' => pattern.extend([b'\\', *byte]),
            b'$' if in_a_file => pattern.extend(b"$$"),
            _ => pattern.push(*byte),
        }
    }
    if inside {
        pattern.extend(b"/*");
    } else if in_a_file && let Some(last) = pattern.pop_if(|last| last.is_ascii_whitespace()) {
        pattern.extend([b'[', last, b']']);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_the_path_itself() {
        for (path, inside, in_a_file, wanted) in [
            ("/a/b", false, true, "/a/b"),
            ("/a/b", true, true, "/a/b/*"),
            ("/a*/[b]?\\", false, true, "/a\\*/\\[b]\\?\\\\"),
            ("/$HOME", false, true, "/$$HOME"),
            ("/$HOME", false, false, "/$HOME"),
            ("/blank ", false, true, "/blank[ ]"),
            ("/blank ", true, true, "/blank /*"),
        ] {
            assert_eq!(pattern(path.as_bytes(), inside, in_a_file), wanted.as_bytes(), "{path:?}");
        }
    }

    #[test]
    fn mount_points_are_read_from_the_table() {
        assert_eq!(unescaped(b"/a\\040b\\134c\\012"), b"/a b\\c\n");
        assert_eq!(unescaped(b"/a\\04"), b"/a\\04");
    }
}
