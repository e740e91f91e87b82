//! `POST /nodes/{node}/qemu/{vmid}/template`

use super::check_running;
use super::drive::{Drive, drives};
use crate::call::{Call, Reply};
use crate::error::{ApiError, ApiResult};
use crate::sim::Sim;
use crate::storage::{parse_volume_id, volume_key};
use crate::tasks;

async fn checked(sim: &Sim, node: &str, vmid: u32, disk: Option<&str>) -> ApiResult<()> {
    {
        let state = sim.read();
        let vm = state.vm(node, vmid)?;
        vm.check_lock()?;
        if !vm.snapshots.is_empty() {
            return Err(ApiError::die("unable to create template, because VM contains snapshots"));
        }
        if vm.is_template() && disk.is_none() {
            return Err(ApiError::die("you can't convert a template to a template"));
        }
    }
    if check_running(sim, node, vmid).await {
        return Err(ApiError::die("you can't convert a VM to template if VM is running"));
    }
    Ok(())
}

/// Renames a disk to `base-...`, which linked clones can stand on.
fn make_base(sim: &Sim, node: &str, drive: &mut Drive) {
    let mut state = sim.write();
    let Some((storage, name)) = parse_volume_id(&drive.file) else { return };
    let Some(storage) = state.storage(storage).cloned() else { return };
    let (folder, file) = name.rsplit_once('/').map_or(("", name), |(folder, file)| (folder, file));
    let Some(rest) = file.strip_prefix("vm-") else { return };
    let base = if folder.is_empty() { format!("base-{rest}") } else { format!("{folder}/base-{rest}") };
    let volid = format!("{}:{base}", storage.id);
    if let Some(mut volume) = state.volumes.remove(&volume_key(&storage, node, &drive.file)) {
        volume.volid.clone_from(&volid);
        state.volumes.insert(volume_key(&storage, node, &volid), volume);
    }
    drive.file = volid;
}

/// The endpoint.
pub(crate) async fn template(call: &Call) -> ApiResult<Reply> {
    let vmid = call.vmid();
    let disk = call.params.text("disk");
    checked(&call.sim, &call.node, vmid, disk.as_deref()).await?;
    let id = vmid.to_string();
    let upid = tasks::fork(&call.sim, &call.node, "qmtemplate", &id, &call.user, |worker| async move {
        let _lock = worker.lock_vm(vmid, 10).await?;
        let sim = worker.sim.clone();
        checked(&sim, worker.node(), vmid, disk.as_deref()).await?;
        let config = {
            let mut state = sim.write();
            state.may_write(worker.node(), vmid, worker.pid())?;
            let vm = state.vm_mut(worker.node(), vmid)?;
            vm.config.insert("template".to_owned(), "1".to_owned());
            vm.config.clone()
        };
        for (option, mut drive) in drives(&config) {
            if drive.is_cdrom() || disk.as_ref().is_some_and(|wanted| *wanted != option) {
                continue;
            }
            make_base(&sim, worker.node(), &mut drive);
            sim.write().vm_mut(worker.node(), vmid)?.config.insert(option, drive.print());
        }
        Ok(())
    });
    Ok(upid.into())
}
