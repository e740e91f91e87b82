//! One node, and the ways from it to its storages and VMs.

use proxmox_schema::Method;
use serde::Deserialize;

use crate::client::Client;
use crate::error::Error;
use crate::lenient;
use crate::request::{Parameters, Request};
use crate::storage::Storage;
use crate::task::{TaskEntry, TaskQuery};
use crate::vm::Vm;

/// A node of the cluster.
#[derive(Clone, Debug)]
pub struct Node {
    pub(crate) client: Client,
    pub(crate) name: String,
}

impl Client {
    /// The node of this name; nothing is asked.
    pub fn node(&self, name: impl Into<String>) -> Node {
        Node { client: self.clone(), name: name.into() }
    }
}

/// `GET /nodes/{node}/storage`
#[derive(Clone, Debug)]
pub struct ListStorages<'a> {
    pub node: &'a str,
    /// Only those for this content, such as `import` or `images`.
    pub content: Option<&'a str>,
}

/// A storage as a node sees it.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct StorageEntry {
    pub storage: String,
    /// `dir`, `lvmthin`, `zfspool` and so on.
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default)]
    content: String,
    #[serde(default, deserialize_with = "lenient::flag")]
    pub enabled: bool,
    #[serde(default, deserialize_with = "lenient::flag")]
    pub active: bool,
    #[serde(default, deserialize_with = "lenient::flag")]
    pub shared: bool,
    /// Bytes.
    #[serde(rename = "avail", default, deserialize_with = "lenient::maybe_integer")]
    pub available: Option<u64>,
    /// Bytes.
    #[serde(default, deserialize_with = "lenient::maybe_integer")]
    pub total: Option<u64>,
}

impl StorageEntry {
    /// Whether the storage takes such content: `images`, `import`.
    pub fn holds(&self, content: &str) -> bool {
        self.content.split(',').any(|kind| kind.trim() == content)
    }
}

impl Request for ListStorages<'_> {
    const METHOD: Method = Method::Get;
    type Answer = Vec<StorageEntry>;

    fn template(&self) -> &'static str {
        "/nodes/{node}/storage"
    }

    fn placeholders(&self) -> Vec<String> {
        vec![self.node.to_owned()]
    }

    fn parameters(&self) -> Parameters {
        Parameters::new().with_some("content", self.content)
    }
}

/// `GET /nodes/{node}/network?type=any_bridge`
#[derive(Clone, Debug)]
pub struct ListBridges<'a> {
    pub node: &'a str,
}

/// A bridge of a node.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Bridge {
    #[serde(rename = "iface")]
    pub name: String,
    #[serde(default, deserialize_with = "lenient::flag")]
    pub active: bool,
}

impl Request for ListBridges<'_> {
    const METHOD: Method = Method::Get;
    type Answer = Vec<Bridge>;

    fn template(&self) -> &'static str {
        "/nodes/{node}/network"
    }

    fn placeholders(&self) -> Vec<String> {
        vec![self.node.to_owned()]
    }

    fn parameters(&self) -> Parameters {
        Parameters::new().with("type", "any_bridge")
    }
}

/// `GET /nodes/{node}/certificates/info`
#[derive(Clone, Debug)]
pub struct ListCertificates<'a> {
    pub node: &'a str,
}

/// A certificate of a node.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Certificate {
    #[serde(default)]
    pub filename: String,
    pub fingerprint: String,
    /// Seconds since 1970.
    #[serde(rename = "notafter", default, deserialize_with = "lenient::maybe_integer")]
    pub not_after: Option<i64>,
    #[serde(default)]
    pub pem: Option<String>,
}

impl Request for ListCertificates<'_> {
    const METHOD: Method = Method::Get;
    type Answer = Vec<Certificate>;

    fn template(&self) -> &'static str {
        "/nodes/{node}/certificates/info"
    }

    fn placeholders(&self) -> Vec<String> {
        vec![self.node.to_owned()]
    }
}

impl Node {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The storage of this name, as this node sees it; nothing is asked.
    pub fn storage(&self, name: impl Into<String>) -> Storage {
        Storage { client: self.client.clone(), node: self.name.clone(), name: name.into() }
    }

    /// The VM of this id on this node; nothing is asked.
    pub fn vm(&self, vmid: u32) -> Vm {
        Vm { client: self.client.clone(), node: self.name.clone(), vmid }
    }

    /// The storages of the node that the caller may see.
    pub async fn storages(&self) -> Result<Vec<StorageEntry>, Error> {
        self.client.send(&ListStorages { node: &self.name, content: None }).await
    }

    /// The bridges of the node that the caller may use.
    pub async fn bridges(&self) -> Result<Vec<Bridge>, Error> {
        self.client.send(&ListBridges { node: &self.name }).await
    }

    pub async fn certificates(&self) -> Result<Vec<Certificate>, Error> {
        self.client.send(&ListCertificates { node: &self.name }).await
    }

    /// Tasks of the node, newest first.
    pub async fn tasks(&self, query: &TaskQuery) -> Result<Vec<TaskEntry>, Error> {
        self.client.tasks(&self.name, query).await
    }
}
