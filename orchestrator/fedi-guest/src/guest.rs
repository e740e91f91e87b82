//! The machine the agent works on: its file system and its programs. Every path
//! of the agent goes through [`Guest::path`], so that tests give it another root.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::time::{ClockId, clock_gettime};
use uuid::Uuid;

use crate::error::GuestError;
use crate::file;

/// Where programs are looked for besides the agent's own `PATH`: a session that
/// sshd starts without a login shell has a poor one.
const SEARCH_PATH: &str =
    "/run/wrappers/bin:/run/current-system/sw/bin:/nix/var/nix/profiles/default/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The machine the agent works on.
#[derive(Debug, Clone)]
pub struct Guest {
    root: PathBuf,
    search_path: OsString,
}

impl Guest {
    /// This machine.
    pub fn this_machine() -> Self {
        let mut search_path = OsString::from(SEARCH_PATH);
        if let Some(path) = std::env::var_os("PATH").filter(|path| !path.is_empty()) {
            search_path.push(":");
            search_path.push(path);
        }
        Self { root: PathBuf::from("/"), search_path }
    }

    /// A folder that stands for a machine, with programs from `tools` before all others.
    pub fn in_folder(root: &Path, tools: &Path) -> Self {
        let mut search_path = tools.as_os_str().to_owned();
        search_path.push(":/usr/sbin:/usr/bin:/sbin:/bin");
        Self { root: root.to_owned(), search_path }
    }

    /// Where `absolute`, a path on the guest, is for this process.
    pub(crate) fn path(&self, absolute: impl AsRef<Path>) -> PathBuf {
        let absolute = absolute.as_ref();
        self.root.join(absolute.strip_prefix("/").unwrap_or(absolute))
    }

    /// A program of the guest, with an environment that depends on nothing but this.
    pub(crate) fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command.env_clear().env("PATH", &self.search_path).env("LC_ALL", "C.UTF-8").current_dir("/");
        command
    }

    /// Where programs are looked for.
    pub(crate) fn program_folders(&self) -> Vec<PathBuf> {
        std::env::split_paths(&self.search_path).collect()
    }

    /// What a symbolic link says, `None` where there is none.
    pub(crate) fn link(&self, absolute: impl AsRef<Path>) -> Result<Option<PathBuf>, GuestError> {
        let path = self.path(absolute);
        match std::fs::read_link(&path) {
            Ok(target) => Ok(Some(target)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(GuestError::file("read the link", &path)(error)),
        }
    }

    /// The guest's identity. `/etc/fedi/guest-uuid` is for machines without an
    /// SMBIOS of their own (containers) and comes first, as such a machine may
    /// see its host's.
    pub fn uuid(&self) -> Result<Option<Uuid>, GuestError> {
        let path = self.path("/etc/fedi/guest-uuid");
        if let Some(text) = file::read_text(&path)? {
            let damaged = |_| GuestError::Damaged { path, what: "it holds no uuid".to_owned() };
            return Uuid::parse_str(text.trim()).map(Some).map_err(damaged);
        }
        // A board's firmware may say `Not Settable`, which is no uuid.
        let text = file::read_text(&self.path("/sys/class/dmi/id/product_uuid"))?;
        Ok(text.and_then(|text| Uuid::parse_str(text.trim()).ok()))
    }

    /// An id that changes with every boot.
    pub(crate) fn boot_id(&self) -> Result<String, GuestError> {
        let path = self.path("/proc/sys/kernel/random/boot_id");
        Ok(file::read_text(&path)?.unwrap_or_default().trim().to_owned())
    }
}

/// Milliseconds since boot; goes on while the machine sleeps, never jumps.
pub(crate) fn since_boot_ms() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000
}
