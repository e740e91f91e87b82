//! Volumes of one storage: list, look at, make, remove.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::copy::{self, Target};
use super::{Kind, Volume, check_volume_access, image, parse_volume_id, parse_volume_name};
use crate::access::Path;
use crate::call::{Call, Reply};
use crate::error::{ApiError, ApiResult};
use crate::tasks;

fn row(volume: &Volume) -> Value {
    let mut row = Map::new();
    row.insert("volid".to_owned(), volume.volid.as_str().into());
    row.insert("content".to_owned(), volume.kind.as_str().into());
    row.insert("ctime".to_owned(), volume.ctime.into());
    row.insert("size".to_owned(), volume.size.into());
    let format = if volume.kind == Kind::Iso { "iso" } else { &volume.format };
    row.insert("format".to_owned(), format.into());
    if volume.kind == Kind::Images {
        row.insert("used".to_owned(), volume.used.into());
        row.insert("vmid".to_owned(), volume.vmid.into());
        row.insert("parent".to_owned(), volume.parent.clone().into());
    }
    if let Some(notes) = &volume.notes {
        row.insert("notes".to_owned(), notes.lines().next().unwrap_or_default().into());
    }
    if volume.protected {
        row.insert("protected".to_owned(), 1.into());
    }
    row.into()
}

/// `GET /nodes/{node}/storage/{storage}/content`
pub(crate) fn content_list(call: &Call) -> ApiResult<Reply> {
    let state = call.sim.read();
    let id = call.params.need("storage");
    let storage = state.enabled_storage(&id, &call.node)?;
    let wanted = call.params.text("content");
    let vmid = call.params.integer("vmid");
    let rows: Vec<Value> = state
        .volumes
        .values()
        .filter(|volume| volume.storage == id && (storage.shared || volume.node == call.node))
        .filter(|volume| storage.holds(volume.kind.as_str()))
        .filter(|volume| wanted.as_deref().is_none_or(|kind| kind == volume.kind.as_str()))
        .filter(|volume| vmid.is_none_or(|vmid| volume.vmid.map(i64::from) == Some(vmid)))
        .filter(|volume| check_volume_access(call, &state, None, &volume.volid, None).is_ok())
        .map(row)
        .collect();
    Ok(Value::from(rows).into())
}

/// A volume named with or without its storage.
fn real_volume_id(call: &Call) -> ApiResult<(String, String)> {
    let volume = call.params.need("volume");
    let storage = call.params.text("storage");
    if !volume.contains(':') {
        let storage =
            storage.ok_or_else(|| ApiError::param("volume", "no storage specified - incomplete volume ID"))?;
        return Ok((format!("{storage}:{volume}"), storage));
    }
    let (id, _) = parse_volume_id(&volume)
        .ok_or_else(|| ApiError::param("volume", format!("unable to parse volume ID '{volume}'\n")))?;
    match storage {
        Some(storage) if storage != id => {
            Err(ApiError::param("volume", format!("storage ID mismatch ({id} != {storage})\n")))
        }
        _ => Ok((volume.clone(), id.to_owned())),
    }
}

/// `GET /nodes/{node}/storage/{storage}/content/{volume}`
pub(crate) fn content_info(call: &Call) -> ApiResult<Reply> {
    let (volid, id) = real_volume_id(call)?;
    let state = call.sim.read();
    check_volume_access(call, &state, None, &volid, None)?;
    let storage = state.need_storage(&id)?;
    let (_, name) = parse_volume_id(&volid).unwrap_or_default();
    let path = storage.shown_path(&parse_volume_name(storage, name)?);
    let no_format = || ApiError::die(format!("volume_size_info on '{volid}' failed - no format"));
    let volume = state.volume(&call.node, &volid).ok_or_else(no_format)?;
    let (size, used) = match &volume.file {
        Some(file) => {
            let info = image::inspect(file, &volume.format).map_err(|_| no_format())?;
            (info.virtual_size, info.data.next_multiple_of(4096))
        }
        None => (volume.size, volume.used),
    };
    if size == 0 {
        return Err(ApiError::die(format!("volume '{volid}' has size zero")));
    }
    let mut data = json!({"path": path, "size": size, "used": used, "format": volume.format});
    if let Some(notes) = &volume.notes {
        data["notes"] = notes.as_str().into();
    }
    if volume.protected {
        data["protected"] = 1.into();
    }
    Ok(data.into())
}

/// `PUT /nodes/{node}/storage/{storage}/content/{volume}`
pub(crate) fn content_attributes(call: &Call) -> ApiResult<Reply> {
    let (volid, _) = real_volume_id(call)?;
    let mut state = call.sim.write();
    check_volume_access(call, &state, None, &volid, None)?;
    let (notes, protected) = (call.params.text("notes"), call.params.flag("protected"));
    if let Some(volume) = state.volume_mut(&call.node, &volid) {
        let kind = volume.kind.as_str();
        if volume.kind != Kind::Backup {
            let attribute = if notes.is_some() { "notes" } else { "protected" };
            return Err(ApiError::die(format!(
                "attribute '{attribute}' is not supported for volume '{volid}' ({kind})"
            )));
        }
        volume.notes = notes.or(volume.notes.take());
        volume.protected = protected.unwrap_or(volume.protected);
    }
    Ok(Reply::null())
}

/// `POST /nodes/{node}/storage/{storage}/content`
pub(crate) fn content_alloc(call: &Call) -> ApiResult<Reply> {
    let params = &call.params;
    let (name, size) = (params.need("filename"), params.need("size"));
    let (digits, factor) = match size.strip_suffix('M') {
        Some(digits) => (digits, 1024),
        None => match size.strip_suffix('G') {
            Some(digits) => (digits, 1024 * 1024),
            None => (size.as_str(), 1),
        },
    };
    let kibibytes =
        digits.parse::<u64>().map_err(|_| ApiError::param("size", format!("unable to parse size '{size}'")))? * factor;
    let mut format = params.text("format");
    if let Some((_, extension)) = name.rsplit_once('.')
        && matches!(extension, "raw" | "qcow2" | "vmdk")
    {
        if let Some(given) = format.filter(|given| given != extension) {
            let text = format!("different storage formats ({given} != {extension})");
            return Err(ApiError::param("format", text));
        }
        format = Some(extension.to_owned());
    }
    let target = Target {
        node: call.node.clone(),
        storage: params.need("storage"),
        vmid: call.vmid(),
        format,
        name: Some(name),
        size: kibibytes * 1024,
    };
    copy::make(&call.sim, &target, |_| {}).map(Reply::from)
}

/// `POST /nodes/{node}/storage/{storage}/content/{volume}`: experimental in PVE, and only for root.
pub(crate) fn content_copy(call: &Call) -> ApiResult<Reply> {
    let (volid, _) = real_volume_id(call)?;
    Err(ApiError::die(format!("copying volume '{volid}' is not simulated")))
}

/// `DELETE /nodes/{node}/storage/{storage}/content/{volume}`
pub(crate) async fn content_delete(call: &Call) -> ApiResult<Reply> {
    let (volid, id) = real_volume_id(call)?;
    let (path, name) = {
        let state = call.sim.read();
        let storage = state.need_storage(&id)?;
        let (_, name) = parse_volume_id(&volid).unwrap_or_default();
        let name = parse_volume_name(storage, name)?;
        let owner = name.vmid.filter(|_| name.kind == Kind::Backup);
        match owner {
            Some(owner) => {
                call.require(&state, &Path::storage(&id), &["Datastore.AllocateSpace"])?;
                call.require(&state, &Path::vm(owner), &["VM.Backup"])?;
            }
            None => call.require(&state, &Path::storage(&id), &["Datastore.Allocate"])?,
        }
        (storage.shown_path(&name), name)
    };
    let owner = name.vmid.map_or_else(String::new, |vmid| format!("{vmid}@"));
    let (sim, node) = (call.sim.clone(), call.node.clone());
    let worker_id = format!("{owner}{id}");
    let upid = tasks::fork(&call.sim, &call.node, "imgdel", &worker_id, &call.user, |worker| async move {
        let protected = {
            let state = sim.read();
            state.enabled_storage(&id, &node)?;
            match state.volume(&node, &volid) {
                None => {
                    drop(state);
                    worker.log(format!("disk image '{path}' does not exist"));
                    false
                }
                Some(volume) => volume.protected,
            }
        };
        if protected {
            return Err(ApiError::die(format!("can't remove protected volume '{volid}'")));
        }
        copy::free(&sim, &node, &volid)?;
        worker.log(format!("Removed volume '{volid}'"));
        Ok(())
    });
    let delay = call.params.integer("delay").and_then(|delay| u64::try_from(delay).ok()).unwrap_or(0);
    if delay > 0
        && let Some(status) = tasks::wait_for(&call.sim, &upid, Duration::from_secs(delay)).await
    {
        return if status == "OK" { Ok(Reply::null()) } else { Err(ApiError::die(status)) };
    }
    Ok(upid.into())
}
