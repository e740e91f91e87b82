//! Folders of files. A capture is a walk of fedi's own that digests every file and
//! copies none: the folder itself shows in the stage while that is stored
//! ([`crate::Stage::shown`]). What has the size, times and inode that it had in the last
//! snapshot is not read again. After storing, [`Kind::settle`] looks whether anything
//! moved meanwhile.
//!
//! A symbolic link at the top is followed (a unit with `DynamicUser=` has one); below
//! it links are kept as links. Owners go by name. A folder that is excluded is kept as
//! an empty one, since applications expect it.

use std::fs;
use std::path::{Path, PathBuf};

use fedi_model::manifest::Directory as Declared;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::account::Accounts;
use crate::error::{ErrorClass, StateError};
use crate::kind::{Contents, Kind, Report};
use crate::listing;
use crate::snapshot::{Consistency, Observed, ObservedDirectory};
use crate::stage::ItemStage;
use crate::work::Work;

pub(crate) mod attributes;
mod beside;
mod content;
mod restore;
mod seen;
mod walk;

use beside::Beside;
use walk::Walk;

/// A folder of files.
pub struct Directory {
    declared: Declared,
    accounts: Accounts,
    exclude: GlobSet,
}

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

    fn expected(observed: &Observed) -> Result<&ObservedDirectory, StateError> {
        match observed {
            Observed::Directory(observed) => Ok(observed),
            _ => Err(StateError::damaged("The snapshot has another kind of item here")),
        }
    }
}

impl Kind for Directory {
    fn capture(&self, work: &Work, stage: &ItemStage, consistency: Consistency) -> Result<Observed, StateError> {
        let source = self.source()?;
        let strict = consistency == Consistency::Quiesced;
        let seen = stage.filled(|| Walk::record(work, self, strict, &source, stage))?;
        let resolved = (source != Path::new(&self.declared.path)).then(|| source.to_string_lossy().into_owned());
        let observed = ObservedDirectory { path: self.declared.path.clone(), resolved, ..seen };
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

    fn settle(&self, work: &Work, stage: &ItemStage, consistency: Consistency) -> Result<u64, StateError> {
        seen::look_again(work, stage, &self.source()?, consistency == Consistency::Quiesced)
    }

    fn restore(&self, work: &Work, stage: &ItemStage, observed: &Observed) -> Result<(), StateError> {
        let observed = Self::expected(observed)?;
        let list = stage.folder.join("files.jsonl");
        listing::check_digest(&list, &observed.digest)?;
        let place = restore::Place::find(Path::new(&self.declared.path))?;
        if !place.is_empty()? {
            // Perhaps an earlier run did it all.
            if self.compare(work, &place.path, stage, observed)?.wrong.is_empty() {
                return Ok(());
            }
            let message = format!("`{}` is not empty", place.path.display());
            return Err(StateError::refused(ErrorClass::NotEmpty, message)
                .with_hint("Restoring goes only into an empty place; move what is there away first"));
        }
        place.fill(work, &self.accounts, &stage.folder.join("tree"), &list, observed.in_use)
    }

    fn verify(&self, work: &Work, stage: &ItemStage, observed: &Observed) -> Result<Report, StateError> {
        let observed = Self::expected(observed)?;
        let list = stage.folder.join("files.jsonl");
        listing::check_digest(&list, &observed.digest)?;
        let found = self.compare(work, &self.source()?, stage, observed)?;
        if found.wrong.is_empty() {
            let checks =
                vec![format!("{} files with {} bytes have the recorded digests", observed.files, observed.bytes)];
            let note = format!(
                "{} entries of `{}` moved while they were captured; they are as they were stored",
                found.moved, self.declared.path
            );
            return Ok(Report { checks, notes: if found.moved == 0 { Vec::new() } else { vec![note] } });
        }
        let message = format!("`{}` differs from the snapshot: {}", self.declared.path, found.wrong.join(", "));
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
    /// Compares a folder with what was captured.
    fn compare(
        &self,
        work: &Work,
        folder: &Path,
        stage: &ItemStage,
        observed: &ObservedDirectory,
    ) -> Result<Beside, StateError> {
        let tree = observed.in_use.then(|| stage.folder.join("tree"));
        Walk::compare(work, self, folder, &stage.folder.join("files.jsonl"), tree)
    }
}
