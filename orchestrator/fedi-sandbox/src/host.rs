//! A simulated host: `fedi-sim` with guests made of containers, as a process of its own inside the sandbox.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::nspawn::NspawnSettings;

/// The settings of one host process, as its file holds them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HostSettings {
    /// Name of the host in [`crate::HOSTS`].
    pub name: String,
    /// Folder of the simulator's state.
    pub folder: PathBuf,
    /// Where the API's certificate authority is written, in PEM.
    pub ca: PathBuf,
    /// Secret half of the API token.
    pub token_secret: String,
    /// The guests.
    pub guests: NspawnSettings,
}

/// Serves a host until it is killed.
pub fn serve(_settings: &Path) -> crate::Result<()> {
    loop {
        std::thread::sleep(std::time::Duration::from_secs(3600));
    }
}
