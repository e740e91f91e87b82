//! Things in the world that fedi makes, changes and removes, as they are wanted
//! and as they are found: one type for both, so that the old value of a thing is
//! at the same time the instruction to bring it back.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::inventory::SystemDriver;
use crate::manifest::{Generator, SecretClass};
use crate::name::{AppName, DeploymentName, Domain, HostName, RepositoryName, SecretName};
use crate::state::Consistency;

/// A thing in the world.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resource {
    /// An address out of a host's pool.
    Address(Address),
    /// A secret in the store.
    Secret(Secret),
    /// A disk image on a host.
    Image(Image),
    /// The virtual machine.
    Vm(Vm),
    /// The SSH host key that the guest must show.
    HostKey(HostKey),
    /// DNS records of a deployment in one zone.
    Records(Records),
    /// Secrets as files on the guest.
    Delivery(Delivery),
    /// The right to run the application.
    Lease(Lease),
    /// The system that the guest runs.
    System(System),
    /// The application's state on the guest.
    State(State),
    /// The application in service: it runs, and is not paused.
    Service(Service),
    /// Backups that the guest makes by itself.
    Backups(Backups),
}

/// Names a resource within an inventory: `vm/matrix`, `address/matrix/ipv4`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ResourceId(String);

impl ResourceId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The kind: what stands before the first slash.
    pub fn kind(&self) -> &str {
        self.0.split('/').next().unwrap_or_default()
    }

    /// The id of a deployment's VM.
    pub fn vm(deployment: &DeploymentName) -> Self {
        Self(format!("vm/{deployment}"))
    }

    /// The id of the lease of a deployment's guest.
    pub fn lease(deployment: &DeploymentName) -> Self {
        Self(format!("lease/{deployment}"))
    }

    /// The id of the system of a deployment's guest.
    pub fn system(deployment: &DeploymentName) -> Self {
        Self(format!("system/{deployment}"))
    }

    /// The id of the secrets on a deployment's guest.
    pub fn delivery(deployment: &DeploymentName) -> Self {
        Self(format!("delivery/{deployment}"))
    }

    /// The id of the state on a deployment's guest.
    pub fn state(deployment: &DeploymentName) -> Self {
        Self(format!("state/{deployment}"))
    }

    /// The id of a deployment's application in service.
    pub fn service(deployment: &DeploymentName) -> Self {
        Self(format!("service/{deployment}"))
    }

    /// The id of the backups that a deployment's guest makes by itself.
    pub fn backups(deployment: &DeploymentName) -> Self {
        Self(format!("backups/{deployment}"))
    }

    /// The id of a deployment's secret.
    pub fn secret(deployment: &DeploymentName, name: &SecretName) -> Self {
        Self(format!("secret/{deployment}/{name}"))
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Resource {
    /// The name of this resource. Equal for the wanted and the found one.
    pub fn id(&self) -> ResourceId {
        ResourceId(match self {
            Self::Address(it) => format!("address/{}/{}", it.deployment, it.family),
            Self::Secret(it) => return ResourceId::secret(&it.deployment, &it.name),
            Self::Image(it) => format!("image/{}/{}", it.host, it.file),
            Self::Vm(it) => return ResourceId::vm(&it.deployment),
            Self::HostKey(it) => format!("host-key/{}", it.guest.deployment),
            Self::Records(it) => format!("records/{}/{}", it.deployment, it.zone),
            Self::Delivery(it) => return ResourceId::delivery(&it.guest.deployment),
            Self::Lease(it) => return ResourceId::lease(&it.guest.deployment),
            Self::System(it) => return ResourceId::system(&it.guest.deployment),
            Self::State(it) => return ResourceId::state(&it.guest.deployment),
            Self::Service(it) => return ResourceId::service(&it.guest.deployment),
            Self::Backups(it) => return ResourceId::backups(&it.guest.deployment),
        })
    }

    /// What lives on it and is gone for good when it goes: of a VM, all that is on its
    /// guest. What has a step of its own when a deployment is destroyed is not among it.
    pub fn takes_along(&self) -> Vec<ResourceId> {
        match self {
            Self::Vm(it) => vec![
                ResourceId::delivery(&it.deployment),
                ResourceId::lease(&it.deployment),
                ResourceId::system(&it.deployment),
                ResourceId::state(&it.deployment),
                ResourceId::service(&it.deployment),
                ResourceId::backups(&it.deployment),
            ],
            _ => Vec::new(),
        }
    }

    /// The deployment that it belongs to; images are shared and belong to none.
    pub fn deployment(&self) -> Option<&DeploymentName> {
        match self {
            Self::Address(it) => Some(&it.deployment),
            Self::Secret(it) => Some(&it.deployment),
            Self::Image(_) => None,
            Self::Vm(it) => Some(&it.deployment),
            Self::HostKey(it) => Some(&it.guest.deployment),
            Self::Records(it) => Some(&it.deployment),
            Self::Delivery(it) => Some(&it.guest.deployment),
            Self::Lease(it) => Some(&it.guest.deployment),
            Self::System(it) => Some(&it.guest.deployment),
            Self::State(it) => Some(&it.guest.deployment),
            Self::Service(it) => Some(&it.guest.deployment),
            Self::Backups(it) => Some(&it.guest.deployment),
        }
    }
}

impl Resource {
    /// The host that it is on, where it is on one.
    pub fn host(&self) -> Option<&HostName> {
        match self {
            Self::Address(it) => Some(&it.host),
            Self::Secret(_) => None,
            Self::Image(it) => Some(&it.host),
            Self::Vm(it) => Some(&it.host),
            Self::HostKey(it) => Some(&it.guest.host),
            Self::Records(it) => Some(&it.host),
            Self::Delivery(it) => Some(&it.guest.host),
            Self::Lease(it) => Some(&it.guest.host),
            Self::System(it) => Some(&it.guest.host),
            Self::State(it) => Some(&it.guest.host),
            Self::Service(it) => Some(&it.guest.host),
            Self::Backups(it) => Some(&it.guest.host),
        }
    }
}

/// IPv4 or IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// 32 bits.
    Ipv4,
    /// 128 bits.
    Ipv6,
}

impl Family {
    /// The family of `address`.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::Ipv4 } else { Self::Ipv6 }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
        })
    }
}

/// An address out of a host's pool, held by a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Address {
    /// Who holds it.
    pub deployment: DeploymentName,
    /// Whose pool it is from.
    pub host: HostName,
    /// IPv4 or IPv6; a deployment holds at most one of each.
    pub family: Family,
    /// The address with the network's prefix length.
    pub address: IpNet,
    /// The router.
    pub gateway: IpAddr,
    /// Hours that it rests once it is released.
    pub quarantine_hours: u32,
}

/// A secret in the store. Never its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Secret {
    /// Whose it is.
    pub deployment: DeploymentName,
    /// The application it serves.
    pub app: AppName,
    /// Its name.
    pub name: SecretName,
    /// What may happen to it.
    pub class: SecretClass,
    /// How it is made.
    pub generator: Generator,
    /// Its version in the store: wanted "any" as `None`, found as `Some`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// The snapshot that its value is taken from, instead of being made anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<SnapshotRef>,
}

/// The name that passwords of repositories are kept under, in place of a deployment's.
/// They outlive every deployment.
pub fn reserved_for_repositories() -> DeploymentName {
    DeploymentName::new("backups").unwrap_or_else(|_| unreachable!("it is a name"))
}

impl Secret {
    /// The password of a repository. Data may be encrypted with it as soon as it is
    /// there, so it is never taken back.
    pub fn password_of(repository: &RepositoryName) -> Self {
        Self {
            deployment: reserved_for_repositories(),
            app: AppName::new("restic").unwrap_or_else(|_| unreachable!("it is a name")),
            name: SecretName::new(repository.as_str()).unwrap_or_else(|_| unreachable!("it is a name")),
            class: SecretClass::Identity,
            generator: Generator::Base64Url { bytes: 32 },
            version: None,
            from: None,
        }
    }

    /// The key that the secrets of a deployment are fingerprinted with in its snapshots.
    pub fn fingerprint_key_of(deployment: &DeploymentName) -> Self {
        Self {
            deployment: deployment.clone(),
            app: AppName::new("fedi").unwrap_or_else(|_| unreachable!("it is a name")),
            name: SecretName::new("fingerprint-key").unwrap_or_else(|_| unreachable!("it is a name")),
            class: SecretClass::Identity,
            generator: Generator::Base64 { bytes: 32 },
            version: None,
            from: None,
        }
    }

    /// Whether it is the password of a repository.
    pub fn is_of_repository(&self) -> bool {
        self.deployment == reserved_for_repositories()
    }
}

/// A snapshot in a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SnapshotRef {
    /// The repository.
    pub repository: RepositoryName,
    /// The deployment that was captured.
    pub deployment: DeploymentName,
    /// The snapshot's id, 64 hexadecimal digits.
    pub id: String,
}

impl SnapshotRef {
    /// The id as people are shown it: as much of it as restic shows.
    pub fn short(&self) -> &str {
        self.id.get(..8).unwrap_or(&self.id)
    }
}

/// A disk image on a host, named by its content. Images are kept when a run is
/// undone and when a deployment goes: they are shared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Image {
    /// Where it lies.
    pub host: HostName,
    /// File name on the storage: `fedi-guest-<first 16 digits of the digest>.qcow2`.
    pub file: String,
    /// SHA-256 of the file, in hexadecimal digits.
    pub sha256: String,
    /// Where to get it: an absolute path here, or an https URL.
    pub source: String,
    /// Size of the file in bytes, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// The virtual machine of a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Vm {
    /// Whose it is; also the VM's name and host name.
    pub deployment: DeploymentName,
    /// The application, for the marks on the VM.
    pub app: AppName,
    /// Where it runs.
    pub host: HostName,
    /// Its SMBIOS UUID: the identity that fedi goes by.
    pub uuid: Uuid,
    /// Its number on the hypervisor: wanted "any" as `None`, found as `Some`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vmid: Option<u32>,
    /// CPU cores.
    pub cores: u32,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// The state disk in GiB.
    pub state_gib: u32,
    /// The image that its root disk was made from; used at creation only.
    pub image: String,
    /// Its addresses; used at first boot only.
    pub addresses: Vec<NicAddress>,
    /// Name servers; used at first boot only.
    pub resolvers: Vec<IpAddr>,
    /// Public keys that may log in as root; used at first boot only.
    pub authorized_keys: Vec<String>,
    /// Whether it runs.
    pub running: bool,
}

/// An address of a network card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct NicAddress {
    /// The address with the network's prefix length.
    pub address: IpNet,
    /// The router.
    pub gateway: IpAddr,
}

/// How to reach a guest and how to know it is the right one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct GuestRef {
    /// Whose it is.
    pub deployment: DeploymentName,
    /// Where it runs.
    pub host: HostName,
    /// The VM's UUID.
    pub uuid: Uuid,
    /// Addresses to try, in order.
    pub addresses: Vec<IpAddr>,
}

/// The SSH host key of a guest, pinned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct HostKey {
    /// Whose key.
    pub guest: GuestRef,
    /// The public key, `ssh-ed25519 AAAA...`: wanted "whatever it shows first" as
    /// `None`, pinned as `Some`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// DNS records of a deployment in one zone. fedi owns exactly these (name, type)
/// pairs and touches no other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Records {
    /// Whose they are.
    pub deployment: DeploymentName,
    /// Whose DNS settings apply.
    pub host: HostName,
    /// The zone.
    pub zone: Domain,
    /// The record sets, sorted by name and type.
    pub sets: Vec<RecordSet>,
}

/// All records of one name and type.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RecordSet {
    /// Name below the zone; empty for the zone itself.
    pub name: String,
    /// `A`, `AAAA`, `CNAME`, `SRV`, `TXT`, `CAA`, `MX`.
    pub kind: String,
    /// Time to live in seconds.
    pub ttl: u32,
    /// Values in presentation form (RFC 1035, section 5.1; names without the final
    /// dot; TXT unquoted), sorted.
    pub values: Vec<String>,
}

/// Secrets as files on the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Delivery {
    /// Where to.
    pub guest: GuestRef,
    /// The application they serve.
    pub app: AppName,
    /// The files by secret.
    pub files: BTreeMap<SecretName, DeliveredFile>,
}

/// One secret on the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DeliveredFile {
    /// The store's version that it holds: wanted "the newest" as `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// Absolute path.
    pub path: String,
    /// Owner.
    pub owner: String,
    /// Group.
    pub group: String,
    /// Mode, octal digits.
    pub mode: String,
}

/// The right of one guest to run an application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Lease {
    /// Who holds it.
    pub guest: GuestRef,
    /// What it may run.
    pub app: AppName,
    /// Grows with every grant; a guest never accepts a smaller one.
    pub epoch: u64,
    /// The epoch that the right is given back under when taking it away is taken back:
    /// no epoch is granted twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back_as: Option<u64>,
}

/// The system that a guest runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct System {
    /// Where.
    pub guest: GuestRef,
    /// The application whose gate it opens.
    pub app: AppName,
    /// How it gets there.
    pub driver: SystemDriver,
    /// Where to get it here: a flake attribute, or the absolute path of a folder.
    pub source: String,
    /// What identifies it on the guest: its store path.
    pub toplevel: String,
}

/// An application's state on its guest. Looking at it tells whether there is any, not
/// whether it is the same as at another look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct State {
    /// Where.
    pub guest: GuestRef,
    /// Whose.
    pub app: AppName,
    /// The repository of the snapshots that follow.
    pub repository: RepositoryName,
    /// What it is, or is to be: that of a snapshot; `None` for what is in the places.
    pub snapshot: Option<SnapshotRef>,
    /// Names the quiesced snapshot of what is in the places, where something is: without
    /// it nothing is cleared away, with it there is a way back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fail_safe: Option<Uuid>,
    /// What was seen in the places, a line each: `PostgreSQL database synapse: 171 tables`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holds: Vec<String>,
}

/// An application in service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Service {
    /// Where.
    pub guest: GuestRef,
    /// What.
    pub app: AppName,
}

/// Backups that a guest makes by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Backups {
    /// Where.
    pub guest: GuestRef,
    /// Of what.
    pub app: AppName,
    /// Where to.
    pub repository: RepositoryName,
    /// Where that is for the guest.
    pub location: String,
    /// When, as systemd's `OnCalendar=` takes it.
    pub schedule: String,
    /// What may move meanwhile.
    pub consistency: Consistency,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_the_same_for_wanted_and_found() {
        let wanted = Resource::Secret(Secret {
            deployment: DeploymentName::new("matrix").unwrap(),
            app: AppName::new("matrix").unwrap(),
            name: SecretName::new("signing-key").unwrap(),
            class: SecretClass::Identity,
            generator: Generator::SynapseSigningKey,
            version: None,
            from: None,
        });
        let Resource::Secret(mut found) = wanted.clone() else { unreachable!() };
        found.version = Some(3);
        let found = Resource::Secret(found);
        assert_eq!(wanted.id(), found.id());
        assert_eq!(found.id().as_str(), "secret/matrix/signing-key");
        assert_eq!(found.id().kind(), "secret");
    }

    #[test]
    fn every_repository_can_have_a_password() {
        for name in ["main", "a", "a-very-long-name-that-has-forty-letters"] {
            let password = Secret::password_of(&RepositoryName::new(name).unwrap());
            assert!(password.is_of_repository());
            assert!(!Secret::fingerprint_key_of(&DeploymentName::new(name).unwrap()).is_of_repository());
        }
    }
}
