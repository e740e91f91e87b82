//! Capturing: into a stage on the state disk, from there into the repository. Folders are
//! in no stage; they are stored where they lie.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fedi_model::AppName;
use fedi_model::manifest::{App, SecretClass};
use fedi_state::fingerprint::FingerprintKey;
use fedi_state::repository::{Repository, Stored};
use fedi_state::snapshot::{Observed, ObservedSecret, SCHEMA, Snapshot};
use fedi_state::{Consistency, Stage, Work};
use jiff::Timestamp;
use zeroize::Zeroizing;

use super::access::{Opened, text};
use super::kinds::{self, Handled};
use super::served::Served;
use super::{DIGESTS, Session, lock, pause, remove, room, stages};
use crate::error::GuestError;
use crate::file::{self, Access};
use crate::guest::Guest;
use crate::protocol::{ErrorKind, StateCapture, StateCaptured};
use crate::{lease, manifest};

/// What the stage holds beside what `fedi-state` puts there.
const SEALED: &str = "secrets.age";

/// Captures an application's state into a repository.
pub(crate) fn capture(guest: &Guest, request: &StateCapture, session: &Session) -> Result<StateCaptured, GuestError> {
    let app = manifest::app(guest, &request.app)?;
    let work = session.work(guest, &app);
    if request.run.is_empty() || request.run.contains(',') {
        return Err(GuestError::refused(ErrorKind::Invalid, "A capture needs a key without a comma"));
    }
    let tag = format!("run:{}", request.run);
    let _lock = lock(guest, &request.app, session)?;
    let opened = Opened::new(guest, &work, &request.repository)?;
    let repository = &opened.repository;
    let before = repository.begin(&work, request.deployment.as_str())?;
    let digests = digests(guest, &request.app)?;
    if let Some(stored) = stored_before(request, repository, before.tagged(&tag), &work)? {
        session.say("an earlier try has stored it already");
        return Ok(stored);
    }
    let items = kinds::all(guest, &request.app, &app)?;
    if request.consistency == Consistency::Quiesced {
        pause::nobody(guest, &request.app, &app, &items, &work)?;
    }
    let served = Served::start(guest, &app)?;
    let folder = stages(guest)?.join(request.app.as_str());
    // What an agent that was killed has left.
    remove(&folder)?;
    let mut bytes = 0;
    for item in items.iter().filter(|item| item.is_staged) {
        bytes += item.kind.contents(&work)?.map_or(0, |contents| contents.bytes);
    }
    room::check(&stages(guest)?, bytes, "The capture")?;
    let stored = fill(guest, request, &app, &items, &folder, &digests, &work).and_then(|(stage, snapshot)| {
        let added = repository.backup_tagged(&work, &stage, &before, std::slice::from_ref(&tag))?;
        let settled = settled(guest, request, &app, &items, &stage, session, &work);
        if let Err(error) = settled {
            // Without a mark nobody takes it for whole, so that it may stay where it cannot be removed.
            let _ = repository.remove(&work, &added.id);
            return Err(error);
        }
        repository.complete(&work, request.deployment.as_str(), &added.id)?;
        stage.stored(&added.id)?;
        Ok(StateCaptured {
            snapshot: added.id,
            manifest: json(&snapshot)?,
            bytes: added.bytes,
            new_bytes: added.new_bytes,
        })
    });
    // Where the capture failed, its error is the one to report; the next one removes the rest.
    let removed = remove(&folder);
    let stored = stored?;
    removed?;
    served.end()?;
    Ok(stored)
}

/// What is known of an application's files; only root looks into it.
fn digests(guest: &Guest, app: &AppName) -> Result<PathBuf, GuestError> {
    let folder = guest.path(DIGESTS);
    file::folder(&folder, 0o700)?;
    Ok(folder.join(app.as_str()))
}

/// The snapshot that an earlier try of the same run has stored and found good.
fn stored_before(
    request: &StateCapture,
    repository: &Repository,
    stored: Option<&Stored>,
    work: &Work,
) -> Result<Option<StateCaptured>, GuestError> {
    let Some(stored) = stored else { return Ok(None) };
    let snapshot = repository.manifest(work, &stored.id)?;
    if snapshot.app != request.app || snapshot.deployment != request.deployment {
        let message = format!("Snapshot `{}` of this run is one of `{}`", stored.id, snapshot.deployment);
        return Err(GuestError::refused(ErrorKind::Invalid, message));
    }
    let (bytes, manifest) = (repository.size(work, &stored.id)?, json(&snapshot)?);
    Ok(Some(StateCaptured { snapshot: stored.id.clone(), manifest, bytes, new_bytes: 0 }))
}

/// Looks whether what was stored is what was captured.
fn settled(
    guest: &Guest,
    request: &StateCapture,
    app: &App,
    items: &[Handled],
    stage: &Stage,
    session: &Session,
    work: &Work,
) -> Result<(), GuestError> {
    if request.consistency == Consistency::Quiesced {
        pause::nobody(guest, &request.app, app, items, work)?;
    }
    for item in items {
        let moved = item.kind.settle(work, &stage.item(&item.name)?, request.consistency)?;
        if moved > 0 {
            session.say(format!("{moved} entries of the {} moved while it was stored", item.what));
        }
    }
    Ok(())
}

fn fill(
    guest: &Guest,
    request: &StateCapture,
    app: &App,
    items: &[Handled],
    folder: &Path,
    digests: &Path,
    work: &Work,
) -> Result<(Stage, Snapshot), GuestError> {
    let stage = Stage::begin_with(folder, digests)?;
    let secrets = secrets(guest, request, app)?;
    let began = Timestamp::now();
    let mut observed: BTreeMap<String, Observed> = BTreeMap::new();
    for item in ordered(items, request.consistency) {
        let place = stage.item_to_fill(&item.name)?;
        observed.insert(item.name.clone(), item.kind.capture(work, &place, request.consistency)?);
    }
    let snapshot = Snapshot {
        schema: SCHEMA,
        fedi: env!("CARGO_PKG_VERSION").to_owned(),
        deployment: request.deployment.clone(),
        app: request.app.clone(),
        app_version: app.version.clone(),
        schema_version: None,
        epoch: lease::get(guest, &request.app)?.map_or(0, |lease| lease.epoch),
        began,
        ended: Timestamp::now(),
        consistency: request.consistency,
        items: observed,
        order: app.order.clone(),
        secrets,
    };
    file::replace(&folder.join(SEALED), request.sealed_secrets.expose(), Access::PRIVATE)?;
    stage.finish(&snapshot)?;
    Ok((stage, snapshot))
}

/// Databases come before what they point to, so that a row may lack nothing.
fn ordered(items: &[Handled], consistency: Consistency) -> Vec<&Handled> {
    let mut ordered: Vec<&Handled> = items.iter().collect();
    if consistency != Consistency::Live {
        ordered.sort_by_key(|item| !item.is_database);
    }
    ordered
}

/// Fingerprints of the delivered secrets. State without its identity is not captured.
fn secrets(
    guest: &Guest,
    request: &StateCapture,
    app: &App,
) -> Result<BTreeMap<fedi_model::SecretName, ObservedSecret>, GuestError> {
    let key = FingerprintKey::from_base64(&text(&request.fingerprint_key, "fingerprint key")?)?;
    let mut found = BTreeMap::new();
    for (name, secret) in &app.secrets {
        match file::read(&guest.path(&secret.path))? {
            Some(value) => {
                let value = Zeroizing::new(value);
                let fingerprint = key.fingerprint(&request.app, name, &value);
                let (class, protects) = (secret.class, secret.protects.clone());
                found.insert(name.clone(), ObservedSecret { class, fingerprint, protects });
            }
            None if secret.class == SecretClass::Identity => {
                let message = format!("The identity secret `{name}` is missing on the guest");
                return Err(GuestError::refused(ErrorKind::Missing, message)
                    .with_hint("Deploy again to deliver it; state without it could not be restored"));
            }
            None => {}
        }
    }
    Ok(found)
}

fn json(snapshot: &Snapshot) -> Result<serde_json::Value, GuestError> {
    serde_json::to_value(snapshot)
        .map_err(|error| GuestError::refused(ErrorKind::Io, format!("The snapshot cannot be expressed: {error}")))
}

/// Bytes of a snapshot's data, as they were observed.
pub(super) fn size(snapshot: &Snapshot) -> u64 {
    let bytes = |observed: &Observed| match observed {
        Observed::Postgres(it) => it.bytes,
        Observed::Mysql(it) => it.bytes,
        Observed::Redis(it) => it.bytes,
        Observed::Bucket(it) => it.bytes,
        Observed::Directory(it) => it.bytes,
        Observed::Derived(_) => 0,
    };
    snapshot.items.values().map(bytes).sum()
}
