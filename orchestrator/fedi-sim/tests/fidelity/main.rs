//! Replays recorded requests of two real installs (9.2.11 and 8.4.21) and compares the answers: status, reason,
//! errors, the shape of the body, exit texts of tasks. Needs the recording, a folder `shared/data` beside the
//! repository; the findings that matter stand in `tests/findings` without it.
//!
//! Prints the agreement per group and every disagreement; `exceptions.toml` says why the known ones are there.
//! Writes the figures as JSON to `$FEDI_SIM_AGREEMENT` if that is set.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bridges;
#[path = "../common/mod.rs"]
mod common;
mod compare;
mod connections;
mod install;
mod record;
mod replay;
mod report;
mod source;
mod uploads;

/// Seconds since 1970 at which each recording began.
const BEGINNINGS: [(&str, u64); 2] = [("9.2.11", 1_795_244_300), ("8.4.21", 1_795_246_297)];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_agree_with_real_installs() {
    let mut outcomes = Vec::new();
    for (version, beginning) in BEGINNINGS {
        let Some(records) = record::load(version) else {
            report::skip(&format!("no recording at {}", record::path().display()));
            return;
        };
        let known = version.parse().unwrap();
        outcomes.extend(replay::run(known, beginning, records).await);
    }
    report::finish(&outcomes);
}
