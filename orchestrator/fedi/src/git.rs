//! Tells git of a file that fedi has written. A flake in a git repository has only the
//! files that git knows of, and Nix builds systems out of the inventory's flake.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::CommandError;

/// Lets git know that `file` will be added, where the inventory is in git: an entry without
/// content in its index, as `git add --intent-to-add` makes it.
pub(crate) fn announce(file: &Path) -> Result<(), CommandError> {
    if !repository(file) {
        return Ok(());
    }
    run(file, ["add", "--intent-to-add"])
}

/// Takes that back.
pub(crate) fn withdraw(file: &Path) -> Result<(), CommandError> {
    if !repository(file) {
        return Ok(());
    }
    run(file, ["rm", "--quiet", "--cached"])
}

fn repository(file: &Path) -> bool {
    let folder = file.parent().unwrap_or(Path::new("."));
    folder.ancestors().any(|folder| folder.join(".git").exists())
}

fn run<const N: usize>(file: &Path, arguments: [&str; N]) -> Result<(), CommandError> {
    let failed = || {
        let command = ["git", arguments[0]].join(" ");
        CommandError::refused(format!("Failed to tell git of `{}` (`{command}`)", file.display()))
            .hint("Nix sees only the files of a repository that git knows")
    };
    let (folder, name): (PathBuf, &OsStr) = match (file.parent(), file.file_name()) {
        (Some(folder), Some(name)) => (folder.to_owned(), name),
        _ => return Err(failed()),
    };
    let output = Command::new("git")
        .current_dir(folder)
        .args(arguments)
        .arg("--")
        .arg(name)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed().because(&error))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed().cause(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}
