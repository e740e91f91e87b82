//! Sends an image file to a storage.
//!
//! Proxmox reads uploads with patterns of its own: the fields must come as `content`, `checksum-algorithm`,
//! `checksum` and then the file, in a part named `filename`. The size must be known beforehand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt;
use proxmox_schema::{Method, Upid};
use reqwest::multipart::{Form, Part};
use tokio_util::io::ReaderStream;

use super::Storage;
use super::image::{LocalImage, unreadable};
use crate::class::Class;
use crate::client::Client;
use crate::error::{During, Error};
use crate::exchange;
use crate::request::{Call, Parameters, fill};

const TEMPLATE: &str = "/nodes/{node}/storage/{storage}/upload";

/// Bytes in one piece.
const PIECE: usize = 256 << 10;

/// How far an upload is; clones look at the same one.
#[derive(Clone, Debug, Default)]
pub struct UploadProgress(Arc<AtomicU64>);

impl UploadProgress {
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes that were sent so far.
    pub fn sent(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Storage {
    /// Sends an image; its task moves it into place and compares the digest. A file of the same name is replaced,
    /// so that an upload may be repeated whatever became of the one before.
    ///
    /// Needs `Datastore.AllocateTemplate` on the storage, and room for the file in `/var/tmp` of the node that the
    /// client talks to.
    pub async fn upload(&self, image: &LocalImage, file_name: &str, progress: &UploadProgress) -> Result<Upid, Error> {
        let client = &self.client;
        let _permit = client.uploads().acquire().await.map_err(|_| Error::preparation("The client is closed"))?;
        let call = Call {
            method: Method::Post,
            template: TEMPLATE,
            path: fill(TEMPLATE, &[self.node.clone(), self.name.clone()]),
            parameters: Parameters::new(),
        };
        let form = self.form(image, file_name, progress).await?;
        let url = client.options().endpoint.url(&call.path, "");
        let request = client.http().post(url).headers(client.login().await?).multipart(form);
        let start = client.clock().now();
        let exchange = async {
            let response = request.send().await?;
            exchange::read(response).await
        };
        let raw = tokio::select! {
            raw = exchange => raw,
            () = stalled(client, progress) => {
                client.observe(&call, 1, None, start);
                let during = During::Request { method: Method::Post, path: call.path };
                return Err(Error::new(Class::Ambiguous, during, "the upload came to a standstill"));
            }
        };
        client.observe(&call, 1, raw.as_ref().ok().map(exchange::Raw::status), start);
        let raw = raw.map_err(|error| exchange::broken(&call, error))?;
        let answer = exchange::understand(&call, &raw, &client.options().credentials)?;
        serde_json::from_value(answer).map_err(|error| exchange::unreadable(&call).with_cause(error))
    }

    async fn form(&self, image: &LocalImage, file_name: &str, progress: &UploadProgress) -> Result<Form, Error> {
        let file = tokio::fs::File::open(&image.path).await.map_err(|error| unreadable(&image.path, error))?;
        let size = file.metadata().await.map_err(|error| unreadable(&image.path, error))?.len();
        if size != image.size {
            let text = format!("the image `{}` has changed since its digest was taken", image.path.display());
            return Err(Error::preparation(text));
        }
        progress.0.store(0, Ordering::Relaxed);
        let sent = Arc::clone(&progress.0);
        let pieces = ReaderStream::with_capacity(file, PIECE).inspect(move |piece| {
            if let Ok(piece) = piece {
                sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
            }
        });
        let body = reqwest::Body::wrap_stream(pieces);
        let part = Part::stream_with_length(body, size).file_name(file_name.to_owned());
        Ok(Form::new()
            .text("content", "import")
            .text("checksum-algorithm", "sha256")
            .text("checksum", image.address.sha256.clone())
            .part("filename", part))
    }
}

/// Completes when nothing was sent for a while; a slow upload may take as long as it likes.
async fn stalled(client: &Client, progress: &UploadProgress) {
    let patience = client.options().limits.upload_stall;
    let look = (patience / 4).max(Duration::from_millis(1));
    let (mut sent, mut since) = (progress.sent(), client.clock().now());
    loop {
        client.clock().sleep(look).await;
        let now = client.clock().now();
        if progress.sent() != sent {
            (sent, since) = (progress.sent(), now);
        } else if now.saturating_sub(since) >= patience {
            return;
        }
    }
}
