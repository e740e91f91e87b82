//! Virtual machines: found by UUID, made in one request, changed in place.
//!
//! The number is chosen and noted before the request that uses it, and the request is
//! itself the test whether the number is free. A step that is run again finds what its
//! earlier try has begun: by the noted task, else by the noted number.

use std::net::IpAddr;
use std::time::Duration;

use fedi_engine::drivers::{DriverError, DriverErrorKind, StepContext};
use fedi_model::name::DeploymentName;
use fedi_model::resource::{NicAddress, Vm};
use ipnet::IpNet;
use proxmox_api::{
    Class, CloudInit, ConfigChange, CreateVm, Disk, DiskSource, Error, IpConfig, NetworkDevice, StaticIp, TaskQuery,
    TaskState, Upid, VmConfig, Wait,
};

use super::ProxmoxHost;
use super::mark::Mark;

/// Making a VM imports its image.
const CREATE: Duration = Duration::from_secs(15 * 60);

/// QEMU's own start, and the memory that it has to find.
const START: Duration = Duration::from_secs(120);

/// A guest that is asked to stop.
const SHUTDOWN_S: u32 = 60;

/// The state disk: `scsi1`, beside the root on `scsi0`.
const STATE_DISK: &str = "scsi1";

/// How many numbers are tried when others take them at the same moment.
const TRIES: u32 = 16;

/// A VM that is ours, as it stands.
pub(super) struct Found {
    pub(super) vm: Vm,
    pub(super) machine: proxmox_api::Vm,
    pub(super) config: VmConfig,
}

impl ProxmoxHost {
    /// The VM with this UUID: under its number, else by its name among those of our
    /// pool, on any node.
    pub(super) async fn find(&self, like: &Vm) -> Result<Option<Found>, DriverError> {
        let what = || format!("Failed to look for VM `{}` on host `{}`", like.deployment, self.name);
        if let Some(vmid) = like.vmid
            && let Some(found) =
                self.at(like, &self.settings.node, vmid).await.map_err(|error| self.fault(&error, what()))?
        {
            return Ok(Some(found));
        }
        for entry in self.entries().await.map_err(|error| self.fault(&error, what()))? {
            // The list knows names only once the node has broadcast them: up to ten seconds late.
            let named_otherwise = entry.name.as_deref().is_some_and(|name| name != like.deployment.as_str());
            if named_otherwise && Some(entry.vmid) != like.vmid {
                continue;
            }
            let found = self.at(like, &entry.node, entry.vmid).await.map_err(|error| self.fault(&error, what()))?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The VM under this number, if it is ours. One that we may not see is not.
    async fn at(&self, like: &Vm, node: &str, vmid: u32) -> Result<Option<Found>, Error> {
        let machine = self.client.node(node).vm(vmid);
        let config = match machine.config().await {
            Ok(Some(config)) if config.uuid() == Some(like.uuid) => config,
            Ok(_) => return Ok(None),
            Err(error) if matches!(error.class(), Class::Permission { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let running = machine.status().await?.is_some_and(|status| status.is_running());
        let vm = Vm {
            vmid: Some(vmid),
            cores: config.cores(),
            memory_mib: config.memory_mib(),
            state_gib: config.disk_size(STATE_DISK).map_or(like.state_gib, gib),
            running,
            ..like.clone()
        };
        Ok(Some(Found { vm, machine, config }))
    }

    /// Every VM of our pool that carries a mark.
    pub(super) async fn marked(&self) -> Result<Vec<(DeploymentName, Vm)>, DriverError> {
        let what = || format!("Failed to list the VMs on host `{}`", self.name);
        let mut found = Vec::new();
        for entry in self.entries().await.map_err(|error| self.fault(&error, what()))? {
            let machine = self.client.node(&entry.node).vm(entry.vmid);
            let config = machine.config().await.map_err(|error| self.fault(&error, what()))?;
            let Some(config) = config else { continue };
            let mark = config.description().and_then(Mark::find).filter(|mark| config.uuid() == Some(mark.uuid));
            let Some(mark) = mark else { continue };
            let vm = Vm {
                deployment: mark.deployment.clone(),
                app: mark.app,
                host: self.name.clone(),
                uuid: mark.uuid,
                vmid: Some(entry.vmid),
                cores: config.cores(),
                memory_mib: config.memory_mib(),
                state_gib: config.disk_size(STATE_DISK).map_or(0, gib),
                image: String::new(),
                addresses: Vec::new(),
                resolvers: Vec::new(),
                authorized_keys: Vec::new(),
                running: entry.status.as_deref() == Some("running"),
            };
            found.push((mark.deployment, vm));
        }
        Ok(found)
    }

    /// Makes the VM, or changes it, and sees that it runs.
    pub(super) async fn converge(&self, vm: &Vm, cx: &dyn StepContext) -> Result<Vm, DriverError> {
        let noted = cx.recall("vmid").await.and_then(|text| text.parse().ok());
        let like = Vm { vmid: noted.or(vm.vmid), ..vm.clone() };
        if noted.is_some() {
            // An earlier try may have left a task that still runs.
            self.finish_begun(&like, cx).await?;
        }
        let found = match self.find(&like).await? {
            Some(found) => found,
            None => self.create(&like, cx).await?,
        };
        self.change(vm, found, cx).await
    }

    /// Waits for the create that an earlier try began, whose name may have been lost.
    pub(super) async fn finish_begun(&self, like: &Vm, cx: &dyn StepContext) -> Result<(), DriverError> {
        let what = || format!("Failed to look for what was begun for VM `{}`", like.deployment);
        let upid = match cx.recall("upid").await.and_then(|text| text.parse::<Upid>().ok()) {
            Some(upid) => Some(upid),
            None => self.create_task(like, cx).await.map_err(|error| self.fault(&error, what()))?,
        };
        let Some(upid) = upid else { return Ok(()) };
        match self.client.task_state(&upid).await {
            Ok(TaskState::Running) => {
                cx.progress("waiting for what was begun before", None, None);
                match self.client.wait(&upid, &Wait::up_to(CREATE)).await {
                    Ok(_) => Ok(()),
                    // How it ended shows in what is there now.
                    Err(error) if *error.class() != Class::Deadline => Ok(()),
                    Err(error) => Err(self.fault(&error, what())),
                }
            }
            // Ended, or so long ago that the node has forgotten it.
            Ok(TaskState::Ended(_)) => Ok(()),
            Err(error) if error.class().is_not_found() => Ok(()),
            Err(error) => Err(self.fault(&error, what())),
        }
    }

    /// Our own create task for this number, begun since the number was noted.
    async fn create_task(&self, like: &Vm, cx: &dyn StepContext) -> Result<Option<Upid>, Error> {
        let Some(vmid) = like.vmid else { return Ok(None) };
        let since = cx.recall("since").await.and_then(|text| text.parse().ok()).unwrap_or(0);
        let tasks = self.node().vm(vmid).tasks(TaskQuery::of_vm(vmid).kind("qmcreate").since(since)).await?;
        Ok(tasks.into_iter().map(|entry| entry.upid).next())
    }

    async fn create(&self, vm: &Vm, cx: &dyn StepContext) -> Result<Found, DriverError> {
        let what = || format!("Failed to create VM `{}` on host `{}`", vm.deployment, self.name);
        let wanted = self.wanted(vm);
        for _ in 0..TRIES {
            let vmid = self.choose(vm, cx).await?;
            // A minute for clocks that differ: the node's own decides what "since" is.
            let since = jiff::Timestamp::now().as_second().saturating_sub(60);
            cx.note("since", &since.to_string()).await?;
            cx.note("vmid", &vmid.to_string()).await?;
            let machine = self.node().vm(vmid);
            let begun = machine.create(&wanted).await;
            self.chosen.lock().await.retain(|other| *other != vmid);
            let like = Vm { vmid: Some(vmid), ..vm.clone() };
            let upid = match begun {
                Ok(upid) => Some(upid),
                Err(error) if error.class().is_exists() => {
                    if let Some(found) = self.find(&like).await? {
                        return Ok(found);
                    }
                    cx.progress(&format!("VM {vmid} was taken meanwhile; taking another number"), None, None);
                    cx.note("vmid", "").await?;
                    continue;
                }
                // It may have been done, and it may still run.
                Err(error) if *error.class() == Class::Ambiguous => {
                    match self.create_task(&like, cx).await.map_err(|error| self.fault(&error, what()))? {
                        Some(upid) => Some(upid),
                        None => return Err(self.fault(&error, what()).left(self.may_have_left(vmid))),
                    }
                }
                Err(error) => return Err(self.fault(&error, what())),
            };
            if let Some(upid) = upid {
                cx.note("upid", &upid.to_string()).await?;
                self.await_create(&like, &upid, cx).await?;
            }
            return self.find(&like).await?.ok_or_else(|| {
                DriverError::new(DriverErrorKind::Failed, what())
                    .cause("It is not there although Proxmox says it was made")
            });
        }
        Err(DriverError::new(DriverErrorKind::Unavailable, what())
            .cause(format!("{TRIES} numbers in a row were taken by others at the same moment")))
    }

    async fn await_create(&self, vm: &Vm, upid: &Upid, cx: &dyn StepContext) -> Result<(), DriverError> {
        let key = format!("import {} {} {}", self.settings.image_storage, self.settings.vm_storage, vm.image);
        let wait = Wait::up_to(CREATE).expecting(self.estimate(&key).await);
        cx.progress("importing the image", None, None);
        let end = tokio::select! {
            end = self.client.wait(upid, &wait) => end,
            () = cx.interrupted() => {
                return Err(DriverError::new(DriverErrorKind::Interrupted, "Stopped while the image was imported")
                    .left(format!("The import goes on as `{upid}`")));
            }
        };
        match end {
            Ok(end) => {
                self.took(&key, end.took).await;
                Ok(())
            }
            Err(error) => {
                let vmid = vm.vmid.unwrap_or_default();
                let what = format!("Failed to create VM `{}` on host `{}`", vm.deployment, self.name);
                let mut made = self.fault(&error, what);
                if *error.class() == Class::Ambiguous {
                    made = made.left(self.may_have_left(vmid)).hint(self.unlock(vmid));
                }
                Err(made)
            }
        }
    }

    fn may_have_left(&self, vmid: u32) -> String {
        format!("VM {vmid} may be half-made on node `{}`", self.settings.node)
    }

    /// What only the node's administrator can do with a half-made VM.
    pub(super) fn unlock(&self, vmid: u32) -> String {
        format!("If it stays locked, run on `{}`: qm unlock {vmid} && qm destroy {vmid}", self.settings.node)
    }

    /// A free number of our range, not taken by another run of this process either.
    async fn choose(&self, vm: &Vm, cx: &dyn StepContext) -> Result<u32, DriverError> {
        let what = || format!("Failed to choose a number for VM `{}` on host `{}`", vm.deployment, self.name);
        let mut chosen = self.chosen.lock().await;
        let known = self.client.vms().await.map_err(|error| self.fault(&error, what()))?;
        let (first, last) = (self.settings.first_vmid, self.settings.last_vmid);
        for vmid in first..=last {
            if chosen.contains(&vmid) || known.iter().any(|entry| entry.vmid == vmid) {
                continue;
            }
            // The list shows only what the token may see.
            if self.client.vmid_is_taken(vmid).await.map_err(|error| self.fault(&error, what()))? {
                if self.is_stuck(vmid).await {
                    cx.notice(&format!(
                        "VM {vmid} on `{}` was left half-made; fedi takes another number. {}",
                        self.settings.node,
                        self.unlock(vmid)
                    ));
                }
                continue;
            }
            chosen.push(vmid);
            return Ok(vmid);
        }
        Err(DriverError::new(DriverErrorKind::Exhausted, what())
            .cause(format!("Every number from {first} to {last} is taken"))
            .hint(format!("Widen `first-vmid` and `last-vmid` in hosts/{}/host.toml", self.name)))
    }

    /// Whether our own create died on this number: it left a task of ours, and a VM
    /// that is still locked or not yet in our pool.
    pub(super) async fn is_stuck(&self, vmid: u32) -> bool {
        let machine = self.node().vm(vmid);
        match machine.config().await {
            Ok(Some(config)) => config.lock() == Some("create") && config.uuid().is_none(),
            Err(error) if matches!(error.class(), Class::Permission { .. }) => {
                machine.tasks(TaskQuery::of_vm(vmid).kind("qmcreate")).await.is_ok_and(|tasks| !tasks.is_empty())
            }
            _ => false,
        }
    }

    fn wanted(&self, vm: &Vm) -> CreateVm {
        let settings = &self.settings;
        let mark = Mark { deployment: vm.deployment.clone(), app: vm.app.clone(), uuid: vm.uuid };
        let mut network = NetworkDevice::new(&settings.bridge);
        network.vlan = settings.vlan;
        let mut cloud_init = CloudInit::new(&settings.vm_storage);
        cloud_init.networks = vec![ip_config(&vm.addresses)];
        cloud_init.resolvers.clone_from(&vm.resolvers);
        cloud_init.user = Some("root".to_owned());
        cloud_init.ssh_keys.clone_from(&vm.authorized_keys);
        let mut wanted = CreateVm::new(vm.deployment.as_str());
        wanted.description = Some(mark.line());
        wanted.pool = Some(settings.pool.clone());
        wanted.uuid = Some(vm.uuid);
        wanted.cpu = Some(settings.cpu.clone());
        wanted.cores = vm.cores;
        wanted.memory_mib = vm.memory_mib;
        wanted.disks = vec![
            Disk::new(&settings.vm_storage, DiskSource::Image(self.image_storage().import_volume(&vm.image))),
            Disk::new(&settings.vm_storage, DiskSource::Blank { gib: vm.state_gib }),
        ];
        wanted.networks = vec![network];
        wanted.cloud_init = Some(cloud_init);
        wanted.protection = true;
        wanted.start = vm.running;
        wanted
    }

    /// Brings a VM that exists to what is wanted, and sees that it runs.
    async fn change(&self, wanted: &Vm, found: Found, cx: &dyn StepContext) -> Result<Vm, DriverError> {
        let Found { mut vm, machine, config } = found;
        let what = || format!("Failed to change VM `{}` on host `{}`", wanted.deployment, self.name);
        let mut change = ConfigChange::new();
        if vm.cores != wanted.cores {
            change = change.set("cores", wanted.cores);
        }
        if vm.memory_mib != wanted.memory_mib {
            change = change.set("memory", wanted.memory_mib.to_string());
        }
        let sized = !change.is_empty();
        if sized {
            let change = change.based_on(&config);
            machine.set_config(&change).await.map_err(|error| self.fault(&error, what()))?;
            (vm.cores, vm.memory_mib) = (wanted.cores, wanted.memory_mib);
        }
        if wanted.state_gib > vm.state_gib {
            let upid = machine.grow_disk(STATE_DISK, wanted.state_gib, None).await;
            let upid = upid.map_err(|error| self.fault(&error, what()))?;
            self.client.wait(&upid, &Wait::up_to(START)).await.map_err(|error| self.fault(&error, what()))?;
            vm.state_gib = wanted.state_gib;
        }
        if sized && vm.running {
            cx.progress("stopping the guest, to give it its new size", None, None);
            self.shut_down(&machine, what).await?;
            vm.running = false;
        }
        if wanted.running && !vm.running {
            self.see_it_run(wanted, &machine, cx).await?;
            vm.running = true;
        }
        Ok(vm)
    }

    pub(super) async fn shut_down(
        &self,
        machine: &proxmox_api::Vm,
        what: impl Fn() -> String,
    ) -> Result<(), DriverError> {
        let upid = machine.shutdown(SHUTDOWN_S).await.map_err(|error| self.fault(&error, what()))?;
        let wait = Wait::up_to(Duration::from_secs(u64::from(SHUTDOWN_S) + 60));
        self.client.wait(&upid, &wait).await.map_err(|error| self.fault(&error, what()))?;
        Ok(())
    }

    /// The end of a create says nothing of the start: that is a second task, which no
    /// answer names. It is looked for, waited for, and replaced by one of our own when
    /// it is not there.
    async fn see_it_run(&self, vm: &Vm, machine: &proxmox_api::Vm, cx: &dyn StepContext) -> Result<(), DriverError> {
        let what = || format!("Failed to start VM `{}` on host `{}`", vm.deployment, self.name);
        cx.progress("starting", None, None);
        let tasks = machine.tasks(TaskQuery::of_vm(machine.vmid()).kind("qmstart")).await;
        let running = tasks
            .map_err(|error| self.fault(&error, what()))?
            .into_iter()
            .find(|entry| entry.state() == TaskState::Running);
        let upid = match running {
            Some(entry) => entry.upid,
            None => {
                let status = machine.status().await.map_err(|error| self.fault(&error, what()))?;
                if status.is_some_and(|status| status.is_running()) {
                    return Ok(());
                }
                machine.start().await.map_err(|error| self.fault(&error, what()))?
            }
        };
        let left = || format!("VM `{}` ({}) exists and is stopped", vm.deployment, machine.vmid());
        self.client.wait(&upid, &Wait::up_to(START)).await.map_err(|error| self.fault(&error, what()).left(left()))?;
        let status = machine.status().await.map_err(|error| self.fault(&error, what()))?;
        if status.is_some_and(|status| status.is_running()) {
            return Ok(());
        }
        Err(DriverError::new(DriverErrorKind::Failed, what())
            .cause("Its start ended well, but it does not run")
            .hint(format!("See the task log of VM {} on `{}`", machine.vmid(), self.settings.node))
            .left(left()))
    }
}

fn ip_config(addresses: &[NicAddress]) -> IpConfig {
    let mut config = IpConfig::default();
    for nic in addresses {
        match (nic.address, nic.gateway) {
            (IpNet::V4(net), IpAddr::V4(gateway)) => {
                config.v4 = Some(StaticIp { address: net.addr(), prefix: net.prefix_len(), gateway: Some(gateway) });
            }
            (IpNet::V6(net), IpAddr::V6(gateway)) => {
                config.v6 = Some(StaticIp { address: net.addr(), prefix: net.prefix_len(), gateway: Some(gateway) });
            }
            // A gateway of the other family is refused when the inventory is read.
            _ => {}
        }
    }
    config
}

/// Whole GiB of a size in bytes.
fn gib(bytes: u64) -> u32 {
    u32::try_from(bytes >> 30).unwrap_or(u32::MAX)
}
