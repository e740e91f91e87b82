//! The configuration file of a VM: keys, their JSON types, the text that the digest is made from.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value};
use sha1::{Digest, Sha1};

use super::Vm;

/// Options of a VM by key.
pub(crate) type Config = BTreeMap<String, String>;

/// Options that are integers or booleans in PVE's schema and so come out as JSON numbers.
const NUMBERS: [&str; 27] = [
    "acpi",
    "allow-ksm",
    "autostart",
    "balloon",
    "ciupgrade",
    "cores",
    "cpuunits",
    "force-rtc",
    "freeze",
    "kvm",
    "localtime",
    "migrate_speed",
    "numa",
    "onboot",
    "protection",
    "reboot",
    "shares",
    "skiplock",
    "smp",
    "snaptime",
    "sockets",
    "tablet",
    "tdf",
    "template",
    "vcpus",
    "runningmachine-version",
    "autostart-delay",
];

/// A value in the JSON type PVE gives it.
pub(super) fn json_value(key: &str, value: &str) -> Value {
    match value.parse::<i64>() {
        Ok(number) if NUMBERS.contains(&key) => number.into(),
        _ => value.into(),
    }
}

/// A configuration as an answer.
pub(super) fn json(config: &Config) -> Map<String, Value> {
    config
        .iter()
        .map(|(key, value)| {
            let shown = if key == "cipassword" { "**********" } else { value };
            (key.clone(), json_value(key, shown))
        })
        .collect()
}

/// Percent-encodes what a comment line cannot hold.
fn encode_text(text: &str) -> String {
    text.chars().fold(String::new(), |mut encoded, c| {
        if c.is_control() || matches!(c, '%' | ':') || u32::from(c) > 0x7e {
            let mut buffer = [0; 4];
            for byte in c.encode_utf8(&mut buffer).bytes() {
                let _ = write!(encoded, "%{byte:02X}");
            }
        } else {
            encoded.push(c);
        }
        encoded
    })
}

fn section(config: &Config, pending_delete: Option<&str>) -> String {
    let mut text = String::new();
    for line in config.get("description").iter().flat_map(|text| text.lines()) {
        let _ = writeln!(text, "#{}", encode_text(line));
    }
    let mut rows: BTreeMap<&str, &str> = config
        .iter()
        .filter(|(key, _)| *key != "description")
        .map(|(key, value)| (key.as_str(), if value == " " { "" } else { value.as_str() }))
        .collect();
    if let Some(delete) = pending_delete {
        rows.insert("delete", delete);
    }
    for (key, value) in rows {
        let _ = writeln!(text, "{key}: {value}");
    }
    text
}

/// The list of a `delete` line.
pub(super) fn delete_line(delete: &BTreeMap<String, bool>) -> Option<String> {
    let keys: Vec<String> =
        delete.iter().map(|(key, force)| if *force { format!("!{key}") } else { key.clone() }).collect();
    (!keys.is_empty()).then(|| keys.join(","))
}

/// The whole file.
fn text(vm: &Vm) -> String {
    let mut text = section(&vm.config, None);
    if !vm.pending.is_empty() || !vm.pending_delete.is_empty() {
        let _ = write!(text, "\n[PENDING]\n{}", section(&vm.pending, delete_line(&vm.pending_delete).as_deref()));
    }
    if !vm.cloudinit.is_empty() {
        let _ = write!(text, "\n[special:cloudinit]\n{}", section(&vm.cloudinit, None));
    }
    for (name, snapshot) in &vm.snapshots {
        let _ = write!(text, "\n[{name}]\n{}", section(snapshot, None));
    }
    text
}

/// SHA-1 of the file.
pub(super) fn digest(vm: &Vm) -> String {
    hex::encode(Sha1::digest(text(vm)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_a_vm_in_creation_is_that_of_its_only_line() {
        let config = Config::from([("lock".to_owned(), "create".to_owned())]);
        let vm = Vm { config, ..Vm::default() };
        assert_eq!(vm.digest(), "a7e9f8c42935261b36fcd1d7d6cd8cd41648da49");
    }

    #[test]
    fn numbers_and_texts_keep_their_types() {
        assert_eq!(json_value("cores", "2"), 2);
        assert_eq!(json_value("memory", "2048"), "2048");
    }
}
