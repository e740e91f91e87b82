//! What the operations answer. Sizes are bytes, times are UTC.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use fedi_model::{AppName, SecretName};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::GateAction;

/// Answer to `ping`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pong {
    /// Version of the agent.
    pub version: String,
    /// Changes with every boot.
    pub boot_id: String,
}

/// What is true of a guest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// Version of the agent.
    pub agent: String,
    /// The guest's identity: `/etc/fedi/guest-uuid` (machines without SMBIOS),
    /// otherwise the SMBIOS uuid. `None` where there is neither.
    pub uuid: Option<Uuid>,
    /// Host name, as the kernel has it.
    pub hostname: String,
    /// Changes with every boot.
    pub boot_id: String,
    /// Seconds since boot.
    pub uptime_s: f64,
    /// The guest's clock.
    pub time: Timestamp,
    /// What `/etc/os-release` says.
    pub os: OperatingSystem,
    /// Addresses of every interface but loopback.
    pub addresses: Vec<Address>,
    /// Mounted file systems that hold data.
    pub filesystems: Vec<Filesystem>,
    /// Memory.
    pub memory: Memory,
    /// The running system and its profile.
    pub system: SystemFacts,
    /// The manifest.
    pub manifest: ManifestFacts,
    /// Leases, by application.
    pub leases: BTreeMap<AppName, Lease>,
    /// Delivered secrets, by application and name; never their values.
    pub secrets: BTreeMap<AppName, BTreeMap<SecretName, SecretFacts>>,
    /// The public keys of sshd, as lines of `known_hosts` without the host.
    pub ssh_host_keys: Vec<String>,
}

/// What `/etc/os-release` says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatingSystem {
    /// `nixos`, `debian`, ...
    pub id: String,
    /// `26.05`, `12`, ...
    pub version: String,
    /// For people.
    pub name: String,
}

/// An address of an interface.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Address {
    /// Name of the interface.
    pub interface: String,
    /// The address.
    pub address: IpAddr,
    /// Length of the prefix, in bits.
    pub prefix: u8,
}

/// A mounted file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filesystem {
    /// Where it is mounted.
    pub mount: PathBuf,
    /// `ext4`, `overlay`, ...
    pub kind: String,
    /// Its size.
    pub bytes: u64,
    /// What an unprivileged process could still write.
    pub bytes_available: u64,
    /// Number of inodes; 0 where the file system has no such limit.
    pub inodes: u64,
    /// Inodes left.
    pub inodes_available: u64,
    /// Mounted read-only.
    pub read_only: bool,
}

/// Memory, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// All of it.
    pub total: u64,
    /// What could be had without swapping.
    pub available: u64,
    /// Swap space.
    pub swap_total: u64,
    /// Unused swap space.
    pub swap_free: u64,
}

/// The running system and its profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemFacts {
    /// What is active: where `/run/current-system` leads.
    pub running: Option<PathBuf>,
    /// Folder of the profile.
    pub profile: PathBuf,
    /// What boots: the profile's current generation.
    pub generation: Option<u64>,
    /// Where that generation leads.
    pub generation_system: Option<PathBuf>,
}

/// The manifest on the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestFacts {
    /// Whether `/etc/fedi/manifest.json` exists.
    pub present: bool,
    /// SHA-256 of its bytes, lower-case hexadecimal.
    pub sha256: Option<String>,
}

/// The right to run an application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Held, revoked, or bound to another machine.
    pub state: LeaseState,
    /// Only grows.
    pub epoch: u64,
    /// Uuid of the guest it was granted to.
    pub holder: Option<Uuid>,
    /// When it was granted or revoked, by the guest's clock.
    pub since: Timestamp,
}

/// Whether a lease lets the application run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaseState {
    /// Yes.
    Held,
    /// No: taken away.
    Revoked,
    /// No: granted to a machine with another uuid; this disk is a copy.
    Elsewhere,
}

/// Answer to `lease_show`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leases {
    /// By application; one that never had a lease is absent.
    pub leases: BTreeMap<AppName, Lease>,
}

/// What is known of a delivered secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretFacts {
    /// Version that was delivered.
    pub version: u64,
    /// As it was delivered.
    pub fingerprint: String,
    /// Whether the file still is what was delivered.
    pub state: SecretState,
}

/// Whether a secret's file is what was delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretState {
    /// It is.
    Intact,
    /// It is, but its owner did not exist yet; still root's.
    Held,
    /// Its content, owner or mode is another.
    Changed,
    /// There is no such file.
    Missing,
}

/// Answer to `secrets_deliver` and `secrets_settle`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretDelivered {
    /// Written anew or given to another owner.
    pub written: Vec<SecretName>,
    /// Already there, of the same version and content.
    pub unchanged: Vec<SecretName>,
    /// Removed, since not listed.
    pub removed: Vec<String>,
    /// Written, but still root's: owner or group does not exist yet.
    pub held: Vec<SecretName>,
}

/// Answer to `units`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Units {
    /// In the order of the request.
    pub units: Vec<Unit>,
}

/// The state of a unit (`systemctl show`, see org.freedesktop.systemd1(5)).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// Full name.
    pub name: String,
    /// For people.
    pub description: String,
    /// `loaded`, `not-found`, `masked`, ...
    pub load: String,
    /// `active`, `inactive`, `failed`, `activating`, ...
    pub active: String,
    /// `running`, `exited`, `dead`, ...
    pub sub: String,
    /// `success`, `exit-code`, `timeout`, ...; services only.
    pub result: Option<String>,
    /// Exit status of the main process; services only.
    pub exit_status: Option<i32>,
    /// Automatic restarts so far; services only.
    pub restarts: Option<u32>,
}

/// Answer to `run_hook`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookResult {
    /// Whether it ended well.
    pub succeeded: bool,
    /// Whether it was stopped since it took too long.
    pub timed_out: bool,
    /// Its state afterwards.
    pub unit: Unit,
    /// The last lines of its journal from this run.
    pub journal: Vec<String>,
}

/// Answer to `gate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gated {
    /// The gate afterwards.
    pub gate: Unit,
    /// Units of the application that are failed, or are active behind a stopped gate.
    pub wrong: Vec<Unit>,
}

impl Gated {
    /// What is not as `action` should have left it, in words; empty if all is.
    pub fn troubles(&self, action: GateAction) -> Vec<String> {
        let stands = match action {
            GateAction::Start => self.gate.active == "active",
            GateAction::Stop => matches!(self.gate.active.as_str(), "inactive" | "failed"),
        };
        let gate = (!stands).then_some(&self.gate);
        let say = |unit: &Unit| format!("`{}` is {} ({})", unit.name, unit.active, unit.sub);
        gate.into_iter().chain(&self.wrong).map(say).collect()
    }
}

/// Answer to `health`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// No problem was found.
    pub healthy: bool,
    /// What was found.
    pub problems: Vec<Problem>,
    /// Every unit of the applications asked for, the gate first.
    pub units: Vec<Unit>,
    /// The probe of each application that has one.
    pub probes: BTreeMap<AppName, HookResult>,
}

/// Something that is not well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What it concerns: a unit, a mount point, ...
    pub subject: String,
    /// In words.
    pub message: String,
    /// Whether it stays until somebody mends it: waiting is no use.
    #[serde(default)]
    pub lasting: bool,
}

/// An activation and how far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activation {
    /// As requested.
    pub token: Uuid,
    /// The system that is activated.
    pub system: PathBuf,
    /// What was active before, and is again after a rollback.
    pub previous: Option<PathBuf>,
    /// How far it is.
    #[serde(flatten)]
    pub phase: Phase,
}

/// How far an activation is. `Confirmed`, `RolledBack` and `RollbackFailed` are final.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum Phase {
    /// Recorded; the supervisor has not begun.
    Starting,
    /// `switch-to-configuration test` runs.
    Switching,
    /// Active; waits for `confirm`.
    Waiting {
        /// When it is rolled back, in milliseconds since boot.
        deadline_ms: u64,
    },
    /// Confirmed; profile and boot loader are being set.
    Committing,
    /// Active and permanent.
    Confirmed {
        /// The profile's generation.
        generation: u64,
    },
    /// The earlier system is being activated again.
    RollingBack {
        /// Why.
        reason: Reason,
    },
    /// The earlier system is active again; `previous` of the activation says which.
    RolledBack {
        /// Why.
        reason: Reason,
    },
    /// Neither system is properly active. The next boot has the earlier one.
    RollbackFailed {
        /// Why a rollback was needed.
        reason: Reason,
        /// Why it failed.
        error: String,
    },
}

/// Why an activation was rolled back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Reason {
    /// `switch-to-configuration` failed.
    ActivationFailed {
        /// How it ended, in words.
        status: String,
        /// The last lines that it wrote.
        output: Vec<String>,
    },
    /// It took longer than allowed.
    ActivationTimeout {
        /// The limit, in seconds.
        seconds: u32,
    },
    /// Nobody confirmed in time.
    NotConfirmed {
        /// The limit, in seconds.
        seconds: u32,
    },
    /// `cancel`.
    Cancelled,
    /// Profile or boot loader could not be set.
    CommitFailed {
        /// In words.
        error: String,
    },
    /// The supervisor died while it switched.
    SupervisorDied,
}

/// Answer to `generations`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generations {
    /// Folder of the profile.
    pub profile: PathBuf,
    /// Oldest first.
    pub generations: Vec<Generation>,
}

/// A generation of a system profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// Its number.
    pub number: u64,
    /// Where it leads.
    pub system: PathBuf,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// What boots.
    pub current: bool,
    /// What is active now.
    pub running: bool,
}

/// Answer to `stage_system`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedSystem {
    /// The system is already there and whole: nothing to copy.
    pub present: bool,
    /// Where to copy it.
    pub staging: PathBuf,
    /// Where it will be once sealed.
    pub system: PathBuf,
    /// An earlier system, for `rsync --link-dest`.
    pub base: Option<PathBuf>,
}

/// Answer to `seal_system`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedSystem {
    /// Where it is.
    pub system: PathBuf,
}

/// Answer to `prune`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pruned {
    /// Generations that are gone.
    pub generations: Vec<u64>,
    /// Folders that are gone.
    pub systems: Vec<PathBuf>,
}
