//! Values of records in one canonical spelling, checked before octoDNS or a
//! provider ever sees them.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::name::RecordName;
use crate::record::RecordType;

/// Why a text is no value of a record type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is no {kind} value: {why}")]
pub struct InvalidValue {
    pub kind: String,
    pub value: String,
    pub why: String,
}

impl InvalidValue {
    pub(crate) fn new(kind: &RecordType, value: &str, why: impl Into<String>) -> Self {
        Self { kind: kind.to_string(), value: value.to_owned(), why: why.into() }
    }
}

/// The canonical spelling of `text` as a value of `kind`.
///
/// Applying it twice changes nothing more.
pub(crate) fn canonical(kind: &RecordType, text: &str) -> Result<String, InvalidValue> {
    let fail = |why: &str| InvalidValue::new(kind, text, why);
    match kind {
        RecordType::A => match text.trim().parse::<Ipv4Addr>() {
            Ok(address) => Ok(address.to_string()),
            Err(_) => Err(fail("it is no IPv4 address")),
        },
        RecordType::Aaaa => match text.trim().parse::<Ipv6Addr>() {
            Ok(address) => Ok(address.to_string()),
            Err(_) => Err(fail("it is no IPv6 address")),
        },
        RecordType::Cname | RecordType::Ns | RecordType::Ptr => host(text.trim()).map_err(|why| fail(&why)),
        RecordType::Mx => fields(text, 1).and_then(mx).map_err(|why| fail(&why)),
        RecordType::Srv => fields(text, 3).and_then(srv).map_err(|why| fail(&why)),
        RecordType::Caa => caa(text).map_err(|why| fail(&why)),
        RecordType::Txt => txt(text).map_err(|why| fail(&why)),
        RecordType::Https | RecordType::Svcb => svcb(text).map_err(|why| fail(&why)),
        RecordType::Sshfp => hex_tail(text, 2).map_err(|why| fail(&why)),
        RecordType::Tlsa => hex_tail(text, 3).map_err(|why| fail(&why)),
        RecordType::Other(_) => Err(fail("this type is never written")),
    }
}

/// A name that a value points to: absolute whether or not it ends in a dot.
fn host(text: &str) -> Result<String, String> {
    match text {
        // the root: "no service here" in SRV and MX (RFC 2782, RFC 7505)
        "." => Ok(".".to_owned()),
        _ => RecordName::new(text).map(|name| name.fqdn()).map_err(|error| error.to_string()),
    }
}

/// `numbers` numbers of 16 bits, then a name.
fn fields(text: &str, numbers: usize) -> Result<(Vec<u16>, &str), String> {
    let parts: Vec<&str> = text.split_whitespace().collect();
    if parts.len() != numbers + 1 {
        return Err(format!("it needs {numbers} numbers and a name"));
    }
    let parsed: Result<Vec<u16>, _> = parts[..numbers].iter().map(|p| p.parse()).collect();
    parsed.map(|values| (values, parts[numbers])).map_err(|_| "a number is not between 0 and 65535".to_owned())
}

fn mx((numbers, exchange): (Vec<u16>, &str)) -> Result<String, String> {
    Ok(format!("{} {}", numbers[0], host(exchange)?))
}

fn srv((numbers, target): (Vec<u16>, &str)) -> Result<String, String> {
    let [priority, weight, port] = numbers[..] else {
        return Err("it needs priority, weight and port".to_owned());
    };
    Ok(format!("{priority} {weight} {port} {}", host(target)?))
}

/// `<flags> <tag> "<value>"` (RFC 8659); the quotes may be missing.
fn caa(text: &str) -> Result<String, String> {
    let mut parts = text.trim().splitn(3, char::is_whitespace);
    let (Some(flags), Some(tag), Some(value)) = (parts.next(), parts.next(), parts.next()) else {
        return Err("it needs flags, a tag and a value".to_owned());
    };
    let flags: u8 = flags.parse().map_err(|_| "the flags are not 0 to 255")?;
    let tag = tag.to_ascii_lowercase();
    if tag.is_empty() || !tag.chars().all(|c| c.is_ascii_alphanumeric()) {
        return Err("the tag may have only letters and digits".to_owned());
    }
    let value = value.trim();
    let bare = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
    plain_text(bare)?;
    Ok(format!("{flags} {tag} \"{bare}\""))
}

/// Bare text. octoDNS's providers treat quotes and backslashes each in their
/// own way and it carries only ASCII, so these are refused.
fn txt(text: &str) -> Result<String, String> {
    plain_text(text)?;
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    if text.len() > 4000 { Err("it is longer than 4000 characters".to_owned()) } else { Ok(text.to_owned()) }
}

fn plain_text(text: &str) -> Result<(), String> {
    match text.chars().find(|c| !matches!(c, ' '..='~') || matches!(c, '"' | '\\')) {
        Some(bad) => Err(format!("the character {bad:?} cannot be carried safely")),
        None => Ok(()),
    }
}

/// `<priority> <target> <parameters...>` (RFC 9460).
fn svcb(text: &str) -> Result<String, String> {
    let parts: Vec<&str> = text.split_whitespace().collect();
    let [priority, target, parameters @ ..] = &parts[..] else {
        return Err("it needs a priority and a target".to_owned());
    };
    let priority: u16 = priority.parse().map_err(|_| "the priority is not 0 to 65535")?;
    let mut words = vec![priority.to_string(), host(target)?];
    for parameter in parameters {
        words.push(match parameter.split_once('=') {
            // octoDNS writes values bare, other tools quote them or end lists with a comma
            Some((name, value)) => format!("{name}={}", value.trim_matches(['"', ','])),
            None => (*parameter).to_owned(),
        });
    }
    Ok(words.join(" "))
}

/// `numbers` small numbers and hexadecimal digits (RFC 4255, RFC 6698).
fn hex_tail(text: &str, numbers: usize) -> Result<String, String> {
    let parts: Vec<&str> = text.split_whitespace().collect();
    if parts.len() <= numbers {
        return Err(format!("it needs {numbers} numbers and hexadecimal digits"));
    }
    let mut words = Vec::new();
    for part in &parts[..numbers] {
        let number: u8 = part.parse().map_err(|_| "a number is not 0 to 255")?;
        words.push(number.to_string());
    }
    let digits = parts[numbers..].concat().to_ascii_lowercase();
    if !digits.chars().all(|c| c.is_ascii_hexdigit()) {
        return Err("the fingerprint is not hexadecimal".to_owned());
    }
    words.push(digits);
    Ok(words.join(" "))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ok(kind: &RecordType, text: &str) -> String {
        canonical(kind, text).unwrap()
    }

    #[test]
    fn each_type_has_one_spelling() {
        assert_eq!(ok(&RecordType::Aaaa, "2001:DB8:0:0::1"), "2001:db8::1");
        assert_eq!(ok(&RecordType::Cname, "Host.Example.org"), "host.example.org.");
        assert_eq!(ok(&RecordType::Mx, "10  mail.example.org"), "10 mail.example.org.");
        assert_eq!(ok(&RecordType::Srv, "0 10 8448 matrix.example.org."), "0 10 8448 matrix.example.org.");
        assert_eq!(ok(&RecordType::Srv, "0 0 0 ."), "0 0 0 .");
        assert_eq!(
            ok(&RecordType::Caa, "0 issue letsencrypt.org; validationmethods=dns-01"),
            "0 issue \"letsencrypt.org; validationmethods=dns-01\""
        );
        assert_eq!(ok(&RecordType::Txt, "v=DKIM1; k=rsa; p=MIG"), "v=DKIM1; k=rsa; p=MIG");
        assert_eq!(ok(&RecordType::Https, "1 . alpn=\"h2,h3\""), "1 . alpn=h2,h3");
        assert_eq!(ok(&RecordType::Sshfp, "4 2 ABcd ef01"), "4 2 abcdef01");
    }

    #[test]
    fn a_bad_value_says_what_is_wrong() {
        let bad = |kind, text| canonical(&kind, text).unwrap_err().to_string();
        assert_eq!(bad(RecordType::A, "2001:db8::1"), "`2001:db8::1` is no A value: it is no IPv4 address");
        assert_eq!(
            bad(RecordType::Mx, "ten mail.org"),
            "`ten mail.org` is no MX value: a number is not between 0 and 65535"
        );
        for (kind, text) in [
            (RecordType::Cname, "host..org"),
            (RecordType::Srv, "0 0 matrix.org"),
            (RecordType::Caa, "0 issue"),
            (RecordType::Txt, "say \"hi\""),
            (RecordType::Txt, "a\\;b"),
            (RecordType::Txt, "grüße"),
            (RecordType::Tlsa, "3 1 1 xyz"),
            (RecordType::Other("LUA".into()), "A \"x\""),
        ] {
            assert!(canonical(&kind, text).is_err(), "{kind} {text}");
        }
    }

    proptest! {
        #[test]
        fn canonical_never_panics_and_is_stable(text in "\\PC{0,60}", which in 0usize..13) {
            let kinds = [
                "A", "AAAA", "CAA", "CNAME", "HTTPS", "MX", "NS", "PTR", "SRV", "SSHFP", "SVCB",
                "TLSA", "TXT",
            ];
            let kind: RecordType = kinds[which].parse().unwrap();
            if let Ok(first) = canonical(&kind, &text) {
                prop_assert_eq!(canonical(&kind, &first).unwrap(), first);
            }
        }
    }
}
