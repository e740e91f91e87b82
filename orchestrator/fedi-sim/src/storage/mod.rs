//! Storages and their volumes: what fits, what it is called, what a file really is.
//!
//! Files that matter as bytes (images to import) are real files below the simulator's directory; disks of VMs
//! exist as records with a size.

mod content;
mod copy;
mod download;
mod image;
mod info;
mod name;
mod upload;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub(crate) use content::{content_alloc, content_attributes, content_copy, content_delete, content_info, content_list};
pub(crate) use copy::{Copies, Copy, Target, allocate, copy_volume, free, is_base_in_use};
pub(crate) use download::download_url;
pub use image::empty_qcow2;
pub(crate) use image::{inspect_untrusted, qcow2_header, sha256_of};
pub(crate) use info::{node_storages, storage_config, storage_index, storage_read, storage_status};
pub(crate) use name::{Kind, VolumeName, check_volume_access, parse_volume_id, parse_volume_name};
pub(crate) use upload::upload;

use crate::error::{ApiError, ApiResult};
use crate::state::State;

/// A storage as `storage.cfg` has it, with the size of what is behind it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StorageConfig {
    pub(crate) id: String,
    /// `dir`, `nfs`, `lvmthin`, `lvm`, `zfspool`, `rbd` ...
    pub(crate) kind: String,
    /// Mount point of a file storage.
    pub(crate) path: Option<String>,
    /// `images`, `import`, `iso` ...
    pub(crate) content: Vec<String>,
    pub(crate) disabled: bool,
    pub(crate) shared: bool,
    /// Empty = all nodes.
    pub(crate) nodes: Vec<String>,
    /// Bytes.
    pub(crate) total: u64,
    /// Bytes that other things use.
    pub(crate) occupied: u64,
    /// Space is taken when data is written, not when a disk is made.
    pub(crate) thin: bool,
}

impl StorageConfig {
    pub(crate) fn holds(&self, content: &str) -> bool {
        self.content.iter().any(|kind| kind == content)
    }

    pub(crate) fn is_on(&self, node: &str) -> bool {
        self.nodes.is_empty() || self.nodes.iter().any(|name| name == node)
    }

    /// Path of a volume as PVE names it.
    pub(crate) fn shown_path(&self, volume: &VolumeName) -> String {
        match &self.path {
            None => format!("/dev/{}/{}", self.id, volume.file),
            Some(path) => match volume.kind {
                Kind::Images => format!("{path}/images/{}/{}", volume.vmid.unwrap_or(0), volume.file),
                Kind::Import => format!("{path}/import/{}", volume.file),
                Kind::Iso => format!("{path}/template/iso/{}", volume.file),
                Kind::Template => format!("{path}/template/cache/{}", volume.file),
                Kind::Backup => format!("{path}/dump/{}", volume.file),
                Kind::Snippets => format!("{path}/snippets/{}", volume.file),
            },
        }
    }
}

/// Where the bytes of a disk come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    pub(crate) path: PathBuf,
    pub(crate) sha256: String,
}

/// A volume on a storage.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Volume {
    pub(crate) volid: String,
    pub(crate) storage: String,
    pub(crate) node: String,
    pub(crate) kind: Kind,
    pub(crate) format: String,
    /// Virtual size of a disk, length of a file; bytes.
    pub(crate) size: u64,
    /// Bytes it takes on the storage.
    pub(crate) used: u64,
    pub(crate) ctime: u64,
    pub(crate) vmid: Option<u32>,
    pub(crate) parent: Option<String>,
    /// The real file, for everything that is not a disk.
    pub(crate) file: Option<PathBuf>,
    pub(crate) origin: Option<Origin>,
    /// The guest has booted from it with the cloud-init data it has now.
    #[serde(default)]
    pub(crate) booted: bool,
    pub(crate) notes: Option<String>,
    pub(crate) protected: bool,
}

/// Key of a volume in the state: local storages have the same names on every node.
pub(crate) fn volume_key(storage: &StorageConfig, node: &str, volid: &str) -> String {
    if storage.shared { volid.to_owned() } else { format!("{node}/{volid}") }
}

impl State {
    pub(crate) fn volume(&self, node: &str, volid: &str) -> Option<&Volume> {
        let (storage, _) = parse_volume_id(volid)?;
        self.volumes.get(&volume_key(self.storage(storage)?, node, volid))
    }

    pub(crate) fn volume_mut(&mut self, node: &str, volid: &str) -> Option<&mut Volume> {
        let (storage, _) = parse_volume_id(volid)?;
        let key = volume_key(self.storage(storage)?, node, volid);
        self.volumes.get_mut(&key)
    }

    /// A storage that exists and is enabled here.
    pub(crate) fn enabled_storage(&self, id: &str, node: &str) -> ApiResult<&StorageConfig> {
        let storage = self.need_storage(id)?;
        if storage.disabled {
            return Err(ApiError::die(format!("storage '{id}' is disabled")));
        }
        if !storage.is_on(node) {
            return Err(ApiError::die(format!("storage '{id}' is not available on node '{node}'")));
        }
        Ok(storage)
    }

    /// Bytes in use on a storage as a node sees it.
    pub(crate) fn used_bytes(&self, storage: &StorageConfig, node: &str) -> u64 {
        let volumes = self
            .volumes
            .values()
            .filter(|volume| volume.storage == storage.id && (storage.shared || volume.node == node))
            .map(|volume| if storage.thin { volume.used } else { volume.used.max(volume.size) });
        storage.occupied + volumes.sum::<u64>()
    }

    pub(crate) fn available_bytes(&self, storage: &StorageConfig, node: &str) -> u64 {
        storage.total.saturating_sub(self.used_bytes(storage, node))
    }
}
