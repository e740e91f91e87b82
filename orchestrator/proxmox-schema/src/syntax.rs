//! What names, addresses and lists of Proxmox look like; the yes-or-no part of the named formats.

use std::net::{Ipv4Addr, Ipv6Addr};

/// A name that a node may have.
pub(crate) fn is_node_name(text: &str) -> bool {
    is_dns_label(text)
}

pub(crate) fn is_dns_label(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

pub(crate) fn is_dns_name(text: &str) -> bool {
    text.split('.').all(is_dns_label)
}

pub(crate) fn is_ip(text: &str) -> bool {
    text.parse::<Ipv4Addr>().is_ok() || text.parse::<Ipv6Addr>().is_ok()
}

pub(crate) fn is_cidr4(text: &str) -> bool {
    is_cidr(text, |address| address.parse::<Ipv4Addr>().is_ok(), 32)
}

pub(crate) fn is_cidr6(text: &str) -> bool {
    is_cidr(text, |address| address.parse::<Ipv6Addr>().is_ok(), 128)
}

pub(crate) fn is_cidr(text: &str, is_address: fn(&str) -> bool, longest: u32) -> bool {
    let Some((address, length)) = text.split_once('/') else {
        return false;
    };
    let digits = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
    digits && is_address(address) && length.parse().is_ok_and(|length: u32| (8..=longest).contains(&length))
}

pub(crate) fn is_word_of(text: &str, extra: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || extra.as_bytes().contains(&byte))
}

/// A letter, then letters, digits and `extra`, ending in a letter or digit; at least two characters.
pub(crate) fn is_id(text: &str, extra: &str) -> bool {
    text.len() >= 2
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
        && is_word_of(text, extra)
}

pub(crate) fn is_realm(text: &str) -> bool {
    text.len() >= 2 && text.starts_with(|c: char| c.is_ascii_alphabetic()) && is_word_of(text, ".-_")
}

pub(crate) fn is_user(text: &str) -> bool {
    text.rsplit_once('@').is_some_and(|(user, realm)| {
        !user.is_empty() && !user.contains([':', '/']) && !user.contains(char::is_whitespace) && is_realm(realm)
    })
}

pub(crate) fn is_token(text: &str) -> bool {
    text.rsplit_once('!').is_some_and(|(user, token)| is_user(user) && is_realm(token))
}

pub(crate) fn is_mac(text: &str) -> bool {
    let mut bytes = text.split(':');
    let hex = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let unicast = |part: &str| hex(part) && u8::from_str_radix(part, 16).is_ok_and(|byte| byte & 1 == 0);
    bytes.next().is_some_and(unicast) && bytes.clone().count() == 5 && bytes.all(hex)
}

pub(crate) fn is_volume_id(text: &str) -> bool {
    text.split_once(':')
        .is_some_and(|(storage, volume)| is_id(storage, "-_.") && !volume.is_empty() && !volume.contains('\n'))
}

/// `prefix` and a number up to `last`, without leading zeros.
pub(crate) fn is_numbered(text: &str, prefix: &str, last: u16) -> bool {
    text.strip_prefix(prefix)
        .is_some_and(|number| number.parse::<u16>().is_ok_and(|parsed| parsed <= last && parsed.to_string() == number))
}

pub(crate) fn is_drive(text: &str) -> bool {
    text == "efidisk0" || text == "tpmstate0" || is_bootable_drive(text)
}

pub(crate) fn is_bootable_drive(text: &str) -> bool {
    [("ide", 3), ("scsi", 30), ("virtio", 15), ("sata", 5)]
        .iter()
        .any(|(prefix, last)| is_numbered(text, prefix, *last))
}

pub(crate) fn is_boot_device(text: &str) -> bool {
    is_bootable_drive(text)
        || [("net", 31), ("usb", 13), ("hostpci", 15)].iter().any(|(prefix, last)| is_numbered(text, prefix, *last))
}

pub(crate) fn is_startup_order(text: &str) -> bool {
    let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let sound = |part: &str| {
        part.trim().is_empty()
            || number(part)
            || ["order=", "up=", "down="].iter().any(|key| part.strip_prefix(key).is_some_and(number))
    };
    !text.is_empty() && text != "0" && text.split(',').all(sound)
}

pub(crate) fn is_cpu_set(text: &str) -> bool {
    text.split(',').filter(|part| !part.is_empty()).all(|part| {
        let (from, to) = part.trim().split_once('-').unwrap_or((part.trim(), part.trim()));
        matches!((from.parse::<u32>(), to.parse::<u32>()), (Ok(from), Ok(to)) if from <= to)
    })
}

pub(crate) fn is_email(text: &str) -> bool {
    let dotted = |text: &str, extra: &str| text.split('.').all(|part| is_word_of(part, extra));
    text.split_once('@').is_some_and(|(user, host)| dotted(user, "_+-~") && dotted(host, "-"))
}
