//! The state database among several processes, and among processes that are killed.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use fedi_engine::store::{AddressStore, Append, Hold, Holder, LeaseStore, RunStore, SqliteStore};
use fedi_model::inventory::AddressPool;
use fedi_model::plan::StepId;
use fedi_model::resource::Family;
use fedi_model::run::{LedgerChange, RunEvent, RunId, RunPhase, RunRecord, RunState};
use fedi_model::{DeploymentName, HostName};
use fedi_test::sample::Sample;
use fedi_test::{MapWorld, child};
use jiff::Timestamp;

fn open(folder: &Path) -> SqliteStore {
    SqliteStore::open(&folder.join("state.db")).unwrap()
}

fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "said {text}").unwrap();
    out.flush().unwrap();
}

/// The child: appends without end and says what was acknowledged.
#[tokio::test]
async fn appending_child() {
    let Some(folder) = child::argument() else { return };
    let store = open(Path::new(&folder));
    let holder = Holder::current();
    let over = store.lease().await.unwrap().filter(|lease| holder.knows_dead(&lease.holder)).map(|it| it.fence);
    let fence = store.acquire(&holder, Timestamp::now(), over).await.unwrap();
    let open = store.open_runs().await.unwrap();
    let (run, mut seq) = if let Some(run) = open.first() {
        (run.id, run.events)
    } else {
        let plan = Sample::new("matrix").deploy(&MapWorld::default()).await;
        let step = plan.stages[0].steps[0].id.clone();
        let run = store.create_run(fence, &plan, Timestamp::now()).await.unwrap();
        append(&store, fence, run, 1, RunEvent::Started { step, before: None }).await;
        (run, 2)
    };
    loop {
        let noted = RunEvent::Noted {
            step: StepId::new("address/matrix/ipv4"),
            key: format!("{}", seq % 50),
            value: "x".repeat(usize::try_from(seq % 3000).unwrap()),
        };
        append(&store, fence, run, seq, noted).await;
        say(&seq.to_string());
        seq += 1;
    }
}

async fn append(store: &SqliteStore, fence: fedi_engine::store::Fence, run: RunId, seq: u64, event: RunEvent) {
    let record = RunRecord { seq, at: Timestamp::now(), event };
    let append = Append { fence, run, record: &record, phase: RunPhase::Forward, ledger: &LedgerChange::None };
    store.append(append).await.unwrap();
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    if child::argument().is_some() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let argument = folder.path().display().to_string();
    let mut last = 0;
    for round in 0..8 {
        let mut process = child::command("appending_child", &argument).stdout(Stdio::piped()).spawn().unwrap();
        let mut acknowledged = 0;
        // It goes on appending while the kill is under way: that hits it anywhere.
        for line in BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap) {
            let Some((_, seq)) = line.split_once("said ") else { continue };
            last = seq.parse::<u64>().unwrap();
            acknowledged += 1;
            if acknowledged == 5 + 7 * round {
                process.kill().unwrap();
            }
        }
        assert!(!process.wait().unwrap().success());
        let store = open(folder.path());
        assert_eq!(store.examine().await.unwrap(), [""; 0], "round {round}");
        if let Some(run) = store.open_runs().await.unwrap().first() {
            let records = store.records(run.id).await.unwrap();
            assert!(records.len() as u64 > last, "round {round}: {last} was acknowledged, {} are there", records.len());
            RunState::fold(run.id, &records).unwrap();
        }
    }
}

fn pools() -> [AddressPool; 1] {
    [AddressPool {
        network: "192.0.2.0/24".parse().unwrap(),
        gateway: "192.0.2.1".parse().unwrap(),
        first: "192.0.2.10".parse().unwrap(),
        last: "192.0.2.73".parse().unwrap(),
        quarantine_hours: 24,
    }]
}

/// The child: asks for 16 addresses and says which it got.
#[tokio::test]
async fn asking_child() {
    let Some(argument) = child::argument() else { return };
    let (folder, who) = argument.split_once(' ').unwrap();
    let store = open(&PathBuf::from(folder));
    let host = HostName::new("proxmox1").unwrap();
    for number in 0..16 {
        let deployment = DeploymentName::new(format!("d{who}-{number}")).unwrap();
        let hold = Hold { deployment: &deployment, host: &host, family: Family::Ipv4, pools: &pools() };
        say(&store.hold_address(hold, Timestamp::now()).await.unwrap().unwrap().address.to_string());
    }
}

#[tokio::test]
async fn four_processes_share_a_pool_to_the_last_address() {
    if child::argument().is_some() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let processes: Vec<_> = (0..4)
        .map(|who| {
            let argument = format!("{} {who}", folder.path().display());
            child::command("asking_child", &argument).stdout(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let mut given = BTreeSet::new();
    for process in processes {
        let output = process.wait_with_output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        given.extend(text.lines().filter_map(|line| line.split_once("said ")).map(|(_, address)| address.to_owned()));
    }
    assert_eq!(given.len(), 64);
    let store = open(folder.path());
    let (deployment, host) = (DeploymentName::new("late").unwrap(), HostName::new("proxmox1").unwrap());
    let hold = Hold { deployment: &deployment, host: &host, family: Family::Ipv4, pools: &pools() };
    let exhausted = store.hold_address(hold, Timestamp::now()).await.unwrap().unwrap_err();
    assert_eq!((exhausted.size, exhausted.held, exhausted.resting), (64, 64, 0));
}

/// With the feature `kill-switch` a program dies at the append that its environment says.
#[cfg(feature = "kill-switch")]
#[tokio::test]
async fn the_kill_switch() {
    use std::os::unix::process::ExitStatusExt;

    if child::argument().is_some() {
        return;
    }
    for (at, events) in [("before:5", 4), ("after:5", 5)] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = child::command("appending_child", &folder.path().display().to_string());
        let output = command.env("FEDI_KILL_AT_APPEND", at).stdout(Stdio::piped()).output().unwrap();
        assert_eq!(output.status.signal(), Some(9), "{at}");
        assert_eq!(open(folder.path()).runs().await.unwrap()[0].events, events, "{at}");
    }
}

/// The child: opens the database, whether or not it is there.
#[tokio::test]
async fn opening_child() {
    let Some(folder) = child::argument() else { return };
    open(Path::new(&folder)).runs().await.unwrap();
}

#[tokio::test]
async fn many_processes_may_be_the_first() {
    if child::argument().is_some() {
        return;
    }
    for _ in 0..5 {
        let folder = tempfile::tempdir().unwrap();
        let argument = folder.path().join("new").display().to_string();
        let children: Vec<_> =
            (0..8).map(|_| child::command("opening_child", &argument).stdout(Stdio::null()).spawn().unwrap()).collect();
        for mut child in children {
            assert!(child.wait().unwrap().success());
        }
    }
}
