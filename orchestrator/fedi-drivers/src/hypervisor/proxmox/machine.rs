//! Virtual machines that exist: found by UUID, changed in place, seen to run.

use std::time::Duration;

use fedi_engine::drivers::{DriverError, DriverErrorKind, StepContext};
use fedi_model::name::DeploymentName;
use fedi_model::resource::Vm;
use proxmox_api::{Class, ConfigChange, Error, TaskEnd, TaskQuery, TaskState, Upid, VmConfig, Wait};

use super::ProxmoxHost;
use super::mark::Mark;

/// QEMU's own start, and the memory that it has to find.
const START: Duration = Duration::from_secs(120);

/// Under which name is remembered how long starts take.
const START_KEY: &str = "start";

/// A guest that is asked to stop.
const SHUTDOWN_S: u32 = 60;

/// The state disk: `scsi1`, beside the root on `scsi0`.
const STATE_DISK: &str = "scsi1";

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
            // One that was broadcast during its create has the name of those without any.
            let is_another = match entry.name.as_deref() {
                Some(name) if name != "VM" && !name.starts_with("VM ") => name != like.deployment.as_str(),
                _ => self.seen.lock().await.get(&entry.vmid).is_some_and(|uuid| *uuid != like.uuid),
            };
            if is_another && Some(entry.vmid) != like.vmid {
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
        // As it runs: a change that still waits for a restart is none yet.
        let config = match machine.current_config().await {
            Ok(Some(config)) => {
                if let Some(uuid) = config.uuid() {
                    // Whoever had the number before is gone.
                    self.seen.lock().await.insert(vmid, uuid);
                }
                if config.uuid() != Some(like.uuid) {
                    return Ok(None);
                }
                config
            }
            Ok(None) => return Ok(None),
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

    /// Brings a VM that exists to what is wanted, and sees that it runs.
    pub(super) async fn change(&self, wanted: &Vm, found: Found, cx: &dyn StepContext) -> Result<Vm, DriverError> {
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
            self.end_of(&upid, &Wait::up_to(START), cx, what).await?;
            vm.state_gib = wanted.state_gib;
        }
        if sized && vm.running {
            cx.progress("stopping the guest, to give it its new size", None, None);
            self.shut_down(&machine, cx, what).await?;
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
        cx: &dyn StepContext,
        what: impl Fn() -> String,
    ) -> Result<(), DriverError> {
        let upid = machine.shutdown(SHUTDOWN_S).await.map_err(|error| self.fault(&error, what()))?;
        let wait = Wait::up_to(Duration::from_secs(u64::from(SHUTDOWN_S) + 60));
        self.end_of(&upid, &wait, cx, what).await
    }

    /// Waits for a task's end; fails at once when the operator wants to stop. The task
    /// goes on then.
    pub(super) async fn wait_for(
        &self,
        upid: &Upid,
        wait: &Wait,
        cx: &dyn StepContext,
    ) -> Result<Result<TaskEnd, Error>, DriverError> {
        tokio::select! {
            end = self.client.wait(upid, wait) => Ok(end),
            () = cx.interrupted() => Err(
                DriverError::new(DriverErrorKind::Interrupted, format!("Stopped while waiting on host `{}`", self.name))
                    .left(format!("The task `{upid}` goes on")),
            ),
        }
    }

    /// Waits for the good end of a task.
    pub(super) async fn end_of(
        &self,
        upid: &Upid,
        wait: &Wait,
        cx: &dyn StepContext,
        what: impl Fn() -> String,
    ) -> Result<(), DriverError> {
        self.wait_for(upid, wait, cx).await?.map(drop).map_err(|error| self.fault(&error, what()))
    }

    /// The end of a create says nothing of the start: that is a second task, which no
    /// answer names. It is given the time that starts take here, and then looked at.
    pub(super) async fn see_it_start(&self, vm: &Vm, ago: Duration, cx: &dyn StepContext) -> Result<(), DriverError> {
        let what = || format!("Failed to start VM `{}` on host `{}`", vm.deployment, self.name);
        let machine = self.node().vm(vm.vmid.unwrap_or_default());
        let begun = self.clock.now().saturating_sub(ago);
        cx.progress("starting", None, None);
        if self.until_expected(START_KEY, begun, cx).await? {
            let status = machine.status().await.map_err(|error| self.fault(&error, what()))?;
            if status.is_some_and(|status| status.is_running()) {
                self.has_started(vm).await;
                return Ok(());
            }
        }
        self.see_it_run(vm, &machine, cx).await?;
        self.took(START_KEY, self.clock.now().saturating_sub(begun)).await;
        Ok(())
    }

    /// Looks for the start that is under way, waits for it, and replaces it by one of our
    /// own when there is none.
    async fn see_it_run(&self, vm: &Vm, machine: &proxmox_api::Vm, cx: &dyn StepContext) -> Result<(), DriverError> {
        let what = || format!("Failed to start VM `{}` on host `{}`", vm.deployment, self.name);
        let is_running = async || {
            let status = machine.status().await.map_err(|error| self.fault(&error, what()))?;
            Ok::<_, DriverError>(status.is_some_and(|status| status.is_running()))
        };
        cx.progress("starting", None, None);
        let tasks = machine.tasks(TaskQuery::of_vm(machine.vmid()).kind("qmstart")).await;
        let running = tasks
            .map_err(|error| self.fault(&error, what()))?
            .into_iter()
            .find(|entry| entry.state() == TaskState::Running);
        let upid = match running {
            Some(entry) => Some(entry.upid),
            None if is_running().await? => None,
            None => Some(machine.start().await.map_err(|error| self.fault(&error, what()))?),
        };
        let left = || format!("VM `{}` ({}) exists and is stopped", vm.deployment, machine.vmid());
        if let Some(upid) = upid {
            let end = self.wait_for(&upid, &Wait::up_to(START), cx).await?;
            end.map_err(|error| self.fault(&error, what()).left(left()))?;
            if !is_running().await? {
                return Err(DriverError::new(DriverErrorKind::Failed, what())
                    .cause("Its start ended well, but it does not run")
                    .hint(format!("See the task log of VM {} on `{}`", machine.vmid(), self.settings.node))
                    .left(left()));
            }
        }
        self.has_started(vm).await;
        Ok(())
    }
}

/// Whole GiB of a size in bytes.
fn gib(bytes: u64) -> u32 {
    u32::try_from(bytes >> 30).unwrap_or(u32::MAX)
}
