//! The cluster as a whole: its version, nodes, and what is where.

use proxmox_schema::{Method, PveVersion};
use serde::Deserialize;

use crate::class::Class;
use crate::client::Client;
use crate::error::{During, Error};
use crate::lenient;
use crate::request::{Parameters, Request};

/// `GET /version`
#[derive(Clone, Copy, Debug)]
pub struct GetVersion;

/// What runs on the server.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Version {
    /// As in `9.1`.
    release: String,
    /// As in `9.1.4`.
    pub version: String,
}

impl Version {
    /// What the tables of the API go by.
    pub fn release(&self) -> Option<PveVersion> {
        self.release.parse().or_else(|_| self.version.parse()).ok()
    }

    pub fn is_at_least(&self, release: PveVersion) -> bool {
        self.release().is_some_and(|own| own >= release)
    }
}

impl Request for GetVersion {
    const METHOD: Method = Method::Get;
    type Answer = Version;

    fn template(&self) -> &'static str {
        "/version"
    }
}

/// `GET /nodes`
#[derive(Clone, Copy, Debug)]
pub struct ListNodes;

/// A node of the cluster.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct NodeEntry {
    pub node: String,
    /// `online`, `offline` or `unknown`.
    #[serde(default)]
    pub status: String,
    /// CPU threads.
    #[serde(rename = "maxcpu", default, deserialize_with = "lenient::maybe_integer")]
    pub cpus: Option<u32>,
    /// Bytes.
    #[serde(rename = "maxmem", default, deserialize_with = "lenient::maybe_integer")]
    pub memory: Option<u64>,
    /// Bytes.
    #[serde(rename = "mem", default, deserialize_with = "lenient::maybe_integer")]
    pub memory_used: Option<u64>,
    #[serde(default)]
    pub ssl_fingerprint: Option<String>,
}

impl NodeEntry {
    pub fn is_online(&self) -> bool {
        self.status == "online"
    }
}

impl Request for ListNodes {
    const METHOD: Method = Method::Get;
    type Answer = Vec<NodeEntry>;

    fn template(&self) -> &'static str {
        "/nodes"
    }
}

/// `GET /cluster/resources?type=vm`
#[derive(Clone, Copy, Debug)]
pub struct ListVms;

/// A VM or container as the cluster's list has it. What it says of the state is up to ten seconds old.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct VmEntry {
    #[serde(deserialize_with = "lenient::integer")]
    pub vmid: u32,
    pub node: String,
    /// `qemu` or `lxc`.
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub status: Option<String>,
    #[serde(default)]
    pub pool: Option<String>,
    #[serde(default)]
    pub lock: Option<String>,
    #[serde(default)]
    tags: Option<String>,
    #[serde(default, deserialize_with = "lenient::flag")]
    pub template: bool,
}

impl VmEntry {
    /// In no particular order: Proxmox sorts them.
    pub fn tags(&self) -> Vec<&str> {
        proxmox_schema::format::split_list(self.tags.as_deref().unwrap_or_default())
    }
}

impl Request for ListVms {
    const METHOD: Method = Method::Get;
    type Answer = Vec<VmEntry>;

    fn template(&self) -> &'static str {
        "/cluster/resources"
    }

    fn parameters(&self) -> Parameters {
        Parameters::new().with("type", "vm")
    }
}

/// `GET /cluster/nextid`
#[derive(Clone, Copy, Debug)]
pub struct GetNextId {
    /// Asks whether this id is free.
    pub vmid: Option<u32>,
}

impl Request for GetNextId {
    const METHOD: Method = Method::Get;
    type Answer = serde_json::Value;

    fn template(&self) -> &'static str {
        "/cluster/nextid"
    }

    fn parameters(&self) -> Parameters {
        Parameters::new().with_some("vmid", self.vmid)
    }
}

impl Client {
    pub async fn version(&self) -> Result<Version, Error> {
        self.send(&GetVersion).await
    }

    /// The version, if it is one that this client can work with.
    pub async fn supported_version(&self) -> Result<Version, Error> {
        let version = self.version().await?;
        if version.is_at_least(PveVersion::FLOOR) {
            return Ok(version);
        }
        let during = During::Request { method: Method::Get, path: GetVersion.template().to_owned() };
        let text = format!("it runs Proxmox VE {}; {} or later is needed", version.version, PveVersion::FLOOR);
        Err(Error::new(Class::Unsupported, during, text))
    }

    pub async fn nodes(&self) -> Result<Vec<NodeEntry>, Error> {
        self.send(&ListNodes).await
    }

    /// All VMs and containers that the caller may see (`VM.Audit`), on all nodes.
    pub async fn vms(&self) -> Result<Vec<VmEntry>, Error> {
        self.send(&ListVms).await
    }

    /// The lowest free id of the range that the cluster's options say. Nothing reserves it.
    pub async fn next_vmid(&self) -> Result<u32, Error> {
        let answer = self.send(&GetNextId { vmid: None }).await?;
        let number = lenient::text_of(&answer).and_then(|text| text.parse().ok());
        let during = During::Request { method: Method::Get, path: "/cluster/nextid".to_owned() };
        number.ok_or_else(|| Error::new(Class::Permanent, during, "the answer is no id"))
    }

    /// Whether any VM or container has this id, also one that the caller may not see. Needs no right.
    pub async fn vmid_is_taken(&self, vmid: u32) -> Result<bool, Error> {
        match self.send(&GetNextId { vmid: Some(vmid) }).await {
            Ok(_) => Ok(false),
            Err(error) if error.class().is_exists() => Ok(true),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn versions_are_gated() {
        let version =
            |release: &str, version: &str| Version { release: release.to_owned(), version: version.to_owned() };
        assert!(version("9.2", "9.2.11").is_at_least(PveVersion::FLOOR));
        assert!(version("", "8.4.21").is_at_least(PveVersion::FLOOR));
        assert!(!version("8.3", "8.3.5").is_at_least(PveVersion::FLOOR));
        assert!(!version("?", "?").is_at_least(PveVersion::FLOOR));
    }

    #[test]
    fn a_vm_of_the_list_is_read() {
        let value = json!({"vmid": "100", "node": "pve", "type": "qemu", "template": "0", "tags": "x;y", "maxmem": 1, "new": {}});
        let entry: VmEntry = serde_json::from_value(value).unwrap();
        assert_eq!(entry.vmid, 100);
        assert_eq!(entry.tags(), ["x", "y"]);
    }
}
