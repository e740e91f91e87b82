//! The lease: the right of exactly one guest to run an application.
//!
//! `/var/lib/fedi/lease/<app>` holds the highest epoch this guest has seen and
//! whether it may run under it. The epoch only grows, a revoked one stays
//! revoked, and a lease counts only on the machine (by uuid) it was granted to:
//! a fenced guest, a fresh one and a copy of a disk all stay dark over reboots.
//! Times are noted and decide nothing: a clock can jump.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;

use fedi_model::AppName;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::GuestError;
use crate::file::{self, Access};
use crate::guest::Guest;
use crate::protocol::{ErrorKind, Lease, LeaseGrant, LeaseRevoke, LeaseState, Leases};

const FOLDER: &str = "/var/lib/fedi/lease";

/// What the file holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    schema: u32,
    app: AppName,
    epoch: u64,
    /// The guest that may run; `None` once revoked.
    holder: Option<Uuid>,
    since: Timestamp,
}

fn path(guest: &Guest, app: &AppName) -> PathBuf {
    guest.path(FOLDER).join(app.as_str())
}

fn load(guest: &Guest, app: &AppName) -> Result<Option<Record>, GuestError> {
    let path = path(guest, app);
    let Some(bytes) = file::read(&path)? else { return Ok(None) };
    let damaged = |what: String| GuestError::Damaged { path: path.clone(), what };
    let record: Record = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
    if record.schema != 1 || record.app != *app {
        return Err(damaged(format!("it is schema {} for `{}`", record.schema, record.app)));
    }
    Ok(Some(record))
}

/// Keeps two sessions from deciding at once.
fn locked(guest: &Guest) -> Result<File, GuestError> {
    file::folder(&guest.path("/var/lib/fedi"), 0o711)?;
    file::folder(&guest.path(FOLDER), 0o700)?;
    file::lock(&guest.path(FOLDER).join(".lock"))
}

fn store(guest: &Guest, record: &Record) -> Result<(), GuestError> {
    let path = path(guest, &record.app);
    let mut bytes = serde_json::to_vec(record)
        .map_err(|error| GuestError::Damaged { path: path.clone(), what: error.to_string() })?;
    bytes.push(b'\n');
    file::replace(&path, &bytes, Access::PRIVATE)
}

fn lease(record: &Record, own: Option<Uuid>) -> Lease {
    let state = match record.holder {
        None => LeaseState::Revoked,
        Some(holder) if Some(holder) == own => LeaseState::Held,
        Some(_) => LeaseState::Elsewhere,
    };
    Lease { state, epoch: record.epoch, holder: record.holder, since: record.since }
}

/// Gives this guest the right to run the application.
pub(crate) fn grant(guest: &Guest, request: &LeaseGrant, now: Timestamp) -> Result<Lease, GuestError> {
    let LeaseGrant { app, epoch, holder } = request;
    let own = guest.uuid()?;
    if own != Some(*holder) {
        let own = own.map_or("has no uuid".to_owned(), |own| format!("is {own}"));
        return Err(GuestError::refused(
            ErrorKind::WrongGuest,
            format!("The lease of `{app}` is for guest {holder}; this guest {own}"),
        )
        .with_hint("Check which guest the address leads to"));
    }
    if *epoch == 0 {
        return Err(GuestError::refused(ErrorKind::Invalid, "Epochs begin at 1"));
    }
    let _lock = locked(guest)?;
    if let Some(found) = load(guest, app)? {
        if found.epoch == *epoch && found.holder == Some(*holder) {
            return Ok(lease(&found, own));
        }
        if found.epoch >= *epoch {
            let used = if found.holder.is_none() { "revoked" } else { "used" };
            return Err(stale(app, *epoch, &format!("this guest has {used} epoch {}", found.epoch)));
        }
    }
    let record = Record { schema: 1, app: app.clone(), epoch: *epoch, holder: Some(*holder), since: now };
    store(guest, &record)?;
    Ok(lease(&record, own))
}

/// Takes the right away. Works on a guest that never had it, too.
pub(crate) fn revoke(guest: &Guest, request: &LeaseRevoke, now: Timestamp) -> Result<Lease, GuestError> {
    let LeaseRevoke { app, epoch } = request;
    let _lock = locked(guest)?;
    if let Some(found) = load(guest, app)? {
        if found.epoch > *epoch {
            return Err(stale(app, *epoch, &format!("this guest is at epoch {}", found.epoch)));
        }
        if found.epoch == *epoch && found.holder.is_none() {
            return Ok(lease(&found, None));
        }
    }
    let record = Record { schema: 1, app: app.clone(), epoch: *epoch, holder: None, since: now };
    store(guest, &record)?;
    Ok(lease(&record, None))
}

fn stale(app: &AppName, epoch: u64, why: &str) -> GuestError {
    GuestError::refused(ErrorKind::StaleEpoch, format!("Epoch {epoch} of `{app}` is too old: {why}"))
        .with_hint("Another run has moved the application on; plan again")
}

/// One lease, `None` where there never was one.
pub(crate) fn get(guest: &Guest, app: &AppName) -> Result<Option<Lease>, GuestError> {
    let Some(record) = load(guest, app)? else { return Ok(None) };
    Ok(Some(lease(&record, guest.uuid()?)))
}

/// One lease or all.
pub(crate) fn show(guest: &Guest, app: Option<&AppName>) -> Result<Leases, GuestError> {
    let apps = match app {
        Some(app) => vec![app.clone()],
        None => file::names(&guest.path(FOLDER))?.into_iter().filter_map(|name| AppName::new(name).ok()).collect(),
    };
    let mut leases = BTreeMap::new();
    for app in apps {
        if let Some(lease) = get(guest, &app)? {
            leases.insert(app, lease);
        }
    }
    Ok(Leases { leases })
}

/// Refuses unless the application may run here.
pub(crate) fn require(guest: &Guest, app: &AppName) -> Result<Lease, GuestError> {
    let not_held = |why: &str| {
        GuestError::refused(ErrorKind::NotHeld, format!("The lease of `{app}` is not held here: {why}"))
            .with_hint("`fedi status` shows where the application runs; this guest stays dormant")
    };
    match get(guest, app)? {
        None => Err(not_held("it was never granted")),
        Some(lease) => match lease.state {
            LeaseState::Held => Ok(lease),
            LeaseState::Revoked => Err(not_held(&format!("it was revoked at epoch {}", lease.epoch))),
            LeaseState::Elsewhere => Err(not_held("it was granted to a machine with another uuid")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    const OWN: Uuid = Uuid::from_u128(7);

    fn guest() -> (tempfile::TempDir, Guest) {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("etc/fedi")).unwrap();
        fs::write(root.path().join("etc/fedi/guest-uuid"), format!("{}\n", OWN.to_string().to_uppercase())).unwrap();
        let guest = Guest::in_folder(root.path(), root.path());
        (root, guest)
    }

    fn app() -> AppName {
        AppName::new("matrix").unwrap()
    }

    /// So many hours after some moment.
    fn at(hours: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + hours * 3600).unwrap()
    }

    fn give(guest: &Guest, epoch: u64) -> Result<Lease, GuestError> {
        grant(guest, &LeaseGrant { app: app(), epoch, holder: OWN }, at(0))
    }

    fn take(guest: &Guest, epoch: u64) -> Result<Lease, GuestError> {
        revoke(guest, &LeaseRevoke { app: app(), epoch }, at(0))
    }

    #[test]
    fn a_fresh_guest_is_dormant() {
        let (_root, guest) = guest();
        assert_eq!(require(&guest, &app()).unwrap_err().kind(), ErrorKind::NotHeld);
    }

    #[test]
    fn granted_twice_is_granted_once() {
        let (root, guest) = guest();
        let first = give(&guest, 1).unwrap();
        assert_eq!(give(&guest, 1).unwrap(), first);
        assert_eq!(require(&guest, &app()).unwrap().state, LeaseState::Held);
        let file = fs::metadata(root.path().join("var/lib/fedi/lease/matrix")).unwrap();
        assert_eq!(file.mode() & 0o7777, 0o600);
    }

    #[test]
    fn a_revoked_epoch_stays_revoked() {
        let (_root, guest) = guest();
        give(&guest, 3).unwrap();
        take(&guest, 3).unwrap();
        assert_eq!(require(&guest, &app()).unwrap_err().kind(), ErrorKind::NotHeld);
        assert_eq!(give(&guest, 3).unwrap_err().kind(), ErrorKind::StaleEpoch);
        assert_eq!(give(&guest, 2).unwrap_err().kind(), ErrorKind::StaleEpoch);
        give(&guest, 4).unwrap();
        assert_eq!(take(&guest, 3).unwrap_err().kind(), ErrorKind::StaleEpoch);
    }

    #[test]
    fn a_guest_can_be_fenced_before_it_ever_ran() {
        let (_root, guest) = guest();
        take(&guest, 5).unwrap();
        assert_eq!(give(&guest, 5).unwrap_err().kind(), ErrorKind::StaleEpoch);
    }

    #[test]
    fn only_for_this_machine() {
        let (root, guest) = guest();
        let other = LeaseGrant { app: app(), epoch: 1, holder: Uuid::from_u128(8) };
        assert_eq!(grant(&guest, &other, at(0)).unwrap_err().kind(), ErrorKind::WrongGuest);
        give(&guest, 1).unwrap();
        // The disk is copied into another machine.
        fs::write(root.path().join("etc/fedi/guest-uuid"), Uuid::from_u128(9).to_string()).unwrap();
        assert_eq!(require(&guest, &app()).unwrap_err().kind(), ErrorKind::NotHeld);
        assert_eq!(show(&guest, None).unwrap().leases[&app()].state, LeaseState::Elsewhere);
    }

    #[test]
    fn a_damaged_file_is_no_lease() {
        let (root, guest) = guest();
        give(&guest, 1).unwrap();
        fs::write(root.path().join("var/lib/fedi/lease/matrix"), "{\"schema\":1").unwrap();
        assert_eq!(require(&guest, &app()).unwrap_err().kind(), ErrorKind::Damaged);
        assert_eq!(give(&guest, 2).unwrap_err().kind(), ErrorKind::Damaged);
    }

    /// A guest whose clock is a day ahead when the lease is granted and right again later,
    /// and one whose clock falls back to 1970 at each start.
    #[test]
    fn a_clock_that_jumps_changes_no_lease() {
        for hours in [[0, 24, 0], [24, 0, -24], [-500_000, 0, -500_000]] {
            let (_root, guest) = guest();
            let given = |epoch, hours| grant(&guest, &LeaseGrant { app: app(), epoch, holder: OWN }, at(hours));
            let taken = |epoch, hours| revoke(&guest, &LeaseRevoke { app: app(), epoch }, at(hours));
            let first = given(1, hours[0]).unwrap();
            assert_eq!(given(1, hours[1]).unwrap(), first, "the same one, since then");
            assert_eq!(require(&guest, &app()).unwrap(), first);
            taken(1, hours[1]).unwrap();
            for hours in hours {
                assert_eq!(given(1, hours).unwrap_err().kind(), ErrorKind::StaleEpoch);
            }
            assert_eq!(require(&guest, &app()).unwrap_err().kind(), ErrorKind::NotHeld);
            let second = given(2, hours[2]).unwrap();
            assert_eq!(taken(1, hours[1]).unwrap_err().kind(), ErrorKind::StaleEpoch);
            assert_eq!(require(&guest, &app()).unwrap(), second);
        }
    }

    proptest! {
        /// The same is asked of a guest with a clock that stands and of one whose clock jumps.
        #[test]
        fn no_answer_depends_on_the_clock(
            steps in prop::collection::vec((any::<bool>(), 0_u64..4, -100_000_i64..100_000), 1..16)
        ) {
            let guests = [guest(), guest()];
            for (granting, epoch, hours) in steps {
                let answers = [(&guests[0].1, 0), (&guests[1].1, hours)].map(|(guest, hours)| {
                    let answer = if granting {
                        grant(guest, &LeaseGrant { app: app(), epoch, holder: OWN }, at(hours))
                    } else {
                        revoke(guest, &LeaseRevoke { app: app(), epoch }, at(hours))
                    };
                    answer.map(|lease| (lease.state, lease.epoch, lease.holder)).map_err(|error| error.reply())
                });
                prop_assert_eq!(&answers[0], &answers[1]);
            }
        }

        /// Whatever is asked in whatever order, the epoch never shrinks, and
        /// after a revocation only a larger epoch is held.
        #[test]
        fn the_epoch_only_grows(steps in prop::collection::vec((any::<bool>(), 0_u64..6), 1..24)) {
            let (_root, guest) = guest();
            let mut highest = 0;
            let mut revoked = 0;
            for (granting, epoch) in steps {
                let answer = if granting { give(&guest, epoch) } else { take(&guest, epoch) };
                if answer.is_ok() && !granting {
                    revoked = revoked.max(epoch);
                }
                if let Some(lease) = get(&guest, &app()).unwrap() {
                    prop_assert!(lease.epoch >= highest);
                    highest = lease.epoch;
                    if lease.state == LeaseState::Held {
                        prop_assert!(lease.epoch > revoked || revoked == 0);
                    }
                }
            }
        }
    }
}
