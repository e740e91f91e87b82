//! The stage: the folder that state is captured into and restored from. Restic
//! takes it as it is, and a person can read it without fedi (`docs/snapshot.md`):
//!
//! ```text
//! README            how to read the rest
//! snapshot.json     written last; without it the stage is unfinished
//! items/<item>/     one folder an item, in the form of its kind
//! memory/           what no backup holds
//! ```
//!
//! Folders of files are no copies: they show in the stage while it is stored
//! ([`Stage::shown`]).

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::digests::Digests;
use crate::error::{ErrorClass, StateError};
use crate::remove::remove_folder;
use crate::snapshot::Snapshot;

const README: &str = include_str!("stage_readme.txt");

/// A stage. Only its owner reads what lies in it; others may pass through, as a
/// database's own programs must.
#[derive(Debug, Clone)]
pub struct Stage {
    root: PathBuf,
    digests: PathBuf,
}

/// Where one item lies in a stage.
#[derive(Debug, Clone)]
pub struct ItemStage {
    /// The item's name in the contract.
    pub name: String,
    /// Its folder, which is there.
    pub folder: PathBuf,
    /// A file that is no part of the snapshot: what the kind remembers between captures
    /// into the same stage. Other files may have its name and an extension.
    pub memory: PathBuf,
    /// What is known of the files of the last snapshot that was stored.
    pub(crate) digests: Digests,
}

impl Stage {
    /// Opens a stage to read.
    pub fn open(root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        Self { digests: root.join("memory/digests"), root }
    }

    /// Makes or reuses a stage to capture into. From here on it is unfinished.
    pub fn begin(root: impl Into<PathBuf>) -> Result<Self, StateError> {
        let root = root.into();
        let digests = root.join("memory/digests");
        Self::begin_with(root, digests)
    }

    /// As [`Stage::begin`], with what is known of the last snapshot in a folder that
    /// outlives the stage. Without it everything is read again; nothing else depends on it.
    pub fn begin_with(root: impl Into<PathBuf>, digests: impl Into<PathBuf>) -> Result<Self, StateError> {
        let stage = Self { root: root.into(), digests: digests.into() };
        match fs::remove_file(stage.manifest()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(StateError::file("remove", &stage.manifest())(error));
            }
            _ => {}
        }
        for folder in [stage.root.clone(), stage.root.join("items"), stage.root.join("memory")] {
            make_folder(&folder, 0o711)?;
        }
        make_folder(&stage.digests, 0o700)?;
        crate::tree::forget(&stage)?;
        let readme = stage.root.join("README");
        fs::write(&readme, README).map_err(StateError::file("write", &readme))?;
        Ok(stage)
    }

    /// Its folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What a backup of the stage leaves out.
    pub(crate) fn memory(&self) -> PathBuf {
        self.root.join("memory")
    }

    /// What is known of the files of the last snapshot that was stored.
    pub(crate) fn digests(&self) -> Digests {
        Digests::in_folder(&self.digests)
    }

    /// Notes that the stage was stored as this snapshot, and that each kind found its
    /// source unmoved: the next capture reads only what differs from it.
    pub fn stored(&self, snapshot: &str) -> Result<(), StateError> {
        self.digests().commit(snapshot)
    }

    /// The snapshot that was stored last, as far as it is known for sure.
    pub(crate) fn last_stored(&self) -> Option<String> {
        self.digests().snapshot()
    }

    /// Where an item lies.
    pub fn item(&self, name: &str) -> Result<ItemStage, StateError> {
        let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if !plain {
            return Err(StateError::damaged(format!("`{}` is no name of an item", name.escape_default())));
        }
        let folder = self.root.join("items").join(name);
        let memory = self.root.join("memory").join(name);
        Ok(ItemStage { name: name.to_owned(), folder, memory, digests: self.digests() })
    }

    /// Where an item is captured to; its folder is made.
    pub fn item_to_fill(&self, name: &str) -> Result<ItemStage, StateError> {
        let item = self.item(name)?;
        make_folder(&item.folder, 0o700)?;
        Ok(item)
    }

    /// Writes the manifest: the stage is finished. Items that it does not name are removed.
    pub fn finish(&self, snapshot: &Snapshot) -> Result<(), StateError> {
        let items = self.root.join("items");
        for entry in fs::read_dir(&items).map_err(StateError::file("read", &items))? {
            let entry = entry.map_err(StateError::file("read", &items))?;
            if !entry.file_name().to_str().is_some_and(|name| snapshot.items.contains_key(name)) {
                remove_folder(&entry.path())?;
            }
        }
        let mut text = serde_json::to_vec_pretty(snapshot)
            .map_err(|error| StateError::damaged(format!("The snapshot cannot be expressed: {error}")))?;
        text.push(b'\n');
        let (path, new) = (self.manifest(), self.root.join("snapshot.json.new"));
        let written = File::create(&new).and_then(|mut file| file.write_all(&text).and_then(|()| file.sync_all()));
        written.and_then(|()| fs::rename(&new, &path)).map_err(StateError::file("write", &path))
    }

    /// Reads the manifest of a finished stage.
    pub fn read(&self) -> Result<Snapshot, StateError> {
        match fs::read(self.manifest()) {
            Ok(text) => Snapshot::from_json(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(StateError::refused(
                ErrorClass::Damaged,
                format!("`{}` has no `snapshot.json`: it was never finished", self.root.display()),
            )),
            Err(error) => Err(StateError::file("read", &self.manifest())(error)),
        }
    }

    fn manifest(&self) -> PathBuf {
        self.root.join("snapshot.json")
    }
}

impl ItemStage {
    /// Empties the item's folder.
    pub(crate) fn clear(&self) -> Result<(), StateError> {
        remove_folder(&self.folder)?;
        make_folder(&self.folder, 0o700)
    }

    /// Runs `capture` on the emptied folder; a failure leaves it empty again, so
    /// that half a dump is never taken for a whole one.
    pub(crate) fn filled<T>(&self, capture: impl FnOnce() -> Result<T, StateError>) -> Result<T, StateError> {
        self.clear()?;
        let result = capture();
        if result.is_err() {
            self.clear()?;
        }
        result
    }
}

fn make_folder(path: &Path, mode: u32) -> Result<(), StateError> {
    let failed = |error| StateError::file("make", path)(error);
    fs::DirBuilder::new().recursive(true).mode(mode).create(path).map_err(failed)?;
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(StateError::file("change", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unfinished_stage_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let stage = Stage::begin(place.path().join("stage")).unwrap();
        assert_eq!(stage.read().unwrap_err().class(), ErrorClass::Damaged);
    }

    #[test]
    fn names_do_not_lead_out() {
        let stage = Stage::open("/nonexistent");
        for name in ["", "..", "a/b", "a\n", "."] {
            assert!(stage.item(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_failed_capture_leaves_nothing() {
        let place = tempfile::tempdir().unwrap();
        let item = Stage::begin(place.path()).unwrap().item_to_fill("db").unwrap();
        let failed = item.filled(|| {
            fs::write(item.folder.join("half"), "x").unwrap();
            Err::<(), _>(StateError::damaged("no"))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read_dir(&item.folder).unwrap().count(), 0);
    }
}
