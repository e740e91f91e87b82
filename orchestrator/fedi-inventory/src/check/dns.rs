//! Zones and their providers.

use std::collections::BTreeSet;

use fedi_model::inventory::{Dns, DnsDriver};
use fedi_model::name::Domain;

use super::host::credential;
use super::{Findings, at};
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
