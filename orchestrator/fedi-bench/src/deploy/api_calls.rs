//! `deploy.api_calls_per_vm`: requests that reach a Proxmox host from the plan of a new
//! deployment until it is ready, all of them, counted at the simulator.
//!
//! In real time: an import takes 20 s, a guest boots in 5 s. The first VM of a host also
//! brings the image and cannot know how long an import takes; it is told apart. What
//! holds for the others is measured on the second.

use std::time::Duration;

use anyhow::{Result, bail};
use fedi_engine::Outcome;
use fedi_sim::Tuning;
use fedi_testsite::{Patience, Setup, TestSite, Wires};

use super::block_on;
use crate::Options;
use crate::measurement::Measurement;

pub(crate) const NAMES: &[&str] = &["deploy.api_calls_per_vm", "deploy.api_calls_first_vm"];

const MOST: f64 = 8.0;

/// Measures it.
pub(crate) fn run(_: &Options) -> Result<Vec<Measurement>> {
    let [first, second] = block_on(requests())?;
    let figure = |name: &str, requests: &[String]| {
        let count = u32::try_from(requests.len()).unwrap_or(u32::MAX);
        Measurement::new(name, f64::from(count), "calls", None).noting(requests.join(", "))
    };
    let per_vm = Measurement { target: Some(MOST), ..figure(NAMES[0], &second) };
    Ok(vec![per_vm, figure(NAMES[1], &first)])
}

/// The requests for the first VM and for the second.
async fn requests() -> Result<[Vec<String>; 2]> {
    let deployment = |name: &str| ("proxmox1".to_owned(), name.to_owned(), format!("{name}.example.test"));
    let setup = Setup {
        deployments: vec![deployment("first"), deployment("second")],
        tuning: Tuning { import_delay: Duration::from_secs(20), ..Tuning::default() },
        speed: 1.0,
        boot: Duration::from_secs(5),
        ..Setup::default()
    };
    let wires = Wires { speed: 1, patience: Patience::default(), ..Wires::default() };
    let site = TestSite::with(setup, wires).await;
    let mut all = [Vec::new(), Vec::new()];
    for (name, found) in ["first", "second"].into_iter().zip(&mut all) {
        site.sim.clear_requests();
        let outcome = site.deploy(name).await?;
        if !matches!(outcome, Outcome::Completed { .. }) {
            bail!("the deploy of `{name}` ended with {outcome:?}");
        }
        *found = site.sim.requests().iter().map(|request| short(&request.method, &request.path)).collect();
    }
    Ok(all)
}

/// A request in a few letters: what is asked of which thing.
fn short(method: &str, path: &str) -> String {
    let path = path.split('?').next().unwrap_or(path);
    let parts = path.split('/').filter(|part| !part.is_empty() && *part != "api2" && *part != "json");
    let named: Vec<&str> = parts.filter(|part| !part.contains(':') && !part.contains("%3A")).collect();
    format!("{method} {}", named.get(2..).filter(|rest| !rest.is_empty()).unwrap_or(&named).join("/"))
}
