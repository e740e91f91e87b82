//! Nothing is left behind: what a bench has brought up is taken down when its guard
//! goes, and also when a signal ends the whole.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, bail};
use tokio::signal::unix::{SignalKind, signal};

type Action = Box<dyn FnOnce() + Send>;

static LEFT: Mutex<BTreeMap<u64, Action>> = Mutex::new(BTreeMap::new());
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Does something once: when it goes, or at a signal.
pub(crate) struct Tidy(u64);

impl Tidy {
    /// What is to be done.
    pub(crate) fn new(action: impl FnOnce() + Send + 'static) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        left().insert(number, Box::new(action));
        Self(number)
    }
}

impl Drop for Tidy {
    fn drop(&mut self) {
        let action = left().remove(&self.0);
        if let Some(action) = action {
            action();
        }
    }
}

fn left() -> std::sync::MutexGuard<'static, BTreeMap<u64, Action>> {
    LEFT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does `work`; at SIGINT or SIGTERM everything is taken down, the last first, and that
/// is the end of it.
pub(crate) fn or_at_a_signal(work: impl FnOnce() -> Result<()> + Send) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut int, mut term) =
        runtime.block_on(async { anyhow::Ok((signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)) })?;
    let (told, mut ended) = tokio::sync::oneshot::channel();
    std::thread::scope(|scope| {
        let worker = scope.spawn(move || {
            let result = work();
            let _ = told.send(());
            result
        });
        let stopped = runtime.block_on(async {
            tokio::select! {
                _ = &mut ended => false,
                _ = int.recv() => true,
                _ = term.recv() => true,
            }
        });
        if stopped {
            eprintln!("stopped; taking down what was brought up");
            while let Some((_, action)) = { left().pop_last() } {
                action();
            }
            std::process::exit(130);
        }
        match worker.join() {
            Ok(result) => result,
            Err(_) => bail!("a bench panicked, see above"),
        }
    })
}
