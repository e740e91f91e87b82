//! The folder of one sandbox: `~/.cache/fedi/sandbox/<name>/`, readable by root alone.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::{Result, SandboxError};

/// Paths inside a sandbox's folder.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) root: PathBuf,
}

impl Layout {
    /// `FEDI_CONFIG_DIR` of commands that run in the sandbox.
    pub(crate) fn config(&self) -> PathBuf {
        self.root.join("config")
    }

    /// `FEDI_STATE_DIR` of commands that run in the sandbox.
    pub(crate) fn state(&self) -> PathBuf {
        self.root.join("state")
    }

    /// `resolv.conf` and `nsswitch.conf` of every process in the sandbox.
    pub(crate) fn etc(&self) -> PathBuf {
        self.root.join("etc")
    }

    pub(crate) fn dns(&self) -> PathBuf {
        self.root.join("dns")
    }

    pub(crate) fn acme(&self) -> PathBuf {
        self.root.join("acme")
    }

    /// What the server for repositories of snapshots keeps.
    pub(crate) fn repositories(&self) -> PathBuf {
        self.root.join("repositories")
    }

    /// The root certificate of the sandbox's certificate authority.
    pub(crate) fn ca(&self) -> PathBuf {
        self.root.join("ca.pem")
    }

    pub(crate) fn host(&self, name: &str) -> PathBuf {
        self.root.join("hosts").join(name)
    }

    /// The disk image of guests.
    pub(crate) fn image(&self) -> PathBuf {
        self.root.join("images/guest.qcow2")
    }

    /// One folder an application, each a prebuilt system.
    pub(crate) fn systems(&self) -> PathBuf {
        self.root.join("systems")
    }

    /// The same systems with a unit that fails.
    pub(crate) fn broken_systems(&self) -> PathBuf {
        self.root.join("broken-systems")
    }

    /// Logs stay after `down`.
    pub(crate) fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    pub(crate) fn log(&self, part: &str) -> PathBuf {
        self.logs().join(format!("{part}.log"))
    }

    /// Makes the folders.
    pub(crate) fn create(&self) -> Result<()> {
        let folders =
            [self.root.clone(), self.config(), self.state(), self.etc(), self.dns(), self.acme(), self.logs()];
        for folder in folders {
            private_folder(&folder)?;
        }
        Ok(())
    }

    /// Removes everything but the logs.
    pub(crate) fn remove(&self) -> Result<()> {
        let Ok(entries) = fs::read_dir(&self.root) else { return Ok(()) };
        for path in entries.flatten().map(|entry| entry.path()).filter(|path| *path != self.logs()) {
            let removed =
                if path.is_dir() && !path.is_symlink() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(SandboxError::io(format!("remove `{}`", path.display())))?;
        }
        Ok(())
    }
}

/// A folder that only root may enter, with its parents.
pub(crate) fn private_folder(path: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(SandboxError::io(format!("create `{}`", path.display())))
}

/// Writes a file that only root may read, whole or not at all.
pub(crate) fn private_file(path: &Path, content: &[u8]) -> Result<()> {
    let write = || {
        let new = path.with_extension("new");
        let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(content)?;
        fs::rename(&new, path)
    };
    if let Some(folder) = path.parent() {
        private_folder(folder)?;
    }
    write().map_err(SandboxError::io(format!("write `{}`", path.display())))
}

/// A secret that is made once: what the file holds, or what `make` gives.
pub(crate) fn kept(path: &Path, make: impl FnOnce() -> String) -> Result<String> {
    if let Ok(text) = fs::read_to_string(path) {
        return Ok(text.trim().to_owned());
    }
    let text = make();
    private_file(path, format!("{text}\n").as_bytes())?;
    Ok(text)
}
