//! One worker: what it prints, how it ends, how it is interrupted or killed.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use proxmox_schema::Upid;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::TaskRecord;
use crate::clock::Busy;
use crate::error::{ApiError, ApiResult};
use crate::locks::Held;
use crate::sim::Sim;

/// The outside's hold on a running worker.
#[derive(Debug, Default)]
pub(crate) struct Control {
    interrupted: AtomicBool,
    killed: AtomicBool,
    interrupt: Notify,
    abort: Mutex<Option<AbortHandle>>,
}

impl Control {
    /// SIGINT: the worker dies at its next step and cleans up after itself.
    pub(crate) fn interrupt(&self) {
        self.interrupted.store(true, Ordering::SeqCst);
        self.interrupt.notify_waiters();
    }

    /// SIGKILL: the worker is gone, and what it had half done stays.
    pub(crate) fn kill(&self) {
        self.killed.store(true, Ordering::SeqCst);
        if let Some(abort) = &*self.abort.lock().unwrap_or_else(PoisonError::into_inner) {
            abort.abort();
        }
    }
}

/// What runs inside a task.
#[derive(Clone)]
pub(crate) struct Worker {
    pub(crate) sim: Arc<Sim>,
    pub(crate) upid: Upid,
    /// Who started it.
    pub(crate) user: String,
    control: Arc<Control>,
    warnings: Arc<AtomicUsize>,
}

impl Worker {
    /// For work inside a request, which has no log of its own.
    pub(crate) fn silent(sim: &Arc<Sim>, node: &str, user: &str) -> Self {
        let upid = Upid {
            node: node.to_owned(),
            pid: sim.write().take_pid(),
            process_start: 0,
            start: 0,
            kind: "request".to_owned(),
            id: String::new(),
            user: user.to_owned(),
        };
        Self { sim: sim.clone(), upid, user: user.to_owned(), control: Arc::default(), warnings: Arc::default() }
    }

    pub(crate) fn node(&self) -> &str {
        &self.upid.node
    }

    pub(crate) fn pid(&self) -> u32 {
        self.upid.pid
    }

    /// Prints a line to the task's log.
    pub(crate) fn log(&self, line: impl Into<String>) {
        append(&self.sim, &self.upid.to_string(), line.into());
    }

    /// Continues the last line of the log.
    pub(crate) fn log_more(&self, text: &str) {
        let upid = self.upid.to_string();
        let mut state = self.sim.write();
        if let Some(line) = find(&mut state.tasks, &upid).and_then(|task| task.log.last_mut()) {
            line.push_str(text);
        }
    }

    /// Prints a warning, which also makes the task end with `WARNINGS: n`.
    pub(crate) fn warn(&self, text: &str) {
        self.warnings.fetch_add(1, Ordering::Relaxed);
        self.log(format!("WARN: {text}"));
    }

    /// Dies here when the worker has been interrupted.
    pub(crate) fn check_interrupt(&self) -> ApiResult<()> {
        if self.control.interrupted.load(Ordering::SeqCst) {
            return Err(ApiError::die("received interrupt"));
        }
        Ok(())
    }

    /// Waits as a child process that does the work would; an interrupt ends it.
    pub(crate) async fn sleep(&self, time: Duration) -> ApiResult<()> {
        let end = self.sim.clock.now() + time;
        loop {
            self.check_interrupt()?;
            let left = end.saturating_sub(self.sim.clock.now());
            if left.is_zero() {
                return Ok(());
            }
            tokio::select! {
                biased;
                () = self.control.interrupt.notified() => {}
                () = self.sim.clock.sleep(left) => {}
            }
        }
    }

    /// A place where a scripted crash may end this worker.
    pub(crate) async fn point(&self, name: &str) {
        if self.sim.faults.crashes(&self.upid.kind, &self.upid.id, name) {
            self.control.kill();
            std::future::pending::<()>().await;
        }
    }

    /// Takes a lock as `PVE::Tools::lock_file` does inside a worker, which says so in the log.
    pub(crate) async fn lock(&self, path: &str, limit: Duration, shared: bool) -> ApiResult<Held> {
        let mut waited = false;
        let held = {
            let waiting = || {
                waited = true;
                self.log("trying to acquire lock...");
            };
            self.sim.locks.take(&self.sim.clock, path, limit, shared, waiting).await?
        };
        if waited {
            self.log(" OK");
        }
        Ok(held)
    }

    /// The lock on a VM's configuration.
    pub(crate) async fn lock_vm(&self, vmid: u32, seconds: u64) -> ApiResult<Held> {
        self.lock(&crate::qemu::lock_path(vmid), Duration::from_secs(seconds), false).await
    }
}

fn find<'a>(tasks: &'a mut [TaskRecord], upid: &str) -> Option<&'a mut TaskRecord> {
    tasks.iter_mut().rev().find(|task| task.upid == upid)
}

fn append(sim: &Sim, upid: &str, line: String) {
    let mut state = sim.write();
    if let Some(task) = find(&mut state.tasks, upid) {
        task.log.push(line);
    }
}

fn finish(sim: &Sim, upid: &str, status: String, line: Option<String>) {
    let now = sim.clock.seconds();
    let retention = sim.tuning().task_retention;
    sim.workers.lock().remove(upid);
    let mut state = sim.write();
    if let Some(task) = find(&mut state.tasks, upid) {
        task.log.extend(line);
        task.status = Some(status);
        task.ended = Some(now);
    }
    let finished = state.tasks.iter().filter(|task| task.status.is_some()).count();
    let mut surplus = finished.saturating_sub(retention);
    state.tasks.retain(|task| {
        let drop = surplus > 0 && task.status.is_some();
        surplus -= usize::from(drop);
        !drop
    });
}

/// Marks the task as lost when its worker vanishes without a word.
struct Vigil {
    sim: Arc<Sim>,
    upid: String,
    done: bool,
    _busy: Busy,
}

impl Drop for Vigil {
    fn drop(&mut self) {
        if !self.done && !self.sim.is_stopped() {
            finish(&self.sim, &self.upid, "unexpected status".to_owned(), None);
        }
    }
}

/// Starts a worker and returns its UPID. The work begins at once, beside the caller.
pub(crate) fn fork<F, W>(sim: &Arc<Sim>, node: &str, kind: &str, id: &str, user: &str, work: F) -> String
where
    F: FnOnce(Worker) -> W,
    W: Future<Output = ApiResult<()>> + Send + 'static,
{
    let now = sim.clock.now();
    let mut state = sim.write();
    let uptime = now.saturating_sub(state.booted);
    let upid = Upid {
        node: node.to_owned(),
        pid: state.take_pid(),
        process_start: u64::try_from(uptime.as_millis() / 10).unwrap_or(0),
        start: u32::try_from(now.as_secs()).unwrap_or(u32::MAX),
        kind: kind.to_owned(),
        id: id.to_owned(),
        user: user.to_owned(),
    };
    let text = upid.to_string();
    state.tasks.push(TaskRecord { upid: text.clone(), log: Vec::new(), status: None, ended: None });
    drop(state);

    let control = Arc::new(Control::default());
    sim.workers.lock().insert(text.clone(), control.clone());
    let worker =
        Worker { sim: sim.clone(), upid, user: user.to_owned(), control: control.clone(), warnings: Arc::default() };
    let warnings = worker.warnings.clone();
    let mut vigil = Vigil { sim: sim.clone(), upid: text.clone(), done: false, _busy: sim.clock.busy() };
    let beginning = worker.clone();
    let work = work(worker);
    let handle = tokio::spawn(async move {
        beginning.point("begin").await;
        let delay = beginning.sim.tuning().task_delay;
        let result = match beginning.sleep(delay).await {
            Ok(()) => work.await,
            Err(error) => Err(error),
        };
        beginning.point("end").await;
        vigil.done = true;
        let (status, line) = match result {
            Err(error) => {
                let text = error.task_text();
                (text.clone(), format!("TASK ERROR: {text}"))
            }
            Ok(()) => match warnings.load(Ordering::Relaxed) {
                0 => ("OK".to_owned(), "TASK OK".to_owned()),
                count => (format!("WARNINGS: {count}"), format!("TASK WARNINGS: {count}")),
            },
        };
        finish(&vigil.sim, &vigil.upid, status, Some(line));
    });
    *control.abort.lock().unwrap_or_else(PoisonError::into_inner) = Some(handle.abort_handle());
    if control.killed.load(Ordering::SeqCst) {
        handle.abort();
    }
    text
}

/// Waits until a task has ended, for at most `limit`; returns its exit text.
pub(crate) async fn wait_for(sim: &Sim, upid: &str, limit: Duration) -> Option<String> {
    let end = sim.clock.now() + limit;
    loop {
        let status = {
            let state = sim.read();
            state.tasks.iter().rev().find(|task| task.upid == upid).and_then(|task| task.status.clone())
        };
        if status.is_some() || sim.clock.now() >= end {
            return status;
        }
        let left = end.saturating_sub(sim.clock.now());
        sim.clock.sleep(left.min(Duration::from_millis(100))).await;
    }
}

/// After a restart: tasks that ran when the simulator was killed will never say how they ended.
pub(crate) fn reap_orphans(tasks: &mut [TaskRecord], now: u64) {
    for task in tasks.iter_mut().filter(|task| task.status.is_none()) {
        task.status = Some("unexpected status".to_owned());
        task.ended = Some(now);
    }
}
