//! Zones and their providers.

use std::collections::{BTreeMap, BTreeSet};

use fedi_model::inventory::{Dns, DnsDriver, DnsProvider};
use fedi_model::name::Domain;

use super::host::credential;
use super::{Findings, at};
use crate::document::Place;
use crate::suggest::suggestion;

pub(super) fn check(dns: &Dns, findings: &mut Findings<'_>) {
    let mut seen = BTreeSet::new();
    for (index, zone) in dns.zones.iter().enumerate() {
        let place = |key: &str| at(&["dns", "zones"]).index(index).key(key);
        if !seen.insert(&zone.name) {
            findings.add(&place("name"), format!("The zone `{}` is there twice", zone.name));
        }
        match (dns.driver, &zone.provider) {
            (DnsDriver::Octodns, None) => findings.add_with_hint(
                &place("name"),
                format!("The zone `{}` has no provider", zone.name),
                "Set `provider` to one of `[dns.providers]`, or `dns.driver = \"manual\"`",
            ),
            (DnsDriver::Octodns, Some(provider)) if !dns.providers.contains_key(provider) => {
                let message = format!("No provider is called `{provider}`");
                let hint = suggestion(provider, dns.providers.keys().map(String::as_str));
                let add = || format!("Describe it in `[dns.providers.{provider}]`");
                findings.add_with_hint(&place("provider"), message, hint.unwrap_or_else(add));
            }
            (DnsDriver::Manual, Some(_)) => findings.add(
                &place("provider"),
                format!("The zone `{}` has a provider, but `dns.driver` is \"manual\"", zone.name),
            ),
            _ => {}
        }
    }
    for (name, provider) in &dns.providers {
        let place = at(&["dns", "providers"]).key(name);
        let is_word = |word: &str| {
            let letter = word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
            letter && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        if !provider.class.contains('.') || !provider.class.split('.').all(is_word) {
            findings.add_with_hint(
                &place.key("class"),
                format!("`{}` is no Python class with its module", provider.class),
                "Write it as in octoDNS' documentation: `octodns_powerdns.PowerDnsProvider`",
            );
        }
        packages(provider, &place, findings);
        for (setting, secret) in &provider.secrets {
            if provider.settings.contains_key(setting) {
                findings.add(
                    &place.key("settings").key(setting),
                    format!("`{setting}` is both a setting and a secret of provider `{name}`"),
                );
            }
            credential(secret, &place.key("secrets").key(setting), findings);
        }
    }
    same_versions(dns, findings);
    for (name, provider) in &dns.providers {
        if provider.min_ttl > 0x7fff_ffff {
            findings
                .add(&at(&["dns", "providers"]).key(name).key("min-ttl"), "`min-ttl` is at most 2147483647 seconds");
        }
    }
    // RFC 2181, section 8.
    if dns.ttl == 0 || dns.ttl > 0x7fff_ffff {
        findings.add(&at(&["dns", "ttl"]), "`dns.ttl` must be between 1 and 2147483647 seconds");
    }
    if let Some(issuer) = &dns.caa_issuer
        && Domain::new(issuer.as_str()).is_err()
    {
        findings.add_with_hint(
            &at(&["dns", "caa-issuer"]),
            format!("`{issuer}` cannot name a certificate authority"),
            "Write the domain that the authority gives for CAA records: `letsencrypt.org`",
        );
    }
}

/// Python modules that are installed without being asked for.
const INSTALLED: [&str; 3] = ["octodns", "octodns_powerdns", "octodns_bind"];

/// The name and the version of `name==version`, as pip takes them (PEP 508, PEP 440):
/// no option, no address, no choice of versions.
fn pinned(package: &str) -> Option<(&str, &str)> {
    let (name, version) = package.split_once("==")?;
    let is_word = |text: &str, more: &str| {
        text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.ends_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
    };
    (is_word(name, "-_.") && is_word(version, ".+!-_")).then_some((name, version))
}

fn packages(provider: &DnsProvider, place: &Place, findings: &mut Findings<'_>) {
    for (index, package) in provider.packages.iter().enumerate() {
        if pinned(package).is_none() {
            findings.add_with_hint(
                &place.key("packages").index(index),
                format!("`{package}` is no package with its version"),
                "Write it as `octodns-desec==1.3.0`",
            );
        }
    }
    let module = provider.class.split('.').next().unwrap_or_default();
    if provider.packages.is_empty() && module.starts_with("octodns_") && !INSTALLED.contains(&module) {
        findings.add_with_hint(
            &place.key("class"),
            format!("Nothing brings the Python module `{module}`"),
            format!("Name its package and a version: `packages = [\"{}==1.0.0\"]`", module.replace('_', "-")),
        );
    }
}

/// All providers of a host share one Python environment.
fn same_versions(dns: &Dns, findings: &mut Findings<'_>) {
    let mut seen: BTreeMap<String, (&str, usize)> = BTreeMap::new();
    for (name, provider) in &dns.providers {
        for (index, package) in provider.packages.iter().enumerate() {
            let Some((package, version)) = pinned(package) else { continue };
            let place = at(&["dns", "providers"]).key(name).key("packages").index(index);
            let line = findings.line(&place);
            let (other, other_line) =
                *seen.entry(package.to_ascii_lowercase().replace(['_', '.'], "-")).or_insert((version, line));
            if other != version {
                let message = format!("`{package}` is wanted as {version} and, in line {other_line}, as {other}");
                findings.add(&place, message);
            }
        }
    }
}
