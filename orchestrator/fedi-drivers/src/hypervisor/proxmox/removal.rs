//! Destroying a VM: only one that can be proved to be ours.

use std::time::Duration;

use fedi_engine::drivers::{DriverError, DriverErrorKind, StepContext};
use fedi_model::resource::Vm;
use proxmox_api::{Class, ConfigChange, Error, Missing, State, TaskState, Wait};

use super::ProxmoxHost;
use super::create::noted_vmid;
use super::machine::Found;
use super::mark::Mark;

/// Deleting large disks takes its time on some storages.
const DESTROY: Duration = Duration::from_secs(10 * 60);

/// Aborting a create makes its worker clean up.
const ABORT: Duration = Duration::from_secs(120);

impl ProxmoxHost {
    pub(super) async fn destroy(&self, vm: &Vm, cx: &dyn StepContext) -> Result<(), DriverError> {
        let noted = noted_vmid(cx).await;
        let like = Vm { vmid: vm.vmid.or(noted), ..vm.clone() };
        self.abort_begun(noted, cx).await?;
        for last in [false, false, true] {
            let Some(found) = self.find(&like).await? else {
                return self.report_stuck(&like, cx).await;
            };
            self.prove(&like, &found).await?;
            let vmid = found.machine.vmid();
            match self.destroy_found(&like, found, cx).await? {
                // The start that follows a create, for one, comes when it comes.
                Err(error) if *error.class() == Class::State(State::Running) && !last => {
                    cx.progress("it was started meanwhile", None, None);
                }
                Err(error) => {
                    return Err(
                        self.fault(&error, format!("Failed to destroy VM `{}` on host `{}`", vm.deployment, self.name))
                    );
                }
                Ok(()) => {
                    // The next to have this number is another.
                    self.seen.lock().await.remove(&vmid);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Stops and destroys a VM that is proved to be ours.
    async fn destroy_found(
        &self,
        vm: &Vm,
        found: Found,
        cx: &dyn StepContext,
    ) -> Result<Result<(), Error>, DriverError> {
        let what = || format!("Failed to destroy VM `{}` on host `{}`", vm.deployment, self.name);
        let Found { machine, config, vm: found } = found;
        if config.is_protected() {
            let change = ConfigChange::new().delete("protection").based_on(&config);
            machine.set_config(&change).await.map_err(|error| self.fault(&error, what()))?;
        }
        if found.running {
            cx.progress("stopping", None, None);
            self.shut_down(&machine, cx, what).await?;
        }
        cx.progress("deleting its disks", None, None);
        self.vms.forget().await;
        let begun = machine.destroy().await;
        let upid = match begun {
            Ok(upid) => upid,
            Err(error) if error.class().is_not_found() => return Ok(Ok(())),
            Err(error) => return Ok(Err(error)),
        };
        let end = self.wait_for(&upid, &Wait::up_to(DESTROY), cx).await?;
        self.vms.forget().await;
        match end {
            Ok(_) => Ok(Ok(())),
            Err(error) if error.class().is_not_found() => Ok(Ok(())),
            Err(error) if error.class().is_locked() => {
                Err(self.fault(&error, what()).hint(self.unlock(machine.vmid())))
            }
            Err(error) => Ok(Err(error)),
        }
    }

    /// Ends a create of this step that still runs. Proxmox cleans up behind it.
    async fn abort_begun(&self, noted: Option<u32>, cx: &dyn StepContext) -> Result<(), DriverError> {
        let what = || "Failed to look for the import that was begun".to_owned();
        let Some(upid) = self.begun(noted, cx).await.map_err(|error| self.fault(&error, what()))? else {
            return Ok(());
        };
        match self.client.task_state(&upid).await {
            Ok(TaskState::Running) => {}
            Ok(TaskState::Ended(_)) => return Ok(()),
            Err(error) if error.class().is_missing(Missing::Task) => return Ok(()),
            Err(error) => return Err(self.fault(&error, what())),
        }
        let what = || format!("Failed to stop the task `{upid}`");
        cx.progress("stopping the import", None, None);
        self.client.stop_task(&upid).await.map_err(|error| self.fault(&error, what()))?;
        self.vms.forget().await;
        match self.client.wait(&upid, &Wait::up_to(ABORT)).await {
            Err(error) if *error.class() == Class::Deadline => Err(self.fault(&error, what())),
            // It ended, however it did: what is there now is looked at next.
            _ => Ok(()),
        }
    }

    /// UUID, mark and pool must all say that it is ours.
    async fn prove(&self, wanted: &Vm, found: &Found) -> Result<(), DriverError> {
        let foreign = |why: String| {
            DriverError::new(
                DriverErrorKind::Foreign,
                format!(
                    "VM {} on host `{}` cannot be proved to be `{}`",
                    found.machine.vmid(),
                    self.name,
                    wanted.deployment
                ),
            )
            .cause(why)
            .hint("fedi destroys only what it can prove it made; remove it by hand")
        };
        let mark = found.config.description().and_then(Mark::find);
        match mark {
            Some(mark) if mark.uuid == wanted.uuid && mark.deployment == wanted.deployment => {}
            Some(mark) => return Err(foreign(format!("Its description names `{}` ({})", mark.deployment, mark.uuid))),
            None => return Err(foreign("Its description has lost fedi's mark".to_owned())),
        }
        let entries = self.client.vms().await;
        let entries =
            entries.map_err(|error| self.fault(&error, format!("Failed to look at pool `{}`", self.settings.pool)))?;
        if entries.iter().any(|entry| entry.vmid == found.machine.vmid() && self.is_in_pool(entry)) {
            return Ok(());
        }
        Err(foreign(format!("It is not in the pool `{}`", self.settings.pool)))
    }

    /// A create that died left a VM that no token can remove: say so.
    async fn report_stuck(&self, like: &Vm, cx: &dyn StepContext) -> Result<(), DriverError> {
        if let Some(vmid) = like.vmid
            && cx.recall("upid").await.is_some()
            && self.is_stuck(vmid).await
        {
            cx.notice(&format!("VM {vmid} was left half-made and fedi may not remove it. {}", self.unlock(vmid)));
        }
        Ok(())
    }
}
