//! The words of plan lines.

use fedi_model::inventory::SystemDriver;
use fedi_model::manifest::{Generator, SecretClass};
use fedi_model::plan::Task;
use fedi_model::resource::{Address, Image, Records, Resource, Secret, Vm};

use crate::records::full_name;

/// A line for people that names the resource, without a sign.
pub(crate) fn resource(resource: &Resource) -> String {
    match resource {
        Resource::Address(it) => address(it),
        Resource::Secret(it) => format!("secret {} ({})", it.name, class(it.class)),
        Resource::Image(it) => image(it),
        Resource::Vm(it) => vm(it),
        Resource::HostKey(it) => format!("SSH host key of {}", it.guest.deployment),
        Resource::Records(it) => records(it),
        Resource::Delivery(it) => match it.files.len() {
            1 => format!("1 secret on guest {}", it.guest.deployment),
            count => format!("{count} secrets on guest {}", it.guest.deployment),
        },
        Resource::Lease(it) => format!("lease for {} on guest {} (epoch {})", it.app, it.guest.deployment, it.epoch),
        Resource::System(it) => match it.driver {
            SystemDriver::Nix => format!("NixOS system {}", system_name(&it.toplevel)),
            SystemDriver::Prebuilt => format!("prebuilt system {}", system_name(&it.toplevel)),
        },
        Resource::State(it) => match &it.snapshot {
            Some(snapshot) => format!("state of {} from snapshot {}", it.app, snapshot.short()),
            None => format!("state of {} on guest {}", it.app, it.guest.deployment),
        },
        Resource::Backups(it) => format!("backups of {} by its guest: {}, into {}", it.app, it.schedule, it.repository),
        Resource::Service(it) => format!("service of {} on guest {}", it.app, it.guest.deployment),
    }
}

fn address(it: &Address) -> String {
    format!("address {} from the pool of {}", it.address.addr(), it.host)
}

fn image(it: &Image) -> String {
    let size = it.bytes.map(|bytes| format!(" ({} MiB)", bytes.div_ceil(1 << 20))).unwrap_or_default();
    format!("image {} on {}{size}", it.file, it.host)
}

fn vm(it: &Vm) -> String {
    let cores = if it.cores == 1 { "core" } else { "cores" };
    format!(
        "VM {} on {} ({} {cores}, {} memory, {} GiB state)",
        it.deployment,
        it.host,
        it.cores,
        memory(it.memory_mib),
        it.state_gib
    )
}

fn records(it: &Records) -> String {
    match it.sets.len() {
        1 => format!("1 DNS record set in {}", it.zone),
        count => format!("{count} DNS record sets in {}", it.zone),
    }
}

/// A record set, a line.
pub(crate) fn record_set(set: &fedi_model::resource::RecordSet, records: &Records) -> String {
    format!("{} {} {}", full_name(&set.name, &records.zone), set.kind, set.values.join(", "))
}

/// A secret, and how it comes to be.
pub(crate) fn new_secret(secret: &Secret) -> String {
    let how = match (&secret.from, &secret.generator) {
        (Some(snapshot), _) => format!("out of snapshot {}", snapshot.short()),
        (None, Generator::RsaPublicKey { of }) => format!("derived from {of}"),
        (None, _) => "generated".to_owned(),
    };
    let what = if secret.is_of_repository() { "password of repository" } else { "secret" };
    let name = format!("{what} {}", secret.name);
    format!("{name} ({}, {how})", class(secret.class))
}

fn class(class: SecretClass) -> &'static str {
    match class {
        SecretClass::Identity => "identity",
        SecretClass::Session => "session",
        SecretClass::Rotatable => "rotatable",
        SecretClass::Provider => "provider",
    }
}

/// How much of a hash people need to tell two systems apart.
const HASH: usize = 8;

/// A system's store path, short: `nixos-system-matrix-26.05 (0c3w9x1k)`, `b6135162`.
pub(crate) fn system_name(toplevel: &str) -> String {
    let name = toplevel.rsplit('/').next().unwrap_or(toplevel);
    let short = |hash: &str| hash.chars().take(HASH).collect::<String>();
    match name.split_once('-') {
        Some((hash, name)) => format!("{name} ({})", short(hash)),
        None => short(name),
    }
}

/// A task, a line.
pub(crate) fn task(task: &Task) -> String {
    match task {
        Task::AwaitGuest { guest } => format!("wait until guest {} answers", guest.deployment),
        Task::AwaitRecords { records } => format!("wait until every name server of {} has them", records.zone),
        Task::Capture { app, repository, consistency, .. } => {
            format!("capture {app} into repository {repository} ({consistency})")
        }
        Task::RecordProof { snapshot } => format!("mark snapshot {} as proved", snapshot.short()),
        Task::Rehome { unit, .. } => format!("make the state that of a copy ({unit})"),
        Task::Rebuild { item, unit, .. } => format!("make {item} again ({unit})"),
        Task::Restart { app, .. } => format!("restart {app}, whose secrets have changed"),
        Task::CreateAdmin { admin, .. } => format!("make the first administrator's account `{}`", admin.login),
        Task::Probe { probe } => format!("check that {} is healthy, from inside and outside", probe.guest.deployment),
    }
}

/// Bytes as people say them: `512 KiB`, `1.4 GiB`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut tenths = bytes.saturating_mul(10);
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    match tenths {
        _ if unit == 0 => format!("{bytes} bytes"),
        tenths if tenths < 100 => format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit]),
        tenths => format!("{} {}", tenths / 10, UNITS[unit]),
    }
}

/// Mebibytes as people say them: `512 MiB`, `4 GiB`.
pub(crate) fn memory(mib: u32) -> String {
    if mib >= 1024 && mib.is_multiple_of(1024) { format!("{} GiB", mib / 1024) } else { format!("{mib} MiB") }
}
