//! The file and its folder: only their owner may look.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use crate::store::StoreError;

/// Makes the folder and the file where they are missing. SQLite gives its `-wal` and
/// `-shm` files the mode of the file itself.
pub(super) fn prepare(path: &Path) -> Result<(), StoreError> {
    let unavailable = |error: io::Error| StoreError::Unavailable {
        doing: "make the file",
        place: path.display().to_string(),
        hint: Some("Check that its folder can be written"),
        source: Box::new(error),
    };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(unavailable)?;
        let mode = fs::metadata(folder).map_err(unavailable)?.permissions().mode();
        if mode & 0o022 != 0 {
            return Err(StoreError::Exposed { folder: folder.display().to_string() });
        }
    }
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path).map_err(unavailable)?;
    let mode = file.metadata().map_err(unavailable)?.permissions().mode();
    if mode & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600)).map_err(unavailable)?;
    }
    Ok(())
}
