//! Rights: what the caller may do.

use std::collections::{BTreeMap, BTreeSet};

use proxmox_schema::Method;
use serde::Deserialize;

use crate::client::Client;
use crate::error::Error;
use crate::lenient;
use crate::request::{Parameters, Request};

/// `GET /access/permissions`
#[derive(Clone, Copy, Debug)]
pub struct GetPermissions<'a> {
    /// Only on this path; else on all where something was granted.
    pub path: Option<&'a str>,
}

/// Privileges by path, as Proxmox computed them: for a token with privilege separation, the user's and the
/// token's together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permissions(BTreeMap<String, BTreeMap<String, bool>>);

impl Permissions {
    /// Whether the privilege holds on the path: granted there, or above and inherited.
    ///
    /// Proxmox's answer names every path with a grant, with all that is inherited there, so that the nearest one
    /// decides.
    pub fn allow(&self, path: &str, privilege: &str) -> bool {
        let mut current = path;
        loop {
            if let Some(granted) = self.0.get(current) {
                // What is granted here without propagation does not hold below.
                return granted.get(privilege).is_some_and(|inherited| *inherited || current == path);
            }
            if current == "/" {
                return false;
            }
            current = match current.rsplit_once('/') {
                Some(("", _)) | None => "/",
                Some((above, _)) => above,
            };
        }
    }

    /// The privileges on a path.
    pub fn on(&self, path: &str) -> BTreeSet<&str> {
        let all = self.0.values().flat_map(BTreeMap::keys).map(String::as_str);
        all.filter(|privilege| self.allow(path, privilege)).collect()
    }
}

impl<'de> Deserialize<'de> for Permissions {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Inherited(#[serde(deserialize_with = "lenient::flag")] bool);
        let paths: BTreeMap<String, BTreeMap<String, Inherited>> = BTreeMap::deserialize(deserializer)?;
        let plain = |privileges: BTreeMap<String, Inherited>| {
            privileges.into_iter().map(|(name, Inherited(inherited))| (name, inherited)).collect()
        };
        Ok(Self(paths.into_iter().map(|(path, privileges)| (path, plain(privileges))).collect()))
    }
}

impl Request for GetPermissions<'_> {
    const METHOD: Method = Method::Get;
    type Answer = Permissions;

    fn template(&self) -> &'static str {
        "/access/permissions"
    }

    fn parameters(&self) -> Parameters {
        Parameters::new().with_some("path", self.path)
    }
}

impl Client {
    /// What the caller may do, everywhere. Needs no right.
    pub async fn permissions(&self) -> Result<Permissions, Error> {
        self.send(&GetPermissions { path: None }).await
    }

    /// What the caller may do on one path, which Proxmox computes itself.
    pub async fn permissions_on(&self, path: &str) -> Result<Permissions, Error> {
        self.send(&GetPermissions { path: Some(path) }).await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn grants_are_inherited_where_they_say_so() {
        let permissions: Permissions = serde_json::from_value(json!({
            "/": {"Sys.Audit": 0},
            "/pool/fedi": {"VM.Allocate": 1, "VM.Audit": 1},
            "/storage": {"Datastore.Audit": 1},
            "/storage/local": {"Datastore.AllocateSpace": 1},
        }))
        .unwrap();
        assert!(permissions.allow("/pool/fedi", "VM.Allocate"));
        assert!(permissions.allow("/pool/fedi/web", "VM.Allocate"));
        assert!(!permissions.allow("/pool/other", "VM.Allocate"));
        assert!(permissions.allow("/", "Sys.Audit"));
        assert!(!permissions.allow("/nodes/pve", "Sys.Audit"), "granted without propagation");
        assert!(permissions.allow("/storage/tiny", "Datastore.Audit"));
        assert!(!permissions.allow("/storage/local", "Datastore.Audit"), "the nearest entry decides");
        assert_eq!(permissions.on("/pool/fedi").len(), 2);
    }
}
