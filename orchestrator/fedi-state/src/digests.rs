//! What is known of the files of the last snapshot that was stored: their digests, and
//! when they count. They make the next capture fast and are never needed for it; what
//! is damaged or not surely of that snapshot is dropped.
//!
//! ```text
//! snapshot.json    the snapshot, and the digest of each file beside it; written last
//! <item>           one line an entry of the item's folder, in the order of a walk
//! <item>.new       the same of a capture that is not stored yet
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::StateError;
use crate::listing::{Reader, Writer, check_digest};
use crate::sums;

const SCHEMA: u32 = 1;
const NEW: &str = "new";

/// The folder of digests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Digests {
    folder: PathBuf,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    schema: u32,
    snapshot: String,
    items: BTreeMap<String, String>,
}

impl Digests {
    pub(crate) fn in_folder(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// Of which snapshot they are.
    pub(crate) fn snapshot(&self) -> Option<String> {
        self.header().map(|header| header.snapshot)
    }

    /// What is known of an item; nothing if it is not whole.
    pub(crate) fn of(&self, item: &str) -> Result<Option<Reader>, StateError> {
        let Some(digest) = self.header().and_then(|mut header| header.items.remove(item)) else { return Ok(None) };
        let path = self.folder.join(item);
        if check_digest(&path, &digest).is_err() {
            self.drop_all()?;
            return Ok(None);
        }
        Reader::open(&path).map(Some)
    }

    /// Forgets of which snapshot they are: the repository is then asked for nothing, and
    /// everything is stored anew.
    pub(crate) fn drop_all(&self) -> Result<(), StateError> {
        gone(&self.header_path())
    }

    /// What a capture finds of an item.
    pub(crate) fn create(&self, item: &str) -> Result<Writer, StateError> {
        Writer::create(&self.new_path(item))
    }

    /// What the capture found, which is not stored yet.
    pub(crate) fn of_capture(&self, item: &str) -> Result<Reader, StateError> {
        Reader::open(&self.new_path(item))
    }

    /// What was captured is the snapshot's. Cut off anywhere, it is as good as nothing.
    pub(crate) fn commit(&self, snapshot: &str) -> Result<(), StateError> {
        self.drop_all()?;
        let reading = || StateError::file::<io::Error>("read", &self.folder);
        let mut items = BTreeMap::new();
        for entry in fs::read_dir(&self.folder).map_err(reading())? {
            let new = entry.map_err(reading())?.path();
            if new.extension().is_none_or(|extension| extension != NEW) {
                continue;
            }
            let path = new.with_extension("");
            let digest = sums::of_file(&new)?;
            fs::rename(&new, &path).map_err(StateError::file("write", &path))?;
            if let Some(item) = path.file_name().and_then(|name| name.to_str()) {
                items.insert(item.to_owned(), digest);
            }
        }
        let header = Header { schema: SCHEMA, snapshot: snapshot.to_owned(), items };
        let text = serde_json::to_vec(&header)
            .map_err(|error| StateError::damaged(format!("Digests cannot be expressed: {error}")))?;
        let (path, new) = (self.header_path(), self.folder.join("snapshot.json.part"));
        let written = fs::write(&new, text).and_then(|()| File::open(&new)?.sync_all());
        written.and_then(|()| fs::rename(&new, &path)).map_err(StateError::file("write", &path))
    }

    fn header(&self) -> Option<Header> {
        // Whatever is wrong with it, it is as good as none.
        let header: Header = serde_json::from_slice(&fs::read(self.header_path()).ok()?).ok()?;
        (header.schema == SCHEMA).then_some(header)
    }

    fn header_path(&self) -> PathBuf {
        self.folder.join("snapshot.json")
    }

    fn new_path(&self, item: &str) -> PathBuf {
        self.folder.join(item).with_extension(NEW)
    }
}

fn gone(path: &Path) -> Result<(), StateError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StateError::file("remove", path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_count_for_one_snapshot_and_whole() {
        let place = tempfile::tempdir().unwrap();
        let digests = Digests::in_folder(place.path());
        let fill = || {
            let mut writer = digests.create("media").unwrap();
            writer.line(&"a line").unwrap();
            writer.finish().unwrap();
        };
        fill();
        assert!(digests.of("media").unwrap().is_none() && digests.snapshot().is_none());
        digests.commit("one").unwrap();
        // Another capture begins, and is never stored.
        fill();
        assert_eq!(digests.snapshot().as_deref(), Some("one"));
        let line: Option<String> = digests.of("media").unwrap().unwrap().next().unwrap();
        assert_eq!(line.as_deref(), Some("a line"));
        assert!(digests.of("other").unwrap().is_none());

        fs::write(place.path().join("media"), "\"another\"\n").unwrap();
        assert!(digests.of("media").unwrap().is_none());
        assert_eq!(digests.snapshot(), None);
        digests.commit("two").unwrap();
        for text in ["", "{", r#"{ "schema": 2, "snapshot": "two", "items": {} }"#] {
            fs::write(place.path().join("snapshot.json"), text).unwrap();
            assert!(digests.of("media").unwrap().is_none() && digests.snapshot().is_none(), "{text}");
        }
    }
}
