//! What a deploy costs: requests, waiting, time, memory.

pub(crate) mod api_calls;
pub(crate) mod in_sandbox;
pub(crate) mod inventory;
pub(crate) mod makespan;
pub(crate) mod task_notice;

use anyhow::Result;

/// Runs an asynchronous measurement.
fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(work)
}
