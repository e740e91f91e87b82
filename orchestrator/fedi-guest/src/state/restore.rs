//! Restoring: from the repository into a stage, from there into empty places, item by
//! item, and comparing. A mark says which snapshot is being restored, so that a second
//! call goes on; the kinds leave alone what is whole.

use std::path::PathBuf;

use fedi_model::AppName;
use fedi_model::manifest::App;
use fedi_state::{Snapshot, Stage, Work};
use serde::{Deserialize, Serialize};

use super::access::Opened;
use super::kinds::{self, Handled};
use super::served::Served;
use super::{Session, capture, lock, pause, remove, room, stages, without_lease};
use crate::error::GuestError;
use crate::file::{self, Access};
use crate::guest::Guest;
use crate::protocol::{ErrorKind, StateRestore, StateVerified, StateVerifiedItem, StateVerify};
use crate::{lease, manifest};

/// How far a restore is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    schema: u32,
    /// What is being restored.
    snapshot: String,
    /// The epoch that this guest had seen: once there is a later one, the application ran.
    epoch: u64,
    /// The stage is whole.
    fetched: bool,
    /// All of it was restored and compared.
    done: Option<StateVerified>,
}

fn mark_path(guest: &Guest, app: &AppName) -> Result<PathBuf, GuestError> {
    Ok(stages(guest)?.join(format!("{app}.restore.json")))
}

fn mark(guest: &Guest, app: &AppName) -> Result<Option<Mark>, GuestError> {
    let path = mark_path(guest, app)?;
    let Some(bytes) = file::read(&path)? else { return Ok(None) };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| GuestError::Damaged { path, what: error.to_string() })
}

fn set_mark(guest: &Guest, app: &AppName, mark: &Mark) -> Result<(), GuestError> {
    let path = mark_path(guest, app)?;
    let bytes = serde_json::to_vec(mark)
        .map_err(|error| GuestError::Damaged { path: path.clone(), what: error.to_string() })?;
    file::replace(&path, &bytes, Access::PRIVATE)
}

/// No restore is under way here any more.
pub(super) fn forget(guest: &Guest, app: &AppName) -> Result<(), GuestError> {
    file::remove(&mark_path(guest, app)?)?;
    remove(&fetched(guest, app)?)
}

fn fetched(guest: &Guest, app: &AppName) -> Result<PathBuf, GuestError> {
    Ok(stages(guest)?.join(format!("{app}.restore")))
}

/// Brings a snapshot back into empty places and compares them with it.
pub(crate) fn restore(guest: &Guest, request: &StateRestore, session: &Session) -> Result<StateVerified, GuestError> {
    let app = manifest::app(guest, &request.app)?;
    let work = session.work(guest, &app);
    let _lock = lock(guest, &request.app, session)?;
    without_lease(guest, &request.app)?;
    let items = kinds::all(guest, &request.app, &app)?;
    pause::nobody(guest, &request.app, &app, &items, &work)?;

    let epoch = lease::get(guest, &request.app)?.map_or(0, |lease| lease.epoch);
    let begun = mark(guest, &request.app)?.filter(|mark| mark.snapshot == request.snapshot && mark.epoch == epoch);
    if let Some(Mark { done: Some(done), .. }) = begun {
        session.say("it was restored and compared before");
        return Ok(done);
    }
    let served = Served::start(guest, &app)?;
    let folder = fetched(guest, &request.app)?;
    // The repository is not needed again once the stage is whole.
    let snapshot = match &begun {
        Some(Mark { fetched: true, .. }) if folder.exists() => Stage::open(&folder).read()?,
        _ => {
            let repository = Opened::new(guest, &work, &request.repository)?;
            fetch(guest, request, &app, &items, &repository, &work, begun.is_some())?
        }
    };
    snapshot.fits(&request.app, &app)?;
    let stage = Stage::open(&folder);
    for item in in_order(&items, &snapshot) {
        session.say(format!("restoring the {}", item.what));
        item.kind.restore(&work, &stage.item(&item.name)?, &snapshot.items[&item.name])?;
    }
    let done = compare(&items, &snapshot, &stage, &work, session)?;
    let mark = Mark { schema: 1, snapshot: request.snapshot.clone(), epoch, fetched: true, done: Some(done.clone()) };
    set_mark(guest, &request.app, &mark)?;
    remove(&folder)?;
    served.end()?;
    Ok(done)
}

/// Brings a snapshot into the stage. Whether it fits and where it goes to is asked first.
fn fetch(
    guest: &Guest,
    request: &StateRestore,
    app: &App,
    items: &[Handled],
    opened: &Opened,
    work: &Work,
    begun: bool,
) -> Result<Snapshot, GuestError> {
    let snapshot = opened.repository.manifest(work, &request.snapshot)?;
    snapshot.fits(&request.app, app)?;
    for item in in_order(items, &snapshot) {
        item.kind.fits(work, &snapshot.items[&item.name])?;
    }
    if !begun {
        empty(items, work)?;
    }
    let folder = fetched(guest, &request.app)?;
    remove(&folder)?;
    enough(guest, app, &snapshot)?;
    let epoch = lease::get(guest, &request.app)?.map_or(0, |lease| lease.epoch);
    let mark = Mark { schema: 1, snapshot: request.snapshot.clone(), epoch, fetched: false, done: None };
    set_mark(guest, &request.app, &mark)?;
    let fetched = opened.repository.restore(work, &request.snapshot, &folder).map_err(GuestError::from);
    if let Err(error) = fetched.and_then(|stage| same(&stage, &snapshot)) {
        // What cannot be removed is in the way of the next run, which says so.
        let _ = remove(&folder);
        if !begun {
            file::remove(&mark_path(guest, &request.app)?)?;
        }
        return Err(error);
    }
    set_mark(guest, &request.app, &Mark { fetched: true, ..mark })?;
    Ok(snapshot)
}

/// Compares the places with a snapshot.
pub(crate) fn verify(guest: &Guest, request: &StateVerify, session: &Session) -> Result<StateVerified, GuestError> {
    let app = manifest::app(guest, &request.app)?;
    let work = session.work(guest, &app);
    let _lock = lock(guest, &request.app, session)?;
    let items = kinds::all(guest, &request.app, &app)?;
    let opened = Opened::new(guest, &work, &request.repository)?;
    let snapshot = opened.repository.manifest(&work, &request.snapshot)?;
    snapshot.fits(&request.app, &app)?;
    let folder = stages(guest)?.join(format!("{}.verify", request.app));
    remove(&folder)?;
    room::check(&stages(guest)?, capture::size(&snapshot), "The comparison")?;
    let served = Served::start(guest, &app)?;
    let found =
        opened.repository.restore(&work, &request.snapshot, &folder).map_err(GuestError::from).and_then(|stage| {
            same(&stage, &snapshot)?;
            compare(&items, &snapshot, &stage, &work, session)
        });
    let removed = remove(&folder);
    let found = found?;
    removed?;
    served.end()?;
    Ok(found)
}

/// Refuses places with anything in them; none is touched before all are known.
fn empty(items: &[Handled], work: &Work) -> Result<(), GuestError> {
    for item in items {
        if let Some(contents) = item.kind.contents(work)? {
            let message = format!("The {} is not empty: it holds {}", item.what, contents.what);
            return Err(GuestError::refused(ErrorKind::NotEmpty, message)
                .with_hint("Restoring goes only into empty places; nothing was touched"));
        }
    }
    Ok(())
}

/// Refuses a disk without room for the stage, and for the state beside it.
fn enough(guest: &Guest, app: &App, snapshot: &Snapshot) -> Result<(), GuestError> {
    let folder = stages(guest)?;
    let bytes = capture::size(snapshot);
    let places = app.items.values().any(|item| match item {
        fedi_model::manifest::Item::Directory(it) => room::same_disk(&folder, &guest.path(&it.path)),
        fedi_model::manifest::Item::Postgres(_) | fedi_model::manifest::Item::Mysql(_) => {
            room::same_disk(&folder, &guest.path("/var/lib"))
        }
        _ => false,
    });
    room::check(&folder, if places { bytes.saturating_mul(2) } else { bytes }, "The restore")
}

/// Refuses a stage whose manifest is another than the one that was judged.
fn same(stage: &Stage, snapshot: &Snapshot) -> Result<(), GuestError> {
    if stage.read()? == *snapshot {
        return Ok(());
    }
    let message = format!("`{}` does not hold the snapshot that was asked for", stage.root().display());
    Err(GuestError::refused(ErrorKind::Damaged, message))
}

/// The items in the snapshot's order; [`Snapshot::fits`] has compared the names.
fn in_order<'a>(items: &'a [Handled], snapshot: &Snapshot) -> Vec<&'a Handled> {
    snapshot.order.iter().filter_map(|name| items.iter().find(|item| item.name == *name)).collect()
}

fn compare(
    items: &[Handled],
    snapshot: &Snapshot,
    stage: &Stage,
    work: &Work,
    session: &Session,
) -> Result<StateVerified, GuestError> {
    let mut found = StateVerified::default();
    for item in in_order(items, snapshot) {
        session.say(format!("comparing the {}", item.what));
        let report = item.kind.verify(work, &stage.item(&item.name)?, &snapshot.items[&item.name])?;
        found.items.push(StateVerifiedItem { item: item.name.clone(), checks: report.checks, notes: report.notes });
    }
    Ok(found)
}
