//! Machines that the simulator boots.

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use fedi_sim::backend::{BackendError, ExecOutput, GuestBackend, GuestSpec, Interface};
use uuid::Uuid;

use super::state::{GuestFault, GuestState, States, key_of, now_ms};

const HOST_KEY: &str = "/etc/ssh/ssh_host_ed25519_key.pub";

/// Machines without a process: a file each.
#[derive(Debug)]
pub struct StandInMachines {
    states: States,
    boot: Duration,
    /// What is wrong with guests that are made from now on.
    fault: Mutex<Option<GuestFault>>,
}

impl StandInMachines {
    /// Machines in that folder, which take `boot` until they answer.
    pub fn new(root: &Path, boot: Duration) -> Self {
        Self { states: States::in_folder(root), boot, fault: Mutex::default() }
    }

    /// What is wrong with guests that are made from now on.
    pub fn made_with(&self, fault: Option<GuestFault>) {
        *self.fault.lock().unwrap() = fault;
    }

    /// What an agent that answers says.
    fn ask<T>(&self, uuid: Uuid, ask: impl FnOnce(&GuestState) -> Result<T, BackendError>) -> Result<T, BackendError> {
        match self.states.get(uuid) {
            Some(state) if state.answers() => ask(&state),
            Some(state) if state.answers_from.is_some() => Err(BackendError::NoAgent),
            _ => Err(BackendError::NotRunning(uuid)),
        }
    }

    fn off(&self, uuid: Uuid) {
        self.states.change(uuid, |state| {
            if let Some(state) = state {
                state.answers_from = None;
                for app in state.apps.values_mut() {
                    app.runs_with = None;
                }
            }
        });
    }
}

#[async_trait]
impl GuestBackend for StandInMachines {
    async fn create(&self, spec: &GuestSpec) -> Result<(), BackendError> {
        let fault = *self.fault.lock().unwrap();
        self.states.change(spec.uuid, |state| {
            state.get_or_insert_with(|| GuestState {
                uuid: spec.uuid,
                name: spec.name.clone(),
                host_key: key_of(&spec.uuid.to_string()),
                answers_from: None,
                copied: std::collections::BTreeSet::new(),
                system: None,
                unconfirmed: None,
                apps: std::collections::BTreeMap::new(),
                fault,
            });
        });
        Ok(())
    }

    async fn start(&self, spec: &GuestSpec) -> Result<(), BackendError> {
        self.create(spec).await?;
        let boot = u64::try_from(self.boot.as_millis()).unwrap_or(u64::MAX);
        self.states.change(spec.uuid, |state| {
            let Some(state) = state else { return };
            if state.answers_from.is_some() {
                return;
            }
            state.answers_from = Some(now_ms() + boot);
            for app in state.apps.values_mut().filter(|app| app.held && state.system.is_some()) {
                app.run();
            }
        });
        Ok(())
    }

    async fn shutdown(&self, uuid: Uuid, _: Duration) -> Result<bool, BackendError> {
        self.off(uuid);
        Ok(true)
    }

    async fn stop(&self, uuid: Uuid) -> Result<(), BackendError> {
        self.off(uuid);
        Ok(())
    }

    async fn destroy(&self, uuid: Uuid) -> Result<(), BackendError> {
        self.states.change(uuid, |state| *state = None);
        Ok(())
    }

    async fn is_running(&self, uuid: Uuid) -> bool {
        self.states.get(uuid).is_some_and(|state| state.answers_from.is_some())
    }

    async fn agent_ping(&self, uuid: Uuid) -> Result<(), BackendError> {
        self.ask(uuid, |_| Ok(()))
    }

    async fn read_file(&self, uuid: Uuid, path: &str, _: usize) -> Result<Vec<u8>, BackendError> {
        self.ask(uuid, |state| {
            if path == HOST_KEY {
                return Ok(format!("{} root@{}\n", state.host_key, state.name).into_bytes());
            }
            Err(BackendError::Guest(format!("failed to open file '{path}' (mode: 'r'): No such file or directory")))
        })
    }

    async fn write_file(&self, uuid: Uuid, _: &str, _: &[u8]) -> Result<(), BackendError> {
        self.ask(uuid, |_| Err(BackendError::Guest("a stand-in guest has no files".to_owned())))
    }

    async fn exec(&self, uuid: Uuid, _: &[String], _: &[u8]) -> Result<ExecOutput, BackendError> {
        self.ask(uuid, |_| Err(BackendError::Guest("a stand-in guest has no programs".to_owned())))
    }

    async fn interfaces(&self, uuid: Uuid) -> Result<Vec<Interface>, BackendError> {
        self.ask(uuid, |_| Ok(Vec::new()))
    }
}
