//! The simulator's heart: state, clock, locks, workers, faults and the backend, shared by all connections.

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use proxmox_schema::{Method, PveVersion, Schema};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use uuid::Uuid;

use crate::backend::GuestBackend;
use crate::clock::Clock;
use crate::faults::Faults;
use crate::http::{Limits, ServerIdentity};
use crate::locks::Locks;
use crate::state::State;
use crate::storage::Copies;
use crate::tasks::Workers;
use crate::traffic::Traffic;
use crate::version::Version;

/// How long things take and how large the machine is.
#[derive(Debug, Clone)]
pub struct Tuning {
    /// Bytes a second that one import or clone copies from storage to storage.
    pub copy_bytes_per_second: u64,
    /// Imports that share that bandwidth on one storage do so evenly when this is set.
    pub shared_bandwidth: bool,
    /// Added to every import, for tests that need to act during one.
    pub import_delay: Duration,
    /// From the start of `qmstart` to its end.
    pub start_delay: Duration,
    /// Any other worker's own time.
    pub task_delay: Duration,
    /// Age of the figures in `/cluster/resources` at most; zero = they are always fresh.
    pub broadcast_interval: Duration,
    /// Finished tasks kept in the index of each node.
    pub task_retention: usize,
    /// Version of QEMU that `meta` names.
    pub qemu_version: String,
    /// The nodes have KVM.
    pub has_kvm: bool,
    /// PVE's own OVMF firmware images are installed.
    pub has_ovmf: bool,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            copy_bytes_per_second: 500 << 20,
            shared_bandwidth: true,
            import_delay: Duration::ZERO,
            start_delay: Duration::from_millis(600),
            task_delay: Duration::from_millis(20),
            broadcast_interval: Duration::from_secs(10),
            task_retention: 1000,
            qemu_version: "10.0.2".to_owned(),
            has_kvm: true,
            has_ovmf: true,
        }
    }
}

pub(crate) struct Sim {
    pub(crate) version: Version,
    pub(crate) schema: &'static Schema,
    pub(crate) clock: Clock,
    pub(crate) tuning: Mutex<Tuning>,
    pub(crate) backend: Arc<dyn GuestBackend>,
    pub(crate) locks: Locks,
    pub(crate) workers: Workers,
    /// Copies that share the bandwidth of a storage.
    pub(crate) copies: Copies,
    pub(crate) faults: Faults,
    pub(crate) traffic: Traffic,
    pub(crate) limits: Limits,
    pub(crate) identity: ServerIdentity,
    /// Where files of the storages and uploads live.
    pub(crate) directory: PathBuf,
    pub(crate) persistent: bool,
    pub(crate) agent: Mutex<HashMap<(Uuid, u32), crate::qemu::AgentProcess>>,
    pub(crate) stopped: AtomicBool,
    pub(crate) state: Mutex<State>,
    pub(crate) random: Mutex<StdRng>,
}

impl Sim {
    pub(crate) fn schema_for(version: Version) -> &'static Schema {
        let known = version.release().parse().unwrap_or(PveVersion::FLOOR);
        Schema::for_version(known)
    }

    /// Looks at the state.
    pub(crate) fn read(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state; it is saved when the guard goes, where the simulator has a directory of its own.
    pub(crate) fn write(&self) -> Changing<'_> {
        Changing { sim: self, state: self.read() }
    }

    pub(crate) fn tuning(&self) -> Tuning {
        self.tuning.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn seeded(seed: u64) -> Mutex<StdRng> {
        Mutex::new(StdRng::seed_from_u64(seed))
    }

    pub(crate) fn random_bytes<const N: usize>(&self) -> [u8; N] {
        self.random.lock().unwrap_or_else(PoisonError::into_inner).random()
    }

    pub(crate) fn random_uuid(&self) -> Uuid {
        uuid::Builder::from_random_bytes(self.random_bytes()).into_uuid()
    }

    /// A MAC address below PVE's prefix `BC:24:11`.
    pub(crate) fn random_mac(&self) -> String {
        let [a, b, c] = self.random_bytes::<3>();
        format!("BC:24:11:{a:02X}:{b:02X}:{c:02X}")
    }

    /// The property format of a VM option such as `scsi0`.
    pub(crate) fn option_format(&self, option: &str) -> Option<&'static proxmox_schema::PropertyFormat> {
        let endpoint = self.schema.endpoint(Method::Post, "/nodes/{node}/qemu")?;
        endpoint.parameters.get(option)?.property_format()
    }

    /// Whether a VM configuration can have this option.
    pub(crate) fn option_exists(&self, option: &str) -> bool {
        self.schema
            .endpoint(Method::Put, "/nodes/{node}/qemu/{vmid}/config")
            .is_some_and(|endpoint| endpoint.parameters.contains_key(option))
            && !matches!(option, "delete" | "digest" | "force" | "revert" | "skiplock" | "node" | "vmid" | "cdrom")
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn save(&self, state: &State) {
        if !self.persistent {
            return;
        }
        if let Err(error) = crate::persist::save(&self.directory, state) {
            tracing::error!("Failed to save the simulator's state: {error}");
        }
    }
}

/// The state while it is being changed.
pub(crate) struct Changing<'a> {
    sim: &'a Sim,
    state: MutexGuard<'a, State>,
}

impl Deref for Changing<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for Changing<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        self.sim.save(&self.state);
    }
}
