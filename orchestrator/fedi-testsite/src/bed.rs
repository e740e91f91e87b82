//! Workflows of a site, for the generic workflow tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use fedi_engine::World;
use fedi_engine::drivers::{SecretKey, SecretValue};
use fedi_engine::store::{RunRow, Store};
use fedi_model::name::{DeploymentName, RepositoryName, SecretName};
use fedi_model::plan::{Plan, Workflow};
use fedi_model::resource::{Resource, Secret};
use fedi_model::run::RunPhase;
use fedi_model::state::Consistency;
use fedi_test::workflow::{Snapshot, Testbed};

use crate::site::{Setup, TestSite};
use crate::wiring::Wires;

/// What is done to the deployment `matrix`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// It is brought up in an empty world.
    Deploy,
    /// It is up and gets more memory, a larger disk, another record and another schedule of
    /// its own backups.
    Change,
    /// It is up and gets new values of its secrets.
    Rotate,
    /// It is up and removed.
    Destroy,
    /// It is up and its state is captured while it runs.
    Backup,
    /// It is up and its state is captured while it is stopped.
    BackupQuiesced,
    /// It was captured and destroyed, and is brought back on a new guest.
    Restore,
    /// It was captured, has written since, and gets its captured state back.
    RestoreInPlace,
    /// It was captured, and that is restored on a guest that goes again.
    Drill,
    /// It was captured, and that becomes the deployment `copy`.
    Clone,
}

impl Task {
    fn workflow(self) -> Workflow {
        match self {
            Self::Deploy | Self::Change | Self::Rotate => Workflow::Deploy,
            Self::Destroy => Workflow::Destroy,
            Self::Backup | Self::BackupQuiesced => Workflow::Backup,
            Self::Restore | Self::RestoreInPlace => Workflow::Restore,
            Self::Drill => Workflow::Drill,
            Self::Clone => Workflow::Clone,
        }
    }

    /// What a second try would be about is new each time: another snapshot, another proof.
    fn is_done_once(self) -> bool {
        matches!(
            self,
            Self::Backup | Self::BackupQuiesced | Self::Restore | Self::RestoreInPlace | Self::Drill | Self::Clone
        )
    }
}

/// A workflow of a site.
pub struct SiteBed {
    /// The site.
    pub site: TestSite,
    task: Task,
    /// How many runs it took to make it.
    runs: usize,
}

impl SiteBed {
    /// A fresh one, in the state before the task.
    pub async fn new(task: Task) -> Self {
        Self::with(task, Setup::default()).await
    }

    /// The same on another site.
    pub async fn with(task: Task, setup: Setup) -> Self {
        let mut site = TestSite::with(setup, Wires::default()).await;
        if task == Task::Clone {
            site.wiring.layout.make_clonable();
        }
        let own_file = |site: &mut TestSite, more: &str| {
            site.wiring.layout.write_deployment("proxmox1", "matrix", "matrix.example.test", more);
            site.reopen();
        };
        if task == Task::Change {
            own_file(&mut site, "[backup]\nschedule = \"daily\"\n");
        }
        if task != Task::Deploy {
            let outcome = site.deploy("matrix").await.unwrap();
            assert_eq!(outcome.exit_code(), 0, "{outcome:?}");
        }
        match task {
            Task::Deploy => {}
            Task::Change => {
                let more = "[resources]\nmemory-mib = 4096\nstate-gib = 30\n[dns]\ncaa = true\n\
                            [backup]\nschedule = \"hourly\"\n";
                own_file(&mut site, more);
            }
            Task::Rotate => rotate(&site, "macaroon").await,
            // What the operator set, no run has made.
            Task::Destroy => set(&site, "smtp-password").await,
            // The password of the repository outlives what is undone.
            Task::Backup | Task::BackupQuiesced | Task::Drill => site.backup("matrix").await,
            Task::Restore => {
                site.backup("matrix").await;
                assert_eq!(site.destroy("matrix").await.unwrap().exit_code(), 0);
            }
            Task::Clone => {
                site.backup("matrix").await;
                site.add_copy().await;
            }
            Task::RestoreInPlace => {
                site.backup("matrix").await;
                site.wiring.guests.change("matrix", |guest| {
                    guest.apps.get_mut("matrix").unwrap().state.insert("db".to_owned(), "written since".to_owned());
                });
            }
        }
        let runs = site.wiring.store.runs().await.unwrap().len();
        Self { site, task, runs }
    }

    /// Whether a run has done the task.
    async fn is_done(&self) -> bool {
        let runs = self.site.wiring.store.runs().await.unwrap();
        let new = runs.len() - self.runs;
        let done = |run: &RunRow| run.workflow == self.task.workflow() && run.phase == RunPhase::Completed;
        self.task.is_done_once() && runs.iter().take(new).any(done)
    }

    async fn restore_plan(&self, task: Task) -> Plan {
        let desk = &self.site.wiring.desk;
        let deployment = self.site.wiring.deployment("matrix");
        let at = desk.pick(&deployment.name, None).await.unwrap();
        let prepared = match task {
            Task::Clone => {
                let first = desk.declared(&deployment).await.unwrap();
                desk.clone_to(&self.site.wiring.deployment("copy"), first, &at).await.unwrap()
            }
            Task::Drill => desk.drill(&deployment, &at).await.unwrap(),
            _ => desk.restore(&deployment, &at).await.unwrap(),
        };
        desk.begin_restore(&prepared).await.unwrap();
        prepared.plan
    }
}

/// Stores a new value of a secret.
pub(crate) async fn rotate(site: &TestSite, name: &str) {
    let key = key(name);
    let secrets = &site.wiring.secrets;
    let entry = secrets.entry(&key).await.unwrap().unwrap();
    let value = SecretValue::new(b"rotated".to_vec());
    secrets.put(&key, entry.class, &entry.generator, &value, entry.version).await.unwrap();
}

async fn set(site: &TestSite, name: &str) {
    let value = SecretValue::new(b"given".to_vec());
    let generator = fedi_model::manifest::Generator::Operator { describe: String::new(), optional: true };
    let class = fedi_model::manifest::SecretClass::Provider;
    site.wiring.secrets.put(&key(name), class, &generator, &value, 0).await.unwrap();
}

fn key(name: &str) -> SecretKey {
    SecretKey {
        deployment: DeploymentName::new("matrix").unwrap(),
        app: fedi_model::AppName::new("matrix").unwrap(),
        name: SecretName::new(name).unwrap(),
    }
}

impl TestSite {
    /// Writes the file of `copy`, a copy of `matrix` at copy.example.test, as `fedi clone`
    /// does.
    pub async fn add_copy(&mut self) {
        let from = self.wiring.deployment("matrix");
        let first = self.wiring.desk.declared(&from).await.unwrap();
        let root = self.wiring.layout.inventory();
        let copy = DeploymentName::new("copy").unwrap();
        let domain = fedi_model::name::Domain::new("copy.example.test").unwrap();
        fedi_inventory::add_clone(&root, &from, &from.host, &copy, &domain, &first.fence.unwrap()).unwrap();
        self.reopen();
    }

    /// All that there is of deployments, and what it is like: machines, disks, guests,
    /// addresses, records, secrets. Without images, and without what differs from one
    /// site to the next.
    pub async fn snapshot(&self) -> Snapshot {
        let mut all = Snapshot::new();
        let mut names: BTreeMap<u32, String> = BTreeMap::new();
        for vmid in self.sim.vmids() {
            let vm = self.sim.vm(vmid).unwrap();
            let option = |name: &str| vm.config.get(name).cloned().unwrap_or_default();
            let name = option("name");
            let mut key = format!("vm {name}");
            while all.contains_key(&key) {
                key.push_str(" again");
            }
            let content = format!(
                "pool {:?} running {} lock {:?} cores {} memory {} on {}",
                vm.pool,
                vm.running,
                option("lock"),
                option("cores"),
                option("memory"),
                vm.node
            );
            all.insert(key, content);
            names.insert(vmid, name);
        }
        for volume in self.sim.volumes("local-lvm") {
            let mut name = volume.clone();
            for (vmid, vm) in &names {
                name = name.replace(&format!("vm-{vmid}-"), &format!("vm-{vm}-"));
            }
            all.insert(format!("volume {name}"), String::new());
        }
        for guest in self.wiring.guests.all() {
            let apps = guest.apps.iter().map(|(name, app)| {
                let versions: Vec<String> =
                    app.secrets.iter().map(|(name, (version, _))| format!("{name} {version}")).collect();
                let schedule = app.backup.as_ref().map(|backup| &backup.schedule);
                format!(
                    "{name}: epoch {} held {} secrets {versions:?} runs with {:?} state {:?} schedule {schedule:?}",
                    app.epoch, app.held, app.runs_with, app.state
                )
            });
            let apps: Vec<String> = apps.collect();
            let content = format!("system {:?} unconfirmed {} {apps:?}", guest.system, guest.unconfirmed.is_some());
            all.insert(format!("guest {}", guest.name), content);
        }
        for address in self.wiring.addresses.list().await.unwrap() {
            all.insert(format!("address {} {}", address.deployment, address.family), address.address.to_string());
        }
        for zone in self.wiring.zone.zones() {
            for (pair, set) in self.wiring.zone.sets(&zone) {
                all.insert(format!("record {pair} in {zone}"), format!("{:?} {}", set.values, set.ttl));
            }
        }
        let main = RepositoryName::new("main").unwrap();
        let password = Resource::Secret(Secret::password_of(&main));
        if self.wiring.world().observe(&password).await.unwrap().is_some() {
            let name = DeploymentName::new("matrix").unwrap();
            let stored = self.wiring.desk.repositories.list(&main, &name).await.unwrap();
            // Others that were captured meanwhile stay on purpose.
            for (number, _) in stored.iter().filter(|one| one.is_proved()).enumerate() {
                all.insert(format!("proved snapshot {number}"), String::new());
            }
        }
        for entry in self.wiring.secrets.list(None).await.unwrap() {
            all.insert(format!("secret {}", entry.key), entry.version.to_string());
        }
        all
    }
}

#[async_trait]
impl Testbed for SiteBed {
    fn world(&self) -> Arc<dyn World> {
        self.site.wiring.world()
    }

    fn store(&self) -> Arc<dyn Store> {
        self.site.wiring.store.clone()
    }

    async fn plan(&self) -> Plan {
        if self.task == Task::Destroy {
            return self.site.destroy_plan("matrix").await.unwrap();
        }
        if self.task.is_done_once() && !self.is_done().await {
            let how = match self.task {
                Task::Backup => Consistency::DumpThenFiles,
                Task::BackupQuiesced => Consistency::Quiesced,
                task => return self.restore_plan(task).await,
            };
            let name = DeploymentName::new("matrix").unwrap();
            return self.site.wiring.desk.backup(&name, Some(how)).await.unwrap().plan;
        }
        // What was captured, restored or proved is as its files say.
        let name = if self.task == Task::Clone { "copy" } else { "matrix" };
        let deployment = self.site.wiring.deployment(name);
        self.site.wiring.desk.deploy(&deployment).await.unwrap().plan
    }

    /// As it is when the command has ended: that lets go of what was held for its plan.
    async fn snapshot(&self) -> Snapshot {
        for name in ["matrix", "matrix-drill", "copy"] {
            self.site.wiring.desk.forget(&DeploymentName::new(name).unwrap()).await.unwrap();
        }
        let mut all = self.site.snapshot().await;
        if self.task == Task::RestoreInPlace {
            // A right that is given back comes under a later epoch.
            let epoch = |text: &str| {
                let (before, rest) = text.split_once("epoch ")?;
                Some(format!("{before}epoch N {}", rest.split_once(' ')?.1))
            };
            for (_, content) in all.iter_mut().filter(|(name, _)| name.starts_with("guest ")) {
                *content = epoch(content).unwrap_or_else(|| content.clone());
            }
        }
        all
    }
}
