//! `deploy.task_notice_p50_ms`: from the end of an import on the host to when fedi knows
//! of it, with the client's own way of waiting; against asking once a second.
//!
//! The same imports are waited for in both ways at once. They take 18 to 22 s each,
//! evenly spread, three at once as fedi has them; how long they take is learned from
//! those before, the first three of which do not count. Clocks of both sides run several
//! times as fast as real time; times are the simulator's.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use fedi_sim::{NodeConfig, SimBuilder, SimHandle, StorageSetup, Tuning, Version};
use fedi_testsite::FastClock;
use futures::stream::{self, StreamExt, TryStreamExt};
use proxmox_api::{
    Client, Clock, CreateVm, Credentials, Disk, DiskSource, Endpoint, Estimate, History, TaskState, Trust, Upid, Wait,
};

use super::block_on;
use crate::Options;
use crate::measurement::{Measurement, median};

pub(crate) const NAMES: &[&str] = &["deploy.task_notice_p50_ms"];

const MOST_MS: f64 = 150.0;
const TOKEN: &str = "fedi@pve!deploy";
const SPEED: u32 = 2;
/// Imports that are learned from.
const LEARNED: u64 = 3;
const IMPORTS: u64 = 40;
const AT_ONCE: usize = 3;
const SHORTEST: Duration = Duration::from_secs(18);
const LONGEST: Duration = Duration::from_secs(22);
const BYTES_A_SECOND: u64 = 64 << 20;

/// When an import's end was noticed, after it, in ms.
struct Noticed {
    ours: f64,
    plain: f64,
    questions: u32,
    took: Duration,
}

/// Measures it.
pub(crate) fn run(options: &Options) -> Result<Vec<Measurement>> {
    let count = if options.quick { IMPORTS / 4 } else { IMPORTS };
    let noticed = block_on(measure(count))?;
    let questions: u32 = noticed.iter().map(|it| it.questions).sum();
    let questions = f64::from(questions) / f64::from(u32::try_from(noticed.len())?);
    let ours = median(noticed.iter().map(|it| it.ours).collect());
    let plain = median(noticed.iter().map(|it| it.plain).collect());
    let note = format!(
        "of {count} imports of 18 to 22 s, {questions:.1} questions each; baseline: once a second; clocks {SPEED} times \
         as fast"
    );
    // The target is for the time, not for the ratio.
    let figure = Measurement::new(NAMES[0], ours, "ms", Some(MOST_MS)).noting(note);
    Ok(vec![Measurement { baseline: Some(plain), ..figure }])
}

async fn measure(count: u64) -> Result<Vec<Noticed>> {
    let mut sim = SimBuilder::new(Version::new(9, 2, 11))
        .node(NodeConfig { cpus: 256, memory_gib: 4096, ..NodeConfig::new("pve") })
        .storage(StorageSetup::directory("local", "/var/lib/vz"))
        .storage(StorageSetup::lvm_thin("local-lvm").sized(16 << 20))
        .pool("fedi")
        .token(TOKEN, true)
        .clock(fedi_sim::Clock::scaled(f64::from(SPEED)))
        .tuning(Tuning { copy_bytes_per_second: BYTES_A_SECOND, shared_bandwidth: false, ..Tuning::default() });
    for who in ["fedi@pve", TOKEN] {
        sim = sim.acl("/pool/fedi", who, "PVEVMAdmin").acl("/storage/local", who, "PVEDatastoreAdmin").acl(
            "/storage/local-lvm",
            who,
            "PVEDatastoreUser",
        );
    }
    let sim = sim.start().await?;
    let client = client(&sim)?;
    let history = Mutex::new(History::new());
    let (sim, client, history) = (&sim, &client, &history);
    let imports = (0..LEARNED + count).map(|number| async move {
        let known = || history.lock().unwrap_or_else(PoisonError::into_inner);
        let estimate = known().estimate("import");
        let noticed = import(sim, client, number, count, estimate).await?;
        known().add("import", noticed.took);
        anyhow::Ok((number >= LEARNED).then_some(noticed))
    });
    let noticed: Vec<Option<Noticed>> = stream::iter(imports).buffer_unordered(AT_ONCE).try_collect().await?;
    Ok(noticed.into_iter().flatten().collect())
}

fn client(sim: &SimHandle) -> Result<Client> {
    let token = sim.token(TOKEN).context("no token")?;
    let token = Credentials::Token(token.parse().map_err(|error| anyhow!("{error}"))?);
    let trust = Trust::Fingerprints(vec![sim.fingerprint().parse().map_err(|error| anyhow!("{error}"))?]);
    let options = proxmox_api::Options::new(Endpoint::parse(&sim.url())?, trust, token);
    Ok(Client::new(options.with_clock(Arc::new(FastClock::new(SPEED))))?)
}

/// One import, number `number` of `count`, waited for in both ways.
async fn import(
    sim: &SimHandle,
    client: &Client,
    number: u64,
    count: u64,
    estimate: Option<Estimate>,
) -> Result<Noticed> {
    // Scattered over the range in an order of no meaning, so that neighbours differ.
    let place = u32::try_from(number * 7 % count)?;
    let time = SHORTEST + LONGEST.saturating_sub(SHORTEST) * place / u32::try_from(count)?;
    let name = format!("image-{number}.qcow2");
    let bytes = u64::try_from(time.as_millis())? * BYTES_A_SECOND / 1000;
    sim.add_image("local", &name, 32 << 30, bytes)?;
    let vmid = u32::try_from(100 + number)?;
    let wanted = CreateVm {
        pool: Some("fedi".to_owned()),
        disks: vec![Disk::new("local-lvm", DiskSource::Image(format!("local:import/{name}")))],
        ..CreateVm::new("guest")
    };
    let upid = client.node("pve").vm(vmid).create(&wanted).await?;
    let (end, ours, plain) =
        tokio::join!(end(sim, &upid), ours(sim, client, &upid, estimate), plain(sim, client, &upid));
    let (ours, plain) = (ours?, plain?);
    let late = |at: Duration| at.saturating_sub(end).as_secs_f64() * 1e3;
    Ok(Noticed { ours: late(ours.0), plain: late(plain), questions: ours.1.questions, took: ours.1.took })
}

/// When the task really ended, to a millisecond of real time.
async fn end(sim: &SimHandle, upid: &Upid) -> Duration {
    let upid = upid.to_string();
    while sim.exit_text(&upid).is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    sim.clock().now()
}

async fn ours(
    sim: &SimHandle,
    client: &Client,
    upid: &Upid,
    estimate: Option<Estimate>,
) -> Result<(Duration, proxmox_api::TaskEnd)> {
    let end = client.wait(upid, &Wait::up_to(Duration::from_secs(600)).expecting(estimate)).await?;
    Ok((sim.clock().now(), end))
}

/// The plain way: ask, wait a second, ask again.
async fn plain(sim: &SimHandle, client: &Client, upid: &Upid) -> Result<Duration> {
    let clock = FastClock::new(SPEED);
    while client.task_state(upid).await? == TaskState::Running {
        clock.sleep(Duration::from_secs(1)).await;
    }
    Ok(sim.clock().now())
}
