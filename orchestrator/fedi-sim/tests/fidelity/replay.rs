//! Plays the records of one install in order.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use fedi_sim::backend::ModelBackend;
use fedi_sim::faults::Command;
use fedi_sim::{SimHandle, Version};
use percent_encoding::percent_decode_str;
use regex::{Captures, Regex};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::bridges::{self, Bridge, Step};
use crate::common::{Answer, Api, Client, encode};
use crate::compare::{Normaliser, differences};
use crate::record::{Record, Request};
use crate::report::Outcome;
use crate::{connections, install, source, uploads};

/// Records whose task is still running when the next request is sent.
const NOT_WAITED: [&str; 13] = [
    "task-running-make",
    "dl-slow",
    "cr-abort-create",
    "cr-during-delete",
    "cr-kill-create",
    "cr2-create",
    "cr2-destroy-during-create",
    "cr2-start-during-create",
    "im-create",
    "create-parallel-1",
    "create-parallel-2",
    "create-parallel-3",
    "create-parallel-4",
];
/// The recorder's VM for creates that were not meant to last; destroyed after each.
const SCRATCH: u32 = 900;
const RECORDED_SOURCE: &str = "10.99.0.1:8099";
const RECORDED_SHA: &str = "ef9e6e7ed2651bf83c7d81d839bb62ba52fd77c80e6224667e30d3e1747d85e5";

static UPID: LazyLock<Regex> = LazyLock::new(|| Regex::new("UPID%3A[^/?]*").unwrap());
static PID: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"pid=(\d+)").unwrap());
static TOKEN: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"([a-z]+@[a-z]+![A-Za-z0-9]+)=<secret>").unwrap());
static ENCODED_TICKET: LazyLock<Regex> = LazyLock::new(|| Regex::new("PVE%3A[^ ;&\"]*<signature>").unwrap());
static TICKET: LazyLock<Regex> = LazyLock::new(|| Regex::new("PVE:[^ ;&\"]*<signature>").unwrap());
static CSRF: LazyLock<Regex> = LazyLock::new(|| Regex::new("[0-9A-F]{8}:<hash>").unwrap());

struct Replay {
    sim: SimHandle,
    guests: Arc<ModelBackend>,
    client: Client,
    root: Api,
    normaliser: Normaliser,
    image: Vec<u8>,
    /// Recorded to ours.
    upids: HashMap<String, String>,
    digests: HashMap<String, String>,
    pids: HashMap<i64, i64>,
    /// Our UPID by the record that started it.
    tasks: HashMap<String, String>,
    /// The last task of a bridge.
    last: String,
    ticket: String,
    csrf: String,
    source: String,
    sha: String,
    bridges: Vec<Bridge>,
    played: HashMap<String, Answer>,
    records: HashMap<String, Record>,
}

/// Plays `records` on a new simulator.
pub(crate) async fn run(version: Version, beginning: u64, records: Vec<Record>) -> Vec<Outcome> {
    let mut replay = prepare(version, beginning, &records).await;
    let mut outcomes = Vec::new();
    for record in &records {
        let wrong = replay.play(record).await;
        outcomes.push(Outcome { id: record.id.clone(), group: record.group.clone(), wrong });
    }
    outcomes
}

async fn prepare(version: Version, beginning: u64, records: &[Record]) -> Replay {
    let (sim, guests) = install::start(version, Duration::from_secs(beginning)).await;
    sim.add_image("local", "big.qcow2", 64 << 20, 63_242_240).unwrap();
    let path = sim.add_image("local", "small.qcow2", 8 << 20, 196_616).unwrap();
    sim.add_import("local", "notqcow.qcow2", b"this is no qcow2", 65_536).unwrap();
    let image = std::fs::read(path).unwrap();
    let sha = format!("{:x}", Sha256::digest(&image));
    let source = source::serve(image.clone()).await.to_string();
    let mut normaliser = Normaliser::new();
    normaliser.texts.push((source.clone(), RECORDED_SOURCE.to_owned()));
    normaliser.texts.push(("127.0.0.1:1.".to_owned(), "10.99.0.1:1.".to_owned()));
    normaliser.texts.push((sha.clone(), RECORDED_SHA.to_owned()));
    let client = Client::new(sim.address(), sim.fingerprint());
    let root = Api::new(&sim, "root@pam!full");
    let port = sim.address().port();
    normaliser.texts.push((format!("127.0.0.1:{port}"), "10.99.0.1:8006".to_owned()));
    let wanted = if version.major() < 9 { "8.4" } else { "9.2" };
    let bridges = bridges::load();
    let fits = |bridge: &Bridge| bridge.version.as_deref().is_none_or(|version| version == wanted);
    let mut replay = Replay {
        sim,
        guests,
        client,
        root,
        normaliser,
        image,
        upids: HashMap::new(),
        digests: HashMap::new(),
        pids: HashMap::new(),
        tasks: HashMap::new(),
        last: String::new(),
        ticket: String::new(),
        csrf: String::new(),
        source,
        sha,
        bridges: bridges.into_iter().filter(fits).collect(),
        played: HashMap::new(),
        records: records.iter().map(|record| (record.plain_id().to_owned(), record.clone())).collect(),
    };
    replay.before("start").await;
    replay.log_in().await;
    replay
}

impl Replay {
    async fn log_in(&mut self) {
        let body = format!("username=root@pam&password={}", install::password("root@pam"));
        let kind = ("Content-Type".to_owned(), "application/x-www-form-urlencoded".to_owned());
        let answer = self.client.raw("POST", "/api2/json/access/ticket", &[kind], body.as_bytes()).await;
        answer.data()["ticket"].as_str().unwrap().clone_into(&mut self.ticket);
        answer.data()["CSRFPreventionToken"].as_str().unwrap().clone_into(&mut self.csrf);
    }

    async fn play(&mut self, record: &Record) -> Vec<String> {
        let id = record.plain_id();
        self.before(id).await;
        self.pass_until(record).await;
        let root = format!("root@pam!full={}", self.sim.secret("root@pam!full").unwrap());
        if record.request.raw.is_some() {
            return connections::raw(&self.client, record, &root, &self.normaliser).await;
        }
        let headers = vec![("Authorization".to_owned(), format!("PVEAPIToken={root}"))];
        if record.request.repeat.is_some() {
            return connections::repeated(&self.client, record, &headers).await;
        }
        if record.response.second_request.is_some() {
            return connections::reused(&self.client, record, &headers).await;
        }
        let answer = match self.played.remove(id) {
            Some(answer) => answer,
            None => self.send(record).await,
        };
        differences(record, &answer, &self.normaliser)
    }

    async fn send(&mut self, record: &Record) -> Answer {
        let id = record.plain_id().to_owned();
        let about_task = id.strip_suffix(".task").or_else(|| id.strip_suffix(".log"));
        if about_task.is_some()
            && let Some(upid) = self.upid_in(&record.request.path)
        {
            self.wait(&upid).await;
        }
        let Request { method, path, headers, body, .. } = &record.request;
        if method == "POST" && path.ends_with("/qemu") && record.response.status == 200 {
            self.make_room(body).await;
        }
        let path = self.path(path);
        let user = user_of(body);
        let headers: Vec<(String, String)> =
            headers.iter().map(|(name, value)| (name.clone(), self.secrets(value, &user))).collect();
        let bytes = if path.ends_with("/upload") && method == "POST" {
            let described = self.secrets(body.as_str().unwrap_or_default(), &user);
            uploads::body(&id, &described, &self.image)
        } else {
            let text = match body {
                Value::Null => String::new(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            self.secrets(&text, &user).into_bytes()
        };
        let answer = self.client.raw(method, &path, &headers, &bytes).await;
        self.learn(record, &answer);
        if let Some(upid) = answer.data().as_str().filter(|text| text.starts_with("UPID:")) {
            self.tasks.insert(id.clone(), upid.to_owned());
            if NOT_WAITED.contains(&id.as_str()) {
                // The worker has begun by the time of the next request.
                self.sim.clock().advance(Duration::from_millis(100)).await;
            } else {
                self.wait(upid).await;
            }
            if body["vmid"] == SCRATCH {
                self.make_room(body).await;
            }
        }
        answer
    }

    /// The recorder destroyed its VMs before it used their ids again.
    async fn make_room(&self, body: &Value) {
        let Some(vmid) = body["vmid"].as_u64().and_then(|vmid| u32::try_from(vmid).ok()) else { return };
        let Some(vm) = self.sim.vm(vmid) else { return };
        let path = format!("/nodes/pve/qemu/{vmid}");
        if vm.running {
            let stopping = self.root.post(&format!("{path}/status/stop"), Value::Null).await;
            self.wait(&stopping.upid()).await;
        }
        let destroying = self.root.delete(&path).await;
        self.wait(&destroying.upid()).await;
    }

    /// What stands for what from now on.
    fn learn(&mut self, record: &Record, answer: &Answer) {
        let (ours, recorded) = (answer.data(), &record.response.body["data"]);
        if let (Some(theirs), Some(ours)) = (record.upid(), ours.as_str()) {
            self.upids.insert(theirs.to_owned(), ours.to_owned());
        }
        if let (Some(theirs), Some(ours)) = (recorded["digest"].as_str(), ours["digest"].as_str()) {
            self.digests.insert(theirs.to_owned(), ours.to_owned());
        }
        if let (Some(theirs), Some(ours)) = (recorded["pid"].as_i64(), ours["pid"].as_i64()) {
            self.pids.insert(theirs, ours);
        }
    }

    fn upid_in(&self, path: &str) -> Option<String> {
        let text = percent_decode_str(path).decode_utf8_lossy().into_owned();
        let start = text.find("UPID:")?;
        let upid = text[start..].split(['/', '?']).next()?;
        self.upids.get(upid).cloned()
    }

    fn path(&self, path: &str) -> String {
        let path = UPID.replace_all(path, |found: &Captures<'_>| {
            let recorded = percent_decode_str(&found[0]).decode_utf8_lossy().into_owned();
            self.upids.get(&recorded).map_or_else(|| found[0].to_owned(), |ours| encode(ours))
        });
        let path = PID.replace_all(&path, |found: &Captures<'_>| {
            let recorded: i64 = found[1].parse().unwrap();
            format!("pid={}", self.pids.get(&recorded).copied().unwrap_or(recorded))
        });
        self.secrets(&path, "")
    }

    /// Puts in what the recording leaves out or what is another thing here.
    fn secrets(&self, text: &str, user: &str) -> String {
        let text = TOKEN.replace_all(text, |found: &Captures<'_>| {
            let id = &found[1];
            format!("{id}={}", self.sim.secret(id).unwrap_or("00000000-0000-0000-0000-000000000000"))
        });
        let text = ENCODED_TICKET.replace_all(&text, |_: &Captures<'_>| encode(&self.ticket));
        let text = TICKET.replace_all(&text, |_: &Captures<'_>| self.ticket.clone());
        let text = CSRF.replace_all(&text, |_: &Captures<'_>| self.csrf.clone());
        let mut text = text
            .replace("<password>", install::password(user))
            .replace(RECORDED_SOURCE, &self.source)
            .replace("10.99.0.1:1/", "127.0.0.1:1/")
            .replace(RECORDED_SHA, &self.sha);
        for (recorded, ours) in &self.digests {
            text = text.replace(recorded, ours);
        }
        text
    }

    /// Moves the clock to where it was when the answer was recorded.
    async fn pass_until(&self, record: &Record) {
        let time = |hex: &str| u64::from_str_radix(hex, 16).ok();
        let data = &record.response.body["data"];
        let recorded = record
            .upid()
            .and_then(|upid| time(upid.split(':').nth(4)?))
            .or_else(|| time(data["CSRFPreventionToken"].as_str()?.split(':').next()?));
        if let Some(seconds) = recorded {
            let missing = Duration::from_secs(seconds).saturating_sub(self.sim.clock().now());
            if !missing.is_zero() {
                self.sim.clock().advance(missing).await;
            }
        }
    }

    async fn wait(&self, upid: &str) {
        for _ in 0..20_000 {
            if self.sim.exit_text(upid).is_some() {
                return;
            }
            self.sim.clock().advance(Duration::from_millis(50)).await;
        }
        panic!("{upid} never ended");
    }

    async fn before(&mut self, id: &str) {
        let steps: Vec<Step> =
            self.bridges.iter().filter(|bridge| bridge.before == id).flat_map(|bridge| bridge.steps.clone()).collect();
        for step in steps {
            self.step(step).await;
        }
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Call(method, path, token, body) => {
                let path = self.fill(&path);
                let api = Api::new(&self.sim, &token);
                let answer = api.call(&method, &path, body).await;
                assert_eq!(answer.status, 200, "{method} {path}: {answer:?}");
                if let Some(upid) = answer.data().as_str().filter(|text| text.starts_with("UPID:")) {
                    self.wait(upid).await;
                    upid.clone_into(&mut self.last);
                }
            }
            Step::Upid(recorded) => {
                self.upids.insert(recorded, self.last.clone());
            }
            Step::Control(command) => {
                let text = self.fill(&command.to_string());
                let command: Command = serde_json::from_str(&text).unwrap();
                let reply = self.sim.control(command).await;
                assert!(reply.ok, "{text}: {reply:?}");
            }
            Step::Agents(answer) => self.guests.set(|settings| settings.agent_dead = !answer),
            Step::Wait(id) => self.wait(&self.tasks[&id].clone()).await,
            Step::Pass(seconds) => self.sim.clock().advance(Duration::from_secs(seconds)).await,
            Step::Digest(recorded, vmid) => {
                let config = self.root.get(&format!("/nodes/pve/qemu/{vmid}/config")).await.data();
                self.digests.insert(recorded, config["digest"].as_str().unwrap().to_owned());
            }
            Step::Play(id) => {
                let record = self.records[&id].clone();
                let answer = self.send(&record).await;
                self.played.insert(id, answer);
            }
        }
    }

    /// Puts UPIDs in: `{upid:RECORD}`, or encoded `{encoded:RECORD}`.
    fn fill(&self, text: &str) -> String {
        let pattern = Regex::new(r"\{(upid|encoded):([^}]+)\}").unwrap();
        let filled = pattern.replace_all(text, |found: &Captures<'_>| {
            let upid = &self.tasks[&found[2]];
            if &found[1] == "upid" { upid.clone() } else { encode(upid) }
        });
        filled.into_owned()
    }
}

fn user_of(body: &Value) -> String {
    if let Some(user) = body["username"].as_str() {
        return user.to_owned();
    }
    let text = body.as_str().unwrap_or_default();
    let field = text.split('&').find_map(|pair| pair.strip_prefix("username="));
    field.map(|value| percent_decode_str(value).decode_utf8_lossy().into_owned()).unwrap_or_default()
}
