//! Guests that do not come up, are not who they were, or cannot do what they should.

use fedi_engine::drivers::DriverErrorKind;
use fedi_testsite::GuestFault;
use fedi_workflow::{GuestState, WorkflowError};

use super::{completed, nothing_is_left, paused, says, site, unwound};

#[tokio::test]
async fn it_never_comes_up() {
    let site = site().await;
    site.machines.made_with(Some(GuestFault::NeverUp));
    let failure = unwound(&site.deploy("matrix").await.unwrap());
    let message = "Failed to learn the SSH host key of the guest `matrix`";
    says(&failure, message, "It did not show one within", "Look at the VM's console on the hypervisor");
    nothing_is_left(&site).await;
}

/// It boots, its agent answers, and then it is gone from the network.
#[tokio::test]
async fn it_is_lost_before_it_answers() {
    let site = site().await;
    completed(&site.deploy("matrix").await.unwrap());
    site.wiring.guests.set_fault("matrix", Some(GuestFault::NeverUp));
    // What is on it is taken from the journal; there is nothing to do.
    let prepared = site.wiring.desk.deploy(&site.wiring.deployment("matrix")).await.unwrap();
    assert!(matches!(prepared.guest, GuestState::Silent(_)));
    assert!(prepared.plan.is_empty(), "{:?}", prepared.plan);
    assert!(prepared.plan.notes[0].contains("does not answer"), "{:?}", prepared.plan.notes);
    // It can be destroyed all the same.
    completed(&site.destroy("matrix").await.unwrap());
    nothing_is_left(&site).await;
}

#[tokio::test]
async fn it_shows_another_host_key() {
    let site = site().await;
    completed(&site.deploy("matrix").await.unwrap());
    let before = site.snapshot().await;
    site.wiring.guests.set_fault("matrix", Some(GuestFault::OtherHostKey));
    for result in [site.deploy("matrix").await, site.destroy("matrix").await] {
        let Err(WorkflowError::Driver(error)) = result else { panic!("{result:?}") };
        assert_eq!(error.kind, DriverErrorKind::Foreign);
        assert_eq!(error.message, "The guest `matrix` shows another SSH host key than the pinned one");
        assert!(error.hint.unwrap().contains("somebody may stand in between"));
    }
    assert_eq!(site.snapshot().await, before);
}

#[tokio::test]
async fn its_system_cannot_be_activated() {
    let site = site().await;
    site.machines.made_with(Some(GuestFault::ActivationFails));
    let outcome = site.deploy("matrix").await.unwrap();
    let failure = paused(&outcome);
    let message = "Failed to activate the system on the guest `matrix`";
    says(&failure, message, "`switch-to-configuration` exited with 4", "");
    assert_eq!(failure.left.as_deref(), Some("The guest `matrix` runs its former system"));
    // It holds its lease, and nothing runs.
    let guest = site.wiring.guests.named("matrix").unwrap();
    assert!(guest.apps["matrix"].held && guest.apps["matrix"].runs_with.is_none());
    // Past the pivot there is no way back but on, once it is mended.
    let (engine, run) = (site.engine(), outcome.run().unwrap());
    assert_eq!(engine.undo(run).await.unwrap_err().exit_code(), 2);
    site.wiring.guests.set_fault("matrix", None);
    completed(&engine.resume(run).await.unwrap());
}

#[tokio::test]
async fn it_cannot_be_reached_after_it_switched() {
    let site = site().await;
    site.machines.made_with(Some(GuestFault::LostAfterSwitch));
    let outcome = site.deploy("matrix").await.unwrap();
    let failure = paused(&outcome);
    assert_eq!(failure.message, "The guest `matrix` could not be reached after it switched its system");
    assert!(failure.left.unwrap().starts_with("It went back to its former system"));
    site.wiring.guests.set_fault("matrix", None);
    completed(&site.engine().resume(outcome.run().unwrap()).await.unwrap());
}

#[tokio::test]
async fn its_disk_is_full_when_secrets_come() {
    let site = site().await;
    site.machines.made_with(Some(GuestFault::DiskFull));
    let failure = unwound(&site.deploy("matrix").await.unwrap());
    says(&failure, "Guest `matrix`: Failed to write a file", "No space left on device", "Grow the state disk");
    nothing_is_left(&site).await;
}

#[tokio::test]
async fn its_disk_is_full_when_a_system_comes() {
    let site = site().await;
    completed(&site.deploy("matrix").await.unwrap());
    let before = site.snapshot().await;
    site.wiring.guests.set_fault("matrix", Some(GuestFault::DiskFull));
    site.wiring.layout.change_system("two");
    let outcome = site.deploy("matrix").await.unwrap();
    says(&paused(&outcome), "Guest `matrix`: Failed to write a file", "No space left on device", "Grow the state disk");
    assert_eq!(site.snapshot().await, before, "its former system runs");
    site.wiring.guests.set_fault("matrix", None);
    completed(&site.engine().resume(outcome.run().unwrap()).await.unwrap());
    assert_ne!(site.snapshot().await["guest matrix"], before["guest matrix"]);
}

/// Another machine has its address, and its key: a copy of its disk, say.
#[tokio::test]
async fn another_machine_answers_for_it() {
    let site = site().await;
    site.machines.made_with(Some(GuestFault::OtherMachine));
    let failure = unwound(&site.deploy("matrix").await.unwrap());
    let message = "The machine that answers for `matrix` is another one";
    says(&failure, message, "Its UUID is 00000000-", "Does another machine use the same address?");
    nothing_is_left(&site).await;
}

/// It switches its system, and the application does not stay up.
#[tokio::test]
async fn the_application_is_not_healthy() {
    let site = site().await;
    completed(&site.deploy("matrix").await.unwrap());
    site.wiring.layout.change_system("two");
    site.wiring.guests.set_fault("matrix", Some(GuestFault::ApplicationDies));
    let outcome = site.deploy("matrix").await.unwrap();
    assert_eq!(outcome.exit_code(), 6, "{outcome:?}");
    let failure = outcome.failure().unwrap();
    assert!(failure.message.starts_with("`matrix` is not healthy after"), "{failure:?}");
    assert!(failure.hint.as_deref().unwrap().contains("`fedi status matrix`"));
    assert_eq!(site.wiring.store.open_runs().await.unwrap(), [], "the run is over");
}
