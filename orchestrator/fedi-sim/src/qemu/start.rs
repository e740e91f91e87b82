//! Starting a VM.

use super::apply::apply_pending;
use super::drive::{drives, numbered};
use super::lifecycle::power_on;
use super::{check_running, net};
use crate::call::{Call, Reply};
use crate::error::{ApiError, ApiResult};
use crate::tasks::{self, Worker};

/// `POST /nodes/{node}/qemu/{vmid}/status/start`
pub(crate) fn start(call: &Call) -> ApiResult<Reply> {
    for name in
        ["stateuri", "skiplock", "migratedfrom", "migration_type", "migration_network", "targetstorage", "force-cpu"]
    {
        call.root_only(name)?;
    }
    fork_start(call, call.vmid()).map(Reply::from)
}

/// Starts the worker; also the end of a create with `start=1`, as a task of its own.
pub(super) fn fork_start(call: &Call, vmid: u32) -> ApiResult<String> {
    call.sim.read().check_quorum()?;
    let skiplock = call.params.is_set("skiplock");
    let call = call.clone();
    let (sim, node, user) = (call.sim.clone(), call.node.clone(), call.user.clone());
    Ok(tasks::fork(&sim, &node, "qmstart", &vmid.to_string(), &user, |worker| async move {
        run(&call, &worker, vmid, skiplock).await
    }))
}

/// What happens inside the task.
pub(super) async fn run(call: &Call, worker: &Worker, vmid: u32, skiplock: bool) -> ApiResult<()> {
    let sim = &worker.sim;
    let node = worker.node();
    let _lock = worker.lock_vm(vmid, 10).await?;
    let has_pending = {
        let state = sim.read();
        let vm = state.vm(node, vmid)?;
        if vm.is_template() {
            return Err(ApiError::die("you can't start a vm if it's a template"));
        }
        let suspended = vm.get("lock") == Some("suspended");
        if !skiplock && !suspended {
            vm.check_lock()?;
        }
        !vm.pending.is_empty() || !vm.pending_delete.is_empty()
    };
    if check_running(sim, node, vmid).await {
        return Err(ApiError::die(format!("VM {vmid} already running")));
    }
    if has_pending {
        apply_pending(call, worker, vmid)?;
    }
    worker.point("before-boot").await;
    prepare(worker, vmid)?;
    worker.sleep(sim.tuning().start_delay).await?;
    power_on(sim, node, vmid, worker.pid() + 20).await
}

/// What can go wrong before the machine's process runs, and what is printed on the way.
fn prepare(worker: &Worker, vmid: u32) -> ApiResult<()> {
    let sim = &worker.sim;
    let node = worker.node();
    let tuning = sim.tuning();
    let mut lines = Vec::new();
    let mut warnings = Vec::new();
    let failure = {
        let mut state = sim.write();
        let missing = {
            let vm = state.vm(node, vmid)?;
            net::missing_bridges(&state, node, sim, &vm.config)
        };
        let vm = state.vm_mut(node, vmid)?;
        if vm.get("lock") == Some("suspended") {
            vm.config.remove("lock");
            lines.push("Resuming suspended VM".to_owned());
        }
        let disks = drives(&vm.config);
        if disks.iter().any(|(_, drive)| drive.is_cloudinit()) {
            lines.push("generating cloud-init ISO".to_owned());
            vm.cloudinit.clear();
        }
        let single = vm.get("scsihw") == Some("virtio-scsi-single");
        for (name, drive) in &disks {
            let scsi = numbered(name, "scsi").is_some();
            if scsi && !single && drive.options.get("iothread").is_some_and(|value| value == "1") {
                warnings.push("iothread is only valid with virtio disk or virtio-scsi-single controller, ignoring");
            }
        }
        let kvm = vm.get("kvm") != Some("0");
        let gone = disks
            .iter()
            .filter(|(_, drive)| drive.file.contains(':') && !drive.is_cloudinit())
            .find(|(_, drive)| state.volume(node, &drive.file).is_none())
            .map(|(_, drive)| drive.file.clone());
        if let Some(volid) = gone {
            Some(format!("volume '{volid}' does not exist"))
        } else if kvm && !tuning.has_kvm {
            Some(
                "KVM virtualisation configured, but not available. Either disable in VM configuration or enable in BIOS."
                    .to_owned(),
            )
        } else if let Some((index, bridge)) = missing.first() {
            lines.push(format!("bridge '{bridge}' does not exist"));
            lines.push(format!(
                "kvm: -netdev type=tap,id=net{index},ifname=tap{vmid}i{index}: network script \
                 /usr/libexec/qemu-server/pve-bridge failed with status 512"
            ));
            Some("start failed: QEMU exited with code 1".to_owned())
        } else {
            None
        }
    };
    for line in lines {
        worker.log(line);
    }
    for warning in warnings {
        worker.warn(warning);
    }
    failure.map_or(Ok(()), |text| Err(ApiError::die(text)))
}
