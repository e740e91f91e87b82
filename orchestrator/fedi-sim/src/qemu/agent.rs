//! The QEMU guest agent, as far as the backend has one.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{Vm, check_running};
use crate::backend::{BackendError, ExecOutput};
use crate::call::{Call, Reply, perl_string};
use crate::error::{ApiError, ApiResult};

/// A command that was started through the agent.
#[derive(Debug)]
pub(crate) enum AgentProcess {
    /// Still runs.
    Running,
    /// Is done; its output waits to be fetched.
    Done(ExecOutput),
}

/// Largest file that can be read at once; bytes.
const READ_LIMIT: usize = 16 << 20;

/// `enabled` of the agent option.
pub(super) fn is_enabled(vm: &Vm) -> bool {
    let value = vm.get("agent").unwrap_or_default();
    value.split(',').any(|part| matches!(part.trim_start_matches("enabled="), "1" | "on" | "yes" | "true"))
}

fn agent_error(error: &BackendError) -> ApiError {
    match error {
        BackendError::NotRunning(_) | BackendError::NoAgent => ApiError::die("QEMU guest agent is not running"),
        BackendError::Guest(text) => ApiError::die(format!("Agent error: {text}")),
        BackendError::Failed(text) => ApiError::die(text),
    }
}

/// What is checked before every call: configured, running, answering a ping within three seconds.
async fn available(call: &Call) -> ApiResult<Uuid> {
    let vmid = call.vmid();
    let sim = &call.sim;
    let uuid = {
        let state = sim.read();
        let vm = state.vm(&call.node, vmid)?;
        if vm.get("agent").is_none() {
            return Err(ApiError::die("No QEMU guest agent configured"));
        }
        vm.uuid()
    };
    if !check_running(sim, &call.node, vmid).await {
        return Err(ApiError::die(format!("VM {vmid} is not running")));
    }
    if sim.backend.agent_ping(uuid).await.is_err() {
        sim.clock.sleep(Duration::from_secs(3)).await;
        return Err(ApiError::die("QEMU guest agent is not running"));
    }
    Ok(uuid)
}

/// `POST .../agent/ping`
pub(crate) async fn agent_ping(call: &Call) -> ApiResult<Reply> {
    available(call).await?;
    Ok(json!({"result": {}}).into())
}

/// `GET .../agent/get-host-name`
pub(crate) async fn agent_host_name(call: &Call) -> ApiResult<Reply> {
    available(call).await?;
    let state = call.sim.read();
    let name = state.vm(&call.node, call.vmid())?.get("name").unwrap_or("localhost").to_owned();
    Ok(json!({"result": {"host-name": name}}).into())
}

/// `GET .../agent/get-osinfo`
pub(crate) async fn agent_osinfo(call: &Call) -> ApiResult<Reply> {
    available(call).await?;
    Ok(json!({"result": {
        "id": "linux", "kernel-release": "6.1.0", "kernel-version": "#1 SMP", "machine": "x86_64",
        "name": "Linux", "pretty-name": "Linux", "version": "", "version-id": "",
    }})
    .into())
}

/// `GET .../agent/info`
pub(crate) async fn agent_info(call: &Call) -> ApiResult<Reply> {
    const COMMANDS: [&str; 12] = [
        "guest-ping",
        "guest-info",
        "guest-exec",
        "guest-exec-status",
        "guest-file-open",
        "guest-file-read",
        "guest-file-write",
        "guest-file-close",
        "guest-network-get-interfaces",
        "guest-get-host-name",
        "guest-get-osinfo",
        "guest-shutdown",
    ];
    available(call).await?;
    let commands: Vec<Value> = COMMANDS
        .iter()
        .map(|name| json!({"name": name, "enabled": true, "success-response": *name != "guest-shutdown"}))
        .collect();
    let version = call.sim.tuning().qemu_version;
    Ok(json!({"result": {"version": version, "supported_commands": commands}}).into())
}

fn statistics() -> Value {
    let counters = ["bytes", "dropped", "errs", "packets"];
    let all: Map<String, Value> = ["rx", "tx"]
        .iter()
        .flat_map(|way| counters.iter().map(move |what| (format!("{way}-{what}"), 0.into())))
        .collect();
    all.into()
}

/// `GET .../agent/network-get-interfaces`
pub(crate) async fn agent_interfaces(call: &Call) -> ApiResult<Reply> {
    let uuid = available(call).await?;
    let interfaces = call.sim.backend.interfaces(uuid).await.map_err(|error| agent_error(&error))?;
    let address = |text: String, prefix: u8| {
        let kind = if text.contains(':') { "ipv6" } else { "ipv4" };
        json!({"ip-address": text, "ip-address-type": kind, "prefix": prefix})
    };
    let mut rows = vec![json!({
        "name": "lo", "hardware-address": "00:00:00:00:00:00", "statistics": statistics(),
        "ip-addresses": [address("127.0.0.1".to_owned(), 8), address("::1".to_owned(), 128)],
    })];
    for interface in interfaces.into_iter().filter(|interface| interface.name != "lo") {
        let mut row = json!({"name": interface.name, "hardware-address": interface.mac});
        let addresses: Vec<Value> =
            interface.addresses.iter().map(|net| address(net.addr().to_string(), net.prefix_len())).collect();
        if !addresses.is_empty() {
            row["ip-addresses"] = addresses.into();
            row["statistics"] = statistics();
        }
        rows.push(row);
    }
    Ok(json!({"result": rows}).into())
}

fn command(call: &Call) -> Vec<String> {
    match call.params.0.get("command") {
        Some(Value::Array(words)) => words.iter().map(perl_string).collect(),
        Some(value) => vec![perl_string(value)],
        None => Vec::new(),
    }
}

/// `POST .../agent/exec`
pub(crate) async fn agent_exec(call: &Call) -> ApiResult<Reply> {
    let uuid = available(call).await?;
    let argv = command(call);
    let input = call.params.need("input-data").into_bytes();
    let sim = call.sim.clone();
    let pid = sim.write().take_pid();
    let key = (uuid, pid);
    lock_agents(&sim).insert(key, AgentProcess::Running);
    let (backend, runner, busy) = (sim.backend.clone(), sim.clone(), sim.clock.busy());
    let mut running = tokio::spawn(async move {
        let result = backend.exec(uuid, &argv, &input).await;
        if let Ok(output) = &result {
            lock_agents(&runner).insert(key, AgentProcess::Done(output.clone()));
        }
        drop(busy);
        result
    });
    // A command that cannot be started says so at once.
    let quick = tokio::time::timeout(Duration::from_millis(30), &mut running).await;
    if let Ok(Ok(Err(error))) = quick {
        lock_agents(&sim).remove(&key);
        return Err(agent_error(&error));
    }
    Ok(json!({"pid": pid}).into())
}

fn lock_agents(
    sim: &crate::sim::Sim,
) -> std::sync::MutexGuard<'_, std::collections::HashMap<(Uuid, u32), AgentProcess>> {
    sim.agent.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// `GET .../agent/exec-status`
pub(crate) async fn agent_exec_status(call: &Call) -> ApiResult<Reply> {
    let uuid = available(call).await?;
    let pid = call.params.integer("pid").and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0);
    let mut agents = lock_agents(&call.sim);
    match agents.remove(&(uuid, pid)) {
        // QEMU forgets the `%` of its format string.
        None => Err(ApiError::die("Agent error: PID ld does not exist")),
        Some(AgentProcess::Running) => {
            agents.insert((uuid, pid), AgentProcess::Running);
            Ok(json!({"exited": 0}).into())
        }
        Some(AgentProcess::Done(output)) => {
            let mut data = json!({"exited": 1, "exitcode": output.status});
            for (name, bytes) in [("out", output.stdout), ("err", output.stderr)] {
                if !bytes.is_empty() {
                    data[format!("{name}-data")] = String::from_utf8_lossy(&bytes).into();
                    data[format!("{name}-truncated")] = 0.into();
                }
            }
            Ok(data.into())
        }
    }
}

/// `GET .../agent/file-read`
pub(crate) async fn agent_file_read(call: &Call) -> ApiResult<Reply> {
    let uuid = available(call).await?;
    let number = |name: &str| call.params.integer(name).and_then(|n| usize::try_from(n).ok());
    let offset = number("offset").unwrap_or(0);
    let count = number("count").unwrap_or(READ_LIMIT);
    let path = call.params.need("file");
    let bytes = call
        .sim
        .backend
        .read_file(uuid, &path, offset.saturating_add(count).saturating_add(1))
        .await
        .map_err(|error| agent_error(&error))?;
    let rest = bytes.get(offset..).unwrap_or_default();
    let part = &rest[..rest.len().min(count)];
    let decode = call.params.flag("decode").unwrap_or(true);
    let content = if decode { String::from_utf8_lossy(part).into_owned() } else { STANDARD.encode(part) };
    let mut data = json!({"content": content, "bytes-read": part.len()});
    if rest.len() > count {
        data["truncated"] = 1.into();
    }
    Ok(data.into())
}

/// `POST .../agent/file-write`
pub(crate) async fn agent_file_write(call: &Call) -> ApiResult<Reply> {
    let uuid = available(call).await?;
    let content = call.params.need("content");
    let bytes = if call.params.flag("encode").unwrap_or(true) {
        content.into_bytes()
    } else {
        STANDARD.decode(content).map_err(|_| ApiError::die("Agent error: invalid base64 data"))?
    };
    let path = call.params.need("file");
    call.sim.backend.write_file(uuid, &path, &bytes).await.map_err(|error| agent_error(&error))?;
    Ok(Reply::null())
}
