//! How long things took on this host before, so that they are asked about when they
//! are expected to be done: a request more a second, of hundreds of VMs, is a burden.

use std::time::Duration;

use fedi_engine::drivers::{DriverError, DriverErrorKind, StepContext};
use fedi_model::resource::Vm;
use proxmox_api::{Estimate, History};

use super::ProxmoxHost;

/// An answer takes a moment too.
const AFTER: Duration = Duration::from_millis(40);

/// A guest that was started.
#[derive(Debug, Clone)]
pub(super) struct Started {
    /// By the host's clock.
    at: Duration,
    image: String,
    /// It was asked before, and was silent.
    asked: bool,
}

impl ProxmoxHost {
    /// How long `what` took before on this host.
    pub(super) async fn estimate(&self, what: &str) -> Option<Estimate> {
        self.history().await.estimate(what)
    }

    /// Remembers that `what` took so long.
    pub(super) async fn took(&self, what: &str, time: Duration) {
        let mut history = self.history().await;
        history.add(what, time);
        if let Ok(text) = serde_json::to_string(&history) {
            self.memory.remember(&self.history_key(), &text).await;
        }
    }

    async fn history(&self) -> History {
        let text = self.memory.recall(&self.history_key()).await;
        text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
    }

    fn history_key(&self) -> String {
        format!("proxmox-times {}", self.name)
    }

    /// Lets time pass; fails when the operator wants to stop.
    pub(super) async fn sleep(&self, time: Duration, cx: &dyn StepContext) -> Result<(), DriverError> {
        tokio::select! {
            () = self.clock.sleep(time) => Ok(()),
            () = cx.interrupted() => Err(DriverError::new(DriverErrorKind::Interrupted, "Stopped while waiting")),
        }
    }

    /// Lets the rest of the time pass that `what` is expected to take, where that is known
    /// and `since` was its begin by the host's clock.
    pub(super) async fn until_expected(
        &self,
        what: &str,
        since: Duration,
        cx: &dyn StepContext,
    ) -> Result<bool, DriverError> {
        let Some(estimate) = self.estimate(what).await else { return Ok(false) };
        let passed = self.clock.now().saturating_sub(since);
        self.sleep((estimate.typical + AFTER).saturating_sub(passed), cx).await?;
        Ok(true)
    }

    /// The VM runs from now on.
    pub(super) async fn has_started(&self, vm: &Vm) {
        let started = Started { at: self.clock.now(), image: vm.image.clone(), asked: false };
        self.started.lock().await.insert(vm.uuid, started);
    }

    /// Lets a guest that was just started boot, for as long as guests of its image take.
    pub(super) async fn let_it_boot(&self, vm: &Vm, cx: &dyn StepContext) -> Result<(), DriverError> {
        let Some(started) = self.started.lock().await.get(&vm.uuid).cloned() else { return Ok(()) };
        self.until_expected(&boot(&started.image), started.at, cx).await.map(drop)
    }

    /// Its agent does not answer yet.
    pub(super) async fn is_silent(&self, vm: &Vm) {
        if let Some(started) = self.started.lock().await.get_mut(&vm.uuid) {
            started.asked = true;
        }
    }

    /// Its agent answers.
    pub(super) async fn has_booted(&self, vm: &Vm) {
        let Some(started) = self.started.lock().await.remove(&vm.uuid) else { return };
        let passed = self.clock.now().saturating_sub(started.at);
        // One that answers at the first question may have done so for long; were that not
        // counted, what is expected could only ever grow.
        let took = if started.asked { passed } else { passed.saturating_sub(2 * AFTER) };
        self.took(&boot(&started.image), took).await;
    }
}

fn boot(image: &str) -> String {
    format!("boot {image}")
}
