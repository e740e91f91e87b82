//! A folder on a disk for the data that is measured with: gone with its guard, also at a
//! signal.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::tidy::Tidy;

/// Where files of benches lie: on a disk, never in memory.
const ON_DISK: &str = "/var/tmp";

/// The folder.
pub(crate) struct Place {
    root: PathBuf,
    _gone: Tidy,
}

impl Place {
    pub(crate) fn new() -> Result<Self> {
        let root = tempfile::Builder::new().prefix("fedi-bench-").tempdir_in(ON_DISK)?.keep();
        let gone = Tidy::new({
            let root = root.clone();
            move || {
                // Aside first: whoever still writes, when a signal ends all, finds no folder.
                let aside = root.with_extension("gone");
                if let Err(error) = fs::rename(&root, &aside).and_then(|()| fs::remove_dir_all(&aside)) {
                    eprintln!("warning: files of a bench are left in `{}`: {error}", aside.display());
                }
            }
        });
        // Servers run as users of their own.
        fs::set_permissions(&root, fs::Permissions::from_mode(0o755))?;
        Ok(Self { root, _gone: gone })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Removes a folder of it, if it is there; its path.
    pub(crate) fn cleared(&self, name: &str) -> Result<PathBuf> {
        let path = self.path(name);
        clear(&path)?;
        Ok(path)
    }
}

/// Removes a folder, if it is there.
pub(crate) fn clear(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
