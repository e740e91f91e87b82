//! What the planner is told. Everything is read, resolved and reserved before.

use std::collections::BTreeMap;

use fedi_model::DeploymentName;
use fedi_model::inventory::{Deployment, HostFile};
use fedi_model::manifest::Manifest;
use fedi_model::name::{Domain, HostName, RepositoryName, SecretName};
use fedi_model::resource::{Address, Family, Image, Resource, ResourceId, SnapshotRef};
use fedi_model::state::Consistency;
use uuid::Uuid;

/// What a deployment is to become.
#[derive(Debug, Clone)]
pub struct DeployInputs<'a> {
    /// The deployment as its file says.
    pub deployment: &'a Deployment,
    /// The host that it lies under.
    pub host: &'a HostFile,
    /// Its system, resolved.
    pub system: SystemInput<'a>,
    /// The image that a new guest starts from.
    pub image: Image,
    /// The addresses that are held for it: one of each of [`families`].
    pub addresses: Vec<Address>,
    /// The UUID of its VM: the one in the ledger, else a new one.
    pub uuid: Uuid,
    /// The highest epoch that was ever granted for it; 0 for none.
    pub epoch: u64,
    /// Public keys that may log in to a new guest.
    pub authorized_keys: Vec<String>,
    /// The domains of all other deployments.
    pub taken: &'a BTreeMap<Domain, DeploymentName>,
    /// Whether the journal says that its first administrator's account was made.
    pub admin_made: bool,
    /// Secrets that the store lacks and a snapshot has.
    pub recovered: BTreeMap<SecretName, SnapshotRef>,
    /// Backups that the guest is to make by itself.
    pub backups: Option<BackupsInput>,
}

/// Backups that a guest is to make by itself.
#[derive(Debug, Clone)]
pub struct BackupsInput {
    /// Where to.
    pub repository: RepositoryName,
    /// Where that is for the guest.
    pub location: String,
    /// When, as systemd takes it.
    pub schedule: String,
    /// What may move meanwhile.
    pub consistency: Consistency,
    /// How many keys secrets are encrypted to.
    pub recipients: usize,
}

/// A system as it would be.
#[derive(Debug, Clone, Copy)]
pub struct SystemInput<'a> {
    /// Where to get it: a flake attribute, or the absolute path of a folder.
    pub source: &'a str,
    /// Its store path on the guest.
    pub toplevel: &'a str,
    /// What it declares.
    pub manifest: &'a Manifest,
}

/// What is to be destroyed.
#[derive(Debug, Clone, Copy)]
pub struct DestroyInputs<'a> {
    /// The deployment; it need not have a file any more.
    pub deployment: &'a DeploymentName,
    /// Where it runs.
    pub host: &'a HostName,
    /// The UUID that was chosen for its VM, where a run has begun to make one.
    pub uuid: Option<Uuid>,
}

/// The world as it was looked at and as the journal tells it. Both hold what belongs
/// to one deployment only.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Known {
    /// What was looked at: `None` for what is not there. What has no entry could not be
    /// looked at (a guest that does not answer); the ledger stands in for it.
    pub observed: BTreeMap<ResourceId, Option<Resource>>,
    /// What the journal says fedi made and did not remove.
    pub ledger: BTreeMap<ResourceId, Resource>,
}

impl Known {
    /// Takes up that `like` was looked at.
    pub fn saw(&mut self, like: &Resource, found: Option<Resource>) {
        self.observed.insert(like.id(), found);
    }

    /// The resource as it is: as it was seen, else as the journal has it.
    pub(crate) fn now(&self, id: &ResourceId) -> Option<&Resource> {
        match self.observed.get(id) {
            Some(seen) => seen.as_ref(),
            None => self.ledger.get(id),
        }
    }

    /// The resource as it was seen; `None` too where it could not be looked at.
    pub(crate) fn seen(&self, id: &ResourceId) -> Option<&Resource> {
        self.observed.get(id)?.as_ref()
    }

    /// Whether it could be looked at.
    pub(crate) fn looked_at(&self, id: &ResourceId) -> bool {
        self.observed.contains_key(id)
    }
}

/// The address families to hold for a deployment: those of the host's pools; for a
/// guest that exists, those that it was made with.
pub fn families(deployment: &DeploymentName, host: &HostFile, ledger: &BTreeMap<ResourceId, Resource>) -> Vec<Family> {
    let made = ledger.values().find_map(|resource| match resource {
        Resource::Vm(vm) if vm.deployment == *deployment => Some(vm),
        _ => None,
    });
    let mut families: Vec<Family> = match made {
        Some(vm) => vm.addresses.iter().map(|nic| Family::of(nic.address.addr())).collect(),
        None => host.address_pools.iter().map(|pool| Family::of(pool.network.addr())).collect(),
    };
    families.sort();
    families.dedup();
    families
}
