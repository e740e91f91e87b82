//! From pending to current: at rest everything, in a running VM what can be plugged.

use std::collections::{BTreeMap, BTreeSet};

use super::config::Config;
use super::drive::{Drive, drives, is_drive, numbered};
use super::update::release;
use super::{Vm, net};
use crate::call::{Call, split_list};
use crate::error::ApiResult;
use crate::storage::free;
use crate::tasks::Worker;

type Errors = BTreeMap<String, String>;

/// Options a running VM takes without further ado.
const FAST: [&str; 18] = [
    "name",
    "description",
    "onboot",
    "tags",
    "protection",
    "startup",
    "hookscript",
    "shares",
    "lock",
    "template",
    "vmstatestorage",
    "autostart",
    "affinity",
    "migrate_downtime",
    "migrate_speed",
    "balloon",
    "agent",
    "cpuunits",
];

/// Options that go into the cloud-init image.
fn is_cloudinit_option(option: &str) -> bool {
    matches!(
        option,
        "cicustom"
            | "cipassword"
            | "citype"
            | "ciuser"
            | "ciupgrade"
            | "nameserver"
            | "searchdomain"
            | "sshkeys"
            | "name"
    ) || numbered(option, "net").is_some()
        || numbered(option, "ipconfig").is_some()
}

/// Drops pending values that change nothing.
pub(super) fn cleanup_pending(vm: &mut Vm) {
    let Vm { config, pending, pending_delete, .. } = vm;
    pending.retain(|option, value| config.get(option) != Some(value));
    pending_delete.retain(|option, _| config.contains_key(option));
}

/// What becomes of a disk that leaves its slot.
fn detach(call: &Call, vmid: u32, drive: &Drive) -> ApiResult<()> {
    if drive.is_cloudinit() {
        free(&call.sim, &call.node, &drive.file)?;
        let mut state = call.sim.write();
        state.vm_mut(&call.node, vmid)?.cloudinit.clear();
    } else if !drive.is_cdrom() && drive.file.contains(':') {
        let mut state = call.sim.write();
        let owner = state.volume(&call.node, &drive.file).and_then(|volume| volume.vmid);
        if owner == Some(vmid) {
            state.vm_mut(&call.node, vmid)?.add_unused(&drive.file);
        }
    }
    Ok(())
}

fn remove_disk(call: &Call, vmid: u32, drive: &Drive, force: bool) -> ApiResult<()> {
    if force && !drive.is_cdrom() { release(call, vmid, &drive.file) } else { detach(call, vmid, drive) }
}

/// Removes `unusedN` entries of disks that are attached again.
fn forget_reused(config: &mut Config) {
    let used: BTreeSet<String> = drives(config).into_iter().map(|(_, drive)| drive.file).collect();
    config.retain(|option, value| {
        numbered(option, "unused").is_none() || !used.contains(value.split(',').next().unwrap_or_default())
    });
}

/// Applies everything to a VM at rest.
pub(super) fn apply_pending(call: &Call, worker: &Worker, vmid: u32) -> ApiResult<Errors> {
    let mut errors = Errors::new();
    let node = &call.node;
    let vm = call.sim.read().vm(node, vmid)?.clone();
    call.sim.read().may_write(node, vmid, worker.pid())?;
    for (option, force) in &vm.pending_delete {
        if is_drive(option)
            && let Some(value) = vm.config.get(option)
            && let Err(error) = remove_disk(call, vmid, &Drive::stored(value), *force)
        {
            errors.insert(option.clone(), format!("unable to apply pending change {option} : {}", error.stringify()));
            continue;
        }
        let mut state = call.sim.write();
        let vm = state.vm_mut(node, vmid)?;
        vm.pending_delete.remove(option);
        vm.config.remove(option);
    }
    let mut new_cloudinit = false;
    for (option, value) in &vm.pending {
        if is_drive(option) {
            if let Some(old) = vm.config.get(option).map(|old| Drive::stored(old))
                && old.file != Drive::stored(value).file
            {
                detach(call, vmid, &old)?;
            }
            new_cloudinit |= Drive::stored(value).is_cloudinit();
        }
        let mut state = call.sim.write();
        let vm = state.vm_mut(node, vmid)?;
        vm.pending.remove(option);
        vm.config.insert(option.clone(), value.clone());
    }
    let mut state = call.sim.write();
    let vm = state.vm_mut(node, vmid)?;
    forget_reused(&mut vm.config);
    drop(state);
    if new_cloudinit {
        worker.log("generating cloud-init ISO");
    }
    Ok(errors)
}

/// Notes that the cloud-init image no longer matches.
fn record_change(vm: &mut Vm, option: &str, old: Option<String>, new: Option<&str>) {
    if !is_cloudinit_option(option) {
        return;
    }
    let mut added: BTreeSet<String> =
        vm.cloudinit.remove("added").map(|text| split_list(&text)).unwrap_or_default().into_iter().collect();
    let recorded = vm.cloudinit.get(option).cloned();
    match (new, old, recorded) {
        (Some(new), _, Some(recorded)) if new == recorded => {
            vm.cloudinit.remove(option);
            added.remove(option);
        }
        (_, _, Some(_)) | (None, None, None) => {}
        (_, Some(old), None) if !added.contains(option) => {
            vm.cloudinit.insert(option.to_owned(), old);
        }
        (Some(_), _, None) => {
            added.insert(option.to_owned());
        }
        (None, Some(_), None) => {
            added.remove(option);
        }
    }
    if !added.is_empty() {
        vm.cloudinit.insert("added".to_owned(), added.into_iter().collect::<Vec<_>>().join(","));
    }
}

/// Applies what can be applied while the VM runs; the rest stays pending.
pub(super) fn hotplug_pending(
    call: &Call,
    worker: &Worker,
    vmid: u32,
    modified: &BTreeSet<String>,
) -> ApiResult<Errors> {
    let node = &call.node;
    let sim = &call.sim;
    let mut errors = Errors::new();
    let vm = sim.read().vm(node, vmid)?.clone();
    sim.read().may_write(node, vmid, worker.pid())?;
    let plugs = vm.config.get("hotplug").map_or("network,disk,usb", String::as_str).to_owned();
    let can = |feature: &str| plugs == "1" || split_list(&plugs).iter().any(|name| name == feature);
    for (option, force) in &vm.pending_delete {
        let fast = FAST.contains(&option.as_str()) || is_cloudinit_option(option);
        let possible = if numbered(option, "net").is_some() {
            can("network")
        } else if is_drive(option) {
            can("disk") && (option.starts_with("scsi") || option.starts_with("virtio"))
        } else {
            fast
        };
        if !possible || !(modified.contains(option) || fast) {
            continue;
        }
        if is_drive(option)
            && let Some(value) = vm.config.get(option)
        {
            remove_disk(call, vmid, &Drive::stored(value), *force)?;
        }
        let mut state = sim.write();
        let vm = state.vm_mut(node, vmid)?;
        vm.pending_delete.remove(option);
        let old = vm.config.remove(option);
        record_change(vm, option, old, None);
    }
    for (option, value) in &vm.pending {
        let old = vm.config.get(option).cloned();
        let missing_bridge = || {
            let single = Config::from([(option.clone(), value.clone())]);
            !net::missing_bridges(&sim.read(), node, sim, &single).is_empty()
        };
        let possible = if numbered(option, "net").is_some() {
            if can("network") && modified.contains(option) && missing_bridge() {
                let problem = net::hotplug_error(vmid);
                errors.insert(option.clone(), format!("hotplug problem - {}", problem.message));
                continue;
            }
            can("network")
        } else if is_drive(option) {
            let new = Drive::stored(value);
            let swap_media = new.is_cdrom() && old.is_some();
            new.is_cloudinit() && old.is_some()
                || swap_media
                || (can("disk") && (option.starts_with("scsi") || option.starts_with("virtio")))
        } else {
            FAST.contains(&option.as_str()) || is_cloudinit_option(option)
        };
        let always = FAST.contains(&option.as_str());
        if !possible || !(always || modified.contains(option)) {
            continue;
        }
        if is_drive(option)
            && let Some(old) = old.as_deref().map(Drive::stored)
            && old.file != Drive::stored(value).file
        {
            detach(call, vmid, &old)?;
        }
        let mut state = sim.write();
        let vm = state.vm_mut(node, vmid)?;
        vm.pending.remove(option);
        vm.config.insert(option.clone(), value.clone());
        record_change(vm, option, old, Some(value));
    }
    let mut state = sim.write();
    forget_reused(&mut state.vm_mut(node, vmid)?.config);
    Ok(errors)
}
