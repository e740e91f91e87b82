//! The named formats: checks that a parameter's text must pass, with Proxmox's own error texts.
//!
//! Sources: pve-common `JSONSchema.pm`, qemu-server `QemuServer.pm` and `QemuServer/Drive.pm`, pve-storage
//! `Storage/Plugin.pm`, pve-access-control `AccessControl.pm` and `Auth/Plugin.pm`.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::syntax::{
    is_boot_device, is_cidr4, is_cidr6, is_cpu_set, is_dns_name, is_drive, is_email, is_id, is_ip, is_mac,
    is_node_name, is_realm, is_startup_order, is_token, is_user, is_volume_id, is_word_of,
};
use crate::words::Words;

/// Checks `value` against a named format, with the `-list` and `-opt` endings that every format may have.
///
/// The error is what Proxmox prints after `invalid format - `, with its line break.
pub(crate) fn check(name: &str, value: &str, words: &Words) -> Result<(), String> {
    if let Some(item) = name.strip_suffix("-list") {
        return split_list(value).into_iter().try_for_each(|part| check_one(item, part, words));
    }
    if let Some(item) = name.strip_suffix("-opt") {
        let given = !value.is_empty() && value != "0";
        return if given { check_one(item, value, words) } else { Ok(()) };
    }
    check_one(name, value, words)
}

/// Splits as Proxmox's lists do: at commas, semicolons and white space, or at NUL if there is one.
pub fn split_list(text: &str) -> Vec<&str> {
    if text.contains('\0') {
        let mut parts: Vec<&str> = text.split('\0').collect();
        while parts.last().is_some_and(|part| part.is_empty()) {
            parts.pop();
        }
        return parts;
    }
    text.split(|c: char| c == ',' || c == ';' || c.is_whitespace()).filter(|part| !part.is_empty()).collect()
}

/// A size with a unit, as in `5G` or `1.5TiB`, in bytes. `None` if it is no size.
pub fn parse_size(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let (whole, fraction) = number.split_once('.').map_or((number, None), |(a, b)| (a, Some(b)));
    let decimal = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !decimal(whole) || fraction.is_some_and(|part| !decimal(part)) {
        return None;
    }
    let power = match unit.strip_suffix("iB").unwrap_or(unit) {
        "" if unit.is_empty() => 0,
        "K" => 1,
        "M" => 2,
        "G" => 3,
        "T" => 4,
        _ => return None,
    };
    let factor = 1024_u64.pow(power);
    match fraction {
        None => whole.parse::<u64>().ok()?.checked_mul(factor),
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Some(_) => Some((number.parse::<f64>().ok()? * factor as f64) as u64),
    }
}

/// The shortest exact form of a size, as Proxmox prints it: `5G`, `512M`, `1000`. Zero is `0T`.
pub fn format_size(bytes: u64) -> String {
    let mut size = bytes;
    for unit in ["", "K", "M", "G"] {
        if !size.is_multiple_of(1024) {
            return format!("{size}{unit}");
        }
        size /= 1024;
    }
    format!("{size}T")
}

fn is_hotplug(text: &str) -> Result<(), String> {
    if text == "0" || text == "1" {
        return Ok(());
    }
    let known = ["network", "disk", "cpu", "memory", "usb", "cloudinit"];
    match split_list(text).into_iter().find(|feature| !known.contains(feature)) {
        None => Ok(()),
        Some(feature) => Err(format!("invalid hotplug feature '{feature}'\n")),
    }
}

fn check_user(text: &str) -> Result<(), String> {
    let length = text.chars().count();
    if length < 3 {
        Err(format!("user name '{text}' is too short\n"))
    } else if length > 64 {
        Err(format!("user name '{text}' is too long ({length} > 64)\n"))
    } else if is_user(text) {
        Ok(())
    } else {
        Err(format!("value '{text}' does not look like a valid user name\n"))
    }
}

fn check_storage_id(text: &str) -> Result<(), String> {
    if text.chars().count() < 2 {
        Err(format!("storage ID '{text}' cannot be shorter than 2 characters\n"))
    } else if is_id(text, "-_.") {
        Ok(())
    } else {
        Err(format!("storage ID '{text}' contains illegal characters\n"))
    }
}

fn check_pool(text: &str) -> Result<(), String> {
    let levels: Vec<&str> = text.trim_end_matches('/').split('/').collect();
    if levels.len() > 3 {
        Err(format!("pool name '{text}' nested too deeply (max levels = 3)\n"))
    } else if text.split('/').all(|level| is_word_of(level, ".-_")) {
        Ok(())
    } else {
        Err(format!("pool name '{text}' contains invalid characters\n"))
    }
}

fn check_pair(text: &str, check: impl Fn(&str) -> Result<(), String>) -> Result<(), String> {
    if text == "1" {
        return Ok(());
    }
    let (from, to) = text.split_once(':').unwrap_or((text, text));
    check(from).and_then(|()| check(to)).map_err(|error| format!("entry '{text}' contains invalid ID - {error}\n\n"))
}

/// One format, one line: the check, and what Proxmox says when it fails.
fn check_one(name: &str, value: &str, words: &Words) -> Result<(), String> {
    // Perl's `$` also stands before a last line break, so that every check lets one pass.
    let text = value.strip_suffix('\n').unwrap_or(value);
    let or = |sound: bool, error: String| {
        if sound { Ok(()) } else { Err(format!("{error}\n")) }
    };
    let looks = |sound: bool, what: &str| or(sound, format!("value does not look like a valid {what}"));
    match name {
        "CIDR" => looks(is_cidr4(text) || is_cidr6(text), "CIDR network"),
        "address" => or(is_ip(text) || is_dns_name(text), format!("value does not look like a valid address: {value}")),
        "bridge-pair" => check_pair(text, |id| check_one("pve-bridge-id", id, words)),
        "disk-size" => or(parse_size(text).is_some(), format!("value does not look like a valid disk size: {value}")),
        "dns-name" => looks(is_dns_name(text), "DNS name"),
        "email" => looks(is_email(text), "email address"),
        "ipv4" => looks(text.parse::<Ipv4Addr>().is_ok(), "IPv4 address"),
        "ipv6" => looks(text.parse::<Ipv6Addr>().is_ok(), "IPv6 address"),
        "mac-addr" => looks(is_mac(text), "unicast MAC address"),
        "pve-bridge-id" => {
            let sound = !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c));
            or(sound, format!("invalid bridge ID '{value}'"))
        }
        "pve-configid" => {
            let sound = text.len() >= 2
                && text.starts_with(|c: char| c.is_ascii_alphabetic())
                && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
            or(sound, format!("invalid configuration ID '{value}'"))
        }
        "pve-cpuset" => or(is_cpu_set(text), "unable to parse cpuset option".to_owned()),
        "pve-groupid" => or(is_word_of(text, ".-_"), format!("group name '{value}' contains invalid characters")),
        "pve-hotplug-features" => is_hotplug(text),
        "pve-ipv4-config" => {
            let sound = matches!(text, "dhcp" | "manual") || is_cidr4(text);
            looks(sound, "ipv4 network configuration")
        }
        "pve-ipv6-config" => {
            let sound = matches!(text, "auto" | "dhcp" | "manual") || is_cidr6(text);
            looks(sound, "ipv6 network configuration")
        }
        "pve-node" => looks(is_node_name(text), "node name"),
        "pve-phys-bits" => {
            let number = text.len() <= 2 && text.parse::<u8>().is_ok_and(|bits| (8..=64).contains(&bits));
            or(number || text == "host", "value must be an integer between 8 and 64 or 'host'".to_owned())
        }
        "pve-poolid" => check_pool(text),
        "pve-priv" => or(words.holds("privileges", text), format!("invalid privilege '{value}'")),
        "pve-qm-bootdev" => or(is_boot_device(text), format!("invalid boot device '{value}'")),
        "pve-qm-bootdisk" => or(is_drive(text), format!("invalid boot disk '{value}'")),
        "pve-realm" => looks(is_realm(text), "realm"),
        "pve-roleid" => or(is_word_of(text, ".-_"), format!("role name '{value}' contains invalid characters")),
        "pve-startup-order" => or(is_startup_order(text), "unable to parse startup options".to_owned()),
        "pve-storage-content" => {
            let known = ["images", "rootdir", "vztmpl", "iso", "backup", "snippets", "none", "import"];
            or(known.contains(&text), format!("invalid content type '{value}'"))
        }
        "pve-storage-id" => check_storage_id(text),
        "pve-tag" => {
            let sound = is_word_of(text, "_-+.") && !text.starts_with(['-', '+', '.']);
            or(sound, "invalid characters in tag".to_owned())
        }
        "pve-task-status-type" => {
            let known = ["ok", "error", "warning", "unknown"];
            or(known.iter().any(|word| word.eq_ignore_ascii_case(text)), format!("invalid status '{value}'"))
        }
        "pve-tokenid" => or(is_token(text), format!("value '{value}' does not look like a valid token ID")),
        "pve-userid" => check_user(text),
        "pve-vmid" => {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            looks(digits && (3..=9).contains(&text.len()) && !text.starts_with('0'), "VM ID")
        }
        "pve-volume-id" => or(is_volume_id(text), format!("unable to parse volume ID '{value}'")),
        "pve-volume-id-or-absolute-path" => {
            or(text.starts_with('/') || is_volume_id(text), format!("unable to parse volume ID '{value}'"))
        }
        "pve-volume-id-or-qm-path" => {
            let sound = matches!(text, "none" | "cdrom") || text.starts_with('/') || is_volume_id(text);
            or(sound, format!("unable to parse volume ID '{value}'"))
        }
        "storage-pair" => check_pair(text, |id| check_one("pve-storage-id", id, words)),
        "urlencoded" => {
            let sound = text.is_empty() || is_word_of(text, "-%_.!~*'()");
            or(sound, format!("invalid urlencoded string: {value}"))
        }
        _ => Err(format!("undefined format '{name}'\n")),
    }
}

/// Whether the name is one that [`check`] knows; the tables are held against this.
pub(crate) fn is_known(name: &str) -> bool {
    let name = name.strip_suffix("-list").or_else(|| name.strip_suffix("-opt")).unwrap_or(name);
    !matches!(check_one(name, "", &Words::default()), Err(error) if error.starts_with("undefined format"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, value: &str) -> Result<(), String> {
        super::check(name, value, &Words::default())
    }

    #[test]
    fn names_and_ids() {
        assert_eq!(check("pve-vmid", "100"), Ok(()));
        assert_eq!(check("pve-vmid", "99").unwrap_err(), "value does not look like a valid VM ID\n");
        assert_eq!(check("dns-name", "Abc.Example.org"), Ok(()));
        assert!(check("dns-name", "a.b.").is_err());
        assert!(check("dns-name", "a_b").is_err());
        assert_eq!(check("dns-name", "a\n"), Ok(()), "Perl's `$` stands before a last line break");
        assert_eq!(check("pve-userid", "root@pam"), Ok(()));
        assert_eq!(check("pve-tokenid", "fedi@pve!pool"), Ok(()));
        assert!(check("pve-poolid", "a b").is_err());
        assert!(check("pve-configid", "1 bad").is_err());
    }

    #[test]
    fn networks() {
        assert_eq!(check("pve-ipv4-config", "10.0.0.11/24"), Ok(()));
        assert!(check("pve-ipv4-config", "10.0.0.1").is_err());
        assert!(check("pve-ipv4-config", "10.0.0.1/33").is_err());
        assert_eq!(check("pve-ipv6-config", "2001:db8::1/64"), Ok(()));
        assert_eq!(check("pve-ipv6-config", "auto"), Ok(()));
        assert!(check("mac-addr", "01:00:00:00:00:01").is_err());
        assert_eq!(check("mac-addr", "BC:24:11:00:00:01"), Ok(()));
    }

    #[test]
    fn lists() {
        assert_eq!(check("pve-tag-list", "a b;c,d"), Ok(()));
        assert_eq!(check("pve-tag-list", ""), Ok(()));
        assert_eq!(check("pve-tag-list", "a!b").unwrap_err(), "invalid characters in tag\n");
        assert_eq!(split_list(" a, b;;c "), ["a", "b", "c"]);
        assert_eq!(split_list("a b\0c"), ["a b", "c"]);
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_size("5G"), Some(5 << 30));
        assert_eq!(parse_size("1.5K"), Some(1536));
        assert_eq!(parse_size("5GiB"), Some(5 << 30));
        for wrong in ["", "G", "5X", "-5G", "1.", ".5", "5iB", "99999999999999999999"] {
            assert_eq!(parse_size(wrong), None, "{wrong}");
        }
        assert_eq!(format_size(5 << 30), "5G");
        assert_eq!(format_size(1000), "1000");
        assert_eq!(format_size(0), "0T");
    }

    proptest::proptest! {
        #[test]
        fn a_printed_size_is_read_back(bytes in 0..=u64::MAX / 2) {
            proptest::prop_assert_eq!(parse_size(&format_size(bytes)), Some(bytes));
        }
    }
}
