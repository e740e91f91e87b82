//! Storages and the images on them.

mod image;
mod upload;

pub use image::{ContentAddress, LocalImage};
pub use upload::UploadProgress;

use proxmox_schema::{Method, Upid};
use serde::Deserialize;

use crate::class::Missing;
use crate::client::Client;
use crate::error::{Error, absent};
use crate::lenient;
use crate::request::{Parameters, Request};

/// A storage, as one node sees it.
#[derive(Clone, Debug)]
pub struct Storage {
    pub(crate) client: Client,
    pub(crate) node: String,
    pub(crate) name: String,
}

/// `GET /nodes/{node}/storage/{storage}/content`
#[derive(Clone, Debug)]
pub struct ListContent<'a> {
    pub node: &'a str,
    pub storage: &'a str,
    /// Only this kind, such as `import` or `images`.
    pub content: Option<&'a str>,
}

/// A volume on a storage.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Volume {
    /// `local:import/fedi-….qcow2`
    #[serde(rename = "volid")]
    pub id: String,
    #[serde(default)]
    pub content: String,
    #[serde(default)]
    pub format: String,
    /// Bytes. For images to import, those of the file; for disks, those that the guest sees.
    #[serde(default, deserialize_with = "lenient::maybe_integer")]
    pub size: Option<u64>,
    /// Seconds since 1970.
    #[serde(rename = "ctime", default, deserialize_with = "lenient::maybe_integer")]
    pub created: Option<u64>,
    #[serde(default, deserialize_with = "lenient::maybe_integer")]
    pub vmid: Option<u32>,
}

impl Volume {
    /// The part after `storage:import/`.
    pub fn file_name(&self) -> &str {
        self.id.rsplit(['/', ':']).next().unwrap_or(&self.id)
    }
}

impl Request for ListContent<'_> {
    const METHOD: Method = Method::Get;
    type Answer = Vec<Volume>;

    fn template(&self) -> &'static str {
        "/nodes/{node}/storage/{storage}/content"
    }

    fn placeholders(&self) -> Vec<String> {
        vec![self.node.to_owned(), self.storage.to_owned()]
    }

    fn parameters(&self) -> Parameters {
        Parameters::new().with_some("content", self.content)
    }
}

/// `GET /nodes/{node}/storage/{storage}/content/{volume}`
#[derive(Clone, Debug)]
pub struct GetVolume<'a> {
    pub node: &'a str,
    pub storage: &'a str,
    pub volume: &'a str,
}

/// What is inside a volume.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct VolumeInfo {
    #[serde(default)]
    pub format: String,
    /// Bytes that a guest would see.
    #[serde(deserialize_with = "lenient::integer")]
    pub size: u64,
    /// Bytes that are used on the storage.
    #[serde(default, deserialize_with = "lenient::maybe_integer")]
    pub used: Option<u64>,
}

impl Request for GetVolume<'_> {
    const METHOD: Method = Method::Get;
    type Answer = VolumeInfo;

    fn template(&self) -> &'static str {
        "/nodes/{node}/storage/{storage}/content/{volume}"
    }

    fn placeholders(&self) -> Vec<String> {
        vec![self.node.to_owned(), self.storage.to_owned(), self.volume.to_owned()]
    }
}

/// `DELETE /nodes/{node}/storage/{storage}/content/{volume}`
#[derive(Clone, Debug)]
pub struct DeleteVolume<'a> {
    pub node: &'a str,
    pub storage: &'a str,
    pub volume: &'a str,
}

impl Request for DeleteVolume<'_> {
    const METHOD: Method = Method::Delete;
    type Answer = Option<Upid>;

    fn template(&self) -> &'static str {
        "/nodes/{node}/storage/{storage}/content/{volume}"
    }

    fn placeholders(&self) -> Vec<String> {
        vec![self.node.to_owned(), self.storage.to_owned(), self.volume.to_owned()]
    }
}

/// `POST /nodes/{node}/storage/{storage}/download-url`
///
/// Proxmox does nothing, successfully, if a file of this name and digest is there already.
#[derive(Clone, Debug)]
pub struct DownloadImage<'a> {
    pub node: &'a str,
    pub storage: &'a str,
    pub url: &'a str,
    pub file_name: &'a str,
    /// In hexadecimal digits.
    pub sha256: &'a str,
}

impl Request for DownloadImage<'_> {
    const METHOD: Method = Method::Post;
    type Answer = Upid;

    fn template(&self) -> &'static str {
        "/nodes/{node}/storage/{storage}/download-url"
    }

    fn placeholders(&self) -> Vec<String> {
        vec![self.node.to_owned(), self.storage.to_owned()]
    }

    fn parameters(&self) -> Parameters {
        Parameters::new()
            .with("content", "import")
            .with("url", self.url)
            .with("filename", self.file_name)
            .with("checksum", self.sha256)
            .with("checksum-algorithm", "sha256")
            .with("verify-certificates", true)
    }
}

impl Storage {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The id of an image to import: `local:import/NAME`.
    pub fn import_volume(&self, file_name: &str) -> String {
        format!("{}:import/{file_name}", self.name)
    }

    /// The images that VMs can be made from.
    pub async fn images(&self) -> Result<Vec<Volume>, Error> {
        self.content(Some("import")).await
    }

    pub async fn content(&self, content: Option<&str>) -> Result<Vec<Volume>, Error> {
        self.client.send(&ListContent { node: &self.node, storage: &self.name, content }).await
    }

    /// The image of this name, if it is there whole. Uploads and downloads are moved into place when done.
    pub async fn image(&self, file_name: &str) -> Result<Option<Volume>, Error> {
        let images = self.images().await?;
        Ok(images.into_iter().find(|volume| volume.file_name() == file_name))
    }

    /// What is inside a volume; for an image, how large its disk will be.
    pub async fn volume(&self, volume: &str) -> Result<Option<VolumeInfo>, Error> {
        let request = GetVolume { node: &self.node, storage: &self.name, volume };
        absent(self.client.send(&request).await, Missing::Volume)
    }

    /// Has the node fetch an image. Needs `Datastore.AllocateTemplate` on the storage, and `Sys.AccessNetwork` on
    /// the node.
    pub async fn download(&self, url: &str, file_name: &str, sha256: &str) -> Result<Upid, Error> {
        let request = DownloadImage { node: &self.node, storage: &self.name, url, file_name, sha256 };
        self.client.send(&request).await
    }

    /// Deletes an image; one that is not there is deleted too. Needs `Datastore.Allocate` on the storage. It also
    /// deletes the disk of a VM without a word, so that only images are taken here.
    pub async fn delete_image(&self, file_name: &str) -> Result<Option<Upid>, Error> {
        let volume = self.import_volume(file_name);
        self.client.send(&DeleteVolume { node: &self.node, storage: &self.name, volume: &volume }).await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_volume_is_read() {
        let value = json!({"volid": "local:import/a.qcow2", "content": "import", "format": "qcow2", "size": "196616", "ctime": 1});
        let volume: Volume = serde_json::from_value(value).unwrap();
        assert_eq!(volume.file_name(), "a.qcow2");
        assert_eq!(volume.size, Some(196_616));
    }
}
