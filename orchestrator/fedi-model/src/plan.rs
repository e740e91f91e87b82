//! A plan is data: stages of steps. What the operator sees, what `--json` prints,
//! what is journaled and what is carried out is this one value.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::manifest::{Admin, Endpoint};
use crate::name::{AppName, DeploymentName, HostName, RepositoryName};
use crate::resource::{GuestRef, Records, Resource, ResourceId, SnapshotRef};
use crate::state::Consistency;

/// The version of the plan that `--json` prints and the journal keeps.
pub const SCHEMA: u32 = 1;

/// What a run is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Workflow {
    /// Bring a deployment up, or to what its files say.
    Deploy,
    /// Remove a deployment and all that it holds.
    Destroy,
    /// Capture a deployment's state.
    Backup,
    /// Bring a deployment back as a snapshot has it.
    Restore,
    /// Prove that a snapshot can be restored, on a guest that goes again.
    Drill,
    /// Bring up a second deployment, with another's state under another domain.
    Clone,
}

impl fmt::Display for Workflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deploy => "deploy",
            Self::Destroy => "destroy",
            Self::Backup => "backup",
            Self::Restore => "restore",
            Self::Drill => "drill",
            Self::Clone => "clone",
        })
    }
}

/// What will be done, in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Plan {
    /// Always [`SCHEMA`].
    pub schema: u32,
    /// What for.
    pub workflow: Workflow,
    /// For which deployment.
    pub deployment: DeploymentName,
    /// On which host.
    pub host: HostName,
    /// One after the other.
    pub stages: Vec<Stage>,
    /// What the operator should know before saying yes.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// Steps that may run together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Stage {
    /// A word for it: `machine`, `system`.
    pub title: String,
    /// At least one.
    pub steps: Vec<Step>,
}

/// Names a step within its plan; stable over the life of a run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepId(String);

impl StepId {
    /// Makes an id; unique within a plan, by what the step does to which thing.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Step {
    /// Its name in the plan.
    pub id: StepId,
    /// A line for people, without the sign: `VM matrix on proxmox1 (2 cores, 4 GiB)`.
    pub title: String,
    /// What to do.
    pub action: Action,
    /// For a change: what differs, a line each (`memory: 2048 MiB -> 4096 MiB`). For
    /// something new that has parts: the parts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<String>,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Make the resource be as given. `observed` is what the planner saw.
    Ensure {
        /// As wanted.
        desired: Box<Resource>,
        /// As seen when the plan was made.
        observed: Option<Box<Resource>>,
    },
    /// Make the resource not be.
    Remove {
        /// As seen when the plan was made.
        resource: Box<Resource>,
    },
    /// Do something that has a post-condition and leaves nothing to undo.
    Run {
        /// What.
        task: Box<Task>,
    },
    /// From here on a failure pauses the run instead of unwinding it.
    Pivot {
        /// Why there is no way back from here, in words.
        reason: String,
    },
}

/// The sign before a plan line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sign {
    /// `+`
    Create,
    /// `~`
    Change,
    /// `-`
    Remove,
    /// `>`
    Run,
}

impl Sign {
    /// The character.
    pub fn symbol(self) -> char {
        match self {
            Self::Create => '+',
            Self::Change => '~',
            Self::Remove => '-',
            Self::Run => '>',
        }
    }
}

/// Something to do that leaves nothing to undo.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Wait until the guest answers over SSH with its pinned key and its agent speaks.
    AwaitGuest {
        /// Which.
        guest: GuestRef,
    },
    /// Wait until every authoritative server of the zone gives the records.
    AwaitRecords {
        /// Which.
        records: Records,
    },
    /// Restart the application, so that it reads secrets that have changed. All that is
    /// behind its gate: what it reads may be put together from them by another unit.
    Restart {
        /// Where.
        guest: GuestRef,
        /// What.
        app: AppName,
    },
    /// Make the first administrator's account.
    CreateAdmin {
        /// Where.
        guest: GuestRef,
        /// Of what.
        app: AppName,
        /// How.
        admin: Admin,
    },
    /// Capture the application's state into a repository.
    Capture {
        /// Where.
        guest: GuestRef,
        /// Of what.
        app: AppName,
        /// Where to.
        repository: RepositoryName,
        /// What may move meanwhile.
        consistency: Consistency,
        /// Marks the snapshot, so that no try makes a second one.
        key: Uuid,
        /// Whether it is of what a restore is about to replace.
        #[serde(default)]
        fail_safe: bool,
    },
    /// Mark a snapshot as one that the application came back from.
    RecordProof {
        /// Which.
        snapshot: SnapshotRef,
    },
    /// Run the application's own unit that puts its state under another name.
    Rehome {
        /// Where.
        guest: GuestRef,
        /// The unit.
        unit: String,
    },
    /// Make a derived item again, once the application runs.
    Rebuild {
        /// Where.
        guest: GuestRef,
        /// Which item.
        item: String,
        /// The unit that makes it.
        unit: String,
    },
    /// Look from inside and from outside whether the application is healthy.
    Probe {
        /// What to look at.
        probe: Box<Probe>,
    },
}

/// What makes a deployment healthy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Probe {
    /// Where.
    pub guest: GuestRef,
    /// Of what.
    pub app: AppName,
    /// The unit that tests it on the guest.
    pub unit: Option<String>,
    /// What must answer from outside.
    pub endpoints: Vec<Endpoint>,
    /// What authoritative servers must say.
    pub records: Vec<Records>,
}

impl Task {
    /// Names the task within its plan.
    pub fn id(&self) -> StepId {
        StepId::new(match self {
            Self::AwaitGuest { guest } => format!("await-guest/{}", guest.deployment),
            Self::AwaitRecords { records } => format!("await-records/{}/{}", records.deployment, records.zone),
            Self::Restart { guest, .. } => format!("restart/{}", guest.deployment),
            Self::CreateAdmin { guest, .. } => format!("create-admin/{}", guest.deployment),
            Self::Capture { guest, .. } => format!("capture/{}", guest.deployment),
            Self::RecordProof { snapshot } => format!("proof/{}", snapshot.deployment),
            Self::Rehome { guest, .. } => format!("rehome/{}", guest.deployment),
            Self::Rebuild { guest, item, .. } => format!("rebuild/{}/{item}", guest.deployment),
            Self::Probe { probe } => format!("probe/{}", probe.guest.deployment),
        })
    }
}

impl Step {
    /// Makes `desired` be, where `observed` was seen.
    pub fn ensure(title: impl Into<String>, desired: Resource, observed: Option<Resource>) -> Self {
        let id = StepId::new(format!("ensure/{}", desired.id()));
        let action = Action::Ensure { desired: Box::new(desired), observed: observed.map(Box::new) };
        Self { id, title: title.into(), action, changes: Vec::new() }
    }

    /// Makes `resource` not be.
    pub fn remove(title: impl Into<String>, resource: Resource) -> Self {
        let id = StepId::new(format!("remove/{}", resource.id()));
        Self { id, title: title.into(), action: Action::Remove { resource: Box::new(resource) }, changes: Vec::new() }
    }

    /// Carries out `task`.
    pub fn run(title: impl Into<String>, task: Task) -> Self {
        Self { id: task.id(), title: title.into(), action: Action::Run { task: Box::new(task) }, changes: Vec::new() }
    }

    /// The point of no return. A plan has at most one.
    pub fn pivot(reason: impl Into<String>) -> Self {
        let reason = reason.into();
        let action = Action::Pivot { reason: reason.clone() };
        Self { id: StepId::new("pivot"), title: reason, action, changes: Vec::new() }
    }

    /// Adds what differs, or what it consists of.
    #[must_use]
    pub fn with_changes(mut self, changes: Vec<String>) -> Self {
        self.changes = changes;
        self
    }

    /// The sign of its plan line; a pivot has none.
    pub fn sign(&self) -> Option<Sign> {
        match &self.action {
            Action::Ensure { observed: None, .. } => Some(Sign::Create),
            Action::Ensure { observed: Some(_), .. } => Some(Sign::Change),
            Action::Remove { .. } => Some(Sign::Remove),
            Action::Run { .. } => Some(Sign::Run),
            Action::Pivot { .. } => None,
        }
    }

    /// The resource it makes, changes or removes.
    pub fn resource(&self) -> Option<ResourceId> {
        match &self.action {
            Action::Ensure { desired, .. } => Some(desired.id()),
            Action::Remove { resource } => Some(resource.id()),
            Action::Run { .. } | Action::Pivot { .. } => None,
        }
    }
}

impl Plan {
    /// All steps in order.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.stages.iter().flat_map(|stage| &stage.steps)
    }

    /// The step of that name.
    pub fn step(&self, id: &StepId) -> Option<&Step> {
        self.steps().find(|step| step.id == *id)
    }

    /// Whether there is nothing to do. A plan that would only look (tasks alone) is
    /// made empty by the planner.
    pub fn is_empty(&self) -> bool {
        self.stages.is_empty()
    }

    /// SHA-256 over the plan's JSON, in hexadecimal digits: two plans of one digest
    /// do the same.
    pub fn digest(&self) -> String {
        let json = serde_json::to_vec(self).unwrap_or_default();
        format!("{:x}", Sha256::digest(json))
    }

    /// How many steps of each sign there are.
    pub fn count(&self, sign: Sign) -> usize {
        self.steps().filter(|step| step.sign() == Some(sign)).count()
    }
}
