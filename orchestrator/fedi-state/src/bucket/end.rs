//! One bucket over S3: listed page by page, read and written object by object.
//!
//! Requests are signed by `rusty-s3` and sent by `reqwest`. A signed URL works for
//! a while for whoever has it, so it is in no error.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use reqwest::header::{CONTENT_LENGTH, ETAG, RANGE};
use reqwest::{Body, Response, StatusCode};
use rusty_s3::actions::{CreateMultipartUpload, ListObjectsV2, S3Action};
use rusty_s3::{Bucket, Credentials, UrlStyle};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tokio_util::io::ReaderStream;
use zeroize::Zeroizing;

use crate::error::{ErrorClass, StateError, no_room};

/// How long a signed URL works.
const SIGNED: Duration = Duration::from_secs(60 * 60);
/// How often a request that failed on its way, or at the server, is tried in all.
const ATTEMPTS: u32 = 4;
/// Objects from this size on are written in parts, of a sixteenth of it, bytes.
const PART: u64 = 1 << 30;
/// Headers of an object that come along.
const HEADERS: [&str; 5] =
    ["content-type", "cache-control", "content-disposition", "content-encoding", "content-language"];

/// A bucket at an endpoint, with a key.
#[derive(Clone)]
pub struct End {
    http: reqwest::Client,
    bucket: Arc<Bucket>,
    credentials: Arc<Credentials>,
    parts_from: u64,
}

/// An object as it was when it was read, which may be later than it was listed.
pub(super) struct Fetched {
    pub size: u64,
    pub sha256: String,
    pub etag: Option<String>,
    pub headers: BTreeMap<String, String>,
}

/// An object as a listing has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub key: String,
    pub size: u64,
    pub etag: String,
    pub modified: String,
}

/// Where an object's bytes come from.
pub(super) enum Source<'a> {
    File(&'a Path),
    Object(&'a End, &'a str),
}

impl End {
    /// The bucket `name` at `endpoint`, addressed by path.
    pub fn new(
        endpoint: &str,
        region: &str,
        name: &str,
        key_id: &str,
        secret: &Zeroizing<String>,
    ) -> Result<Self, StateError> {
        let wrong =
            |what: String| StateError::refused(ErrorClass::NotFound, format!("`{endpoint}` is no S3 endpoint: {what}"));
        let url = endpoint.parse().map_err(|error: url::ParseError| wrong(error.to_string()))?;
        let bucket = Bucket::new(url, UrlStyle::Path, name.to_owned(), region.to_owned())
            .map_err(|error| wrong(error.to_string()))?;
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .http1_only()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(15))
            .read_timeout(Duration::from_secs(120))
            .user_agent(concat!("fedi/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| wrong(error.without_url().to_string()))?;
        let credentials = Arc::new(Credentials::new(key_id, secret.as_str()));
        Ok(Self { http, bucket: Arc::new(bucket), credentials, parts_from: PART })
    }

    /// Writes objects from this size on in parts of a sixteenth of it; 1 GiB unless told.
    #[must_use]
    pub fn in_parts_from(mut self, bytes: u64) -> Self {
        self.parts_from = bytes;
        self
    }

    /// Whether an object of that size gets an ETag that is no digest of its content.
    pub(super) fn writes_in_parts(&self, size: u64) -> bool {
        size >= self.parts_from
    }

    pub(super) fn name(&self) -> &str {
        self.bucket.name()
    }

    /// One page of the listing, in the order of keys, and how to ask for the next.
    pub(super) async fn page(&self, token: Option<String>) -> Result<(Vec<Listed>, Option<String>), StateError> {
        let mut action = ListObjectsV2::new(&self.bucket, Some(&self.credentials));
        if let Some(token) = token {
            action.with_continuation_token(token);
        }
        let what = format!("list the bucket `{}`", self.name());
        let response = self.send(&what, &|| self.http.get(action.sign(SIGNED))).await?;
        let text = response.text().await.map_err(|error| broken(&what, error))?;
        let unreadable =
            |error| StateError::damaged(format!("The listing of `{}` does not read: {error}", self.name()));
        let page = ListObjectsV2::parse_response(&text).map_err(unreadable)?;
        let mut listed = Vec::with_capacity(page.contents.len());
        for object in page.contents {
            if object.key.split('/').any(|part| part == "." || part == "..") {
                let message = format!("The key `{}` cannot be written as a URL", object.key.escape_debug());
                return Err(StateError::refused(ErrorClass::Incompatible, message));
            }
            listed.push(Listed {
                size: object.size.unwrap_or(0),
                etag: object.etag.unwrap_or_default().trim_matches('"').to_owned(),
                modified: object.last_modified.unwrap_or_default(),
                key: object.key,
            });
        }
        Ok((listed, page.next_continuation_token))
    }

    /// Reads an object into a file, or only digests it.
    pub(super) async fn get(&self, key: &str, to: Option<&Path>) -> Result<Fetched, StateError> {
        let what = format!("read `{}`", key.escape_debug());
        let response = self.fetch(key, None).await?;
        let headers = headers(&response);
        let etag = response.headers().get(ETAG).and_then(|etag| etag.to_str().ok());
        let etag = etag.map(|etag| etag.trim_matches('"').to_owned());
        let mut file = match to {
            Some(path) => Some(tokio::fs::File::create(path).await.map_err(StateError::file("write", path))?),
            None => None,
        };
        let (mut hash, mut size) = (Sha256::new(), 0);
        let mut stream = response.bytes_stream();
        while let Some(bytes) = stream.next().await {
            let bytes = bytes.map_err(|error| broken(&what, error))?;
            hash.update(&bytes);
            size += bytes.len() as u64;
            if let (Some(file), Some(path)) = (&mut file, to) {
                file.write_all(&bytes).await.map_err(StateError::file("write", path))?;
            }
        }
        if let (Some(file), Some(path)) = (&mut file, to) {
            file.flush().await.map_err(StateError::file("write", path))?;
        }
        Ok(Fetched { size, sha256: format!("{:x}", hash.finalize()), etag, headers })
    }

    /// An object's headers that come along.
    pub(super) async fn headers(&self, key: &str) -> Result<BTreeMap<String, String>, StateError> {
        let action = self.bucket.head_object(Some(&self.credentials), key);
        let what = format!("look at `{}`", key.escape_debug());
        Ok(headers(&self.send(&what, &|| self.http.head(action.sign(SIGNED))).await?))
    }

    /// Writes an object; returns the SHA-256 of what was written.
    pub(super) async fn put(
        &self,
        key: &str,
        size: u64,
        headers: &BTreeMap<String, String>,
        source: &Source<'_>,
    ) -> Result<String, StateError> {
        if !self.writes_in_parts(size) {
            let mut action = self.bucket.put_object(Some(&self.credentials), key);
            for (name, value) in headers {
                action.headers_mut().insert(name.as_str(), value.as_str());
            }
            let (hash, _) = self
                .write(key, &|| with(self.http.put(action.sign(SIGNED)), headers), source, 0, size, &Sha256::new())
                .await?;
            return Ok(format!("{:x}", hash.finalize()));
        }
        let upload = self.begin(key, headers).await?;
        let written = self.parts(key, size, source, &upload).await;
        if written.is_err() {
            let action = self.bucket.abort_multipart_upload(Some(&self.credentials), key, &upload);
            // The first error counts; what is left is removed by the server's own rules.
            let _ = self.send("leave an upload", &|| self.http.delete(action.sign(SIGNED))).await;
        }
        written
    }

    async fn begin(&self, key: &str, headers: &BTreeMap<String, String>) -> Result<String, StateError> {
        let mut action = self.bucket.create_multipart_upload(Some(&self.credentials), key);
        for (name, value) in headers {
            action.headers_mut().insert(name.as_str(), value.as_str());
        }
        let what = format!("write `{}`", key.escape_debug());
        let response = self.send(&what, &|| with(self.http.post(action.sign(SIGNED)), headers)).await?;
        let text = response.text().await.map_err(|error| broken(&what, error))?;
        let unreadable = |error| StateError::damaged(format!("The answer to an upload does not read: {error}"));
        Ok(CreateMultipartUpload::parse_response(&text).map_err(unreadable)?.upload_id().to_owned())
    }

    async fn parts(&self, key: &str, size: u64, source: &Source<'_>, upload: &str) -> Result<String, StateError> {
        let (mut hash, mut etags, mut at, mut number) = (Sha256::new(), Vec::new(), 0, 1_u16);
        // At most 10,000 parts (S3's limits).
        let step = (self.parts_from / 16).max(size.div_ceil(9_000));
        while at < size {
            let length = step.min(size - at);
            let action = self.bucket.upload_part(Some(&self.credentials), key, number, upload);
            let (next, response) =
                self.write(key, &|| self.http.put(action.sign(SIGNED)), source, at, length, &hash).await?;
            hash = next;
            let etag = response.headers().get("etag").and_then(|etag| etag.to_str().ok()).unwrap_or_default();
            etags.push(etag.to_owned());
            at += length;
            number += 1;
        }
        let etags = etags.iter().map(String::as_str);
        let action = self.bucket.complete_multipart_upload(Some(&self.credentials), key, upload, etags);
        let (url, body) = (action.sign(SIGNED), action.body());
        let what = format!("write `{}`", key.escape_debug());
        self.send(&what, &|| self.http.post(url.clone()).body(body.clone())).await?;
        Ok(format!("{:x}", hash.finalize()))
    }

    /// Sends some bytes of the source, anew if that fails in a way that may pass;
    /// returns the digest with them added.
    async fn write(
        &self,
        key: &str,
        request: &(dyn Fn() -> reqwest::RequestBuilder + Sync),
        source: &Source<'_>,
        at: u64,
        length: u64,
        before: &Sha256,
    ) -> Result<(Sha256, Response), StateError> {
        let what = format!("write `{}`", key.escape_debug());
        let mut pause = Duration::from_millis(250);
        for attempt in 1.. {
            let hash = Arc::new(Mutex::new((before.clone(), 0_u64)));
            let seen = hash.clone();
            let stream = source.stream(at, length).await?.inspect_ok(move |bytes| {
                if let Ok(mut seen) = seen.lock() {
                    seen.0.update(bytes);
                    seen.1 += bytes.len() as u64;
                }
            });
            let body = if length == 0 { Body::from("") } else { Body::wrap_stream(stream) };
            match judge(&what, self.name(), request().header(CONTENT_LENGTH, length).body(body).send().await).await {
                Ok(response) => {
                    let (hash, sent) = hash.lock().map(|hash| hash.clone()).unwrap_or_default();
                    if sent == length {
                        return Ok((hash, response));
                    }
                    return Err(StateError::damaged(format!("`{}` is shorter than it was listed", key.escape_debug())));
                }
                Err((_, true)) if attempt < ATTEMPTS => {}
                Err((error, _)) => return Err(error),
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        Err(StateError::refused(ErrorClass::Unreachable, format!("Failed to {what}")))
    }

    pub(super) async fn delete(&self, key: &str) -> Result<(), StateError> {
        let action = self.bucket.delete_object(Some(&self.credentials), key);
        let what = format!("remove `{}`", key.escape_debug());
        self.send(&what, &|| self.http.delete(action.sign(SIGNED))).await.map(drop)
    }

    async fn fetch(&self, key: &str, range: Option<(u64, u64)>) -> Result<Response, StateError> {
        let action = self.bucket.get_object(Some(&self.credentials), key);
        let what = format!("read `{}`", key.escape_debug());
        self.send(&what, &|| {
            let request = self.http.get(action.sign(SIGNED));
            match range {
                Some((at, length)) => request.header(RANGE, format!("bytes={at}-{}", at + length - 1)),
                None => request,
            }
        })
        .await
    }

    /// Sends a request, anew if it failed in a way that may pass.
    async fn send(
        &self,
        what: &str,
        request: &(dyn Fn() -> reqwest::RequestBuilder + Sync),
    ) -> Result<Response, StateError> {
        let mut pause = Duration::from_millis(250);
        for attempt in 1.. {
            match judge(what, self.name(), request().send().await).await {
                Ok(response) => return Ok(response),
                Err((_, true)) if attempt < ATTEMPTS => {}
                Err((error, _)) => return Err(error),
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        Err(StateError::refused(ErrorClass::Unreachable, format!("Failed to {what}")))
    }
}

impl Source<'_> {
    /// Some bytes of the object.
    async fn stream(&self, at: u64, length: u64) -> Result<BoxStream<'static, io::Result<Bytes>>, StateError> {
        match self {
            _ if length == 0 => Ok(futures::stream::empty().boxed()),
            Source::File(path) => {
                let mut file = tokio::fs::File::open(path).await.map_err(StateError::file("read", path))?;
                file.seek(io::SeekFrom::Start(at)).await.map_err(StateError::file("read", path))?;
                Ok(ReaderStream::with_capacity(file.take(length), 64 * 1024).boxed())
            }
            Source::Object(end, key) => {
                let response = end.fetch(key, Some((at, length))).await?;
                Ok(response.bytes_stream().map_err(|error| io::Error::other(error.without_url())).boxed())
            }
        }
    }
}

fn headers(response: &Response) -> BTreeMap<String, String> {
    let all = response.headers().iter();
    let ours = all.filter(|(name, _)| HEADERS.contains(&name.as_str()) || name.as_str().starts_with("x-amz-meta-"));
    ours.filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))).collect()
}

fn with(request: reqwest::RequestBuilder, headers: &BTreeMap<String, String>) -> reqwest::RequestBuilder {
    headers.iter().fold(request, |request, (name, value)| request.header(name, value))
}

/// The answer, or why there is none and whether that may pass.
async fn judge(what: &str, bucket: &str, result: reqwest::Result<Response>) -> Result<Response, (StateError, bool)> {
    let response = match result {
        Ok(response) => response,
        Err(error) => {
            let passing = error.is_connect() || error.is_timeout() || error.is_request();
            return Err((broken(what, error), passing));
        }
    };
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let passing = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
    // The server's text names buckets and keys, never the secret half.
    let text = response.text().await.unwrap_or_default();
    Err((refused(what, bucket, status, &text), passing))
}

fn broken(what: &str, error: reqwest::Error) -> StateError {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        text = inner.to_string();
        cause = inner.source();
    }
    StateError::refused(ErrorClass::Unreachable, format!("Failed to {what}: {text}"))
}

fn refused(what: &str, bucket: &str, status: StatusCode, text: &str) -> StateError {
    let part = |tag: &str| {
        let (_, rest) = text.split_once(&format!("<{tag}>"))?;
        rest.split_once("</").map(|(inner, _)| inner.to_owned())
    };
    let said = part("Message").or_else(|| part("Code")).unwrap_or_default();
    let class = match status {
        StatusCode::NOT_FOUND => ErrorClass::NotFound,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ErrorClass::Password,
        StatusCode::INSUFFICIENT_STORAGE => ErrorClass::Full,
        _ if no_room(&said) => ErrorClass::Full,
        _ => ErrorClass::Tool,
    };
    StateError::refused(class, format!("Failed to {what}: bucket `{bucket}` answered {status}: {said}"))
}
