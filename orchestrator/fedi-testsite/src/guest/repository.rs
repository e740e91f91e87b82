//! Repositories of snapshots that are files: what stand-in guests capture into and
//! restore from, for whoever gives the right password.

use std::collections::BTreeMap;
use std::path::Path;

use fedi_engine::drivers::{DriverError, DriverErrorKind, RepositoryAccess};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::files::Files;

/// Repositories by location.
#[derive(Debug, Clone)]
pub struct StandInRepositories(Files);

/// A repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandInRepository {
    /// SHA-256 of its password.
    password: String,
    /// Oldest first.
    pub snapshots: Vec<StandInSnapshot>,
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandInSnapshot {
    /// 64 hexadecimal digits.
    pub id: String,
    /// The id that it had before it was marked.
    #[serde(default)]
    pub original: Option<String>,
    /// When it was stored.
    pub time: Timestamp,
    /// `deployment:matrix`, `run:<key>`, `proved`, ...
    pub tags: Vec<String>,
    /// `snapshot.json`.
    pub manifest: serde_json::Value,
    /// `secrets.age`.
    pub sealed_secrets: Vec<u8>,
    /// The state, by item.
    pub state: BTreeMap<String, String>,
}

impl StandInRepositories {
    /// The repositories in that folder.
    pub fn new(root: &Path) -> Self {
        Self(Files::new(root.join("repositories")))
    }

    /// Opens a repository; `None` where there is none.
    pub fn open(&self, location: &str, password: &[u8]) -> Result<Option<StandInRepository>, DriverError> {
        match self.0.read::<StandInRepository>(&file(location)) {
            Some(found) if found.password != digest(password) => Err(wrong_password(location)),
            found => Ok(found),
        }
    }

    /// Changes a repository, which is made where there is none.
    pub fn change<T>(
        &self,
        location: &str,
        password: &[u8],
        change: impl FnOnce(&mut StandInRepository) -> T,
    ) -> Result<T, DriverError> {
        self.0.change(&file(location), |found: &mut Option<StandInRepository>| {
            let empty = || StandInRepository { password: digest(password), snapshots: Vec::new() };
            let found = found.get_or_insert_with(empty);
            if found.password != digest(password) {
                return Err(wrong_password(location));
            }
            Ok(change(found))
        })
    }

    /// The snapshot of that id.
    pub(super) fn snapshot(&self, access: &RepositoryAccess, id: &str) -> Result<StandInSnapshot, DriverError> {
        let found = self.open(&access.location, access.password.expose())?;
        let snapshots = found.into_iter().flat_map(|repository| repository.snapshots);
        snapshots.into_iter().find(|snapshot| snapshot.id == id).ok_or_else(|| {
            let what = format!("The repository `{}` has no snapshot `{id}`", access.location);
            DriverError::new(DriverErrorKind::Invalid, what)
        })
    }
}

fn wrong_password(location: &str) -> DriverError {
    DriverError::new(DriverErrorKind::Denied, format!("The password of the repository `{location}` is wrong"))
}

fn file(location: &str) -> String {
    digest(location.trim_end_matches('/').as_bytes())
}

/// SHA-256 in hexadecimal.
pub(super) fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
