//! What fedi owns.

use fedi_engine::store::Store;
use fedi_model::plan::{Step, StepId};
use fedi_model::resource::Resource;
use fedi_model::run::RunEvent;

use super::{Journal, StoreBed, plan_of, writer};
use crate::sample::{Sample, ensure, remove, stage};

fn started(resource: &Resource) -> RunEvent {
    RunEvent::Started { step: StepId::new(resource.id().as_str()), before: None }
}

fn made(resource: &Resource) -> RunEvent {
    let step = StepId::new(resource.id().as_str());
    RunEvent::Finished { step, after: Some(Box::new(resource.clone())) }
}

fn unwinding() -> RunEvent {
    RunEvent::Unwinding { reason: "no".to_owned(), asked: true }
}

fn undone(resource: &Resource) -> RunEvent {
    RunEvent::Undone { step: StepId::new(resource.id().as_str()) }
}

async fn names(store: &dyn Store) -> Vec<String> {
    store.ledger(None).await.unwrap().iter().map(|entry| entry.resource.id().to_string()).collect()
}

async fn owned(store: &dyn Store, like: &Resource) -> Option<Resource> {
    store.ledger_entry(&like.id()).await.unwrap().map(|entry| entry.resource)
}

/// A finished step's resource is owned, by the run that made it; a begun one's is not.
pub async fn holds_what_was_made(bed: impl StoreBed) {
    let store = bed.open().await;
    let fence = writer(store.as_ref()).await;
    let sample = Sample::new("one");
    let (address, image) = (sample.address(), sample.image());
    let plan = plan_of("one", vec![ensure(address.clone(), None), ensure(image.clone(), None)]);
    let mut journal = Journal::begin(store.as_ref(), fence, &plan).await.unwrap();
    journal.all([started(&address), started(&image), made(&address)]).await;
    let store = bed.open().await;
    assert_eq!(names(store.as_ref()).await, ["address/one/ipv4"]);
    let entry = store.ledger_entry(&address.id()).await.unwrap().unwrap();
    assert_eq!((entry.resource, entry.run, entry.at), (address, journal.state.id, journal.state.updated));
    assert_eq!(store.ledger_entry(&image.id()).await.unwrap(), None);
    journal.append(made(&image)).await.unwrap();
    assert_eq!(names(store.as_ref()).await, ["address/one/ipv4", image.id().as_str()]);
}

/// Undoing a step brings back what was owned before, or nothing.
pub async fn reverts_to_what_was_before(bed: impl StoreBed) {
    let store = bed.open().await;
    let fence = writer(store.as_ref()).await;
    let mut sample = Sample::new("one");
    let small = sample.vm();
    sample.memory_mib = 8192;
    let big = sample.vm();
    let first = plan_of("one", vec![ensure(small.clone(), None)]);
    let mut journal = Journal::begin(store.as_ref(), fence, &first).await.unwrap();
    journal.all([started(&small), made(&small), RunEvent::Completed]).await;

    let address = sample.address();
    let second = plan_of("one", vec![ensure(big.clone(), None), ensure(address.clone(), None)]);
    let mut journal = Journal::begin(store.as_ref(), fence, &second).await.unwrap();
    journal.all([started(&big), made(&big), started(&address), made(&address)]).await;
    assert_eq!(owned(store.as_ref(), &small).await, Some(big.clone()));
    journal.all([unwinding(), undone(&address), undone(&big), RunEvent::Unwound]).await;
    let store = bed.open().await;
    assert_eq!(owned(store.as_ref(), &small).await, Some(small));
    assert_eq!(owned(store.as_ref(), &address).await, None);
}

/// A removed resource is not owned; undoing the removal makes it owned again.
pub async fn forgets_what_is_gone(bed: impl StoreBed) {
    let store = bed.open().await;
    let fence = writer(store.as_ref()).await;
    let sample = Sample::new("one");
    let address = sample.address();
    let first = plan_of("one", vec![ensure(address.clone(), None)]);
    let mut journal = Journal::begin(store.as_ref(), fence, &first).await.unwrap();
    journal.all([started(&address), made(&address), RunEvent::Completed]).await;

    let gone = || RunEvent::Finished { step: StepId::new(address.id().as_str()), after: None };
    let second = plan_of("one", vec![remove(address.clone())]);
    let mut journal = Journal::begin(store.as_ref(), fence, &second).await.unwrap();
    journal.all([started(&address), gone()]).await;
    assert_eq!(names(store.as_ref()).await, [""; 0]);
    journal.all([unwinding(), undone(&address), RunEvent::Unwound]).await;
    assert_eq!(owned(store.as_ref(), &address).await, Some(address.clone()));

    let mut journal = Journal::begin(store.as_ref(), fence, &second).await.unwrap();
    journal.all([started(&address), gone(), RunEvent::Completed]).await;
    assert_eq!(names(bed.open().await.as_ref()).await, [""; 0]);
}

/// The ledger of one deployment.
pub async fn tells_deployments_apart(bed: impl StoreBed) {
    let store = bed.open().await;
    let fence = writer(store.as_ref()).await;
    for name in ["one", "two"] {
        let sample = Sample::new(name);
        let (address, image) = (sample.address(), sample.image());
        let plan = plan_of(name, vec![ensure(address.clone(), None), ensure(image.clone(), None)]);
        let mut journal = Journal::begin(store.as_ref(), fence, &plan).await.unwrap();
        journal.all([started(&address), started(&image), made(&address), made(&image), RunEvent::Completed]).await;
    }
    let two = store.ledger(Some(&Sample::new("two").deployment)).await.unwrap();
    assert_eq!(two.iter().map(|entry| entry.resource.id().to_string()).collect::<Vec<_>>(), ["address/two/ipv4"]);
    assert_eq!(names(store.as_ref()).await.len(), 3);
}

/// What an unfinished run made over what another made can still be taken off, though
/// others that share the resource are over.
pub async fn settles_when_a_run_is_over(bed: impl StoreBed) {
    let store = bed.open().await;
    let fence = writer(store.as_ref()).await;
    let address = Sample::new("one").address();
    // Two steps of one run about one resource, one after the other.
    let mut plan = plan_of("one", vec![ensure(address.clone(), None)]);
    let mut again = ensure(address.clone(), None);
    again.id = StepId::new("again");
    plan.stages.push(stage("again", vec![again]));
    let mut journal = Journal::begin(store.as_ref(), fence, &plan).await.unwrap();
    let mut other = address.clone();
    if let Resource::Address(address) = &mut other {
        address.quarantine_hours = 7;
    }
    let step = || StepId::new("again");
    journal.all([started(&address), made(&address)]).await;
    journal.all([RunEvent::Started { step: step(), before: Some(Box::new(address.clone())) }]).await;
    journal.all([RunEvent::Finished { step: step(), after: Some(Box::new(other.clone())) }]).await;
    assert_eq!(owned(store.as_ref(), &address).await, Some(other));
    journal.all([unwinding(), RunEvent::Undone { step: step() }]).await;
    assert_eq!(owned(store.as_ref(), &address).await, Some(address.clone()));
    journal.all([undone(&address), RunEvent::Unwound]).await;
    assert_eq!(owned(store.as_ref(), &address).await, None);
}

/// What lives on a VM is gone with it, in the same moment.
pub async fn a_vm_takes_its_guest_along(bed: impl StoreBed) {
    let store = bed.open().await;
    let fence = writer(store.as_ref()).await;
    let sample = Sample::new("one");
    let other = Sample::new("two");
    let on_guest = [sample.delivery(), sample.lease(), sample.system()];
    let all: Vec<Resource> = [sample.vm(), sample.host_key()].into_iter().chain(on_guest).collect();
    let first = plan_of("one", all.iter().map(|it| ensure(it.clone(), None)).collect());
    let mut journal = Journal::begin(store.as_ref(), fence, &first).await.unwrap();
    for it in &all {
        journal.all([started(it), made(it)]).await;
    }
    journal.append(RunEvent::Completed).await.unwrap();
    let second = plan_of("two", vec![ensure(other.lease(), None)]);
    let mut journal = Journal::begin(store.as_ref(), fence, &second).await.unwrap();
    journal.all([started(&other.lease()), made(&other.lease()), RunEvent::Completed]).await;

    let mut third = plan_of("one", vec![remove(sample.vm())]);
    third.stages.insert(0, stage("pivot", vec![Step::pivot("no way back")]));
    let mut journal = Journal::begin(store.as_ref(), fence, &third).await.unwrap();
    journal.append(RunEvent::Pivoted { step: StepId::new("pivot") }).await.unwrap();
    let gone = RunEvent::Finished { step: StepId::new(sample.vm().id().as_str()), after: None };
    journal.all([started(&sample.vm()), gone]).await;
    assert_eq!(names(bed.open().await.as_ref()).await, ["host-key/one", "lease/two"]);
    journal.append(RunEvent::Completed).await.unwrap();
    assert_eq!(names(bed.open().await.as_ref()).await, ["host-key/one", "lease/two"]);
}
