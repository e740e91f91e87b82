//! Stopping, rebooting, pausing.

use std::sync::Arc;
use std::time::Duration;

use super::lifecycle::mark_stopped;
use super::{agent, check_running, lock_path, start};
use crate::call::{Call, Params, Reply};
use crate::error::{ApiError, ApiResult};
use crate::sim::Sim;
use crate::tasks::{self, Worker};

/// How a VM is to be stopped.
#[derive(Clone, Copy)]
struct Stop {
    skiplock: bool,
    /// Ask the guest first.
    gently: bool,
    /// Cut the power when asking does not help in time.
    force: bool,
    timeout: Option<u64>,
}

fn timeout(call: &Call) -> Option<u64> {
    call.params.integer("timeout").and_then(|seconds| seconds.try_into().ok())
}

fn is_paused(sim: &Sim, node: &str, vmid: u32) -> bool {
    let state = sim.read();
    state.vm(node, vmid).ok().and_then(|vm| vm.running.as_ref()).is_some_and(|running| running.paused)
}

async fn need_running(call: &Call, vmid: u32) -> ApiResult<()> {
    if check_running(&call.sim, &call.node, vmid).await {
        return Ok(());
    }
    Err(ApiError::die(format!("VM {vmid} not running")))
}

/// The stop itself, under the lock.
async fn stop_locked(worker: &Worker, vmid: u32, how: Stop) -> ApiResult<()> {
    let sim = &worker.sim;
    let node = worker.node();
    if !check_running(sim, node, vmid).await {
        return Ok(());
    }
    let (uuid, has_agent, down) = {
        let state = sim.read();
        let vm = state.vm(node, vmid)?;
        if !how.skiplock {
            vm.check_lock()?;
        }
        let startup = vm.get("startup").unwrap_or_default();
        let down = startup.split(',').find_map(|part| part.strip_prefix("down=")?.parse().ok());
        (vm.uuid(), agent::is_enabled(vm), down)
    };
    if how.gently {
        if has_agent && sim.backend.agent_ping(uuid).await.is_err() {
            worker.sleep(Duration::from_secs(3)).await?;
            worker.log(format!(
                "QEMU Guest Agent is not running - VM {vmid} qga command 'guest-ping' failed - got timeout"
            ));
        }
        let seconds = how.timeout.or(down).unwrap_or(60);
        if !powered_off(worker, uuid, Duration::from_secs(seconds)).await? {
            if !how.force {
                return Err(ApiError::die("VM quit/powerdown failed - got timeout"));
            }
            worker.log("VM still running - terminating now with SIGTERM");
            sim.backend.stop(uuid).await.map_err(|error| ApiError::die(error.to_string()))?;
        }
    } else {
        sim.backend.stop(uuid).await.map_err(|error| ApiError::die(error.to_string()))?;
    }
    mark_stopped(sim, node, vmid);
    Ok(())
}

/// Asks a guest to power off; an interrupt of the task ends the waiting.
async fn powered_off(worker: &Worker, uuid: uuid::Uuid, limit: Duration) -> ApiResult<bool> {
    let backend = worker.sim.backend.clone();
    let busy = worker.sim.clock.busy();
    let asked = tokio::spawn(async move {
        let down = backend.shutdown(uuid, limit).await;
        (down, busy)
    });
    let aborting = asked.abort_handle();
    let result = tokio::select! {
        biased;
        joined = asked => match joined {
            Ok((Ok(down), _busy)) => Ok(down),
            Ok((Err(error), _busy)) => Err(ApiError::die(error.to_string())),
            Err(error) => Err(ApiError::die(error.to_string())),
        },
        waited = worker.sleep(limit + Duration::from_secs(5)) => waited.map(|()| false),
    };
    aborting.abort();
    result
}

async fn stop_task(worker: Worker, vmid: u32, how: Stop) -> ApiResult<()> {
    let _lock = worker.lock_vm(vmid, 10).await?;
    worker.sim.read().vm(worker.node(), vmid)?;
    stop_locked(&worker, vmid, how).await
}

/// `POST /nodes/{node}/qemu/{vmid}/status/stop`
pub(crate) fn stop(call: &Call) -> ApiResult<Reply> {
    let vmid = call.vmid();
    let skiplock = call.root_only("skiplock")?;
    call.root_only("keepActive")?;
    call.root_only("migratedfrom")?;
    let overrule = call.params.is_set("overrule-shutdown");
    let how = Stop { skiplock, gently: false, force: true, timeout: timeout(call) };
    let id = vmid.to_string();
    let upid = tasks::fork(&call.sim, &call.node, "qmstop", &id, &call.user, |worker| async move {
        if overrule {
            overrule_shutdowns(&worker, vmid);
        }
        stop_task(worker, vmid, how).await
    });
    Ok(upid.into())
}

/// Aborts the caller's own shutdown tasks of this VM.
fn overrule_shutdowns(worker: &Worker, vmid: u32) {
    let sim = &worker.sim;
    let id = vmid.to_string();
    let mine: Vec<String> = {
        let state = sim.read();
        let running = state.tasks.iter().filter(|task| task.status.is_none());
        running
            .filter_map(|task| Some((task.upid.clone(), task.parsed()?)))
            .filter(|(_, task)| task.kind == "qmshutdown" && task.id == id && task.user == worker.user)
            .map(|(upid, _)| upid)
            .collect()
    };
    for upid in &mine {
        if let Some(control) = sim.workers.get(upid) {
            control.interrupt();
        }
    }
    if !mine.is_empty() {
        worker.log(format!("overruled qmshutdown tasks: {}", mine.join(", ")));
    }
}

/// `POST /nodes/{node}/qemu/{vmid}/status/shutdown`
pub(crate) fn shutdown(call: &Call) -> ApiResult<Reply> {
    let vmid = call.vmid();
    let skiplock = call.root_only("skiplock")?;
    call.root_only("keepActive")?;
    let force = call.params.is_set("forceStop");
    let paused = is_paused(&call.sim, &call.node, vmid);
    if paused && !force {
        return Err(ApiError::die("VM is paused - cannot shutdown"));
    }
    let how = Stop { skiplock, gently: !paused, force, timeout: timeout(call) };
    let id = vmid.to_string();
    let upid = tasks::fork(&call.sim, &call.node, "qmshutdown", &id, &call.user, |worker| stop_task(worker, vmid, how));
    Ok(upid.into())
}

/// `POST /nodes/{node}/qemu/{vmid}/status/reboot`
pub(crate) async fn reboot(call: &Call) -> ApiResult<Reply> {
    let vmid = call.vmid();
    if is_paused(&call.sim, &call.node, vmid) {
        return Err(ApiError::die("VM is paused - cannot shutdown"));
    }
    need_running(call, vmid).await?;
    let how = Stop { skiplock: false, gently: true, force: false, timeout: timeout(call) };
    let again = call.clone();
    let id = vmid.to_string();
    let upid = tasks::fork(&call.sim, &call.node, "qmreboot", &id, &call.user, |worker| async move {
        stop_task(worker, vmid, how).await?;
        // qmeventd sees the machine go and starts it anew, as root.
        let call = Call { user: "root@pam".to_owned(), params: Params::default(), ..again };
        start::fork_start(&call, vmid).map(|_| ())
    });
    Ok(upid.into())
}

fn set_paused(sim: &Arc<Sim>, node: &str, vmid: u32, paused: bool) -> ApiResult<()> {
    let mut state = sim.write();
    if let Some(running) = &mut state.vm_mut(node, vmid)?.running {
        running.paused = paused;
    }
    Ok(())
}

/// `POST /nodes/{node}/qemu/{vmid}/status/suspend`
pub(crate) async fn suspend(call: &Call) -> ApiResult<Reply> {
    let vmid = call.vmid();
    let to_disk = call.params.is_set("todisk");
    let skiplock = call.root_only("skiplock")?;
    need_running(call, vmid).await?;
    let kind = if to_disk { "qmsuspend" } else { "qmpause" };
    let id = vmid.to_string();
    let upid = tasks::fork(&call.sim, &call.node, kind, &id, &call.user, |worker| async move {
        let _lock = worker.lock_vm(vmid, 10).await?;
        let uuid = {
            let state = worker.sim.read();
            let vm = state.vm(worker.node(), vmid)?;
            if !skiplock {
                vm.check_lock()?;
            }
            vm.uuid()
        };
        if !to_disk {
            return set_paused(&worker.sim, worker.node(), vmid, true);
        }
        worker.sim.backend.stop(uuid).await.map_err(|error| ApiError::die(error.to_string()))?;
        mark_stopped(&worker.sim, worker.node(), vmid);
        let mut state = worker.sim.write();
        state.vm_mut(worker.node(), vmid)?.config.insert("lock".to_owned(), "suspended".to_owned());
        Ok(())
    });
    Ok(upid.into())
}

/// `POST /nodes/{node}/qemu/{vmid}/status/resume`
pub(crate) async fn resume(call: &Call) -> ApiResult<Reply> {
    let vmid = call.vmid();
    let skiplock = call.root_only("skiplock")?;
    call.root_only("nocheck")?;
    let sim = &call.sim;
    let suspended = {
        let limit = Duration::from_secs(10);
        let _lock = sim.locks.take(&sim.clock, &lock_path(vmid), limit, false, || {}).await.ok();
        let state = sim.read();
        state.vm(&call.node, vmid).is_ok_and(|vm| vm.get("lock") == Some("suspended"))
    };
    if !suspended {
        need_running(call, vmid).await?;
    }
    let again = call.clone();
    let id = vmid.to_string();
    let upid = tasks::fork(sim, &call.node, "qmresume", &id, &call.user, |worker| async move {
        if suspended {
            return start::run(&again, &worker, vmid, skiplock).await;
        }
        let _lock = worker.lock_vm(vmid, 10).await?;
        set_paused(&worker.sim, worker.node(), vmid, false)
    });
    Ok(upid.into())
}

/// `POST /nodes/{node}/qemu/{vmid}/status/reset`
pub(crate) async fn reset(call: &Call) -> ApiResult<Reply> {
    let vmid = call.vmid();
    let skiplock = call.root_only("skiplock")?;
    need_running(call, vmid).await?;
    let id = vmid.to_string();
    let upid = tasks::fork(&call.sim, &call.node, "qmreset", &id, &call.user, |worker| async move {
        let _lock = worker.lock_vm(vmid, 10).await?;
        let sim = worker.sim.clone();
        let uuid = {
            let state = sim.read();
            let vm = state.vm(worker.node(), vmid)?;
            if !skiplock {
                vm.check_lock()?;
            }
            vm.uuid()
        };
        let failed = |error: crate::backend::BackendError| ApiError::die(error.to_string());
        sim.backend.stop(uuid).await.map_err(failed)?;
        let spec = super::spec::guest(&sim, worker.node(), vmid)?;
        sim.backend.start(&spec).await.map_err(failed)
    });
    Ok(upid.into())
}
