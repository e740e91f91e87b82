//! What a destroy does.

use fedi_model::resource::{Resource, ResourceId};
use fedi_plan::Refusal;
use uuid::Uuid;

use crate::world::{World, deployed_world, empty_world, lines};

#[track_caller]
fn check(world: &World, expected: &[&str]) {
    assert_eq!(lines(&world.plan_destroy().unwrap()), expected);
}

#[test]
fn everything_goes_and_the_secrets_last() {
    let mut world = deployed_world();
    check(
        &world,
        &[
            "names: - records/matrix/example.test",
            "pivot: pivot",
            "stop: - lease/matrix",
            "machine: - vm/matrix",
            "release: - address/matrix/ipv4",
            "release: - address/matrix/ipv6",
            "release: - host-key/matrix",
            "secrets: - secret/matrix/admin-password",
            "secrets: - secret/matrix/macaroon",
            "secrets: - secret/matrix/signing-key",
        ],
    );
    let plan = world.plan_destroy().unwrap();
    world.apply(&plan);
    check(&world, &[]);
}

#[test]
fn nothing_is_there() {
    check(&empty_world(), &[]);
}

#[test]
fn a_deploy_after_it_is_a_first_one_with_the_next_epoch() {
    let mut world = deployed_world();
    let plan = world.plan_destroy().unwrap();
    world.apply(&plan);
    world.uuid = Uuid::from_u128(8);
    let plan = world.plan().unwrap();
    assert_eq!(plan.stages.first().unwrap().title, "reserve");
    world.apply(&plan);
    assert_eq!(world.epoch, 2);
    assert!(world.plan().unwrap().is_empty());
}

#[test]
fn a_silent_guest_is_not_asked() {
    let mut world = deployed_world();
    world.guest_is_silent();
    let plan = world.plan_destroy().unwrap();
    assert!(!lines(&plan).iter().any(|line| line.starts_with("stop")));
    assert!(plan.notes[1].contains("does not answer"), "{:?}", plan.notes);
}

#[test]
fn what_only_the_journal_knows_is_forgotten() {
    let mut world = deployed_world();
    for found in world.known.observed.values_mut() {
        *found = None;
    }
    let plan = world.plan_destroy().unwrap();
    let vm = plan.steps().find(|step| step.resource() == Some(ResourceId::vm(&world.deployment.name))).unwrap();
    assert!(vm.title.ends_with(", already gone"), "{}", vm.title);
    world.apply(&plan);
    check(&world, &[]);
}

#[test]
fn a_vm_that_the_journal_does_not_know_is_left() {
    let mut world = deployed_world();
    world.vm().uuid = Uuid::from_u128(99);
    let refusals = world.plan_destroy().unwrap_err().refusals;
    assert!(matches!(refusals.as_slice(), [Refusal::NotMade { .. }]), "{refusals:?}");
    world.known.ledger.clear();
    assert!(world.plan_destroy().is_err());
}

/// A run was abandoned while the VM was made, and it came to be after that.
#[test]
fn a_vm_that_an_abandoned_run_had_begun_goes() {
    let mut world = deployed_world();
    world.known.ledger.remove(&ResourceId::vm(&world.deployment.name));
    world.begun = Some(Uuid::from_u128(99));
    assert!(world.plan_destroy().is_err(), "it is another one");
    world.begun = Some(world.uuid);
    let plan = lines(&world.plan_destroy().unwrap());
    assert!(plan.contains(&"machine: - vm/matrix".to_owned()), "{plan:?}");
}

#[test]
fn only_records_that_fedi_wrote_go() {
    let mut world = deployed_world();
    let id = world.known.ledger.keys().find(|id| id.kind() == "records").unwrap().clone();
    let Some(Some(Resource::Records(seen))) = world.known.observed.get_mut(&id) else { panic!() };
    let mut foreign = seen.sets[0].clone();
    foreign.kind = "MX".to_owned();
    seen.sets.push(foreign);
    let plan = world.plan_destroy().unwrap();
    let step = plan.steps().find(|step| step.resource().as_ref() == Some(&id)).unwrap();
    let fedi_model::plan::Action::Remove { resource } = &step.action else { panic!() };
    let Resource::Records(records) = &**resource else { panic!() };
    assert!(records.sets.iter().all(|set| set.kind != "MX"));
}
