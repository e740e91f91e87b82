//! A guest's disks: sparse files with ext4, of the size that the VM's configuration says.

use std::fs::{self, File};
use std::path::Path;

use crate::command::output;
use crate::{Result, SandboxError};

/// Makes the disk unless it is there. It is formatted under another name and then renamed.
///
/// No journal: a killed guest loses nothing that the kernel had, and a crash of the whole machine ends the sandbox.
pub(super) fn ensure(path: &Path, bytes: u64) -> Result<()> {
    let what = || format!("create the disk `{}`", path.display());
    if path.exists() {
        return Ok(());
    }
    let new = path.with_extension("new");
    File::create(&new).and_then(|file| file.set_len(bytes)).map_err(SandboxError::io(what()))?;
    let options = ["-q", "-F", "-m", "0", "-O", "^has_journal", "-E", "lazy_itable_init=1,nodiscard,root_owner=0:0"];
    output(&what(), "mkfs.ext4", options.iter().map(AsRef::as_ref).chain([new.as_os_str()]))?;
    fs::rename(&new, path).map_err(SandboxError::io(what()))
}
