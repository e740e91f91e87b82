//! Folders of files. Captured by a walk of fedi's own, since the contract needs a
//! digest of every byte that is copied, from the same read.
//!
//! A symbolic link at the top is followed (a unit with `DynamicUser=` has one); below
//! it links are kept as links. Owners go by name. A stage that was filled before is
//! brought up to date: what has the same size, times and inode is not read again.
//! A folder that is excluded is kept as an empty one, since applications expect it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use fedi_model::manifest::Directory as Declared;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::account::Accounts;
use crate::error::{ErrorClass, StateError};
use crate::kind::{Contents, Delta, Kind, Report};
use crate::listing;
use crate::snapshot::{Consistency, Observed, ObservedDirectory};
use crate::stage::ItemStage;
use crate::work::Work;

mod attributes;
mod content;
mod restore;
mod walk;

use walk::Walk;

/// A folder of files.
pub struct Directory {
    declared: Declared,
    accounts: Accounts,
    exclude: GlobSet,
}

/// Entries of an error that says what differs.
const SHOWN: usize = 5;

impl Directory {
    /// As the contract declares it, with this machine's users.
    pub fn new(declared: Declared, accounts: Accounts) -> Result<Self, StateError> {
        let mut exclude = GlobSetBuilder::new();
        for pattern in &declared.exclude {
            let glob = GlobBuilder::new(pattern.trim_matches('/')).literal_separator(true).build();
            let wrong = |error| StateError::damaged(format!("The pattern `{pattern}` does not read: {error}"));
            exclude.add(glob.map_err(wrong)?);
        }
        let exclude =
            exclude.build().map_err(|error| StateError::damaged(format!("The patterns do not read: {error}")))?;
        Ok(Self { declared, accounts, exclude })
    }

    /// Where the path leads.
    fn source(&self) -> Result<PathBuf, StateError> {
        let path = Path::new(&self.declared.path);
        let source = fs::canonicalize(path).map_err(StateError::file("find", path))?;
        if source.is_dir() {
            return Ok(source);
        }
        Err(StateError::refused(ErrorClass::NotFound, format!("`{}` is no folder", source.display())))
    }

    fn copy(&self, work: &Work, stage: &ItemStage, strict: bool) -> Result<(ObservedDirectory, Delta), StateError> {
        let source = self.source()?;
        let memory = stage.memory.with_extension("previous");
        match fs::rename(&stage.memory, &memory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(StateError::file("move", &stage.memory)(error));
            }
            _ => {}
        }
        let tree = stage.folder.join("tree");
        let mut walk = Walk::into_stage(work, self, strict, &tree, &memory, &stage.memory)?;
        let list = stage.folder.join("files.jsonl");
        let seen = walk.run(&source, listing::Writer::create(&list)?)?;
        let delta = Delta { bytes: walk.moved_bytes, count: walk.moved_files };
        walk.finish()?;
        match fs::remove_file(&memory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(StateError::file("remove", &memory)(error));
            }
            _ => {}
        }
        let resolved = (source != Path::new(&self.declared.path)).then(|| source.to_string_lossy().into_owned());
        Ok((ObservedDirectory { path: self.declared.path.clone(), resolved, ..seen }, delta))
    }

    fn expected(observed: &Observed) -> Result<&ObservedDirectory, StateError> {
        match observed {
            Observed::Directory(observed) => Ok(observed),
            _ => Err(StateError::damaged("The snapshot has another kind of item here")),
        }
    }
}

impl Kind for Directory {
    fn presync(&self, work: &Work, stage: &ItemStage) -> Result<Delta, StateError> {
        Ok(self.copy(work, stage, false)?.1)
    }

    fn capture(&self, work: &Work, stage: &ItemStage, consistency: Consistency) -> Result<Observed, StateError> {
        let (observed, _) = self.copy(work, stage, consistency == Consistency::Quiesced)?;
        for (what, found, floor) in [
            ("files", observed.files, self.declared.at_least_files),
            ("bytes", observed.bytes, self.declared.at_least_bytes),
        ] {
            if found < floor {
                let message =
                    format!("`{}` has {found} {what}, fewer than the {floor} that it must have", self.declared.path);
                return Err(StateError::refused(ErrorClass::Floor, message)
                    .with_hint("Look whether the data are where the contract says; the source was only read"));
            }
        }
        Ok(Observed::Directory(observed))
    }

    fn restore(&self, work: &Work, stage: &ItemStage, observed: &Observed) -> Result<(), StateError> {
        let observed = Self::expected(observed)?;
        let list = stage.folder.join("files.jsonl");
        listing::check_digest(&list, &observed.digest)?;
        let place = restore::Place::find(Path::new(&self.declared.path))?;
        if !place.is_empty()? {
            // Perhaps an earlier run did it all.
            if self.compare(work, &place.path, &list)?.is_empty() {
                return Ok(());
            }
            let message = format!("`{}` is not empty", place.path.display());
            return Err(StateError::refused(ErrorClass::NotEmpty, message)
                .with_hint("Restoring goes only into an empty place; move what is there away first"));
        }
        place.fill(work, &self.accounts, &stage.folder.join("tree"), &list)
    }

    fn verify(&self, work: &Work, stage: &ItemStage, observed: &Observed) -> Result<Report, StateError> {
        let observed = Self::expected(observed)?;
        let list = stage.folder.join("files.jsonl");
        listing::check_digest(&list, &observed.digest)?;
        let wrong = self.compare(work, &self.source()?, &list)?;
        if wrong.is_empty() {
            let checks =
                vec![format!("{} files with {} bytes have the recorded digests", observed.files, observed.bytes)];
            return Ok(Report { checks, notes: Vec::new() });
        }
        let message = format!("`{}` differs from the snapshot: {}", self.declared.path, wrong.join(", "));
        Err(StateError::refused(ErrorClass::Differs, message))
    }

    fn contents(&self, work: &Work) -> Result<Option<Contents>, StateError> {
        let place = restore::Place::find(Path::new(&self.declared.path))?;
        if place.is_empty()? { Ok(None) } else { place.contents(work).map(Some) }
    }

    fn clear(&self, work: &Work) -> Result<(), StateError> {
        restore::Place::find(Path::new(&self.declared.path))?.empty(work)
    }
}

impl Directory {
    /// Compares a folder with a listing; the first differences in words.
    fn compare(&self, work: &Work, folder: &Path, list: &Path) -> Result<Vec<String>, StateError> {
        let mut walk = Walk::comparing(work, self, listing::Reader::open(list)?);
        walk.run(folder, listing::Writer::nowhere())?;
        walk.differences(SHOWN)
    }
}
