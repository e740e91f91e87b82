//! The state as a file, so that a simulator can be killed and started again.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::state::State;

const FILE: &str = "state.json";

/// Writes the state beside the old one and puts it in its place.
pub(crate) fn save(directory: &Path, state: &State) -> io::Result<()> {
    let temporary = directory.join("state.json.new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(&serde_json::to_vec(state)?)?;
    fs::rename(temporary, directory.join(FILE))
}

/// The saved state, if there is one.
pub(crate) fn load(directory: &Path) -> io::Result<Option<State>> {
    match fs::read(directory.join(FILE)) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
