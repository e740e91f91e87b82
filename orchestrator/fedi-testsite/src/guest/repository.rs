//! Repositories of snapshots that are files: what stand-in guests capture into and
//! restore from, for whoever gives the right password. At locations that are not theirs
//! there are real ones.

use std::collections::BTreeMap;
use std::path::Path;

use fedi_engine::drivers::{DriverError, DriverErrorKind, RepositoryAccess};
use fedi_state::snapshot::Snapshot;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::restic;
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

    /// What was captured by that run before.
    pub(super) async fn made_by(
        &self,
        guest: &str,
        access: &RepositoryAccess,
        run: &str,
    ) -> Result<Option<StandInSnapshot>, DriverError> {
        if !is_stand_in(&access.location) {
            let run = run.to_owned();
            return restic::with(guest, access, move |it, work| restic::tagged(it, work, &run)).await;
        }
        let known = self.open(&access.location, access.password.expose())?;
        Ok(known.into_iter().flat_map(|it| it.snapshots).find(|snapshot| snapshot.tags.iter().any(|tag| tag == run)))
    }

    /// Stores what was captured, by the id that it has from then on.
    pub(super) async fn store(
        &self,
        guest: &str,
        access: &RepositoryAccess,
        mut made: StandInSnapshot,
        run: &str,
    ) -> Result<StandInSnapshot, DriverError> {
        if is_stand_in(&access.location) {
            let stored = made.clone();
            self.change(&access.location, access.password.expose(), |it| it.snapshots.push(stored))?;
        } else {
            let (stored, run) = (made.clone(), run.to_owned());
            made.id = restic::with(guest, access, move |it, work| restic::store(it, work, &stored, &run)).await?;
        }
        Ok(made)
    }

    /// What the snapshot of that id says of itself.
    pub(super) async fn manifest(
        &self,
        guest: &str,
        access: &RepositoryAccess,
        id: &str,
    ) -> Result<Snapshot, DriverError> {
        if is_stand_in(&access.location) {
            return Ok(serde_json::from_value(self.snapshot(guest, access, id).await?.manifest).unwrap());
        }
        let id = id.to_owned();
        restic::with(guest, access, move |it, work| it.manifest(work, &id)).await
    }

    /// The snapshot of that id.
    pub(super) async fn snapshot(
        &self,
        guest: &str,
        access: &RepositoryAccess,
        id: &str,
    ) -> Result<StandInSnapshot, DriverError> {
        if !is_stand_in(&access.location) {
            let id = id.to_owned();
            return restic::with(guest, access, move |it, work| restic::fetch(it, work, &id)).await;
        }
        let found = self.open(&access.location, access.password.expose())?;
        let snapshots = found.into_iter().flat_map(|repository| repository.snapshots);
        snapshots.into_iter().find(|snapshot| snapshot.id == id).ok_or_else(|| {
            let what = format!("The repository `{}` has no snapshot `{id}`", access.location);
            DriverError::new(DriverErrorKind::Invalid, what)
        })
    }
}

/// Whether a repository at that location is a file of ours.
pub(crate) fn is_stand_in(location: &str) -> bool {
    location.starts_with("/stand-in/")
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
