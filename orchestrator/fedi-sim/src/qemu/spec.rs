//! From a configuration to what a backend needs to know.

use std::net::IpAddr;

use ipnet::IpNet;

use super::cloudinit::decoded_keys;
use super::drive::{Drive, boot_order, drives, is_drive};
use super::{Vm, net, status};
use crate::backend::{GuestSpec, NicSpec};
use crate::error::ApiResult;
use crate::sim::Sim;
use crate::state::State;

fn boot_disk(vm: &Vm) -> Option<(String, Drive)> {
    let order = boot_order(&vm.config);
    let disks: Vec<(String, Drive)> = drives(&vm.config).into_iter().filter(|(_, drive)| !drive.is_cdrom()).collect();
    order
        .iter()
        .filter(|name| is_drive(name))
        .find_map(|name| disks.iter().find(|(other, _)| other == name).cloned())
        .or_else(|| disks.first().cloned())
}

/// Everything a backend needs about a VM.
pub(super) fn guest(sim: &Sim, node: &str, vmid: u32) -> ApiResult<GuestSpec> {
    let state = sim.read();
    let vm = state.vm(node, vmid)?;
    let boot = boot_disk(vm);
    let volume = boot.as_ref().and_then(|(_, drive)| state.volume(node, &drive.file));
    let second = vm.get("scsi1").map(Drive::stored).and_then(|drive| drive.size());
    let list = |key: &str| vm.get(key).unwrap_or_default().split_whitespace().map(str::to_owned);
    let number = |key: &str, default: u32| vm.get(key).and_then(|n| n.parse().ok()).unwrap_or(default);
    Ok(GuestSpec {
        uuid: vm.uuid(),
        vmid,
        node: node.to_owned(),
        name: vm.get("name").map_or_else(|| format!("VM{vmid}"), str::to_owned),
        image_path: volume.and_then(|volume| volume.origin.as_ref()).map(|origin| origin.path.clone()),
        image_sha256: volume.and_then(|volume| volume.origin.as_ref()).map(|origin| origin.sha256.clone()),
        root_disk_bytes: boot.as_ref().and_then(|(_, drive)| drive.size()).unwrap_or(0),
        state_disk_gib: second.map(|bytes| bytes.div_ceil(1 << 30)),
        memory_mib: status::memory_bytes(vm) >> 20,
        cores: number("cores", 1) * number("sockets", 1),
        nics: (0..32).filter_map(|index| nic(sim, vm, index)).collect(),
        nameservers: list("nameserver").filter_map(|text| text.parse().ok()).collect(),
        search_domain: list("searchdomain").next(),
        user: vm.get("ciuser").map(str::to_owned),
        ssh_keys: vm.get("sshkeys").map(decoded_keys).unwrap_or_default(),
        first_boot: volume.is_none_or(|volume| !volume.booted),
    })
}

fn nic(sim: &Sim, vm: &Vm, index: u8) -> Option<NicSpec> {
    let option = format!("net{index}");
    let mut parsed = net::parse(sim, &option, vm.get(&option)?);
    let ipconfig = vm.get(&format!("ipconfig{index}")).unwrap_or_default();
    let value =
        |key: &str| ipconfig.split(',').find_map(|part| part.strip_prefix(key)?.strip_prefix('=')).map(str::to_owned);
    let addresses: Vec<IpNet> = ["ip", "ip6"].iter().filter_map(|key| value(key)?.parse().ok()).collect();
    let gateways: Vec<IpAddr> = ["gw", "gw6"].iter().filter_map(|key| value(key)?.parse().ok()).collect();
    Some(NicSpec {
        index,
        mac: parsed.remove("macaddr").unwrap_or_default(),
        bridge: parsed.remove("bridge").unwrap_or_default(),
        addresses,
        gateways,
    })
}

/// Remembers that the boot disk has been booted.
pub(super) fn mark_booted(state: &mut State, node: &str, vmid: u32) {
    let file = state.vm(node, vmid).ok().and_then(boot_disk).map(|(_, drive)| drive.file);
    if let Some(volume) = file.and_then(|file| state.volume_mut(node, &file)) {
        volume.booted = true;
    }
}
