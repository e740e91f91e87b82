//! Ctrl-C while something takes its time: the run pauses at once and says so, and what
//! goes on meanwhile is found again.

use std::time::Duration;

use fedi_engine::{Engine, Outcome};
use fedi_model::event::Event;
use fedi_model::run::Direction;
use fedi_sim::faults::Command;
use fedi_testsite::{GuestFault, TestSite};

use fedi_workflow::WorkflowError;

use super::{completed, nothing_is_left, site};

/// Starts a deploy, stops it once `when` holds, and gives the run.
async fn stopped(site: &TestSite, when: impl Fn() -> bool) -> (Engine, fedi_model::run::RunId) {
    let prepared = site.wiring.desk.deploy(&site.wiring.deployment("matrix")).await.unwrap();
    let engine = site.engine();
    let interrupt = engine.interrupt();
    let press = async {
        while !when() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        interrupt.request();
    };
    let both = async { tokio::join!(engine.start(&prepared.plan), press).0 };
    let outcome = tokio::time::timeout(Duration::from_secs(20), both).await.expect("it stops at once").unwrap();
    let Outcome::Paused { run, direction: Direction::Forward, pivoted: false, failure: None, reason } = &outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!((outcome.exit_code(), reason.as_str()), (4, "Interrupted"));
    (site.engine(), *run)
}

/// The node imports, and the driver has begun to wait for it.
fn importing(site: &TestSite) -> bool {
    let waits = |event| matches!(event, Event::StepProgress { message, .. } if message == "importing the image");
    creates(site) > 0 && site.recorder.events().into_iter().any(waits)
}

fn creates(site: &TestSite) -> usize {
    site.sim.tasks().iter().filter(|task| task.upid.contains(":qmcreate:")).count()
}

/// One create, however often it was stopped.
fn made_once(site: &TestSite) {
    assert_eq!((creates(site), site.sim.vmids()), (1, vec![9000]));
}

#[tokio::test]
async fn during_an_import_and_resumed() {
    let site = site().await;
    site.sim.control(Command::ImportDelay { milliseconds: 60_000 }).await;
    let (engine, run) = stopped(&site, || importing(&site)).await;
    completed(&engine.resume(run).await.unwrap());
    made_once(&site);
    assert_eq!(site.deploy("matrix").await.unwrap(), Outcome::NothingToDo);
}

#[tokio::test]
async fn during_an_import_and_taken_back() {
    let site = site().await;
    site.sim.control(Command::ImportDelay { milliseconds: 3_600_000 }).await;
    let (engine, run) = stopped(&site, || importing(&site)).await;
    assert_eq!(engine.undo(run).await.unwrap(), Outcome::Unwound { run, failure: None });
    site.wiring.desk.forget(&"matrix".parse().unwrap()).await.unwrap();
    nothing_is_left(&site).await;
}

#[tokio::test]
async fn during_an_import_and_abandoned() {
    let site = site().await;
    site.sim.control(Command::ImportDelay { milliseconds: 20_000 }).await;
    let (engine, run) = stopped(&site, || importing(&site)).await;
    assert_eq!(engine.abandon(run).await.unwrap(), Outcome::Abandoned { run });
    // What it had begun comes to be, and the next deploy goes on from there.
    it_comes_to_be(&site).await;
    completed(&site.deploy("matrix").await.unwrap());
    made_once(&site);
    completed(&site.destroy("matrix").await.unwrap());
    nothing_is_left(&site).await;
}

#[tokio::test]
async fn during_an_import_and_abandoned_and_destroyed() {
    let site = site().await;
    site.sim.control(Command::ImportDelay { milliseconds: 20_000 }).await;
    let (engine, run) = stopped(&site, || importing(&site)).await;
    assert_eq!(engine.abandon(run).await.unwrap(), Outcome::Abandoned { run });
    it_comes_to_be(&site).await;
    completed(&site.destroy("matrix").await.unwrap());
    nothing_is_left(&site).await;
}

/// Neither a second VM nor a destroy that leaves what is not there yet.
#[tokio::test]
async fn during_an_import_and_abandoned_and_not_waited_for() {
    let site = site().await;
    site.sim.control(Command::ImportDelay { milliseconds: 3_600_000 }).await;
    let (engine, run) = stopped(&site, || importing(&site)).await;
    assert_eq!(engine.abandon(run).await.unwrap(), Outcome::Abandoned { run });
    is_being_made(&site.deploy("matrix").await.unwrap_err());
    is_being_made(&site.destroy("matrix").await.unwrap_err());
    assert_eq!(creates(&site), 1);
}

#[track_caller]
fn is_being_made(error: &WorkflowError) {
    let WorkflowError::Driver(error) = error else { panic!("{error:?}") };
    assert_eq!(error.message, "VM 9000 on host `proxmox1` is still being made for `matrix`");
    assert!(error.hint.is_some() && error.causes.iter().any(|cause| cause.contains(":qmcreate:9000:")), "{error:?}");
}

async fn it_comes_to_be(site: &TestSite) {
    while !site.sim.vm(9000).is_some_and(|vm| vm.running) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Lists that were read before are old by now.
    tokio::time::sleep(Duration::from_millis(50)).await;
}

#[tokio::test]
async fn while_the_guest_boots() {
    let site = site().await;
    site.machines.made_with(Some(GuestFault::NeverUp));
    let (engine, run) = stopped(&site, || site.sim.vm(9000).is_some_and(|vm| vm.running)).await;
    site.wiring.guests.set_fault("matrix", None);
    completed(&engine.resume(run).await.unwrap());
    made_once(&site);
}

#[tokio::test]
async fn while_it_is_taken_back() {
    let site = site().await;
    site.machines.made_with(Some(GuestFault::DiskFull));
    let prepared = site.wiring.desk.deploy(&site.wiring.deployment("matrix")).await.unwrap();
    let engine = site.engine();
    let interrupt = engine.interrupt();
    let press = async {
        let turned = |event| matches!(event, Event::Unwinding { .. });
        while !site.recorder.events().into_iter().any(turned) {
            tokio::task::yield_now().await;
        }
        interrupt.request();
    };
    let (outcome, ()) = tokio::join!(engine.start(&prepared.plan), press);
    let Outcome::Paused { run, direction: Direction::Backward, .. } = outcome.unwrap() else { panic!() };
    let outcome = site.engine().resume(run).await.unwrap();
    assert!(matches!(outcome, Outcome::Unwound { failure: Some(_), .. }), "{outcome:?}");
    site.wiring.desk.forget(&"matrix".parse().unwrap()).await.unwrap();
    nothing_is_left(&site).await;
}
