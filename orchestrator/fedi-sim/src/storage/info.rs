//! Storages as such: `/storage`, `/nodes/{node}/storage`, their status.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::StorageConfig;
use crate::access::Path;
use crate::call::{Call, Reply};
use crate::error::{ApiError, ApiResult};
use crate::state::State;

const SEES: [&str; 2] = ["Datastore.Audit", "Datastore.AllocateSpace"];

fn visible(call: &Call, state: &State, storage: &str) -> bool {
    call.require_any(state, &Path::storage(storage), &SEES).is_ok()
}

fn config_row(state: &State, storage: &StorageConfig) -> Value {
    let texts: Vec<String> = state.storages.iter().map(|storage| format!("{storage:?}")).collect();
    let digest = Sha256::digest(texts.join("\n"));
    let digest = hex::encode(&digest[..20]);
    let mut row = Map::new();
    row.insert("storage".to_owned(), storage.id.as_str().into());
    row.insert("type".to_owned(), storage.kind.as_str().into());
    row.insert("content".to_owned(), storage.content.join(",").into());
    row.insert("digest".to_owned(), digest.into());
    if let Some(path) = &storage.path {
        row.insert("path".to_owned(), path.as_str().into());
    }
    if storage.disabled {
        row.insert("disable".to_owned(), 1.into());
    }
    if storage.shared {
        row.insert("shared".to_owned(), 1.into());
    }
    if !storage.nodes.is_empty() {
        row.insert("nodes".to_owned(), storage.nodes.join(",").into());
    }
    row.into()
}

/// `GET /storage`
pub(crate) fn storage_config(call: &Call) -> Reply {
    let state = call.sim.read();
    let wanted = call.params.text("type");
    let rows: Vec<Value> = state
        .storages
        .iter()
        .filter(|storage| wanted.as_deref().is_none_or(|kind| kind == storage.kind))
        .filter(|storage| visible(call, &state, &storage.id))
        .map(|storage| config_row(&state, storage))
        .collect();
    Value::from(rows).into()
}

/// `GET /storage/{storage}`
pub(crate) fn storage_read(call: &Call) -> ApiResult<Reply> {
    let state = call.sim.read();
    let storage = state.need_storage(&call.params.need("storage"))?;
    Ok(config_row(&state, storage).into())
}

/// The figures of one storage on one node.
fn status_row(state: &State, storage: &StorageConfig, node: &str) -> Map<String, Value> {
    let active = !storage.disabled && storage.is_on(node);
    let (total, used) =
        if active { (storage.total, state.used_bytes(storage, node).min(storage.total)) } else { (0, 0) };
    let mut row = Map::new();
    for (key, value) in [
        ("active", u64::from(active)),
        ("enabled", u64::from(!storage.disabled)),
        ("shared", u64::from(storage.shared)),
        ("total", total),
        ("used", used),
        ("avail", total - used),
    ] {
        row.insert(key.to_owned(), value.into());
    }
    row.insert("content".to_owned(), storage.content.join(",").into());
    row.insert("type".to_owned(), storage.kind.as_str().into());
    row
}

/// `GET /nodes/{node}/storage`
#[allow(clippy::cast_precision_loss)]
pub(crate) fn node_storages(call: &Call) -> ApiResult<Reply> {
    let state = call.sim.read();
    let wanted = call.params.list("content");
    if let Some(storage) = call.params.text("storage") {
        state.need_storage(&storage)?;
    }
    let rows: Vec<Value> = state
        .storages
        .iter()
        .filter(|storage| storage.is_on(&call.node))
        .filter(|storage| call.params.text("storage").is_none_or(|wanted| wanted == storage.id))
        .filter(|storage| !(call.params.is_set("enabled") && storage.disabled))
        .filter(|storage| wanted.is_empty() || wanted.iter().any(|kind| storage.holds(kind)))
        .filter(|storage| visible(call, &state, &storage.id))
        .map(|storage| {
            let mut row = status_row(&state, storage, &call.node);
            row.insert("storage".to_owned(), storage.id.as_str().into());
            let total = row["total"].as_u64().unwrap_or(0);
            if total > 0 {
                let used = row["used"].as_u64().unwrap_or(0);
                row.insert("used_fraction".to_owned(), (used as f64 / total as f64).into());
            }
            if call.params.is_set("format") {
                row.insert("select_existing".to_owned(), 0.into());
            }
            row.into()
        })
        .collect();
    Ok(Value::from(rows).into())
}

/// `GET /nodes/{node}/storage/{storage}/status`
pub(crate) fn storage_status(call: &Call) -> ApiResult<Reply> {
    let state = call.sim.read();
    let id = call.params.need("storage");
    let storage = state
        .storage(&id)
        .filter(|storage| storage.is_on(&call.node))
        .ok_or_else(|| ApiError::param("storage", "No such storage."))?;
    Ok(Value::from(status_row(&state, storage, &call.node)).into())
}

/// `GET /nodes/{node}/storage/{storage}`
pub(crate) fn storage_index(call: &Call) -> Reply {
    let mut names = vec![
        "content",
        "download-url",
        "file-restore",
        "import-metadata",
        "prunebackups",
        "rrd",
        "rrddata",
        "status",
        "upload",
    ];
    if call.sim.version.at_least(9, 1) {
        names.push("oci-registry-pull");
    }
    if call.sim.version.at_least(9, 2) {
        names.push("identity");
    }
    let rows: Vec<Value> = names.into_iter().map(|name| json!({"subdir": name})).collect();
    Value::from(rows).into()
}
