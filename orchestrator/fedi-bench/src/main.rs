//! Measurements behind `make bench`: prints a table and writes `target/bench.json`.
//!
//! Measures all that is in [`SUITE`], or what begins with one of the prefixes. A target
//! that is not met is told, and is no error; what cannot be measured here is told with
//! the reason. What the figures mean is in `docs/bench.md`.

mod alone;
mod cli_version;
mod deploy;
mod engine_append;
mod measurement;
mod nix_examples;
mod sim_agreement;
mod state;
mod table;
mod tidy;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

use measurement::Measurement;

/// Measure fedi: a table on stdout, and target/bench.json.
#[derive(Debug, Parser)]
pub(crate) struct Options {
    /// Only the figures whose names begin with one of these
    prefixes: Vec<String>,
    /// Say which figures there are
    #[arg(long)]
    list: bool,
    /// A tenth of the data: for a look, not for a comparison with the targets
    #[arg(long)]
    quick: bool,
    /// Do one thing in a process of its own, and say what it took; for the bench itself
    #[arg(long, hide = true)]
    alone: bool,
}

impl Options {
    /// Whether a figure of that name, or one whose name begins so, is asked for.
    pub(crate) fn wants(&self, name: &str) -> bool {
        let wanted = |prefix: &String| name.starts_with(prefix.as_str()) || prefix.starts_with(name);
        self.prefixes.is_empty() || self.prefixes.iter().any(wanted)
    }

    /// An amount of data, or a tenth of it.
    pub(crate) fn amount(&self, whole: u64) -> u64 {
        if self.quick { whole / 10 } else { whole }
    }
}

/// Some figures that are measured together.
struct Bench {
    /// Their names, or what their names begin with.
    names: &'static [&'static str],
    run: fn(&Options) -> Result<Vec<Measurement>>,
}

/// All that can be measured.
const SUITE: &[Bench] = &[
    Bench { names: cli_version::NAMES, run: cli_version::run },
    Bench { names: &["engine.append_us"], run: engine_append::run },
    Bench { names: deploy::api_calls::NAMES, run: deploy::api_calls::run },
    Bench { names: deploy::task_notice::NAMES, run: deploy::task_notice::run },
    Bench { names: deploy::makespan::NAMES, run: deploy::makespan::run },
    Bench { names: deploy::in_sandbox::NAMES, run: deploy::in_sandbox::run },
    Bench { names: state::postgres::NAMES, run: state::postgres::run },
    Bench { names: state::directory::NAMES, run: state::directory::run },
    Bench { names: state::bucket::NAMES, run: state::bucket::run },
    Bench { names: state::incremental::NAMES, run: state::incremental::run },
    Bench { names: nix_examples::NAMES, run: nix_examples::run },
    Bench { names: sim_agreement::NAMES, run: sim_agreement::run },
];

/// A bench whose servers or tools are not here. Its figures are told to be missing.
#[derive(Debug)]
pub(crate) struct NotHere(pub(crate) String);

impl std::fmt::Display for NotHere {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotHere {}

fn main() -> ExitCode {
    let options = Options::parse();
    let result = if options.alone {
        alone::answer()
    } else if options.list {
        SUITE.iter().flat_map(|bench| bench.names).for_each(|name| println!("{name}"));
        Ok(())
    } else {
        tidy::or_at_a_signal(|| bench(&options))
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn bench(options: &Options) -> Result<()> {
    let path = target().join("bench.json");
    let mut measured = Vec::new();
    for Bench { names, run } in SUITE {
        if !names.iter().any(|name| options.wants(name)) {
            continue;
        }
        eprintln!("measuring {}", names.join(", "));
        match run(options) {
            Ok(figures) => measured.extend(figures),
            Err(error) => {
                let NotHere(why) =
                    error.downcast().with_context(|| format!("Failed to measure {}", names.join(", ")))?;
                measured.extend(names.iter().map(|name| Measurement::missing(name, &why)));
            }
        }
    }
    if let Some(rss) = state::guest_rss() {
        measured.push(rss);
    }
    if options.quick {
        println!("With a tenth of the data: not to be held against the targets");
    }
    print!("{}", table::table(&measured));
    if options.quick {
        return Ok(());
    }
    if !options.prefixes.is_empty() {
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

/// The top of the repository.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Where everything that is built lies.
fn target() -> PathBuf {
    repository().join("target")
}

/// The release build of `fedi`, which lies beside this program.
pub(crate) fn fedi() -> Result<PathBuf> {
    let beside = std::env::current_exe()?.with_file_name("fedi");
    if beside.is_file() {
        return Ok(beside);
    }
    Err(NotHere(format!("there is no `{}`: cargo build --release -p fedi", beside.display())).into())
}
