//! Carries operations out: the one way in, for sessions and commands alike.

use std::path::PathBuf;

use fedi_model::AppName;
use serde_json::Value;
use uuid::Uuid;

use crate::error::GuestError;
use crate::guest::Guest;
use crate::protocol::{Call, ErrorKind, Event, Op, Phase, Pong, Units};
use crate::{facts, health, hook, lease, secrets, system, systemd};

/// Carries one operation out; what happens meanwhile goes to `emit`.
pub fn perform(guest: &Guest, op: Op, emit: &mut dyn FnMut(Event)) -> Result<Value, GuestError> {
    let launcher = system::SystemdRun { guest };
    match op {
        Op::Ping(_) => value(&Pong { version: env!("CARGO_PKG_VERSION").to_owned(), boot_id: guest.boot_id()? }),
        Op::Facts(request) => value(&facts::gather(guest, &request)?),
        Op::LeaseGrant(request) => value(&lease::grant(guest, &request)?),
        Op::LeaseRevoke(request) => value(&lease::revoke(guest, &request)?),
        Op::LeaseShow(request) => value(&lease::show(guest, request.app.as_ref())?),
        Op::SecretsDeliver(request) => value(&secrets::deliver(guest, &request)?),
        Op::SecretsSettle(request) => value(&secrets::settle(guest, &request.app)?),
        Op::Units(request) => {
            let units = systemd::show(guest, &request.units)?.into_iter().map(|shown| shown.unit).collect();
            value(&Units { units })
        }
        Op::RunHook(request) => value(&hook::run(guest, &request)?),
        Op::Gate(request) => value(&hook::gate(guest, &request)?),
        Op::Health(request) => value(&health::check(guest, &request)?),
        Op::Activate(request) => value(&system::activate(guest, &launcher, &request, emit)?),
        Op::ActivationShow(request) => value(&system::show(guest, request.token)?),
        Op::Confirm(request) => value(&system::confirm(guest, &launcher, request.token, emit)?),
        Op::Cancel(request) => value(&system::cancel(guest, &launcher, request.token, emit)?),
        Op::Rollback(request) => value(&system::rollback(guest, &launcher, &request, emit)?),
        Op::Generations(request) => {
            value(&system::Profile::chosen(guest, request.profile.as_deref())?.generations(guest)?)
        }
        Op::StageSystem(request) => value(&system::stage(guest, &request)?),
        Op::SealSystem(request) => value(&system::seal(guest, &request)?),
        Op::Prune(request) => value(&system::prune(guest, &request)?),
        Op::StatePause(_)
        | Op::StateResume(_)
        | Op::StateCapture(_)
        | Op::StatePlaces(_)
        | Op::StateRestore(_)
        | Op::StateVerify(_)
        | Op::StateClear(_)
        | Op::BackupConfigure(_)
        | Op::BackupStatus(_) => Err(GuestError::refused(
            ErrorKind::Unsupported,
            format!("This agent does not carry `{}` out yet", op.name()),
        )),
    }
}

/// As [`perform`], with the type of the answer.
pub fn call<C: Call>(guest: &Guest, request: C, emit: &mut dyn FnMut(Event)) -> Result<C::Reply, GuestError> {
    let answer = perform(guest, request.into(), emit)?;
    serde_json::from_value(answer).map_err(|error| internal(&error))
}

fn value(reply: &impl serde::Serialize) -> Result<Value, GuestError> {
    serde_json::to_value(reply).map_err(|error| internal(&error))
}

fn internal(error: &serde_json::Error) -> GuestError {
    GuestError::refused(ErrorKind::Io, format!("The answer cannot be expressed: {error}"))
}

/// Refuses unless this guest holds the application's lease: what a unit asks
/// before it lets the application start.
pub fn require_lease(guest: &Guest, app: &AppName) -> Result<(), GuestError> {
    lease::require(guest, app).map(drop)
}

/// Carries an activation on to its end; what the transient unit runs.
pub fn supervise(guest: &Guest, token: Uuid) -> Result<Phase, GuestError> {
    system::supervise(guest, token)
}

/// Activates the permanent prebuilt system unless it is active; what a unit runs
/// at boot. Returns the system if there was something to do.
pub fn activate_at_boot(guest: &Guest) -> Result<Option<PathBuf>, GuestError> {
    system::activate_at_boot(guest)
}
