//! Cgroups as handles on whole families of processes: joined before anything is started, killed with one write.
//!
//! On a machine with cgroup v2 alone a [`Cgroup`] is one folder. On a hybrid one it is two of the same name, in
//! the unified hierarchy and in systemd's own (`name=systemd`), because systemd-nspawn keeps both in step.
//! Source: Documentation/admin-guide/cgroup-v2.rst (`cgroup.kill`, `cgroup.events`), Linux 5.14 and later.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::{Result, SandboxError};

const MOUNT: &str = "/sys/fs/cgroup";

/// A cgroup, which may not exist yet.
#[derive(Debug, Clone)]
pub(crate) struct Cgroup {
    /// The same group in every hierarchy that matters; the first is cgroup v2.
    folders: Vec<PathBuf>,
}

impl Cgroup {
    /// The group of this name at the top of the hierarchy.
    pub(crate) fn top(name: &str) -> Result<Self> {
        Ok(Self { folders: hierarchies()?.into_iter().map(|root| root.join(name)).collect() })
    }

    /// A group below this one.
    pub(crate) fn child(&self, name: &str) -> Self {
        Self { folders: self.folders.iter().map(|folder| folder.join(name)).collect() }
    }

    /// Makes the group and its parents.
    pub(crate) fn create(&self) -> Result<()> {
        for folder in &self.folders {
            fs::create_dir_all(folder)
                .map_err(SandboxError::io(format!("create the cgroup `{}`", folder.display())))?;
        }
        Ok(())
    }

    /// Its folders, joined with `:` for the start scripts.
    pub(crate) fn joined(&self) -> String {
        let folders: Vec<_> = self.folders.iter().map(|folder| folder.display().to_string()).collect();
        folders.join(":")
    }

    /// Whether it exists at all.
    pub(crate) fn exists(&self) -> bool {
        self.folders.iter().any(|folder| folder.exists())
    }

    /// Whether any process lives in it or below it.
    pub(crate) fn populated(&self) -> bool {
        fs::read_to_string(self.folders[0].join("cgroup.events"))
            .is_ok_and(|text| text.lines().any(|line| line == "populated 1"))
    }

    /// Every process in it or below it.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let mut found = Vec::new();
        let mut folders = vec![self.folders[0].clone()];
        while let Some(folder) = folders.pop() {
            let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
            found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
            folders.extend(children(&folder));
        }
        found
    }

    /// Names of the groups directly below it.
    #[cfg(test)]
    pub(crate) fn names(&self) -> Vec<String> {
        children(&self.folders[0]).into_iter().filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect()
    }

    /// Kills everything in it and below it and removes it. No error when there is none.
    pub(crate) fn kill(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.exists() {
            let kill = self.folders[0].join("cgroup.kill");
            if kill.exists() {
                // The group may vanish between the two; then there is nothing left to kill.
                let _ = fs::write(&kill, "1");
            }
            if !self.populated() {
                self.folders.iter().for_each(|folder| remove_tree(folder));
            }
            if Instant::now() > deadline {
                return Err(SandboxError::Leftover(format!("the cgroup `{}`", self.folders[0].display())));
            }
            if self.exists() {
                sleep(Duration::from_millis(10));
            }
        }
        Ok(())
    }
}

/// Removes empty groups from the leaves up; one that is not empty stays, and the caller looks again.
fn remove_tree(folder: &Path) {
    for child in children(folder) {
        remove_tree(&child);
    }
    let _ = fs::remove_dir(folder);
}

fn children(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

fn hierarchies() -> Result<Vec<PathBuf>> {
    let mount = Path::new(MOUNT);
    let unified = mount.join("unified");
    let systemd = mount.join("systemd");
    let found = if mount.join("cgroup.procs").exists() {
        vec![mount.to_owned()]
    } else if unified.join("cgroup.procs").exists() {
        let mut both = vec![unified];
        both.extend(systemd.join("cgroup.procs").exists().then_some(systemd));
        both
    } else {
        return Err(SandboxError::NoCgroup);
    };
    Ok(found)
}
