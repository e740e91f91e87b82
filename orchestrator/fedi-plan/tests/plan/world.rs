//! A deployment of Matrix on one host, and a world of maps that plans are applied to.

use std::collections::BTreeMap;
use std::net::IpAddr;

use fedi_model::inventory::{Deployment, DeploymentFile, HostFile};
use fedi_model::manifest::Manifest;
use fedi_model::name::Domain;
use fedi_model::plan::{Action, Plan, Task};
use fedi_model::resource::{Address, Family, Image, Resource, ResourceId};
use fedi_model::run::check_plan;
use fedi_model::{DeploymentName, HostName};
use fedi_plan::{DeployInputs, DestroyInputs, Known, PlanError, SystemInput, plan_deploy, plan_destroy};
use serde_json::json;
use uuid::Uuid;

pub(crate) const TOPLEVEL: &str = "/nix/store/aaaa-matrix";

/// Everything a plan is made from, to be changed at will.
pub(crate) struct World {
    pub(crate) deployment: Deployment,
    pub(crate) host: HostFile,
    pub(crate) manifest: Manifest,
    pub(crate) toplevel: String,
    pub(crate) image: Image,
    pub(crate) addresses: Vec<Address>,
    pub(crate) uuid: Uuid,
    pub(crate) epoch: u64,
    pub(crate) taken: BTreeMap<Domain, DeploymentName>,
    pub(crate) admin_made: bool,
    /// The UUID of a VM that a run has begun to make.
    pub(crate) begun: Option<Uuid>,
    pub(crate) known: Known,
}

pub(crate) fn domain(text: &str) -> Domain {
    Domain::new(text).unwrap()
}

pub(crate) fn name(text: &str) -> DeploymentName {
    DeploymentName::new(text).unwrap()
}

pub(crate) fn host() -> HostFile {
    let pool = |network: &str, gateway: &str, first: &str, last: &str| json!({ "network": network, "gateway": gateway, "first": first, "last": last });
    let file = json!({
        "hypervisor": {
            "endpoint": "https://10.78.0.11:8006", "tls": "system", "token": { "env": "TOKEN" },
            "node": "pve1", "vm-storage": "local-lvm", "image-storage": "local",
        },
        "image": { "source": "guest.qcow2" },
        "addresses": [
            pool("10.78.1.0/24", "10.78.1.1", "10.78.1.10", "10.78.1.20"),
            pool("fd78:1::/64", "fd78:1::1", "fd78:1::10", "fd78:1::20"),
        ],
        "resolvers": ["10.78.0.53"],
        "dns": {
            "zones": [{ "name": "example.test", "provider": "p" }, { "name": "sub.example.test", "provider": "p" }],
            "providers": { "p": { "class": "a.B" } },
            "caa-issuer": "ca.test",
        },
    });
    serde_json::from_value(file).unwrap()
}

pub(crate) fn manifest() -> Manifest {
    let secret = |class: &str, generator: serde_json::Value, file: &str| json!({ "class": class, "generator": generator, "path": format!("/var/lib/fedi/secrets/matrix/{file}") });
    let restarting = |mut secret: serde_json::Value| {
        secret["restartUnits"] = json!(["matrix-synapse.service"]);
        secret
    };
    let text = json!({ "schema": 1, "apps": { "matrix": {
        "version": "1.158.0", "upgradesFrom": "1.100.0", "gate": "fedi-matrix.target",
        "secrets": {
            "signing-key": secret("identity", json!("synapseSigningKey"), "signing-key"),
            "macaroon": restarting(secret("session", json!({ "hex": { "bytes": 32 } }), "macaroon")),
            "admin-password": secret("rotatable", json!({ "password": { "length": 20 } }), "admin-password"),
        },
        "hooks": { "probe": { "unit": "fedi-matrix-probe.service" } },
        "records": [{ "name": "matrix.example.test", "value": "address" }],
        "endpoints": [{ "name": "client API", "url": "https://matrix.example.test/_matrix/client/versions" }],
        "admin": {
            "unit": "fedi-matrix-admin.service", "login": "admin", "password": "admin-password",
            "url": "https://matrix.example.test",
        },
    } } });
    Manifest::from_json(text.to_string().as_bytes()).unwrap()
}

pub(crate) fn address(text: &str, gateway: &str) -> Address {
    Address {
        deployment: name("matrix"),
        host: HostName::new("proxmox1").unwrap(),
        family: Family::of(text.split('/').next().unwrap().parse::<IpAddr>().unwrap()),
        address: text.parse().unwrap(),
        gateway: gateway.parse().unwrap(),
        quarantine_hours: 24,
    }
}

/// Nothing is there yet, and all of it was looked for.
pub(crate) fn empty_world() -> World {
    let file: DeploymentFile =
        serde_json::from_value(json!({ "app": "matrix", "domain": "matrix.example.test" })).unwrap();
    let mut world = World {
        deployment: Deployment { name: name("matrix"), host: HostName::new("proxmox1").unwrap(), file, has_nix: false },
        host: host(),
        manifest: manifest(),
        toplevel: TOPLEVEL.to_owned(),
        image: Image {
            host: HostName::new("proxmox1").unwrap(),
            file: "fedi-guest-0123456789abcdef.qcow2".to_owned(),
            sha256: "0123456789abcdef".repeat(4),
            source: "/inventory/guest.qcow2".to_owned(),
            bytes: Some(400 << 20),
        },
        addresses: vec![address("10.78.1.10/24", "10.78.1.1"), address("fd78:1::10/64", "fd78:1::1")],
        uuid: Uuid::from_u128(7),
        epoch: 0,
        taken: BTreeMap::new(),
        admin_made: false,
        begun: None,
        known: Known::default(),
    };
    world.look();
    world
}

/// As it is after a first deploy.
pub(crate) fn deployed_world() -> World {
    let mut world = empty_world();
    let plan = world.plan().unwrap();
    world.apply(&plan);
    world
}

impl World {
    pub(crate) fn inputs(&self) -> DeployInputs<'_> {
        DeployInputs {
            deployment: &self.deployment,
            host: &self.host,
            system: SystemInput { source: "/systems/matrix", toplevel: &self.toplevel, manifest: &self.manifest },
            image: self.image.clone(),
            addresses: self.addresses.clone(),
            uuid: self.uuid,
            epoch: self.epoch,
            authorized_keys: vec!["ssh-ed25519 AAAA fedi".to_owned()],
            taken: &self.taken,
            admin_made: self.admin_made,
            recovered: BTreeMap::new(),
            backups: None,
        }
    }

    pub(crate) fn plan(&self) -> Result<Plan, PlanError> {
        let plan = plan_deploy(&self.inputs(), &self.known)?;
        check_plan(&plan).unwrap();
        assert_eq!(plan, plan_deploy(&self.inputs(), &self.known)?, "planning is not deterministic");
        Ok(plan)
    }

    pub(crate) fn plan_destroy(&self) -> Result<Plan, PlanError> {
        let inputs = DestroyInputs { deployment: &self.deployment.name, host: &self.deployment.host, uuid: self.begun };
        let plan = plan_destroy(&inputs, &self.known)?;
        check_plan(&plan).unwrap();
        Ok(plan)
    }

    /// Looks at everything wanted that was not looked at before, and finds nothing.
    pub(crate) fn look(&mut self) {
        for resource in fedi_plan::desired(&self.inputs(), &self.known).unwrap() {
            self.known.observed.entry(resource.id()).or_insert(None);
        }
    }

    /// Forgets what was seen on the guest, as when it does not answer.
    pub(crate) fn guest_is_silent(&mut self) {
        self.known.observed.retain(|id, _| !on_guest(id));
    }

    pub(crate) fn vm(&mut self) -> &mut fedi_model::resource::Vm {
        let id = ResourceId::vm(&self.deployment.name);
        match self.known.observed.get_mut(&id) {
            Some(Some(Resource::Vm(vm))) => vm,
            _ => panic!("there is no VM"),
        }
    }

    /// Does what the plan says.
    pub(crate) fn apply(&mut self, plan: &Plan) {
        for step in plan.steps() {
            match &step.action {
                Action::Ensure { desired, .. } => {
                    let made = self.make((**desired).clone());
                    self.known.ledger.insert(made.id(), made.clone());
                    self.known.observed.insert(made.id(), Some(made));
                }
                Action::Remove { resource } => {
                    self.known.ledger.remove(&resource.id());
                    self.known.observed.insert(resource.id(), None);
                    if let Resource::Vm(_) = **resource {
                        let on_guest = self.known.observed.iter_mut().filter(|(id, _)| on_guest(id));
                        on_guest.for_each(|(_, found)| *found = None);
                    }
                }
                Action::Run { task } => self.admin_made |= matches!(**task, Task::CreateAdmin { .. }),
                Action::Pivot { .. } => {}
            }
        }
    }

    /// What comes of a wish: versions, numbers and keys that were left open.
    fn make(&mut self, mut resource: Resource) -> Resource {
        match &mut resource {
            Resource::Secret(secret) => secret.version = Some(secret.version.unwrap_or(0) + 1),
            Resource::Vm(vm) => vm.vmid = Some(9001),
            Resource::HostKey(key) => key.key = Some("ssh-ed25519 AAAA guest".to_owned()),
            Resource::Lease(lease) => self.epoch = lease.epoch,
            Resource::Delivery(delivery) => {
                for (name, file) in &mut delivery.files {
                    let id = ResourceId::secret(&delivery.guest.deployment, name);
                    match &self.known.observed[&id] {
                        Some(Resource::Secret(secret)) => file.version = secret.version,
                        other => panic!("{id} is delivered, but there is {other:?}"),
                    }
                }
            }
            Resource::Address(_)
            | Resource::Image(_)
            | Resource::Records(_)
            | Resource::System(_)
            | Resource::State(_)
            | Resource::Service(_)
            | Resource::Backups(_) => {}
        }
        resource
    }
}

fn on_guest(id: &ResourceId) -> bool {
    ["delivery", "lease", "system", "state", "service", "backups"].contains(&id.kind())
}

/// `machine: + vm/matrix`, a line a step.
pub(crate) fn lines(plan: &Plan) -> Vec<String> {
    let line = |stage: &str, step: &fedi_model::plan::Step| {
        let id = step.id.to_string();
        let id = id.strip_prefix("ensure/").or(id.strip_prefix("remove/")).unwrap_or(&id);
        match step.sign() {
            Some(sign) => format!("{stage}: {} {id}", sign.symbol()),
            None => format!("{stage}: {id}"),
        }
    };
    plan.stages.iter().flat_map(|stage| stage.steps.iter().map(|step| line(&stage.title, step))).collect()
}

/// The plan of `world` has exactly these lines.
#[track_caller]
pub(crate) fn check(world: &World, expected: &[&str]) {
    assert_eq!(lines(&world.plan().unwrap()), expected);
}
