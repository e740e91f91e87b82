//! What fedi needs on a host, and whether it is there.

use std::collections::BTreeMap;

use fedi_engine::drivers::{DriverError, HypervisorReport, MissingRight};
use proxmox_api::{Permissions, PveVersion};

use super::ProxmoxHost;

/// A privilege and what it is for.
type Need = (&'static str, &'static str);

const IN_POOL: &[Need] = &[
    ("VM.Allocate", "making and destroying guests"),
    ("VM.Audit", "looking at guests"),
    ("VM.PowerMgmt", "starting and stopping guests"),
    ("VM.Config.Disk", "disks"),
    ("VM.Config.CDROM", "the cloud-init drive"),
    ("VM.Config.CPU", "sizes"),
    ("VM.Config.Memory", "sizes"),
    ("VM.Config.Network", "network cards"),
    ("VM.Config.HWType", "the UUID that guests are known by"),
    ("VM.Config.Options", "names and marks"),
    ("VM.Config.Cloudinit", "addresses and keys of new guests"),
];

const AGENT_9: &[Need] = &[
    ("VM.GuestAgent.Audit", "asking the guest agent"),
    ("VM.GuestAgent.FileRead", "learning a new guest's SSH host key"),
];

const AGENT_8: &[Need] = &[("VM.Monitor", "learning a new guest's SSH host key")];

const ON_VM_STORAGE: &[Need] = &[("Datastore.AllocateSpace", "disks"), ("Datastore.Audit", "free space")];

const ON_IMAGE_STORAGE: &[Need] = &[
    ("Datastore.AllocateTemplate", "bringing images"),
    ("Datastore.AllocateSpace", "importing images"),
    ("Datastore.Audit", "listing images"),
];

const ON_BRIDGE: &[Need] = &[("SDN.Use", "network cards")];

impl ProxmoxHost {
    pub(super) async fn examined(&self) -> Result<HypervisorReport, DriverError> {
        let what = || format!("Failed to examine host `{}`", self.name);
        let fault = |error: &proxmox_api::Error| self.fault(error, what());
        let version = self.client.supported_version().await.map_err(|error| fault(&error))?;
        let mut report = HypervisorReport {
            version: format!("Proxmox VE {}", version.version),
            fine: vec![format!("`{}` answers and is the right one", self.client.endpoint())],
            problems: Vec::new(),
            missing: Vec::new(),
            grant: Vec::new(),
        };
        let permissions = self.client.permissions().await.map_err(|error| fault(&error))?;
        let needs = self.needs(version.release().unwrap_or(PveVersion::new(9, 1)));
        report.missing = missing(&needs, &permissions);
        if report.missing.is_empty() {
            report.fine.push(format!("Token `{}` has every right it needs", self.token));
        } else {
            report.grant = grants(&needs, &self.token);
        }
        self.examine_node(&mut report).await.map_err(|error| fault(&error))?;
        Ok(report)
    }

    fn needs(&self, release: PveVersion) -> BTreeMap<String, Vec<Need>> {
        let settings = &self.settings;
        let agent = if release < PveVersion::new(9, 0) { AGENT_8 } else { AGENT_9 };
        let mut needs: BTreeMap<String, Vec<Need>> = BTreeMap::new();
        let mut add = |path: String, list: &[Need]| {
            let known = needs.entry(path).or_default();
            for need in list {
                if !known.iter().any(|(privilege, _)| *privilege == need.0) {
                    known.push(*need);
                }
            }
        };
        add(format!("/pool/{}", settings.pool), IN_POOL);
        add(format!("/pool/{}", settings.pool), agent);
        add(format!("/storage/{}", settings.vm_storage), ON_VM_STORAGE);
        add(format!("/storage/{}", settings.image_storage), ON_IMAGE_STORAGE);
        let vlan = settings.vlan.map(|vlan| format!("/{vlan}")).unwrap_or_default();
        add(format!("/sdn/zones/localnetwork/{}{vlan}", settings.bridge), ON_BRIDGE);
        needs
    }

    async fn examine_node(&self, report: &mut HypervisorReport) -> Result<(), proxmox_api::Error> {
        let settings = &self.settings;
        let nodes = self.client.nodes().await?;
        match nodes.iter().find(|node| node.node == settings.node) {
            Some(node) if node.is_online() => report.fine.push(format!("Node `{}` is online", settings.node)),
            Some(_) => report.problems.push((format!("Node `{}` is offline", settings.node), None)),
            None => {
                let names: Vec<&str> = nodes.iter().map(|node| node.node.as_str()).collect();
                let hint = format!("It has {}; set `hypervisor.node`", names.join(", "));
                report.problems.push((format!("There is no node `{}`", settings.node), Some(hint)));
                return Ok(());
            }
        }
        let storages = self.node().storages().await?;
        for (name, content, key) in
            [(&settings.vm_storage, "images", "vm-storage"), (&settings.image_storage, "import", "image-storage")]
        {
            let found = storages.iter().find(|storage| storage.storage == *name);
            match found {
                Some(storage) if storage.holds(content) && storage.enabled && storage.active => {
                    let free =
                        storage.available.map_or_else(String::new, |bytes| format!(", {} GiB free", bytes >> 30));
                    report.fine.push(format!("Storage `{name}` takes `{content}`{free}"));
                }
                Some(storage) if !storage.holds(content) => report.problems.push((
                    format!("Storage `{name}` does not take content `{content}`"),
                    Some(format!("Run on the host: pvesm set {name} --content {content},... (keep what it has)")),
                )),
                Some(_) => report.problems.push((format!("Storage `{name}` is disabled or not active"), None)),
                // Without the right to look, that right is what is missing.
                None if report.missing.iter().any(|right| sees_storage(right, name)) => {}
                None => {
                    let names: Vec<&str> = storages.iter().map(|storage| storage.storage.as_str()).collect();
                    let hint = match names.as_slice() {
                        [] => format!("Set `hypervisor.{key}`"),
                        names => format!("The token sees {}; set `hypervisor.{key}`", names.join(", ")),
                    };
                    report.problems.push((format!("There is no storage `{name}`"), Some(hint)));
                }
            }
        }
        Ok(())
    }
}

/// Whether a right is what makes a storage visible.
fn sees_storage(right: &MissingRight, storage: &str) -> bool {
    right.privilege == "Datastore.Audit" && right.path == format!("/storage/{storage}")
}

fn missing(needs: &BTreeMap<String, Vec<Need>>, permissions: &Permissions) -> Vec<MissingRight> {
    let mut missing = Vec::new();
    for (path, list) in needs {
        for (privilege, purpose) in list {
            if !permissions.allow(path, privilege) {
                let right = MissingRight {
                    path: path.clone(),
                    privilege: (*privilege).to_owned(),
                    purpose: (*purpose).to_owned(),
                };
                missing.push(right);
            }
        }
    }
    missing
}

/// The commands that grant everything: a role for each kind of path, given to the
/// token and to its user, since a token has at most what its user has.
fn grants(needs: &BTreeMap<String, Vec<Need>>, token: &str) -> Vec<String> {
    let user = token.split('!').next().unwrap_or(token);
    let mut commands = Vec::new();
    let mut made = Vec::new();
    for (path, list) in needs {
        let role = match path.split('/').nth(1) {
            Some("pool") => "FediGuests".to_owned(),
            Some("storage") if list.len() > ON_VM_STORAGE.len() => "FediImages".to_owned(),
            Some("storage") => "FediDisks".to_owned(),
            _ => "FediNetwork".to_owned(),
        };
        let privileges: Vec<&str> = list.iter().map(|(privilege, _)| *privilege).collect();
        if !made.contains(&role) {
            commands.push(format!("pveum role add {role} --privs \"{}\"", privileges.join(" ")));
            made.push(role.clone());
        }
        commands.push(format!("pveum acl modify {path} --roles {role} --users '{user}'"));
        if token.contains('!') {
            commands.push(format!("pveum acl modify {path} --roles {role} --tokens '{token}'"));
        }
    }
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_name_token_and_user() {
        let needs = BTreeMap::from([("/pool/fedi".to_owned(), IN_POOL.to_vec())]);
        let commands = grants(&needs, "fedi@pve!deploy");
        assert!(commands[0].starts_with("pveum role add FediGuests --privs \"VM.Allocate VM.Audit"), "{commands:?}");
        assert!(commands[1].ends_with("--users 'fedi@pve'"), "{commands:?}");
        assert!(commands[2].ends_with("--tokens 'fedi@pve!deploy'"), "{commands:?}");
    }
}
