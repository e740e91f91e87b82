//! What is in the places of an application's state, and emptying them.

use fedi_state::Consistency;

use super::access::Opened;
use super::served::Served;
use super::{Session, kinds, lock, pause, restore, without_lease};
use crate::error::GuestError;
use crate::guest::Guest;
use crate::protocol::{ErrorKind, StateClear, StateCleared, StatePlace, StatePlaces, StatePlacesFound};
use crate::{lease, manifest};

/// What is in the places, in the order of restoring.
pub(crate) fn places(guest: &Guest, request: &StatePlaces, session: &Session) -> Result<StatePlacesFound, GuestError> {
    let app = manifest::app(guest, &request.app)?;
    let work = session.work(guest, &app);
    // Nobody else may start or stop what serves meanwhile.
    let _lock = app.hooks.serve.as_ref().map(|_| lock(guest, &request.app, session)).transpose()?;
    let served = Served::start(guest, &app)?;
    let mut places = Vec::new();
    for item in kinds::all(guest, &request.app, &app)? {
        let (holds, bytes) = match item.kind.contents(&work)? {
            Some(contents) => (Some(contents.what), contents.bytes),
            None => (None, 0),
        };
        places.push(StatePlace { item: item.name, what: item.what, holds, bytes });
    }
    served.end()?;
    Ok(StatePlacesFound { places })
}

/// Empties the places. Everything is asked before anything is touched.
pub(crate) fn clear(guest: &Guest, request: &StateClear, session: &Session) -> Result<StateCleared, GuestError> {
    let app = manifest::app(guest, &request.app)?;
    let work = session.work(guest, &app);
    let _lock = lock(guest, &request.app, session)?;
    without_lease(guest, &request.app)?;
    let items = kinds::all(guest, &request.app, &app)?;
    pause::nobody(guest, &request.app, &app, &items, &work)?;
    let opened = Opened::new(guest, &work, &request.repository)?;
    let snapshot = opened.repository.manifest(&work, &request.fail_safe)?;
    let epoch = lease::get(guest, &request.app)?.map_or(0, |lease| lease.epoch);
    let refused = |why: String| {
        let message = format!("Snapshot `{}` does not make up for what would be removed: {why}", request.fail_safe);
        Err(GuestError::refused(ErrorKind::Invalid, message)
            .with_hint("Take a quiesced snapshot of what is there first; nothing was touched"))
    };
    if snapshot.app != request.app {
        return refused(format!("it is of `{}`", snapshot.app));
    }
    if snapshot.consistency != Consistency::Quiesced {
        return refused(format!("it is `{}`", snapshot.consistency));
    }
    if snapshot.epoch != epoch {
        return refused(format!("it is of epoch {}, and epoch {epoch} ran here", snapshot.epoch));
    }
    if let Err(error) = snapshot.fits(&request.app, &app) {
        return refused(error.to_string());
    }
    let served = Served::start(guest, &app)?;
    // From here on the places are neither restored nor whole.
    restore::forget(guest, &request.app)?;
    for item in items.iter().rev() {
        session.say(format!("emptying the {}", item.what));
        item.kind.clear(&work)?;
    }
    served.end()?;
    Ok(StateCleared {})
}
