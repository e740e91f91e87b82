//! Guest images on the host's image storage, named by their content.

use std::path::Path;
use std::time::Duration;

use fedi_engine::drivers::{DriverError, DriverErrorKind, StepContext, StoredImage};
use fedi_model::resource::Image;
use proxmox_api::{Class, ContentAddress, LocalImage, UploadProgress, Wait};

use super::ProxmoxHost;

/// Every image of ours begins with this.
const PREFIX: &str = "fedi-guest-";

/// Moving an upload into place copies it once on the node.
const IN_PLACE: Duration = Duration::from_secs(15 * 60);

/// A download may be slow.
const DOWNLOAD: Duration = Duration::from_secs(60 * 60);

impl ProxmoxHost {
    /// The image, as the storage was a moment ago.
    pub(super) async fn find_image(&self, image: &Image) -> Result<Option<Image>, DriverError> {
        let storage = self.image_storage();
        let volumes = self.images.get(self.clock.as_ref(), storage.images()).await;
        let volumes =
            volumes.map_err(|error| self.fault(&error, format!("Failed to look for images on `{}`", self.name)))?;
        let found = volumes.iter().find(|volume| volume.file_name() == image.file);
        Ok(found.map(|volume| Image { bytes: volume.size.or(image.bytes), ..image.clone() }))
    }

    pub(super) async fn stored_images(&self) -> Result<Vec<StoredImage>, DriverError> {
        let volumes = self.image_storage().images().await;
        let volumes =
            volumes.map_err(|error| self.fault(&error, format!("Failed to list the images on `{}`", self.name)))?;
        let ours = volumes.iter().filter(|volume| volume.file_name().starts_with(PREFIX));
        Ok(ours
            .map(|volume| StoredImage { file: volume.file_name().to_owned(), bytes: volume.size.unwrap_or(0) })
            .collect())
    }

    /// Uploads are moved into place whole, so what has the name has the content.
    pub(super) async fn bring_image(&self, image: &Image, cx: &dyn StepContext) -> Result<Image, DriverError> {
        self.images.forget().await;
        if let Some(found) = self.find_image(image).await? {
            return Ok(found);
        }
        self.images.forget().await;
        if image.source.starts_with("https://") {
            self.download(image, cx).await?;
        } else {
            self.upload(image, cx).await?;
        }
        self.images.forget().await;
        self.find_image(image).await?.ok_or_else(|| {
            DriverError::new(
                DriverErrorKind::Failed,
                format!("The image `{}` did not arrive on `{}`", image.file, self.name),
            )
        })
    }

    async fn upload(&self, image: &Image, cx: &dyn StepContext) -> Result<(), DriverError> {
        let what = || format!("Failed to upload the image `{}` to `{}`", image.file, self.name);
        let path = Path::new(&image.source);
        let size = tokio::fs::metadata(path).await.map_err(|error| {
            DriverError::new(DriverErrorKind::Invalid, what()).cause(format!("`{}`", path.display())).because(&error)
        })?;
        let address = ContentAddress::new(&image.sha256)
            .ok_or_else(|| DriverError::new(DriverErrorKind::Invalid, what()).cause("Its digest is no SHA-256"))?;
        let local = LocalImage { path: path.to_owned(), address, size: size.len() };
        let progress = UploadProgress::new();
        let storage = self.image_storage();
        let upload = storage.upload(&local, &image.file, &progress);
        let watch = async {
            loop {
                cx.progress("uploading the image", Some(progress.sent()), Some(local.size));
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
        };
        let upid = tokio::select! {
            upid = upload => upid,
            () = watch => return Ok(()),
            () = cx.interrupted() => {
                return Err(DriverError::new(DriverErrorKind::Interrupted, "Stopped while uploading the image"));
            }
        };
        let upid = upid.map_err(|error| self.fault(&error, what()))?;
        cx.progress("checking the image", None, None);
        let wait = Wait::up_to(IN_PLACE);
        match self.wait_for(&upid, &wait, cx).await? {
            Ok(_) => Ok(()),
            Err(error) if *error.class() == Class::Checksum => Err(self.fault(&error, what()).hint(format!(
                "`{}` changed while it was sent, or was damaged on its way; run it again",
                path.display()
            ))),
            Err(error) => Err(self.fault(&error, what())),
        }
    }

    async fn download(&self, image: &Image, cx: &dyn StepContext) -> Result<(), DriverError> {
        let what = || format!("Failed to have `{}` fetch the image `{}`", self.name, image.file);
        let upid = self.image_storage().download(&image.source, &image.file, &image.sha256).await;
        let upid = upid.map_err(|error| self.fault(&error, what()))?;
        cx.progress("the host fetches the image", None, None);
        match self.wait_for(&upid, &Wait::up_to(DOWNLOAD), cx).await? {
            Ok(_) => Ok(()),
            Err(error) if *error.class() == Class::Checksum => Err(self
                .fault(&error, what())
                .hint("`image.sha256` in host.toml is not the digest of what the URL gives")),
            Err(error) => Err(self.fault(&error, what())),
        }
    }

    pub(super) async fn delete_image(&self, image: &Image) -> Result<(), DriverError> {
        let what = || format!("Failed to delete the image `{}` from `{}`", image.file, self.name);
        if !image.file.starts_with(PREFIX) {
            return Err(DriverError::new(DriverErrorKind::Foreign, what()).cause("It is none of fedi's"));
        }
        self.images.forget().await;
        let upid = self.image_storage().delete_image(&image.file).await.map_err(|error| self.fault(&error, what()))?;
        if let Some(upid) = upid {
            self.client.wait(&upid, &Wait::up_to(IN_PLACE)).await.map_err(|error| self.fault(&error, what()))?;
        }
        Ok(())
    }
}
