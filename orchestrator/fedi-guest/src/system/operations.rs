//! What the orchestrator asks for: activate, confirm, cancel, roll back, prune.

use std::path::{Path, PathBuf};
use std::time::Duration;

use uuid::Uuid;

use super::activation::{Record, Step, Store, is_final};
use super::folder::remove_unused;
use super::follow::follow;
use super::profile::Profile;
use super::{STORE, check, running};
use crate::command::{self, SHORT};
use crate::error::GuestError;
use crate::file;
use crate::guest::Guest;
use crate::protocol::{Activate, Activation, ErrorKind, Event, Phase, Prune, Pruned, Rollback};

/// A garbage collector root of Nix for a system that no generation holds yet.
pub(super) const NIX_ROOT: &str = "/nix/var/nix/gcroots/fedi-activation";

/// Starts the supervisor so that it outlives the session.
pub(crate) trait Launcher {
    /// Starts the supervisor of this activation.
    fn launch(&self, token: Uuid) -> Result<(), GuestError>;
    /// Whether it runs.
    fn alive(&self, token: Uuid) -> Result<bool, GuestError>;
}

/// The supervisor as a transient unit of systemd.
pub(crate) struct SystemdRun<'a> {
    pub guest: &'a Guest,
}

fn unit(token: Uuid) -> String {
    format!("fedi-activation-{token}.service")
}

impl Launcher for SystemdRun<'_> {
    fn launch(&self, token: Uuid) -> Result<(), GuestError> {
        let agent = agent_path()?;
        let mut systemd_run = self.guest.command("systemd-run");
        systemd_run.args(["--quiet", "--collect", "--service-type=exec"]);
        systemd_run.arg(format!("--unit={}", unit(token)));
        systemd_run.arg("--description=Activation of a system, rolled back unless confirmed");
        // Killed by accident it is started again, and goes on from its record.
        systemd_run.args(["--property=Restart=on-failure", "--property=RestartSec=200ms"]);
        systemd_run.args(["--property=OOMScoreAdjust=-900", "--property=RuntimeMaxSec=infinity"]);
        systemd_run.arg("--").arg(agent).arg("supervise").arg(token.to_string());
        command::succeed(systemd_run, SHORT).map(drop)
    }

    fn alive(&self, token: Uuid) -> Result<bool, GuestError> {
        let shown = crate::systemd::show_one(self.guest, &unit(token))?;
        Ok(matches!(shown.unit.active.as_str(), "active" | "activating" | "reloading"))
    }
}

/// The agent's own file, also if it has been replaced since it was started.
fn agent_path() -> Result<PathBuf, GuestError> {
    let path =
        std::env::current_exe().map_err(|source| GuestError::Start { program: "fedi-guest".to_owned(), source })?;
    match path.to_str().and_then(|text| text.strip_suffix(" (deleted)")) {
        Some(replaced) if !path.exists() => Ok(PathBuf::from(replaced)),
        _ => Ok(path),
    }
}

/// Activates a system and returns when it waits for its confirmation.
pub(crate) fn activate(
    guest: &Guest,
    launcher: &dyn Launcher,
    request: &Activate,
    emit: &mut dyn FnMut(Event),
) -> Result<Activation, GuestError> {
    let profile = Profile::at(&request.profile)?;
    check(guest, &request.system)?;
    valid_in_store(guest, &request.system)?;
    let wanted = Wanted {
        token: request.token,
        system: request.system.clone(),
        to_generation: None,
        confirm_within_s: request.confirm_within_s,
        timeout_s: request.timeout_s,
    };
    begin(guest, launcher, &profile, wanted, emit)
}

/// Activates an earlier generation and returns when it waits for its confirmation.
pub(crate) fn rollback(
    guest: &Guest,
    launcher: &dyn Launcher,
    request: &Rollback,
    emit: &mut dyn FnMut(Event),
) -> Result<Activation, GuestError> {
    let profile = Profile::at(&request.profile)?;
    let number = match request.generation {
        Some(number) => number,
        None => generation_before(guest, &profile)?,
    };
    let system = profile.system_of(guest, number)?;
    check(guest, &system)?;
    let wanted = Wanted {
        token: request.token,
        system,
        to_generation: Some(number),
        confirm_within_s: request.confirm_within_s,
        timeout_s: request.timeout_s,
    };
    begin(guest, launcher, &profile, wanted, emit)
}

fn generation_before(guest: &Guest, profile: &Profile) -> Result<u64, GuestError> {
    let all = profile.generations(guest)?.generations;
    let current = all.iter().position(|generation| generation.current);
    current.and_then(|at| at.checked_sub(1)).map(|at| all[at].number).ok_or_else(|| {
        GuestError::refused(ErrorKind::Missing, "There is no earlier generation to go back to")
            .with_hint("`fedi-guest generations` lists those there are")
    })
}

struct Wanted {
    token: Uuid,
    system: PathBuf,
    to_generation: Option<u64>,
    confirm_within_s: u32,
    timeout_s: u32,
}

fn begin(
    guest: &Guest,
    launcher: &dyn Launcher,
    profile: &Profile,
    wanted: Wanted,
    emit: &mut dyn FnMut(Event),
) -> Result<Activation, GuestError> {
    let token = wanted.token;
    let store = Store::of(guest);
    {
        let locked = store.lock()?;
        let last = store.last()?;
        match &last {
            Some(last) if last.activation.token == token => {
                if last.activation.system != wanted.system {
                    let message = format!("Activation {token} is of another system");
                    return Err(GuestError::refused(ErrorKind::Invalid, message));
                }
            }
            Some(last) if !is_final(&last.activation.phase) && launcher.alive(last.activation.token)? => {
                let message = format!("Activation {} of another system is under way", last.activation.token);
                return Err(GuestError::refused(ErrorKind::Busy, message)
                    .with_hint("Confirm or cancel it, or wait until it is rolled back"));
            }
            _ => {
                // What an activation left that died with its supervisor is nothing to go back to.
                let unfinished = last.filter(|last| !is_final(&last.activation.phase));
                let previous = match unfinished {
                    Some(unfinished) => unfinished.activation.previous,
                    None => running(guest)?,
                };
                let current = profile.current(guest)?;
                let previous = previous.or_else(|| current.as_ref().map(|current| current.1.clone()));
                protect_from_gc(guest, &wanted.system)?;
                let activation = Activation { token, system: wanted.system, previous, phase: Phase::Starting };
                locked.begin(&Record {
                    activation,
                    profile: profile.folder().to_owned(),
                    to_generation: wanted.to_generation,
                    generation_before: current.map(|current| current.0),
                    confirm_within_s: wanted.confirm_within_s,
                    timeout_s: wanted.timeout_s,
                })?;
            }
        }
    }
    let phase = store.get(token)?.activation.phase;
    if !is_final(&phase) && !launcher.alive(token)? {
        launcher.launch(token)?;
    }
    settled(follow(&store, token, launcher, true, emit)?)
}

/// Makes an activated system permanent.
pub(crate) fn confirm(
    guest: &Guest,
    launcher: &dyn Launcher,
    token: Uuid,
    emit: &mut dyn FnMut(Event),
) -> Result<Activation, GuestError> {
    let store = Store::of(guest);
    store.confirm(token)?;
    settled(follow(&store, token, launcher, false, emit)?)
}

/// Rolls an activated system back now.
pub(crate) fn cancel(
    guest: &Guest,
    launcher: &dyn Launcher,
    token: Uuid,
    emit: &mut dyn FnMut(Event),
) -> Result<Activation, GuestError> {
    let store = Store::of(guest);
    store.step(token, |_| Step::Cancel)?;
    let record = follow(&store, token, launcher, false, emit)?;
    match record.activation.phase {
        Phase::RolledBack { .. } => Ok(record.activation),
        _ => settled(record),
    }
}

/// Shows an activation as it is.
pub(crate) fn show(guest: &Guest, token: Option<Uuid>) -> Result<Activation, GuestError> {
    let store = Store::of(guest);
    if let Some(token) = token {
        return Ok(store.get(token)?.activation);
    }
    let last = store.last()?.map(|record| record.activation);
    last.ok_or_else(|| GuestError::refused(ErrorKind::UnknownActivation, "Nothing was activated since the last boot"))
}

fn settled(record: Record) -> Result<Activation, GuestError> {
    match record.activation.phase {
        Phase::RolledBack { .. } | Phase::RollbackFailed { .. } => {
            Err(GuestError::Activation { activation: Box::new(record.activation) })
        }
        _ => Ok(record.activation),
    }
}

/// Asks Nix whether a path of its store is whole.
fn valid_in_store(guest: &Guest, system: &Path) -> Result<(), GuestError> {
    if !system.starts_with(STORE) {
        return Ok(());
    }
    let mut nix_store = guest.command("nix-store");
    nix_store.env("HOME", "/root").arg("--check-validity").arg(system);
    match command::succeed(nix_store, SHORT) {
        Err(GuestError::Tool { .. }) => {
            let message = format!("`{}` is not a valid path of the guest's Nix store", system.display());
            Err(GuestError::refused(ErrorKind::Missing, message).with_hint("Copy the system's closure first"))
        }
        other => other.map(drop),
    }
}

fn protect_from_gc(guest: &Guest, system: &Path) -> Result<(), GuestError> {
    let root = guest.path(NIX_ROOT);
    if system.starts_with(STORE) && root.parent().is_some_and(Path::is_dir) {
        file::replace_link(system, &root)?;
    }
    Ok(())
}

/// Removes old generations, and prebuilt systems that none holds any more.
pub(crate) fn prune(guest: &Guest, request: &Prune) -> Result<Pruned, GuestError> {
    let profile = Profile::at(&request.profile)?;
    let all = profile.generations(guest)?.generations;
    let keep = usize::try_from(request.keep.max(1)).unwrap_or(usize::MAX);
    let older = &all[..all.len().saturating_sub(keep)];
    let gone = older.iter().filter(|generation| !generation.current && !generation.running);
    let generations: Vec<u64> = gone.map(|generation| generation.number).collect();
    let store = Store::of(guest);
    let locked = store.lock()?;
    let pending = store.last()?.filter(|record| !is_final(&record.activation.phase));
    if pending.is_some() {
        return Err(GuestError::refused(ErrorKind::Busy, "An activation is under way")
            .with_hint("Prune once it is confirmed or rolled back"));
    }
    profile.remove(guest, &generations)?;
    let systems = remove_unused(guest)?;
    drop(locked);
    Ok(Pruned { generations, systems })
}

/// Longest time for a step of an activation.
pub(super) fn limit(record: &Record) -> Duration {
    Duration::from_secs(u64::from(record.timeout_s.max(1)))
}
