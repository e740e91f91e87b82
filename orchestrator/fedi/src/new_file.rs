//! A deployment's file that a command has written. It goes again if nothing is begun.

use std::path::PathBuf;

use fedi_model::inventory::{HostFile, SystemDriver};

use crate::error::CommandError;
use crate::git;

/// The file, where git may know of it.
pub(crate) struct NewFile {
    pub(crate) path: PathBuf,
    /// Nix builds the system, and sees only what git knows.
    in_flake: bool,
}

impl NewFile {
    /// A file that was just written for a deployment on `host`.
    pub(crate) fn written(path: PathBuf, host: &HostFile) -> Result<Self, CommandError> {
        let in_flake = host.system.driver == SystemDriver::Nix;
        if in_flake && let Err(error) = git::announce(&path) {
            std::fs::remove_file(&path)?;
            return Err(error);
        }
        Ok(Self { path, in_flake })
    }

    /// As if it had never been.
    pub(crate) fn take_back(self) -> Result<(), CommandError> {
        if self.in_flake {
            git::withdraw(&self.path)?;
        }
        std::fs::remove_file(&self.path)?;
        Ok(())
    }
}
