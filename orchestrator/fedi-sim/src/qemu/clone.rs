//! `POST /nodes/{node}/qemu/{vmid}/clone`: full copies and linked clones.

use std::collections::BTreeSet;
use std::time::Duration;

use super::config::Config;
use super::disks::{CLOUDINIT_SIZE, free_all};
use super::drive::{Drive, drives, numbered};
use super::lifecycle::make_guest;
use super::{Vm, check_running, lock_path, net};
use crate::access::Path;
use crate::call::{Call, Reply};
use crate::cluster::refresh_broadcast;
use crate::error::{ApiError, ApiResult};
use crate::state::State;
use crate::storage::{Copy, Target, Volume, allocate, copy_volume, parse_volume_id, parse_volume_name, volume_key};
use crate::tasks::{self, Worker};

/// What is to be cloned, as found by the checks.
struct Plan {
    config: Config,
    drives: Vec<(String, Drive)>,
    full: BTreeSet<String>,
}

/// The endpoint.
pub(crate) async fn clone_vm(call: &Call) -> ApiResult<Reply> {
    let vmid = call.vmid();
    let running = check_running(&call.sim, &call.node, vmid).await;
    plan(call, vmid)?;
    let call = call.clone();
    let (sim, node, user) = (call.sim.clone(), call.node.clone(), call.user.clone());
    let upid = tasks::fork(&sim, &node, "qmclone", &vmid.to_string(), &user, |worker| async move {
        let new = new_id(&call);
        let path = lock_path(vmid);
        // Parallel clones of a VM at rest share its lock.
        let _source = worker.lock(&path, Duration::from_secs(1), !running).await?;
        let _target = worker.lock_vm(new, 1).await?;
        let plan = plan(&call, vmid)?;
        worker.log(format!("creating a clone of VM {vmid} with ID {new}"));
        build(&call, &worker, vmid, new, plan).await
    });
    Ok(upid.into())
}

fn new_id(call: &Call) -> u32 {
    call.params.integer("newid").and_then(|id| id.try_into().ok()).unwrap_or(0)
}

fn plan(call: &Call, vmid: u32) -> ApiResult<Plan> {
    let state = call.sim.read();
    let node = &call.node;
    if let Some(pool) = call.params.text("pool")
        && !state.access.pools.contains_key(&pool)
    {
        return Err(ApiError::permission(Some(&format!("pool '{pool}' does not exist"))));
    }
    let storage = call.params.text("storage");
    if let Some(storage) = &storage
        && !state.enabled_storage(storage, node)?.holds("images")
    {
        let text = format!("storage '{storage}' does not support vm images");
        return Err(ApiError::param("storage", text));
    }
    if let Some(target) = call.params.text("target").filter(|target| target != node)
        && state.node(&target).is_none()
    {
        return Err(ApiError::die(format!("no such cluster node '{target}'")));
    }
    state.check_quorum()?;
    let vm = state.vm(node, vmid)?;
    vm.check_lock()?;
    let snapshot = call.params.text("snapname");
    let source = match &snapshot {
        Some(name) => {
            vm.snapshots.get(name).ok_or_else(|| ApiError::die(format!("snapshot '{name}' does not exist")))?
        }
        None => &vm.config,
    };
    let full = call.params.flag("full").unwrap_or_else(|| !vm.is_template());
    for name in ["storage", "format"] {
        if !full && call.params.has(name) {
            return Err(ApiError::die(format!("parameter '{name}' not allowed for linked clones")));
        }
    }
    for (_, drive) in drives(source).iter().filter(|(_, drive)| !drive.is_cdrom()) {
        let from = drive.file.split(':').next().unwrap_or_default();
        let path = Path::storage(storage.as_deref().unwrap_or(from));
        call.require(&state, &path, &["Datastore.AllocateSpace"])?;
    }
    net::check_bridges(call, &state, source)?;
    let new = new_id(call);
    if state.vms.get(&new).is_some_and(|vm| vm.node == *node) {
        return Err(ApiError::die(format!("unable to create VM {new}: config file already exists")));
    }
    select(call, &state, source, snapshot.is_some(), full)
}

fn select(call: &Call, state: &State, source: &Config, of_snapshot: bool, full: bool) -> ApiResult<Plan> {
    let mut plan = Plan { config: Config::new(), drives: Vec::new(), full: BTreeSet::new() };
    for (key, value) in source {
        let dropped = matches!(
            key.as_str(),
            "parent" | "snaptime" | "vmstate" | "snapstate" | "runningcpu" | "runningmachine" | "lock" | "template"
        ) || numbered(key, "unused").is_some();
        if dropped {
            continue;
        }
        if numbered(key, "net").is_some() {
            let mut parsed = net::parse(&call.sim, key, value);
            parsed.insert("macaddr".to_owned(), call.sim.random_mac());
            plan.config.insert(key.clone(), net::print(&parsed));
            continue;
        }
        if !super::drive::is_drive(key) {
            plan.config.insert(key.clone(), value.clone());
            continue;
        }
        let drive = Drive::stored(value);
        if drive.is_cdrom() && !drive.is_cloudinit() {
            plan.config.insert(key.clone(), value.clone());
            continue;
        }
        if full || drive.is_cloudinit() || key == "tpmstate0" {
            plan.full.insert(key.clone());
        } else {
            let single = Config::from([(key.clone(), value.clone())]);
            if !super::snapshot::has_feature(state, &call.node, &single, "clone") {
                let of = if of_snapshot { " a snapshot of" } else { "" };
                let file = &drive.file;
                return Err(ApiError::die(format!("Linked clone feature is not supported for{of} '{file}' ({key})")));
            }
        }
        plan.drives.push((key.clone(), drive));
    }
    plan.drives.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(plan)
}

async fn build(call: &Call, worker: &Worker, vmid: u32, new: u32, plan: Plan) -> ApiResult<()> {
    let sim = &call.sim;
    let node = worker.node();
    let mut config = plan.config;
    let smbios: Vec<&str> = config.get("smbios1").map(|text| text.split(',').collect()).unwrap_or_default();
    let mut parts = vec![format!("uuid={}", sim.random_uuid())];
    parts.extend(smbios.iter().filter(|part| !part.starts_with("uuid=")).map(|part| (*part).to_owned()));
    config.insert("smbios1".to_owned(), parts.join(","));
    if config.contains_key("vmgenid") {
        config.insert("vmgenid".to_owned(), sim.random_uuid().to_string());
    }
    let name = call.params.text("name").unwrap_or_else(|| {
        let old = config.get("name").cloned();
        format!("Copy-of-VM-{}", old.unwrap_or_else(|| vmid.to_string()))
    });
    config.insert("name".to_owned(), name);
    if let Some(text) = call.params.text("description").filter(|text| !text.is_empty()) {
        config.insert("description".to_owned(), text);
    }
    {
        let mut state = sim.write();
        refresh_broadcast(&mut state, sim);
        if state.vms.contains_key(&new) {
            // Another node has it: the cluster file system refuses a second file of this name.
            return Err(ApiError::die(format!(
                "close (rename) atomic file '/etc/pve/nodes/{node}/qemu-server/{new}.conf' failed: File exists"
            )));
        }
        let lock = Config::from([("lock".to_owned(), "clone".to_owned())]);
        state.vms.insert(new, Vm { node: node.to_owned(), config: lock, ..Vm::default() });
    }
    let mut made = Vec::new();
    let copied = copy_drives(call, worker, new, &plan.drives, &plan.full, &mut made, &mut config).await;
    if let Err(error) = copied {
        free_all(worker, &made);
        sim.write().vms.remove(&new);
        return Err(error.prefixed("clone failed: "));
    }
    worker.point("before-config").await;
    sim.write().vm_mut(node, new)?.config = config;
    make_guest(sim, node, new).await?;
    let mut state = sim.write();
    if let Some(pool) = call.params.text("pool")
        && let Some(pool) = state.access.pools.get_mut(&pool)
    {
        pool.vms.insert(new);
    }
    if let Some(target) = call.params.text("target") {
        state.vm_mut(node, new)?.node = target;
    }
    Ok(())
}

async fn copy_drives(
    call: &Call,
    worker: &Worker,
    new: u32,
    drives: &[(String, Drive)],
    full: &BTreeSet<String>,
    made: &mut Vec<String>,
    config: &mut Config,
) -> ApiResult<()> {
    for (option, drive) in drives {
        let whole = full.contains(option);
        let how = if whole { "full" } else { "linked" };
        worker.log(format!("create {how} clone of drive {option} ({})", drive.file));
        let mut copy = drive.clone();
        copy.file =
            if whole { copy_one(call, worker, new, drive, made).await? } else { link_one(worker, new, drive, made)? };
        let size = worker.sim.read().volume(worker.node(), &copy.file).map(|volume| volume.size);
        if let Some(size) = size {
            copy.set_size(size);
        }
        config.insert(option.clone(), copy.print());
    }
    Ok(())
}

fn source_of(state: &State, node: &str, drive: &Drive) -> ApiResult<(Volume, String)> {
    let (storage, name) = parse_volume_id(&drive.file).unwrap_or_default();
    let storage = state.need_storage(storage)?;
    let shown = storage.shown_path(&parse_volume_name(storage, name)?);
    let volume = state.volume(node, &drive.file).cloned();
    volume.map(|volume| (volume, shown)).ok_or_else(|| ApiError::die(format!("volume '{}' does not exist", drive.file)))
}

async fn copy_one(call: &Call, worker: &Worker, new: u32, drive: &Drive, made: &mut Vec<String>) -> ApiResult<String> {
    let node = worker.node();
    let (volume, shown) = source_of(&worker.sim.read(), node, drive)?;
    let storage = call.params.text("storage").unwrap_or_else(|| volume.storage.clone());
    let on_files = worker.sim.read().need_storage(&storage)?.path.is_some();
    let kept = on_files.then(|| volume.format.clone());
    let format = call.params.text("format").or(kept);
    let mut target = Target { node: node.to_owned(), storage, vmid: new, format, name: None, size: volume.size };
    if drive.is_cloudinit() {
        let suffix = match &target.format {
            Some(format) if on_files => format!(".{format}"),
            _ => String::new(),
        };
        target.name = Some(format!("vm-{new}-cloudinit{suffix}"));
        target.size = CLOUDINIT_SIZE;
        let volid = allocate(worker, &target).await?;
        made.push(volid.clone());
        worker.log(format!("allocated target volume '{volid}'"));
        return Ok(volid);
    }
    let copy = Copy {
        from: shown,
        from_format: volume.format.clone(),
        virtual_size: volume.size,
        data: volume.used,
        origin: volume.origin.clone(),
    };
    copy_volume(worker, &copy, &target, made).await
}

fn link_one(worker: &Worker, new: u32, drive: &Drive, made: &mut Vec<String>) -> ApiResult<String> {
    let sim = &worker.sim;
    let node = worker.node();
    let mut state = sim.write();
    let (base, _) = source_of(&state, node, drive)?;
    let storage = state.need_storage(&base.storage)?.clone();
    let (_, name) = parse_volume_id(&drive.file).unwrap_or_default();
    let file = format!("vm-{new}-disk-0");
    let mut number = 0;
    let on_files = storage.path.is_some();
    let named = |number: u32| {
        if on_files {
            format!("{name}/{new}/vm-{new}-disk-{number}.{}", base.format)
        } else {
            format!("{name}/vm-{new}-disk-{number}")
        }
    };
    while made.contains(&format!("{}:{}", storage.id, named(number))) {
        number += 1;
    }
    let volid = format!("{}:{}", storage.id, named(number));
    let parent = format!("../{name}");
    let volume = Volume {
        volid: volid.clone(),
        used: 528_384,
        ctime: sim.clock.seconds(),
        vmid: Some(new),
        parent: Some(parent.clone()),
        file: None,
        booted: false,
        ..base.clone()
    };
    state.volumes.insert(volume_key(&storage, node, &volid), volume);
    drop(state);
    made.push(volid.clone());
    if on_files {
        let format = &base.format;
        let path = storage.path.unwrap_or_default();
        worker.log(format!("clone {name}: images, {file}.{format}, {new} to {file}.{format} (base={parent})"));
        worker.log(format!(
            "Formatting '{path}/images/{new}/{file}.{format}', fmt={format} cluster_size=131072 extended_l2=on \
             preallocation=metadata compression_type=zlib size={} backing_file={parent} backing_fmt={format} \
             lazy_refcounts=off refcount_bits=16",
            base.size
        ));
    }
    Ok(volid)
}
