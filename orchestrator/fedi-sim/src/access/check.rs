//! Who may do what where.

use std::collections::BTreeMap;
use std::fmt::Display;

use proxmox_schema::Check;
use serde_json::{Map, Value};

use super::{Access, Subject, roles, split_token};
use crate::call::perl_string;
use crate::error::{ApiError, ApiResult};
use crate::version::Version;

/// A privilege held, with whether it propagates.
pub(crate) type Privileges = BTreeMap<String, bool>;

/// A path of the access tree.
#[derive(Debug, Clone)]
pub(crate) struct Path(String);

impl Path {
    pub(crate) fn vm(vmid: u32) -> Self {
        Self(format!("/vms/{vmid}"))
    }

    pub(crate) fn pool(pool: &str) -> Self {
        Self(format!("/pool/{pool}"))
    }

    pub(crate) fn storage(storage: &str) -> Self {
        Self(format!("/storage/{storage}"))
    }

    pub(crate) fn node(node: &str) -> Self {
        Self(format!("/nodes/{node}"))
    }

    pub(crate) fn root() -> Self {
        Self("/".to_owned())
    }

    pub(crate) fn new(path: impl Display) -> Self {
        Self(path.to_string())
    }
}

impl Access {
    fn roles_at(&self, user: &str, path: &str) -> BTreeMap<String, bool> {
        if let Some((owner, token)) = split_token(user) {
            let Some(token) = self.users.get(owner).and_then(|owner| owner.tokens.get(token)) else {
                return BTreeMap::new();
            };
            if !token.privsep {
                return self.roles_at(owner, path);
            }
        }
        if user == "root@pam" {
            return [("Administrator".to_owned(), true)].into();
        }
        let mut roles = BTreeMap::new();
        for (step, last) in steps(path) {
            let here = |subject: Subject, matches: &dyn Fn(&str) -> bool| {
                let found: BTreeMap<String, bool> = self
                    .acl
                    .iter()
                    .filter(|entry| entry.path == step && entry.subject == subject && matches(&entry.ugid))
                    .filter(|entry| last || entry.propagate)
                    .map(|entry| (entry.role.clone(), entry.propagate))
                    .collect();
                (!found.is_empty()).then_some(found)
            };
            let in_group = |group: &str| self.groups.get(group).is_some_and(|members| members.contains(user));
            if let Some(found) = here(Subject::Token, &|ugid| ugid == user)
                .or_else(|| here(Subject::User, &|ugid| ugid == user))
                .or_else(|| here(Subject::Group, &in_group))
            {
                roles = found;
            }
        }
        if let Some(propagate) = roles.get("NoAccess").copied() {
            return [("NoAccess".to_owned(), propagate)].into();
        }
        roles
    }

    fn compiled(&self, version: Version, user: &str, path: &str) -> Privileges {
        let mut held = self.roles_at(user, path);
        let pools: Vec<&str> = self
            .pools
            .iter()
            .filter(|(_, pool)| match path.split_once('/').and_then(|(_, rest)| rest.split_once('/')) {
                Some(("vms", id)) => id.parse().is_ok_and(|id| pool.vms.contains(&id)),
                Some(("storage", id)) => pool.storage.contains(id),
                _ => false,
            })
            .map(|(name, _)| name.as_str())
            .collect();
        if !held.contains_key("NoAccess") {
            let inherited: BTreeMap<String, bool> =
                pools.iter().flat_map(|pool| self.roles_at(user, &format!("/pool/{pool}"))).collect();
            if inherited.contains_key("NoAccess") {
                held = [("NoAccess".to_owned(), false)].into();
            } else {
                for role in inherited.into_keys() {
                    held.entry(role).or_insert(false);
                }
            }
        }
        let builtin = roles::builtin(version);
        let mut privileges = Privileges::new();
        for (role, propagate) in held {
            for name in builtin.get(&role).or_else(|| self.roles.get(&role)).into_iter().flatten() {
                *privileges.entry(name.clone()).or_insert(false) |= propagate;
            }
        }
        privileges
    }

    /// All privileges of a user or token on a path.
    pub(crate) fn privileges(&self, version: Version, user: &str, path: &str) -> Privileges {
        if user == "root@pam" {
            return roles::privileges(version).into_iter().map(|name| (name, true)).collect();
        }
        if path.is_empty() {
            return Privileges::new();
        }
        let Some((owner, token)) = split_token(user) else {
            return self.compiled(version, user, path);
        };
        let Some(token) = self.users.get(owner).and_then(|owner| owner.tokens.get(token)) else {
            return Privileges::new();
        };
        let of_owner = self.privileges(version, owner, path);
        if !token.privsep {
            return of_owner;
        }
        let of_token = self.compiled(version, user, path);
        of_token
            .into_iter()
            .filter_map(|(name, propagate)| of_owner.get(&name).map(|&theirs| (name, propagate && theirs)))
            .collect()
    }

    /// Whether all of `privileges` are held on `path`.
    pub(crate) fn allows(&self, version: Version, user: &str, path: &Path, privileges: &[&str]) -> bool {
        let held = self.privileges(version, user, &path.0);
        privileges.iter().all(|name| held.contains_key(*name))
    }

    /// Refuses unless all of `privileges` are held; the text names the first missing one.
    pub(crate) fn require(&self, version: Version, user: &str, path: &Path, privileges: &[&str]) -> ApiResult<()> {
        let held = self.privileges(version, user, &path.0);
        match privileges.iter().find(|name| !held.contains_key(**name)) {
            None => Ok(()),
            Some(missing) => Err(ApiError::permission(Some(&format!("{}, {missing}", path.0)))),
        }
    }

    /// Refuses unless one of `privileges` is held.
    pub(crate) fn require_any(&self, version: Version, user: &str, path: &Path, privileges: &[&str]) -> ApiResult<()> {
        let held = self.privileges(version, user, &path.0);
        if privileges.iter().any(|name| held.contains_key(*name)) {
            return Ok(());
        }
        Err(ApiError::permission(Some(&format!("{}, {}", path.0, privileges.join("|")))))
    }

    /// The check for a VM that may not have joined its pool yet.
    pub(crate) fn require_vm(
        &self,
        version: Version,
        user: &str,
        vmid: u32,
        pool: Option<&str>,
        privileges: &[&str],
        any: bool,
    ) -> ApiResult<()> {
        let check = |path: &Path| {
            if any {
                self.require_any(version, user, path, privileges)
            } else {
                self.require(version, user, path, privileges)
            }
        };
        if let Some(pool) = pool
            && check(&Path::pool(pool)).is_ok()
        {
            return Ok(());
        }
        check(&Path::vm(vmid))
    }

    /// The right to change rights on a path.
    pub(crate) fn require_perm_modify(&self, version: Version, user: &str, path: &str) -> ApiResult<()> {
        let mut privileges = vec!["Permissions.Modify"];
        for (prefix, privilege) in
            [("/storage/", "Datastore.Allocate"), ("/vms/", "VM.Allocate"), ("/pool/", "Pool.Allocate")]
        {
            if path.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty()) {
                privileges.push(privilege);
            }
        }
        self.require_any(version, user, &Path::new(path), &privileges)
    }
}

/// The tree nodes on the way to a path, with a mark on the last.
fn steps(path: &str) -> Vec<(String, bool)> {
    let mut steps = vec![("/".to_owned(), path == "/")];
    let mut walked = String::new();
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    for (index, part) in parts.iter().enumerate() {
        walked.push('/');
        walked.push_str(part);
        steps.push((walked.clone(), index + 1 == parts.len()));
    }
    steps
}

/// The check that the table declares for an endpoint.
pub(crate) fn declared_check(
    access: &Access,
    version: Version,
    check: &Check,
    user: &str,
    params: &Map<String, Value>,
) -> ApiResult<()> {
    let text = |name: &str| params.get(name).map(perl_string);
    match check {
        Check::And(checks) => checks.iter().try_for_each(|check| declared_check(access, version, check, user, params)),
        Check::Or(checks) => {
            if checks.iter().any(|check| declared_check(access, version, check, user, params).is_ok()) {
                return Ok(());
            }
            Err(ApiError::permission(None))
        }
        Check::Privileges { path, privileges, any, if_given } => {
            if if_given.as_ref().is_some_and(|name| !params.contains_key(name)) {
                return Err(ApiError::permission(None));
            }
            let filled = fill(path, &text);
            // A path with other characters is no path at all to PVE.
            let sound = filled.chars().all(|c| c.is_ascii_alphanumeric() || "./-_".contains(c));
            let path = Path(if sound { filled } else { String::new() });
            let privileges: Vec<&str> = privileges.iter().map(String::as_str).collect();
            if *any {
                access.require_any(version, user, &path, &privileges)
            } else {
                access.require(version, user, &path, &privileges)
            }
        }
        Check::ModifyAcl { path } => access.require_perm_modify(version, user, &fill(path, &text)),
        Check::IsSelf => match text("userid") {
            Some(id) if id == user && access.users.contains_key(&id) => Ok(()),
            _ => Err(ApiError::permission(None)),
        },
        Check::UserGroup(privileges) => {
            let id = text("userid").unwrap_or_default();
            if !access.users.contains_key(&id) {
                return Err(ApiError::die(format!("no such user ('{id}')")));
            }
            let privileges: Vec<&str> = privileges.iter().map(String::as_str).collect();
            access.require_any(version, user, &Path::new("/access/groups"), &privileges)
        }
    }
}

/// Puts parameters into a path such as `/vms/{vmid}`.
fn fill(template: &str, text: &dyn Fn(&str) -> Option<String>) -> String {
    let mut filled = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        let (name, after) = after.split_once('}').unwrap_or((after, ""));
        filled.push_str(&text(name).unwrap_or_default());
        rest = after;
    }
    filled.push_str(rest);
    filled
}
