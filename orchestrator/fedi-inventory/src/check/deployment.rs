//! `deployments/<name>.toml`.

use fedi_model::inventory::DeploymentFile;

use super::{Findings, at, is_mail_address};
use crate::read::InventoryFile;
use crate::schema::FileKind;

/// What a guest needs at least, and what no hypervisor gives: a slip of the pen.
const CORES: (u32, u32) = (1, 512);
const MEMORY_MIB: (u32, u32) = (512, 4 * 1024 * 1024);
const STATE_GIB: (u32, u32) = (1, 64 * 1024);

impl InventoryFile for DeploymentFile {
    const KIND: FileKind = FileKind::Deployment;

    fn check(&self, findings: &mut Findings<'_>) {
        check(self, findings);
    }
}

fn check(file: &DeploymentFile, findings: &mut Findings<'_>) {
    let resources = &file.resources;
    for (key, value, (least, most)) in [
        ("cores", resources.cores, CORES),
        ("memory-mib", resources.memory_mib, MEMORY_MIB),
        ("state-gib", resources.state_gib, STATE_GIB),
    ] {
        if value.is_some_and(|value| !(least..=most).contains(&value)) {
            findings.add(&at(&["resources", key]), format!("`resources.{key}` must be between {least} and {most}"));
        }
    }
    if let Some(email) = &file.admin_email
        && !is_mail_address(email)
    {
        findings.add(&at(&["admin-email"]), format!("`{email}` is no mail address"));
    }
}
