//! Sorts every distinct refusal that real Proxmox VE daemons were recorded with, and every distinct end of a task.
//!
//! The recordings are not part of the repository: they are read from `../shared/data/pve-recorded.jsonl` beside the
//! checkout, and the test says so when they are not there. What is expected is in `snapshots/`; the cases that matter
//! stand in `src/classify.rs` too.

#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use common::server::{Reply, Server};
use common::setup;
use proxmox_api::{Method, Parameters, Request};
use serde_json::Value;

/// A request of any method, whose answer is of no interest.
struct Any<const WRITE: bool>;

impl<const WRITE: bool> Request for Any<WRITE> {
    const METHOD: Method = if WRITE { Method::Post } else { Method::Get };
    type Answer = Value;

    fn template(&self) -> &'static str {
        "/version"
    }

    fn parameters(&self) -> Parameters {
        Parameters::new()
    }
}

#[tokio::test]
async fn every_recorded_refusal_has_a_class() {
    let Some(text) = common::shared_data("pve-recorded.jsonl") else { return };
    let reply = Arc::new(Mutex::new(Reply::Drop));
    let current = reply.clone();
    let server = Server::start(move |_| current.lock().unwrap().clone()).await;
    let client = setup(&server).client;

    let mut seen = BTreeMap::new();
    let mut ends = BTreeSet::new();
    for line in text.lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        let response = &record["response"];
        if let Some(exit) = response["body"]["data"]["exitstatus"]
            .as_str()
            .filter(|exit| *exit != "OK" && !exit.starts_with("WARNINGS"))
        {
            ends.insert(format!("{:?} <- {}", proxmox_api::classify(exit), general(exit)));
        }
        let (Some(status), Some(method)) = (response["status"].as_u64(), record["request"]["method"].as_str()) else {
            continue;
        };
        if status == 200 {
            continue;
        }
        let body = &response["body"];
        let body = body.as_str().map_or_else(|| body.to_string(), str::to_owned);
        let reason = response["reason"].as_str().unwrap();
        // hyper refuses to tell what is not ASCII; the body has it too.
        let reason = if reason.is_ascii() { reason } else { "" };
        *reply.lock().unwrap() = Reply::error(u16::try_from(status).unwrap(), reason, &body);
        let writes = method != "GET";
        let answer = if writes { client.send(&Any::<true>).await } else { client.send(&Any::<false>).await };
        let error = answer.unwrap_err();
        let class = general(&format!("{:?}", error.class()));
        let kind = if writes { "write" } else { "read" };
        seen.entry(format!("{status} {kind} {class}")).or_insert_with(BTreeSet::new).insert(general(error.message()));
    }
    let mut lines = Vec::new();
    for (class, messages) in seen {
        lines.push(class);
        lines.extend(messages.into_iter().map(|message| format!("    {message}")));
    }
    lines.push("task".to_owned());
    lines.extend(ends.into_iter().map(|end| format!("    {end}")));
    insta::assert_snapshot!(lines.join("\n"));
}

/// Without numbers and digests, so that one line stands for all VMs; and not longer than a line.
fn general(text: &str) -> String {
    let mut general = String::new();
    let mut words = text.split_inclusive(|c: char| !c.is_ascii_alphanumeric());
    for word in &mut words {
        let bare = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        let hex = bare.len() >= 16 && bare.bytes().all(|byte| byte.is_ascii_hexdigit());
        if hex || (!bare.is_empty() && bare.bytes().all(|byte| byte.is_ascii_digit())) {
            general.push('N');
            general.push_str(&word[bare.len()..]);
        } else {
            general.push_str(word);
        }
    }
    let short: String = general.chars().take(180).collect();
    short.replace('\n', " ")
}
