//! Waits for tasks, on a clock that does not wait.

#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::clock::TestClock;
use common::options;
use common::server::{Reply, Server};
use proxmox_api::{Class, Client, Clock, Counter, Error, Estimate, History, Method, Missing, TaskEnd, Upid, Wait};
use serde_json::json;

const UPID: &str = "UPID:pve2:00000A85:000B264E:6B014552:qmcreate:100:fedi@pve!deploy:";

const fn ms(time: u64) -> Duration {
    Duration::from_millis(time)
}

/// A task that ends so long after its start, with these words and this log.
struct Task {
    end: Duration,
    exit: &'static str,
    log: &'static [&'static str],
}

struct Waited {
    outcome: Result<TaskEnd, Error>,
    /// From the task's end to when it was noticed.
    late: Duration,
    counter: Arc<Counter>,
}

async fn wait_for(task: Task, wait: Wait) -> Waited {
    let clock = Arc::new(TestClock::new());
    let begin = clock.now();
    let server_clock = clock.clone();
    let Task { end, exit, log } = task;
    let server = Server::start(move |request| {
        assert!(request.target.starts_with("/api2/json/nodes/pve2/tasks/UPID%3Apve2%3A"), "{}", request.target);
        if request.target.contains("/log?") {
            let line = |(number, text): (usize, &&str)| json!({"n": number + 1, "t": text});
            return Reply::ok(&log.iter().enumerate().map(line).collect());
        }
        let ended = server_clock.now().saturating_sub(begin) >= end;
        Reply::ok(&if ended { json!({"status": "stopped", "exitstatus": exit}) } else { json!({"status": "running"}) })
    })
    .await;
    let counter = Arc::new(Counter::default());
    let options = options(&server).with_clock(clock.clone()).with_observer(counter.clone());
    let upid: Upid = UPID.parse().unwrap();
    let outcome = Client::new(options).unwrap().wait(&upid, &wait).await;
    let late = clock.now().saturating_sub(begin).saturating_sub(end);
    Waited { outcome, late, counter }
}

fn import(end: u64) -> Task {
    Task { end: ms(end), exit: "OK", log: &[] }
}

fn patient() -> Wait {
    Wait::up_to(Duration::from_secs(900))
}

#[tokio::test]
async fn a_known_import_is_noticed_at_once_with_few_requests() {
    let estimate = Estimate::about(ms(20_000));
    let mut late = Vec::new();
    let mut requests = Vec::new();
    for end in (19_800..20_200).step_by(20) {
        let waited = wait_for(import(end), patient().expecting(Some(estimate))).await;
        waited.outcome.unwrap();
        late.push(waited.late);
        requests.push(waited.counter.total());
    }
    late.sort_unstable();
    requests.sort_unstable();
    assert!(late[late.len() / 2] <= ms(150), "{late:?}");
    assert!(requests[requests.len() / 2] <= 3, "{requests:?}");
    assert!(*requests.last().unwrap() <= 5, "{requests:?}");
}

#[tokio::test]
async fn an_unknown_task_is_noticed_too() {
    let waited = wait_for(import(20_000), patient()).await;
    let end = waited.outcome.unwrap();
    assert!(waited.late <= ms(2000));
    assert!(end.took.abs_diff(ms(20_000)) <= ms(1000), "{:?}", end.took);
    assert!(end.questions <= 17, "{}", end.questions);
    let quick = wait_for(import(90), patient()).await;
    assert_eq!((quick.outcome.unwrap().questions, quick.late), (1, ms(10)));
}

/// Were the time of noticing an end taken for the end, every estimate would be later than
/// the one before, up to the longest import that there ever was.
#[tokio::test]
async fn what_is_learned_does_not_only_grow() {
    let mut history = History::new();
    let mut late = Vec::new();
    for round in 0..60 {
        // 18 to 22 s, in an order of no meaning.
        let wait = patient().expecting(history.estimate("import"));
        let waited = wait_for(import(18_000 + round * 37 % 60 * 67), wait).await;
        history.add("import", waited.outcome.unwrap().took);
        late.push(waited.late);
    }
    let typical = history.estimate("import").unwrap().typical;
    assert!(typical.abs_diff(ms(20_000)) < ms(1500), "{typical:?}");
    late.sort_unstable();
    assert!(late[late.len() / 2] <= ms(150), "{late:?}");
}

#[tokio::test]
async fn warnings_are_no_failure() {
    let task = Task { exit: "WARNINGS: 2", ..import(50) };
    assert_eq!(wait_for(task, patient()).await.outcome.unwrap().warnings, 2);
}

#[tokio::test]
async fn a_failure_is_told_in_proxmoxs_words() {
    let exit = "unable to create VM 100 - failed to stat '/var/lib/vz/import/missing.qcow2'";
    let error = wait_for(Task { exit, ..import(50) }, patient()).await.outcome.unwrap_err();
    assert_eq!(*error.class(), Class::NotFound(Missing::Volume));
    assert_eq!(error.to_string(), "The task `qmcreate` failed");
    assert_eq!(error.message(), exit);
}

#[tokio::test]
async fn a_full_storage_is_found_in_the_log() {
    let task = Task {
        exit: "unable to create VM 100 - cannot import from 'local:import/big.qcow2' - copy failed: exit code 1",
        log: &[
            "transferred 0.0 B of 60.0 MiB (0.00%)",
            "qemu-img: error while writing: No space left on device",
            "TASK ERROR: x",
        ],
        ..import(50)
    };
    let waited = wait_for(task, patient()).await;
    let error = waited.outcome.unwrap_err();
    assert_eq!(*error.class(), Class::NoSpace);
    assert!(error.message().ends_with("No space left on device"), "{}", error.message());
    assert_eq!(waited.counter.counts()[&(Method::Get, "/nodes/{node}/tasks/{upid}/log")], 1);
}

#[tokio::test]
async fn a_crash_leaves_the_outcome_open() {
    let error = wait_for(Task { exit: "unexpected status", ..import(50) }, patient()).await.outcome.unwrap_err();
    assert_eq!(*error.class(), Class::Ambiguous);
}

#[tokio::test]
async fn the_wait_ends_the_task_does_not() {
    let waited = wait_for(import(60_000), Wait::up_to(Duration::from_secs(10))).await;
    let error = waited.outcome.unwrap_err();
    assert_eq!(*error.class(), Class::Deadline);
    assert_eq!(error.message(), "it still runs after 10 s");
    let methods: Vec<Method> = waited.counter.counts().into_keys().map(|(method, _)| method).collect();
    assert_eq!(methods, [Method::Get], "nothing was stopped");
}

#[tokio::test]
async fn an_unreachable_api_does_not_end_the_wait() {
    let clock = Arc::new(TestClock::new());
    let begin = clock.now();
    let server_clock = clock.clone();
    let server = Server::start(move |_| {
        if server_clock.now().saturating_sub(begin) < Duration::from_secs(30) {
            return Reply::error(595, "No route to host", "");
        }
        Reply::ok(&json!({"status": "stopped", "exitstatus": "OK"}))
    })
    .await;
    let client = Client::new(options(&server).with_clock(clock)).unwrap();
    client.wait(&UPID.parse().unwrap(), &patient()).await.unwrap();
}

#[tokio::test]
async fn a_task_that_nobody_knows_is_an_error() {
    let body = r#"{"data":null,"errors":{"upid":"no such task"},"message":"Parameter verification failed.\n"}"#;
    let server = Server::start(move |_| Reply::error(400, "Parameter verification failed.", body)).await;
    let client = Client::new(options(&server).with_clock(Arc::new(TestClock::new()))).unwrap();
    let error = client.wait(&UPID.parse().unwrap(), &patient()).await.unwrap_err();
    assert_eq!(*error.class(), Class::NotFound(Missing::Task));
}
