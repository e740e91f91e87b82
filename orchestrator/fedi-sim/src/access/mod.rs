//! Users, tokens, pools and the access control tree, and what they allow.
//!
//! Source of the rules: `PVE::AccessControl` and `PVE::RPCEnvironment`.

mod acl;
mod cap;
mod check;
mod pools;
pub(crate) mod roles;
mod users;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub(crate) use acl::{acl_read, acl_update, role_read, role_update, roles_create, roles_delete, roles_list};
pub(crate) use cap::{capabilities, own_permissions};
pub(crate) use check::{Path, declared_check};
pub(crate) use pools::{pool_create, pool_delete, pool_index, pool_read, pool_update};
pub(crate) use users::{
    domains, token_create, token_delete, token_list, token_read, token_update, user_create, user_delete, user_list,
    user_read,
};

/// Everything `user.cfg` and `token.cfg` hold.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Access {
    pub(crate) users: BTreeMap<String, User>,
    pub(crate) groups: BTreeMap<String, BTreeSet<String>>,
    pub(crate) roles: BTreeMap<String, BTreeSet<String>>,
    pub(crate) acl: Vec<AclEntry>,
    pub(crate) pools: BTreeMap<String, Pool>,
}

/// A user with its tokens.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct User {
    pub(crate) enable: bool,
    /// Seconds since 1970, 0 = never.
    pub(crate) expire: u64,
    pub(crate) comment: Option<String>,
    pub(crate) password: Option<SecretHash>,
    pub(crate) tokens: BTreeMap<String, Token>,
}

impl Default for User {
    fn default() -> Self {
        Self { enable: true, expire: 0, comment: None, password: None, tokens: BTreeMap::new() }
    }
}

/// An API token.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Token {
    pub(crate) privsep: bool,
    pub(crate) expire: u64,
    pub(crate) comment: Option<String>,
    pub(crate) secret: SecretHash,
}

/// What is kept of a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SecretHash(String);

impl SecretHash {
    pub(crate) fn of(secret: &str) -> Self {
        Self(hex::encode(Sha256::digest(secret.as_bytes())))
    }

    pub(crate) fn matches(&self, secret: &str) -> bool {
        *self == Self::of(secret)
    }
}

/// Whom an access rule is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Subject {
    User,
    Group,
    Token,
}

/// One line of the access control list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AclEntry {
    pub(crate) path: String,
    pub(crate) subject: Subject,
    /// User, group or `user!token`.
    pub(crate) ugid: String,
    pub(crate) role: String,
    pub(crate) propagate: bool,
}

/// A resource pool.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Pool {
    pub(crate) comment: Option<String>,
    pub(crate) vms: BTreeSet<u32>,
    pub(crate) storage: BTreeSet<String>,
}

/// Splits `user@realm!token`; `None` when there is no token part.
pub(crate) fn split_token(userid: &str) -> Option<(&str, &str)> {
    userid.split_once('!')
}

impl Access {
    /// The pool a VM is in.
    pub(crate) fn pool_of(&self, vmid: u32) -> Option<&str> {
        self.pools.iter().find(|(_, pool)| pool.vms.contains(&vmid)).map(|(name, _)| name.as_str())
    }

    /// What happens to rights when a VM is destroyed: its ACLs and its pool membership go.
    pub(crate) fn forget_vm(&mut self, vmid: u32) {
        let path = format!("/vms/{vmid}");
        self.acl.retain(|entry| entry.path != path);
        for pool in self.pools.values_mut() {
            pool.vms.remove(&vmid);
        }
    }

    /// Whether a user exists, is enabled and has not expired.
    pub(crate) fn is_enabled(&self, userid: &str, now: u64) -> bool {
        self.users.get(userid).is_some_and(|user| user.enable && (user.expire == 0 || user.expire > now))
    }
}
