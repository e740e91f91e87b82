//! `SHA256SUMS` of an item's folder, in the form that `sha256sum -c` reads. Its
//! own digest stands in the snapshot manifest.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::error::StateError;
use crate::work::Work;

const NAME: &str = "SHA256SUMS";

/// Writes the sums of all files below `folder`, and returns the sums' own digest.
pub(crate) fn write(work: &Work, folder: &Path) -> Result<String, StateError> {
    let text = compute(work, folder)?;
    let path = folder.join(NAME);
    fs::write(&path, &text).map_err(StateError::file("write", &path))?;
    Ok(hex(text.as_bytes()))
}

/// Refuses a folder that is not the one whose sums have that digest.
pub(crate) fn check(work: &Work, folder: &Path, digest: &str) -> Result<(), StateError> {
    let path = folder.join(NAME);
    let written = fs::read_to_string(&path).map_err(StateError::file("read", &path))?;
    if hex(written.as_bytes()) != digest {
        return Err(StateError::damaged(format!("`{}` is not what was captured", path.display())));
    }
    let found = compute(work, folder)?;
    if found == written {
        return Ok(());
    }
    let wrong = written.lines().find(|line| !found.lines().any(|other| other == *line));
    let name = wrong.or_else(|| found.lines().find(|line| !written.lines().any(|other| other == *line)));
    let name = name.and_then(|line| line.split_once("  ")).map_or("", |(_, name)| name);
    Err(StateError::damaged(format!("`{}` is not what was captured", folder.join(name).display())))
}

/// The digest of some bytes.
pub(crate) fn hex(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

/// The digest of a file.
pub(crate) fn of_file(path: &Path) -> Result<String, StateError> {
    let mut file = File::open(path).map_err(StateError::file("read", path))?;
    let mut hash = Sha256::new();
    std::io::copy(&mut file, &mut hash).map_err(StateError::file("read", path))?;
    Ok(format!("{:x}", hash.finalize()))
}

fn compute(work: &Work, folder: &Path) -> Result<String, StateError> {
    let mut names = Vec::new();
    list(folder, "", &mut names)?;
    names.sort();
    let mut meter = work.meter(format!("digest {}", folder.display()), None);
    let mut text = String::new();
    let mut buffer = vec![0; 256 * 1024];
    for name in names {
        let path = folder.join(&name);
        let mut file = File::open(&path).map_err(StateError::file("read", &path))?;
        let mut hash = Sha256::new();
        loop {
            let read = file.read(&mut buffer).map_err(StateError::file("read", &path))?;
            if read == 0 {
                break;
            }
            hash.update(&buffer[..read]);
            meter.add(read as u64, 0)?;
        }
        meter.add(0, 1)?;
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{:x}  {name}", hash.finalize());
    }
    Ok(text)
}

/// Paths below `folder`: those of tools, hence plain text.
fn list(folder: &Path, below: &str, names: &mut Vec<String>) -> Result<(), StateError> {
    let place = folder.join(below);
    for entry in fs::read_dir(&place).map_err(StateError::file("read", &place))? {
        let entry = entry.map_err(StateError::file("read", &place))?;
        let Ok(name) = entry.file_name().into_string() else {
            return Err(StateError::damaged(format!("`{}` does not belong there", entry.path().display())));
        };
        let name = if below.is_empty() { name } else { format!("{below}/{name}") };
        let kind = entry.file_type().map_err(StateError::file("read", &entry.path()))?;
        if kind.is_dir() {
            list(folder, &name, names)?;
        } else if !kind.is_file() || name.contains(['\n', '\\']) {
            return Err(StateError::damaged(format!("`{}` does not belong there", entry.path().display())));
        } else if name != NAME {
            names.push(name);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorClass;

    #[test]
    fn one_altered_byte_a_missing_and_an_additional_file_are_found() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("dump")).unwrap();
        fs::write(place.path().join("dump/a"), "one").unwrap();
        fs::write(place.path().join("b"), "two").unwrap();
        let work = Work::default();
        let digest = write(&work, place.path()).unwrap();
        check(&work, place.path(), &digest).unwrap();
        assert_eq!(check(&work, place.path(), "other").unwrap_err().class(), ErrorClass::Damaged);
        fs::write(place.path().join("dump/a"), "onf").unwrap();
        let error = check(&work, place.path(), &digest).unwrap_err();
        assert!(error.to_string().contains("dump/a"), "{error}");
        fs::write(place.path().join("dump/a"), "one").unwrap();
        fs::write(place.path().join("c"), "").unwrap();
        assert!(check(&work, place.path(), &digest).unwrap_err().to_string().contains("/c"));
        fs::remove_file(place.path().join("c")).unwrap();
        fs::remove_file(place.path().join("b")).unwrap();
        assert!(check(&work, place.path(), &digest).unwrap_err().to_string().contains("/b"));
    }
}
