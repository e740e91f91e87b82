//! Names of volumes, and who may use them.

use serde::{Deserialize, Serialize};

use super::StorageConfig;
use crate::access::Path;
use crate::call::Call;
use crate::error::{ApiError, ApiResult};
use crate::state::State;

/// What a volume is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Images,
    Import,
    Iso,
    #[serde(rename = "vztmpl")]
    Template,
    Backup,
    Snippets,
}

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Images => "images",
            Self::Import => "import",
            Self::Iso => "iso",
            Self::Template => "vztmpl",
            Self::Backup => "backup",
            Self::Snippets => "snippets",
        }
    }
}

/// The part of a volume id after the storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VolumeName {
    pub(crate) kind: Kind,
    /// File or device name.
    pub(crate) file: String,
    pub(crate) vmid: Option<u32>,
    pub(crate) format: String,
    pub(crate) is_base: bool,
    /// `BASEVMID/BASENAME` of a linked clone.
    pub(crate) base: Option<String>,
}

/// Splits `storage:name`.
pub(crate) fn parse_volume_id(volid: &str) -> Option<(&str, &str)> {
    let (storage, name) = volid.split_once(':')?;
    let well_formed = storage.len() >= 2
        && storage.starts_with(|c: char| c.is_ascii_alphabetic())
        && storage.ends_with(|c: char| c.is_ascii_alphanumeric())
        && storage.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    (well_formed && !name.is_empty()).then_some((storage, name))
}

fn extension(file: &str) -> Option<&str> {
    file.rsplit_once('.').map(|(_, extension)| extension)
}

fn disk(vmid: &str, file: &str, base: Option<String>) -> Option<VolumeName> {
    if vmid.is_empty() || !vmid.bytes().all(|byte| byte.is_ascii_digit()) || file.contains(char::is_whitespace) {
        return None;
    }
    let format = extension(file).filter(|format| matches!(*format, "raw" | "qcow2" | "vmdk" | "subvol"))?;
    Some(VolumeName {
        kind: Kind::Images,
        file: file.to_owned(),
        vmid: vmid.parse().ok(),
        format: format.to_owned(),
        is_base: file.starts_with("base-"),
        base,
    })
}

fn file_volume(name: &str) -> Option<VolumeName> {
    let parts: Vec<&str> = name.split('/').collect();
    let plain = |kind: Kind, file: &str, format: &str| VolumeName {
        kind,
        file: file.to_owned(),
        vmid: None,
        format: format.to_owned(),
        is_base: false,
        base: None,
    };
    match parts.as_slice() {
        ["iso", file] if matches!(extension(file), Some("iso" | "img")) => Some(plain(Kind::Iso, file, "raw")),
        ["vztmpl", file] if file.contains(".tar") => Some(plain(Kind::Template, file, "raw")),
        ["backup", file] if [".tgz", ".tar", ".vma"].iter().any(|part| file.contains(part)) => {
            let vmid = file.strip_prefix("vzdump-qemu-").and_then(|rest| rest.split('-').next()?.parse().ok());
            Some(VolumeName { vmid, ..plain(Kind::Backup, file, "raw") })
        }
        ["snippets", file] if !file.is_empty() => Some(plain(Kind::Snippets, file, "raw")),
        ["import", file] => {
            let format = extension(file).filter(|f| matches!(*f, "ova" | "ovf" | "qcow2" | "raw" | "vmdk"))?;
            Some(plain(Kind::Import, file, format))
        }
        [base_vmid, base_file, vmid, file] => {
            disk(base_vmid, base_file, None)?;
            disk(vmid, file, Some(format!("{base_vmid}/{base_file}")))
        }
        [vmid, file] => disk(vmid, file, None),
        _ => None,
    }
}

fn block_volume(name: &str) -> Option<VolumeName> {
    let (base, file) = name.split_once('/').map_or((None, name), |(base, file)| (Some(base.to_owned()), file));
    let rest = file.strip_prefix("vm-").or_else(|| file.strip_prefix("base-"))?;
    let (vmid, _) = rest.split_once('-')?;
    Some(VolumeName {
        kind: Kind::Images,
        file: file.to_owned(),
        vmid: Some(vmid.parse().ok()?),
        format: "raw".to_owned(),
        is_base: file.starts_with("base-"),
        base,
    })
}

/// Reads a volume name as the storage's plugin does.
pub(crate) fn parse_volume_name(storage: &StorageConfig, name: &str) -> ApiResult<VolumeName> {
    if storage.path.is_some() {
        return file_volume(name)
            .ok_or_else(|| ApiError::die(format!("unable to parse directory volume name '{name}'")));
    }
    let kind = match storage.kind.as_str() {
        "lvmthin" | "lvm" => "lvm",
        "zfspool" => "zfs",
        other => other,
    };
    block_volume(name).ok_or_else(|| ApiError::die(format!("unable to parse {kind} volume name '{name}'")))
}

/// Whether the caller may read a volume, or attach it to VM `vmid`.
pub(crate) fn check_volume_access(
    call: &Call,
    state: &State,
    vmid: Option<u32>,
    volid: &str,
    wanted: Option<Kind>,
) -> ApiResult<()> {
    let Some((storage, name)) = parse_volume_id(volid) else {
        if call.is_root() {
            return Ok(());
        }
        let line = if call.sim.version.major() >= 9 { 651 } else { 581 };
        return Err(ApiError::die(format!(
            "Only root can pass arbitrary filesystem paths. at /usr/share/perl5/PVE/Storage.pm line {line}."
        )));
    };
    let volume = parse_volume_name(state.need_storage(storage)?, name)?;
    if let Some(wanted) = wanted.filter(|wanted| *wanted != volume.kind) {
        let wanted = wanted.as_str();
        return Err(ApiError::die(format!("unable to use volume {volid} - content type needs to be '{wanted}'")));
    }
    let path = Path::storage(storage);
    if call.allows(state, &path, &["Datastore.Allocate"]) {
        return Ok(());
    }
    match (volume.kind, volume.vmid) {
        (Kind::Iso | Kind::Template | Kind::Import, _) => {
            call.require_any(state, &path, &["Datastore.AllocateSpace", "Datastore.Audit"])
        }
        (_, Some(owner)) if Some(owner) == vmid => Ok(()),
        (Kind::Backup, Some(owner)) => {
            call.require(state, &path, &["Datastore.AllocateSpace"])?;
            call.require(state, &Path::vm(owner), &["VM.Backup"])
        }
        (Kind::Images, Some(owner)) => {
            call.require(state, &path, &["Datastore.Audit"])?;
            call.require(state, &Path::vm(owner), &["VM.Config.Disk"])
        }
        _ => Err(ApiError::die(format!("missing privileges to access {volid}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directory_names_are_read() {
        let volume = file_volume("107/base-107-disk-0.qcow2/135/vm-135-disk-0.qcow2").unwrap();
        assert_eq!((volume.vmid, volume.base.as_deref()), (Some(135), Some("107/base-107-disk-0.qcow2")));
        assert_eq!(file_volume("import/x.qcow2").unwrap().kind, Kind::Import);
        for bad in ["1", "-1", "foo/none.qcow2", "import/x.txt", "100/x"] {
            assert_eq!(file_volume(bad), None, "{bad}");
        }
    }

    #[test]
    fn block_devices_have_no_folder() {
        assert_eq!(block_volume("vm-100-disk-0").unwrap().vmid, Some(100));
        assert_eq!(block_volume("100/x"), None);
    }
}
