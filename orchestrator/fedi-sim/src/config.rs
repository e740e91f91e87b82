//! What a simulated cluster looks like at its start; the binary reads it from TOML, tests build it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::faults::Fault;
use crate::sim::Tuning;
use crate::version::Version;

/// A cluster.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimConfig {
    /// Version of Proxmox VE, for example `9.2.11`.
    pub version: Version,
    /// Nodes; the first is the one that the main listener speaks for.
    #[serde(default, rename = "node")]
    pub nodes: Vec<NodeConfig>,
    /// Storages.
    #[serde(default, rename = "storage")]
    pub storages: Vec<StorageSetup>,
    /// Resource pools.
    #[serde(default, rename = "pool")]
    pub pools: Vec<PoolConfig>,
    /// Users besides `root@pam`.
    #[serde(default, rename = "user")]
    pub users: Vec<UserConfig>,
    /// API tokens.
    #[serde(default, rename = "token")]
    pub tokens: Vec<TokenConfig>,
    /// Roles besides the built-in ones.
    #[serde(default, rename = "role")]
    pub roles: Vec<RoleConfig>,
    /// Access rules.
    #[serde(default, rename = "acl")]
    pub acls: Vec<AclConfig>,
    /// Faults in force from the start.
    #[serde(default, rename = "fault")]
    pub faults: Vec<Fault>,
    /// How long things take.
    #[serde(default)]
    pub timing: TimingConfig,
    /// Seed of everything random.
    #[serde(default)]
    pub seed: u64,
}

/// A node.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// Name, for example `pve`.
    pub name: String,
    /// Address it claims to have.
    #[serde(default = "loopback")]
    pub ip: String,
    /// Where its API listens; the first node's comes from the command line.
    #[serde(default)]
    pub listen: Option<SocketAddr>,
    /// Bridges it has.
    #[serde(default = "one_bridge")]
    pub bridges: Vec<String>,
    /// Processors.
    #[serde(default = "eight")]
    pub cpus: u32,
    /// Memory in GiB.
    #[serde(default = "sixty_four")]
    pub memory_gib: u64,
}

impl NodeConfig {
    /// A node with everything as usual.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ip: loopback(),
            listen: None,
            bridges: one_bridge(),
            cpus: eight(),
            memory_gib: sixty_four(),
        }
    }
}

/// A storage.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StorageSetup {
    /// Its id, for example `local`.
    pub id: String,
    /// `dir`, `nfs`, `lvmthin`, `lvm`, `zfspool` ...
    #[serde(rename = "type")]
    pub kind: String,
    /// Mount point of a file storage, as PVE names it in messages.
    #[serde(default)]
    pub path: Option<String>,
    /// `images`, `import`, `iso` ...
    pub content: Vec<String>,
    /// Size in MiB.
    #[serde(default = "hundred_gib")]
    pub size_mib: u64,
    /// The same storage on all nodes.
    #[serde(default)]
    pub shared: bool,
    /// Switched off.
    #[serde(default)]
    pub disabled: bool,
    /// Nodes that have it; empty = all.
    #[serde(default)]
    pub nodes: Vec<String>,
}

impl StorageSetup {
    /// A directory storage for everything.
    pub fn directory(id: &str, path: &str) -> Self {
        Self {
            id: id.to_owned(),
            kind: "dir".to_owned(),
            path: Some(path.to_owned()),
            content: ["images", "import", "iso", "vztmpl", "backup", "snippets", "rootdir"].map(str::to_owned).into(),
            size_mib: hundred_gib(),
            shared: false,
            disabled: false,
            nodes: Vec::new(),
        }
    }

    /// A thin pool for disks.
    pub fn lvm_thin(id: &str) -> Self {
        Self {
            kind: "lvmthin".to_owned(),
            path: None,
            content: vec!["images".to_owned(), "rootdir".to_owned()],
            ..Self::directory(id, "")
        }
    }

    /// The same for other contents.
    #[must_use]
    pub fn holding(mut self, content: &[&str]) -> Self {
        self.content = content.iter().map(|kind| (*kind).to_owned()).collect();
        self
    }

    /// The same with a size in MiB.
    #[must_use]
    pub fn sized(mut self, mib: u64) -> Self {
        self.size_mib = mib;
        self
    }
}

/// A pool.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolConfig {
    /// Its id.
    pub id: String,
}

/// A user.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserConfig {
    /// `name@realm`
    pub id: String,
    /// May log in.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// A file that holds the password.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// The password itself; for tests.
    #[serde(skip)]
    pub password: Option<String>,
}

/// A token.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenConfig {
    /// `name@realm!token`
    pub id: String,
    /// Its rights are only those that user and token both have.
    #[serde(default = "yes")]
    pub privsep: bool,
    /// Seconds since 1970, 0 = never.
    #[serde(default)]
    pub expire: u64,
    /// A file that holds the secret. Made with a new secret when it is missing.
    #[serde(default)]
    pub secret_file: Option<PathBuf>,
    /// The secret itself; for tests.
    #[serde(skip)]
    pub secret: Option<String>,
}

/// A role.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleConfig {
    /// Its id.
    pub id: String,
    /// `VM.Allocate` ...
    pub privileges: Vec<String>,
}

/// An access rule; exactly one of `user`, `group` and `token`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AclConfig {
    /// For example `/pool/fedi`.
    pub path: String,
    /// Role id.
    pub role: String,
    /// For whom.
    pub user: Option<String>,
    /// For whom.
    pub group: Option<String>,
    /// For whom.
    pub token: Option<String>,
    /// Does not hold below the path.
    pub no_propagate: bool,
}

/// How long things take.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TimingConfig {
    /// How many times faster than real time the cluster's clock runs.
    pub speed: f64,
    /// Speed of imports and clones.
    pub copy_mib_per_second: u64,
    /// From `qmstart` to a running machine.
    pub start_milliseconds: u64,
    /// A wait added to every import.
    pub import_milliseconds: u64,
}

impl Default for TimingConfig {
    fn default() -> Self {
        Self { speed: 1.0, copy_mib_per_second: 500, start_milliseconds: 600, import_milliseconds: 0 }
    }
}

impl TimingConfig {
    pub(crate) fn tuning(&self) -> Tuning {
        Tuning {
            copy_bytes_per_second: self.copy_mib_per_second.max(1) << 20,
            start_delay: Duration::from_millis(self.start_milliseconds),
            import_delay: Duration::from_millis(self.import_milliseconds),
            ..Tuning::default()
        }
    }
}

fn loopback() -> String {
    "127.0.0.1".to_owned()
}

fn one_bridge() -> Vec<String> {
    vec!["vmbr0".to_owned()]
}

fn eight() -> u32 {
    8
}

fn sixty_four() -> u64 {
    64
}

fn hundred_gib() -> u64 {
    100 << 10
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_a_configuration() {
        let config: SimConfig = toml::from_str(include_str!("../sim.example.toml")).unwrap();
        assert_eq!((config.pools.len(), config.faults.len()), (1, 2));
    }

    #[test]
    fn a_cluster_is_read_from_toml() {
        let config: SimConfig = toml::from_str(
            r#"
            version = "9.2.11"
            [[node]]
            name = "proxmox1"
            [[storage]]
            id = "local"
            type = "dir"
            path = "/var/lib/vz"
            content = ["import"]
            [[token]]
            id = "fedi@pve!deploy"
            secret_file = "token"
            [[acl]]
            path = "/pool/fedi"
            role = "PVEVMAdmin"
            token = "fedi@pve!deploy"
            [[fault]]
            kind = "crash"
            task = "qmcreate"
            point = "disk-allocated"
            "#,
        )
        .unwrap();
        assert_eq!(config.nodes[0].bridges, ["vmbr0"]);
        assert_eq!(config.faults.len(), 1);
        assert!(config.tokens[0].privsep);
    }
}
