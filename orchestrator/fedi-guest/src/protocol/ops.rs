//! The operations: what each takes, and the type of what it answers.

use std::path::PathBuf;

use fedi_model::AppName;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::reply::{
    Activation, Facts, Gated, Generations, Health, HookResult, Lease, Leases, Pong, Pruned, SealedSystem,
    SecretDelivered, StagedSystem, Units,
};
use super::secret::Secret;
use super::state::{
    BackupConfigure, BackupStatus, BackupStatusRequest, StateCapture, StateCaptured, StateClear, StateCleared,
    StatePause, StatePaused, StatePlaces, StatePlacesFound, StateRestore, StateResume, StateVerified, StateVerify,
};

/// An operation together with the type of its answer.
pub trait Call: Into<Op> {
    /// The type of the `ok` value.
    type Reply: DeserializeOwned + Serialize;
}

macro_rules! operations {
    ($($(#[$doc:meta])* $name:literal $variant:ident($request:ty) -> $reply:ty;)*) => {
        /// An operation, as the `op` field and the fields beside it.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "op")]
        pub enum Op {
            $($(#[$doc])* #[serde(rename = $name)] $variant($request),)*
        }

        impl Op {
            /// Every operation that this build knows, as it stands in `op`.
            pub const NAMES: &'static [&'static str] = &[$($name),*];

            /// Whether requests of this name hold secrets, so that nothing of them may be
            /// quoted.
            pub(crate) fn carries_secrets(name: &str) -> bool {
                matches!(
                    name,
                    "secrets_deliver" | "state_capture" | "state_restore" | "state_verify" | "state_clear" | "backup_configure"
                )
            }

            /// Whether it is called off when its client closes its side.
            pub fn is_state(&self) -> bool {
                self.name().starts_with("state_")
            }

            /// The operation's name, as it stands in `op`.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $name,)*
                }
            }
        }

        $(
            impl From<$request> for Op {
                fn from(request: $request) -> Self {
                    Self::$variant(request)
                }
            }

            impl Call for $request {
                type Reply = $reply;
            }
        )*
    };
}

operations! {
    /// Is anybody there?
    "ping" Ping(Ping) -> Pong;
    /// What is true of the guest.
    "facts" Facts(FactsRequest) -> Facts;
    /// Gives this guest the right to run an application.
    "lease_grant" LeaseGrant(LeaseGrant) -> Lease;
    /// Takes the right away and remembers the epoch.
    "lease_revoke" LeaseRevoke(LeaseRevoke) -> Lease;
    /// Shows the leases.
    "lease_show" LeaseShow(LeaseShow) -> Leases;
    /// Writes an application's secrets and removes those that are not listed.
    "secrets_deliver" SecretsDeliver(SecretsDeliver) -> SecretDelivered;
    /// Gives delivered secrets to owners that did not exist at delivery. An activation
    /// and the start of a gate do it by themselves.
    "secrets_settle" SecretsSettle(SecretsSettle) -> SecretDelivered;
    /// The states of units.
    "units" Units(UnitsRequest) -> Units;
    /// Starts a oneshot unit and waits for its end.
    "run_hook" RunHook(RunHook) -> HookResult;
    /// Starts or stops an application's gate.
    "gate" Gate(Gate) -> Gated;
    /// Whether the guest and its applications are well.
    "health" Health(HealthRequest) -> Health;
    /// Activates a system under a supervisor that rolls back unless confirmed.
    "activate" Activate(Activate) -> Activation;
    /// Shows the last activation since boot.
    "activation_show" ActivationShow(ActivationShow) -> Activation;
    /// Makes an activated system permanent.
    "confirm" Confirm(Confirm) -> Activation;
    /// Rolls an activated system back at once.
    "cancel" Cancel(Cancel) -> Activation;
    /// Activates an earlier generation under the same supervisor.
    "rollback" Rollback(Rollback) -> Activation;
    /// The generations of a system profile.
    "generations" Generations(GenerationsRequest) -> Generations;
    /// Makes a place to copy a prebuilt system to.
    "stage_system" StageSystem(StageSystem) -> StagedSystem;
    /// Checks a copied prebuilt system and puts it in its final place.
    "seal_system" SealSystem(SealSystem) -> SealedSystem;
    /// Removes old generations and what only they used.
    "prune" Prune(Prune) -> Pruned;
    /// Takes an application out of service, so that nothing of its state moves.
    "state_pause" StatePause(StatePause) -> StatePaused;
    /// Starts it again; refused without the lease.
    "state_resume" StateResume(StateResume) -> Gated;
    /// Captures an application's state into a repository.
    "state_capture" StateCapture(StateCapture) -> StateCaptured;
    /// What is in the places of an application's state.
    "state_places" StatePlaces(StatePlaces) -> StatePlacesFound;
    /// Brings a snapshot back into empty places and verifies it; refused under the lease.
    "state_restore" StateRestore(StateRestore) -> StateVerified;
    /// Compares the places with a snapshot.
    "state_verify" StateVerify(StateVerify) -> StateVerified;
    /// Empties the places, given a snapshot that makes up for it; refused under the lease.
    "state_clear" StateClear(StateClear) -> StateCleared;
    /// Sets up the guest's own backups, or takes them away.
    "backup_configure" BackupConfigure(BackupConfigure) -> BackupStatus;
    /// What the guest's own backups have done.
    "backup_status" BackupStatus(BackupStatusRequest) -> BackupStatus;
}

/// See [`Op::Ping`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ping {}

/// See [`Op::Facts`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FactsRequest {
    /// Folder of the system profile; by default the one that exists, NixOS's first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<PathBuf>,
}

/// See [`Op::LeaseGrant`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseGrant {
    /// The application.
    pub app: AppName,
    /// Larger than every epoch before, or the one that is already held.
    pub epoch: u64,
    /// The uuid of the guest that shall hold it: this guest's own (SMBIOS uuid).
    pub holder: Uuid,
}

/// See [`Op::LeaseRevoke`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRevoke {
    /// The application.
    pub app: AppName,
    /// No epoch up to and including this one will be accepted again.
    pub epoch: u64,
}

/// See [`Op::LeaseShow`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseShow {
    /// One application, or all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<AppName>,
}

/// See [`Op::SecretsDeliver`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretsDeliver {
    /// The application.
    pub app: AppName,
    /// All its secrets; what is not listed is removed from the guest.
    pub secrets: Vec<Secret>,
}

/// See [`Op::SecretsSettle`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretsSettle {
    /// The application.
    pub app: AppName,
}

/// See [`Op::Units`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitsRequest {
    /// Full unit names.
    pub units: Vec<String>,
}

/// See [`Op::RunHook`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunHook {
    /// Full name of a oneshot service.
    pub unit: String,
    /// After this many seconds it is stopped and counts as failed.
    pub timeout_s: u32,
}

/// See [`Op::Gate`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    /// The application, as the manifest names it.
    pub app: AppName,
    /// What to do.
    pub action: GateAction,
    /// Longest time, in seconds.
    pub timeout_s: u32,
}

/// What to do with a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateAction {
    /// Start it; refused without the lease, or when a delivered secret is not whole.
    Start,
    /// Stop it and everything behind it.
    Stop,
}

/// See [`Op::Health`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthRequest {
    /// One application, or every one of the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<AppName>,
    /// Whether to run the probe units; otherwise their last result counts.
    #[serde(default)]
    pub probe: bool,
}

/// See [`Op::Activate`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activate {
    /// Chosen by the client and journaled before: the same token joins the
    /// activation that is under way instead of starting another.
    pub token: Uuid,
    /// The system: has `bin/switch-to-configuration` and lies in `/nix/store` or
    /// `/var/lib/fedi/systems`.
    pub system: PathBuf,
    /// Folder of the profile: `/nix/var/nix/profiles` or
    /// `/var/lib/fedi/system-profiles`.
    pub profile: PathBuf,
    /// How long the activated system waits for `confirm`, in seconds.
    pub confirm_within_s: u32,
    /// How long the activation itself may take, in seconds.
    pub timeout_s: u32,
}

/// See [`Op::ActivationShow`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActivationShow {
    /// The activation, or the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Uuid>,
}

/// See [`Op::Confirm`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirm {
    /// The activation.
    pub token: Uuid,
}

/// See [`Op::Cancel`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancel {
    /// The activation.
    pub token: Uuid,
}

/// See [`Op::Rollback`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollback {
    /// As in [`Activate::token`].
    pub token: Uuid,
    /// As in [`Activate::profile`].
    pub profile: PathBuf,
    /// The generation to go back to; by default the one before the current.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// As in [`Activate::confirm_within_s`].
    pub confirm_within_s: u32,
    /// As in [`Activate::timeout_s`].
    pub timeout_s: u32,
}

/// See [`Op::Generations`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerationsRequest {
    /// As in [`FactsRequest::profile`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<PathBuf>,
}

/// See [`Op::StageSystem`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageSystem {
    /// Digest of the folder, as [`crate::tree::digest`] makes it.
    pub digest: String,
}

/// See [`Op::SealSystem`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealSystem {
    /// As in [`StageSystem::digest`].
    pub digest: String,
}

/// See [`Op::Prune`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prune {
    /// As in [`Activate::profile`].
    pub profile: PathBuf,
    /// How many generations to keep; the current and the running one always stay.
    pub keep: u32,
}
