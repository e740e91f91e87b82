//! A system profile: `system` -> `system-<n>-link` -> the system. Nix's own
//! layout (nix-env(1), "Profiles"), for prebuilt systems too.

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use super::{FEDI_PROFILES, NIX_PROFILES};
use crate::command;
use crate::error::GuestError;
use crate::file;
use crate::guest::Guest;
use crate::protocol::{ErrorKind, Generation, Generations};

/// `nix-env` may wait for a garbage collection's lock.
const NIX_LIMIT: Duration = Duration::from_secs(300);

/// A folder with a system profile in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Profile {
    folder: PathBuf,
}

impl Profile {
    /// The profile in this folder.
    pub(crate) fn at(folder: &Path) -> Result<Self, GuestError> {
        let plain = folder.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
        if !plain || !(folder.starts_with(NIX_PROFILES) || folder == Path::new(FEDI_PROFILES)) {
            let message = format!("`{}` is no folder of system profiles", folder.display());
            return Err(GuestError::refused(ErrorKind::Invalid, message)
                .with_hint(format!("Use `{NIX_PROFILES}` for NixOS, `{FEDI_PROFILES}` for prebuilt systems")));
        }
        Ok(Self { folder: folder.to_owned() })
    }

    /// The folder asked for, or the one that has a profile, NixOS's first.
    pub(crate) fn chosen(guest: &Guest, folder: Option<&Path>) -> Result<Self, GuestError> {
        match folder {
            Some(folder) => Self::at(folder),
            None if guest.link(Path::new(NIX_PROFILES).join("system"))?.is_some() => Self::at(Path::new(NIX_PROFILES)),
            None => Self::at(Path::new(FEDI_PROFILES)),
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    fn is_nix(&self) -> bool {
        self.folder.starts_with(NIX_PROFILES)
    }

    fn link(&self) -> PathBuf {
        self.folder.join("system")
    }

    fn generation_link(&self, number: u64) -> PathBuf {
        self.folder.join(format!("system-{number}-link"))
    }

    /// Number and system of the current generation.
    pub(crate) fn current(&self, guest: &Guest) -> Result<Option<(u64, PathBuf)>, GuestError> {
        let Some(target) = guest.link(self.link())? else { return Ok(None) };
        let damaged = |what: &str| GuestError::Damaged { path: guest.path(self.link()), what: what.to_owned() };
        let name = target.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let number = number_of(name).ok_or_else(|| damaged("it leads to no generation"))?;
        match guest.link(self.generation_link(number))? {
            Some(system) => Ok(Some((number, system))),
            None => Err(damaged("its generation is gone")),
        }
    }

    /// Where a generation leads.
    pub(crate) fn system_of(&self, guest: &Guest, number: u64) -> Result<PathBuf, GuestError> {
        guest.link(self.generation_link(number))?.ok_or_else(|| {
            GuestError::refused(ErrorKind::Missing, format!("There is no generation {number}"))
                .with_hint("`fedi-guest generations` lists those there are")
        })
    }

    /// All generations, oldest first.
    pub(crate) fn generations(&self, guest: &Guest) -> Result<Generations, GuestError> {
        let current = self.current(guest)?.map(|current| current.0);
        let running = super::running(guest)?;
        let mut generations = Vec::new();
        for name in file::names(&guest.path(&self.folder))? {
            let Some(number) = number_of(&name) else { continue };
            let Some(system) = guest.link(self.folder.join(&name))? else { continue };
            let made = fs::symlink_metadata(guest.path(self.folder.join(&name))).and_then(|found| found.modified());
            generations.push(Generation {
                number,
                created: made.ok().and_then(|time| Timestamp::try_from(time).ok()),
                current: current == Some(number),
                running: running.as_ref() == Some(&system),
                system,
            });
        }
        generations.sort_by_key(|generation| generation.number);
        Ok(Generations { profile: self.folder.clone(), generations })
    }

    /// Makes `system` the current generation, a new one unless it already is.
    /// Returns its number.
    pub(crate) fn set(&self, guest: &Guest, system: &Path) -> Result<u64, GuestError> {
        if self.is_nix() {
            let mut nix_env = self.nix_env(guest);
            nix_env.arg("--set").arg(system);
            command::succeed(nix_env, NIX_LIMIT)?;
        } else if self.current(guest)?.is_none_or(|(_, current)| current != system) {
            file::folder(&guest.path("/var/lib/fedi"), 0o711)?;
            file::folder(&guest.path(&self.folder), 0o755)?;
            let last = self.generations(guest)?.generations.last().map_or(0, |generation| generation.number);
            file::replace_link(system, &guest.path(self.generation_link(last + 1)))?;
            self.point_to(guest, last + 1)?;
        }
        match self.current(guest)? {
            Some((number, current)) if current == system => Ok(number),
            _ => Err(GuestError::Damaged { path: guest.path(self.link()), what: "it did not change".to_owned() }),
        }
    }

    /// Makes an existing generation the current one.
    pub(crate) fn switch(&self, guest: &Guest, number: u64) -> Result<(), GuestError> {
        self.system_of(guest, number)?;
        if self.is_nix() {
            let mut nix_env = self.nix_env(guest);
            nix_env.arg("--switch-generation").arg(number.to_string());
            return command::succeed(nix_env, NIX_LIMIT).map(drop);
        }
        self.point_to(guest, number)
    }

    /// Removes generations. What they lead to stays.
    pub(crate) fn remove(&self, guest: &Guest, numbers: &[u64]) -> Result<(), GuestError> {
        if numbers.is_empty() {
            return Ok(());
        }
        if self.is_nix() {
            let mut nix_env = self.nix_env(guest);
            nix_env.arg("--delete-generations").args(numbers.iter().map(u64::to_string));
            return command::succeed(nix_env, NIX_LIMIT).map(drop);
        }
        numbers.iter().try_for_each(|number| file::remove(&guest.path(self.generation_link(*number))))
    }

    fn nix_env(&self, guest: &Guest) -> std::process::Command {
        let mut nix_env = guest.command("nix-env");
        nix_env.env("HOME", "/root").arg("--profile").arg(self.link());
        nix_env
    }

    fn point_to(&self, guest: &Guest, number: u64) -> Result<(), GuestError> {
        let name = format!("system-{number}-link");
        file::replace_link(Path::new(&name), &guest.path(self.link()))
    }
}

/// `system-7-link` is 7.
fn number_of(name: &str) -> Option<u64> {
    name.strip_prefix("system-")?.strip_suffix("-link")?.parse().ok()
}
