//! A deployment like a real one, for tests that need just some plan.

use std::collections::BTreeMap;

use fedi_engine::World;
use fedi_model::inventory::SystemDriver;
use fedi_model::manifest::{Generator, SecretClass};
use fedi_model::plan::{Action, Plan, Probe, SCHEMA, Stage, Step, StepId, Task, Workflow};
use fedi_model::resource::{
    Address, DeliveredFile, Delivery, Family, GuestRef, HostKey, Image, Lease, NicAddress, RecordSet, Records,
    Resource, Secret, System, Vm,
};
use fedi_model::{AppName, DeploymentName, Domain, HostName, SecretName};
use uuid::Uuid;

use crate::map_world::found;

/// The deployment that a sample is of: its name decides all of its names and numbers.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Its name.
    pub deployment: DeploymentName,
    /// Its host.
    pub host: HostName,
    /// Memory of its VM, to have something to change.
    pub memory_mib: u32,
}

impl Sample {
    /// A deployment of that name on `proxmox1`.
    pub fn new(deployment: &str) -> Self {
        Self {
            deployment: DeploymentName::new(deployment).unwrap(),
            host: HostName::new("proxmox1").unwrap(),
            memory_mib: 2048,
        }
    }

    /// Its guest.
    pub fn guest(&self) -> GuestRef {
        GuestRef {
            deployment: self.deployment.clone(),
            host: self.host.clone(),
            uuid: Uuid::from_u128(self.deployment.as_str().bytes().fold(1, |sum, byte| sum * 31 + u128::from(byte))),
            addresses: vec!["192.0.2.10".parse().unwrap()],
        }
    }

    /// Its address.
    pub fn address(&self) -> Resource {
        Resource::Address(Address {
            deployment: self.deployment.clone(),
            host: self.host.clone(),
            family: Family::Ipv4,
            address: "192.0.2.10/24".parse().unwrap(),
            gateway: "192.0.2.1".parse().unwrap(),
            quarantine_hours: 24,
        })
    }

    /// A secret of it.
    pub fn secret(&self, name: &str) -> Resource {
        Resource::Secret(Secret {
            deployment: self.deployment.clone(),
            app: app(),
            name: SecretName::new(name).unwrap(),
            class: SecretClass::Identity,
            generator: Generator::SynapseSigningKey,
            version: None,
            from: None,
        })
    }

    /// The image that it starts from.
    pub fn image(&self) -> Resource {
        Resource::Image(Image {
            host: self.host.clone(),
            file: "fedi-guest-0123456789abcdef.qcow2".to_owned(),
            sha256: "0123456789abcdef".repeat(4),
            source: "/images/guest.qcow2".to_owned(),
            bytes: Some(1 << 30),
        })
    }

    /// Its VM.
    pub fn vm(&self) -> Resource {
        Resource::Vm(Vm {
            deployment: self.deployment.clone(),
            app: app(),
            host: self.host.clone(),
            uuid: self.guest().uuid,
            vmid: None,
            cores: 2,
            memory_mib: self.memory_mib,
            state_gib: 20,
            image: "fedi-guest-0123456789abcdef.qcow2".to_owned(),
            addresses: vec![NicAddress {
                address: "192.0.2.10/24".parse().unwrap(),
                gateway: "192.0.2.1".parse().unwrap(),
            }],
            resolvers: vec!["192.0.2.53".parse().unwrap()],
            authorized_keys: vec!["ssh-ed25519 AAAA operator".to_owned()],
            running: true,
        })
    }

    /// Its host key.
    pub fn host_key(&self) -> Resource {
        Resource::HostKey(HostKey { guest: self.guest(), key: None })
    }

    /// Its records.
    pub fn records(&self) -> Resource {
        let set = RecordSet {
            name: self.deployment.to_string(),
            kind: "A".to_owned(),
            ttl: 300,
            values: vec!["192.0.2.10".to_owned()],
        };
        Resource::Records(Records {
            deployment: self.deployment.clone(),
            host: self.host.clone(),
            zone: Domain::new("example.test").unwrap(),
            sets: vec![set],
        })
    }

    /// The secrets on its guest.
    pub fn delivery(&self) -> Resource {
        let file = DeliveredFile {
            version: None,
            path: "/run/fedi/secrets/matrix/signing-key".to_owned(),
            owner: "root".to_owned(),
            group: "root".to_owned(),
            mode: "0400".to_owned(),
        };
        Resource::Delivery(Delivery {
            guest: self.guest(),
            app: app(),
            files: BTreeMap::from([(SecretName::new("signing-key").unwrap(), file)]),
        })
    }

    /// Its lease.
    pub fn lease(&self) -> Resource {
        Resource::Lease(Lease { guest: self.guest(), app: app(), epoch: 1, back_as: None })
    }

    /// Its system.
    pub fn system(&self) -> Resource {
        Resource::System(System {
            guest: self.guest(),
            app: app(),
            driver: SystemDriver::Prebuilt,
            source: "/systems/matrix".to_owned(),
            toplevel: "/nix/store/matrix".to_owned(),
        })
    }

    /// Waiting for its guest.
    pub fn await_guest(&self) -> Task {
        Task::AwaitGuest { guest: self.guest() }
    }

    /// Looking whether it is healthy.
    pub fn probe(&self) -> Task {
        Task::Probe {
            probe: Box::new(Probe {
                guest: self.guest(),
                app: app(),
                unit: None,
                endpoints: Vec::new(),
                records: Vec::new(),
            }),
        }
    }

    fn plan(&self, workflow: Workflow, stages: Vec<Stage>) -> Plan {
        Plan {
            schema: SCHEMA,
            workflow,
            deployment: self.deployment.clone(),
            host: self.host.clone(),
            stages,
            notes: Vec::new(),
        }
    }

    /// What brings it up from what `world` has; empty where it is up. Its pivot is
    /// before the records.
    pub async fn deploy(&self, world: &dyn World) -> Plan {
        let wanted = [
            ("reserve", vec![self.address(), self.secret("signing-key"), self.secret("admin-password"), self.image()]),
            ("machine", vec![self.vm()]),
            ("trust", vec![self.host_key()]),
            ("system", vec![self.delivery()]),
            ("start", vec![self.lease()]),
            ("activate", vec![self.system()]),
        ];
        let mut stages = Vec::new();
        for (title, resources) in wanted {
            stages.extend(differing(world, title, resources).await);
            if title == "machine" && !stages.is_empty() {
                stages.push(stage("guest", vec![run(self.await_guest())]));
            }
        }
        if let Some(records) = differing(world, "names", vec![self.records()]).await {
            stages.push(stage("pivot", vec![pivot()]));
            stages.push(records);
        }
        if !stages.is_empty() {
            stages.push(stage("health", vec![run(self.probe())]));
        }
        self.plan(Workflow::Deploy, stages)
    }

    /// What removes it; empty where nothing of it is there.
    pub async fn destroy(&self, world: &dyn World) -> Plan {
        let wanted = [
            ("names", vec![self.records()]),
            ("machine", vec![self.vm()]),
            ("trust", vec![self.host_key()]),
            ("release", vec![self.address(), self.secret("signing-key"), self.secret("admin-password")]),
        ];
        let mut stages = Vec::new();
        for (title, resources) in wanted {
            let mut steps = Vec::new();
            for resource in resources {
                if let Some(resource) = world.observe(&resource).await.unwrap() {
                    steps.push(remove(resource));
                }
            }
            if !steps.is_empty() {
                stages.push(stage(title, steps));
            }
        }
        if !stages.is_empty() {
            stages.insert(0, stage("pivot", vec![pivot()]));
        }
        self.plan(Workflow::Destroy, stages)
    }
}

fn app() -> AppName {
    AppName::new("matrix").unwrap()
}

async fn differing(world: &dyn World, title: &str, resources: Vec<Resource>) -> Option<Stage> {
    let mut steps = Vec::new();
    for desired in resources {
        let observed = world.observe(&desired).await.unwrap();
        if observed.as_ref() != Some(&found(desired.clone())) {
            steps.push(ensure(desired, observed));
        }
    }
    (!steps.is_empty()).then(|| stage(title, steps))
}

/// A stage.
pub fn stage(title: &str, steps: Vec<Step>) -> Stage {
    Stage { title: title.to_owned(), steps }
}

/// A step that makes a thing.
pub fn ensure(desired: Resource, observed: Option<Resource>) -> Step {
    let id = desired.id().to_string();
    step(&id, Action::Ensure { desired: Box::new(desired), observed: observed.map(Box::new) })
}

/// A step that removes a thing.
pub fn remove(resource: Resource) -> Step {
    let id = resource.id().to_string();
    step(&id, Action::Remove { resource: Box::new(resource) })
}

/// A step that does a task.
pub fn run(task: Task) -> Step {
    let id = task.id();
    step(id.as_str(), Action::Run { task: Box::new(task) })
}

/// The point of no return.
pub fn pivot() -> Step {
    step("pivot", Action::Pivot { reason: "others see it from here on".to_owned() })
}

fn step(id: &str, action: Action) -> Step {
    Step { id: StepId::new(id), title: id.to_owned(), action, changes: Vec::new() }
}
