//! What a deployment is to consist of.

use std::collections::BTreeMap;
use std::net::IpAddr;

use fedi_model::manifest::{App, Generator};
use fedi_model::name::SecretName;
use fedi_model::resource::{
    Address, Backups, DeliveredFile, Delivery, GuestRef, HostKey, Image, Lease, NicAddress, Records, Resource,
    ResourceId, Secret, System, Vm,
};

use crate::inputs::{BackupsInput, DeployInputs, Known};
use crate::records::records;
use crate::refusal::Refusal;
use crate::sizing::default_size;

/// Everything that a deployment consists of, as it is wanted.
#[derive(Debug, Clone)]
pub(crate) struct Desired {
    pub(crate) addresses: Vec<Address>,
    /// All that the manifest declares, whether or not the operator has given them.
    pub(crate) secrets: Vec<Secret>,
    pub(crate) image: Image,
    pub(crate) vm: Vm,
    pub(crate) guest: GuestRef,
    pub(crate) host_key: HostKey,
    pub(crate) records: Vec<Records>,
    pub(crate) delivery: Delivery,
    pub(crate) lease: Lease,
    pub(crate) system: System,
    /// With the secrets that they take.
    pub(crate) backups: Option<(Backups, [Secret; 2])>,
}

impl Desired {
    /// All of it, in the order that it is made in.
    pub(crate) fn into_resources(self) -> Vec<Resource> {
        let mut resources: Vec<Resource> = self.addresses.into_iter().map(Resource::Address).collect();
        resources.extend(self.secrets.into_iter().map(Resource::Secret));
        resources.extend([Resource::Image(self.image), Resource::Vm(self.vm), Resource::HostKey(self.host_key)]);
        resources.extend(self.records.into_iter().map(Resource::Records));
        resources.extend([
            Resource::Delivery(self.delivery),
            Resource::Lease(self.lease),
            Resource::System(self.system),
        ]);
        if let Some((backups, secrets)) = self.backups {
            resources.extend(secrets.map(Resource::Secret));
            resources.push(Resource::Backups(backups));
        }
        resources
    }
}

/// The application as the manifest has it.
pub(crate) fn app_of<'a>(inputs: &DeployInputs<'a>) -> Result<&'a App, Refusal> {
    let apps = &inputs.system.manifest.apps;
    let app = inputs.deployment.app();
    let unknown = || Refusal::UnknownApp { app: app.clone(), known: apps.keys().cloned().collect() };
    apps.get(app).ok_or_else(unknown)
}

/// What the deployment is to consist of, or everything that stands in the way of
/// knowing it.
pub(crate) fn desired(inputs: &DeployInputs<'_>, known: &Known) -> Result<Desired, Vec<Refusal>> {
    let deployment = inputs.deployment;
    let app = app_of(inputs).map_err(|refusal| vec![refusal])?;
    let name = &deployment.name;
    let guest = GuestRef {
        deployment: name.clone(),
        host: deployment.host.clone(),
        uuid: inputs.uuid,
        addresses: sorted_addresses(&inputs.addresses),
    };
    let secrets = app.secrets.iter().map(|(secret, declared)| Secret {
        deployment: name.clone(),
        app: deployment.app().clone(),
        name: secret.clone(),
        class: declared.class,
        generator: declared.generator.clone(),
        version: None,
        from: inputs.recovered.get(secret).cloned(),
    });
    let secrets: Vec<Secret> = secrets.collect();
    let vm = vm(inputs, known);
    Ok(Desired {
        records: records(deployment, inputs.host, app, &guest.addresses)?,
        delivery: Delivery { guest: guest.clone(), app: deployment.app().clone(), files: files(app, &secrets, known) },
        lease: lease(inputs, known, &guest),
        system: System {
            guest: guest.clone(),
            app: deployment.app().clone(),
            driver: inputs.host.system.driver,
            source: inputs.system.source.to_owned(),
            toplevel: inputs.system.toplevel.to_owned(),
        },
        backups: inputs.backups.as_ref().map(|wanted| backups(wanted, inputs, &guest)),
        host_key: HostKey { guest: guest.clone(), key: None },
        addresses: inputs.addresses.clone(),
        image: inputs.image.clone(),
        secrets,
        vm,
        guest,
    })
}

fn backups(wanted: &BackupsInput, inputs: &DeployInputs<'_>, guest: &GuestRef) -> (Backups, [Secret; 2]) {
    let key = Secret::fingerprint_key_of(&guest.deployment);
    let from = inputs.recovered.get(&key.name).cloned();
    let backups = Backups {
        guest: guest.clone(),
        app: inputs.deployment.app().clone(),
        repository: wanted.repository.clone(),
        location: wanted.location.clone(),
        schedule: wanted.schedule.clone(),
        consistency: wanted.consistency,
    };
    (backups, [Secret::password_of(&wanted.repository), Secret { from, ..key }])
}

/// IPv4 first: not everybody who runs fedi has IPv6.
fn sorted_addresses(addresses: &[Address]) -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = addresses.iter().map(|address| address.address.addr()).collect();
    addresses.sort();
    addresses
}

/// A size that the file does not give is the application's for a new guest, and what
/// it has for one that exists: a guest is not restarted because a table changed.
fn vm(inputs: &DeployInputs<'_>, known: &Known) -> Vm {
    let deployment = inputs.deployment;
    let found = match known.now(&ResourceId::vm(&inputs.deployment.name)) {
        Some(Resource::Vm(vm)) => Some(vm),
        _ => None,
    };
    let wishes = &deployment.file.resources;
    let size = default_size(deployment.app());
    let kept = |wish: Option<u32>, has: fn(&Vm) -> u32, default: u32| wish.or(found.map(has)).unwrap_or(default);
    let mut addresses: Vec<NicAddress> = inputs
        .addresses
        .iter()
        .map(|address| NicAddress { address: address.address, gateway: address.gateway })
        .collect();
    addresses.sort_by_key(|nic| nic.address);
    Vm {
        deployment: deployment.name.clone(),
        app: deployment.app().clone(),
        host: deployment.host.clone(),
        uuid: inputs.uuid,
        vmid: None,
        cores: kept(wishes.cores, |vm| vm.cores, size.cores),
        memory_mib: kept(wishes.memory_mib, |vm| vm.memory_mib, size.memory_mib),
        state_gib: kept(wishes.state_gib, |vm| vm.state_gib, size.state_gib),
        image: inputs.image.file.clone(),
        addresses,
        resolvers: inputs.host.resolvers.clone(),
        authorized_keys: inputs.authorized_keys.clone(),
        running: true,
    }
}

/// The files on the guest: those of every secret that there is or will be. Versions
/// are those in the store; a secret that is still to be made has none yet.
fn files(app: &App, secrets: &[Secret], known: &Known) -> BTreeMap<SecretName, DeliveredFile> {
    let mut files = BTreeMap::new();
    for secret in secrets {
        let version = match known.now(&ResourceId::secret(&secret.deployment, &secret.name)) {
            Some(Resource::Secret(stored)) => stored.version,
            _ if matches!(secret.generator, Generator::Operator { .. }) => continue,
            _ => None,
        };
        let declared = &app.secrets[&secret.name];
        let file = DeliveredFile {
            version,
            path: declared.path.clone(),
            owner: declared.owner.clone(),
            group: declared.group.clone(),
            mode: declared.mode.clone(),
        };
        files.insert(secret.name.clone(), file);
    }
    files
}

/// The epoch that the guest holds, as long as it is the highest; else the next one.
fn lease(inputs: &DeployInputs<'_>, known: &Known, guest: &GuestRef) -> Lease {
    let mut lease =
        Lease { guest: guest.clone(), app: inputs.deployment.app().clone(), epoch: inputs.epoch + 1, back_as: None };
    if known.now(&ResourceId::vm(&inputs.deployment.name)).is_some()
        && let Some(Resource::Lease(held)) = known.now(&ResourceId::lease(&inputs.deployment.name))
    {
        let valid = held.guest.uuid == guest.uuid && held.epoch >= inputs.epoch && held.epoch > 0;
        lease.epoch = if valid { held.epoch } else { lease.epoch.max(held.epoch + 1) };
    }
    lease
}
