//! All endpoints of one release.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::{Map, Value};

use crate::check::Errors;
use crate::endpoint::{Endpoint, Method};
use crate::table;
use crate::version::PveVersion;

const TABLES: [(&str, &str); 12] = [
    ("words.pve", include_str!("../tables/words.pve")),
    ("standard.pve", include_str!("../tables/standard.pve")),
    ("props.pve", include_str!("../tables/props.pve")),
    ("vm-options.pve", include_str!("../tables/vm-options.pve")),
    ("access.pve", include_str!("../tables/access.pve")),
    ("agent.pve", include_str!("../tables/agent.pve")),
    ("cluster.pve", include_str!("../tables/cluster.pve")),
    ("node.pve", include_str!("../tables/node.pve")),
    ("pool.pve", include_str!("../tables/pool.pve")),
    ("storage.pve", include_str!("../tables/storage.pve")),
    ("task.pve", include_str!("../tables/task.pve")),
    ("vm.pve", include_str!("../tables/vm.pve")),
];

/// The endpoints of one release of Proxmox VE.
#[derive(Debug)]
pub struct Schema {
    version: PveVersion,
    endpoints: Vec<Endpoint>,
}

/// An endpoint that a request goes to.
#[derive(Clone, Debug)]
pub struct Match {
    pub endpoint: &'static Endpoint,
    /// The values of the path's placeholders.
    pub path_params: BTreeMap<String, String>,
}

impl Match {
    /// The parameters of the query and body together with those of the path.
    ///
    /// # Errors
    ///
    /// The `errors` map of a request that names a placeholder once more with another value.
    pub fn merge(&self, mut parameters: Map<String, Value>) -> Result<Map<String, Value>, Errors> {
        for (name, value) in &self.path_params {
            let same = parameters.get(name).is_none_or(|given| match given {
                Value::String(text) => text == value,
                Value::Number(number) => number.to_string() == *value,
                _ => false,
            });
            if !same {
                let error = "duplicate parameter (already defined in URI) with conflicting values!";
                return Err(Errors::from([(name.clone(), error.to_owned())]));
            }
            parameters.insert(name.clone(), Value::String(value.clone()));
        }
        Ok(parameters)
    }
}

impl Schema {
    /// The tables for a release; for one that they do not know, those of the nearest older one.
    #[must_use]
    pub fn for_version(version: PveVersion) -> &'static Self {
        static SCHEMAS: [LazyLock<Schema>; PveVersion::KNOWN.len()] = [
            LazyLock::new(|| Schema::read(PveVersion::KNOWN[0])),
            LazyLock::new(|| Schema::read(PveVersion::KNOWN[1])),
            LazyLock::new(|| Schema::read(PveVersion::KNOWN[2])),
            LazyLock::new(|| Schema::read(PveVersion::KNOWN[3])),
        ];
        let known = version.nearest_known();
        let index = PveVersion::KNOWN.iter().position(|other| *other == known).unwrap_or(0);
        &SCHEMAS[index]
    }

    fn read(version: PveVersion) -> Self {
        // The tables are part of the program; a test reads them for every release.
        let endpoints = table::read(&TABLES, version).unwrap_or_else(|error| panic!("{error}"));
        Self { version, endpoints }
    }

    pub fn version(&self) -> PveVersion {
        self.version
    }

    pub fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.iter()
    }

    /// The endpoint for a path below `/api2/json`, percent-decoded; `None` is Proxmox's 501.
    pub fn find(&'static self, method: Method, path: &str) -> Option<Match> {
        let fitting = self.endpoints.iter().filter(|endpoint| endpoint.method == method);
        fitting
            .filter_map(|endpoint| Some((endpoint, endpoint.template.matches(path)?)))
            .max_by_key(|(endpoint, _)| endpoint.template.literals())
            .map(|(endpoint, path_params)| Match { endpoint, path_params })
    }

    /// The endpoint with exactly this path, placeholders included.
    pub fn endpoint(&self, method: Method, template: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.method == method && endpoint.path == template)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_tables_are_read_for_every_release() {
        for version in PveVersion::KNOWN {
            let schema = Schema::for_version(version);
            assert_eq!(schema.version(), version);
            assert!(schema.endpoints().count() > 90, "{version}");
            for endpoint in schema.endpoints() {
                let same = |other: &&Endpoint| other.method == endpoint.method && other.path == endpoint.path;
                assert_eq!(schema.endpoints().filter(same).count(), 1, "{} {}", endpoint.method, endpoint.path);
                assert!(!endpoint.name.is_empty(), "{} {}", endpoint.method, endpoint.path);
            }
        }
    }

    #[test]
    fn a_path_finds_its_endpoint_and_placeholders() {
        let schema = Schema::for_version(PveVersion::new(9, 2));
        let found = schema.find(Method::Get, "/nodes/pve/qemu/100/config").unwrap();
        assert_eq!(found.endpoint.name, "vm_config");
        assert_eq!(found.path_params["vmid"], "100");
        assert!(schema.find(Method::Post, "/version").is_none());
    }

    #[test]
    fn a_parameter_of_the_path_cannot_be_given_twice() {
        let schema = Schema::for_version(PveVersion::FLOOR);
        let found = schema.find(Method::Put, "/nodes/pve/qemu/100/config").unwrap();
        let body = |vmid: Value| json!({"vmid": vmid, "foo": 1}).as_object().cloned().unwrap();
        assert_eq!(found.merge(body(json!(101))).unwrap_err().len(), 1);
        assert!(found.merge(body(json!(100))).is_ok());
    }

    #[test]
    fn differences_between_releases_are_kept() {
        let create = |version| Schema::for_version(version).endpoint(Method::Post, "/nodes/{node}/qemu").unwrap();
        assert!(!create(PveVersion::FLOOR).parameters.contains_key("ha-managed"));
        assert!(create(PveVersion::new(9, 1)).parameters.contains_key("ha-managed"));
        assert!(create(PveVersion::FLOOR).parameters.contains_key("scsi30"));
        assert!(!create(PveVersion::FLOOR).parameters.contains_key("scsi31"));
    }
}
