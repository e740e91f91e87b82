//! Measurements behind `make bench`: prints a table and writes `target/bench.json`.
//!
//!     fedi-bench [PREFIX...]
//!
//! Measures all that is in [`SUITE`], or what begins with one of the prefixes. A target
//! that is not met is told, and is no error.

mod engine_append;
mod measurement;
mod nix_examples;
mod sim_agreement;

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};

use measurement::Measurement;

/// Something that can be measured.
struct Bench {
    /// What the names of its figures begin with.
    name: &'static str,
    run: fn() -> Result<Vec<Measurement>>,
}

/// All that can be measured.
const SUITE: &[Bench] = &[
    Bench { name: "engine.append", run: engine_append::run },
    Bench { name: "nix.eval_examples", run: nix_examples::run },
    Bench { name: "sim.recorded_agreement", run: sim_agreement::run },
];

fn main() -> ExitCode {
    let prefixes: Vec<String> = std::env::args().skip(1).collect();
    match bench(&prefixes) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn bench(prefixes: &[String]) -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bench.json");
    let mut measured = Vec::new();
    for Bench { name, run } in SUITE {
        let wanted = |prefix: &String| name.starts_with(prefix.as_str()) || prefix.starts_with(name);
        if prefixes.is_empty() || prefixes.iter().any(wanted) {
            eprintln!("measuring {name}");
            measured.extend(run().with_context(|| format!("Failed to measure `{name}`"))?);
        }
    }
    print!("{}", table(&measured));
    if !prefixes.is_empty() {
        keep_others(&mut measured, &path);
    }
    let json = serde_json::to_string_pretty(&measured)? + "\n";
    fs::write(&path, json).with_context(|| format!("Failed to write `{}`", path.display()))
}

/// Adds the figures of an earlier time that were not measured now.
fn keep_others(measured: &mut Vec<Measurement>, path: &Path) {
    let earlier = fs::read(path).ok().and_then(|json| serde_json::from_slice::<Vec<Measurement>>(&json).ok());
    for other in earlier.unwrap_or_default() {
        if measured.iter().all(|it| it.name != other.name) {
            measured.push(other);
        }
    }
}

/// The figures, a line each.
fn table(measured: &[Measurement]) -> String {
    let row = |cells: [&str; 7]| {
        let [name, value, unit, baseline, ratio, target, met] = cells;
        format!("{name:<32} {value:>12} {unit:<6} {baseline:>12} {ratio:>8} {target:>8}  {met}")
    };
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"));
    let mut lines = row(["name", "value", "unit", "baseline", "ratio", "target", "met"]) + "\n";
    for it in measured {
        let met = it.is_met().map_or("-", |met| if met { "yes" } else { "no" });
        let [value, baseline, ratio, target] = [Some(it.value), it.baseline, it.ratio, it.target].map(number);
        // Writing to a string cannot fail.
        let _ = writeln!(lines, "{}", row([&it.name, &value, &it.unit, &baseline, &ratio, &target, met]));
    }
    lines
}
