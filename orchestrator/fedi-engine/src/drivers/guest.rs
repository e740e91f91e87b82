//! A guest, reached over SSH, where `fedi-guest` does the work.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use fedi_model::name::{AppName, SecretName};
use fedi_model::resource::{Delivery, GuestRef, Lease};

use super::{
    BackupConfig, BackupStatus, Capture, Captured, DriverError, Paused, Place, RepositoryAccess, Restore, Restored,
    SecretValue, StepContext,
};

/// Opens sessions to guests.
#[async_trait]
pub trait GuestAccess: Send + Sync {
    /// The host key that the guest shows at its first contact, unverified: for
    /// `host-key-pin = "first-contact"` only. `None` while nothing answers.
    async fn shown_host_key(&self, guest: &GuestRef) -> Result<Option<String>, DriverError>;

    /// Opens a session. `host_key` is the pinned key, the only one accepted; a guest
    /// that shows another is refused with [`super::DriverErrorKind::Foreign`].
    /// [`super::DriverErrorKind::Unavailable`] while it does not answer.
    async fn open(&self, guest: &GuestRef, host_key: &str) -> Result<Box<dyn GuestSession>, DriverError>;
}

/// A session with the agent on one guest.
#[async_trait]
pub trait GuestSession: Send + Sync {
    /// What the guest is and has.
    async fn facts(&mut self) -> Result<Facts, DriverError>;

    /// Gives the guest the right to run the application. A smaller epoch than it has
    /// seen is refused.
    async fn grant_lease(&mut self, lease: &Lease) -> Result<(), DriverError>;

    /// Takes the right away and stops the application. Returns the last epoch.
    async fn revoke_lease(&mut self, app: &AppName) -> Result<u64, DriverError>;

    /// Writes the secrets into root-only files and removes those not named.
    async fn deliver(
        &mut self,
        delivery: &Delivery,
        values: &BTreeMap<SecretName, (SecretValue, u32)>,
    ) -> Result<(), DriverError>;

    /// Starts a oneshot unit and waits for its end.
    async fn run_unit(
        &mut self,
        unit: &str,
        timeout: Duration,
        cx: &dyn StepContext,
    ) -> Result<HookOutcome, DriverError>;

    /// Stops all that is behind the application's gate and starts it again, each within
    /// `timeout`. Refused without the lease.
    async fn restart(&mut self, app: &AppName, timeout: Duration, cx: &dyn StepContext) -> Result<(), DriverError>;

    /// The states of the application's units and of the guest.
    async fn health(&mut self, app: &AppName) -> Result<Vec<UnitHealth>, DriverError>;

    /// Switches to a system that is already on the guest, under a supervisor that goes
    /// back unless [`GuestSession::confirm`] comes in time.
    async fn activate(&mut self, activation: &Activation, cx: &dyn StepContext) -> Result<Confirm, DriverError>;

    /// Confirms an activation.
    async fn confirm(&mut self, confirm: &Confirm) -> Result<(), DriverError>;

    /// Takes the application out of service: its `quiesce` hook, with `drain` its
    /// `drain` hook, then the gate. Returns when no process of it is left and its
    /// databases have no session but fedi's. What was paused is paused.
    async fn pause_state(&mut self, app: &AppName, drain: bool, cx: &dyn StepContext) -> Result<Paused, DriverError>;

    /// Starts a paused application again. Refused without the lease.
    async fn resume_state(&mut self, app: &AppName, cx: &dyn StepContext) -> Result<(), DriverError>;

    /// Captures the application's state into a repository, which is made where there is
    /// none. A second call with the same `run` returns what the first one stored. A
    /// quiesced capture is refused while the application runs. On a failure, and when
    /// it is interrupted, the source is as it was.
    async fn capture_state(&mut self, capture: &Capture, cx: &dyn StepContext) -> Result<Captured, DriverError>;

    /// What is in the places of the application's state, one entry an item.
    async fn state_places(&mut self, app: &AppName) -> Result<Vec<Place>, DriverError>;

    /// Brings a snapshot back into empty places and verifies each. Refused while the
    /// guest holds the lease or a process of the application runs
    /// ([`super::DriverErrorKind::Drift`]), and where a place is not empty
    /// ([`super::DriverErrorKind::Foreign`]). A second call goes on where the first was cut off.
    async fn restore_state(&mut self, restore: &Restore, cx: &dyn StepContext) -> Result<Restored, DriverError>;

    /// Compares the places with a snapshot again; before the application starts.
    async fn verify_state(&mut self, restore: &Restore, cx: &dyn StepContext) -> Result<Restored, DriverError>;

    /// Empties the places, to restore into them. Refused unless the repository has the
    /// quiesced snapshot `fail_safe` of this deployment, and under the same
    /// conditions as [`GuestSession::restore_state`].
    async fn clear_state(
        &mut self,
        app: &AppName,
        repository: &RepositoryAccess,
        fail_safe: &str,
        cx: &dyn StepContext,
    ) -> Result<(), DriverError>;

    /// Gives the guest's own backup timer what it needs, or takes it away with `None`.
    async fn configure_backup(&mut self, app: &AppName, config: Option<&BackupConfig>) -> Result<(), DriverError>;

    /// What the guest's own backups have done so far.
    async fn backup_status(&mut self, app: &AppName) -> Result<BackupStatus, DriverError>;
}

/// What a guest is and has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The VM's UUID as the guest sees it.
    pub uuid: Option<uuid::Uuid>,
    /// Version of the agent.
    pub agent_version: String,
    /// Host name.
    pub hostname: String,
    /// Seconds since boot.
    pub uptime_s: u64,
    /// Store path of the running system, `None` before the first activation.
    pub system: Option<String>,
    /// Epoch of the lease it holds, by application.
    pub leases: BTreeMap<String, u64>,
    /// Highest epoch it has seen, by application.
    pub seen_epochs: BTreeMap<String, u64>,
    /// Delivered versions, by application and secret.
    pub secrets: BTreeMap<String, BTreeMap<String, u32>>,
    /// Free bytes, by mount point.
    pub free_bytes: BTreeMap<String, u64>,
}

/// A system to switch to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activation {
    /// Its store path on the guest.
    pub toplevel: String,
    /// The profile that keeps its generations.
    pub profile: String,
    /// How long the guest waits for the word before it goes back.
    pub confirm_within: Duration,
}

/// What confirms an activation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirm {
    /// Names the activation on the guest.
    pub token: String,
}

/// How a oneshot unit ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookOutcome {
    /// systemd's word: `success`, `exit-code`, `timeout`, ...
    pub result: String,
    /// Last lines of its journal.
    pub log: Vec<String>,
}

/// A unit of an application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitHealth {
    /// Its name.
    pub unit: String,
    /// Whether it is as it should be.
    pub healthy: bool,
    /// systemd's words: `active (running)`.
    pub state: String,
    /// Whether it stays as it is until somebody mends it.
    pub lasting: bool,
}
