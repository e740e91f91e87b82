//! Real repositories, through restic, as the agent on a guest uses them. What a stand-in
//! guest has is stored as a stage with a file an item; what goes wrong is told as the agent
//! tells it.

use std::collections::BTreeMap;
use std::fs;

use fedi_drivers::guest::refusal;
use fedi_engine::drivers::{DriverError, RepositoryAccess};
use fedi_guest::GuestError;
use fedi_state::repository::{Password, Repository};
use fedi_state::snapshot::Snapshot;
use fedi_state::stage::Stage;
use fedi_state::{StateError, Work};

use super::repository::StandInSnapshot;

/// The sealed secrets of a stage.
const SECRETS: &str = "secrets.age";
/// What an item of a stage has.
const TEXT: &str = "text";

/// Does something with a repository while others go on; `guest` is who does it.
pub(super) async fn with<T: Send + 'static>(
    guest: &str,
    access: &RepositoryAccess,
    act: impl FnOnce(&Repository, &Work) -> Result<T, StateError> + Send + 'static,
) -> Result<T, DriverError> {
    let repository = Repository {
        location: access.location.clone(),
        password: Password::Value(String::from_utf8(access.password.expose().to_vec()).unwrap().into()),
        s3: None,
        ca: None,
        ssh: None,
        cache: None,
    };
    let done = tokio::task::spawn_blocking(move || act(&repository, &Work::default())).await.unwrap();
    done.map_err(|error| refusal(guest, GuestError::from(error).reply()))
}

/// The whole snapshot with that tag.
pub(super) fn tagged(repository: &Repository, work: &Work, tag: &str) -> Result<Option<StandInSnapshot>, StateError> {
    repository.init(work)?;
    let Some(stored) = repository.tagged(work, tag)?.pop() else { return Ok(None) };
    fetch(repository, work, &stored.id).map(Some)
}

/// Stores what was captured; its id is that of the repository afterwards.
pub(super) fn store(
    repository: &Repository,
    work: &Work,
    made: &StandInSnapshot,
    run: &str,
) -> Result<String, StateError> {
    let folder = tempfile::tempdir().unwrap();
    let stage = Stage::begin(folder.path().join("stage"))?;
    for (item, text) in &made.state {
        fs::write(stage.item_to_fill(item)?.folder.join(TEXT), text).unwrap();
    }
    fs::write(stage.root().join(SECRETS), &made.sealed_secrets).unwrap();
    let snapshot: Snapshot = serde_json::from_value(made.manifest.clone()).unwrap();
    stage.finish(&snapshot)?;
    let before = repository.begin(work, snapshot.deployment.as_str())?;
    let added = repository.backup_tagged(work, &stage, &before, &[run.to_owned()])?;
    repository.complete(work, snapshot.deployment.as_str(), &added.id)?;
    Ok(added.id)
}

/// A snapshot as it is fetched to be restored.
pub(super) fn fetch(repository: &Repository, work: &Work, id: &str) -> Result<StandInSnapshot, StateError> {
    let stored = repository.find(work, id)?;
    let folder = tempfile::tempdir().unwrap();
    let fetched = repository.restore(work, id, &folder.path().join("stage"))?;
    let snapshot = fetched.read()?;
    let mut state = BTreeMap::new();
    for item in snapshot.items.keys() {
        // An item that was captured empty has no file.
        if let Ok(text) = fs::read_to_string(fetched.item(item)?.folder.join(TEXT)) {
            state.insert(item.clone(), text);
        }
    }
    Ok(StandInSnapshot {
        id: stored.id,
        original: stored.original,
        time: stored.time,
        tags: stored.tags,
        manifest: serde_json::to_value(&snapshot).unwrap(),
        sealed_secrets: fs::read(fetched.root().join(SECRETS)).unwrap(),
        state,
    })
}
