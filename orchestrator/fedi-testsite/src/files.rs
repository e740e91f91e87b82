//! State in JSON files that several processes share: read, changed and put back whole,
//! one at a time.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A folder of JSON files.
#[derive(Debug, Clone)]
pub(crate) struct Files(PathBuf);

impl Files {
    /// The files in `folder`, which is made.
    pub(crate) fn new(folder: PathBuf) -> Self {
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(format!("{name}.json"))
    }

    pub(crate) fn read<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        match fs::read(self.path(name)) {
            Ok(json) => Some(serde_json::from_slice(&json).unwrap()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => panic!("{}: {error}", self.path(name).display()),
        }
    }

    /// Changes the file of that name; `None` stands for none, before and after.
    pub(crate) fn change<T, R>(&self, name: &str, change: impl FnOnce(&mut Option<T>) -> R) -> R
    where
        T: Serialize + DeserializeOwned,
    {
        let _lock = self.lock();
        let mut content = self.read(name);
        let result = change(&mut content);
        match content {
            Some(content) => replace(&self.path(name), &serde_json::to_vec(&content).unwrap()),
            None => match fs::remove_file(self.path(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => panic!("{error}"),
                _ => {}
            },
        }
        result
    }

    /// The names of all files, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = entries.filter_map(|name| name.strip_suffix(".json").map(str::to_owned)).collect();
        names.sort();
        names
    }

    /// Held by one at a time, over processes and over tasks of one.
    fn lock(&self) -> File {
        let file = File::create(self.0.join("lock")).unwrap();
        file.lock().unwrap();
        file
    }
}

fn replace(path: &Path, content: &[u8]) {
    let new = path.with_extension("new");
    fs::write(&new, content).unwrap();
    fs::rename(&new, path).unwrap();
}
