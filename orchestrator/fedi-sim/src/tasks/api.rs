//! `/nodes/{node}/tasks` and `/cluster/tasks`.

use std::time::Duration;

use proxmox_schema::Upid;
use serde_json::{Map, Value, json};

use super::TaskRecord;
use crate::access::{Path, split_token};
use crate::call::{Call, Reply};
use crate::error::{ApiError, ApiResult};

/// A user owns the tasks of all its tokens; a token only its own.
fn owns(user: &str, task: &Upid) -> bool {
    user == task.user || split_token(&task.user).is_some_and(|(owner, _)| owner == user)
}

fn common(task: &Upid, upid: &str) -> Map<String, Value> {
    let mut row = Map::new();
    row.insert("upid".to_owned(), upid.into());
    row.insert("node".to_owned(), task.node.as_str().into());
    row.insert("pid".to_owned(), task.pid.into());
    row.insert("pstart".to_owned(), task.process_start.into());
    row.insert("starttime".to_owned(), task.start.into());
    row.insert("type".to_owned(), task.kind.as_str().into());
    row.insert("id".to_owned(), task.id.as_str().into());
    row
}

/// Owner and token apart, as everywhere but in the list of active tasks.
fn split_owner(row: &mut Map<String, Value>, user: &str) {
    match split_token(user) {
        Some((owner, token)) => {
            row.insert("user".to_owned(), owner.into());
            row.insert("tokenid".to_owned(), token.into());
        }
        None => {
            row.insert("user".to_owned(), user.into());
        }
    }
}

fn finished_row(task: &TaskRecord, parsed: &Upid) -> Value {
    let mut row = common(parsed, &task.upid);
    split_owner(&mut row, &parsed.user);
    row.insert("endtime".to_owned(), task.ended.unwrap_or(0).into());
    row.insert("status".to_owned(), task.status.clone().unwrap_or_default().into());
    row.into()
}

fn active_row(task: &TaskRecord, parsed: &Upid) -> Value {
    let mut row = common(parsed, &task.upid);
    row.insert("user".to_owned(), parsed.user.as_str().into());
    row.insert("saved".to_owned(), "0".into());
    row.insert("status".to_owned(), "RUNNING".into());
    row.into()
}

/// `ok`, `warning`, `error` or `unknown`.
fn status_class(status: Option<&str>) -> &'static str {
    match status {
        None | Some("unexpected status") => "unknown",
        Some("OK") => "ok",
        Some(text) if text.starts_with("WARNINGS: ") => "warning",
        Some(_) => "error",
    }
}

/// `GET /nodes/{node}/tasks`
pub(crate) fn task_list(call: &Call) -> Reply {
    let params = &call.params;
    let state = call.sim.read();
    let auditor = call.allows(&state, &Path::node(&call.node), &["Sys.Audit"]);
    let start = params.integer("start").and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    let limit = params.integer("limit").and_then(|n| usize::try_from(n).ok()).unwrap_or(50);
    let source = params.text("source").unwrap_or_else(|| "archive".to_owned());
    let errors = params.is_set("errors");
    let classes: Option<Vec<String>> = (!errors && params.has("statusfilter"))
        .then(|| params.list("statusfilter").iter().map(|class| class.to_lowercase()).collect());
    let wanted = |task: &TaskRecord, parsed: &Upid| {
        let class = status_class(task.status.as_deref());
        let started = i64::from(parsed.start);
        parsed.node == call.node
            && (auditor || owns(&call.user, parsed))
            && params.text("userfilter").is_none_or(|user| parsed.user.to_lowercase().contains(&user.to_lowercase()))
            && params.text("typefilter").is_none_or(|kind| kind == parsed.kind)
            && params.text("vmid").is_none_or(|vmid| vmid == parsed.id)
            && params.integer("since").is_none_or(|since| started >= since)
            && params.integer("until").is_none_or(|until| started <= until)
            && !(errors && class == "ok")
            && classes.as_ref().is_none_or(|classes| classes.iter().any(|name| name == class))
    };
    let mut rows = Vec::new();
    let mut count = 0;
    let mut offer = |row: Value| {
        count += 1;
        if count > start && rows.len() < limit {
            rows.push(row);
        }
    };
    let parsed: Vec<(&TaskRecord, Upid)> = state.tasks.iter().filter_map(|task| Some((task, task.parsed()?))).collect();
    if source != "archive" {
        for (task, parsed) in parsed.iter().filter(|(task, _)| task.status.is_none()) {
            if wanted(task, parsed) {
                offer(active_row(task, parsed));
            }
        }
    }
    if source != "active" {
        let mut done: Vec<&(&TaskRecord, Upid)> = parsed.iter().filter(|(task, _)| task.status.is_some()).collect();
        done.sort_by_key(|(task, _)| task.ended);
        for (task, parsed) in done.into_iter().rev() {
            if wanted(task, parsed) {
                offer(finished_row(task, parsed));
            }
        }
    }
    Reply { data: rows.into(), total: Some(count).filter(|count| *count > 0) }
}

/// `GET /cluster/tasks`: the newest tasks of all nodes that the caller may see.
pub(crate) fn cluster_tasks(call: &Call) -> Reply {
    let state = call.sim.read();
    let auditor = call.allows(&state, &Path::root(), &["Sys.Audit"]);
    let rows: Vec<Value> = state
        .tasks
        .iter()
        .rev()
        .filter_map(|task| Some((task, task.parsed()?)))
        // A node tells the others about no more than these.
        .take(25)
        .filter(|(_, parsed)| auditor || parsed.user == call.user)
        .map(|(task, parsed)| {
            let mut row = common(&parsed, &task.upid);
            for key in ["pid", "pstart"] {
                row.remove(key);
            }
            split_owner(&mut row, &parsed.user);
            if let (Some(status), Some(ended)) = (&task.status, task.ended) {
                row.insert("status".to_owned(), status.as_str().into());
                row.insert("endtime".to_owned(), ended.into());
                row.insert("saved".to_owned(), "1".into());
            } else {
                row.insert("saved".to_owned(), "0".into());
            }
            row.into()
        })
        .collect();
    Value::from(rows).into()
}

/// `GET /nodes/{node}/tasks/{upid}`
pub(crate) fn task_index() -> Reply {
    json!([{"name": "log"}, {"name": "status"}]).into()
}

fn parse(call: &Call) -> ApiResult<Upid> {
    call.params.need("upid").parse().map_err(|_| ApiError::param("upid", "unable to parse worker upid"))
}

fn may_see(call: &Call, task: &Upid, privilege: &str) -> ApiResult<()> {
    if owns(&call.user, task) {
        return Ok(());
    }
    call.require(&call.sim.read(), &Path::node(&call.node), &[privilege])
}

fn record(call: &Call) -> Option<TaskRecord> {
    let upid = call.params.need("upid");
    call.sim.read().tasks.iter().rev().find(|task| task.upid == upid).cloned()
}

fn no_such_task() -> ApiError {
    ApiError::param("upid", "no such task")
}

/// `GET /nodes/{node}/tasks/{upid}/status`
pub(crate) fn task_status(call: &Call) -> ApiResult<Reply> {
    let parsed = parse(call)?;
    let task = record(call).ok_or_else(no_such_task)?;
    may_see(call, &parsed, "Sys.Audit")?;
    let mut row = common(&parsed, &task.upid);
    split_owner(&mut row, &parsed.user);
    match task.status {
        None => {
            row.insert("status".to_owned(), "running".into());
        }
        Some(status) => {
            row.insert("status".to_owned(), "stopped".into());
            row.insert("exitstatus".to_owned(), status.into());
        }
    }
    Ok(Value::from(row).into())
}

/// `GET /nodes/{node}/tasks/{upid}/log`
pub(crate) fn task_log(call: &Call) -> ApiResult<Reply> {
    let parsed = parse(call)?;
    may_see(call, &parsed, "Sys.Audit")?;
    let Some(task) = record(call) else {
        let line = "unable to open file - No such file or directory";
        let row = json!({"n": 1, "t": line});
        // Before 9.x the one line is not in a list.
        let data = if call.sim.version.major() >= 9 { json!([row]) } else { row };
        return Ok(Reply { data, total: Some(1) });
    };
    if task.log.is_empty() {
        return Ok(Reply { data: json!([{"n": 1, "t": "no content"}]), total: Some(1) });
    }
    let start = call.params.integer("start").and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    let limit = match call.params.integer("limit").and_then(|n| usize::try_from(n).ok()) {
        None => 50,
        Some(0) => usize::MAX,
        Some(limit) => limit,
    };
    let lines: Vec<Value> = task
        .log
        .iter()
        .enumerate()
        .skip(start)
        .take(limit)
        .map(|(index, line)| json!({"n": index + 1, "t": line}))
        .collect();
    Ok(Reply { data: lines.into(), total: Some(task.log.len()) })
}

/// Whether a worker that was woken has ended; simulated time stands while it is looked after.
async fn ended(call: &Call, upid: &str) -> bool {
    for _ in 0..50 {
        if call.sim.workers.get(upid).is_none() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    false
}

/// `DELETE /nodes/{node}/tasks/{upid}`
pub(crate) async fn task_stop(call: &Call) -> ApiResult<Reply> {
    let parsed = parse(call)?;
    record(call).ok_or_else(no_such_task)?;
    may_see(call, &parsed, "Sys.Modify")?;
    let upid = call.params.need("upid");
    let Some(control) = call.sim.workers.get(&upid) else { return Ok(Reply::null()) };
    control.interrupt();
    // SIGTERM, then up to five seconds, then SIGKILL.
    for _ in 0..5 {
        if ended(call, &upid).await {
            return Ok(Reply::null());
        }
        call.sim.clock.sleep(Duration::from_secs(1)).await;
    }
    control.kill();
    Ok(Reply::null())
}
