//! From a manifest's wishes to record sets.

use fedi_model::manifest::{Record, RecordValue};
use fedi_model::resource::{Records, Resource};
use fedi_plan::Refusal;

use crate::world::{World, domain, empty_world};

fn with(records: &[(&str, RecordValue)]) -> World {
    let mut world = empty_world();
    let app = world.manifest.apps.values_mut().next().unwrap();
    let records = records.iter().map(|(name, value)| Record { name: (*name).to_owned(), value: value.clone() });
    app.records = records.collect();
    world
}

/// `zone name kind values`, a line a set.
#[track_caller]
fn check(world: &World, expected: &[&str]) {
    let desired = fedi_plan::desired(&world.inputs(), &world.known).unwrap();
    let all = desired.into_iter().filter_map(|it| if let Resource::Records(it) = it { Some(it) } else { None });
    let lines = |records: Records| -> Vec<String> {
        let zone = records.zone.clone();
        let line = |set: &fedi_model::resource::RecordSet| {
            format!("{zone} [{}] {} {}", set.name, set.kind, set.values.join(" | "))
        };
        records.sets.iter().map(line).collect()
    };
    assert_eq!(all.flat_map(lines).collect::<Vec<_>>(), expected);
}

#[test]
fn every_kind() {
    let srv = |port| RecordValue::Srv { priority: 10, weight: 5, port, target: "matrix.example.test".to_owned() };
    let world = with(&[
        ("matrix.example.test", RecordValue::Address),
        ("example.test", RecordValue::Mx { preference: 10, exchange: "mail.example.test".to_owned() }),
        ("www.example.test", RecordValue::Cname("matrix.example.test".to_owned())),
        ("_matrix-fed._tcp.example.test", srv(8448)),
        ("_matrix-fed._tcp.example.test", srv(443)),
        ("example.test", RecordValue::Txt("v=spf1 -all".to_owned())),
        ("a.sub.example.test", RecordValue::Address),
    ]);
    check(
        &world,
        &[
            "example.test [] MX 10 mail.example.test",
            "example.test [] TXT v=spf1 -all",
            "example.test [_matrix-fed._tcp] SRV 10 5 443 matrix.example.test | 10 5 8448 matrix.example.test",
            "example.test [matrix] A 10.78.1.10",
            "example.test [matrix] AAAA fd78:1::10",
            "example.test [www] CNAME matrix.example.test",
            "sub.example.test [a] A 10.78.1.10",
            "sub.example.test [a] AAAA fd78:1::10",
        ],
    );
}

#[test]
fn caa_where_asked_for() {
    let mut world = with(&[
        ("matrix.example.test", RecordValue::Address),
        (
            "matrix.example.test",
            RecordValue::Caa { flags: 0, tag: "iodef".to_owned(), value: "mailto:a@example.test".to_owned() },
        ),
    ]);
    world.deployment.file.dns.caa = true;
    check(
        &world,
        &[
            "example.test [matrix] A 10.78.1.10",
            "example.test [matrix] AAAA fd78:1::10",
            "example.test [matrix] CAA 0 iodef \"mailto:a@example.test\" | 0 issue \"ca.test\"",
        ],
    );
}

#[test]
fn a_provider_may_want_a_longer_time_to_live() {
    let ttl = |min_ttl: u32, ttl: u32| {
        let mut world = with(&[("matrix.example.test", RecordValue::Address)]);
        world.host.dns.ttl = ttl;
        world.host.dns.providers.values_mut().next().unwrap().min_ttl = min_ttl;
        let desired = fedi_plan::desired(&world.inputs(), &world.known).unwrap();
        let records = desired.into_iter().find_map(|it| if let Resource::Records(it) = it { Some(it) } else { None });
        records.unwrap().sets[0].ttl
    };
    assert_eq!(ttl(0, 300), 300);
    assert_eq!(ttl(3600, 300), 3600);
    assert_eq!(ttl(3600, 7200), 7200);
}

#[test]
fn the_longest_zone_counts() {
    let world = empty_world();
    let zone = |name: &str| fedi_plan::zone_of(&world.host, &domain(name)).map(|zone| zone.name.to_string());
    assert_eq!(zone("a.sub.example.test").as_deref(), Some("sub.example.test"));
    assert_eq!(zone("sub.example.test").as_deref(), Some("sub.example.test"));
    assert_eq!(zone("example.test").as_deref(), Some("example.test"));
    assert_eq!(zone("example.org"), None);
}

#[test]
fn an_alias_stands_alone() {
    let alias = |name: &'static str| (name, RecordValue::Cname("other.example.test".to_owned()));
    for records in
        [vec![alias("matrix.example.test"), ("matrix.example.test", RecordValue::Address)], vec![alias("example.test")]]
    {
        let refusals = with(&records).plan().unwrap_err().refusals;
        assert!(matches!(refusals.as_slice(), [Refusal::AliasInTheWay { .. }]), "{refusals:?}");
    }
}

#[test]
fn every_name_outside_the_zones_is_told() {
    let world = with(&[("a.example.org", RecordValue::Address), ("b.example.org", RecordValue::Txt("x".to_owned()))]);
    let refusals = world.plan().unwrap_err().refusals;
    let texts: Vec<_> = refusals.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        ["`a.example.org` lies in no zone of host `proxmox1`", "`b.example.org` lies in no zone of host `proxmox1`",]
    );
}
