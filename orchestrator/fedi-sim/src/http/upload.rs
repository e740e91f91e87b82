//! Receiving an uploaded file into a temporary one on the contacted node.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::connection::Wire;
use super::form::decode_form;
use super::head::Head;
use super::multipart::Multipart;
use super::response::Response;
use crate::call::perl_string;
use crate::sim::Sim;

/// A received file with its form fields.
#[derive(Debug)]
pub(crate) struct Uploaded {
    pub(crate) params: BTreeMap<String, String>,
    /// Name the node's own messages use.
    pub(crate) shown: String,
    /// Where the bytes are.
    pub(crate) path: PathBuf,
    pub(crate) size: u64,
}

pub(crate) enum Received {
    File(Uploaded),
    Refused(Response),
    Ended,
}

/// Reads `length` bytes of multipart body.
pub(crate) async fn receive<S: AsyncRead + AsyncWrite + Unpin>(
    sim: &Arc<Sim>,
    wire: &mut Wire<S>,
    head: &Head,
    boundary: &str,
    length: u64,
) -> io::Result<Received> {
    let nine = sim.version.major() >= 9;
    let (field_line, failed_line) = if nine { (1325, 1370) } else { (1281, 1317) };
    let id: [u8; 16] = sim.random_bytes();
    let hex = hex::encode(id);
    let folder = sim.directory.join("uploads");
    tokio::fs::create_dir_all(&folder).await?;
    let path = folder.join(format!("pveupload-{hex}"));
    let mut file = tokio::fs::File::create_new(&path).await?;
    let mut multipart = Multipart::new(boundary, field_line);
    let mut query = BTreeMap::new();
    if let Some(text) = head.path_and_query().1 {
        query.extend(decode_form(text).iter().map(|(key, value)| (key.clone(), perl_string(value))));
    }
    let mut taken = 0_u64;
    let mut size = 0_u64;
    let refused = loop {
        if wire.buffer.is_empty() && taken < length && !wire.fill().await? {
            drop(file);
            tokio::fs::remove_file(&path).await?;
            return Ok(Received::Ended);
        }
        let room = usize::try_from(length - taken).unwrap_or(usize::MAX).min(wire.buffer.len());
        let chunk: Vec<u8> = wire.buffer.drain(..room).collect();
        taken += chunk.len() as u64;
        match multipart.push(&chunk) {
            Ok(bytes) => {
                size += bytes.len() as u64;
                file.write_all(&bytes).await?;
            }
            Err(malformed) => break Some(malformed.0),
        }
        if multipart.is_done() {
            break None;
        }
        if taken >= length {
            break Some(format!("upload failed at /usr/share/perl5/PVE/APIServer/AnyEvent.pm line {failed_line}.\n"));
        }
    };
    file.flush().await?;
    if let Some(text) = refused {
        tokio::fs::remove_file(&path).await?;
        return Ok(Received::Refused(Response::error(500, text)));
    }
    query.extend(multipart.params);
    let shown = format!("/var/tmp/pveupload-{hex}");
    Ok(Received::File(Uploaded { params: query, shown, path, size }))
}
