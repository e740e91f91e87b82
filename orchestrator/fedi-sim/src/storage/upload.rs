//! `POST /nodes/{node}/storage/{storage}/upload`: from the temporary file to the storage.

use std::path::Path as FilePath;

use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

use super::{Kind, StorageConfig, Volume, image, parse_volume_name, volume_key};
use crate::call::{Call, Params, Reply};
use crate::error::{ApiError, ApiResult};
use crate::http::Uploaded;
use crate::sim::Sim;
use crate::tasks::{self, Worker};

fn hash<D: Digest>(bytes: &[u8]) -> String {
    hex::encode(D::digest(bytes))
}

/// Hash of a file by the name of the algorithm.
pub(super) async fn file_hash(path: &FilePath, algorithm: &str) -> ApiResult<String> {
    if algorithm == "sha256" {
        let path = path.to_owned();
        let hashed = tokio::task::spawn_blocking(move || image::sha256_of(&path)).await;
        return match hashed {
            Ok(Ok(digest)) => Ok(digest),
            Ok(Err(error)) => Err(ApiError::die(error.to_string())),
            Err(error) => Err(ApiError::die(error.to_string())),
        };
    }
    let bytes = tokio::fs::read(path).await.map_err(|error| ApiError::die(error.to_string()))?;
    Ok(match algorithm {
        "md5" => hash::<Md5>(&bytes),
        "sha1" => hash::<Sha1>(&bytes),
        "sha224" => hash::<Sha224>(&bytes),
        "sha384" => hash::<Sha384>(&bytes),
        "sha512" => hash::<Sha512>(&bytes),
        _ => hash::<Sha256>(&bytes),
    })
}

/// What kind of file is wanted and what it will be called.
#[derive(Debug, Clone)]
pub(super) struct Destination {
    pub(super) kind: Kind,
    pub(super) file: String,
    /// Format whose check a new file has to pass.
    pub(super) image_format: Option<String>,
}

impl Destination {
    pub(super) fn of(params: &Params) -> ApiResult<Self> {
        let given = params.need("filename");
        let last = given.trim_end_matches('\n').rsplit(['/', '\\']).next().unwrap_or_default();
        let file: String =
            last.chars().map(|c| if c.is_ascii_alphanumeric() || "_.-".contains(c) { c } else { '_' }).collect();
        let (stem, extension) = file.rsplit_once('.').unwrap_or(("", ""));
        let lower = extension.to_lowercase();
        let wrong = |text: &str| Err(ApiError::param("filename", text));
        let (kind, image_format) = match params.need("content").as_str() {
            "iso" if stem.is_empty() || !matches!(lower.as_str(), "iso" | "img") => {
                return wrong("wrong file extension");
            }
            "iso" => (Kind::Iso, None),
            "vztmpl" if stem.is_empty() || !file.contains(".tar") => return wrong("wrong file extension"),
            "vztmpl" => (Kind::Template, None),
            "import" if stem.is_empty() || !matches!(extension, "ova" | "qcow2" | "raw" | "vmdk") => {
                return wrong("invalid filename or wrong extension");
            }
            "import" => (Kind::Import, (extension != "ova").then(|| extension.to_owned())),
            other => {
                let text = format!("upload content type '{other}' not allowed");
                return Err(ApiError::param("content", text));
            }
        };
        Ok(Self { kind, file, image_format })
    }

    pub(super) fn volume_name(&self) -> String {
        let folder = match self.kind {
            Kind::Iso => "iso",
            Kind::Template => "vztmpl",
            _ => "import",
        };
        format!("{folder}/{}", self.file)
    }

    pub(super) fn shown_path(&self, storage: &StorageConfig) -> ApiResult<String> {
        Ok(storage.shown_path(&parse_volume_name(storage, &self.volume_name())?))
    }
}

/// Puts a file on the storage in place of any older one of its name.
pub(super) async fn place(
    sim: &Sim,
    storage: &StorageConfig,
    node: &str,
    destination: &Destination,
    from: &FilePath,
) -> ApiResult<()> {
    let io = |error: std::io::Error| ApiError::die(format!("import failed: {error}"));
    let home = if storage.shared { "shared" } else { node };
    let folder = sim.directory.join("storage").join(home).join(&storage.id);
    tokio::fs::create_dir_all(&folder).await.map_err(io)?;
    let to = folder.join(destination.volume_name().replace('/', "-"));
    if tokio::fs::rename(from, &to).await.is_err() {
        tokio::fs::copy(from, &to).await.map_err(io)?;
        tokio::fs::remove_file(from).await.map_err(io)?;
    }
    let size = tokio::fs::metadata(&to).await.map_err(io)?.len();
    let name = destination.volume_name();
    let volid = format!("{}:{name}", storage.id);
    let format = parse_volume_name(storage, &name)?.format;
    let volume = Volume {
        volid: volid.clone(),
        storage: storage.id.clone(),
        node: node.to_owned(),
        kind: destination.kind,
        format,
        size,
        used: size,
        ctime: sim.clock.seconds(),
        vmid: None,
        parent: None,
        file: Some(to),
        origin: None,
        booted: false,
        notes: None,
        protected: false,
    };
    sim.write().volumes.insert(volume_key(storage, node, &volid), volume);
    Ok(())
}

/// The endpoint. The body is in a temporary file already.
pub(crate) async fn upload(call: &Call, upload: Option<Uploaded>) -> ApiResult<Reply> {
    let params = call.params.clone();
    let storage = call.sim.read().enabled_storage(&params.need("storage"), &call.node)?.clone();
    let no_path = || ApiError::die(format!("can't upload to storage type '{}'", storage.kind));
    storage.path.as_ref().ok_or_else(no_path)?;
    let upload = upload.ok_or_else(|| ApiError::die("missing temporary file name"))?;
    let destination = Destination::of(&params)?;
    let content = destination.kind.as_str();
    if !storage.holds(content) {
        let id = &storage.id;
        return Err(ApiError::die(format!("storage '{id}' does not support '{content}' content")));
    }
    let user = call.user.clone();
    let node = call.node.clone();
    let upid = tasks::fork(&call.sim, &call.node, "imgcopy", "", &user, |worker| async move {
        let result = import(&worker, &params, &upload, &storage, &node, &destination).await;
        if let Err(error) = tokio::fs::remove_file(&upload.path).await
            && error.kind() != std::io::ErrorKind::NotFound
        {
            worker.log(format!("unable to clean up temporary file '{}' - {error}", upload.shown));
        }
        result
    });
    Ok(upid.into())
}

async fn import(
    worker: &Worker,
    params: &Params,
    upload: &Uploaded,
    storage: &StorageConfig,
    node: &str,
    destination: &Destination,
) -> ApiResult<()> {
    worker.log(format!("starting file import from: {}", upload.shown));
    if let Some(algorithm) = params.text("checksum-algorithm") {
        worker.log("calculating checksum...");
        let expected = params.need("checksum");
        let got = file_hash(&upload.path, &algorithm).await?;
        if !got.eq_ignore_ascii_case(&expected) {
            return Err(ApiError::die(format!("checksum mismatch: got '{got}' != expect '{expected}'")));
        }
        worker.log_more("OK, checksum verified");
    }
    if let Some(format) = &destination.image_format {
        image::inspect_untrusted(&upload.path, &upload.shown, format, |line| worker.log(line))?;
    }
    let path = destination.shown_path(storage)?;
    worker.log(format!("target node: {node}"));
    worker.log(format!("target file: {path}"));
    worker.log(format!("file size is: {}", upload.size));
    worker.log(format!("command: cp -- {} {path}", upload.shown));
    let available = {
        let state = worker.sim.read();
        let volid = format!("{}:{}", storage.id, destination.volume_name());
        let old = state.volume(node, &volid).map_or(0, |volume| volume.used);
        state.available_bytes(storage, node) + old
    };
    if upload.size > available {
        return Err(ApiError::die(format!("import failed: cp: error writing '{path}': No space left on device")));
    }
    worker.point("disk-copied").await;
    place(&worker.sim, storage, node, destination, &upload.path).await?;
    worker.log("finished file import successfully");
    Ok(())
}
