//! `deploy.makespan_100_ratio`: 100 deployments on four nodes, from planning the first
//! until the last is ready, over the least time that the simulator's own limits allow.
//!
//! An import takes 20 s when it has the storage's bandwidth for itself, and imports on
//! one node share it; so a node can have its 25 VMs no sooner than after 25 imports, and
//! the last of them still has to start and to boot. Everything of fedi's is real but the
//! guests, DNS and the view from outside, which are the test site's stand-ins. Clocks run
//! several times as fast as real time, and what the machine itself needs counts as many
//! times.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fedi_engine::{Engine, Outcome, SystemClock, Unobserved};
use fedi_sim::Tuning;
use fedi_testsite::{Patience, Setup, TestSite, Wires};
use futures::future::join_all;

use super::block_on;
use crate::Options;
use crate::measurement::Measurement;

pub(crate) const NAMES: &[&str] = &["deploy.makespan_100_ratio"];

const MOST: f64 = 1.15;
const NODES: u64 = 4;
const DEPLOYMENTS: u64 = 100;
/// How many times faster than real time it goes.
const SPEED: u32 = 5;
/// So large that the simulator copies it in many steps, between which bandwidth is shared anew.
const IMAGE: u64 = 64 << 20;
const IMPORT: Duration = Duration::from_secs(20);
const START: Duration = Duration::from_millis(600);
const BOOT: Duration = Duration::from_secs(5);

/// Measures it.
pub(crate) fn run(options: &Options) -> Result<Vec<Measurement>> {
    let count = options.amount(DEPLOYMENTS);
    let took = block_on(makespan(count))?.as_secs_f64();
    let on_one = u32::try_from(count.div_ceil(NODES))?;
    let least = (IMPORT * on_one + START + BOOT).as_secs_f64();
    let note = format!("{took:.0} s against {least:.0} s, simulated; clocks {SPEED} times as fast; stand-in guests");
    let figure = Measurement::against(NAMES[0], took / least, "ratio", 1.0, MOST);
    Ok(vec![figure.noting(note)])
}

async fn makespan(count: u64) -> Result<Duration> {
    let hosts: Vec<String> = (1..=NODES).map(|number| format!("node{number}")).collect();
    let names: Vec<String> = (0..count).map(|number| format!("app{number}")).collect();
    let deployments = names.iter().zip(hosts.iter().cycle());
    let setup = Setup {
        hosts: hosts.clone(),
        deployments: deployments
            .map(|(name, host)| (host.clone(), name.clone(), format!("{name}.example.test")))
            .collect(),
        tuning: Tuning {
            copy_bytes_per_second: IMAGE / IMPORT.as_secs(),
            shared_bandwidth: true,
            start_delay: START,
            ..Tuning::default()
        },
        speed: f64::from(SPEED),
        boot: BOOT / SPEED,
        addresses: 100,
        ..Setup::default()
    };
    let wires = Wires { speed: SPEED, patience: Patience::default(), ..Wires::default() };
    let site = TestSite::with(setup, wires).await;
    File::options().write(true).open(site.wiring.layout.image())?.set_len(IMAGE)?;

    let engine =
        Engine::new(site.wiring.store.clone(), site.wiring.world(), Arc::new(SystemClock), Arc::new(Unobserved));
    let begun = site.sim.clock().now();
    let all = names.iter().map(|name| deploy(&site, &engine, name));
    let results = join_all(all).await;
    let took = site.sim.clock().now().saturating_sub(begun);
    let failed: Vec<String> = results.into_iter().filter_map(Result::err).map(|error| format!("{error:#}")).collect();
    if !failed.is_empty() {
        bail!("{} of {count} were not deployed: {}", failed.len(), failed.join("; "));
    }
    Ok(took)
}

/// Plans and carries out one of them, as the command does.
async fn deploy(site: &TestSite, engine: &Engine, name: &str) -> Result<()> {
    let desk = &site.wiring.desk;
    let prepared = desk.deploy(&site.wiring.deployment(name)).await.with_context(|| format!("no plan for `{name}`"))?;
    let outcome = engine.start(&prepared.plan).await?;
    if !matches!(outcome, Outcome::Completed { .. }) {
        bail!("the deploy of `{name}` ended with {outcome:?}");
    }
    Ok(())
}
