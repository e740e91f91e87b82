//! Between a VM's record and its guest in the backend.

use super::Running;
use super::spec;
use crate::cluster::refresh_broadcast;
use crate::error::{ApiError, ApiResult};
use crate::sim::Sim;

/// Makes the guest of a VM that has just been written.
pub(super) async fn make_guest(sim: &Sim, node: &str, vmid: u32) -> ApiResult<()> {
    let spec = spec::guest(sim, node, vmid)?;
    sim.backend.create(&spec).await.map_err(|error| ApiError::die(error.to_string()))
}

/// Powers a guest on and writes down that it runs.
pub(super) async fn power_on(sim: &Sim, node: &str, vmid: u32, pid: u32) -> ApiResult<()> {
    let spec = spec::guest(sim, node, vmid)?;
    sim.backend.start(&spec).await.map_err(|error| ApiError::die(format!("start failed: {error}")))?;
    let mut state = sim.write();
    let now = sim.clock.now();
    refresh_broadcast(&mut state, sim);
    spec::mark_booted(&mut state, node, vmid);
    let vm = state.vm_mut(node, vmid)?;
    vm.running = Some(Running { pid, since: now, paused: false });
    Ok(())
}

/// Writes down that a VM does not run (any more).
pub(super) fn mark_stopped(sim: &Sim, node: &str, vmid: u32) {
    let mut state = sim.write();
    refresh_broadcast(&mut state, sim);
    if let Ok(vm) = state.vm_mut(node, vmid) {
        vm.running = None;
    }
}
