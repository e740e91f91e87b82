//! Changing a configuration: `PUT` at once, `POST` as a task.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::apply::{apply_pending, cleanup_pending, hotplug_pending};
use super::config::Config;
use super::disks::DiskMaker;
use super::drive::{Drive, boot_order, is_drive, numbered};
use super::{Vm, check_running, cloudinit, lock_path, net, rights, status};
use crate::access::Path;
use crate::call::{Call, Params, Reply, split_list};
use crate::error::{ApiError, ApiResult};
use crate::storage::free;
use crate::tasks::{self, Worker};

/// A wanted change, taken apart and checked as far as it can be without the lock.
struct Change {
    vmid: u32,
    digest: Option<String>,
    set: Config,
    delete: Vec<String>,
    revert: BTreeSet<String>,
    force: bool,
    skiplock: bool,
    /// For the log line: everything as given.
    shown: String,
}

fn shown(params: &Params) -> String {
    let words: Vec<String> = params
        .0
        .iter()
        .map(|(key, value)| {
            let value = if key == "cipassword" { "<hidden>".to_owned() } else { crate::call::perl_string(value) };
            format!("-{key} {value}")
        })
        .collect();
    words.join(" ")
}

impl Change {
    fn of(call: &mut Call) -> ApiResult<(Self, u64)> {
        let vmid = call.vmid();
        for name in ["node", "vmid", "skip_cloud_init", "import-working-storage"] {
            call.params.take(name);
        }
        let digest = call.params.take("digest");
        let delay = call.params.take("background_delay").and_then(|delay| delay.parse().ok()).unwrap_or(0);
        let shown = shown(&call.params);
        let skiplock = call.root_only("skiplock")?;
        call.params.take("skiplock");
        let delete_text = call.params.take("delete").filter(|text| !text.is_empty());
        let revert_text = call.params.take("revert").filter(|text| !text.is_empty());
        let force = call.params.take_flag("force");
        let mut set: Config =
            call.params.0.iter().map(|(key, value)| (key.clone(), crate::call::perl_string(value))).collect();
        if let Some(keys) = set.get("sshkeys") {
            cloudinit::check_ssh_keys(keys)?;
        }
        if delete_text.is_none() && revert_text.is_none() && set.is_empty() {
            return Err(ApiError::die("no options specified"));
        }
        if let Some(value) = set.remove("cdrom") {
            let value = if value.contains("media=") { value } else { format!("{value},media=cdrom") };
            set.insert("ide2".to_owned(), value);
        }
        let mut change =
            Self { vmid, digest, set, delete: Vec::new(), revert: BTreeSet::new(), force, skiplock, shown };
        change.read_lists(call, delete_text.as_deref(), revert_text.as_deref())?;
        Ok((change, delay))
    }

    fn read_lists(&mut self, call: &Call, delete: Option<&str>, revert: Option<&str>) -> ApiResult<()> {
        for option in split_list(revert.unwrap_or_default()) {
            if !call.sim.option_exists(&option) {
                return Err(ApiError::param("revert", format!("unknown option '{option}'")));
            }
            if self.set.contains_key(&option) {
                let text = format!("you can't use '-{option}' and -revert {option}' at the same time");
                return Err(ApiError::param("delete", text));
            }
            self.revert.insert(option);
        }
        for option in split_list(delete.unwrap_or_default()) {
            let option = if option == "cdrom" { "ide2".to_owned() } else { option };
            if self.set.contains_key(&option) {
                let text = format!("you can't use '-{option}' and -delete {option}' at the same time");
                return Err(ApiError::param("delete", text));
            }
            if self.revert.contains(&option) {
                let text = format!("you can't use '-delete {option}' and -revert {option}' at the same time");
                return Err(ApiError::param("revert", text));
            }
            if !call.sim.option_exists(&option) {
                return Err(ApiError::param("delete", format!("unknown option '{option}'")));
            }
            self.delete.push(option);
        }
        Ok(())
    }

    /// Rights and syntax.
    fn check(&mut self, call: &Call) -> ApiResult<()> {
        let state = call.sim.read();
        rights::check_drives(call, &state, &mut self.set)?;
        drop(state);
        for (option, value) in &mut self.set {
            if numbered(option, "net").is_some() {
                *value = net::with_mac(&call.sim, option, value);
            } else if option == "vmgenid" && value == "1" {
                *value = call.sim.random_uuid().to_string();
            }
        }
        let state = call.sim.read();
        rights::check_options(call, &state, self.vmid, None, self.delete.iter())?;
        rights::check_options(call, &state, self.vmid, None, self.set.keys())?;
        rights::check_storages(call, &state, self.vmid, &self.set, None)?;
        net::check_bridges(call, &state, &self.set)
    }

    /// What can be said against the change by looking at the VM.
    fn check_vm(&self, vm: &Vm) -> ApiResult<()> {
        if self.digest.as_ref().is_some_and(|digest| !digest.is_empty() && *digest != vm.digest()) {
            return Err(ApiError::die("checksum mismatch (file change by other user?)"));
        }
        if !self.skiplock {
            vm.check_lock()?;
        }
        if self.set.contains_key("memory") || self.set.contains_key("balloon") {
            let value =
                |key: &str| self.set.get(key).or_else(|| vm.pending.get(key)).or_else(|| vm.config.get(key)).cloned();
            let mut assumed = Vm::default();
            assumed.config.extend(value("memory").map(|memory| ("memory".to_owned(), memory)));
            let balloon = value("balloon").and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
            if balloon > status::memory_bytes(&assumed) >> 20 {
                return Err(ApiError::die("balloon value too large (must be smaller than assigned memory)"));
            }
        }
        Ok(())
    }
}

/// `PUT /nodes/{node}/qemu/{vmid}/config`
pub(crate) async fn update_sync(mut call: Call) -> ApiResult<Reply> {
    let (mut change, _) = Change::of(&mut call)?;
    change.check(&call)?;
    let sim = call.sim.clone();
    early(&call, &change).await?;
    let limit = Duration::from_secs(10);
    let _lock = sim.locks.take(&sim.clock, &lock_path(change.vmid), limit, false, || {}).await?;
    let worker = Worker::silent(&sim, &call.node, &call.user);
    run(&call, &worker, change).await?;
    Ok(Reply::null())
}

/// Until 9.x the check for a locked VM waited for whoever held the file lock.
async fn early(call: &Call, change: &Change) -> ApiResult<()> {
    let sim = &call.sim;
    let check = || {
        let state = sim.read();
        change.check_vm(state.vm(&call.node, change.vmid)?)
    };
    if sim.version.major() >= 9 {
        return check();
    }
    let locked = sim.read().vm(&call.node, change.vmid)?.get("lock").is_some();
    if locked {
        let limit = Duration::from_secs(10);
        let _lock = sim.locks.take(&sim.clock, &lock_path(change.vmid), limit, false, || {}).await?;
        return check();
    }
    check()
}

/// `POST /nodes/{node}/qemu/{vmid}/config`
pub(crate) async fn update_async(mut call: Call) -> ApiResult<Reply> {
    let (mut change, delay) = Change::of(&mut call)?;
    change.check(&call)?;
    early(&call, &change).await?;
    let vmid = change.vmid;
    let (sim, node, user) = (call.sim.clone(), call.node.clone(), call.user.clone());
    let upid = tasks::fork(&sim, &node, "qmconfig", &vmid.to_string(), &user, |worker| async move {
        let _lock = worker.lock_vm(vmid, 10).await?;
        run(&call, &worker, change).await
    });
    if delay > 0
        && let Some(status) = tasks::wait_for(&sim, &upid, Duration::from_secs(delay)).await
    {
        return if status == "OK" || status.starts_with("WARNINGS") {
            Ok(Reply::null())
        } else {
            Err(ApiError::die(format!("failed to update VM {vmid}: {status}")))
        };
    }
    Ok(upid.into())
}

/// `PUT /nodes/{node}/qemu/{vmid}/unlink`
pub(crate) async fn unlink(mut call: Call) -> ApiResult<Reply> {
    if let Some(list) = call.params.0.remove("idlist") {
        call.params.0.insert("delete".to_owned(), list);
    }
    update_sync(call).await
}

/// The change itself, under the lock.
async fn run(call: &Call, worker: &Worker, mut change: Change) -> ApiResult<()> {
    let sim = &call.sim;
    let node = call.node.clone();
    let vmid = change.vmid;
    let vm = sim.read().vm(&node, vmid)?.clone();
    change.check_vm(&vm)?;
    for option in &change.revert {
        match vm.config.get(option) {
            Some(value) => {
                change.set.insert(option.clone(), value.clone());
            }
            None if vm.pending.contains_key(option) => change.delete.push(option.clone()),
            None => {}
        }
    }
    worker.log(format!("update VM {vmid}: {}", change.shown));
    sim.read().may_write(&node, vmid, worker.pid())?;
    let mut order = boot_order(&sim.read().vm(&node, vmid)?.config);
    let mut modified: BTreeSet<String> = BTreeSet::new();
    for option in change.delete.clone() {
        if delete_option(call, &change, &option, &mut order, &mut modified)? {
            modified.insert(option);
        }
    }
    for (option, value) in change.set.clone() {
        let same = sim.read().vm(&node, vmid)?.pending.get(&option) == Some(&value);
        modified.insert(option.clone());
        if !same {
            set_option(call, worker, &change, &option, value, &mut order, &mut modified).await?;
        }
        let mut state = sim.write();
        state.vm_mut(&node, vmid)?.pending_delete.remove(&option);
    }
    {
        let mut state = sim.write();
        let vm = state.vm_mut(&node, vmid)?;
        cleanup_pending(vm);
        if vm.pending.is_empty() && vm.pending_delete.is_empty() {
            return Ok(());
        }
    }
    let errors: BTreeMap<String, String> = if check_running(sim, &node, vmid).await {
        hotplug_pending(call, worker, vmid, &modified)?
    } else {
        apply_pending(call, worker, vmid)?
    };
    if errors.is_empty() { Ok(()) } else { Err(ApiError::params(errors)) }
}

/// Marks an option to go; `false` when there is nothing to delete.
fn delete_option(
    call: &Call,
    change: &Change,
    option: &str,
    order: &mut Vec<String>,
    modified: &mut BTreeSet<String>,
) -> ApiResult<bool> {
    let sim = &call.sim;
    let vmid = change.vmid;
    let mut state = sim.write();
    let vm = state.vm(&call.node, vmid)?.clone();
    let Some(value) = vm.config.get(option).or_else(|| vm.pending.get(option)).cloned() else {
        return Ok(false);
    };
    let was_pending = vm.pending.contains_key(option);
    if is_drive(option) {
        vm.check_protection(&format!("can't remove drive '{option}'"))?;
        rights::check_drive(call, &state, vmid, &Drive::stored(&value))?;
    } else if numbered(option, "unused").is_some() {
        let volid = value.split(',').next().unwrap_or_default().to_owned();
        vm.check_protection(&format!("can't remove unused disk '{volid}'"))?;
        call.require(&state, &Path::vm(vmid), &["VM.Config.Disk"])?;
        drop(state);
        release(call, vmid, &volid)?;
        let mut state = sim.write();
        state.vm_mut(&call.node, vmid)?.config.remove(option);
        return Ok(true);
    } else if option == "tags" {
        rights::check_tags(call, &state, vmid)?;
        state.vm_mut(&call.node, vmid)?.config.remove(option);
        return Ok(true);
    } else {
        let single = Config::from([(option.to_owned(), value.clone())]);
        rights::check_devices(call, &state, vmid, None, &single)?;
        net::check_bridges(call, &state, &single)?;
    }
    let vm = state.vm_mut(&call.node, vmid)?;
    vm.pending.remove(option);
    if order.iter().any(|device| device == option) {
        order.retain(|device| device != option);
        let boot = if order.is_empty() { " ".to_owned() } else { format!("order={}", order.join(";")) };
        vm.pending.insert("boot".to_owned(), boot);
        modified.insert("boot".to_owned());
    }
    if is_drive(option) && was_pending {
        let drive = Drive::stored(&value);
        if !drive.is_cdrom() {
            vm.add_unused(&drive.file);
        }
    }
    vm.pending_delete.insert(option.to_owned(), change.force);
    Ok(true)
}

/// Frees a volume that the VM owns.
pub(super) fn release(call: &Call, vmid: u32, volid: &str) -> ApiResult<()> {
    let owned = {
        let state = call.sim.read();
        let owner = state.volume(&call.node, volid).and_then(|volume| volume.vmid);
        let storage = volid.split(':').next().unwrap_or_default();
        if owner == Some(vmid) {
            call.require(&state, &Path::storage(storage), &["Datastore.AllocateSpace"])?;
            let vm = state.vm(&call.node, vmid)?;
            let used = vm
                .snapshots
                .values()
                .any(|snapshot| snapshot.values().any(|value| value.split(',').next() == Some(volid)));
            if used {
                return Err(ApiError::die(format!("unable to delete '{volid}' - volume is still in use (snapshot?)")));
            }
        }
        owner == Some(vmid)
    };
    if owned { free(&call.sim, &call.node, volid) } else { Ok(()) }
}

async fn set_option(
    call: &Call,
    worker: &Worker,
    change: &Change,
    option: &str,
    value: String,
    order: &mut Vec<String>,
    modified: &mut BTreeSet<String>,
) -> ApiResult<()> {
    let sim = &call.sim;
    let node = &call.node;
    let vmid = change.vmid;
    let current = sim.read().vm(node, vmid)?.clone();
    if is_drive(option) {
        let wanted = Drive::given(sim, option, &value).unwrap_or_default();
        {
            let mut state = sim.write();
            if let Some(old) = current.config.get(option) {
                rights::check_drive(call, &state, vmid, &Drive::stored(old))?;
            }
            rights::check_drive(call, &state, vmid, &wanted)?;
            if let Some(old) = current.pending.get(option).map(|old| Drive::stored(old))
                && !old.is_cdrom()
            {
                state.vm_mut(node, vmid)?.add_unused(&old.file);
            }
        }
        let mut existing = current.config.clone();
        existing.extend(current.pending.clone());
        existing.remove(option);
        let settings = Config::from([(option.to_owned(), value)]);
        let maker = DiskMaker { call, worker, vmid, existing: &existing, default_storage: None };
        let made = maker.make(&settings).await?;
        let mut state = sim.write();
        let vm = state.vm_mut(node, vmid)?;
        vm.pending.extend(made.options);
        let bootable = wanted.is_cdrom() && !wanted.is_cloudinit();
        if bootable && !order.is_empty() && !order.iter().any(|device| device == option) {
            order.push(option.to_owned());
            vm.pending.insert("boot".to_owned(), format!("order={}", order.join(";")));
            modified.insert("boot".to_owned());
        }
        return Ok(());
    }
    let mut state = sim.write();
    let single = Config::from([(option.to_owned(), value.clone())]);
    rights::check_devices(call, &state, vmid, None, &single)?;
    if numbered(option, "net").is_some()
        && let Some(old) = current.config.get(option)
    {
        let old = Config::from([(option.to_owned(), old.clone())]);
        net::check_bridges(call, &state, &old)?;
    }
    let value = match option {
        "tags" => {
            rights::check_tags(call, &state, vmid)?;
            rights::unique_tags(&value)
        }
        "boot" => checked_boot(change, &current, &value)?,
        _ => value,
    };
    state.vm_mut(node, vmid)?.pending.insert(option.to_owned(), value);
    Ok(())
}

fn checked_boot(change: &Change, current: &Vm, value: &str) -> ApiResult<String> {
    let wanted = boot_order(&Config::from([("boot".to_owned(), value.to_owned())]));
    for device in &wanted {
        let exists = current.config.contains_key(device)
            || current.pending.contains_key(device)
            || change.set.contains_key(device);
        if !exists || change.delete.contains(device) {
            return Err(ApiError::die(format!("invalid bootorder: device '{device}' does not exist'")));
        }
    }
    Ok(if wanted.is_empty() { value.to_owned() } else { format!("order={}", wanted.join(";")) })
}
