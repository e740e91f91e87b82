//! Cloud-init: the generated data, what is pending, and the keys' format.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ipnet::Ipv4Net;
use serde_json::{Value, json};
use sha1::{Digest, Sha1};

use super::drive::{drives, numbered};
use super::{Vm, lock_path, net};
use crate::access::Path;
use crate::call::{Call, Reply, split_list};
use crate::error::{ApiError, ApiResult};
use crate::http::percent_decoded;
use crate::sim::Sim;

/// The public keys of an `sshkeys` option, one each.
pub(super) fn decoded_keys(encoded: &str) -> Vec<String> {
    percent_decoded(encoded).lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// What `ssh-keygen -l` would say about the keys.
pub(super) fn check_ssh_keys(encoded: &str) -> ApiResult<()> {
    let sound = decoded_keys(encoded).iter().filter(|key| !key.starts_with('#')).all(|key| is_public_key(key));
    if sound { Ok(()) } else { Err(ApiError::die("SSH public key validation error")) }
}

fn is_public_key(line: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    // Options may come before the type.
    let Some(at) = words
        .iter()
        .position(|word| ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"].iter().any(|prefix| word.starts_with(prefix)))
    else {
        return false;
    };
    let (kind, Some(blob)) = (words[at], words.get(at + 1)) else { return false };
    let Ok(blob) = STANDARD.decode(blob) else { return false };
    let field = |from: usize| -> Option<&[u8]> {
        let length = blob.get(from..from + 4)?;
        let length = usize::try_from(u32::from_be_bytes(length.try_into().ok()?)).ok()?;
        blob.get(from + 4..from + 4 + length)
    };
    let named = field(0) == Some(kind.as_bytes());
    let key = field(4 + kind.len());
    match kind {
        "ssh-ed25519" => named && key.is_some_and(|key| key.len() == 32),
        _ => named && key.is_some_and(|key| !key.is_empty()),
    }
}

fn host_names(vm: &Vm, vmid: u32) -> (String, String) {
    let name = vm.get("name").map_or_else(|| format!("VM{vmid}"), str::to_owned);
    match (name.split_once('.'), vm.get("searchdomain")) {
        (Some((host, _)), _) => (host.to_owned(), name.clone()),
        (None, Some(domain)) => (name.clone(), format!("{name}.{domain}")),
        (None, None) => (name.clone(), name),
    }
}

fn user_data(vm: &Vm, vmid: u32, mask: bool) -> String {
    let (host, fqdn) = host_names(vm, vmid);
    let mut text = format!("#cloud-config\nhostname: {host}\nmanage_etc_hosts: true\nfqdn: {fqdn}\n");
    let user = vm.get("ciuser");
    if let Some(user) = user {
        text += &format!("user: {user}\n");
        if user == "root" {
            text += "disable_root: False\n";
        }
    }
    if let Some(password) = vm.get("cipassword") {
        let shown = if mask { "**********" } else { password };
        text += &format!("password: {shown}\n");
    }
    if let Some(keys) = vm.get("sshkeys") {
        text += "ssh_authorized_keys:\n";
        for key in decoded_keys(keys) {
            text += &format!("  - {key}\n");
        }
    }
    text += "chpasswd:\n  expire: False\n";
    if user != Some("root") {
        text += "users:\n  - default\n";
    }
    if vm.get("ciupgrade").is_none_or(|value| value != "0") {
        text += "package_upgrade: true\n";
    }
    text
}

fn network_data(sim: &Sim, vm: &Vm) -> String {
    let mut text = "version: 1\nconfig:\n".to_owned();
    let mut nets: Vec<&String> = vm.config.keys().filter(|option| numbered(option, "net").is_some()).collect();
    nets.sort();
    for option in nets {
        let index = option.trim_start_matches("net");
        let Some(ipconfig) = vm.get(&format!("ipconfig{index}")) else { continue };
        let parsed = net::parse(sim, option, vm.get(option).unwrap_or_default());
        let mac = parsed.get("macaddr").map(|mac| mac.to_lowercase()).unwrap_or_default();
        text += &format!("    - type: physical\n      name: eth{index}\n      mac_address: '{mac}'\n      subnets:\n");
        let value = |key: &str| ipconfig.split(',').find_map(|part| part.strip_prefix(key)?.strip_prefix('='));
        match value("ip") {
            Some("dhcp") => text += "      - type: dhcp4\n",
            Some(cidr) => {
                let (address, _) = cidr.split_once('/').unwrap_or((cidr, ""));
                let mask = cidr.parse::<Ipv4Net>().map(|net| net.netmask().to_string()).unwrap_or_default();
                text += &format!("      - type: static\n        address: '{address}'\n        netmask: '{mask}'\n");
                if let Some(gateway) = value("gw") {
                    text += &format!("        gateway: '{gateway}'\n");
                }
            }
            None => {}
        }
        match value("ip6") {
            Some("dhcp") => text += "      - type: dhcp6\n",
            Some("auto") => text += "      - type: ipv6_slaac\n",
            Some(cidr) => {
                text += &format!("      - type: static6\n        address: '{cidr}'\n");
                if let Some(gateway) = value("gw6") {
                    text += &format!("        gateway: '{gateway}'\n");
                }
            }
            None => {}
        }
    }
    text += "    - type: nameserver\n";
    for (key, option) in [("address", "nameserver"), ("search", "searchdomain")] {
        let values: Vec<&str> = vm.get(option).unwrap_or_default().split_whitespace().collect();
        if !values.is_empty() {
            text += &format!("      {key}:\n");
            for value in values {
                text += &format!("      - '{value}'\n");
            }
        }
    }
    text
}

/// `GET /nodes/{node}/qemu/{vmid}/cloudinit/dump`
pub(crate) fn cloudinit_dump(call: &Call) -> ApiResult<Reply> {
    let vmid = call.vmid();
    let state = call.sim.read();
    let vm = state.vm(&call.node, vmid)?;
    let mask = !call.allows(&state, &Path::vm(vmid), &["VM.Config.Cloudinit"]);
    let text = match call.params.need("type").as_str() {
        "user" => user_data(vm, vmid, mask),
        "network" => network_data(&call.sim, vm),
        _ => {
            let all = user_data(vm, vmid, false) + &network_data(&call.sim, vm);
            let digest = hex::encode(Sha1::digest(all));
            format!("instance-id: {digest}\n")
        }
    };
    Ok(text.into())
}

/// `GET /nodes/{node}/qemu/{vmid}/cloudinit`
pub(crate) fn cloudinit_pending(call: &Call) -> ApiResult<Reply> {
    const OPTIONS: [&str; 8] =
        ["cicustom", "cipassword", "citype", "ciuser", "ciupgrade", "nameserver", "searchdomain", "sshkeys"];
    let state = call.sim.read();
    let vm = state.vm(&call.node, call.vmid())?;
    let hidden = |key: &str, value: &str| -> Value {
        let shown = if key == "cipassword" { "**********" } else { value };
        super::json_value(key, shown)
    };
    let added = vm.cloudinit.get("added").map(|text| split_list(text)).unwrap_or_default();
    let mut rows: Vec<Value> =
        added.iter().map(|key| json!({"key": key, "pending": vm.get(key).map(|value| hidden(key, value))})).collect();
    for key in OPTIONS {
        let Some(value) = vm.get(key).filter(|value| !value.is_empty() && *value != "0") else { continue };
        if added.iter().any(|name| name == key) {
            continue;
        }
        rows.push(match vm.cloudinit.get(key) {
            Some(old) => json!({"key": key, "value": hidden(key, old), "pending": hidden(key, value)}),
            None => json!({"key": key, "value": hidden(key, value)}),
        });
    }
    for key in vm.cloudinit.keys().filter(|key| *key != "added" && vm.get(key).is_none()) {
        rows.push(json!({"key": key, "delete": 1}));
    }
    Ok(Value::from(rows).into())
}

/// `PUT /nodes/{node}/qemu/{vmid}/cloudinit`
pub(crate) async fn cloudinit_update(call: &Call) -> ApiResult<Reply> {
    let vmid = call.vmid();
    let sim = &call.sim;
    let limit = std::time::Duration::from_secs(10);
    let _lock = sim.locks.take(&sim.clock, &lock_path(vmid), limit, false, || {}).await?;
    let mut state = sim.write();
    let vm = state.vm_mut(&call.node, vmid)?;
    vm.check_lock()?;
    if drives(&vm.config).iter().any(|(_, drive)| drive.is_cloudinit()) {
        vm.cloudinit.clear();
    }
    Ok(Reply::null())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_checked_like_ssh_keygen_does() {
        let key = "ssh-ed25519%20AAAAC3NzaC1lZDI1NTE5AAAAIJ3c9DHTzZ2xSGdZ7Zt3q8g2fTj4kqkYb9mXxVdq4Xyz%20me%40host";
        assert!(check_ssh_keys(key).is_ok());
        assert!(check_ssh_keys(&format!("{key}%0A{key}%0A")).is_ok());
        assert!(check_ssh_keys("").is_ok());
        assert!(check_ssh_keys("ssh-ed25519%20AAAA%20x").is_err());
    }
}
