//! What cloud-init would do at first boot, done from outside: the files that a guest gets from its VM's
//! configuration, as a folder that `boot.sh` lays over the guest's root.
//!
//! Hostname, addresses, gateways, name servers and root's public keys. The SSH host keys are not here: the guest
//! makes them itself.

use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use fedi_sim::backend::GuestSpec;

use super::NspawnSettings;
use crate::{Result, SandboxError};

/// Writes the folder anew. A kill in the middle is mended by the next start.
pub(super) fn write(seed: &Path, root: &Path, spec: &GuestSpec, settings: &NspawnSettings) -> Result<()> {
    check(spec)?;
    write_files(seed, root, spec, settings).map_err(SandboxError::io("write the guest's first-boot files"))
}

fn check(spec: &GuestSpec) -> Result<()> {
    let refuse =
        |output: &str| Err(SandboxError::Command { what: "prepare the guest".to_owned(), output: output.to_owned() });
    match spec.user.as_deref() {
        None | Some("root") => {}
        Some(_) => return refuse("the image of the sandbox knows no user but root"),
    }
    if spec.nics.len() > 1 {
        return refuse("guests of the sandbox have one network card");
    }
    Ok(())
}

fn write_files(seed: &Path, root: &Path, spec: &GuestSpec, settings: &NspawnSettings) -> std::io::Result<()> {
    if seed.exists() {
        fs::remove_dir_all(seed)?;
    }
    let file = |path: &str, mode: u32, text: &str| {
        let path = seed.join(path);
        let folder = path.parent().unwrap_or(seed);
        fs::create_dir_all(folder)?;
        // Set, not asked for: the umask of whoever runs the simulator must not reach the guest.
        for above in folder.ancestors().take_while(|above| above.starts_with(seed)) {
            fs::set_permissions(above, Permissions::from_mode(0o755))?;
        }
        if mode == 0o600 {
            fs::set_permissions(folder, Permissions::from_mode(0o700))?;
        }
        fs::write(&path, text)?;
        fs::set_permissions(&path, Permissions::from_mode(mode))
    };
    file("etc/hostname", 0o644, &format!("{}\n", spec.name))?;
    file("etc/hosts", 0o644, &format!("127.0.0.1 localhost\n127.0.1.1 {}\n::1 localhost\n", spec.name))?;
    file("etc/resolv.conf", 0o644, &resolv_conf(spec, settings.default_nameserver))?;
    file("etc/systemd/network/10-cloud-init.network", 0o644, &network(spec))?;
    if !spec.ssh_keys.is_empty() {
        file("root/.ssh/authorized_keys", 0o600, &(spec.ssh_keys.join("\n") + "\n"))?;
    }
    // A container has no SMBIOS: the identity that a virtual machine would read there.
    file("etc/fedi/guest-uuid", 0o644, &format!("{}\n", spec.uuid))?;
    if let Some(agent) = &settings.agent {
        file("usr/bin/fedi-guest", 0o755, "")?;
        fs::copy(agent, seed.join("usr/bin/fedi-guest"))?;
    }
    if let Some(ca) = &settings.trusted_ca {
        let bundle = "etc/ssl/certs/ca-certificates.crt";
        let ca = fs::read_to_string(ca)?;
        let debian = fs::read_to_string(root.join(bundle))?;
        file("usr/local/share/ca-certificates/sandbox.crt", 0o644, &ca)?;
        file(bundle, 0o644, &(debian + &ca))?;
    }
    Ok(())
}

fn resolv_conf(spec: &GuestSpec, fallback: Option<IpAddr>) -> String {
    let mut text = String::new();
    if let Some(domain) = &spec.search_domain {
        let _ = writeln!(text, "search {domain}");
    }
    let named = spec.nameservers.iter().copied();
    for server in named.chain(fallback.filter(|_| spec.nameservers.is_empty())) {
        let _ = writeln!(text, "nameserver {server}");
    }
    text
}

/// A systemd.network(5) file. No duplicate address detection: it would delay IPv6 by a second or two, and the
/// addresses come from a pool that gives each once.
fn network(spec: &GuestSpec) -> String {
    let mut text = "[Match]\nName=host0\n".to_owned();
    let Some(nic) = spec.nics.first() else { return text };
    let _ = writeln!(text, "[Link]\nMACAddress={}", nic.mac);
    text.push_str("[Network]\nIPv6AcceptRA=no\nLinkLocalAddressing=ipv6\n");
    if nic.addresses.is_empty() {
        text.push_str("DHCP=yes\n");
    }
    for gateway in &nic.gateways {
        let _ = writeln!(text, "Gateway={gateway}");
    }
    for address in &nic.addresses {
        let _ = writeln!(text, "[Address]\nAddress={address}\nDuplicateAddressDetection=none");
    }
    text
}
