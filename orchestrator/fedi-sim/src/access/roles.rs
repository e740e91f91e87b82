//! Privileges and the roles that come with each version of Proxmox VE.

use std::collections::{BTreeMap, BTreeSet};

use crate::version::Version;

/// One family of privileges: who gets what. Source: `PVE::AccessControl`.
struct Family {
    name: &'static str,
    root: &'static [&'static str],
    admin: &'static [&'static str],
    user: &'static [&'static str],
    audit: &'static [&'static str],
}

const VM_8: Family = Family {
    name: "VM",
    root: &[],
    admin: &[
        "VM.Config.Disk",
        "VM.Config.CPU",
        "VM.Config.Memory",
        "VM.Config.Network",
        "VM.Config.HWType",
        "VM.Config.Options",
        "VM.Allocate",
        "VM.Clone",
        "VM.Migrate",
        "VM.Monitor",
        "VM.Snapshot",
        "VM.Snapshot.Rollback",
    ],
    user: &["VM.Config.CDROM", "VM.Config.Cloudinit", "VM.Console", "VM.Backup", "VM.PowerMgmt"],
    audit: &["VM.Audit"],
};

const VM_9: Family = Family {
    name: "VM",
    root: &[],
    admin: &[
        "VM.Config.Disk",
        "VM.Config.CPU",
        "VM.Config.Memory",
        "VM.Config.Network",
        "VM.Config.HWType",
        "VM.Config.Options",
        "VM.Allocate",
        "VM.Clone",
        "VM.GuestAgent.Unrestricted",
        "VM.Migrate",
        "VM.Replicate",
        "VM.Snapshot",
        "VM.Snapshot.Rollback",
    ],
    user: &[
        "VM.Config.CDROM",
        "VM.Config.Cloudinit",
        "VM.Console",
        "VM.Backup",
        "VM.GuestAgent.FileRead",
        "VM.GuestAgent.FileSystemMgmt",
        "VM.GuestAgent.FileWrite",
        "VM.PowerMgmt",
    ],
    audit: &["VM.Audit", "VM.GuestAgent.Audit"],
};

const COMMON: [Family; 6] = [
    Family {
        name: "Sys",
        root: &["Sys.PowerMgmt", "Sys.Modify", "Sys.Incoming", "Sys.AccessNetwork"],
        admin: &["Sys.Console", "Sys.Syslog"],
        user: &[],
        audit: &["Sys.Audit"],
    },
    Family {
        name: "Datastore",
        root: &[],
        admin: &["Datastore.Allocate", "Datastore.AllocateTemplate"],
        user: &["Datastore.AllocateSpace"],
        audit: &["Datastore.Audit"],
    },
    Family { name: "SDN", root: &[], admin: &["SDN.Allocate", "SDN.Audit"], user: &["SDN.Use"], audit: &["SDN.Audit"] },
    Family {
        name: "User",
        root: &["Realm.Allocate"],
        admin: &["User.Modify", "Group.Allocate", "Realm.AllocateUser"],
        user: &[],
        audit: &[],
    },
    Family { name: "Pool", root: &[], admin: &["Pool.Allocate"], user: &["Pool.Audit"], audit: &["Pool.Audit"] },
    Family {
        name: "Mapping",
        root: &[],
        admin: &["Mapping.Modify"],
        user: &["Mapping.Use"],
        audit: &["Mapping.Audit"],
    },
];

fn families(version: Version) -> impl Iterator<Item = &'static Family> {
    const EIGHT: &Family = &VM_8;
    const NINE: &Family = &VM_9;
    std::iter::once(if version.major() >= 9 { NINE } else { EIGHT }).chain(COMMON.iter())
}

/// Every privilege this version knows.
pub(crate) fn privileges(version: Version) -> BTreeSet<String> {
    let mut all: BTreeSet<String> = families(version)
        .flat_map(|family| [family.root, family.admin, family.user, family.audit])
        .flatten()
        .map(|name| (*name).to_owned())
        .collect();
    all.insert("Permissions.Modify".to_owned());
    all
}

/// The built-in roles of this version.
pub(crate) fn builtin(version: Version) -> BTreeMap<String, BTreeSet<String>> {
    let mut roles: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut add = |role: String, privileges: &[&str]| {
        roles.entry(role).or_default().extend(privileges.iter().map(|name| (*name).to_owned()));
    };
    add("NoAccess".to_owned(), &[]);
    for family in families(version) {
        for privileges in [family.admin, family.user, family.audit] {
            if !privileges.is_empty() {
                add(format!("PVE{}Admin", family.name), privileges);
                add("PVEAdmin".to_owned(), privileges);
            }
        }
        if !family.user.is_empty() {
            add(format!("PVE{}User", family.name), family.user);
            add(format!("PVE{}User", family.name), family.audit);
        }
        add("PVEAuditor".to_owned(), family.audit);
    }
    add("PVETemplateUser".to_owned(), &["VM.Clone", "VM.Audit"]);
    roles.insert("Administrator".to_owned(), privileges(version));
    if let Some(role) = roles.get_mut("PVEAdmin") {
        role.remove("Mapping.Modify");
    }
    roles
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monitor_became_guest_agent_privileges_in_nine() {
        let (eight, nine) = (Version::new(8, 4, 21), Version::new(9, 2, 11));
        assert!(privileges(eight).contains("VM.Monitor"));
        assert!(!privileges(nine).contains("VM.Monitor"));
        assert!(privileges(nine).contains("VM.GuestAgent.Audit"));
        assert!(!builtin(nine)["PVEVMUser"].contains("VM.Allocate"));
    }
}
