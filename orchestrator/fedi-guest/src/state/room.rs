//! Whether there is room, asked before anything is written.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::statvfs;

use crate::error::GuestError;
use crate::protocol::ErrorKind;

/// What is left free for everybody else, in bytes.
const SPARE: u64 = 64 << 20;

/// Refuses a file system without room for `bytes` and a little more. A small disk is not
/// asked for more than a tenth of it.
pub(super) fn check(folder: &Path, bytes: u64, what: &str) -> Result<(), GuestError> {
    let found = statvfs(folder).map_err(|error| GuestError::file("look at", folder)(error.into()))?;
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let spare = SPARE.min(found.f_blocks.saturating_mul(found.f_frsize) / 10);
    if free >= bytes.saturating_add(spare) {
        return Ok(());
    }
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    let message = format!("{what} needs {} MiB in `{}`; {} MiB are free", mib(bytes), folder.display(), mib(free));
    Err(GuestError::refused(ErrorKind::DiskFull, message)
        .with_hint("Grow the state disk (`resources.state-gib`), or make room on the guest; nothing was touched"))
}

/// Whether two places, or the nearest folders above them that exist, are on one file system.
pub(super) fn same_disk(one: &Path, other: &Path) -> bool {
    let device = |path: &Path| path.ancestors().find_map(|path| path.metadata().ok()).map(|found| found.dev());
    device(one) == device(other)
}
