//! Capturing: into a stage on the state disk, from there into the repository.

use std::collections::BTreeMap;
use std::path::Path;

use fedi_model::manifest::{App, SecretClass};
use fedi_state::fingerprint::FingerprintKey;
use fedi_state::snapshot::{Observed, ObservedSecret, SCHEMA, Snapshot};
use fedi_state::{Consistency, Stage, Work};
use jiff::Timestamp;
use zeroize::Zeroizing;

use super::access::{Opened, text};
use super::kinds::{self, Handled};
use super::served::Served;
use super::{Session, lock, pause, remove, room, stages};
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
    repository.init(&work)?;
    if let Some(stored) = repository.tagged(&work, &tag)?.pop() {
        let snapshot = repository.manifest(&work, &stored.id)?;
        if snapshot.app != request.app || snapshot.deployment != request.deployment {
            let message = format!("The repository has a snapshot `{tag}` of `{}`", snapshot.deployment);
            return Err(GuestError::refused(ErrorKind::Invalid, message));
        }
        session.say("an earlier try has stored it already");
        let (bytes, manifest) = (repository.size(&work, &stored.id)?, json(&snapshot)?);
        return Ok(StateCaptured { snapshot: stored.id, manifest, bytes, new_bytes: 0 });
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
    for item in &items {
        bytes += item.kind.contents(&work)?.map_or(0, |contents| contents.bytes);
    }
    room::check(&stages(guest)?, bytes, "The capture")?;
    let stored = fill(guest, request, &app, &items, &folder, &work)
        .and_then(|snapshot| {
            if request.consistency == Consistency::Quiesced {
                pause::nobody(guest, &request.app, &app, &items, &work)?;
            }
            Ok(snapshot)
        })
        .and_then(|snapshot| {
            let added = repository.backup_tagged(&work, &Stage::open(&folder), std::slice::from_ref(&tag))?;
            repository.complete(&work, request.deployment.as_str(), &added.id)?;
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

fn fill(
    guest: &Guest,
    request: &StateCapture,
    app: &App,
    items: &[Handled],
    folder: &Path,
    work: &Work,
) -> Result<Snapshot, GuestError> {
    let stage = Stage::begin(folder)?;
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
    Ok(snapshot)
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
