//! Reading a VM: its status and its configuration.

use serde_json::{Map, Value, json};

use super::{Vm, check_running, config, drive, json_value};
use crate::access::Path;
use crate::call::{Call, Reply};
use crate::error::{ApiError, ApiResult};

/// CPUs as shown: the machine's own number is the limit.
pub(super) fn cpus(vm: &Vm) -> u64 {
    let number = |key: &str| vm.get(key).and_then(|n| n.parse::<u64>().ok());
    number("vcpus").unwrap_or_else(|| number("sockets").unwrap_or(1) * number("cores").unwrap_or(1))
}

/// Memory in bytes.
pub(super) fn memory_bytes(vm: &Vm) -> u64 {
    let text = vm.get("memory").unwrap_or("512");
    let number = text.split(',').next().unwrap_or_default().trim_start_matches("current=");
    number.parse::<u64>().unwrap_or(512) << 20
}

/// The figures of one VM; `full` adds what only `status/current` has.
fn figures(call: &Call, vmid: u32, vm: &Vm, limit: u64, full: bool) -> Map<String, Value> {
    let nine = call.sim.version.reports_pressure();
    let mut row = Map::new();
    let mut put = |key: &str, value: Value| {
        row.insert(key.to_owned(), value);
    };
    put("vmid", vmid.into());
    put("name", vm.get("name").map_or_else(|| format!("VM {vmid}"), str::to_owned).into());
    put("status", if vm.running.is_some() { "running" } else { "stopped" }.into());
    put("cpus", cpus(vm).min(limit).into());
    put("maxmem", memory_bytes(vm).into());
    put("maxdisk", drive::boot_disk_size(&vm.config).unwrap_or(0).into());
    for key in ["cpu", "mem", "disk", "netin", "netout"] {
        put(key, 0.into());
    }
    if nine {
        put("memhost", 0.into());
    }
    if vm.is_template() {
        put("template", 1.into());
    }
    if (0..4).any(|n| vm.config.contains_key(&format!("serial{n}"))) {
        put("serial", 1.into());
    }
    for key in ["lock", "tags"] {
        if let Some(value) = vm.get(key) {
            put(key, value.into());
        }
    }
    if let Some(balloon) = vm.get("balloon").and_then(|n| n.parse::<u64>().ok()).filter(|n| *n > 0) {
        put("balloon_min", (balloon << 20).into());
        put("shares", vm.get("shares").and_then(|n| n.parse::<u64>().ok()).unwrap_or(1000).into());
    }
    let Some(running) = &vm.running else {
        put("uptime", 0.into());
        return row;
    };
    put("pid", running.pid.into());
    put("uptime", call.sim.clock.now().saturating_sub(running.since).as_secs().into());
    if nine {
        for what in ["cpu", "io", "memory"] {
            for how in ["some", "full"] {
                put(&format!("pressure{what}{how}"), 0.into());
            }
        }
    }
    if full {
        let nics: Map<String, Value> = (0..32)
            .filter(|index| vm.config.contains_key(&format!("net{index}")))
            .map(|index| (format!("tap{vmid}i{index}"), json!({"netin": 0, "netout": 0})))
            .collect();
        if !nics.is_empty() {
            put("nics", nics.into());
        }
    }
    row
}

/// `GET /nodes/{node}/qemu`
pub(crate) async fn list(call: &Call) -> Reply {
    let vmids: Vec<u32> = {
        let state = call.sim.read();
        state.vms.iter().filter(|(_, vm)| vm.node == call.node).map(|(vmid, _)| *vmid).collect()
    };
    for vmid in &vmids {
        check_running(&call.sim, &call.node, *vmid).await;
    }
    let state = call.sim.read();
    let limit = state.node(&call.node).map_or(1, |node| node.cpus.into());
    let rows: Vec<Value> = vmids
        .into_iter()
        .filter(|vmid| call.allows(&state, &Path::vm(*vmid), &["VM.Audit"]))
        .filter_map(|vmid| Some(figures(call, vmid, state.vms.get(&vmid)?, limit, false).into()))
        .collect();
    Value::from(rows).into()
}

/// `GET /nodes/{node}/qemu/{vmid}/status/current`
pub(crate) async fn status(call: &Call) -> ApiResult<Reply> {
    let vmid = call.vmid();
    check_running(&call.sim, &call.node, vmid).await;
    let state = call.sim.read();
    let vm = state.vm(&call.node, vmid)?;
    let limit = state.node(&call.node).map_or(1, |node| node.cpus.into());
    let mut row = figures(call, vmid, vm, limit, true);
    let state_of_machine = match &vm.running {
        None => "stopped",
        Some(running) if running.paused => "paused",
        Some(_) => "running",
    };
    row.insert("qmpstatus".to_owned(), state_of_machine.into());
    row.insert("ha".to_owned(), json!({"managed": 0}));
    if super::agent::is_enabled(vm) {
        row.insert("agent".to_owned(), 1.into());
    }
    if let Some(vga) = vm.get("vga") {
        let kind = vga.split(',').next().unwrap_or_default().trim_start_matches("type=").to_owned();
        if kind.starts_with("qxl") || kind.starts_with("virtio") {
            row.insert("spice".to_owned(), 1.into());
        }
    }
    Ok(Value::from(row).into())
}

/// `GET /nodes/{node}/qemu/{vmid}/config`
pub(crate) fn read_config(call: &Call) -> ApiResult<Reply> {
    let snapshot = call.params.text("snapshot");
    let current = call.params.is_set("current");
    if snapshot.is_some() && current {
        let text = "cannot use 'snapshot' parameter with 'current'";
        return Err(ApiError::params(["snapshot", "current"].map(|name| (name.to_owned(), text.to_owned())).into()));
    }
    let state = call.sim.read();
    let vm = state.vm(&call.node, call.vmid())?;
    let mut shown = match snapshot {
        Some(name) => vm
            .snapshots
            .get(&name)
            .cloned()
            .ok_or_else(|| ApiError::die(format!("snapshot '{name}' does not exist")))?,
        None => vm.config.clone(),
    };
    if !current && call.params.text("snapshot").is_none() {
        shown.extend(vm.pending.clone());
        for key in vm.pending_delete.keys() {
            shown.remove(key);
        }
    }
    let mut data = config::json(&shown);
    data.insert("digest".to_owned(), vm.digest().into());
    Ok(Value::from(data).into())
}

/// `GET /nodes/{node}/qemu/{vmid}/pending`
pub(crate) fn pending(call: &Call) -> ApiResult<Reply> {
    let state = call.sim.read();
    let vm = state.vm(&call.node, call.vmid())?;
    let hidden = |key: &str, value: &str| {
        let shown = if key == "cipassword" { "**********" } else { value };
        json_value(key, shown)
    };
    let mut current = vm.config.clone();
    current.insert("digest".to_owned(), vm.digest());
    let mut rows: Vec<Value> = Vec::new();
    for (key, value) in &current {
        let mut row = json!({"key": key, "value": hidden(key, value)});
        if let Some(value) = vm.pending.get(key) {
            row["pending"] = hidden(key, value);
        }
        if let Some(force) = vm.pending_delete.get(key) {
            row["delete"] = if *force { 2 } else { 1 }.into();
        }
        rows.push(row);
    }
    for (key, value) in vm.pending.iter().filter(|(key, _)| !current.contains_key(*key)) {
        rows.push(json!({"key": key, "pending": hidden(key, value)}));
    }
    for (key, force) in vm.pending_delete.iter().filter(|(key, _)| !current.contains_key(*key)) {
        rows.push(json!({"key": key, "delete": if *force { 2 } else { 1 }}));
    }
    Ok(Value::from(rows).into())
}
