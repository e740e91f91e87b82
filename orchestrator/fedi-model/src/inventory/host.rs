//! `hosts/<host>/host.toml`: a place where VMs run and what comes with it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Credential;
use crate::name::Domain;

/// `hosts/<host>/host.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct HostFile {
    /// A word for people: where it stands, who pays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The hypervisor.
    pub hypervisor: Hypervisor,
    /// The disk image that guests start from.
    pub image: GuestImage,
    /// How a guest gets its system.
    #[serde(default)]
    pub system: System,
    /// Addresses that guests may have. One pool an address family at most is used
    /// for a guest: the first with a free address.
    #[serde(rename = "addresses", default)]
    pub address_pools: Vec<AddressPool>,
    /// Name servers that guests ask.
    #[serde(default)]
    pub resolvers: Vec<IpAddr>,
    /// The zones that fedi may write.
    pub dns: Dns,
    /// How the SSH host key of a new guest is learned.
    #[serde(default)]
    pub host_key_pin: HostKeyPin,
}

/// Which hypervisor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HypervisorDriver {
    /// Proxmox VE 8.4 to 9.x.
    #[default]
    Proxmox,
}

/// The hypervisor's API and where on it guests go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Hypervisor {
    /// Which hypervisor.
    #[serde(default)]
    pub driver: HypervisorDriver,
    /// URL of the API: `https://pve.example.org:8006`.
    pub endpoint: String,
    /// How the server is recognised.
    pub tls: Tls,
    /// The API token, whole: `fedi@pve!fedi=<uuid>`.
    pub token: Credential,
    /// The node that new guests go to.
    pub node: String,
    /// The pool that all of fedi's guests are in.
    #[serde(default = "fedi")]
    pub pool: String,
    /// Storage for guests' disks.
    pub vm_storage: String,
    /// Storage for images (content type `import`).
    pub image_storage: String,
    /// Bridge of the first network card.
    #[serde(default = "vmbr0")]
    pub bridge: String,
    /// VLAN tag on that bridge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// First id that fedi may give to a VM.
    #[serde(default = "first_vmid")]
    pub first_vmid: u32,
    /// Last id that fedi may give to a VM.
    #[serde(default = "last_vmid")]
    pub last_vmid: u32,
    /// CPU type of guests.
    #[serde(default = "cpu")]
    pub cpu: String,
}

fn fedi() -> String {
    "fedi".to_owned()
}

fn vmbr0() -> String {
    "vmbr0".to_owned()
}

fn first_vmid() -> u32 {
    9000
}

fn last_vmid() -> u32 {
    9999
}

fn cpu() -> String {
    "x86-64-v2-AES".to_owned()
}

/// How a TLS server is recognised. There is no way to accept just any.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Tls {
    /// SHA-256 fingerprints of the leaf certificate, as `pvenode cert info` prints
    /// them. More than one where a renewal is near.
    Fingerprints(Vec<String>),
    /// A file with the certificate authority in PEM; a relative path starts at fedi's
    /// configuration folder.
    Ca(String),
    /// The certificate authorities of the operating system.
    System,
}

/// The disk image that guests start from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct GuestImage {
    /// The qcow2 file on the operator's machine (uploaded), or an https URL that the
    /// hypervisor fetches. A relative path starts at the inventory; `~/` is the home
    /// folder, `$NAME/` an environment variable.
    pub source: String,
    /// SHA-256 of the file in hexadecimal digits. Required for a URL; for a file it
    /// is computed, and compared when given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// How a guest gets its system.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SystemDriver {
    /// A NixOS system from the inventory's flake, built here and copied over SSH.
    #[default]
    Nix,
    /// A folder that somebody built, with `bin/switch-to-configuration` and
    /// `manifest.json`, copied over SSH.
    Prebuilt,
}

/// How a guest gets its system.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct System {
    /// What a system is and where it comes from.
    #[serde(default)]
    pub driver: SystemDriver,
    /// For `prebuilt`: the folder that holds one folder an application. A relative
    /// path starts at the inventory; `~/` is the home folder, `$NAME/` an
    /// environment variable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
}

/// Addresses that guests may have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AddressPool {
    /// The network, with the prefix length that guests use: `192.0.2.0/24`.
    #[schemars(with = "String", extend("format" = "cidr"))]
    pub network: IpNet,
    /// The router: inside the network, outside of `first` to `last`.
    pub gateway: IpAddr,
    /// First address that fedi may give. Keep the range out of reach of DHCP.
    pub first: IpAddr,
    /// Last address that fedi may give.
    pub last: IpAddr,
    /// Hours that a released address rests before another deployment may have it,
    /// so that no stale DNS answer leads to the wrong guest.
    #[serde(default = "a_day")]
    pub quarantine_hours: u32,
}

fn a_day() -> u32 {
    24
}

/// How the SSH host key of a new guest is learned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HostKeyPin {
    /// Read through the hypervisor's guest agent, over its pinned TLS connection.
    #[default]
    Agent,
    /// Taken from the first SSH connection. Whoever answers then is trusted.
    FirstContact,
}

/// Which DNS driver.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DnsDriver {
    /// octoDNS, for about 45 providers.
    #[default]
    Octodns,
    /// fedi prints the records and waits until somebody has written them.
    Manual,
}

/// The zones that fedi may write and how.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Dns {
    /// Who writes the records.
    #[serde(default)]
    pub driver: DnsDriver,
    /// The zones; the longest that a domain lies in is its zone.
    #[serde(default)]
    pub zones: Vec<Zone>,
    /// octoDNS providers by name.
    #[serde(default)]
    pub providers: BTreeMap<String, DnsProvider>,
    /// Time to live of fedi's records, in seconds.
    #[serde(default = "five_minutes")]
    pub ttl: u32,
    /// The certificate authority's name for a CAA record (RFC 8659) where a
    /// deployment asks for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caa_issuer: Option<String>,
}

fn five_minutes() -> u32 {
    300
}

/// A DNS zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Zone {
    /// Its name, without the final dot.
    pub name: Domain,
    /// The octoDNS provider that holds it; not for `manual`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Addresses of its authoritative name servers; without them they are looked up.
    #[serde(default)]
    pub servers: Vec<IpAddr>,
}

impl Dns {
    /// The time to live of fedi's records in `zone`: its provider may want a longer one.
    pub fn ttl_in(&self, zone: &Domain) -> u32 {
        let zone = self.zones.iter().find(|it| it.name == *zone);
        let provider = zone.and_then(|zone| self.providers.get(zone.provider.as_ref()?));
        self.ttl.max(provider.map_or(0, |provider| provider.min_ttl))
    }

    /// The packages of all providers, sorted, each once.
    pub fn packages(&self) -> Vec<String> {
        let all: BTreeSet<&String> = self.providers.values().flat_map(|provider| &provider.packages).collect();
        all.into_iter().cloned().collect()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// An octoDNS provider.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct DnsProvider {
    /// Its Python class: `octodns_powerdns.PowerDnsProvider`.
    pub class: String,
    /// Packages that bring it, pinned: `octodns-desec==1.3.0`. Those for PowerDNS and for
    /// RFC 2136 (BIND, Knot and others) are there already.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<String>,
    /// The smallest time to live that it takes, in seconds; a smaller `dns.ttl` is raised
    /// to it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub min_ttl: u32,
    /// Its settings, as octoDNS' documentation names them.
    #[serde(default)]
    pub settings: BTreeMap<String, serde_json::Value>,
    /// Settings whose values are secrets.
    #[serde(default)]
    pub secrets: BTreeMap<String, Credential>,
}
