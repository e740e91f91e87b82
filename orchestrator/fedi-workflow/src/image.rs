//! The guest image of a host, named by its content.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use fedi_engine::drivers::{DriverError, DriverErrorKind};
use fedi_engine::store::Store;
use fedi_inventory::{Folder, ImageSource};
use fedi_model::inventory::HostFile;
use fedi_model::name::HostName;
use fedi_model::resource::Image;
use sha2::{Digest, Sha256};

use crate::WorkflowError;

/// How much of the digest stands in the file name.
const DIGITS: usize = 16;

/// The image that new guests of a host start from.
pub async fn image(folder: &Folder, host: &HostName, store: &dyn Store) -> Result<Image, WorkflowError> {
    let (name, file) = folder.host(host.as_str())?;
    wanted(name, file, folder.image(file)?, store).await
}

/// The image as the host's file asks for it. The digest of a file is computed once for
/// every change of the file (size, time, inode) and remembered.
async fn wanted(
    host: &HostName,
    file: &HostFile,
    source: ImageSource,
    store: &dyn Store,
) -> Result<Image, WorkflowError> {
    let (sha256, bytes, source) = match source {
        ImageSource::Url(url) => {
            let Some(sha256) = &file.image.sha256 else {
                return Err(DriverError::new(
                    DriverErrorKind::Invalid,
                    format!("The image of host `{host}` has no digest"),
                )
                .hint(format!("Set `image.sha256` in `hosts/{host}/host.toml`; an image from a URL needs it"))
                .into());
            };
            (sha256.to_lowercase(), None, url)
        }
        ImageSource::File(path) => {
            let (sha256, bytes) = digest_of(&path, store).await?;
            if let Some(expected) = &file.image.sha256
                && !expected.eq_ignore_ascii_case(&sha256)
            {
                return Err(DriverError::new(
                    DriverErrorKind::Invalid,
                    format!("The image `{}` is not the one that host `{host}` asks for", path.display()),
                )
                .cause(format!("Its SHA-256 is {sha256}, `image.sha256` is {expected}"))
                .hint(format!("Put the right image there, or correct `image.sha256` in hosts/{host}/host.toml"))
                .into());
            }
            (sha256, Some(bytes), path.display().to_string())
        }
    };
    let short: String = sha256.chars().take(DIGITS).collect();
    Ok(Image { host: host.clone(), file: format!("fedi-guest-{short}.qcow2"), sha256, source, bytes })
}

async fn digest_of(path: &Path, store: &dyn Store) -> Result<(String, u64), WorkflowError> {
    let failed = |error: &io::Error| {
        DriverError::new(DriverErrorKind::Invalid, format!("Failed to read the guest image `{}`", path.display()))
            .because(error)
            .hint("Build one with `nix build .#image` in the inventory, or set `image.source` in host.toml")
    };
    let found = fs::metadata(path).map_err(|error| failed(&error))?;
    let state = format!("{} {} {} {}", found.len(), found.mtime(), found.mtime_nsec(), found.ino());
    let name = format!("image-digest {}", path.display());
    if let Some((known, digest)) = store.setting(&name).await?.as_deref().and_then(|text| text.split_once('\t'))
        && known == state
    {
        return Ok((digest.to_owned(), found.len()));
    }
    let file: PathBuf = path.to_owned();
    let digest = tokio::task::spawn_blocking(move || hash(&file))
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
        .map_err(|error| failed(&error))?;
    store.set_setting(&name, Some(&format!("{state}\t{digest}"))).await?;
    Ok((digest, found.len()))
}

fn hash(path: &Path) -> io::Result<String> {
    let mut file = fs::File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
    }
    Ok(hex::encode(hash.finalize()))
}
