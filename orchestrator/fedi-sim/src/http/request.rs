//! From a request's head and body to its answer: login, routing, rights, forwarding, the call itself.

use std::sync::Arc;
use std::time::Duration;

use proxmox_schema::{Allow, Endpoint, Match, Method};
use serde_json::{Map, Value};

use super::form::{JsonLines, decode_form, decode_json, percent_decode};
use super::head::Head;
use super::response::Response;
use super::upload::Uploaded;
use crate::access;
use crate::api;
use crate::auth::{self, Credentials};
use crate::call::{Call, Params, Reply};
use crate::cluster::{self, Daemon, Proxied, resolve_node};
use crate::error::{ApiError, ApiResult};
use crate::faults::Injected;
use crate::sim::Sim;

/// How long pveproxy waits for pvedaemon or another node.
const PROXY_LIMIT: Duration = Duration::from_secs(30);

/// Who asks.
#[derive(Debug, Clone, Default)]
pub(crate) struct AuthInfo {
    pub(crate) user: String,
    pub(crate) by_token: bool,
    pub(crate) upload: bool,
    fault: Option<Injected>,
}

/// A request with its body.
#[derive(Debug, Default)]
pub(crate) struct RawRequest {
    method: String,
    /// Below the base, decoded byte by byte.
    path: String,
    format: String,
    query: Option<String>,
    json: bool,
    body: Vec<u8>,
    upload: Option<Uploaded>,
    auth: AuthInfo,
}

impl RawRequest {
    pub(crate) fn with_body(self, body: Vec<u8>) -> Self {
        Self { body, ..self }
    }

    pub(crate) fn with_upload(self, upload: Uploaded) -> Self {
        Self { upload: Some(upload), ..self }
    }
}

/// The path as Perl sees it: every byte a character.
fn decoded_path(head: &Head) -> String {
    percent_decode(head.path_and_query().0).into_iter().map(char::from).collect()
}

/// Splits `/api2/json/nodes` into format and path.
fn split_format(path: &str) -> Option<(String, String)> {
    let rest = path.strip_prefix("/api2")?;
    let format_and_path = rest.trim_start_matches('/');
    if rest.len() == format_and_path.len() {
        return None;
    }
    let (format, rest) = match format_and_path.find('/') {
        Some(at) => format_and_path.split_at(at),
        None => (format_and_path, "/"),
    };
    let valid = format.len() >= 2
        && format.starts_with(|c: char| c.is_ascii_lowercase())
        && format.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    valid.then(|| (format.to_owned(), rest.to_owned()))
}

/// What has to happen before the body is read: faults, login, the right to upload.
pub(crate) async fn prepare(sim: &Arc<Sim>, head: &Head) -> Result<AuthInfo, Response> {
    let path = decoded_path(head);
    let fault = sim.faults.request(&head.method, &path, head.path_and_query().1);
    if let Some(fault) = &fault {
        if let Some(delay) = fault.delay {
            sim.clock.sleep(delay).await;
        }
        if fault.cut {
            return Err(Response::cut());
        }
        if let Some((status, reason)) = &fault.respond {
            return Err(faulty(*status, reason));
        }
    }
    if !path.starts_with("/api2") {
        let text = format!("no such file '{path}'");
        return Err(Response::error(501, text));
    }
    let Some((_, path)) = split_format(&path) else {
        return Err(Response::error(501, "no such uri"));
    };
    let credentials = Credentials::of(|name| head.header(name));
    let mut info = AuthInfo { fault, ..AuthInfo::default() };
    if auth::is_open(&head.method, &path) {
        info.by_token = credentials.token.is_some();
        return Ok(info);
    }
    let refuse = |reason: &str| Response { delay: 3, ..Response::bare(401, reason) };
    let (user, by_token) = auth::login(sim, &credentials).map_err(refuse)?;
    info.user = user;
    info.by_token = by_token;
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    if let ("POST", ["nodes", _, "storage", storage, "upload"]) = (head.method.as_str(), parts.as_slice()) {
        info.upload = true;
        let allowed = sim.read().access.require(
            sim.version,
            &info.user,
            &access::Path::storage(storage),
            &["Datastore.AllocateTemplate"],
        );
        if let Err(error) = allowed {
            return Err(Response { delay: 3, ..Response::bare(403, error.message) });
        }
    }
    if head.method != "GET" && !by_token && !info.upload {
        auth::check_csrf(sim, &info.user, head.header("CSRFPreventionToken"))
            .map_err(|()| refuse("Permission denied - invalid csrf token"))?;
    }
    Ok(info)
}

fn faulty(status: u16, reason: &str) -> Response {
    match status {
        400 | 403 | 500 => {
            let error = ApiError { code: Some(status), ..ApiError::die(reason) };
            Response::api("json", Err(error))
        }
        _ => Response::bare(status, reason),
    }
}

pub(crate) fn raw(head: &Head, auth: AuthInfo) -> RawRequest {
    let path = decoded_path(head);
    let (format, path) = split_format(&path).unwrap_or_default();
    RawRequest {
        method: head.method.clone(),
        path,
        format,
        query: head.path_and_query().1.map(str::to_owned),
        json: head.content_type().0.as_deref() == Some("application/json"),
        auth,
        ..RawRequest::default()
    }
}

fn parameters(sim: &Sim, raw: &RawRequest) -> Result<Map<String, Value>, Response> {
    if let Some(upload) = &raw.upload {
        return Ok(upload.params.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect());
    }
    let mut params = Map::new();
    if matches!(raw.method.as_str(), "POST" | "PUT") {
        params = if raw.json {
            let (decode, merge) = if sim.version.major() >= 9 { (934, 978) } else { (917, 957) };
            decode_json(&raw.body, JsonLines { decode, merge }).map_err(|error| Response::error(500, error.0))?
        } else {
            decode_form(&String::from_utf8_lossy(&raw.body))
        };
    }
    params.extend(decode_form(raw.query.as_deref().unwrap_or_default()));
    params.remove("_dc");
    Ok(params)
}

/// Answers a request whose body is here.
pub(crate) async fn handle(sim: &Arc<Sim>, node: &str, mut raw: RawRequest) -> Response {
    if !matches!(raw.format.as_str(), "json" | "extjs" | "html" | "htmljs") {
        let text = format!("no formatter for uri {}, {}", raw.path, raw.format);
        return Response::error(501, text);
    }
    let params = match parameters(sim, &raw) {
        Ok(params) => params,
        Err(response) => return response,
    };
    let fault = raw.auth.fault.take();
    let upload = raw.upload.take();
    let kept = upload.as_ref().map(|upload| upload.path.clone());
    let mut response = route(sim, node, &raw, params, upload).await;
    if response.status >= 400
        && let Some(path) = kept
        && let Err(error) = tokio::fs::remove_file(&path).await
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!("Failed to remove the uploaded file {}: {error}", path.display());
    }
    if let Some(fault) = fault {
        if fault.drop_reply {
            return Response::cut();
        }
        if let Some((status, reason)) = fault.replace_reply {
            response = faulty(status, &reason);
        }
    }
    response
}

async fn route(
    sim: &Arc<Sim>,
    contacted: &str,
    raw: &RawRequest,
    params: Map<String, Value>,
    upload: Option<Uploaded>,
) -> Response {
    let api = |result: ApiResult<Reply>| Response::api(&raw.format, result);
    if raw.method == "GET" && raw.path.trim_end_matches('/').is_empty() {
        return api(Ok(cluster::root_index()));
    }
    let found = raw.method.parse::<Method>().ok().and_then(|method| sim.schema.find(method, &raw.path));
    let Some(found) = found else {
        let text = format!("Method '{} {}' not implemented", raw.method, raw.path);
        return api(Err(ApiError::status(501, text)));
    };
    let endpoint = found.endpoint;
    let merged = match found.merge(params) {
        Ok(merged) => merged,
        Err(errors) => return api(Err(ApiError::params(errors))),
    };
    if raw.auth.by_token && !endpoint.token_allowed {
        let text = format!("URI '{}' not available with API token, need proper ticket.\n", raw.path);
        return api(Err(ApiError::permission(Some(&text))));
    }
    if let Err(error) = permitted(sim, endpoint, &raw.auth.user, &merged) {
        return api(Err(error));
    }
    let target = match target_node(sim, contacted, &found) {
        Ok(target) => target,
        Err(error) => return api(Err(error)),
    };
    let call = Call { sim: sim.clone(), user: raw.auth.user.clone(), node: target.clone(), params: Params::default() };
    let forwarded = target != contacted;
    if forwarded {
        match sim.read().node(&target).map(super::super::cluster::Node::reach) {
            Some(Proxied::Reachable) | None => {}
            Some(Proxied::Refused) => return Response::bare(595, "Connection refused"),
            Some(Proxied::NoRoute) => {
                return Response { delay: 3, ..Response::bare(595, "No route to host") };
            }
        }
    }
    if !endpoint.protected {
        let running = api::run(call, endpoint, merged, upload);
        if !forwarded {
            return api(running.await);
        }
        return limited(sim, &raw.format, running).await;
    }
    protected(sim, raw, call, endpoint, merged, upload).await
}

/// A call that pvedaemon runs.
async fn protected(
    sim: &Arc<Sim>,
    raw: &RawRequest,
    call: Call,
    endpoint: &'static Endpoint,
    params: Map<String, Value>,
    upload: Option<Uploaded>,
) -> Response {
    let daemon = sim.read().node(&call.node).map_or(Daemon::Running, |node| node.pvedaemon);
    if daemon == Daemon::Down {
        return Response::bare(595, "Connection refused");
    }
    let waiting = sim.clone();
    let node = call.node.clone();
    let running = async move {
        wait_for_daemon(&waiting, &node).await;
        api::run(call, endpoint, params, upload).await
    };
    let mut response = limited(sim, &raw.format, running).await;
    if response.has_wide_reason() {
        // pvedaemon's worker dies when it writes a character above U+00FF into the status line.
        return Response { delay: 5, ..Response::bare(596, "Broken pipe") };
    }
    response.proxied = true;
    response
}

async fn wait_for_daemon(sim: &Sim, node: &str) {
    while sim.read().node(node).is_some_and(|node| node.pvedaemon == Daemon::Hanging) {
        sim.clock.sleep(Duration::from_millis(200)).await;
    }
}

/// Runs a forwarded call. After 30 s the client hears 596; the call goes on.
async fn limited(
    sim: &Arc<Sim>,
    format: &str,
    running: impl Future<Output = ApiResult<Reply>> + Send + 'static,
) -> Response {
    let busy = sim.clock.busy();
    let handle = tokio::spawn(async move {
        let result = running.await;
        // Handed over with the result, so that a virtual clock does not jump to the limit in between.
        (result, busy)
    });
    match sim.clock.timeout(PROXY_LIMIT, handle).await {
        Some(Ok((result, busy))) => {
            let response = Response::api(format, result);
            drop(busy);
            response
        }
        Some(Err(_)) => Response::bare(596, "Broken pipe"),
        None => Response::bare(596, "Connection timed out"),
    }
}

fn permitted(sim: &Sim, endpoint: &Endpoint, user: &str, params: &Map<String, Value>) -> ApiResult<()> {
    match &endpoint.allow {
        Allow::World if user.is_empty() => Ok(()),
        _ if user.is_empty() => Err(ApiError::permission(Some("user != null"))),
        _ if user == "root@pam" => Ok(()),
        Allow::World => Err(ApiError::permission(None)),
        Allow::User => Ok(()),
        Allow::Root => Err(ApiError::permission(Some("user != root@pam"))),
        Allow::Check(check) => access::declared_check(&sim.read().access, sim.version, check, user, params),
    }
}

fn target_node(sim: &Arc<Sim>, contacted: &str, found: &Match) -> ApiResult<String> {
    let Some(node) = found.path_params.get("node") else { return Ok(contacted.to_owned()) };
    if !found.endpoint.proxied {
        return Ok(if node == "localhost" { contacted.to_owned() } else { node.clone() });
    }
    resolve_node(sim, contacted, node)
}
