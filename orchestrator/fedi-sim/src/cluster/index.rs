//! The directory listings of the API tree.

use serde_json::{Value, json};

use crate::call::{Call, Reply};

fn rows(key: &str, names: &[&str]) -> Reply {
    let rows: Vec<Value> = names.iter().map(|name| json!({key: name})).collect();
    Value::from(rows).into()
}

/// `GET /`, which is in no table.
pub(crate) fn root_index() -> Reply {
    rows("subdir", &["version", "cluster", "nodes", "storage", "access", "pools"])
}

/// The listing of an endpoint by its name in the tables.
pub(crate) fn index(call: &Call, name: &str) -> Option<Reply> {
    let nine = call.sim.version.major() >= 9;
    Some(match name {
        "cluster" => rows("name", &CLUSTER[usize::from(!nine)..]),
        "node" => rows("name", &NODE[if nine { 0 } else { 2 }..]),
        "access" => {
            rows("subdir", &["users", "groups", "roles", "acl", "domains", "openid", "tfa", "ticket", "password"])
        }
        "vm" => rows("subdir", &VM),
        "vm-status" => rows("subdir", &["current", "start", "stop", "reset", "shutdown", "suspend", "reboot"]),
        "agent" => rows("name", &AGENT),
        "snapshot" => rows("cmd", &["config", "rollback"]),
        _ => return None,
    })
}

const CLUSTER: [&str; 21] = [
    "bulk-action",
    "acme",
    "backup",
    "backup-info",
    "ceph",
    "config",
    "firewall",
    "ha",
    "jobs",
    "log",
    "mapping",
    "metrics",
    "notifications",
    "nextid",
    "options",
    "qemu",
    "replication",
    "resources",
    "status",
    "tasks",
    "sdn",
];

const NODE: [&str; 41] = [
    "query-oci-repo-tags",
    "sdn",
    "aplinfo",
    "apt",
    "capabilities",
    "ceph",
    "certificates",
    "config",
    "disks",
    "dns",
    "firewall",
    "hardware",
    "hosts",
    "journal",
    "lxc",
    "migrateall",
    "netstat",
    "network",
    "qemu",
    "query-url-metadata",
    "replication",
    "report",
    "rrd",
    "rrddata",
    "scan",
    "services",
    "spiceshell",
    "startall",
    "status",
    "stopall",
    "storage",
    "subscription",
    "suspendall",
    "syslog",
    "tasks",
    "termproxy",
    "time",
    "version",
    "vncshell",
    "vzdump",
    "wakeonlan",
];

const VM: [&str; 25] = [
    "config",
    "pending",
    "status",
    "unlink",
    "vncproxy",
    "termproxy",
    "migrate",
    "remote_migrate",
    "resize",
    "move",
    "rrd",
    "rrddata",
    "monitor",
    "agent",
    "snapshot",
    "spiceproxy",
    "sendkey",
    "firewall",
    "mtunnel",
    "mtunnelwebsocket",
    "feature",
    "clone",
    "template",
    "cloudinit",
    "move_disk",
];

const AGENT: [&str; 25] = [
    "exec",
    "exec-status",
    "file-read",
    "file-write",
    "fsfreeze-freeze",
    "fsfreeze-status",
    "fsfreeze-thaw",
    "fstrim",
    "get-fsinfo",
    "get-host-name",
    "get-memory-block-info",
    "get-memory-blocks",
    "get-osinfo",
    "get-time",
    "get-timezone",
    "get-users",
    "get-vcpus",
    "info",
    "network-get-interfaces",
    "ping",
    "set-user-password",
    "shutdown",
    "suspend-disk",
    "suspend-hybrid",
    "suspend-ram",
];
