//! The table of agreement, the list of disagreements, and the demands on both.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;

use serde::Deserialize;

/// What came of one record.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) id: String,
    pub(crate) group: String,
    /// Empty = it agrees.
    pub(crate) wrong: Vec<String>,
}

/// Groups that must agree, and how far in per cent.
const REQUIRED: [&str; 12] =
    ["auth", "perm", "create", "tasks", "config", "status", "destroy", "crash", "storage", "http", "conn", "noquorum"];
const LEAST: f64 = 90.0;

#[derive(Debug, Deserialize)]
struct Exceptions {
    exception: Vec<Exception>,
}

/// Disagreements that are known.
#[derive(Debug, Deserialize)]
struct Exception {
    /// Record ids without the version.
    ids: Vec<String>,
    /// Why they differ.
    why: String,
}

/// Says visibly that the test was not run.
pub(crate) fn skip(why: &str) {
    let line = format!("skipped: agreement with real installs: {why}");
    eprintln!("{line}");
    if let Some(path) = std::env::var_os("FEDI_SKIP_LOG") {
        let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
        writeln!(file, "{line}").unwrap();
    }
}

/// Prints everything and checks the demands.
pub(crate) fn finish(outcomes: &[Outcome]) {
    let exceptions: Exceptions = toml::from_str(include_str!("exceptions.toml")).unwrap();
    let reason = |id: &str| {
        let id = id.strip_prefix("8.4/").unwrap_or(id);
        exceptions.exception.iter().find(|entry| entry.ids.iter().any(|known| known == id)).map(|entry| &entry.why)
    };
    let mut groups: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
    let mut unexplained = 0;
    for outcome in outcomes {
        let (agree, all) = groups.entry(&outcome.group).or_default();
        *all += 1;
        if outcome.wrong.is_empty() {
            *agree += 1;
            continue;
        }
        let why = reason(&outcome.id);
        unexplained += u32::from(why.is_none());
        println!("{} {}: {}", outcome.group, outcome.id, outcome.wrong.join("; "));
        if let Some(why) = why {
            println!("    known: {why}");
        }
    }
    println!("\n{:<16} {:>6} {:>6} {:>8}", "group", "agree", "of", "%");
    let percent = |agree: u32, all: u32| f64::from(agree) * 100.0 / f64::from(all.max(1));
    let (mut sum, mut total) = (0, 0);
    for (group, (agree, all)) in &groups {
        println!("{group:<16} {agree:>6} {all:>6} {:>8.1}", percent(*agree, *all));
        sum += agree;
        total += all;
    }
    println!("{:<16} {sum:>6} {total:>6} {:>8.1}   without a known reason: {unexplained}", "all", percent(sum, total));
    write_figures(&groups, percent(sum, total));
    for group in REQUIRED {
        let (agree, all) = groups.get(group).copied().unwrap_or_default();
        let reached = percent(agree, all);
        assert!(reached >= LEAST, "group {group} agrees in {reached:.1} %, needed are {LEAST} %");
    }
}

fn write_figures(groups: &BTreeMap<&str, (u32, u32)>, whole: f64) {
    let Some(path) = std::env::var_os("FEDI_SIM_AGREEMENT") else { return };
    let figures: BTreeMap<&str, serde_json::Value> = groups
        .iter()
        .map(|(group, (agree, all))| {
            let percent = f64::from(*agree) * 100.0 / f64::from((*all).max(1));
            (*group, serde_json::json!({"agree": agree, "of": all, "percent": (percent * 10.0).round() / 10.0}))
        })
        .collect();
    let whole = (whole * 10.0).round() / 10.0;
    let text = serde_json::json!({"sim.recorded_agreement": {"percent": whole, "groups": figures}});
    std::fs::write(path, format!("{text:#}\n")).unwrap();
}
