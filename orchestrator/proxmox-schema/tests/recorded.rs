//! Holds the parameter check against recorded answers of real Proxmox VE daemons.
//!
//! The recordings are not part of the repository: they are read from `../shared/data/pve-recorded.jsonl` beside
//! the checkout, and the test says so when they are not there. Cases that matter stand in `error_texts.rs`.

#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use std::collections::BTreeMap;

use proxmox_schema::{Errors, Method, PveVersion, Schema};
use serde_json::{Map, Value};

/// What a recorded 400 can say that the schema check does not: the method's own checks.
const FROM_THE_METHOD: [&str; 11] = [
    "'import-from' requires special syntax",
    "Only root may use this option.",
    "No such storage.",
    "Token already exists.",
    "VM ",
    "hotplug problem",
    "invalid ACL path",
    "invalid filename or wrong extension",
    "no such task",
    "storage '",
    "storage ID mismatch",
];
const FROM_THE_METHOD_TOO: [&str; 3] = ["unable to parse worker upid", "unknown option", "you can't use"];

#[test]
fn recorded_errors_are_ours() {
    let Some(text) = common::shared_data("pve-recorded.jsonl") else {
        return;
    };
    let mut agreed: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let mut wrong = Vec::new();
    for line in text.lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        let Some((expected, found)) = compare(&record) else {
            continue;
        };
        let group = agreed.entry(record["group"].as_str().unwrap().to_owned()).or_default();
        group.1 += 1;
        if expected == found {
            group.0 += 1;
        } else {
            wrong.push(format!("{}: recorded {expected:?}, here {found:?}", record["id"]));
        }
    }
    for (group, (same, all)) in &agreed {
        eprintln!("{group}: {same} of {all}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(agreed["params"].1 > 180, "the group of parameter checks is there");
}

/// The recorded errors map and ours, if the request reached the parameter check.
fn compare(record: &Value) -> Option<(Errors, Errors)> {
    let request = &record["request"];
    let response = &record["response"];
    let status = response["status"].as_u64()?;
    // 401, 403, 501 and 595 come before the check; a plain-text 500 from the transport.
    let reached = match status {
        200 => true,
        400 => response["body"]["errors"].is_object(),
        500 => response["body"].is_object() && !response["reason"].as_str()?.contains("lookup"),
        _ => false,
    };
    if !reached {
        return None;
    }
    let version = match record["version"].as_str()?.rsplit(' ').next()?.parse() {
        Ok(version) => version,
        Err(_) => PveVersion::FLOOR,
    };
    let method: Method = request["method"].as_str()?.parse().ok()?;
    let target = request["path"].as_str()?.strip_prefix("/api2/json")?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let found = Schema::for_version(version).find(method, &common::decode(path))?;
    let mut parameters = body(&request["body"], &request["headers"])?;
    parameters.extend(common::form(query));
    let ours = match found.merge(parameters) {
        Ok(merged) => found.endpoint.validate(&merged).err().unwrap_or_default(),
        Err(errors) => errors,
    };
    let recorded = response["body"]["errors"].as_object().into_iter().flatten();
    let recorded: Errors = recorded
        .map(|(name, text)| (name.clone(), text.as_str().unwrap_or_default().to_owned()))
        .filter(|(_, text)| {
            let mut methods = FROM_THE_METHOD.iter().chain(&FROM_THE_METHOD_TOO);
            !methods.any(|start| text.starts_with(start))
        })
        .collect();
    Some((recorded, ours))
}

fn body(body: &Value, headers: &Value) -> Option<Map<String, Value>> {
    match body {
        Value::Null => Some(Map::new()),
        Value::Object(json) => Some(json.clone()),
        Value::String(text) if text.starts_with(r#"{"fields""#) => upload(&serde_json::from_str(text).ok()?),
        Value::String(text) => {
            let json = headers["Content-Type"].as_str().is_some_and(|kind| kind.contains("json"));
            if json { serde_json::from_str(text).ok() } else { Some(common::form(text)) }
        }
        _ => None,
    }
}

/// An upload: the fields, then the file, whose name becomes a parameter.
fn upload(upload: &Value) -> Option<Map<String, Value>> {
    let mut fields = Map::new();
    for field in upload["fields"].as_array()? {
        fields.insert(field[0].as_str()?.to_owned(), field[1].clone());
    }
    let file = upload["file"]["fname"].as_str()?;
    fields.insert("filename".to_owned(), Value::String(file.to_owned()));
    Some(fields)
}
