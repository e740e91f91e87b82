//! `engine.append_us`: one durable append to a run's journal through the store, held
//! against a bare insert of the same row into a SQLite file with the same settings. The
//! two take turns, so that both see the same disk.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use fedi_engine::store::{Append, Fence, Holder, LeaseStore, RunStore, SqliteStore};
use fedi_model::plan::{Plan, StepId};
use fedi_model::run::{LedgerChange, RunEvent, RunId, RunPhase, RunRecord};
use fedi_test::MapWorld;
use fedi_test::sample::Sample;
use jiff::Timestamp;
use rusqlite::Connection;

use crate::Options;
use crate::measurement::{Measurement, median};

const ROUNDS: u64 = 40;
const EACH: u64 = 25;

/// Measures it.
pub(crate) fn run(_: &Options) -> Result<Vec<Measurement>> {
    let folder = tempfile::tempdir()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(measure(folder.path()))
}

async fn measure(folder: &Path) -> Result<Vec<Measurement>> {
    let store = SqliteStore::open(&folder.join("state.db"))?;
    let fence = store.acquire(&Holder::current(), Timestamp::now(), None).await?;
    let plan = Sample::new("matrix").deploy(&MapWorld::default()).await;
    let run = store.create_run(fence, &plan, Timestamp::now()).await?;
    let bare = bare(&folder.join("bare.db"))?;

    let (mut appends, mut inserts) = (Vec::new(), Vec::new());
    let mut seq = 0;
    for _ in 0..ROUNDS {
        for _ in 0..EACH {
            seq += 1;
            let record = record(&plan, seq);
            appends.push(append(&store, fence, run, &record).await?);
        }
        for number in seq - EACH..seq {
            let record = record(&plan, number + 1);
            inserts.push(insert(&bare, &record)?);
        }
    }
    Ok(vec![Measurement::against("engine.append_us", median(appends), "us", median(inserts), 1.5)])
}

/// The event with number `seq`, of the size that events have.
fn record(plan: &Plan, seq: u64) -> RunRecord {
    let step = plan.stages[0].steps[0].id.clone();
    let before = plan.steps().find_map(|step| match &step.action {
        fedi_model::plan::Action::Ensure { desired, .. } if step.id == StepId::new("vm/matrix") => {
            Some(desired.clone())
        }
        _ => None,
    });
    RunRecord { seq, at: Timestamp::now(), event: RunEvent::Started { step, before } }
}

async fn append(store: &SqliteStore, fence: Fence, run: RunId, record: &RunRecord) -> Result<f64> {
    let begun = Instant::now();
    let append = Append { fence, run, record, phase: RunPhase::Forward, ledger: &LedgerChange::None };
    store.append(append).await?;
    Ok(begun.elapsed().as_secs_f64() * 1e6)
}

fn bare(path: &Path) -> Result<Connection> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.execute("CREATE TABLE event (seq INTEGER PRIMARY KEY, at TEXT, json TEXT)", [])?;
    Ok(connection)
}

fn insert(connection: &Connection, record: &RunRecord) -> Result<f64> {
    let (at, json) = (record.at.to_string(), serde_json::to_string(&record.event)?);
    let begun = Instant::now();
    connection.prepare_cached("INSERT INTO event (seq, at, json) VALUES (?, ?, ?)")?.execute(rusqlite::params![
        i64::try_from(record.seq)?,
        at,
        json
    ])?;
    Ok(begun.elapsed().as_secs_f64() * 1e6)
}
