//! A world in memory, or in a file where it has to outlive its process.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use async_trait::async_trait;
use fedi_engine::World;
use fedi_engine::drivers::{DriverError, StepContext};
use fedi_model::plan::{StepId, Task};
use fedi_model::resource::{Resource, ResourceId};
use serde::{Deserialize, Serialize};

/// A world in memory: what is wanted comes true at once. Numbers that a real system
/// chooses are chosen here too, so that what is found differs from what was wanted.
#[derive(Debug, Default)]
pub struct MapWorld {
    inner: Mutex<Inner>,
    file: Option<PathBuf>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Inner {
    resources: BTreeMap<ResourceId, Resource>,
    tasks: BTreeSet<StepId>,
}

impl MapWorld {
    /// With these things in it.
    pub fn holding(resources: impl IntoIterator<Item = Resource>) -> Self {
        let resources = resources.into_iter().map(|resource| (resource.id(), found(resource))).collect();
        Self { inner: Mutex::new(Inner { resources, tasks: BTreeSet::new() }), file: None }
    }

    /// As it is in that file, where every change goes at once.
    pub fn in_file(path: &Path) -> Self {
        let inner = match fs::read(path) {
            Ok(json) => serde_json::from_slice(&json).unwrap(),
            Err(_) => Inner::default(),
        };
        Self { inner: Mutex::new(inner), file: Some(path.to_owned()) }
    }

    fn change(&self, change: impl FnOnce(&mut Inner)) {
        let mut inner = self.inner.lock().unwrap();
        change(&mut inner);
        if let Some(file) = &self.file {
            let new = file.with_extension("new");
            fs::write(&new, serde_json::to_vec(&*inner).unwrap()).unwrap();
            fs::rename(&new, file).unwrap();
        }
    }

    /// Everything in it, by name; tasks that were done since the last removal of a VM
    /// count as things.
    pub fn snapshot(&self) -> BTreeMap<String, String> {
        let inner = self.inner.lock().unwrap();
        let resources =
            inner.resources.iter().map(|(id, resource)| (id.to_string(), serde_json::to_string(resource).unwrap()));
        resources.chain(inner.tasks.iter().map(|task| (task.to_string(), "done".to_owned()))).collect()
    }

    /// The resource of that name.
    pub fn get(&self, id: &ResourceId) -> Option<Resource> {
        self.inner.lock().unwrap().resources.get(id).cloned()
    }

    /// Takes a thing away behind fedi's back.
    pub fn take(&self, id: &ResourceId) {
        self.change(|inner| {
            inner.resources.remove(id);
        });
    }

    /// Puts a thing there behind fedi's back.
    pub fn put(&self, resource: Resource) {
        self.change(|inner| {
            inner.resources.insert(resource.id(), found(resource));
        });
    }
}

#[async_trait]
impl World for MapWorld {
    async fn observe(&self, like: &Resource) -> Result<Option<Resource>, DriverError> {
        tokio::task::yield_now().await;
        Ok(self.inner.lock().unwrap().resources.get(&like.id()).cloned())
    }

    async fn ensure(&self, desired: &Resource, cx: &dyn StepContext) -> Result<Resource, DriverError> {
        cx.note("began", "yes").await?;
        let made = found(desired.clone());
        self.change(|inner| {
            inner.resources.insert(made.id(), made.clone());
        });
        Ok(made)
    }

    async fn remove(&self, resource: &Resource, _: &dyn StepContext) -> Result<(), DriverError> {
        tokio::task::yield_now().await;
        self.change(|inner| {
            inner.resources.remove(&resource.id());
            for id in resource.takes_along() {
                inner.resources.remove(&id);
            }
            if matches!(resource, Resource::Vm(_)) {
                inner.tasks.clear();
            }
        });
        Ok(())
    }

    async fn run(&self, task: &Task, _: &dyn StepContext) -> Result<(), DriverError> {
        tokio::task::yield_now().await;
        self.change(|inner| {
            inner.tasks.insert(task.id());
        });
        Ok(())
    }
}

/// The thing as it is found when it was wanted so.
pub(crate) fn found(mut wanted: Resource) -> Resource {
    match &mut wanted {
        Resource::Vm(vm) => vm.vmid = vm.vmid.or(Some(9000)),
        Resource::Secret(secret) => secret.version = secret.version.or(Some(1)),
        Resource::HostKey(key) => key.key = key.key.take().or_else(|| Some("ssh-ed25519 AAAA".to_owned())),
        Resource::Delivery(delivery) => {
            for file in delivery.files.values_mut() {
                file.version = file.version.or(Some(1));
            }
        }
        Resource::Address(_)
        | Resource::Image(_)
        | Resource::Records(_)
        | Resource::Lease(_)
        | Resource::System(_)
        | Resource::State(_)
        | Resource::Service(_)
        | Resource::Backups(_) => {}
    }
    wanted
}
