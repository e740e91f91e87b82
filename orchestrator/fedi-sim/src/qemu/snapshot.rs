//! Snapshots.

use serde_json::{Value, json};

use super::config::{self, Config};
use super::drive::{drives, numbered};
use super::{check_running, lock_path};
use crate::access::Path;
use crate::call::{Call, Reply};
use crate::error::{ApiError, ApiResult};
use crate::state::State;
use crate::tasks::{self, Worker};

fn missing(name: &str) -> ApiError {
    ApiError::die(format!("snapshot '{name}' does not exist"))
}

/// Keys that a snapshot takes over.
fn copied(config: &Config) -> Config {
    config
        .iter()
        .filter(|(key, _)| {
            !matches!(key.as_str(), "lock" | "description" | "vmstate" | "snaptime" | "snapstate")
                && numbered(key, "unused").is_none()
        })
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// Whether every disk can do what `feature` asks for: snapshots and linked clones need qcow2 or a storage that
/// can.
pub(super) fn has_feature(state: &State, node: &str, config: &Config, feature: &str) -> bool {
    drives(config).iter().filter(|(_, drive)| !drive.is_cdrom()).all(|(_, drive)| {
        let storage = drive.file.split(':').next().unwrap_or_default();
        let on_files = state.storage(storage).is_none_or(|storage| storage.path.is_some());
        let format = state.volume(node, &drive.file).map_or("raw", |volume| volume.format.as_str());
        let kind = state.storage(storage).map_or("dir", |storage| storage.kind.as_str());
        match feature {
            "copy" => true,
            "clone" => {
                let base = drive.file.rsplit(['/', ':']).next().unwrap_or_default().starts_with("base-");
                base && (format == "qcow2" || (!on_files && kind != "lvm"))
            }
            _ => format == "qcow2" || (!on_files && kind != "lvm"),
        }
    })
}

/// `GET .../feature`
pub(crate) fn feature(call: &Call) -> ApiResult<Reply> {
    let state = call.sim.read();
    let vm = state.vm(&call.node, call.vmid())?;
    let config = match call.params.text("snapname") {
        Some(name) => vm.snapshots.get(&name).ok_or_else(|| missing(&name))?,
        None => &vm.config,
    };
    let has = has_feature(&state, &call.node, config, &call.params.need("feature"));
    Ok(json!({"hasFeature": u8::from(has), "nodes": [call.node]}).into())
}

/// `GET .../snapshot`
pub(crate) async fn snapshot_list(call: &Call) -> ApiResult<Reply> {
    let running = check_running(&call.sim, &call.node, call.vmid()).await;
    let state = call.sim.read();
    let vm = state.vm(&call.node, call.vmid())?;
    let mut rows: Vec<Value> = vm
        .snapshots
        .iter()
        .map(|(name, snapshot)| {
            let time = snapshot.get("snaptime").and_then(|time| time.parse::<u64>().ok()).unwrap_or(0);
            let mut row = json!({
                "name": name, "snaptime": time, "vmstate": u8::from(snapshot.contains_key("vmstate")),
                "description": snapshot.get("description").cloned().unwrap_or_default(),
            });
            for key in ["parent", "snapstate"] {
                if let Some(value) = snapshot.get(key) {
                    row[key] = value.as_str().into();
                }
            }
            row
        })
        .collect();
    let mut current = json!({
        "name": "current", "digest": vm.digest(), "running": u8::from(running), "description": "You are here!",
    });
    if let Some(parent) = vm.get("parent") {
        current["parent"] = parent.into();
    }
    rows.push(current);
    Ok(Value::from(rows).into())
}

/// `GET .../snapshot/{snapname}/config`
pub(crate) fn snapshot_config(call: &Call) -> ApiResult<Reply> {
    let name = call.params.need("snapname");
    let state = call.sim.read();
    let snapshot = state.vm(&call.node, call.vmid())?.snapshots.get(&name).ok_or_else(|| missing(&name))?;
    Ok(Value::from(config::json(snapshot)).into())
}

/// `PUT .../snapshot/{snapname}/config`
pub(crate) async fn snapshot_update(call: &Call) -> ApiResult<Reply> {
    let name = call.params.need("snapname");
    let limit = std::time::Duration::from_secs(10);
    let sim = &call.sim;
    let _lock = sim.locks.take(&sim.clock, &lock_path(call.vmid()), limit, false, || {}).await?;
    let mut state = sim.write();
    let vm = state.vm_mut(&call.node, call.vmid())?;
    vm.check_lock()?;
    let snapshot = vm.snapshots.get_mut(&name).ok_or_else(|| missing(&name))?;
    if let Some(text) = call.params.text("description") {
        snapshot.insert("description".to_owned(), text);
    }
    Ok(Reply::null())
}

/// `POST .../snapshot`
pub(crate) fn snapshot_create(call: &Call) -> ApiResult<Reply> {
    let vmid = call.vmid();
    let name = call.params.need("snapname");
    if name == "current" {
        return Err(ApiError::die("unable to use snapshot name 'current' (reserved name)"));
    }
    if name.eq_ignore_ascii_case("pending") {
        return Err(ApiError::die("unable to use snapshot name 'pending' (reserved name)"));
    }
    call.sim.read().vm(&call.node, vmid)?;
    let comment = call.params.text("description").filter(|text| !text.is_empty());
    let save_state = call.params.is_set("vmstate");
    let id = vmid.to_string();
    let upid = tasks::fork(&call.sim, &call.node, "qmsnapshot", &id, &call.user, |worker| async move {
        let prepared = {
            let _lock = worker.lock_vm(vmid, 10).await?;
            prepare(&worker, vmid, &name, comment, save_state)?
        };
        for (option, file) in prepared {
            worker.log(format!("snapshotting 'drive-{option}' ({file})"));
        }
        let _lock = worker.lock_vm(vmid, 10).await?;
        let mut state = worker.sim.write();
        let vm = state.vm_mut(worker.node(), vmid)?;
        vm.config.remove("lock");
        vm.config.insert("parent".to_owned(), name.clone());
        if let Some(snapshot) = vm.snapshots.get_mut(&name) {
            snapshot.remove("snapstate");
        }
        Ok(())
    });
    Ok(upid.into())
}

fn prepare(
    worker: &Worker,
    vmid: u32,
    name: &str,
    comment: Option<String>,
    save_state: bool,
) -> ApiResult<Vec<(String, String)>> {
    let sim = &worker.sim;
    let node = worker.node();
    let now = sim.clock.seconds();
    let mut state = sim.write();
    let vm = state.vm(node, vmid)?.clone();
    if vm.is_template() {
        return Err(ApiError::die("you can't take a snapshot if it's a template"));
    }
    vm.check_lock()?;
    if vm.snapshots.contains_key(name) {
        return Err(ApiError::die(format!("snapshot name '{name}' already used")));
    }
    if !has_feature(&state, node, &vm.config, "snapshot") {
        return Err(ApiError::die("snapshot feature is not available"));
    }
    state.may_write(node, vmid, worker.pid())?;
    let mut snapshot = copied(&vm.config);
    snapshot.insert("snaptime".to_owned(), now.to_string());
    snapshot.insert("snapstate".to_owned(), "prepare".to_owned());
    if let Some(comment) = comment {
        snapshot.insert("description".to_owned(), comment);
    }
    if save_state && vm.running.is_some() {
        snapshot.insert("vmstate".to_owned(), format!("state-{name}"));
    }
    let disks = drives(&vm.config)
        .into_iter()
        .filter(|(_, drive)| !drive.is_cdrom())
        .map(|(option, drive)| (option, drive.file))
        .collect();
    let vm = state.vm_mut(node, vmid)?;
    vm.snapshots.insert(name.to_owned(), snapshot);
    vm.config.insert("lock".to_owned(), "snapshot".to_owned());
    Ok(disks)
}

/// `DELETE .../snapshot/{snapname}`
pub(crate) fn snapshot_delete(call: &Call) -> Reply {
    let vmid = call.vmid();
    let name = call.params.need("snapname");
    let id = vmid.to_string();
    let upid = tasks::fork(&call.sim, &call.node, "qmdelsnapshot", &id, &call.user, |worker| async move {
        let _lock = worker.lock_vm(vmid, 10).await?;
        let mut state = worker.sim.write();
        let vm = state.vm(worker.node(), vmid)?.clone();
        let snapshot = vm.snapshots.get(&name).ok_or_else(|| missing(&name))?;
        vm.check_lock()?;
        state.may_write(worker.node(), vmid, worker.pid())?;
        if vm.is_template() {
            return Err(ApiError::die("you can't delete a snapshot if vm is a template"));
        }
        let parent = snapshot.get("parent").cloned();
        let vm = state.vm_mut(worker.node(), vmid)?;
        vm.snapshots.remove(&name);
        for section in vm.snapshots.values_mut().chain([&mut vm.config]) {
            if section.get("parent") == Some(&name) {
                match &parent {
                    Some(parent) => section.insert("parent".to_owned(), parent.clone()),
                    None => section.remove("parent"),
                };
            }
        }
        Ok(())
    });
    upid.into()
}

/// `POST .../snapshot/{snapname}/rollback`
pub(crate) fn snapshot_rollback(call: &Call) -> ApiResult<Reply> {
    let vmid = call.vmid();
    let name = call.params.need("snapname");
    let start_after = call.params.is_set("start");
    if start_after {
        call.require(&call.sim.read(), &Path::vm(vmid), &["VM.PowerMgmt"])?;
    }
    let again = call.clone();
    let id = vmid.to_string();
    let upid = tasks::fork(&call.sim, &call.node, "qmrollback", &id, &call.user, |worker| async move {
        {
            let _lock = worker.lock_vm(vmid, 10).await?;
            roll_back(&worker, vmid, &name).await?;
        }
        if start_after {
            super::start::fork_start(&again, vmid)?;
        }
        Ok(())
    });
    Ok(upid.into())
}

async fn roll_back(worker: &Worker, vmid: u32, name: &str) -> ApiResult<()> {
    let sim = &worker.sim;
    let node = worker.node();
    let (uuid, running) = {
        let state = sim.read();
        let vm = state.vm(node, vmid)?;
        if vm.is_template() {
            return Err(ApiError::die("you can't rollback if vm is a template"));
        }
        let snapshot = vm.snapshots.get(name).ok_or_else(|| missing(name))?;
        if let Some(state) = snapshot.get("snapstate") {
            return Err(ApiError::die(format!("unable to rollback to incomplete snapshot (snapstate = {state})")));
        }
        vm.check_lock()?;
        state.may_write(node, vmid, worker.pid())?;
        (vm.uuid(), vm.running.is_some())
    };
    if running {
        sim.backend.stop(uuid).await.map_err(|error| ApiError::die(error.to_string()))?;
        super::lifecycle::mark_stopped(sim, node, vmid);
    }
    let mut state = sim.write();
    let vm = state.vm_mut(node, vmid)?;
    let snapshot = vm.snapshots.get(name).cloned().unwrap_or_default();
    let kept: Config = vm
        .config
        .iter()
        .filter(|(key, _)| *key == "description" || numbered(key, "unused").is_some())
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let old: Vec<String> =
        drives(&vm.config).into_iter().filter(|(_, drive)| !drive.is_cdrom()).map(|(_, drive)| drive.file).collect();
    vm.config = kept;
    vm.config.extend(copied(&snapshot));
    vm.config.insert("parent".to_owned(), name.to_owned());
    let attached: Vec<String> = drives(&vm.config).into_iter().map(|(_, drive)| drive.file).collect();
    for volid in old.iter().filter(|volid| !attached.contains(volid)) {
        vm.add_unused(volid);
    }
    Ok(())
}
