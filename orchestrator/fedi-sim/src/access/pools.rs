//! `/pools`.

use serde_json::{Value, json};

use super::{Path, Pool};
use crate::call::{Call, Reply};
use crate::cluster;
use crate::error::{ApiError, ApiResult};

/// `GET /pools`
pub(crate) fn pool_index(call: &Call) -> ApiResult<Reply> {
    if let Some(pool) = call.params.text("poolid") {
        return Ok(Value::from(vec![members(call, &pool, true)?]).into());
    }
    let state = call.sim.read();
    let rows: Vec<Value> = state
        .access
        .pools
        .iter()
        .filter(|(name, _)| call.allows(&state, &Path::pool(name), &["Pool.Audit"]))
        .map(|(name, pool)| match &pool.comment {
            Some(comment) => json!({"poolid": name, "comment": comment}),
            None => json!({"poolid": name}),
        })
        .collect();
    Ok(Value::from(rows).into())
}

/// `GET /pools/{poolid}`
pub(crate) fn pool_read(call: &Call) -> ApiResult<Reply> {
    members(call, &call.params.need("poolid"), false).map(Reply::from)
}

fn members(call: &Call, name: &str, with_id: bool) -> ApiResult<Value> {
    let sim = &call.sim;
    let mut state = sim.write();
    cluster::refresh_broadcast(&mut state, sim);
    let pool =
        state.access.pools.get(name).ok_or_else(|| ApiError::die(format!("pool '{name}' does not exist")))?.clone();
    let wanted = call.params.text("type");
    let mut members = Vec::new();
    for vmid in &pool.vms {
        if state.vms.contains_key(vmid) && wanted.as_deref().is_none_or(|kind| kind == "qemu") {
            members.push(cluster::vm_resource(sim.version, &state, *vmid));
        }
    }
    if wanted.as_deref().is_none_or(|kind| kind == "storage") {
        for storage in &pool.storage {
            if let Some(config) = state.storage(storage) {
                members.push(cluster::storage_resource(&state, config, &call.node));
            }
        }
    }
    let mut data = json!({"members": members});
    if with_id {
        data["poolid"] = name.into();
    }
    if let Some(comment) = &pool.comment {
        data["comment"] = comment.as_str().into();
    }
    Ok(data)
}

/// `POST /pools`
pub(crate) async fn pool_create(call: &Call) -> ApiResult<Reply> {
    let name = call.params.need("poolid");
    call.change_access("create pool failed", |state| {
        if state.access.pools.contains_key(&name) {
            return Err(ApiError::die(format!("pool '{name}' already exists")));
        }
        let leaf = match name.rsplit_once('/') {
            Some((parent, _)) if !state.access.pools.contains_key(parent) => {
                return Err(ApiError::die(format!("parent '{parent}' of pool '{name}' does not exist")));
            }
            Some((_, leaf)) => leaf,
            None => &name,
        };
        if !leaf.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return Err(ApiError::die("pool name must start with a letter"));
        }
        let comment = call.params.text("comment").filter(|comment| !comment.is_empty());
        state.access.pools.insert(name.clone(), Pool { comment, ..Pool::default() });
        Ok(Reply::null())
    })
    .await
}

/// `PUT /pools` and `PUT /pools/{poolid}`
pub(crate) async fn pool_update(call: &Call) -> ApiResult<Reply> {
    let name = call.params.need("poolid");
    let delete = call.params.is_set("delete");
    let allow_move = call.params.is_set("allow-move");
    let version = call.sim.version;
    call.change_access("update pools failed", |state| {
        let mut access = state.access.clone();
        let missing = || ApiError::die(format!("pool '{name}' does not exist"));
        access.pools.get(&name).ok_or_else(missing)?;
        for id in call.params.list("vms") {
            access.require_perm_modify(version, &call.user, &format!("/vms/{id}"))?;
            let vmid: u32 = id.parse().unwrap_or(0);
            let current = access.pool_of(vmid).map(str::to_owned);
            let here = current.as_deref() == Some(name.as_str());
            if delete {
                if !here {
                    return Err(ApiError::die(format!("VM {id} is not a pool member")));
                }
            } else if here {
                return Err(ApiError::die(format!("VM {id} is already a pool member")));
            } else if let Some(other) = &current {
                if !allow_move {
                    return Err(ApiError::die(format!(
                        "VM {id} belongs already to pool '{other}' and 'allow-move' is not set"
                    )));
                }
                access.require(version, &call.user, &Path::pool(other), &["Pool.Allocate"])?;
            }
            for (pool_name, pool) in &mut access.pools {
                pool.vms.remove(&vmid);
                if !delete && *pool_name == name {
                    pool.vms.insert(vmid);
                }
            }
        }
        for id in call.params.list("storage") {
            access.require_perm_modify(version, &call.user, &format!("/storage/{id}"))?;
            let pool = access.pools.get_mut(&name).ok_or_else(missing)?;
            if delete && !pool.storage.remove(&id) {
                return Err(ApiError::die(format!("Storage '{id}' is not a pool member")));
            }
            if !delete && !pool.storage.insert(id.clone()) {
                return Err(ApiError::die(format!("Storage '{id}' is already a pool member")));
            }
        }
        if let Some(comment) = call.params.text("comment") {
            access.pools.get_mut(&name).ok_or_else(missing)?.comment = Some(comment);
        }
        state.access = access;
        Ok(Reply::null())
    })
    .await
}

/// `DELETE /pools` and `DELETE /pools/{poolid}`
pub(crate) async fn pool_delete(call: &Call) -> ApiResult<Reply> {
    let name = call.params.need("poolid");
    call.change_access("delete pool failed", |state| {
        let pool =
            state.access.pools.get(&name).ok_or_else(|| ApiError::die(format!("pool '{name}' does not exist")))?;
        let not_empty = |what: String| Err(ApiError::die(format!("pool '{name}' is not empty (contains {what})")));
        let prefix = format!("{name}/");
        if let Some(child) = state.access.pools.keys().find(|other| other.starts_with(&prefix)) {
            return not_empty(format!("pool '{child}'"));
        }
        if let Some(vmid) = pool.vms.iter().find(|vmid| state.vms.contains_key(vmid)) {
            return not_empty(format!("VM {vmid}"));
        }
        if let Some(storage) = pool.storage.iter().find(|storage| state.storage(storage).is_some()) {
            return not_empty(format!("storage '{storage}'"));
        }
        let path = format!("/pool/{name}");
        state.access.pools.remove(&name);
        state.access.acl.retain(|entry| entry.path != path);
        Ok(Reply::null())
    })
    .await
}
