//! The process is really killed, by SIGKILL, before and after every journal append, and
//! this one takes over from there. The simulator is in this process; the child that is
//! killed finds it, and everything else, through the site's folder.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fedi_engine::{Engine, EngineOptions, Outcome, SystemClock, Unobserved};
use fedi_model::DeploymentName;
use fedi_sim::Tuning;
use fedi_test::workflow::Testbed;
use fedi_test::{CrashAt, CrashingStore, child};
use fedi_testsite::{Setup, SiteBed, Task, Wiring};

/// How many children are killed at once.
const AT_ONCE: usize = 3;

/// The child: does the task in the site of its argument and dies at the append it is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_process() {
    let Some(argument) = child::argument() else { return };
    let words: Vec<&str> = argument.split(' ').collect();
    let [root, task, moment, number] = words.as_slice() else { panic!("{argument}") };
    let at = match *moment {
        "before" => CrashAt::Before(number.parse().unwrap()),
        "after" => CrashAt::After(number.parse().unwrap()),
        other => panic!("{other}"),
    };
    let wiring = Wiring::open(Path::new(root));
    let name = DeploymentName::new("matrix").unwrap();
    let plan = match *task {
        "Destroy" => wiring.desk.destroy(&name).await.unwrap().0,
        _ => wiring.desk.deploy(&wiring.deployment("matrix")).await.unwrap().plan,
    };
    let store = Arc::new(CrashingStore::killing(wiring.store.clone(), at));
    let engine = Engine::new(store, wiring.world(), Arc::new(SystemClock), Arc::new(Unobserved))
        .with_options(EngineOptions { concurrency: 1, ..EngineOptions::default() });
    engine.start(&plan).await.unwrap();
}

/// On this site an import takes a while, so that many kills hit it half-way.
fn setup() -> Setup {
    Setup { tuning: Tuning { import_delay: Duration::from_secs(2), ..Tuning::default() }, ..Setup::default() }
}

async fn run_child(bed: &SiteBed, task: Task, moment: &str, number: u64) -> Output {
    let argument = format!("{} {task:?} {moment} {number}", bed.site.root().display());
    let mut command = child::command("killed::child_process", &argument);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

/// Kills the task before and after its append with that number; `false` when it has none.
async fn killed_at(task: Task, number: u64, goal: &fedi_test::workflow::Snapshot) -> bool {
    for moment in ["before", "after"] {
        let bed = SiteBed::with(task, setup()).await;
        let output = run_child(&bed, task, moment, number).await;
        if output.status.success() {
            return false;
        }
        let at = format!("{moment} append {number}");
        assert_eq!(output.status.signal(), Some(9), "{at}: {}", String::from_utf8_lossy(&output.stdout));
        let store = bed.store();
        let open = store.open_runs().await.unwrap();
        // Its lease is still there; the process that held it is gone, and that is seen.
        let engine = bed.site.engine();
        let outcome = match open.first() {
            Some(run) => engine.resume(run.id).await.unwrap(),
            None => engine.start(&bed.plan().await).await.unwrap(),
        };
        assert!(matches!(outcome, Outcome::Completed { .. } | Outcome::NothingToDo), "{at}: {outcome:?}");
        assert_eq!(bed.snapshot().await, *goal, "{at}");
        assert_no_effect_was_doubled(&bed, task, &at);
        assert!(bed.plan().await.is_empty(), "{at}: nothing is left to do");
    }
    true
}

/// One create, one start and one destroy, however often the process was killed.
fn assert_no_effect_was_doubled(bed: &SiteBed, task: Task, at: &str) {
    let tasks = bed.site.sim.tasks();
    let count = |kind: &str| tasks.iter().filter(|task| task.upid.contains(&format!(":{kind}:"))).count();
    assert_eq!((count("qmcreate"), count("imgcopy")), (1, 1), "{at}: {tasks:#?}");
    assert_eq!(count("qmdestroy"), usize::from(task == Task::Destroy), "{at}: {tasks:#?}");
    assert_eq!(bed.site.sim.vmids().len(), usize::from(task == Task::Deploy), "{at}");
}

/// Kills the task at every append it has.
async fn killed_at_every_append(task: Task) {
    if child::argument().is_some() {
        return;
    }
    let undisturbed = SiteBed::with(task, setup()).await;
    let plan = undisturbed.plan().await;
    let outcome = undisturbed.site.engine().start(&plan).await.unwrap();
    assert!(matches!(outcome, Outcome::Completed { .. }), "{outcome:?}");
    let goal = undisturbed.snapshot().await;

    let (next, last) = (AtomicU64::new(1), AtomicU64::new(u64::MAX));
    let worker = async || {
        loop {
            let number = next.fetch_add(1, Ordering::SeqCst);
            if number > last.load(Ordering::SeqCst) {
                return;
            }
            if !killed_at(task, number, &goal).await {
                last.fetch_min(number, Ordering::SeqCst);
            }
        }
    };
    futures::future::join_all((0..AT_ONCE).map(|_| worker())).await;
    let kills = last.load(Ordering::SeqCst) - 1;
    assert!(kills > 2 * plan.steps().count() as u64, "it was killed at {kills} appends only");
}

#[tokio::test]
async fn deploy() {
    killed_at_every_append(Task::Deploy).await;
}

#[tokio::test]
async fn destroy() {
    killed_at_every_append(Task::Destroy).await;
}
