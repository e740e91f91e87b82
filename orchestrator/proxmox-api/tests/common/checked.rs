//! A server that knows the tables of one release, and refuses whatever does not fit them.

use std::sync::{Arc, Mutex};

use percent_encoding::percent_decode_str;
use proxmox_schema::{Match, Method, PveVersion, Returns, Schema};
use serde_json::{Map, Value, json};

use super::server::{Received, Reply, Server};

pub(crate) const UPID: &str = "UPID:pve:00000A85:000B264E:6B014552:qmstart:100:fedi@pve!deploy:";

/// A server, and what it found wrong.
pub(crate) struct Checked {
    pub(crate) server: Server,
    wrong: Arc<Mutex<Vec<String>>>,
    /// Method and path with placeholders of each request.
    reached: Arc<Mutex<Vec<(Method, String)>>>,
}

impl Checked {
    pub(crate) async fn start(version: PveVersion) -> Self {
        let wrong = Arc::new(Mutex::new(Vec::new()));
        let reached = Arc::new(Mutex::new(Vec::new()));
        let (wrong_, reached_) = (wrong.clone(), reached.clone());
        let server = Server::start(move |request| match check(version, request) {
            Ok(found) => {
                let endpoint = found.endpoint;
                reached_.lock().unwrap().push((endpoint.method, endpoint.path.clone()));
                Reply::ok(&answer(endpoint.path.as_str(), endpoint.method, endpoint.returns))
            }
            Err(reason) => {
                wrong_.lock().unwrap().push(format!("{version} {} {}: {reason}", request.method, request.target));
                Reply::error(400, "Parameter verification failed.", "")
            }
        })
        .await;
        Self { server, wrong, reached }
    }

    pub(crate) fn wrong(&self) -> Vec<String> {
        self.wrong.lock().unwrap().clone()
    }

    pub(crate) fn reached(&self) -> Vec<(Method, String)> {
        self.reached.lock().unwrap().clone()
    }
}

fn check(version: PveVersion, request: &Received) -> Result<Match, String> {
    let method: Method = request.method.parse().map_err(|error| format!("{error}"))?;
    let target = request.target.strip_prefix("/api2/json").ok_or("not the API")?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let path = percent_decode_str(path).decode_utf8_lossy();
    let found = Schema::for_version(version).find(method, &path).ok_or("no such endpoint")?;
    if !found.endpoint.token_allowed && request.headers.contains_key("authorization") {
        return Err("not for tokens".to_owned());
    }
    let mut parameters = body(request)?;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').ok_or("a query without a value")?;
        let decode = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
        parameters.insert(decode(name), Value::String(decode(value)));
    }
    let merged = found.merge(parameters).map_err(|errors| format!("{errors:?}"))?;
    found.endpoint.validate(&merged).map_err(|errors| format!("{errors:?}"))?;
    Ok(found)
}

fn body(request: &Received) -> Result<Map<String, Value>, String> {
    let kind = request.headers.get("content-type").map_or("", String::as_str);
    if kind.starts_with("multipart/form-data; boundary=") {
        return super::multipart::fields(kind, &request.body);
    }
    match (request.method.as_str(), request.body.is_empty()) {
        ("GET" | "DELETE", false) => Err("Unexpected content for method".to_owned()),
        (_, true) => Ok(Map::new()),
        _ if kind != "application/json" => Err(format!("a body of type `{kind}`")),
        _ => match serde_json::from_slice(&request.body) {
            Ok(Value::Object(fields)) => Ok(fields),
            _ => Err("a body that is no object".to_owned()),
        },
    }
}

/// Something of the right shape.
fn answer(path: &str, method: Method, returns: Returns) -> Value {
    match (path, method) {
        ("/version", _) => json!({"release": "9.2", "version": "9.2.11"}),
        ("/cluster/nextid", _) => json!("100"),
        (path, _) if path.ends_with("/status/current") => json!({"status": "running"}),
        (path, _) if path.ends_with("{upid}/status") => json!({"status": "stopped", "exitstatus": "OK"}),
        (path, _) if path.ends_with("/content/{volume}") && method == Method::Get => {
            json!({"size": 1, "format": "raw"})
        }
        (path, _) if path.ends_with("/agent/exec") => json!({"pid": 1}),
        (path, _) if path.ends_with("/agent/exec-status") => json!({"exited": 1}),
        (path, _) if path.ends_with("/agent/file-read") => json!({"content": "x"}),
        (path, _) if path.ends_with("/agent/network-get-interfaces") => json!({"result": []}),
        _ => match returns {
            Returns::Null => Value::Null,
            Returns::Array => json!([]),
            Returns::Upid => json!(UPID),
            Returns::String | Returns::Any => json!(""),
            Returns::Integer => json!(1),
            Returns::Object => json!({}),
        },
    }
}
