//! Making, copying and freeing disks: how long it takes, what it prints, where it runs out of space.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Kind, Origin, Volume, VolumeName, parse_volume_id, parse_volume_name, volume_key};
use crate::error::{ApiError, ApiResult};
use crate::sim::Sim;
use crate::state::State;
use crate::tasks::Worker;

/// Largest file on the usual file systems; a larger raw disk cannot be made.
const LARGEST_FILE: u64 = 1 << 44;
/// Format of a new disk that names none.
const DEFAULT_FORMAT: &str = "raw";
/// What a new qcow2 takes before anything is written to it.
const QCOW2_METADATA: u64 = 196 << 10;

/// Where a new disk goes.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) node: String,
    pub(crate) storage: String,
    pub(crate) vmid: u32,
    /// `None` = the storage's own.
    pub(crate) format: Option<String>,
    /// File name without folder; `None` = the next free one.
    pub(crate) name: Option<String>,
    /// Bytes.
    pub(crate) size: u64,
}

async fn lock_storage(worker: &Worker, storage: &str) -> ApiResult<crate::locks::Held> {
    let shared = worker.sim.read().storage(storage).is_some_and(|storage| storage.shared);
    let path = format!("/var/lock/pve-manager/pve-storage-{storage}");
    let limit = Duration::from_secs(10);
    let path = if shared { path } else { format!("{path}@{}", worker.node()) };
    worker.lock(&path, limit, false).await.map_err(|error| {
        if shared {
            ApiError::die(format!("cfs-lock 'storage-{storage}' error: got lock request timeout"))
        } else {
            let text = error.message.replace(&format!("@{}", worker.node()), "");
            ApiError::die(text)
        }
    })
}

fn free_name(state: &State, target: &Target, format: &str, with_suffix: bool) -> String {
    let suffix = if with_suffix { format!(".{format}") } else { String::new() };
    let taken = |name: &str| {
        state.volumes.values().any(|volume| {
            let file = volume.volid.rsplit(['/', ':']).next().unwrap_or_default();
            let stem = |text: &str| text.split('.').next().unwrap_or_default().to_owned();
            volume.storage == target.storage
                && volume.node == target.node
                && stem(file) == stem(name).replacen("base-", "vm-", 1)
        })
    };
    (0..=u32::MAX)
        .map(|number| format!("vm-{}-disk-{number}{suffix}", target.vmid))
        .find(|name| !taken(name) && !taken(&name.replacen("vm-", "base-", 1)))
        .unwrap_or_default()
}

/// What `qemu-img create` prints.
fn formatting(path: &str, format: &str, size: u64) -> String {
    if format == "qcow2" {
        format!(
            "Formatting '{path}', fmt=qcow2 cluster_size=65536 extended_l2=off preallocation=metadata \
             compression_type=zlib size={size} lazy_refcounts=off refcount_bits=16"
        )
    } else {
        format!("Formatting '{path}', fmt={format} size={size} preallocation=off")
    }
}

/// Makes an empty volume without lock or log: the part that is done while the lock is held.
pub(crate) fn make(sim: &Sim, target: &Target, log: impl FnOnce(String)) -> ApiResult<String> {
    let now = sim.clock.seconds();
    let mut state = sim.write();
    let storage = state.enabled_storage(&target.storage, &target.node)?.clone();
    let format = target.format.clone().unwrap_or_else(|| DEFAULT_FORMAT.to_owned());
    let on_files = storage.path.is_some();
    let name = target.name.clone().unwrap_or_else(|| free_name(&state, target, &format, on_files));
    let named = if on_files { format!("{}/{name}", target.vmid) } else { name.clone() };
    let volume_name = parse_volume_name(&storage, &named)?;
    let volid = format!("{}:{named}", storage.id);
    let path = storage.shown_path(&volume_name);
    if on_files && volume_name.format != format {
        return Err(ApiError::die(format!(
            "illegal name '{name}' - wrong extension for format ('{} != '{format}')",
            volume_name.format
        )));
    }
    let key = volume_key(&storage, &target.node, &volid);
    if state.volumes.contains_key(&key) {
        return Err(ApiError::die(format!("disk image '{path}' already exists")));
    }
    if on_files {
        log(formatting(&path, &format, target.size));
        if target.size > LARGEST_FILE {
            return Err(ApiError::die(format!(
                "unable to create image: qemu-img: {path}: The image size is too large for file format '{format}'"
            )));
        }
    } else {
        log(format!("  Logical volume \"{name}\" created."));
    }
    let used = if format == "qcow2" { QCOW2_METADATA } else { 0 };
    let needed = if storage.thin { used } else { target.size };
    if needed > state.available_bytes(&storage, &target.node) {
        let text = if on_files {
            format!("unable to create image: qemu-img: {path}: Could not write to file: No space left on device")
        } else {
            format!(
                "lvcreate '{}/{name}' error:   Volume group \"{}\" has insufficient free space.",
                storage.id, storage.id
            )
        };
        return Err(ApiError::die(text));
    }
    let volume = Volume {
        volid: volid.clone(),
        storage: storage.id.clone(),
        node: target.node.clone(),
        kind: Kind::Images,
        format,
        size: target.size,
        used,
        ctime: now,
        vmid: Some(target.vmid),
        parent: None,
        file: None,
        origin: None,
        booted: false,
        notes: None,
        protected: false,
    };
    state.volumes.insert(key, volume);
    Ok(volid)
}

/// Makes an empty volume in a worker, under the storage's lock.
pub(crate) async fn allocate(worker: &Worker, target: &Target) -> ApiResult<String> {
    {
        let state = worker.sim.read();
        state.enabled_storage(&target.storage, &target.node)?;
    }
    let _lock = lock_storage(worker, &target.storage).await?;
    // Logged afterwards: `make` holds the state, which the log is part of.
    let mut said = None;
    let made = make(&worker.sim, target, |line| said = Some(line));
    if let Some(line) = said {
        worker.log(line);
    }
    let volid = made?;
    if let Err(interrupted) = worker.sleep(Duration::from_millis(20)).await {
        // Its maker does not know of it yet.
        free(&worker.sim, worker.node(), &volid)?;
        return Err(interrupted);
    }
    Ok(volid)
}

/// Removes a volume; linked clones keep their base.
pub(crate) fn free(sim: &Sim, node: &str, volid: &str) -> ApiResult<()> {
    let mut state = sim.write();
    let Some((storage, name)) = parse_volume_id(volid) else { return Ok(()) };
    let storage = state.need_storage(storage)?.clone();
    let parsed = parse_volume_name(&storage, name)?;
    if parsed.is_base && is_base_in_use(&state, volid) {
        return Err(ApiError::die(format!("base volume '{volid}' is still in use by linked clones")));
    }
    if let Some(volume) = state.volumes.remove(&volume_key(&storage, node, volid))
        && let Some(file) = volume.file
        && let Err(error) = std::fs::remove_file(&file)
    {
        tracing::warn!("Failed to remove {}: {error}", file.display());
    }
    Ok(())
}

/// Whether linked clones stand on this volume.
pub(crate) fn is_base_in_use(state: &State, volid: &str) -> bool {
    let below = format!("{volid}/");
    state.volumes.keys().any(|key| key.contains(&below))
}

/// What a copy is from and how PVE names its file.
#[derive(Debug, Clone)]
pub(crate) struct Copy {
    /// Path in messages.
    pub(crate) from: String,
    pub(crate) from_format: String,
    pub(crate) virtual_size: u64,
    /// Bytes that are really moved.
    pub(crate) data: u64,
    pub(crate) origin: Option<Origin>,
}

/// Copies that run now, by the storage that they write to; they share its bandwidth.
#[derive(Debug, Default)]
pub(crate) struct Copies(Mutex<HashMap<String, usize>>);

impl Copies {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, place: String) -> Running<'_> {
        *self.lock().entry(place.clone()).or_default() += 1;
        Running { copies: self, place }
    }
}

struct Running<'a> {
    copies: &'a Copies,
    place: String,
}

impl Running<'_> {
    /// How many there are on this storage, this one included.
    fn sharers(&self) -> usize {
        self.copies.lock().get(&self.place).copied().unwrap_or(1)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut running = self.copies.lock();
        if let Some(count) = running.get_mut(&self.place) {
            *count -= 1;
            if *count == 0 {
                running.remove(&self.place);
            }
        }
    }
}

#[allow(clippy::cast_precision_loss)]
fn human(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", units[unit])
}

#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn progress(total: u64, step: u64, steps: u64) -> String {
    let share = step as f64 / steps as f64;
    let done = (total as f64 * share) as u64;
    format!("transferred {} of {} ({:.2}%)", human(done), human(total), share * 100.0)
}

/// Copies an image into a new volume: allocation, data, log. Returns the new volume; on failure it is left in
/// place for the caller to free (`made` names it).
pub(crate) async fn copy_volume(
    worker: &Worker,
    copy: &Copy,
    target: &Target,
    made: &mut Vec<String>,
) -> ApiResult<String> {
    let sim = &worker.sim;
    let target = Target { size: copy.virtual_size, ..target.clone() };
    let volid = allocate(worker, &target).await?;
    made.push(volid.clone());
    worker.log(format!("allocated target volume '{volid}'"));
    worker.point("disk-allocated").await;
    let (path, format, storage) = {
        let state = sim.read();
        let storage = state.need_storage(&target.storage)?.clone();
        let (_, name) = parse_volume_id(&volid).unwrap_or_default();
        let parsed: VolumeName = parse_volume_name(&storage, name)?;
        (storage.shown_path(&parsed), parsed.format, storage)
    };
    let command =
        format!("/usr/bin/qemu-img convert -p -n -f {} -O {format} {} zeroinit:{path}", copy.from_format, copy.from);
    let failed = |reason: &str| ApiError::die(format!("copy failed: command '{command}' failed: {reason}"));
    let interrupted = |_: ApiError| failed("received interrupt");
    worker.sleep(sim.tuning().import_delay).await.map_err(interrupted)?;
    let steps = (copy.data / (2 << 20)).clamp(1, 30);
    worker.log(progress(copy.virtual_size, 0, steps));
    // A storage that is not shared is another one on every node.
    let place = if storage.shared { storage.id.clone() } else { format!("{} {}", target.node, storage.id) };
    let running = sim.copies.begin(place);
    let before = sim.read().volume(&target.node, &volid).map_or(0, |volume| volume.used);
    for step in 1..=steps {
        let tuning = sim.tuning();
        let sharers = if tuning.shared_bandwidth { running.sharers() } else { 1 };
        let speed = (tuning.copy_bytes_per_second / sharers as u64).max(1);
        let nanos = u128::from(copy.data / steps) * 1_000_000_000 / u128::from(speed);
        let time = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        worker.sleep(time).await.map_err(interrupted)?;
        let written = copy.data * step / steps;
        let mut state = sim.write();
        let available = state.available_bytes(&storage, &target.node);
        let Some(volume) = state.volume_mut(&target.node, &volid) else {
            return Err(failed("exit code 1"));
        };
        let grown = (before.max(written)).saturating_sub(volume.used);
        if storage.thin && grown > available {
            let at = volume.used + available;
            volume.used = at;
            drop(state);
            worker.log(format!("qemu-img: error while writing at byte {at}: No space left on device"));
            return Err(failed("exit code 1"));
        }
        volume.used += grown;
        volume.origin.clone_from(&copy.origin);
        drop(state);
        worker.log(progress(copy.virtual_size, step, steps));
    }
    if steps == 30 {
        worker.log(progress(copy.virtual_size, 1, 1));
    }
    worker.point("disk-copied").await;
    Ok(volid)
}
