//! From what a manifest asks of DNS to record sets in the zones of a host.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use fedi_model::inventory::{Deployment, HostFile, Zone};
use fedi_model::manifest::{App, RecordValue};
use fedi_model::name::Domain;
use fedi_model::resource::{RecordSet, Records};

use crate::refusal::Refusal;

/// The zone that `name` lies in: the longest that fits.
pub fn zone_of<'a>(host: &'a HostFile, name: &Domain) -> Option<&'a Zone> {
    let zones = host.dns.zones.iter().filter(|zone| name.is_within(&zone.name));
    zones.max_by_key(|zone| zone.name.as_str().len())
}

/// The record sets of a deployment, one [`Records`] a zone, sorted and merged; or
/// everything that stands in the way.
pub(crate) fn records(
    deployment: &Deployment,
    host: &HostFile,
    app: &App,
    addresses: &[IpAddr],
) -> Result<Vec<Records>, Vec<Refusal>> {
    let mut refusals = BTreeMap::new();
    // By zone, then by name and type: the values.
    let mut sets: BTreeMap<Domain, BTreeMap<(String, String), BTreeSet<String>>> = BTreeMap::new();
    let outside = |name: &str| Refusal::OutsideZones {
        name: name.to_owned(),
        host: deployment.host.clone(),
        zones: host.dns.zones.iter().map(|zone| zone.name.clone()).collect(),
    };
    let mut add = |name: &str, kind: &str, value: String| {
        let found = relative_name(host, name);
        match found {
            Some((zone, label)) => {
                let set = sets.entry(zone.clone()).or_default().entry((label, kind.to_owned())).or_default();
                set.insert(value);
            }
            None => {
                refusals.insert(name.to_owned(), outside(name));
            }
        }
    };

    for record in &app.records {
        let name = record.name.as_str();
        match &record.value {
            RecordValue::Address => {
                for address in addresses {
                    add(name, if address.is_ipv4() { "A" } else { "AAAA" }, address.to_string());
                }
            }
            RecordValue::Cname(target) => add(name, "CNAME", target.clone()),
            RecordValue::Srv { priority, weight, port, target } => {
                add(name, "SRV", format!("{priority} {weight} {port} {target}"));
            }
            RecordValue::Txt(text) => add(name, "TXT", text.clone()),
            RecordValue::Caa { flags, tag, value } => add(name, "CAA", format!("{flags} {tag} \"{value}\"")),
            RecordValue::Mx { preference, exchange } => add(name, "MX", format!("{preference} {exchange}")),
        }
    }
    let mut no_issuer = None;
    if deployment.file.dns.caa {
        match &host.dns.caa_issuer {
            Some(issuer) => add(deployment.domain().as_str(), "CAA", format!("0 issue \"{issuer}\"")),
            None => no_issuer = Some(Refusal::NoCaaIssuer { host: deployment.host.clone() }),
        }
    }
    // Whether or not the manifest has a record of that name, people will look for it.
    if zone_of(host, deployment.domain()).is_none() {
        let name = deployment.domain().as_str();
        refusals.insert(name.to_owned(), outside(name));
    }

    let mut refusals: Vec<Refusal> = refusals.into_values().chain(no_issuer).collect();
    refusals.extend(aliases_in_the_way(&sets));
    if !refusals.is_empty() {
        return Err(refusals);
    }
    let records = sets.into_iter().map(|(zone, sets)| {
        let ttl = host.dns.ttl_in(&zone);
        let sets = sets.into_iter().map(|((name, kind), values)| {
            let values = values.into_iter().collect();
            RecordSet { name, kind, ttl, values }
        });
        let sets = sets.collect();
        Records { deployment: deployment.name.clone(), host: deployment.host.clone(), zone, sets }
    });
    Ok(records.collect())
}

/// The zone of a name that may have labels with an underscore, and what stands before
/// the zone.
fn relative_name<'a>(host: &'a HostFile, name: &str) -> Option<(&'a Domain, String)> {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let below = |zone: &str| {
        if name == zone { Some("") } else { name.strip_suffix(zone)?.strip_suffix('.') }
    };
    let zones = host.dns.zones.iter().map(|zone| &zone.name);
    let fits = zones.filter_map(|zone| below(zone.as_str()).map(|label| (zone, label.to_owned())));
    fits.max_by_key(|(zone, _)| zone.as_str().len())
}

/// A CNAME stands alone at its name, and never at the top of a zone.
fn aliases_in_the_way(sets: &BTreeMap<Domain, BTreeMap<(String, String), BTreeSet<String>>>) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    for (zone, sets) in sets {
        for ((name, kind), values) in sets {
            let alone = sets.keys().filter(|(other, _)| other == name).count() == 1 && values.len() == 1;
            if kind == "CNAME" && (name.is_empty() || !alone) {
                refusals.push(Refusal::AliasInTheWay { name: full_name(name, zone) });
            }
        }
    }
    refusals
}

/// A name below a zone, whole.
pub(crate) fn full_name(name: &str, zone: &Domain) -> String {
    if name.is_empty() { zone.to_string() } else { format!("{name}.{zone}") }
}
