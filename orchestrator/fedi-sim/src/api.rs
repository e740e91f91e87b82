//! From an endpoint of the tables to the function that plays it.

use proxmox_schema::{Endpoint, Method};
use serde_json::{Map, Value};

use crate::call::{Call, Params, Reply};
use crate::error::{ApiError, ApiResult};
use crate::http::Uploaded;
use crate::{access, auth, cluster, qemu, storage, tasks};

/// Checks the parameters and runs the call.
pub(crate) async fn run(
    mut call: Call,
    endpoint: &'static Endpoint,
    params: Map<String, Value>,
    upload: Option<Uploaded>,
) -> ApiResult<Reply> {
    let mut checked = params.clone();
    if endpoint.name == "upload" {
        checked.remove("tmpfilename");
    }
    let normal = endpoint.validate(&checked).map_err(ApiError::params)?;
    let mut values = Params::default();
    for (name, value) in normal.iter() {
        values.0.insert(name.to_owned(), value.into());
    }
    for name in params.keys() {
        let list = normal.list(name);
        if !list.is_empty() {
            values.0.insert(name.clone(), list.to_vec().into());
        }
    }
    call.params = values;
    dispatch(call, endpoint, upload).await
}

async fn dispatch(call: Call, endpoint: &Endpoint, upload: Option<Uploaded>) -> ApiResult<Reply> {
    use Method::{Delete, Get, Post, Put};
    let key = (endpoint.method, endpoint.path.as_str());
    if let Some(reply) = index(&call, key) {
        return Ok(reply);
    }
    match key {
        (_, path) if path.starts_with("/access") || path.starts_with("/pools") => access_call(&call, key).await,
        (_, path) if path.starts_with("/nodes/{node}/qemu") => vm_call(call, key).await,
        (_, path) if path.starts_with("/nodes/{node}/storage") => storage_call(&call, key, upload).await,
        (Get, "/version") => Ok(cluster::version(&call)),
        (Get, "/cluster/nextid") => cluster::next_id(&call),
        (Get, "/cluster/resources") => Ok(cluster::cluster_resources(&call)),
        (Get, "/cluster/status") => Ok(cluster::cluster_status(&call)),
        (Get, "/cluster/tasks") => Ok(tasks::cluster_tasks(&call)),
        (Get, "/cluster/options") => Ok(cluster::cluster_options(&call)),
        (Get, "/cluster/ha/status/current") => Ok(cluster::ha_status(&call)),
        (Get, "/nodes") => Ok(cluster::nodes(&call)),
        (Get, "/nodes/{node}/status") => cluster::node_status(&call),
        (Get, "/nodes/{node}/version") => Ok(cluster::node_version(&call)),
        (Get, "/nodes/{node}/network") => Ok(cluster::networks(&call)),
        (Get, "/nodes/{node}/certificates/info") => Ok(cluster::certificates(&call)),
        (Get, "/nodes/{node}/tasks") => Ok(tasks::task_list(&call)),
        (Get, "/nodes/{node}/tasks/{upid}") => Ok(tasks::task_index()),
        (Delete, "/nodes/{node}/tasks/{upid}") => tasks::task_stop(&call).await,
        (Get, "/nodes/{node}/tasks/{upid}/log") => tasks::task_log(&call),
        (Get, "/nodes/{node}/tasks/{upid}/status") => tasks::task_status(&call),
        (Get, "/storage") => Ok(storage::storage_config(&call)),
        (Get, "/storage/{storage}") => storage::storage_read(&call),
        (Post | Put | Get | Delete, path) => Err(not_simulated(endpoint.method, path)),
    }
}

fn not_simulated(method: Method, path: &str) -> ApiError {
    ApiError::status(501, format!("Method '{method} {path}' not implemented"))
}

fn index(call: &Call, (method, path): (Method, &str)) -> Option<Reply> {
    if method != Method::Get {
        return None;
    }
    let name = match path {
        "/cluster" => "cluster",
        "/nodes/{node}" => "node",
        "/access" => "access",
        "/nodes/{node}/qemu/{vmid}" => "vm",
        "/nodes/{node}/qemu/{vmid}/status" => "vm-status",
        "/nodes/{node}/qemu/{vmid}/agent" => "agent",
        "/nodes/{node}/qemu/{vmid}/snapshot/{snapname}" => "snapshot",
        _ => return None,
    };
    cluster::index(call, name)
}

async fn access_call(call: &Call, (method, path): (Method, &str)) -> ApiResult<Reply> {
    use Method::{Delete, Get, Post, Put};
    match (method, path) {
        (Get, "/access/acl") => Ok(access::acl_read(call)),
        (Put, "/access/acl") => access::acl_update(call).await,
        (Get, "/access/permissions") => access::own_permissions(call),
        (Get, "/access/roles") => Ok(access::roles_list(call)),
        (Post, "/access/roles") => access::roles_create(call).await,
        (Get, "/access/roles/{roleid}") => access::role_read(call),
        (Put, "/access/roles/{roleid}") => access::role_update(call).await,
        (Delete, "/access/roles/{roleid}") => access::roles_delete(call).await,
        (Get, "/access/ticket") => Ok(Reply::null()),
        (Post, "/access/ticket") => auth::create_ticket(call),
        (Get, "/access/domains") => Ok(access::domains()),
        (Get, "/access/users") => Ok(access::user_list(call)),
        (Post, "/access/users") => access::user_create(call).await,
        (Get, "/access/users/{userid}") => access::user_read(call),
        (Delete, "/access/users/{userid}") => access::user_delete(call).await,
        (Get, "/access/users/{userid}/token") => access::token_list(call),
        (Get, "/access/users/{userid}/token/{tokenid}") => access::token_read(call),
        (Post, "/access/users/{userid}/token/{tokenid}") => access::token_create(call).await,
        (Put, "/access/users/{userid}/token/{tokenid}") => access::token_update(call).await,
        (Delete, "/access/users/{userid}/token/{tokenid}") => access::token_delete(call).await,
        (Get, "/pools") => access::pool_index(call),
        (Get, "/pools/{poolid}") => access::pool_read(call),
        (Post, "/pools") => access::pool_create(call).await,
        (Put, "/pools" | "/pools/{poolid}") => access::pool_update(call).await,
        (Delete, "/pools" | "/pools/{poolid}") => access::pool_delete(call).await,
        _ => Err(not_simulated(method, path)),
    }
}

async fn storage_call(call: &Call, (method, path): (Method, &str), upload: Option<Uploaded>) -> ApiResult<Reply> {
    use Method::{Delete, Get, Post, Put};
    let rest = path.strip_prefix("/nodes/{node}/storage").unwrap_or(path);
    match (method, rest) {
        (Get, "") => storage::node_storages(call),
        (Get, "/{storage}") => Ok(storage::storage_index(call)),
        (Get, "/{storage}/status") => storage::storage_status(call),
        (Get, "/{storage}/content") => storage::content_list(call),
        (Post, "/{storage}/content") => storage::content_alloc(call),
        (Get, "/{storage}/content/{volume}") => storage::content_info(call),
        (Post, "/{storage}/content/{volume}") => storage::content_copy(call),
        (Put, "/{storage}/content/{volume}") => storage::content_attributes(call),
        (Delete, "/{storage}/content/{volume}") => storage::content_delete(call).await,
        (Post, "/{storage}/download-url") => storage::download_url(call),
        (Post, "/{storage}/upload") => storage::upload(call, upload).await,
        _ => Err(not_simulated(method, path)),
    }
}

async fn vm_call(call: Call, (method, path): (Method, &str)) -> ApiResult<Reply> {
    use Method::{Delete, Get, Post, Put};
    let rest = path.strip_prefix("/nodes/{node}/qemu").unwrap_or(path);
    match (method, rest) {
        (Get, "") => Ok(qemu::list(&call).await),
        (Post, "") => qemu::create_vm(call).await,
        (Delete, "/{vmid}") => qemu::destroy_vm(&call).await,
        (Post, "/{vmid}/clone") => qemu::clone_vm(&call).await,
        (Get, "/{vmid}/cloudinit") => qemu::cloudinit_pending(&call),
        (Put, "/{vmid}/cloudinit") => qemu::cloudinit_update(&call).await,
        (Get, "/{vmid}/cloudinit/dump") => qemu::cloudinit_dump(&call),
        (Get, "/{vmid}/config") => qemu::read_config(&call),
        (Post, "/{vmid}/config") => qemu::update_async(call).await,
        (Put, "/{vmid}/config") => qemu::update_sync(call).await,
        (Get, "/{vmid}/feature") => qemu::feature(&call),
        (Post, "/{vmid}/move_disk") => qemu::move_disk(&call),
        (Get, "/{vmid}/pending") => qemu::pending(&call),
        (Put, "/{vmid}/resize") => qemu::resize(&call),
        (Get, "/{vmid}/snapshot") => qemu::snapshot_list(&call).await,
        (Post, "/{vmid}/snapshot") => qemu::snapshot_create(&call),
        (Delete, "/{vmid}/snapshot/{snapname}") => Ok(qemu::snapshot_delete(&call)),
        (Get, "/{vmid}/snapshot/{snapname}/config") => qemu::snapshot_config(&call),
        (Put, "/{vmid}/snapshot/{snapname}/config") => qemu::snapshot_update(&call).await,
        (Post, "/{vmid}/snapshot/{snapname}/rollback") => qemu::snapshot_rollback(&call),
        (Get, "/{vmid}/status/current") => qemu::status(&call).await,
        (Post, "/{vmid}/status/start") => qemu::start(&call),
        (Post, "/{vmid}/status/stop") => qemu::stop(&call),
        (Post, "/{vmid}/status/shutdown") => qemu::shutdown(&call),
        (Post, "/{vmid}/status/reboot") => qemu::reboot(&call).await,
        (Post, "/{vmid}/status/reset") => qemu::reset(&call).await,
        (Post, "/{vmid}/status/suspend") => qemu::suspend(&call).await,
        (Post, "/{vmid}/status/resume") => qemu::resume(&call).await,
        (Post, "/{vmid}/template") => qemu::template(&call).await,
        (Put, "/{vmid}/unlink") => qemu::unlink(call).await,
        (Get, "/{vmid}/firewall/rules") => Ok(Value::Array(Vec::new()).into()),
        (_, rest) if rest.starts_with("/{vmid}/agent/") => agent_call(&call, (method, rest)).await,
        _ => Err(not_simulated(method, path)),
    }
}

async fn agent_call(call: &Call, (method, path): (Method, &str)) -> ApiResult<Reply> {
    use Method::{Get, Post};
    match (method, path.trim_start_matches("/{vmid}/agent/")) {
        (Post, "ping") => qemu::agent_ping(call).await,
        (Post, "exec") => qemu::agent_exec(call).await,
        (Get, "exec-status") => qemu::agent_exec_status(call).await,
        (Get, "file-read") => qemu::agent_file_read(call).await,
        (Post, "file-write") => qemu::agent_file_write(call).await,
        (Get, "get-host-name") => qemu::agent_host_name(call).await,
        (Get, "get-osinfo") => qemu::agent_osinfo(call).await,
        (Get, "info") => qemu::agent_info(call).await,
        (Get, "network-get-interfaces") => qemu::agent_interfaces(call).await,
        _ => Err(not_simulated(method, path)),
    }
}
