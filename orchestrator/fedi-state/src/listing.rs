//! `files.jsonl`: one line an entry of a folder, in the order of a walk that takes
//! each folder's names in the order of their bytes. Readable without fedi; its own
//! SHA-256 stands in the snapshot manifest.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::fs::Stat;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::directory::attributes;
use crate::error::StateError;
use crate::sums;

/// One entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Entry {
    /// Path below the folder, `.` for the folder itself.
    pub path: Name,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: EntryKind,
    /// Permissions, octal digits.
    pub mode: String,
    /// Owner's name, or number if it has none.
    pub owner: String,
    /// Group's name, or number if it has none.
    pub group: String,
    /// Time of the last change to the content: seconds, a dot, nanoseconds.
    pub mtime: String,
    /// Extended attributes in base64.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub xattrs: BTreeMap<String, String>,
    /// Bytes, of a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Digest of a file's content; of a hard link, that of the first name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Whether the file has holes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sparse: bool,
    /// Whether it was being written while it was digested, so that the digest means nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub moving: bool,
    /// Where a symbolic link leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Name>,
    /// The first name of a file with several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same_as: Option<Name>,
}

impl Entry {
    /// Whether a stored file is another than the one that was digested, by its own times.
    pub(crate) fn is_newer(&self, stored: &Stat) -> bool {
        self.moving || self.size != Some(attributes::size(stored)) || self.mtime != attributes::mtime(stored)
    }
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum EntryKind {
    File,
    Folder,
    Link,
}

/// A name of a file: any bytes but NUL. JSON text where it is UTF-8, else
/// `{"base64": "..."}`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Name(pub Vec<u8>);

impl Name {
    pub(crate) fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// Whether the path stays below the folder and is written in the one way.
    pub(crate) fn is_plain(&self) -> bool {
        self.0 == b"."
            || self
                .0
                .split(|b| *b == b'/')
                .all(|part| !part.is_empty() && part != b"." && part != b".." && !part.contains(&0))
    }
}

impl std::fmt::Debug for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum WrittenName {
    Text(String),
    Bytes { base64: String },
}

impl Serialize for Name {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => WrittenName::Bytes { base64: STANDARD.encode(&self.0) }.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match WrittenName::deserialize(deserializer)? {
            WrittenName::Text(text) => Ok(Self(text.into_bytes())),
            WrittenName::Bytes { base64 } => STANDARD.decode(base64).map(Self).map_err(serde::de::Error::custom),
        }
    }
}

/// Writes lines and digests them.
pub(crate) struct Writer {
    path: std::path::PathBuf,
    file: Option<BufWriter<File>>,
    hash: Sha256,
}

impl Writer {
    pub(crate) fn create(path: &Path) -> Result<Self, StateError> {
        let file = File::create(path).map_err(StateError::file("write", path))?;
        Ok(Self { path: path.to_owned(), file: Some(BufWriter::new(file)), hash: Sha256::new() })
    }

    /// Only digests.
    pub(crate) fn nowhere() -> Self {
        Self { path: std::path::PathBuf::new(), file: None, hash: Sha256::new() }
    }

    pub(crate) fn line(&mut self, line: &impl Serialize) -> Result<(), StateError> {
        let mut text = serde_json::to_vec(line)
            .map_err(|error| StateError::damaged(format!("A line cannot be expressed: {error}")))?;
        text.push(b'\n');
        self.hash.update(&text);
        match &mut self.file {
            Some(file) => file.write_all(&text).map_err(StateError::file("write", &self.path)),
            None => Ok(()),
        }
    }

    /// Ends the file; returns its digest.
    pub(crate) fn finish(mut self) -> Result<String, StateError> {
        if let Some(mut file) = self.file.take() {
            file.flush().map_err(StateError::file("write", &self.path))?;
        }
        Ok(format!("{:x}", self.hash.finalize()))
    }
}

/// Reads lines one by one, and digests what it reads.
pub(crate) struct Reader {
    path: std::path::PathBuf,
    file: BufReader<File>,
    text: Vec<u8>,
}

impl Reader {
    pub(crate) fn open(path: &Path) -> Result<Self, StateError> {
        let file = File::open(path).map_err(StateError::file("read", path))?;
        Ok(Self { path: path.to_owned(), file: BufReader::new(file), text: Vec::new() })
    }

    pub(crate) fn next<T: for<'a> Deserialize<'a>>(&mut self) -> Result<Option<T>, StateError> {
        self.text.clear();
        let read = self.file.read_until(b'\n', &mut self.text).map_err(StateError::file("read", &self.path))?;
        if read == 0 {
            return Ok(None);
        }
        serde_json::from_slice(&self.text)
            .map(Some)
            .map_err(|error| StateError::damaged(format!("`{}` does not read: {error}", self.path.display())))
    }
}

/// Refuses a file whose digest is another.
pub(crate) fn check_digest(path: &Path, digest: &str) -> Result<(), StateError> {
    if sums::of_file(path)? == digest {
        return Ok(());
    }
    Err(StateError::damaged(format!("`{}` is not what was captured", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_name_comes_back(bytes in proptest::collection::vec(1_u8.., 1..255)) {
            let name = Name(bytes);
            let text = serde_json::to_string(&name).unwrap();
            prop_assert!(!text.contains('\n'));
            prop_assert_eq!(serde_json::from_str::<Name>(&text).unwrap(), name);
        }
    }

    #[test]
    fn paths_that_lead_out_are_not_plain() {
        for (path, plain) in
            [("a/b", true), (".", true), ("../a", false), ("/a", false), ("a//b", false), ("a/./b", false)]
        {
            assert_eq!(Name(path.as_bytes().to_vec()).is_plain(), plain, "{path}");
        }
    }
}
