//! Kills the process at a chosen append, for tests of programs: built only with the
//! feature `kill-switch`, which no released program has.
//!
//! `FEDI_KILL_AT_APPEND=before:7` kills it before its seventh append is written,
//! `after:7` when that is durable and nobody was told.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Signal, getpid, kill_process};

static APPENDS: AtomicU64 = AtomicU64::new(0);

fn chosen() -> Option<&'static (String, u64)> {
    static CHOSEN: OnceLock<Option<(String, u64)>> = OnceLock::new();
    CHOSEN
        .get_or_init(|| {
            let text = std::env::var("FEDI_KILL_AT_APPEND").ok()?;
            let (moment, number) = text.split_once(':')?;
            Some((moment.to_owned(), number.parse().ok()?))
        })
        .as_ref()
}

/// Before an append is written.
pub(super) fn before() {
    let number = APPENDS.fetch_add(1, Ordering::SeqCst) + 1;
    die_if("before", number);
}

/// When it is durable.
pub(super) fn after() {
    die_if("after", APPENDS.load(Ordering::SeqCst));
}

fn die_if(moment: &str, number: u64) {
    if chosen().is_some_and(|(at, which)| at == moment && *which == number) {
        // Nothing after this is carried out: the signal cannot be handled.
        let _ = kill_process(getpid(), Signal::KILL);
    }
}
