//! What restic and ssh read by a path, secrets among it: in memory, never on a disk, and
//! gone with this process however it ends.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{MemfdFlags, Mode, fchmod, memfd_create};
use rustix::io::Errno;

use crate::error::StateError;

/// The files of one command; they live as long as this does.
pub(super) struct Files {
    kept: Vec<File>,
    /// What ssh has to say. Restic passes it on only if it happens to read it in time.
    log: PathBuf,
}

impl Files {
    pub(super) fn new() -> Result<Self, StateError> {
        let mut files = Self { kept: Vec::new(), log: PathBuf::new() };
        files.log = files.add("ssh.log", b"")?;
        Ok(files)
    }

    /// Keeps a file; returns where the processes of this user find it. Nobody inherits it.
    pub(super) fn add(&mut self, name: &str, content: &[u8]) -> Result<PathBuf, StateError> {
        let kept = create(name).and_then(|file| {
            let mut file = File::from(file);
            file.write_all(content).map(|()| file)
        });
        let file = kept.map_err(StateError::file("keep in memory", Path::new(name)))?;
        let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()).into();
        self.kept.push(file);
        Ok(path)
    }

    /// Where ssh writes to.
    pub(super) fn log(&self) -> &Path {
        &self.log
    }

    /// What ssh wrote.
    pub(super) fn logged(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

/// An empty file in memory, for this user alone: ssh refuses a key that others may read.
fn create(name: &str) -> io::Result<OwnedFd> {
    // A machine can refuse files in memory that could be run; a kernel before 6.3 does not
    // know how to ask for another.
    let created = match memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => memfd_create(name, MemfdFlags::CLOEXEC),
        other => other,
    }?;
    fchmod(&created, Mode::RUSR | Mode::WUSR)?;
    Ok(created)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    use super::*;

    #[test]
    fn another_process_reads_and_writes_them_until_they_are_dropped() {
        let mut files = Files::new().unwrap();
        let key = files.add("key", b"a secret").unwrap();
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", "cat \"$0\" >>\"$1\"; ls -l /proc/self/fd"]).arg(&key).arg(files.log());
        let output = shell.output().unwrap();
        assert_eq!(files.logged(), "a secret");
        let inherited = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && !inherited.contains("memfd"), "{inherited}");
        drop(files);
        assert!(!fs::read_to_string(key).is_ok_and(|content| content.contains("secret")));
    }
}
