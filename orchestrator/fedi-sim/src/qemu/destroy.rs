//! `DELETE /nodes/{node}/qemu/{vmid}`

use std::collections::BTreeSet;

use super::config::Config;
use super::drive::{drives, numbered};
use super::{Vm, check_running};
use crate::call::{Call, Reply};
use crate::cluster::refresh_broadcast;
use crate::error::{ApiError, ApiResult};
use crate::sim::Sim;
use crate::storage::{Kind, free, parse_volume_id, parse_volume_name};
use crate::tasks::{self, Worker};

async fn early_checks(sim: &Sim, node: &str, vmid: u32) -> ApiResult<()> {
    {
        let state = sim.read();
        state.vm(node, vmid)?.check_protection(&format!("can't remove VM {vmid}"))?;
    }
    if check_running(sim, node, vmid).await {
        return Err(ApiError::die(format!("VM {vmid} is running - destroy failed")));
    }
    Ok(())
}

/// The endpoint.
pub(crate) async fn destroy_vm(call: &Call) -> ApiResult<Reply> {
    let vmid = call.vmid();
    let skiplock = call.root_only("skiplock")?;
    let purge = call.params.is_set("purge");
    let unreferenced = call.params.is_set("destroy-unreferenced-disks");
    early_checks(&call.sim, &call.node, vmid).await?;
    let id = vmid.to_string();
    let upid = tasks::fork(&call.sim, &call.node, "qmdestroy", &id, &call.user, |worker| async move {
        let sim = worker.sim.clone();
        let _lock = worker.lock_vm(vmid, 10).await?;
        early_checks(&sim, worker.node(), vmid).await?;
        destroy(&worker, vmid, skiplock, unreferenced).await?;
        worker.point("config-written").await;
        sim.write().access.forget_vm(vmid);
        if purge {
            worker.log(format!("purging VM {vmid} from related configurations.."));
        }
        let mut state = sim.write();
        refresh_broadcast(&mut state, &sim);
        state.vms.remove(&vmid);
        Ok(())
    });
    Ok(upid.into())
}

/// Disks of a configuration that belong to the VM itself.
fn owned(sim: &Sim, vmid: u32, config: &Config) -> BTreeSet<String> {
    let state = sim.read();
    let unused = config
        .iter()
        .filter(|(key, _)| numbered(key, "unused").is_some() || *key == "vmstate")
        .map(|(_, value)| value.split(',').next().unwrap_or_default().to_owned());
    drives(config)
        .into_iter()
        .filter(|(_, drive)| !drive.is_cdrom() || drive.is_cloudinit())
        .map(|(_, drive)| drive.file)
        .chain(unused)
        .filter(|volid| {
            let Some((storage, name)) = parse_volume_id(volid) else { return false };
            let Some(storage) = state.storage(storage) else { return false };
            parse_volume_name(storage, name).is_ok_and(|name| name.vmid == Some(vmid))
        })
        .collect()
}

fn all_owned(sim: &Sim, vmid: u32, vm: &Vm) -> BTreeSet<String> {
    let snapshots = vm.snapshots.values().filter_map(|snapshot| snapshot.get("vmstate").cloned());
    owned(sim, vmid, &vm.config).into_iter().chain(owned(sim, vmid, &vm.pending)).chain(snapshots).collect()
}

async fn destroy(worker: &Worker, vmid: u32, skiplock: bool, unreferenced: bool) -> ApiResult<()> {
    let sim = &worker.sim;
    let node = worker.node();
    let vm = sim.read().vm(node, vmid)?.clone();
    if !skiplock && vm.get("lock") != Some("suspended") {
        vm.check_lock()?;
    }
    let mut volumes = all_owned(sim, vmid, &vm);
    if vm.is_template() {
        let state = sim.read();
        for volid in &volumes {
            if crate::storage::is_base_in_use(&state, volid) {
                return Err(ApiError::die(format!("base volume '{volid}' is still in use by linked cloned")));
            }
        }
    }
    sim.read().may_write(node, vmid, worker.pid())?;
    if unreferenced {
        let state = sim.read();
        let mine = state
            .volumes
            .values()
            .filter(|volume| volume.vmid == Some(vmid) && volume.kind == Kind::Images && volume.node == node);
        volumes.extend(mine.map(|volume| volume.volid.clone()));
    }
    sim.backend.destroy(vm.uuid()).await.map_err(|error| ApiError::die(error.to_string()))?;
    for volid in volumes {
        if let Err(error) = free(sim, node, &volid) {
            worker.warn(&format!("Could not remove disk '{volid}', check manually: {}", error.message.trim_end()));
        }
    }
    let mut state = sim.write();
    let vm = state.vm_mut(node, vmid)?;
    *vm = Vm { node: node.to_owned(), ..Vm::default() };
    vm.config.insert("lock".to_owned(), "destroyed".to_owned());
    Ok(())
}
