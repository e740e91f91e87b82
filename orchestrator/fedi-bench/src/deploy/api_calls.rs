//! `deploy.api_calls_per_vm`: requests that reach a Proxmox host from the plan of a new
//! deployment until it is ready, all of them, counted at the simulator.
//!
//! In real time: an import takes 20 s, a guest boots in 5 s. The first VM of a host also
//! brings the image and cannot know how long an import takes; it is told apart. Of the
//! others, which come one after the other, the median counts.

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
/// How many are deployed, the first included.
const VMS: u64 = 8;

/// Measures it.
pub(crate) fn run(options: &Options) -> Result<Vec<Measurement>> {
    let mut others = block_on(requests(options.amount(VMS).max(2)))?;
    let first = others.remove(0);
    others.sort_by_key(Vec::len);
    let counts: Vec<String> = others.iter().map(|requests| requests.len().to_string()).collect();
    let figure = |name: &str, requests: &[String], note: String| {
        let count = u32::try_from(requests.len()).unwrap_or(u32::MAX);
        Measurement::new(name, f64::from(count), "calls", None).noting(note)
    };
    let middle = &others[others.len() / 2];
    let note = format!("of {}; the middle one: {}", counts.join(", "), middle.join(", "));
    Ok(vec![
        Measurement { target: Some(MOST), ..figure(NAMES[0], middle, note) },
        figure(NAMES[1], &first, "with the image's upload, and nothing known yet".to_owned()),
    ])
}

/// The requests for each VM, one after the other on one host.
async fn requests(count: u64) -> Result<Vec<Vec<String>>> {
    let names: Vec<String> = (0..count).map(|number| format!("app{number}")).collect();
    let deployment = |name: &String| ("proxmox1".to_owned(), name.clone(), format!("{name}.example.test"));
    let setup = Setup {
        deployments: names.iter().map(deployment).collect(),
        tuning: Tuning { import_delay: Duration::from_secs(20), ..Tuning::default() },
        speed: 1.0,
        boot: Duration::from_secs(5),
        ..Setup::default()
    };
    let wires = Wires { speed: 1, patience: Patience::default(), ..Wires::default() };
    let site = TestSite::with(setup, wires).await;
    let mut all = Vec::new();
    for name in &names {
        site.sim.clear_requests();
        let outcome = site.deploy(name).await?;
        if !matches!(outcome, Outcome::Completed { .. }) {
            bail!("the deploy of `{name}` ended with {outcome:?}");
        }
        all.push(site.sim.requests().iter().map(|request| short(&request.method, &request.path)).collect());
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
