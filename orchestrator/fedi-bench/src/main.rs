//! Measurements behind `make bench`: prints a table and writes `target/bench.json`.
//!
//!     fedi-bench [PREFIX...]
//!
//! Measures all that is in [`SUITE`], or what begins with one of the prefixes. A target
//! that is not met is told, and is no error.

mod engine_append;
mod measurement;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};

use measurement::Measurement;

/// What can be measured: the beginning of the names, and what measures them.
const SUITE: &[(&str, fn() -> Result<Vec<Measurement>>)] = &[("engine.append", engine_append::run)];

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
    let mut measured = Vec::new();
    for (name, run) in SUITE {
        let wanted = |prefix: &String| name.starts_with(prefix.as_str()) || prefix.starts_with(name);
        if prefixes.is_empty() || prefixes.iter().any(wanted) {
            eprintln!("measuring {name}");
            measured.extend(run().with_context(|| format!("Failed to measure `{name}`"))?);
        }
    }
    print!("{}", table(&measured));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bench.json");
    let json = serde_json::to_string_pretty(&measured)? + "\n";
    std::fs::write(&path, json).with_context(|| format!("Failed to write `{}`", path.display()))
}

/// The figures, a line each.
fn table(measured: &[Measurement]) -> String {
    let mut lines = format!(
        "{:<32} {:>12} {:<6} {:>12} {:>8} {:>8}  {}\n",
        "name", "value", "unit", "baseline", "ratio", "target", "met"
    );
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"));
    for it in measured {
        let met = match it.is_met() {
            Some(true) => "yes",
            Some(false) => "no",
            None => "-",
        };
        lines += &format!(
            "{:<32} {:>12.2} {:<6} {:>12} {:>8} {:>8}  {met}\n",
            it.name,
            it.value,
            it.unit,
            number(it.baseline),
            number(it.ratio),
            number(it.target),
        );
    }
    lines
}
