//! A VM's configuration, and changes of it.

use std::collections::BTreeMap;

use proxmox_schema::{Method, PropertyString, Upid};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use uuid::Uuid;

use crate::lenient;
use crate::request::{Parameters, Request};

/// `GET /nodes/{node}/qemu/{vmid}/config`
#[derive(Clone, Debug)]
pub struct GetConfig<'a> {
    pub node: &'a str,
    pub vmid: u32,
    /// As the VM runs, without changes that wait for its next start; else with them.
    pub current: bool,
}

impl Request for GetConfig<'_> {
    const METHOD: Method = Method::Get;
    type Answer = VmConfig;

    fn template(&self) -> &'static str {
        "/nodes/{node}/qemu/{vmid}/config"
    }

    fn placeholders(&self) -> Vec<String> {
        vec![self.node.to_owned(), self.vmid.to_string()]
    }

    fn parameters(&self) -> Parameters {
        Parameters::new().with_flag("current", self.current)
    }
}

/// The configuration of a VM: text by option, whatever JSON type Proxmox chose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VmConfig(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for VmConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let values: BTreeMap<String, Value> = BTreeMap::deserialize(deserializer)?;
        let texts = values.into_iter().filter_map(|(name, value)| Some((name, lenient::text_of(&value)?)));
        Ok(Self(texts.collect()))
    }
}

impl VmConfig {
    pub fn get(&self, option: &str) -> Option<&str> {
        self.0.get(option).map(String::as_str)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(option, value)| (option.as_str(), value.as_str()))
    }

    /// A property string such as `net0` or `scsi0`.
    pub fn properties(&self, option: &str) -> Option<PropertyString> {
        self.get(option)?.parse().ok()
    }

    /// For [`ConfigChange::based_on`].
    pub fn digest(&self) -> Option<&str> {
        self.get("digest")
    }

    /// `create`, `backup` and so on: another operation is on it, or was when it crashed.
    pub fn lock(&self) -> Option<&str> {
        self.get("lock")
    }

    /// The SMBIOS UUID.
    pub fn uuid(&self) -> Option<Uuid> {
        self.properties("smbios1")?.get("uuid")?.parse().ok()
    }

    pub fn description(&self) -> Option<&str> {
        self.get("description")
    }

    pub fn is_protected(&self) -> bool {
        self.flag("protection")
    }

    pub fn is_template(&self) -> bool {
        self.flag("template")
    }

    fn flag(&self, option: &str) -> bool {
        self.get(option).is_some_and(|value| !matches!(value, "" | "0"))
    }

    /// In Proxmox's order, which is sorted.
    pub fn tags(&self) -> Vec<&str> {
        proxmox_schema::format::split_list(self.get("tags").unwrap_or_default())
    }

    pub fn cores(&self) -> u32 {
        self.get("cores").and_then(|cores| cores.parse().ok()).unwrap_or(1)
    }

    /// In MiB; Proxmox's default is 512.
    pub fn memory_mib(&self) -> u32 {
        let memory = self.properties("memory");
        let current = memory.as_ref().and_then(|memory| memory.value().or_else(|| memory.get("current")));
        current.and_then(|current| current.parse().ok()).unwrap_or(512)
    }

    /// The size of a disk in bytes.
    pub fn disk_size(&self, disk: &str) -> Option<u64> {
        proxmox_schema::format::parse_size(self.properties(disk)?.get("size")?)
    }

    /// The volume of a disk: `local-lvm:vm-100-disk-0`.
    pub fn disk_volume(&self, disk: &str) -> Option<String> {
        let properties = self.properties(disk)?;
        properties.value().or_else(|| properties.get("file")).map(str::to_owned)
    }
}

/// A change of a VM's configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConfigChange {
    set: Parameters,
    delete: Vec<String>,
    digest: Option<String>,
}

impl ConfigChange {
    pub fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn set(mut self, option: &str, value: impl Into<Value>) -> Self {
        self.set.set(option, value);
        self
    }

    /// Takes an option away; one that is not set is fine.
    #[must_use]
    pub fn delete(mut self, option: &str) -> Self {
        self.delete.push(option.to_owned());
        self
    }

    /// Only if the configuration has not changed since it had this digest.
    #[must_use]
    pub fn based_on(mut self, config: &VmConfig) -> Self {
        self.digest = config.digest().map(str::to_owned);
        self
    }

    /// In any order; Proxmox sorts them and makes them lower-case.
    #[must_use]
    pub fn tags(self, tags: &[&str]) -> Self {
        self.set("tags", tags.join(";"))
    }

    /// Whether there is anything to change; Proxmox refuses a change of nothing.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.delete.is_empty()
    }

    fn parameters(&self) -> Parameters {
        let mut parameters = self.set.clone();
        if !self.delete.is_empty() {
            parameters.set("delete", self.delete.join(","));
        }
        if let Some(digest) = &self.digest {
            parameters.set("digest", digest.as_str());
        }
        parameters
    }
}

/// `PUT /nodes/{node}/qemu/{vmid}/config`
#[derive(Clone, Debug)]
pub struct SetConfig<'a> {
    pub node: &'a str,
    pub vmid: u32,
    pub change: &'a ConfigChange,
}

impl Request for SetConfig<'_> {
    const METHOD: Method = Method::Put;
    type Answer = ();

    fn template(&self) -> &'static str {
        "/nodes/{node}/qemu/{vmid}/config"
    }

    fn placeholders(&self) -> Vec<String> {
        vec![self.node.to_owned(), self.vmid.to_string()]
    }

    fn parameters(&self) -> Parameters {
        self.change.parameters()
    }
}

/// `POST /nodes/{node}/qemu/{vmid}/config`
pub(super) struct SetConfigInBackground<'a> {
    pub(super) node: &'a str,
    pub(super) vmid: u32,
    pub(super) change: &'a ConfigChange,
}

impl Request for SetConfigInBackground<'_> {
    const METHOD: Method = Method::Post;
    type Answer = Option<Upid>;

    fn template(&self) -> &'static str {
        "/nodes/{node}/qemu/{vmid}/config"
    }

    fn placeholders(&self) -> Vec<String> {
        vec![self.node.to_owned(), self.vmid.to_string()]
    }

    fn parameters(&self) -> Parameters {
        self.change.parameters()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config() -> VmConfig {
        serde_json::from_value(json!({
            "boot": "order=scsi0", "cores": 2, "memory": "2048", "onboot": 1, "protection": "1",
            "digest": "f498d2b8720763277fd86ceb0e3297619d96b151", "lock": "create", "tags": "x;y",
            "smbios1": "uuid=ee6c6e20-cb52-4508-8a52-808491bf392e",
            "scsi1": "local:102/vm-102-disk-1.raw,discard=on,size=50G",
        }))
        .unwrap()
    }

    #[test]
    fn options_of_any_type_are_text() {
        let config = config();
        assert_eq!((config.cores(), config.memory_mib()), (2, 2048));
        assert_eq!(config.uuid().unwrap().to_string(), "ee6c6e20-cb52-4508-8a52-808491bf392e");
        assert_eq!(config.lock(), Some("create"));
        assert_eq!(config.disk_size("scsi1"), Some(50 << 30));
        assert_eq!(config.disk_volume("scsi1").as_deref(), Some("local:102/vm-102-disk-1.raw"));
        assert!(config.is_protected() && !config.is_template());
        assert_eq!(config.tags(), ["x", "y"]);
        assert_eq!(VmConfig::default().memory_mib(), 512);
    }

    #[test]
    fn a_change_carries_the_digest() {
        let change = ConfigChange::new().tags(&["fedi", "a"]).set("onboot", false).delete("lock").delete("net1");
        let parameters = change.based_on(&config()).parameters();
        assert_eq!(parameters.get("delete"), Some(&"lock,net1".into()));
        assert_eq!(parameters.get("tags"), Some(&"fedi;a".into()));
        assert_eq!(parameters.get("onboot"), Some(&0.into()));
        assert!(parameters.get("digest").is_some());
        assert!(ConfigChange::new().based_on(&config()).is_empty());
    }
}
