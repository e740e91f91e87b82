//! The transition function of runs: what may follow what, and what it comes to.

#![allow(clippy::unwrap_used)]

mod ledger;
mod random;
mod sound;
mod transitions;
mod undo;

use fedi_model::manifest::{Generator, SecretClass};
use fedi_model::plan::{Action, Plan, SCHEMA, Stage, Step, StepId, Task, Workflow};
use fedi_model::resource::{Address, Family, GuestRef, Image, Resource, Secret};
use fedi_model::run::{Failure, FailureKind, Refused, RunEvent, RunId, RunRecord, RunState};
use fedi_model::{AppName, DeploymentName, HostName, SecretName};

fn deployment() -> DeploymentName {
    DeploymentName::new("matrix").unwrap()
}

fn host() -> HostName {
    HostName::new("proxmox1").unwrap()
}

/// An address ending in `last`.
fn address(family: Family, last: u8) -> Resource {
    let (address, gateway) = match family {
        Family::Ipv4 => (format!("192.0.2.{last}/24"), "192.0.2.1"),
        Family::Ipv6 => (format!("2001:db8::{last:x}/64"), "2001:db8::1"),
    };
    Resource::Address(Address {
        deployment: deployment(),
        host: host(),
        family,
        address: address.parse().unwrap(),
        gateway: gateway.parse().unwrap(),
        quarantine_hours: 24,
    })
}

fn v4(last: u8) -> Resource {
    address(Family::Ipv4, last)
}

fn v6(last: u8) -> Resource {
    address(Family::Ipv6, last)
}

fn secret(version: Option<u32>) -> Resource {
    Resource::Secret(Secret {
        deployment: deployment(),
        app: AppName::new("matrix").unwrap(),
        name: SecretName::new("signing-key").unwrap(),
        class: SecretClass::Identity,
        generator: Generator::SynapseSigningKey,
        version,
        from: None,
    })
}

fn image() -> Resource {
    Resource::Image(Image {
        host: host(),
        file: "fedi-guest-0123456789abcdef.qcow2".to_owned(),
        sha256: "ab".repeat(32),
        source: "/guest.qcow2".to_owned(),
        bytes: None,
    })
}

fn ensure(resource: Resource) -> Step {
    step(resource.id().as_str(), Action::Ensure { desired: Box::new(resource), observed: None })
}

fn remove(resource: Resource) -> Step {
    step(resource.id().as_str(), Action::Remove { resource: Box::new(resource) })
}

fn task() -> Step {
    let guest =
        GuestRef { deployment: deployment(), host: host(), uuid: uuid::Uuid::from_u128(1), addresses: Vec::new() };
    step("await-guest", Action::Run { task: Box::new(Task::AwaitGuest { guest }) })
}

fn pivot() -> Step {
    step("pivot", Action::Pivot { reason: "names are public".to_owned() })
}

fn step(id: &str, action: Action) -> Step {
    Step { id: StepId::new(id), title: id.to_owned(), action, changes: Vec::new() }
}

fn plan(stages: Vec<Vec<Step>>) -> Plan {
    let stages = stages.into_iter().enumerate();
    Plan {
        schema: SCHEMA,
        workflow: Workflow::Deploy,
        deployment: deployment(),
        host: host(),
        stages: stages.map(|(number, steps)| Stage { title: number.to_string(), steps }).collect(),
        notes: Vec::new(),
    }
}

/// A journal being written, as a store and an executor would.
struct Journal {
    state: RunState,
    records: Vec<RunRecord>,
}

impl Journal {
    fn of(stages: Vec<Vec<Step>>) -> Self {
        let first = RunRecord {
            seq: 0,
            at: jiff::Timestamp::UNIX_EPOCH,
            event: RunEvent::Planned { plan: Box::new(plan(stages)) },
        };
        Self { state: RunState::begin(RunId(7), &first).unwrap(), records: vec![first] }
    }

    fn next(&self, event: RunEvent) -> RunRecord {
        let at = jiff::Timestamp::from_second(i64::try_from(self.state.events).unwrap()).unwrap();
        RunRecord { seq: self.state.events, at, event }
    }

    fn try_push(&mut self, event: RunEvent) -> Result<(), Refused> {
        let record = self.next(event);
        let before = self.state.clone();
        let checked = self.state.check(&record);
        let applied = self.state.apply(&record);
        assert_eq!(checked, applied, "check and apply agree");
        match &applied {
            Ok(()) => self.records.push(record),
            Err(_) => assert_eq!(self.state, before, "a refused event changes nothing"),
        }
        applied
    }

    fn push(&mut self, event: RunEvent) -> &mut Self {
        self.try_push(event).unwrap();
        self
    }

    fn refused(&mut self, event: RunEvent) -> String {
        self.try_push(event).unwrap_err().what
    }

    /// A step that begins and is done.
    fn does(&mut self, step: &str, before: Option<Resource>, after: Option<Resource>) -> &mut Self {
        self.push(started(step, before)).push(finished(step, after))
    }
}

fn started(step: &str, before: Option<Resource>) -> RunEvent {
    RunEvent::Started { step: StepId::new(step), before: before.map(Box::new) }
}

fn finished(step: &str, after: Option<Resource>) -> RunEvent {
    RunEvent::Finished { step: StepId::new(step), after: after.map(Box::new) }
}

fn failed(step: &str, kind: FailureKind) -> RunEvent {
    RunEvent::Failed { step: StepId::new(step), failure: failure(kind) }
}

fn failure(kind: FailureKind) -> Failure {
    Failure { message: format!("{kind:?}"), causes: Vec::new(), hint: None, left: None, kind }
}

fn noted(step: &str) -> RunEvent {
    RunEvent::Noted { step: StepId::new(step), key: "upid".to_owned(), value: "1".to_owned() }
}

fn undone(step: &str) -> RunEvent {
    RunEvent::Undone { step: StepId::new(step) }
}

fn unwinding() -> RunEvent {
    RunEvent::Unwinding { reason: "it failed".to_owned(), asked: false }
}

fn paused() -> RunEvent {
    RunEvent::Paused { reason: "stopped".to_owned() }
}

fn resumed() -> RunEvent {
    RunEvent::Resumed { holder: "me@here (pid 1)".to_owned() }
}

fn left(step: &str, now: Option<Resource>) -> RunEvent {
    RunEvent::Left { step: StepId::new(step), now: now.map(Box::new) }
}
