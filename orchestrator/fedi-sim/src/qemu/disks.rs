//! Making the disks that options ask for: blank, imported, cloud-init, or existing volumes.

use std::time::Duration;

use super::config::Config;
use super::drive::{Drive, is_drive};
use super::lock_path;
use crate::call::Call;
use crate::error::{ApiError, ApiResult};
use crate::storage::{
    Copy, Kind, Origin, Target, allocate, check_volume_access, copy_volume, free, inspect_untrusted, parse_volume_id,
    parse_volume_name, sha256_of,
};
use crate::tasks::Worker;

/// Size of a new cloud-init disk in bytes.
pub(super) const CLOUDINIT_SIZE: u64 = 4 << 20;
/// Size of the EFI variables in bytes.
const EFI_SIZE: u64 = 528 << 10;
/// Size of a TPM's state in bytes.
const TPM_SIZE: u64 = 4 << 20;

/// What making disks came to.
#[derive(Debug, Default)]
pub(super) struct Made {
    /// New volumes, to be freed if something fails later.
    pub(super) volumes: Vec<String>,
    /// Options as they go into the configuration.
    pub(super) options: Config,
}

/// The caller and the VM that disks are made for.
pub(super) struct DiskMaker<'a> {
    pub(super) call: &'a Call,
    pub(super) worker: &'a Worker,
    pub(super) vmid: u32,
    /// Options the VM has already, pending ones included.
    pub(super) existing: &'a Config,
    pub(super) default_storage: Option<&'a str>,
}

/// Removes volumes again.
pub(super) fn free_all(worker: &Worker, volumes: &[String]) {
    for volid in volumes {
        if let Err(error) = free(&worker.sim, worker.node(), volid) {
            worker.log(error.message.trim_end());
        }
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn gib_to_bytes(gib: f64) -> u64 {
    (gib * 1024.0 * 1024.0).ceil() as u64 * 1024
}

impl DiskMaker<'_> {
    /// Makes all disks of `settings`; on failure nothing is left.
    pub(super) async fn make(&self, settings: &Config) -> ApiResult<Made> {
        let mut made = Made::default();
        let result = self.make_each(settings, &mut made).await;
        if result.is_err() {
            free_all(self.worker, &made.volumes);
        }
        result.map(|()| made)
    }

    async fn make_each(&self, settings: &Config, made: &mut Made) -> ApiResult<()> {
        for (option, value) in settings.iter().filter(|(option, _)| is_drive(option)) {
            let Some(drive) = Drive::given(&self.call.sim, option, value) else { continue };
            let name = parse_volume_id(&drive.file).map(|(_, name)| name.to_owned());
            let printed = if drive.file == "none" || drive.file == "cdrom" {
                let mut drive = drive;
                drive.options.remove("size");
                drive.print()
            } else if name.as_deref() == Some("cloudinit") || drive.file == "cloudinit" {
                self.cloudinit(option, drive, settings, made).await?
            } else if drive.new_disk().is_some() {
                self.new_disk(option, drive, made).await?
            } else {
                self.existing(option, drive, settings, made)?
            };
            made.options.insert(option.clone(), printed);
        }
        Ok(())
    }

    fn no_second_cloudinit(&self, option: &str, settings: &Config, made: &Made) -> ApiResult<()> {
        let attached = self.existing.iter().chain(settings).chain(&made.options).find(|(name, value)| {
            *name != option && is_drive(name) && {
                let drive = Drive::stored(value);
                drive.is_cloudinit()
            }
        });
        match attached {
            Some((other, _)) => {
                Err(ApiError::die(format!("{option} - cloud-init drive is already attached at '{other}'")))
            }
            None => Ok(()),
        }
    }

    async fn cloudinit(&self, option: &str, mut drive: Drive, settings: &Config, made: &mut Made) -> ApiResult<String> {
        let storage = parse_volume_id(&drive.file).map(|(storage, _)| storage.to_owned());
        let storage = storage
            .or_else(|| self.default_storage.map(str::to_owned))
            .ok_or_else(|| ApiError::die("no storage ID specified (and no default storage)"))?;
        self.no_second_cloudinit(option, settings, made)?;
        let on_files = self.call.sim.read().need_storage(&storage)?.path.is_some();
        let format = drive.options.remove("format");
        let format = format.unwrap_or_else(|| if on_files { "qcow2" } else { "raw" }.to_owned());
        let suffix = if on_files { format!(".{format}") } else { String::new() };
        let target = Target {
            node: self.worker.node().to_owned(),
            storage,
            vmid: self.vmid,
            format: Some(format),
            name: Some(format!("vm-{}-cloudinit{suffix}", self.vmid)),
            size: CLOUDINIT_SIZE,
        };
        drive.file = allocate(self.worker, &target).await?;
        made.volumes.push(drive.file.clone());
        drive.options.insert("media".to_owned(), "cdrom".to_owned());
        drive.options.remove("size");
        let printed = drive.print();
        self.worker.log(format!("{option}: successfully created disk '{printed}'"));
        Ok(printed)
    }

    async fn new_disk(&self, option: &str, mut drive: Drive, made: &mut Made) -> ApiResult<String> {
        let new = drive.new_disk().unwrap_or(super::drive::NewDisk { storage: None, gib: 0.0 });
        let storage = new.storage.or_else(|| self.default_storage.map(str::to_owned));
        let storage = storage.ok_or_else(|| ApiError::die("no storage ID specified (and no default storage)"))?;
        let mut target = Target {
            node: self.worker.node().to_owned(),
            storage,
            vmid: self.vmid,
            format: drive.options.remove("format"),
            name: None,
            size: gib_to_bytes(new.gib),
        };
        let source = drive.options.remove("import-from");
        match (option, &source) {
            (_, Some(source)) => {
                drive.file = self.import(source, &target, made).await?;
            }
            ("efidisk0", None) => {
                if !self.call.sim.tuning().has_ovmf {
                    return Err(ApiError::die(
                        "EFI base image '/usr/share/pve-edk2-firmware//OVMF_CODE_4M.fd' not found",
                    ));
                }
                target.size = EFI_SIZE;
                drive.file = allocate(self.worker, &target).await?;
                made.volumes.push(drive.file.clone());
            }
            _ => {
                if option == "tpmstate0" {
                    target.size = TPM_SIZE;
                }
                drive.file = allocate(self.worker, &target).await?;
                made.volumes.push(drive.file.clone());
            }
        }
        let size = {
            let state = self.call.sim.read();
            state.volume(&target.node, &drive.file).map_or(target.size, |volume| volume.size)
        };
        drive.set_size(size);
        let printed = drive.print();
        self.worker.log(format!("{option}: successfully created disk '{printed}'"));
        Ok(printed)
    }

    async fn import(&self, source: &str, target: &Target, made: &mut Made) -> ApiResult<String> {
        let sim = &self.call.sim;
        let Some((storage, name)) = parse_volume_id(source) else {
            return Err(ApiError::die(format!("failed to stat '{source}'")));
        };
        let (shown, parsed, volume, on_files) = {
            let state = sim.read();
            let storage = state.need_storage(storage)?;
            let parsed = parse_volume_name(storage, name)?;
            let on_files = state.need_storage(&target.storage)?.path.is_some();
            (storage.shown_path(&parsed), parsed, state.volume(&target.node, source).cloned(), on_files)
        };
        let missing = || ApiError::die(format!("failed to stat '{shown}'"));
        let volume = volume.ok_or_else(missing)?;
        let mut copy = Copy {
            from: shown.clone(),
            from_format: parsed.format.clone(),
            virtual_size: volume.size,
            data: volume.used,
            origin: volume.origin.clone(),
        };
        if let (Kind::Import, Some(file)) = (parsed.kind, &volume.file) {
            let info = inspect_untrusted(file, &shown, &parsed.format, |line| self.worker.log(line))?;
            copy.virtual_size = info.virtual_size;
            copy.data = info.data;
            copy.origin = origin(file).await;
        }
        let failed = |error: ApiError| error.prefixed(&format!("cannot import from '{source}' - "));
        let _lock = match parsed.vmid.filter(|owner| *owner != self.vmid) {
            Some(owner) => {
                let path = lock_path(owner);
                Some(self.worker.lock(&path, Duration::from_secs(30), true).await.map_err(failed)?)
            }
            None => None,
        };
        self.worker.log(format!("create full clone of drive ({source})"));
        let kept = on_files.then(|| parsed.format.clone()).filter(|format| format != "ova");
        let target = Target { format: target.format.clone().or(kept), ..target.clone() };
        copy_volume(self.worker, &copy, &target, &mut made.volumes).await.map_err(failed)
    }

    fn existing(&self, option: &str, mut drive: Drive, settings: &Config, made: &Made) -> ApiResult<String> {
        let state = self.call.sim.read();
        check_volume_access(self.call, &state, Some(self.vmid), &drive.file, None)?;
        if let Some((storage, name)) = parse_volume_id(&drive.file) {
            let volid = &drive.file;
            let volume = parse_volume_name(state.need_storage(storage)?, name)?;
            if !matches!(volume.kind, Kind::Images | Kind::Iso) {
                return Err(ApiError::die(format!(
                    "cannot use volume {volid} - content type needs to be 'images' or 'iso'"
                )));
            }
            if let Some(format) = drive.options.get("format").filter(|format| **format != volume.format) {
                return Err(ApiError::die(format!(
                    "drive '{option}' - volume '{volid}' - 'format={format}' option different from storage format '{}'",
                    volume.format
                )));
            }
        }
        if drive.is_cloudinit() {
            self.no_second_cloudinit(option, settings, made)?;
        }
        let size = match state.volume(self.worker.node(), &drive.file) {
            Some(volume) => volume.size,
            None => {
                return Err(ApiError::die(format!("volume '{}' does not exist", drive.file)));
            }
        };
        drive.set_size(size);
        Ok(drive.print())
    }
}

/// Name and hash of an image file, for backends that boot from it.
async fn origin(file: &std::path::Path) -> Option<Origin> {
    let path = file.to_owned();
    let hashed = {
        let path = path.clone();
        tokio::task::spawn_blocking(move || sha256_of(&path)).await
    };
    match hashed {
        Ok(Ok(sha256)) => Some(Origin { path, sha256 }),
        _ => None,
    }
}
