//! Whether a resource is as wanted: one rule a kind, each with the lines that tell
//! what differs. `None` means that nothing does.

use fedi_model::resource::{Address, Backups, Delivery, HostKey, Lease, RecordSet, Records, System, Vm};

use crate::title::{memory, record_set, system_name};

/// What differs, a line each; `None` for nothing.
pub(crate) type Difference = Option<Vec<String>>;

fn difference(lines: Vec<String>) -> Difference {
    (!lines.is_empty()).then_some(lines)
}

pub(crate) fn address(wanted: &Address, found: &Address) -> Difference {
    let mut lines = Vec::new();
    if wanted.address != found.address {
        lines.push(format!("address: {} -> {}", found.address, wanted.address));
    }
    if wanted.gateway != found.gateway {
        lines.push(format!("gateway: {} -> {}", found.gateway, wanted.gateway));
    }
    difference(lines)
}

/// Its number is nobody's wish; image, addresses and keys count at its first boot only.
pub(crate) fn vm(wanted: &Vm, found: &Vm) -> Difference {
    let mut lines = Vec::new();
    if wanted.cores != found.cores {
        lines.push(format!("cores: {} -> {} (restarts the guest)", found.cores, wanted.cores));
    }
    if wanted.memory_mib != found.memory_mib {
        let (from, to) = (memory(found.memory_mib), memory(wanted.memory_mib));
        lines.push(format!("memory: {from} -> {to} (restarts the guest)"));
    }
    if wanted.state_gib != found.state_gib {
        lines.push(format!("state disk: {} GiB -> {} GiB", found.state_gib, wanted.state_gib));
    }
    if wanted.running && !found.running {
        lines.push("stopped -> running".to_owned());
    }
    difference(lines)
}

/// Whether changing `found` to `wanted` takes the guest away for a moment.
pub(crate) fn restarts(wanted: &Vm, found: &Vm) -> bool {
    wanted.cores != found.cores || wanted.memory_mib != found.memory_mib || !found.running
}

/// A key that is pinned stays, as long as it is this guest's.
pub(crate) fn host_key(wanted: &HostKey, found: &HostKey) -> Difference {
    let same = found.key.is_some() && wanted.guest.uuid == found.guest.uuid;
    difference(if same { Vec::new() } else { vec!["pinned anew".to_owned()] })
}

/// `owned` is what the journal says was written: a pair that is not wanted any more
/// cannot be seen by looking at what is wanted.
pub(crate) fn records(wanted: &Records, found: Option<&Records>, owned: Option<&Records>) -> Difference {
    let none = Vec::new();
    let found = found.map_or(&none, |found| &found.sets);
    let owned = owned.map_or(&none, |owned| &owned.sets);
    let same_pair = |a: &RecordSet, b: &RecordSet| a.name == b.name && a.kind == b.kind;
    let mut lines = Vec::new();
    for set in &wanted.sets {
        let line = record_set(set, wanted);
        match found.iter().find(|other| same_pair(set, other)) {
            None => lines.push(format!("+ {line}")),
            Some(other) if other.values != set.values => {
                lines.push(format!("~ {line} (was {})", other.values.join(", ")));
            }
            Some(other) if other.ttl != set.ttl => {
                lines.push(format!("~ {line} (time to live {} s -> {} s)", other.ttl, set.ttl));
            }
            Some(_) => {}
        }
    }
    for set in owned {
        if !wanted.sets.iter().any(|other| same_pair(set, other)) {
            lines.push(format!("- {}", record_set(set, wanted)));
        }
    }
    difference(lines)
}

/// A file whose version is unknown beforehand belongs to a secret that is being made.
pub(crate) fn delivery(wanted: &Delivery, found: &Delivery) -> Difference {
    let mut lines = Vec::new();
    for (name, file) in &wanted.files {
        match found.files.get(name) {
            None => lines.push(format!("+ {name} in {}", file.path)),
            Some(other)
                if (&other.path, &other.owner, &other.group, &other.mode)
                    != (&file.path, &file.owner, &file.group, &file.mode) =>
            {
                lines.push(format!("~ {name} in {} ({}:{} {})", file.path, file.owner, file.group, file.mode));
            }
            Some(other) => match (other.version, file.version) {
                (Some(from), Some(to)) if from != to => lines.push(format!("~ {name}: version {from} -> {to}")),
                (_, None) | (None, _) => lines.push(format!("~ {name}: newest version")),
                _ => {}
            },
        }
    }
    for name in found.files.keys().filter(|name| !wanted.files.contains_key(*name)) {
        lines.push(format!("- {name}"));
    }
    difference(lines)
}

pub(crate) fn lease(wanted: &Lease, found: &Lease) -> Difference {
    let same = wanted.epoch == found.epoch && wanted.guest.uuid == found.guest.uuid && wanted.app == found.app;
    difference(if same { Vec::new() } else { vec![format!("epoch: {} -> {}", found.epoch, wanted.epoch)] })
}

pub(crate) fn backups(wanted: &Backups, found: &Backups) -> Difference {
    let mut lines = Vec::new();
    if wanted.schedule != found.schedule {
        lines.push(format!("schedule: {} -> {}", found.schedule, wanted.schedule));
    }
    if wanted.consistency != found.consistency {
        lines.push(format!("consistency: {} -> {}", found.consistency, wanted.consistency));
    }
    if wanted.repository != found.repository {
        lines.push(format!("repository: {} -> {}", found.repository, wanted.repository));
    } else if wanted.location != found.location {
        lines.push(format!("at: {} -> {}", found.location, wanted.location));
    }
    if wanted.guest.uuid != found.guest.uuid {
        lines.push("on a new guest".to_owned());
    }
    difference(lines)
}

pub(crate) fn system(wanted: &System, found: &System) -> Difference {
    let same = wanted.toplevel == found.toplevel;
    difference(if same { Vec::new() } else { vec![format!("was {}", system_name(&found.toplevel))] })
}
