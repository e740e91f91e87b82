//! Against a real BIND, over RFC 2136 updates signed with TSIG.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use anyhow::Result;
use octodns_client::authoritative::{Answer, Authoritative, DiscoverError, Expected, QueryError, WaitOptions};
use octodns_client::testing::{Bind, Fault, Proxy, is_dns_update, process};
use octodns_client::{
    Change, Effect, Error, Limits, OctoDns, Process, RecordKey, RecordName, RecordSet, RecordType, ZoneName,
};

const ZONE: &str = "example.test";
const STRANGERS: &str = "taken A 198.51.100.7\nnote TXT \"v=1; mine\"\n";

struct World {
    bind: Bind,
    process: Process,
    dns: OctoDns,
    zone: ZoneName,
}

impl World {
    async fn start() -> Result<Option<Self>> {
        let Some(bind) = Bind::start(ZONE, STRANGERS).await? else {
            return Ok(None);
        };
        let Some(process) = process().await else {
            return Ok(None);
        };
        let dns = OctoDns::new(process.clone(), bind.provider());
        Ok(Some(Self { bind, process, dns, zone: ZoneName::new(ZONE)? }))
    }

    async fn put(&self, owned: &[RecordKey], desired: &[RecordSet]) -> Result<Vec<Change>> {
        let plan = self.dns.plan(&self.zone, owned, desired, Limits::default()).await?;
        Ok(self.dns.apply(&plan).await?.changes)
    }

    async fn visible(&self, expected: &[Expected]) -> Result<()> {
        let options = WaitOptions { deadline: Duration::from_secs(10), ..WaitOptions::default() };
        let servers = Authoritative::new([self.bind.dns()]);
        servers.wait_until_visible(expected, options, |_| ()).await?;
        Ok(())
    }

    /// Writes behind octoDNS's back, as a stranger with the same key would.
    async fn overwrite(&self, set: &RecordSet) -> Result<()> {
        let other = OctoDns::new(self.process.clone(), self.bind.provider());
        let plan = other.plan(&self.zone, &[set.key()], std::slice::from_ref(set), Limits::KEEP).await?;
        other.apply(&plan).await?;
        Ok(())
    }
}

fn set(name: &str, kind: RecordType, values: &[&str]) -> RecordSet {
    let name = RecordName::new(&format!("{name}.{ZONE}")).unwrap();
    RecordSet::new(name, kind, 300, values).unwrap()
}

fn a(name: &str, address: &str) -> RecordSet {
    set(name, RecordType::A, &[address])
}

fn lines(changes: &[Change]) -> Vec<String> {
    changes.iter().map(ToString::to_string).collect()
}

macro_rules! world {
    () => {
        match World::start().await? {
            Some(world) => world,
            None => return Ok(()),
        }
    };
}

#[tokio::test]
async fn records_are_created_changed_left_and_removed() -> Result<()> {
    let world = world!();
    let first = [
        a("matrix", "192.0.2.10"),
        set("matrix", RecordType::Aaaa, &["2001:db8::1", "2001:db8::2"]),
        set("matrix", RecordType::Caa, &["0 issue \"ca.example.test\""]),
        set("key._domainkey", RecordType::Txt, &[format!("v=DKIM1; p={}", "abcdef".repeat(60)).as_str()]),
        set("_matrix-fed._tcp", RecordType::Srv, &["0 10 8448 matrix.example.test"]),
    ];
    let owned: Vec<RecordKey> = first.iter().map(RecordSet::key).collect();
    assert_eq!(world.put(&[], &first).await?.len(), 5);
    world.visible(&first.clone().map(Expected::Present)).await?;
    let again = world.dns.plan(&world.zone, &owned, &first, Limits::KEEP).await?;
    assert_eq!(lines(&again.changes), Vec::<String>::new());

    let mut second = first.clone();
    second[0] = a("matrix", "192.0.2.11");
    second[1] = set("matrix", RecordType::Aaaa, &["2001:db8::2"]);
    second[3] = set("key._domainkey", RecordType::Txt, &["v=DKIM1; p=other"]);
    assert_eq!(world.put(&owned, &second).await?.len(), 3);
    world.visible(&second.map(Expected::Present)).await?;

    assert_eq!(world.put(&owned, &[]).await?.len(), 5);
    world.visible(&owned.clone().into_iter().map(Expected::Absent).collect::<Vec<_>>()).await?;
    let left: Vec<String> = world.dns.read(&world.zone).await?.iter().map(ToString::to_string).collect();
    assert!(left.contains(&"note.example.test 300 TXT \"v=1; mine\"".to_owned()), "{left:?}");
    assert!(left.contains(&"taken.example.test 300 A 198.51.100.7".to_owned()));
    Ok(())
}

#[tokio::test]
async fn a_strangers_record_is_a_conflict() -> Result<()> {
    let world = world!();
    let plan = world.dns.plan(&world.zone, &[], &[a("taken", "192.0.2.1")], Limits::default()).await?;
    assert_eq!(plan.conflicts[0].to_string(), "`taken.example.test A` exists with `198.51.100.7` and is not owned");
    let text = [set("note", RecordType::Txt, &["v=1; mine"])];
    let plan = world.dns.plan(&world.zone, &[], &text, Limits::default()).await?;
    assert!(plan.conflicts[0].identical);
    let error = world.dns.apply(&plan).await.unwrap_err();
    assert!(error.hint().is_some_and(|hint| hint.contains("TXT")), "{error:?}");
    Ok(())
}

#[tokio::test]
async fn what_changed_after_the_plan_is_drift() -> Result<()> {
    let world = world!();
    let old = a("matrix", "192.0.2.10");
    world.put(&[], std::slice::from_ref(&old)).await?;
    let plan = world.dns.plan(&world.zone, &[old.key()], &[a("matrix", "192.0.2.11")], Limits::default()).await?;
    let theirs = a("matrix", "203.0.113.9");
    world.overwrite(&theirs).await?;
    let error = world.dns.apply(&plan).await.unwrap_err();
    assert!(matches!(error, Error::Drift { .. }), "{error:?}");
    world.visible(&[Expected::Present(theirs)]).await
}

/// The checksum is compared right before the update is sent; what slips in
/// between is caught by the server, which is asked to check in the same step.
#[tokio::test]
async fn a_change_between_reading_and_writing_is_refused_by_the_server() -> Result<()> {
    let world = world!();
    let ours = a("matrix", "192.0.2.11");
    let theirs = a("matrix", "203.0.113.9");
    let before = a("matrix", "192.0.2.10");
    for existing in [None, Some(before)] {
        let owned = [ours.key()];
        if let Some(existing) = &existing {
            world.overwrite(existing).await?;
        }
        // held back at the update until the stranger has written
        let proxy = Proxy::start(world.bind.dns(), is_dns_update, Fault::Hold).await?;
        let provider = world.bind.provider().setting("port", proxy.address().port());
        // a worker of its own: one serves one request at a time
        let Some(process) = process().await else {
            return Ok(());
        };
        let slow = OctoDns::new(process, provider);
        let wanted = std::slice::from_ref(&ours);
        let plan = world.dns.plan(&world.zone, &owned, wanted, Limits::default()).await?;
        let applying = async { slow.apply(&plan).await };
        let interfering = async {
            proxy.held().await;
            world.overwrite(&theirs).await?;
            proxy.release();
            anyhow::Ok(())
        };
        let (applied, interfered) = tokio::join!(applying, interfering);
        interfered?;
        assert!(matches!(applied, Err(Error::Drift { .. })), "{applied:?}");
        world.visible(&[Expected::Present(theirs.clone())]).await?;
        world.put(&owned, &[]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_wrong_key_is_an_auth_error() -> Result<()> {
    let world = world!();
    let key = "d3JvbmctdHNpZy1rZXktZm9yLXRoaXMtdGVzdC1vbmx5ISE=";
    let provider = world.bind.provider_with_key(key);
    let dns = OctoDns::new(world.process.clone(), provider.clone());
    let error = dns.read(&world.zone).await.unwrap_err();
    assert!(matches!(error, Error::Auth { .. }), "{error:?}");
    assert!(!format!("{error:?}").contains(key));

    let unknown = provider.setting("key_name", "nobody");
    let error = OctoDns::new(world.process.clone(), unknown).read(&world.zone).await.unwrap_err();
    assert!(matches!(error, Error::Auth { .. }), "{error:?}");

    let garbled = world.bind.provider_with_key("not base64 at all!");
    let error = OctoDns::new(world.process.clone(), garbled).read(&world.zone).await.unwrap_err();
    assert!(!format!("{error:?}").contains("not base64"), "{error:?}");
    Ok(())
}

#[tokio::test]
async fn a_missing_zone_is_not_found() -> Result<()> {
    let world = world!();
    let error = world.dns.read(&ZoneName::new("missing.test")?).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error:?}");
    Ok(())
}

#[tokio::test]
async fn too_many_deletes_are_refused() -> Result<()> {
    let world = world!();
    let sets: Vec<RecordSet> = (1..=9).map(|i| a(&format!("r{i}"), "192.0.2.1")).collect();
    let owned: Vec<RecordKey> = sets.iter().map(RecordSet::key).collect();
    world.put(&[], &sets).await?;
    let error = world.dns.plan(&world.zone, &owned, &[], Limits::default()).await.unwrap_err();
    assert!(matches!(&error, Error::TooMuchChange { records, .. } if records.len() == 9), "{error:?}");
    let plan = world.dns.plan(&world.zone, &owned, &[], Limits::REMOVE_ALL).await?;
    assert_eq!(world.dns.apply(&plan).await?.changes.len(), 9);
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_down_is_worth_retrying() -> Result<()> {
    let mut world = world!();
    let plan = world.dns.plan(&world.zone, &[], &[a("x", "192.0.2.1")], Limits::default()).await?;
    world.bind.kill();
    let error = world.dns.apply(&plan).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }) && error.is_retryable(), "{error:?}");
    assert_eq!(error.effect(), Effect::Nothing);
    Ok(())
}

#[tokio::test]
async fn a_zones_servers_are_found_and_speak_for_it() -> Result<()> {
    let world = world!();
    let found = Authoritative::discover_through(&world.zone, world.bind.dns()).await?;
    let server = &found.servers()[0];
    assert_eq!(server.name, "ns.example.test.");
    assert_eq!(server.addresses, ["127.0.0.1:53".parse()?]);
    let missing = Authoritative::discover_through(&ZoneName::new("missing.test")?, world.bind.dns()).await;
    assert!(matches!(missing, Err(DiscoverError::Lookup { .. })), "{missing:?}");

    let servers = Authoritative::new([world.bind.dns()]);
    let ask = async |name: &str, kind| servers.ask(&RecordKey::new(name.parse().unwrap(), kind)).await.remove(0).answer;
    let negative_ttl = Some(60);
    assert_eq!(ask("taken.example.test", RecordType::Mx).await, Ok(Answer::NoData { negative_ttl }));
    assert_eq!(ask("nothing.example.test", RecordType::A).await, Ok(Answer::NxDomain { negative_ttl }));
    assert_eq!(ask("elsewhere.test", RecordType::A).await, Err(QueryError::Failed("REFUSED".into())));
    Ok(())
}

/// An answer that does not fit into a datagram comes over TCP.
#[tokio::test]
async fn a_large_answer_is_read_whole() -> Result<()> {
    let world = world!();
    let texts: Vec<String> = (0..12).map(|i| format!("{i} {}", "x".repeat(240))).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let large = set("large", RecordType::Txt, &texts);
    world.put(&[], std::slice::from_ref(&large)).await?;
    world.visible(&[Expected::Present(large)]).await
}
