//! `/access/acl` and `/access/roles`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Access, AclEntry, Path, Subject, roles, split_token};
use crate::call::{Call, Reply, split_list};
use crate::error::{ApiError, ApiResult};
use crate::state::State;

fn normalize(path: &str) -> Option<String> {
    let mut parts = path.split('/').filter(|part| !part.is_empty()).peekable();
    if path.is_empty() {
        return None;
    }
    if parts.peek().is_none() {
        return Some("/".to_owned());
    }
    let joined = parts.fold(String::new(), |joined, part| format!("{joined}/{part}"));
    joined.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/')).then_some(joined)
}

/// Whether a normalized path is one that rights can be given on.
pub(crate) fn acl_path_is_valid(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    match parts.as_slice() {
        ["" | "access" | "nodes" | "pool" | "sdn" | "storage" | "vms" | "mapping"]
        | ["access", "groups" | "realm"]
        | ["access", "groups" | "realm", _]
        | ["nodes" | "storage" | "mapping", _]
        | ["mapping", _, _] => true,
        ["vms", id] => id.len() >= 3 && !id.starts_with('0') && id.bytes().all(|b| b.is_ascii_digit()),
        ["pool", rest @ ..] | ["sdn", "zones", rest @ ..] => rest.len() <= 3,
        ["sdn", "controllers" | "dns" | "fabrics" | "ipams" | "prefix-lists" | "route-maps", rest @ ..] => {
            rest.len() <= 1
        }
        _ => false,
    }
}

/// `GET /access/acl`
pub(crate) fn acl_read(call: &Call) -> Reply {
    let state = call.sim.read();
    let audit = call.allows(&state, &Path::new("/access"), &["Sys.Audit"]);
    let version = call.sim.version;
    let entries: Vec<Value> = state
        .access
        .acl
        .iter()
        .filter(|entry| audit || state.access.require_perm_modify(version, &call.user, &entry.path).is_ok())
        .map(|entry| {
            json!({"path": entry.path, "type": entry.subject, "ugid": entry.ugid, "roleid": entry.role,
                   "propagate": u8::from(entry.propagate)})
        })
        .collect();
    Value::from(entries).into()
}

/// `PUT /access/acl`
pub(crate) async fn acl_update(call: &Call) -> ApiResult<Reply> {
    let params = &call.params;
    if !["users", "groups", "tokens"].iter().any(|name| !params.need(name).is_empty()) {
        let text = "either 'users', 'groups' or 'tokens' is required.";
        return Err(ApiError::params(
            ["users", "groups", "tokens"].map(|name| (name.to_owned(), text.to_owned())).into(),
        ));
    }
    let given = params.need("path");
    let delete = params.is_set("delete");
    let path = normalize(&given).filter(|path| delete || acl_path_is_valid(path));
    let Some(path) = path else {
        return Err(ApiError::param("path", format!("invalid ACL path '{given}'")));
    };
    let propagate = params.flag("propagate").unwrap_or(true);
    call.change_access("ACL update failed", |state| {
        let mut acl = state.access.acl.clone();
        for role in split_list(&params.need("roles")) {
            let privileges = role_privileges(call, state, &role)
                .ok_or_else(|| ApiError::die(format!("role '{role}' does not exist")))?;
            may_hand_out(call, state, &path, &role, &privileges, delete, propagate)?;
            for (name, subject) in [("groups", Subject::Group), ("users", Subject::User), ("tokens", Subject::Token)] {
                for ugid in params.list(name) {
                    subject_exists(&state.access, subject, &ugid)?;
                    let entry = AclEntry { path: path.clone(), subject, ugid, role: role.clone(), propagate };
                    acl.retain(|old| {
                        (&old.path, old.subject, &old.ugid, &old.role)
                            != (&entry.path, entry.subject, &entry.ugid, &entry.role)
                    });
                    if !delete {
                        acl.push(entry);
                    }
                }
            }
        }
        state.access.acl = acl;
        Ok(Reply::null())
    })
    .await
}

fn role_privileges(call: &Call, state: &State, role: &str) -> Option<BTreeSet<String>> {
    roles::builtin(call.sim.version).remove(role).or_else(|| state.access.roles.get(role).cloned())
}

fn may_hand_out(
    call: &Call,
    state: &State,
    path: &str,
    role: &str,
    privileges: &BTreeSet<String>,
    delete: bool,
    propagate: bool,
) -> ApiResult<()> {
    let held = state.access.privileges(call.sim.version, &call.user, path);
    if held.contains_key("Permissions.Modify") {
        return Ok(());
    }
    let verb = if delete { "remove" } else { "add" };
    for name in privileges {
        match held.get(name) {
            None => {
                return Err(ApiError::param(
                    "role",
                    format!("Cannot {verb} role '{role}' - requires 'Permissions.Modify' or superset of privileges."),
                ));
            }
            Some(false) if propagate && !delete => {
                return Err(ApiError::param(
                    "role",
                    format!(
                        "Cannot {verb} role '{role}' with propagation - requires 'Permissions.Modify' or \
                         propagated superset of privileges."
                    ),
                ));
            }
            Some(_) => {}
        }
    }
    if role == "NoAccess" {
        return Err(ApiError::param("role", format!("Cannot {verb} role '{role}' - requires 'Permissions.Modify'")));
    }
    Ok(())
}

fn subject_exists(access: &Access, subject: Subject, ugid: &str) -> ApiResult<()> {
    let missing = match subject {
        Subject::Group => (!access.groups.contains_key(ugid)).then(|| format!("group '{ugid}' does not exist")),
        Subject::User => (!access.users.contains_key(ugid)).then(|| format!("user '{ugid}' does not exist")),
        Subject::Token => {
            let (owner, token) = split_token(ugid).unwrap_or((ugid, ""));
            match access.users.get(owner) {
                None => Some(format!("no such user ('{owner}')")),
                Some(user) if !user.tokens.contains_key(token) => {
                    Some(format!("no such token '{token}' for user '{owner}'"))
                }
                Some(_) => None,
            }
        }
    };
    missing.map_or(Ok(()), |text| Err(ApiError::die(text)))
}

/// `GET /access/roles`
pub(crate) fn roles_list(call: &Call) -> Reply {
    let state = call.sim.read();
    let special = roles::builtin(call.sim.version);
    let rows: Vec<Value> = special
        .iter()
        .map(|(name, privileges)| (name, privileges, 1))
        .chain(state.access.roles.iter().map(|(name, privileges)| (name, privileges, 0)))
        .map(|(name, privileges, special)| {
            let privileges: Vec<&str> = privileges.iter().map(String::as_str).collect();
            json!({"roleid": name, "privs": privileges.join(","), "special": special})
        })
        .collect();
    Value::from(rows).into()
}

/// `GET /access/roles/{roleid}`
pub(crate) fn role_read(call: &Call) -> ApiResult<Reply> {
    let role = call.params.need("roleid");
    let state = call.sim.read();
    let privileges =
        role_privileges(call, &state, &role).ok_or_else(|| ApiError::die(format!("role '{role}' does not exist")))?;
    let data: serde_json::Map<String, Value> = privileges.into_iter().map(|name| (name, Value::from(1))).collect();
    Ok(Value::from(data).into())
}

fn checked_privileges(call: &Call) -> ApiResult<BTreeSet<String>> {
    let known = roles::privileges(call.sim.version);
    call.params
        .list("privs")
        .into_iter()
        .map(
            |name| {
                if known.contains(&name) { Ok(name) } else { Err(ApiError::die(format!("invalid privilege '{name}'"))) }
            },
        )
        .collect()
}

/// `POST /access/roles`
pub(crate) async fn roles_create(call: &Call) -> ApiResult<Reply> {
    let role = call.params.need("roleid");
    if role.to_ascii_uppercase().starts_with("PVE") {
        return Err(ApiError::param(
            "roleid",
            "cannot use role ID starting with the (case-insensitive) 'PVE' namespace",
        ));
    }
    call.change_access("create role failed", |state| {
        if role_privileges(call, state, &role).is_some() {
            return Err(ApiError::die(format!("role '{role}' already exists")));
        }
        let privileges = checked_privileges(call)?;
        state.access.roles.insert(role.clone(), privileges);
        Ok(Reply::null())
    })
    .await
}

/// `PUT /access/roles/{roleid}`
pub(crate) async fn role_update(call: &Call) -> ApiResult<Reply> {
    let role = call.params.need("roleid");
    refuse_special(call, &role, "modified")?;
    call.change_access("update role failed", |state| {
        let privileges = checked_privileges(call)?;
        let old =
            state.access.roles.get_mut(&role).ok_or_else(|| ApiError::die(format!("role '{role}' does not exist")))?;
        if !call.params.is_set("append") {
            old.clear();
        }
        old.extend(privileges);
        Ok(Reply::null())
    })
    .await
}

/// `DELETE /access/roles/{roleid}`
pub(crate) async fn roles_delete(call: &Call) -> ApiResult<Reply> {
    let role = call.params.need("roleid");
    refuse_special(call, &role, "deleted")?;
    call.change_access("delete role failed", |state| {
        state
            .access
            .roles
            .remove(&role)
            .map(|_| Reply::null())
            .ok_or_else(|| ApiError::die(format!("role '{role}' does not exist")))
    })
    .await
}

fn refuse_special(call: &Call, role: &str, verb: &str) -> ApiResult<()> {
    if roles::builtin(call.sim.version).contains_key(role) {
        Err(ApiError::die(format!("auto-generated role '{role}' cannot be {verb}")))
    } else {
        Ok(())
    }
}
