//! `POST /nodes/{node}/storage/{storage}/download-url`: the node fetches a file by itself, as wget does.

use std::path::Path as FilePath;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::upload::{Destination, file_hash, place};
use super::{StorageConfig, image};
use crate::call::{Call, Params, Reply};
use crate::error::{ApiError, ApiResult};
use crate::tasks::{self, Worker};

/// The endpoint.
pub(crate) fn download_url(call: &Call) -> ApiResult<Reply> {
    let params = call.params.clone();
    let storage = call.sim.read().enabled_storage(&params.need("storage"), &call.node)?.clone();
    if storage.path.is_none() {
        let kind = &storage.kind;
        return Err(ApiError::die(format!("can't upload to storage type '{kind}', not a file based storage!")));
    }
    let content = params.need("content");
    if !storage.holds(&content) {
        let id = &storage.id;
        return Err(ApiError::die(format!("storage '{id}' is not configured for content-type '{content}'")));
    }
    let destination = Destination::of(&params)?;
    let id = destination.file.clone();
    let upid = tasks::fork(&call.sim, &call.node, "download", &id, &call.user, |worker| async move {
        if params.has("compression") && content != "iso" {
            return Err(ApiError::die(format!("decompression not supported for {content}")));
        }
        let part = worker.sim.directory.join("uploads").join(format!("download-{}", worker.pid()));
        let result = download(&worker, &params, &storage, &destination, &part).await;
        if let Err(error) = tokio::fs::remove_file(&part).await
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!("Failed to remove {}: {error}", part.display());
        }
        result
    });
    Ok(upid.into())
}

async fn checked(worker: &Worker, path: &FilePath, algorithm: &str, expected: &str, after: &str) -> ApiResult<()> {
    let got = file_hash(path, algorithm).await?;
    if got.eq_ignore_ascii_case(expected) {
        return Ok(());
    }
    worker.log_more("");
    Err(ApiError::die(format!("checksum mismatch: got '{got}' != expect '{expected}'{after}")))
}

async fn download(
    worker: &Worker,
    params: &Params,
    storage: &StorageConfig,
    destination: &Destination,
    part: &FilePath,
) -> ApiResult<()> {
    let url = params.need("url");
    let shown = destination.shown_path(storage)?;
    let checksum = params.text("checksum").filter(|checksum| !checksum.is_empty());
    let algorithm = params.need("checksum-algorithm");
    worker.log(format!("downloading {url} to {shown}"));
    let volid = format!("{}:{}", storage.id, destination.volume_name());
    let existing = worker.sim.read().volume(worker.node(), &volid).and_then(|volume| volume.file.clone());
    if let Some(file) = existing {
        let Some(expected) = &checksum else {
            return Err(ApiError::die(format!("refusing to override existing file '{shown}'")));
        };
        worker.log("calculating checksum of existing file...");
        checked(worker, &file, &algorithm, expected, ", aborting").await?;
        worker.log_more("OK, got correct file already, no need to download");
        return Ok(());
    }
    fetch(worker, &url, storage, &shown, part).await.map_err(|error| {
        let text = error.message.trim_end().to_owned();
        ApiError::die(format!("download failed: {text}"))
    })?;
    if let Some(expected) = &checksum {
        worker.log("calculating checksum...");
        checked(worker, part, &algorithm, expected, "").await?;
        worker.log_more("OK, checksum verified");
    }
    if let Some(format) = &destination.image_format {
        let temporary = format!("{shown}.tmp_dwnl.{}", worker.pid());
        image::inspect_untrusted(part, &temporary, format, |line| worker.log(line))
            .map_err(|error| error.prefixed("failed to verify file: "))?;
    }
    place(&worker.sim, storage, worker.node(), destination, part).await?;
    worker.log(format!("download of '{url}' to '{shown}' finished"));
    Ok(())
}

fn stamp(worker: &Worker) -> String {
    let seconds = i64::try_from(worker.sim.clock.seconds()).unwrap_or(0);
    jiff::Timestamp::from_second(seconds).map(|time| time.strftime("%Y-%m-%d %H:%M:%S").to_string()).unwrap_or_default()
}

fn human(bytes: u64) -> String {
    match bytes {
        0..1024 => bytes.to_string(),
        1024..1_048_576 => format!("{}K", bytes / 1024),
        _ => format!("{}M", bytes / 1_048_576),
    }
}

/// Fetches over plain HTTP, printing what wget prints. A wait for data can be interrupted.
async fn fetch(worker: &Worker, url: &str, storage: &StorageConfig, shown: &str, part: &FilePath) -> ApiResult<()> {
    let io = |error: std::io::Error| ApiError::die(error.to_string());
    worker.log(format!("--{}--  {url}", stamp(worker)));
    let Some(rest) = url.strip_prefix("http://") else {
        return Err(ApiError::die("exit code 5"));
    };
    let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let address = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    let mut stream = match TcpStream::connect(&address).await {
        Ok(stream) => stream,
        Err(error) => {
            let reason = match error.kind() {
                std::io::ErrorKind::ConnectionRefused => "Connection refused.",
                _ => "No route to host.",
            };
            return Err(ApiError::die(format!("Connecting to {address}... failed: {reason}")));
        }
    };
    worker.log(format!("Connecting to {address}... connected."));
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(io)?;
    let mut buffer = Vec::new();
    let head_end = loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if read_some(worker, &mut stream, &mut buffer).await? == 0 {
            return Err(ApiError::die("exit code 4"));
        }
    };
    let head = String::from_utf8_lossy(&buffer[..head_end]).into_owned();
    let mut body: Vec<u8> = buffer.split_off(head_end + 4);
    let status = head.lines().next().unwrap_or_default().split_once(' ').unwrap_or_default().1.to_owned();
    worker.log(format!("HTTP request sent, awaiting response... {status}"));
    if !status.starts_with("200") {
        let (code, reason) = status.split_once(' ').unwrap_or((&status, ""));
        worker.log(format!("{} ERROR {code}: {reason}.", stamp(worker)));
        return Err(ApiError::die("exit code 8"));
    }
    let header = |name: &str| {
        head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    };
    let length: Option<u64> = header("Content-Length").and_then(|value| value.parse().ok());
    let kind = header("Content-Type").map(|kind| format!(" [{kind}]")).unwrap_or_default();
    if let Some(length) = length {
        worker.log(format!("Length: {length} ({}){kind}", human(length)));
    }
    let temporary = format!("{shown}.tmp_dwnl.{}", worker.pid());
    worker.log(format!("Saving to: '{temporary}'"));
    let folder = worker.sim.directory.join("uploads");
    tokio::fs::create_dir_all(&folder).await.map_err(io)?;
    let mut file = tokio::fs::File::create(part).await.map_err(io)?;
    let available = {
        let state = worker.sim.read();
        state.available_bytes(storage, worker.node())
    };
    let mut written = 0_u64;
    loop {
        written += body.len() as u64;
        if written > available {
            return Err(ApiError::die(format!("Cannot write to '{temporary}' (No space left on device).")));
        }
        file.write_all(&body).await.map_err(io)?;
        body.clear();
        if length.is_some_and(|length| written >= length) || read_some(worker, &mut stream, &mut body).await? == 0 {
            break;
        }
    }
    file.flush().await.map_err(io)?;
    if length.is_some_and(|length| written < length) {
        return Err(ApiError::die("exit code 4"));
    }
    worker.log("     0K                                    100%  868M=0s");
    worker.log(format!("{} (868 MB/s) - '{temporary}' saved [{written}/{written}]", stamp(worker)));
    Ok(())
}

async fn read_some(worker: &Worker, stream: &mut TcpStream, buffer: &mut Vec<u8>) -> ApiResult<usize> {
    buffer.reserve(64 << 10);
    let mut away = None;
    loop {
        // Looks up from the socket now and then to hear an interrupt.
        if let Ok(read) = tokio::time::timeout(Duration::from_millis(50), stream.read_buf(buffer)).await {
            return read.map_err(|error| ApiError::die(error.to_string()));
        }
        worker.check_interrupt()?;
        // The other end is slow: simulated time need not wait for it.
        away.get_or_insert_with(|| worker.sim.clock.away());
    }
}
