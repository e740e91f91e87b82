//! Making a virtual machine: one request, and what is to be known about it.
//!
//! The number is chosen and noted before the request that uses it, and the request is
//! itself the test whether the number is free. A step that is run again finds what its
//! earlier try has begun: by the noted task, else by the noted number.

use std::net::IpAddr;
use std::time::Duration;

use fedi_engine::drivers::{DriverError, DriverErrorKind, StepContext};
use fedi_model::resource::{NicAddress, Vm};
use ipnet::IpNet;
use proxmox_api::{
    Class, CloudInit, CreateVm, Disk, DiskSource, Error, Exit, IpConfig, Missing, NetworkDevice, StaticIp, TaskQuery,
    TaskSource, TaskState, Upid, Wait,
};

use super::ProxmoxHost;
use super::mark::Mark;

/// Making a VM imports its image.
const CREATE: Duration = Duration::from_secs(15 * 60);

/// How many numbers are tried when others take them at the same moment.
const TRIES: u32 = 16;

impl ProxmoxHost {
    /// Makes the VM, or changes it, and sees that it runs.
    pub(super) async fn converge(&self, vm: &Vm, cx: &dyn StepContext) -> Result<Vm, DriverError> {
        let noted = noted_vmid(cx).await;
        let like = Vm { vmid: noted.or(vm.vmid), ..vm.clone() };
        if noted.is_some() {
            // An earlier try may have left a task that still runs. A list that was read before
            // its end lacks the VM, and this one is found by its number.
            let finished = self.finish_begun(&like, cx).await;
            self.vms.forget().await;
            finished?;
        }
        match self.find(&like).await? {
            Some(found) => self.change(vm, found, cx).await,
            None => self.create(&like, cx).await,
        }
    }

    /// Waits for the create that an earlier try began, whose name may have been lost.
    async fn finish_begun(&self, like: &Vm, cx: &dyn StepContext) -> Result<(), DriverError> {
        let what = || format!("Failed to look for what was begun for VM `{}`", like.deployment);
        let Some(upid) = self.begun(like.vmid, cx).await.map_err(|error| self.fault(&error, what()))? else {
            return Ok(());
        };
        match self.client.task_state(&upid).await {
            Ok(TaskState::Running) => {
                cx.progress("waiting for what was begun before", None, None);
                match self.wait_for(&upid, &Wait::up_to(CREATE), cx).await? {
                    Err(error) if *error.class() == Class::Deadline => Err(self.fault(&error, what())),
                    // How it ended shows in what is there now.
                    _ => Ok(()),
                }
            }
            // Ended, or so long ago that the node has forgotten it.
            Ok(TaskState::Ended(_)) => Ok(()),
            Err(error) if error.class().is_missing(Missing::Task) => Ok(()),
            Err(error) => Err(self.fault(&error, what())),
        }
    }

    /// The create that this step has begun: the one it noted, else our own for the number
    /// that it noted, begun since then.
    pub(super) async fn begun(&self, vmid: Option<u32>, cx: &dyn StepContext) -> Result<Option<Upid>, Error> {
        if let Some(upid) = cx.recall("upid").await.and_then(|text| text.parse::<Upid>().ok()) {
            return Ok(Some(upid));
        }
        let Some(vmid) = vmid else { return Ok(None) };
        let Some(since) = cx.recall("since").await.and_then(|text| text.parse().ok()) else { return Ok(None) };
        let tasks = self.node().vm(vmid).tasks(TaskQuery::of_vm(vmid).kind("qmcreate").since(since)).await?;
        Ok(tasks.into_iter().map(|entry| entry.upid).next())
    }

    /// Refuses to call a VM absent whose number a create still has: what it makes shows,
    /// and whose it is, only at its end.
    pub(super) async fn nothing_is_being_made(&self, vm: &Vm) -> Result<(), DriverError> {
        let Some(vmid) = vm.vmid else { return Ok(()) };
        let what = || format!("Failed to look for what is being made as VM {vmid} on host `{}`", self.name);
        let query = TaskQuery { source: TaskSource::Active, ..TaskQuery::of_vm(vmid).kind("qmcreate") };
        let tasks = self.node().vm(vmid).tasks(query).await.map_err(|error| self.fault(&error, what()))?;
        let Some(running) = tasks.into_iter().find(|task| task.state() == TaskState::Running) else { return Ok(()) };
        let message = format!("VM {vmid} on host `{}` is still being made for `{}`", self.name, vm.deployment);
        Err(DriverError::new(DriverErrorKind::Unavailable, message)
            .cause(format!("An earlier run began it; the task is `{}`", running.upid))
            .hint("Try again when the task has ended, or stop it in Proxmox"))
    }

    async fn create(&self, vm: &Vm, cx: &dyn StepContext) -> Result<Vm, DriverError> {
        let _turn = self.turn_to_import(cx).await?;
        let mut taken = Vec::new();
        for _ in 0..TRIES {
            let vmid = self.choose(vm, &taken, cx).await?;
            let made = self.create_as(vm, vmid, cx).await;
            // Until it is in our pool, at the end of the create, no list has it.
            self.chosen.lock().await.retain(|other| *other != vmid);
            if let Some(made) = made? {
                return Ok(made);
            }
            taken.push(vmid);
        }
        Err(DriverError::new(
            DriverErrorKind::Unavailable,
            format!("Failed to create VM `{}` on host `{}`", vm.deployment, self.name),
        )
        .cause(format!("{TRIES} numbers in a row were taken by others at the same moment")))
    }

    /// The same with this number; `None` if that was taken meanwhile.
    async fn create_as(&self, vm: &Vm, vmid: u32, cx: &dyn StepContext) -> Result<Option<Vm>, DriverError> {
        let what = || format!("Failed to create VM `{}` on host `{}`", vm.deployment, self.name);
        // A minute for clocks that differ: the node's own decides what "since" is.
        let since = jiff::Timestamp::now().as_second().saturating_sub(60);
        if cx.recall("upid").await.is_some_and(|text| !text.is_empty()) {
            // That of an earlier try; it must not be taken for this one's.
            cx.note("upid", "").await?;
        }
        cx.note("since", &since.to_string()).await?;
        cx.note("vmid", &vmid.to_string()).await?;
        self.vms.forget().await;
        let begun = self.node().vm(vmid).create(&self.wanted(vm)).await;
        self.vms.forget().await;
        let like = Vm { vmid: Some(vmid), ..vm.clone() };
        let upid = match begun {
            Ok(upid) => upid,
            Err(error) if error.class().is_exists() => {
                if let Some(found) = self.find(&like).await? {
                    return self.change(vm, found, cx).await.map(Some);
                }
                self.tell_if_stuck(vmid, cx).await;
                cx.progress(&format!("VM {vmid} was taken meanwhile; taking another number"), None, None);
                return Ok(None);
            }
            // It may have been done, and it may still run.
            Err(error) if *error.class() == Class::Ambiguous => {
                let lost = || self.fault(&error, what()).left(self.may_have_left(vmid));
                let begun = self.begun(Some(vmid), cx).await.map_err(|error| self.fault(&error, what()))?;
                let upid = begun.ok_or_else(lost)?;
                self.await_create(&like, &upid, cx).await?;
                // It may be an earlier create of the same number, of a VM that is gone.
                return match self.find(&like).await? {
                    Some(found) => self.change(vm, found, cx).await.map(Some),
                    None => Err(lost()),
                };
            }
            Err(error) => return Err(self.fault(&error, what())),
        };
        cx.note("upid", &upid.to_string()).await?;
        let ago = self.await_create(&like, &upid, cx).await?;
        self.seen.lock().await.insert(vmid, vm.uuid);
        if !vm.running {
            return Ok(Some(Vm { running: false, ..like }));
        }
        self.see_it_start(&like, ago, cx).await?;
        Ok(Some(Vm { running: true, ..like }))
    }

    /// Waits until few enough imports run.
    async fn turn_to_import(
        &self,
        cx: &dyn StepContext,
    ) -> Result<Option<tokio::sync::SemaphorePermit<'_>>, DriverError> {
        if let Ok(permit) = self.imports.try_acquire() {
            return Ok(Some(permit));
        }
        cx.progress("waiting for other imports", None, None);
        tokio::select! {
            permit = self.imports.acquire() => Ok(permit.ok()),
            () = cx.interrupted() => Err(DriverError::new(
                DriverErrorKind::Interrupted,
                "Stopped before the image was imported",
            )),
        }
    }

    /// Waits for the end of a create; how long ago that was.
    async fn await_create(&self, vm: &Vm, upid: &Upid, cx: &dyn StepContext) -> Result<Duration, DriverError> {
        let key = format!("import {} {} {}", self.settings.image_storage, self.settings.vm_storage, vm.image);
        let wait = Wait::up_to(CREATE).expecting(self.estimate(&key).await);
        cx.progress("importing the image", None, None);
        match self.wait_for(upid, &wait, cx).await.map_err(|stopped| {
            DriverError { message: "Stopped while the image was imported".to_owned(), ..stopped }
                .left(format!("The import goes on as `{upid}`"))
        })? {
            Ok(end) => {
                self.took(&key, end.took).await;
                Ok(end.ago)
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

    /// A number of our range that seems free: the list shows only what the token may see.
    /// Once one of them was `taken` all the same, each is asked for.
    async fn choose(&self, vm: &Vm, taken: &[u32], cx: &dyn StepContext) -> Result<u32, DriverError> {
        let what = || format!("Failed to choose a number for VM `{}` on host `{}`", vm.deployment, self.name);
        let mut chosen = self.chosen.lock().await;
        let known = self.recent_vms().await.map_err(|error| self.fault(&error, what()))?;
        let (first, last) = (self.settings.first_vmid, self.settings.last_vmid);
        for vmid in first..=last {
            if chosen.contains(&vmid) || taken.contains(&vmid) || known.iter().any(|entry| entry.vmid == vmid) {
                continue;
            }
            let ask = !taken.is_empty();
            if ask && self.client.vmid_is_taken(vmid).await.map_err(|error| self.fault(&error, what()))? {
                self.tell_if_stuck(vmid, cx).await;
                continue;
            }
            chosen.push(vmid);
            return Ok(vmid);
        }
        Err(DriverError::new(DriverErrorKind::Exhausted, what())
            .cause(format!("Every number from {first} to {last} is taken"))
            .hint(format!("Widen `first-vmid` and `last-vmid` in hosts/{}/host.toml", self.name)))
    }

    async fn tell_if_stuck(&self, vmid: u32, cx: &dyn StepContext) {
        if self.is_stuck(vmid).await {
            cx.notice(&format!(
                "VM {vmid} on `{}` was left half-made; fedi takes another number. {}",
                self.settings.node,
                self.unlock(vmid)
            ));
        }
    }

    /// Whether our own create died on this number: it left a VM that is still locked, or
    /// not yet in our pool.
    pub(super) async fn is_stuck(&self, vmid: u32) -> bool {
        let machine = self.node().vm(vmid);
        match machine.config().await {
            Ok(Some(config)) => config.lock() == Some("create") && config.uuid().is_none(),
            Err(error) if matches!(error.class(), Class::Permission { .. }) => {
                self.create_died(vmid).await && self.client.vmid_is_taken(vmid).await.unwrap_or(false)
            }
            _ => false,
        }
    }

    /// Whether our last create of this number broke off. One that fails cleans up behind it,
    /// and whoever has the number afterwards is somebody else.
    async fn create_died(&self, vmid: u32) -> bool {
        let tasks = self.node().vm(vmid).tasks(TaskQuery::of_vm(vmid).kind("qmcreate")).await;
        let Some(last) = tasks.ok().and_then(|tasks| tasks.into_iter().next()) else { return false };
        matches!(self.client.task_state(&last.upid).await, Ok(TaskState::Ended(Exit::Unknown)))
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
}

/// The number that an earlier try of this step has chosen.
pub(super) async fn noted_vmid(cx: &dyn StepContext) -> Option<u32> {
    cx.recall("vmid").await.and_then(|text| text.parse().ok())
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
