//! Carries operations out: the one way in, for sessions and commands alike.

use std::path::PathBuf;
use std::sync::mpsc;

use fedi_model::AppName;
use fedi_state::Cancel;
use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use crate::error::GuestError;
use crate::guest::Guest;
use crate::protocol::{Call, ErrorKind, Event, Op, Phase, Pong, Units};
use crate::{backup, facts, health, hook, lease, secrets, state, system, systemd};

pub use crate::backup::Outcome as BackupOutcome;

/// Carries one operation out; what happens meanwhile goes to `emit`.
pub fn perform(guest: &Guest, op: Op, emit: &mut dyn FnMut(Event)) -> Result<Value, GuestError> {
    perform_cancellable(guest, op, &Cancel::default(), emit)
}

/// As [`perform`]; `cancel` calls off what can be called off ([`Op::is_state`]).
pub fn perform_cancellable(
    guest: &Guest,
    op: Op,
    cancel: &Cancel,
    emit: &mut dyn FnMut(Event),
) -> Result<Value, GuestError> {
    let launcher = system::SystemdRun { guest };
    match op {
        Op::Ping(_) => value(&Pong { version: env!("CARGO_PKG_VERSION").to_owned(), boot_id: guest.boot_id()? }),
        Op::Facts(request) => value(&facts::gather(guest, &request)?),
        Op::LeaseGrant(request) => value(&lease::grant(guest, &request, Timestamp::now())?),
        Op::LeaseRevoke(request) => value(&lease::revoke(guest, &request, Timestamp::now())?),
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
        Op::StateResume(request) => value(&state::resume(guest, &request)?),
        Op::BackupConfigure(request) => value(&backup::configure(guest, &request)?),
        Op::BackupStatus(request) => value(&backup::status(guest, &request)?),
        Op::StatePause(_)
        | Op::StateCapture(_)
        | Op::StatePlaces(_)
        | Op::StateRestore(_)
        | Op::StateVerify(_)
        | Op::StateClear(_) => watched(guest, op, cancel, emit),
    }
}

/// An operation on state, on a thread of its own: what it tells comes from any thread.
fn watched(guest: &Guest, op: Op, cancel: &Cancel, emit: &mut dyn FnMut(Event)) -> Result<Value, GuestError> {
    let (events, told) = mpsc::channel();
    let session = state::Session::new(events, cancel.clone());
    std::thread::scope(|scope| {
        let working = scope.spawn(move || match op {
            Op::StatePause(request) => value(&state::pause(guest, &request, &session)?),
            Op::StateCapture(request) => value(&state::capture(guest, &request, &session)?),
            Op::StatePlaces(request) => value(&state::places(guest, &request, &session)?),
            Op::StateRestore(request) => value(&state::restore(guest, &request, &session)?),
            Op::StateVerify(request) => value(&state::verify(guest, &request, &session)?),
            Op::StateClear(request) => value(&state::clear(guest, &request, &session)?),
            other => {
                let message = format!("`{}` is no operation on state", other.name());
                Err(GuestError::refused(ErrorKind::Unsupported, message))
            }
        });
        // Ends when the operation does, which holds the other side.
        told.iter().for_each(&mut *emit);
        working.join().unwrap_or_else(|_| {
            Err(GuestError::refused(ErrorKind::Io, "The agent made a mistake; its standard error says which"))
        })
    })
}

/// As [`perform`], with the type of the answer.
pub fn call<C: Call>(guest: &Guest, request: C, emit: &mut dyn FnMut(Event)) -> Result<C::Reply, GuestError> {
    call_cancellable(guest, request, &Cancel::default(), emit)
}

/// As [`perform_cancellable`], with the type of the answer.
pub fn call_cancellable<C: Call>(
    guest: &Guest,
    request: C,
    cancel: &Cancel,
    emit: &mut dyn FnMut(Event),
) -> Result<C::Reply, GuestError> {
    let answer = perform_cancellable(guest, request.into(), cancel, emit)?;
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

/// Makes a backup as it is configured on this guest: what a timer's service runs.
pub fn back_up(
    guest: &Guest,
    app: &AppName,
    cancel: &Cancel,
    emit: &mut dyn FnMut(Event),
) -> Result<BackupOutcome, GuestError> {
    backup::run(guest, app, cancel, emit)
}

/// Starts an application that a backup paused and was killed before it started it again.
pub fn after_backup(guest: &Guest, app: &AppName) -> Result<(), GuestError> {
    backup::resume(guest, app, &mut |_| {})
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
