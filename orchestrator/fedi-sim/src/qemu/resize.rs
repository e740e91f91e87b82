//! Growing disks, and moving them.

use proxmox_schema::format::parse_size;

use super::drive::Drive;
use crate::access::Path;
use crate::call::{Call, Reply};
use crate::error::{ApiError, ApiResult};
use crate::storage::{Copy, Target, copy_volume, free, parse_volume_id, parse_volume_name};
use crate::tasks::{self, Worker};

/// `PUT /nodes/{node}/qemu/{vmid}/resize`
pub(crate) fn resize(call: &Call) -> ApiResult<Reply> {
    let vmid = call.vmid();
    let skiplock = call.root_only("skiplock")?;
    let again = call.clone();
    let id = vmid.to_string();
    let upid = tasks::fork(&call.sim, &call.node, "resize", &id, &call.user, |worker| async move {
        let _lock = worker.lock_vm(vmid, 10).await?;
        grow(&again, &worker, vmid, skiplock)
    });
    Ok(upid.into())
}

fn grow(call: &Call, worker: &Worker, vmid: u32, skiplock: bool) -> ApiResult<()> {
    let sim = &call.sim;
    let node = worker.node();
    let option = call.params.need("disk");
    let wanted = call.params.need("size");
    let mut state = sim.write();
    let vm = state.vm(node, vmid)?;
    if call.params.text("digest").is_some_and(|digest| !digest.is_empty() && digest != vm.digest()) {
        return Err(ApiError::die("checksum mismatch (file change by other user?)"));
    }
    if !skiplock {
        vm.check_lock()?;
    }
    let value = vm.get(&option).ok_or_else(|| ApiError::die(format!("disk '{option}' does not exist")))?;
    let mut drive = Drive::stored(value);
    if drive.is_cdrom() {
        return Err(ApiError::die("you can't resize a cdrom"));
    }
    let (storage, _) = parse_volume_id(&drive.file)
        .ok_or_else(|| ApiError::die(format!("disk '{option}' has no associated volume")))?;
    call.require(&state, &Path::storage(storage), &["Datastore.AllocateSpace"])?;
    let volid = drive.file.clone();
    let unknown = || ApiError::die(format!("Could not determine current size of volume '{volid}'"));
    let size = state.volume(node, &volid).ok_or_else(unknown)?.size;
    let (adds, number) = match wanted.strip_prefix('+') {
        Some(number) => (true, number),
        None => (false, wanted.as_str()),
    };
    let number = parse_size(number).ok_or_else(|| ApiError::die("internal error"))?;
    let new = if adds { size + number } else { number };
    if new < size {
        return Err(ApiError::die("shrinking disks is not supported"));
    }
    if new == size {
        return Ok(());
    }
    if let Some(volume) = state.volume_mut(node, &volid) {
        // qemu-img rounds up to whole sectors.
        volume.size = new.next_multiple_of(512);
    }
    drop(state);
    worker.log("Image resized.");
    let mut state = sim.write();
    state.may_write(node, vmid, worker.pid())?;
    drive.set_size(new);
    state.vm_mut(node, vmid)?.config.insert(option, drive.print());
    Ok(())
}

/// `POST /nodes/{node}/qemu/{vmid}/move_disk`: to another storage.
pub(crate) fn move_disk(call: &Call) -> ApiResult<Reply> {
    let vmid = call.vmid();
    let option = call.params.need("disk");
    let Some(storage) = call.params.text("storage") else {
        return Err(ApiError::die("moving a disk to another VM is not simulated"));
    };
    {
        let state = call.sim.read();
        call.require(&state, &Path::storage(&storage), &["Datastore.AllocateSpace"])?;
        state.enabled_storage(&storage, &call.node)?;
        let vm = state.vm(&call.node, vmid)?;
        vm.check_lock()?;
        if vm.get(&option).is_none() {
            return Err(ApiError::die(format!("disk '{option}' does not exist")));
        }
    }
    let again = call.clone();
    let id = vmid.to_string();
    let upid = tasks::fork(&call.sim, &call.node, "qmmove", &id, &call.user, |worker| async move {
        let _lock = worker.lock_vm(vmid, 10).await?;
        let sim = worker.sim.clone();
        let node = worker.node().to_owned();
        let (mut drive, copy, target) = {
            let state = sim.read();
            let vm = state.vm(&node, vmid)?;
            let drive = Drive::stored(vm.get(&option).unwrap_or_default());
            let (from, name) = parse_volume_id(&drive.file)
                .ok_or_else(|| ApiError::die(format!("disk '{option}' has no associated volume")))?;
            let config = state.need_storage(from)?;
            let parsed = parse_volume_name(config, name)?;
            let volume = state
                .volume(&node, &drive.file)
                .ok_or_else(|| ApiError::die(format!("volume '{}' does not exist", drive.file)))?;
            let copy = Copy {
                from: config.shown_path(&parsed),
                from_format: parsed.format.clone(),
                virtual_size: volume.size,
                data: volume.used,
                origin: volume.origin.clone(),
            };
            let on_files = state.need_storage(&storage)?.path.is_some();
            let format = again.params.text("format").or_else(|| on_files.then_some(parsed.format));
            let target = Target { node: node.clone(), storage, vmid, format, name: None, size: volume.size };
            (drive, copy, target)
        };
        worker.log(format!("create full clone of drive {option} ({})", drive.file));
        let mut made = Vec::new();
        let copied = copy_volume(&worker, &copy, &target, &mut made).await;
        let new = match copied {
            Ok(new) => new,
            Err(error) => {
                super::disks::free_all(&worker, &made);
                return Err(error.prefixed("storage migration failed: "));
            }
        };
        let old = std::mem::replace(&mut drive.file, new);
        if again.params.is_set("delete") {
            free(&sim, &node, &old)?;
        }
        let mut state = sim.write();
        let vm = state.vm_mut(&node, vmid)?;
        vm.config.insert(option, drive.print());
        if !again.params.is_set("delete") {
            vm.add_unused(&old);
        }
        Ok(())
    });
    Ok(upid.into())
}
