//! What a user may do, told to the user: `/access/permissions` and the `cap` of a login.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{Access, Path, split_token};
use crate::call::{Call, Reply};
use crate::error::ApiResult;
use crate::version::Version;

const FAMILIES: [(&str, &[&str]); 7] = [
    ("vms", &["VM.", "Permissions.Modify"]),
    ("access", &["User.", "Group.", "Permissions.Modify"]),
    ("storage", &["Datastore.", "Permissions.Modify"]),
    ("nodes", &["Sys.", "Permissions.Modify"]),
    ("sdn", &["SDN.", "Permissions.Modify"]),
    ("dc", &["Sys.Audit", "Sys.Modify", "SDN."]),
    ("mapping", &["Mapping.", "Permissions.Modify"]),
];

/// The `cap` object of a login: privileges by family, wherever held.
pub(crate) fn capabilities(access: &Access, version: Version, user: &str) -> Value {
    let mut caps: BTreeMap<&str, BTreeSet<String>> =
        FAMILIES.iter().map(|(family, _)| (*family, BTreeSet::new())).collect();
    let required = ["/", "/nodes", "/access/groups", "/vms", "/storage", "/sdn", "/mapping"];
    let paths: BTreeSet<&str> =
        required.into_iter().chain(access.acl.iter().map(|entry| entry.path.as_str())).collect();
    for path in paths {
        let held = access.privileges(version, user, path);
        let top = path.split('/').nth(1).filter(|top| !top.is_empty()).unwrap_or("dc");
        for name in held.into_keys() {
            if top == "pool" {
                let families: &[&str] = match name.as_str() {
                    "Permissions.Modify" => &["storage", "vms"],
                    name if name.starts_with("VM.") => &["vms"],
                    name if name.starts_with("Datastore.") => &["storage"],
                    _ => &[],
                };
                for family in families {
                    caps.entry(family).or_default().insert(name.clone());
                }
            } else if let Some((family, prefixes)) = FAMILIES.iter().find(|(family, _)| *family == top)
                && prefixes.iter().any(|prefix| name.starts_with(prefix))
            {
                caps.entry(family).or_default().insert(name);
            }
        }
    }
    let object: Map<String, Value> = caps
        .into_iter()
        .map(|(family, names)| {
            let names: Map<String, Value> = names.into_iter().map(|name| (name, 1.into())).collect();
            (family.to_owned(), names.into())
        })
        .collect();
    object.into()
}

/// `GET /access/permissions`
pub(crate) fn own_permissions(call: &Call) -> ApiResult<Reply> {
    let state = call.sim.read();
    let version = call.sim.version;
    let userid = call.params.text("userid").unwrap_or_else(|| call.user.clone());
    let owned = split_token(&userid).is_some_and(|(owner, _)| owner == call.user);
    if userid != call.user && !owned {
        call.require(&state, &Path::new("/access"), &["Sys.Audit"])?;
    }
    let object = |path: &str| -> Map<String, Value> {
        let held = state.access.privileges(version, &userid, path);
        held.into_iter().map(|(name, propagate)| (name, u8::from(propagate).into())).collect()
    };
    let mut data = Map::new();
    if let Some(path) = call.params.text("path") {
        data.insert(path.clone(), object(&path).into());
        return Ok(Value::from(data).into());
    }
    let mut paths: BTreeSet<String> =
        ["/", "/access", "/access/groups", "/nodes", "/pool", "/sdn", "/storage", "/vms"].map(str::to_owned).into();
    paths.extend(state.access.acl.iter().map(|entry| entry.path.clone()));
    for pool in state.access.pools.values() {
        paths.extend(pool.vms.iter().map(|vmid| format!("/vms/{vmid}")));
        paths.extend(pool.storage.iter().map(|storage| format!("/storage/{storage}")));
    }
    for path in paths {
        let held = object(&path);
        if !held.is_empty() {
            data.insert(path, held.into());
        }
    }
    Ok(Value::from(data).into())
}
