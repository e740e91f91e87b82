//! `POST /nodes/{node}/qemu`: one call that makes a VM with all its disks, and may start it.

use std::time::Duration;

use super::config::Config;
use super::disks::{DiskMaker, free_all};
use super::drive::default_boot_devices;
use super::lifecycle::make_guest;
use super::{Vm, cloudinit, lock_path, net, rights, start};
use crate::access::Path;
use crate::call::{Call, Reply};
use crate::cluster::refresh_broadcast;
use crate::error::{ApiError, ApiResult};
use crate::storage::{Kind, check_volume_access};
use crate::tasks::{self, Worker};

/// The endpoint.
pub(crate) async fn create_vm(mut call: Call) -> ApiResult<Reply> {
    let vmid = call.vmid();
    let params = &mut call.params;
    params.take("node");
    params.take("vmid");
    let archive = params.take("archive");
    for name in ["bwlimit", "unique", "live-restore", "import-working-storage"] {
        params.take(name);
    }
    let force = params.take_flag("force");
    let pool = params.take("pool");
    let start_after = params.take_flag("start");
    let ha_managed = params.take_flag("ha-managed");
    let storage = params.take("storage");
    let mut config: Config =
        params.0.iter().map(|(key, value)| (key.clone(), crate::call::perl_string(value))).collect();
    if let Some(value) = config.remove("cdrom") {
        let value = if value.contains("media=") { value } else { format!("{value},media=cdrom") };
        config.insert("ide2".to_owned(), value);
    }
    if let Some(keys) = config.get("sshkeys") {
        cloudinit::check_ssh_keys(keys)?;
    }
    check_rights(&call, vmid, pool.as_deref(), storage.as_deref(), start_after, ha_managed)?;
    if let Some(archive) = archive {
        return restore(&call, vmid, &archive, &config, force);
    }
    if !config.is_empty() {
        let state = call.sim.read();
        rights::check_create(&call, &state, vmid, pool.as_deref(), &mut config, storage.as_deref())?;
    }
    for (option, value) in &mut config {
        if super::drive::numbered(option, "net").is_some() {
            *value = net::with_mac(&call.sim, option, value);
        }
    }
    claim(&call, vmid).await.map_err(|error| error.prefixed(&format!("unable to create VM {vmid} - ")))?;

    let (sim, node, user) = (call.sim.clone(), call.node.clone(), call.user.clone());
    let upid = tasks::fork(&sim, &node, "qmcreate", &vmid.to_string(), &user, |worker| async move {
        let made = build(&call, &worker, vmid, config, pool.as_deref(), storage.as_deref()).await;
        if let Err(error) = made {
            worker.sim.write().vms.remove(&vmid);
            return Err(error);
        }
        if start_after {
            worker.log("Execute autostart");
            if let Err(error) = start::fork_start(&call, vmid) {
                worker.log(error.message.trim_end());
            }
        }
        Ok(())
    });
    Ok(upid.into())
}

fn check_rights(
    call: &Call,
    vmid: u32,
    pool: Option<&str>,
    storage: Option<&str>,
    start_after: bool,
    ha_managed: bool,
) -> ApiResult<()> {
    let state = call.sim.read();
    let access = &state.access;
    let version = call.sim.version;
    state.check_quorum()?;
    if let Some(pool) = pool
        && !access.pools.contains_key(pool)
    {
        return Err(ApiError::permission(Some(&format!("pool '{pool}' does not exist"))));
    }
    if let Some(storage) = storage {
        call.require(&state, &Path::storage(storage), &["Datastore.AllocateSpace"])?;
    }
    if ha_managed {
        call.require(&state, &Path::root(), &["Sys.Console"])?;
    }
    if start_after && version.checks_tags_at_create() {
        access.require_vm(version, &call.user, vmid, pool, &["VM.PowerMgmt"], false)?;
    }
    let allowed = call.allows(&state, &Path::vm(vmid), &["VM.Allocate"])
        || pool.is_some_and(|pool| call.allows(&state, &Path::pool(pool), &["VM.Allocate"]));
    if allowed { Ok(()) } else { Err(ApiError::permission(None)) }
}

fn restore(call: &Call, vmid: u32, archive: &str, config: &Config, force: bool) -> ApiResult<Reply> {
    if let Some(option) = config.keys().find(|option| super::drive::is_drive(option)) {
        return Err(ApiError::param(option, "option conflicts with option 'archive'"));
    }
    let state = call.sim.read();
    check_volume_access(call, &state, Some(vmid), archive, Some(Kind::Backup))?;
    if state.volume(&call.node, archive).is_none() {
        return Err(ApiError::die(format!("volume '{archive}' does not exist")));
    }
    let _ = force;
    Err(ApiError::die(format!("unable to restore VM {vmid} - restoring archives is not simulated")))
}

/// Takes the VMID for the whole cluster: an empty configuration with `lock: create`.
async fn claim(call: &Call, vmid: u32) -> ApiResult<()> {
    let sim = &call.sim;
    let limit = Duration::from_secs(5);
    let _lock = sim.locks.take(&sim.clock, &lock_path(vmid), limit, false, || {}).await?;
    let mut state = sim.write();
    refresh_broadcast(&mut state, sim);
    if let Some(vm) = state.vms.get(&vmid) {
        return Err(ApiError::die(format!("VM {vmid} already exists on node '{}'", vm.node)));
    }
    let config = Config::from([("lock".to_owned(), "create".to_owned())]);
    let vm = Vm { node: call.node.clone(), config, ..Vm::default() };
    state.vms.insert(vmid, vm);
    Ok(())
}

async fn build(
    call: &Call,
    worker: &Worker,
    vmid: u32,
    mut config: Config,
    pool: Option<&str>,
    storage: Option<&str>,
) -> ApiResult<()> {
    let sim = &call.sim;
    let _lock = worker.lock_vm(vmid, 1).await?;
    let failed = |error: ApiError| error.prefixed(&format!("unable to create VM {vmid} - "));
    let none = Config::new();
    let maker = DiskMaker { call, worker, vmid, existing: &none, default_storage: storage };
    let made = maker.make(&config).await.map_err(failed)?;
    config.extend(made.options.clone());
    complete(call, &mut config);
    worker.point("before-config").await;
    let written = {
        let mut state = sim.write();
        write(call, &mut state, worker, vmid, config)
    };
    if let Err(error) = written {
        free_all(worker, &made.volumes);
        return Err(failed(error));
    }
    worker.point("config-written").await;
    make_guest(sim, worker.node(), vmid).await?;
    if let Some(pool) = pool
        && let Some(pool) = sim.write().access.pools.get_mut(pool)
    {
        pool.vms.insert(vmid);
    }
    Ok(())
}

/// Adds what PVE adds on its own.
fn complete(call: &Call, config: &mut Config) {
    let sim = &call.sim;
    let tuning = sim.tuning();
    let now = sim.clock.seconds();
    config.insert("meta".to_owned(), format!("creation-qemu={},ctime={now}", tuning.qemu_version));
    if !config.contains_key("boot") {
        let devices = default_boot_devices(config);
        let boot = if devices.is_empty() { " ".to_owned() } else { format!("order={}", devices.join(";")) };
        config.insert("boot".to_owned(), boot);
    }
    config.entry("smbios1".to_owned()).or_insert_with(|| format!("uuid={}", sim.random_uuid()));
    if config.get("vmgenid").is_none_or(|id| id == "1") {
        config.insert("vmgenid".to_owned(), sim.random_uuid().to_string());
    }
}

fn write(
    call: &Call,
    state: &mut crate::state::State,
    worker: &Worker,
    vmid: u32,
    mut config: Config,
) -> ApiResult<()> {
    if let Some(tags) = config.get("tags") {
        if call.sim.version.checks_tags_at_create() {
            rights::check_tags(call, state, vmid)?;
        }
        let tags = rights::unique_tags(tags);
        config.insert("tags".to_owned(), tags);
    }
    state.may_write(worker.node(), vmid, worker.pid())?;
    let vm = state.vm_mut(worker.node(), vmid)?;
    vm.config = config;
    Ok(())
}
