//! `host.toml`: hypervisor, image, system.

use fedi_model::inventory::{Credential, HostFile, Hypervisor, SystemDriver, Tls};
use url::Url;

use super::{Findings, addresses, at, dns};
use crate::document::Place;
use crate::read::InventoryFile;
use crate::schema::FileKind;

/// Proxmox' own bounds: `pve-vmid` in its API schema.
const VMIDS: std::ops::RangeInclusive<u32> = 100..=999_999_999;

impl InventoryFile for HostFile {
    const KIND: FileKind = FileKind::Host;

    fn check(&self, findings: &mut Findings<'_>) {
        hypervisor(&self.hypervisor, findings);
        image(self, findings);
        system(self, findings);
        addresses::check(&self.address_pools, findings);
        dns::check(&self.dns, findings);
    }
}

fn system(file: &HostFile, findings: &mut Findings<'_>) {
    match (file.system.driver, &file.system.folder) {
        (SystemDriver::Prebuilt, None) => findings.add_with_hint(
            &at(&["system"]),
            "`system.driver = \"prebuilt\"` needs `system.folder`",
            "Name the folder that holds one folder an application",
        ),
        (SystemDriver::Nix, Some(_)) => findings.add_with_hint(
            &at(&["system", "folder"]),
            "`system.folder` is for `driver = \"prebuilt\"` only",
            "Take it out, or set `driver = \"prebuilt\"`",
        ),
        _ => {}
    }
}

fn hypervisor(it: &Hypervisor, findings: &mut Findings<'_>) {
    let place = |key: &str| at(&["hypervisor", key]);
    if let Some(reason) = no_endpoint(&it.endpoint) {
        findings.add_with_hint(
            &place("endpoint"),
            format!("`hypervisor.endpoint` {reason}"),
            "Write it as `https://pve.example.org:8006`",
        );
    }
    tls(&it.tls, &place("tls"), findings);
    credential(&it.token, &place("token"), findings);
    // Beside letters and digits: the formats `pve-node`, `pve-poolid`, `pve-storage-id`.
    for (key, name, others) in [
        ("node", &it.node, "-"),
        ("pool", &it.pool, "-_./"),
        ("vm-storage", &it.vm_storage, "-_."),
        ("image-storage", &it.image_storage, "-_."),
    ] {
        let begins = name.starts_with(|c: char| c.is_ascii_alphanumeric());
        if !begins || !name.chars().all(|c| c.is_ascii_alphanumeric() || others.contains(c)) {
            findings.add(&place(key), format!("`{name}` cannot be the name of a {}", key.replace('-', " ")));
        }
    }
    // IFNAMSIZ in linux/if.h: 16 with the final zero.
    let bridge = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if it.bridge.is_empty() || it.bridge.len() > 15 || !it.bridge.chars().all(bridge) {
        findings.add(&place("bridge"), format!("`{}` cannot be the name of a bridge", it.bridge));
    }
    if let Some(vlan) = it.vlan
        && !(1..=4094).contains(&vlan)
    {
        findings.add(&place("vlan"), "`hypervisor.vlan` must be between 1 and 4094");
    }
    for (key, vmid) in [("first-vmid", it.first_vmid), ("last-vmid", it.last_vmid)] {
        if !VMIDS.contains(&vmid) {
            let message = format!("`hypervisor.{key}` must be between {} and {}", VMIDS.start(), VMIDS.end());
            findings.add(&place(key), message);
        }
    }
    if it.first_vmid > it.last_vmid {
        findings.add(
            &place("first-vmid"),
            format!("`hypervisor.first-vmid` ({}) is greater than `last-vmid` ({})", it.first_vmid, it.last_vmid),
        );
    }
    if it.cpu.trim().is_empty() || it.cpu.contains([',', '=', ' ']) {
        findings.add(&place("cpu"), format!("`{}` cannot be a CPU type", it.cpu));
    }
}

/// Why `text` cannot be the URL of an API.
fn no_endpoint(text: &str) -> Option<&'static str> {
    let Ok(url) = Url::parse(text) else { return Some("is no URL") };
    if url.scheme() != "https" {
        return Some("must begin with `https://`");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Some("must not hold a user or a password");
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Some("has no host");
    }
    let bare = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
    (!bare).then_some("must end after the port")
}

fn tls(tls: &Tls, place: &Place, findings: &mut Findings<'_>) {
    match tls {
        Tls::System => {}
        Tls::Ca(file) => {
            if file.trim().is_empty() {
                findings.add(&place.key("ca"), "`hypervisor.tls.ca` is empty");
            }
        }
        Tls::Fingerprints(all) => {
            let place = place.key("fingerprints");
            if all.is_empty() {
                findings.add(&place, "`hypervisor.tls.fingerprints` is empty");
            }
            for (index, fingerprint) in all.iter().enumerate() {
                if !is_fingerprint(fingerprint) {
                    findings.add_with_hint(
                        &place.index(index),
                        format!("`{fingerprint}` is no SHA-256 fingerprint"),
                        "It is 32 pairs of hexadecimal digits with `:` between; `pvenode cert info` prints it",
                    );
                }
            }
        }
    }
}

fn is_fingerprint(text: &str) -> bool {
    let pairs: Vec<&str> = text.split(':').collect();
    pairs.len() == 32 && pairs.iter().all(|pair| pair.len() == 2 && pair.chars().all(|c| c.is_ascii_hexdigit()))
}

fn image(file: &HostFile, findings: &mut Findings<'_>) {
    let place = |key: &str| at(&["image", key]);
    let (source, sha256) = (&file.image.source, &file.image.sha256);
    if source.trim().is_empty() {
        findings.add(&place("source"), "`image.source` is empty");
    }
    let scheme = source.split_once("://").map(|(scheme, _)| scheme);
    match scheme {
        Some("https") if sha256.is_none() => findings.add_with_hint(
            &place("source"),
            "An image from a URL needs `image.sha256`",
            "Download it once and run `sha256sum` on it",
        ),
        Some("https") | None => {}
        Some(_) => findings.add(&place("source"), "`image.source` must be a file or an `https://` URL"),
    }
    if let Some(digest) = sha256
        && (digest.len() != 64 || !digest.chars().all(|c| c.is_ascii_hexdigit()))
    {
        findings.add_with_hint(
            &place("sha256"),
            "`image.sha256` is no SHA-256 digest",
            "It has 64 hexadecimal digits; `sha256sum` prints it",
        );
    }
}

/// Where a secret is found. What stands there is never quoted: somebody may have
/// written the secret itself.
pub(super) fn credential(credential: &Credential, place: &Place, findings: &mut Findings<'_>) {
    match credential {
        Credential::File(path) => {
            if path.trim().is_empty() {
                findings.add(&place.key("file"), format!("`{place}.file` is empty"));
            }
        }
        Credential::Env(name) => {
            let valid = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(valid) {
                findings.add_with_hint(
                    &place.key("env"),
                    format!("`{place}.env` is no name of an environment variable"),
                    "Write the name of the variable, not its value",
                );
            }
        }
    }
}
