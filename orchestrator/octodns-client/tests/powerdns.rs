//! Against a real PowerDNS: what is planned, written, refused and left alone.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use anyhow::Result;
use octodns_client::authoritative::{Answer, Authoritative, Expected, WaitOptions};
use octodns_client::testing::{Fault, Pdns, Proxy, is_http_read, is_http_write, process};
use octodns_client::{
    Change, Effect, Error, Limits, Obstacle, OctoDns, Process, Provider, RecordKey, RecordName, RecordSet, RecordType,
    Secret, TtlBounds, ZoneName,
};

const ZONE: &str = "example.test";

/// A PowerDNS with an empty zone, and octoDNS pointed at it.
struct World {
    pdns: Pdns,
    process: Process,
    dns: OctoDns,
    zone: ZoneName,
}

impl World {
    /// `None`, with a skip said, where something is not installed.
    async fn start() -> Result<Option<Self>> {
        let Some(pdns) = Pdns::start()? else {
            return Ok(None);
        };
        let Some(process) = process().await else {
            return Ok(None);
        };
        pdns.create_zone(ZONE)?;
        let dns = OctoDns::new(process.clone(), pdns.provider());
        Ok(Some(Self { pdns, process, dns, zone: ZoneName::new(ZONE)? }))
    }

    fn through(&self, provider: Provider) -> OctoDns {
        OctoDns::new(self.process.clone(), provider)
    }

    async fn put(&self, owned: &[RecordKey], desired: &[RecordSet]) -> Result<Vec<Change>> {
        let plan = self.dns.plan(&self.zone, owned, desired, Limits::default()).await?;
        Ok(self.dns.apply(&plan).await?.changes)
    }

    fn servers(&self) -> Authoritative {
        Authoritative::new([self.pdns.dns()])
    }

    async fn visible(&self, expected: &[Expected]) -> Result<()> {
        let options = WaitOptions { deadline: Duration::from_secs(10), ..WaitOptions::default() };
        self.servers().wait_until_visible(expected, options, |_| ()).await?;
        Ok(())
    }
}

fn set(name: &str, kind: RecordType, values: &[&str]) -> RecordSet {
    let name = match name {
        "" => ZONE.to_owned(),
        _ => format!("{name}.{ZONE}"),
    };
    RecordSet::new(RecordName::new(&name).unwrap(), kind, 300, values).unwrap()
}

fn a(name: &str, address: &str) -> RecordSet {
    set(name, RecordType::A, &[address])
}

fn keys(sets: &[RecordSet]) -> Vec<RecordKey> {
    sets.iter().map(RecordSet::key).collect()
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
async fn a_record_is_created_changed_left_and_removed() -> Result<()> {
    let world = world!();
    let first = a("matrix", "192.0.2.10");
    let owned = [first.key()];

    let plan = world.dns.plan(&world.zone, &[], std::slice::from_ref(&first), Limits::KEEP).await?;
    assert_eq!(lines(&plan.changes), ["+ matrix.example.test 300 A 192.0.2.10"]);
    assert_eq!(world.dns.apply(&plan).await?.changes, plan.changes);
    world.visible(&[Expected::Present(first.clone())]).await?;

    let same = world.dns.plan(&world.zone, &owned, std::slice::from_ref(&first), Limits::KEEP).await?;
    assert!(same.is_noop() && same.token.is_none());
    assert!(world.dns.apply(&same).await?.changes.is_empty());

    let moved = a("matrix", "192.0.2.11");
    let changes = world.put(&owned, std::slice::from_ref(&moved)).await?;
    assert_eq!(lines(&changes), ["~ matrix.example.test 300 A 192.0.2.11 (was 192.0.2.10)"]);

    let sooner = RecordSet { ttl: 60, ..moved };
    let changes = world.put(&owned, std::slice::from_ref(&sooner)).await?;
    assert_eq!(lines(&changes), ["~ matrix.example.test 60 A 192.0.2.11 (ttl was 300)"]);
    assert!(world.dns.read(&world.zone).await?.contains(&sooner));

    let changes = world.put(&owned, &[]).await?;
    assert_eq!(lines(&changes), ["- matrix.example.test 60 A 192.0.2.11"]);
    world.visible(&[Expected::Absent(sooner.key())]).await?;
    world.process.close().await;
    Ok(())
}

#[tokio::test]
async fn every_type_arrives_as_it_was_meant() -> Result<()> {
    let world = world!();
    let long = format!("v=DKIM1; k=rsa; p={}", "MIGfMA0GCSqGSIb3".repeat(24));
    let sets = [
        set("a", RecordType::A, &["192.0.2.1", "192.0.2.2"]),
        set("a", RecordType::Aaaa, &["2001:db8::1"]),
        set(
            "a",
            RecordType::Caa,
            &["0 issue \"ca.example.test; validationmethods=dns-01\"", "128 iodef \"mailto:x@y.z\""],
        ),
        set("alias", RecordType::Cname, &["a.example.test"]),
        set("a", RecordType::Mx, &["10 mail.example.test", "20 mail.example.org"]),
        set("_matrix-fed._tcp", RecordType::Srv, &["0 10 8448 a.example.test"]),
        set("", RecordType::Txt, &["v=spf1 -all", "a; b;c ;d"]),
        set("key._domainkey", RecordType::Txt, &[long.as_str()]),
        set("sub", RecordType::Ns, &["ns.example.org"]),
        set(
            "_443._tcp.a",
            RecordType::Tlsa,
            &["3 1 1 8cb0fc6c527506a053f4f14c8464bebbd6dede2738d11468dd953d7d6a3021f1"],
        ),
        set("a", RecordType::Sshfp, &["4 2 8cb0fc6c527506a053f4f14c8464bebbd6dede2738d11468dd953d7d6a3021f1"]),
        set("https", RecordType::Https, &["1 . alpn=h2,h3"]),
        set("*.pages", RecordType::A, &["192.0.2.3"]),
        set("bücher", RecordType::A, &["192.0.2.4"]),
    ];
    assert_eq!(world.put(&[], &sets).await?.len(), sets.len());

    let again = world.dns.plan(&world.zone, &keys(&sets), &sets, Limits::KEEP).await?;
    assert_eq!(lines(&again.changes), Vec::<String>::new());
    let read = world.dns.read(&world.zone).await?;
    for wanted in &sets {
        assert!(read.contains(wanted), "{wanted} is not in {read:?}");
    }
    // a delegated name is answered with a referral; all else is on the wire as written
    let expected: Vec<Expected> =
        sets.iter().filter(|s| s.kind != RecordType::Ns).cloned().map(Expected::Present).collect();
    world.visible(&expected).await?;
    let asked = world.servers().ask(&set("sub", RecordType::Ns, &["x"]).key()).await;
    assert!(asked[0].answer.is_err(), "{asked:?}");
    Ok(())
}

#[tokio::test]
async fn a_strangers_record_is_a_conflict_and_stays() -> Result<()> {
    let world = world!();
    world.pdns.set(ZONE, "matrix.example.test", "A", 60, &["198.51.100.7"])?;
    world.pdns.set(ZONE, "other.example.test", "TXT", 60, &["\"mine\""])?;
    let wanted = [a("matrix", "192.0.2.10"), a("free", "192.0.2.10")];

    let plan = world.dns.plan(&world.zone, &[], &wanted, Limits::default()).await?;
    assert_eq!(lines(&plan.changes), ["+ free.example.test 300 A 192.0.2.10"]);
    let conflict = &plan.conflicts[0];
    assert_eq!(conflict.to_string(), "`matrix.example.test A` exists with `198.51.100.7` and is not owned");
    assert!(!conflict.identical);
    let error = world.dns.apply(&plan).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "A record in the way is not owned: `matrix.example.test A` exists with `198.51.100.7` and is not owned"
    );
    assert_eq!(world.pdns.get(ZONE, "matrix.example.test", "A")?, ["198.51.100.7"]);
    assert!(world.pdns.get(ZONE, "free.example.test", "A")?.is_empty());

    // removing everything of ours removes nothing of theirs
    world.put(&keys(&wanted[1..]), &[]).await?;
    assert_eq!(world.pdns.get(ZONE, "other.example.test", "TXT")?, ["\"mine\""]);
    Ok(())
}

#[tokio::test]
async fn an_equal_record_is_not_adopted_but_can_be_owned() -> Result<()> {
    let world = world!();
    world.pdns.set(ZONE, "matrix.example.test", "A", 60, &["192.0.2.10"])?;
    let wanted = a("matrix", "192.0.2.10");
    let plan = world.dns.plan(&world.zone, &[], std::slice::from_ref(&wanted), Limits::default()).await?;
    assert!(plan.conflicts[0].identical && plan.token.is_none());
    assert!(matches!(world.dns.apply(&plan).await, Err(Error::Conflict { .. })));

    let changes = world.put(&[wanted.key()], std::slice::from_ref(&wanted)).await?;
    assert_eq!(lines(&changes), ["~ matrix.example.test 300 A 192.0.2.10 (ttl was 60)"]);
    Ok(())
}

#[tokio::test]
async fn what_cannot_stand_beside_a_strangers_record_is_a_conflict() -> Result<()> {
    let world = world!();
    world.pdns.set(ZONE, "www.example.test", "CNAME", 60, &["there.example.org."])?;
    world.pdns.set(ZONE, "busy.example.test", "MX", 60, &["10 mail.example.org."])?;
    world.pdns.set(ZONE, "team.example.test", "NS", 60, &["ns.example.org."])?;
    let wanted = [
        a("www", "192.0.2.1"),
        set("busy", RecordType::Cname, &["a.example.test"]),
        a("team", "192.0.2.1"),
        a("deep.in.team", "192.0.2.1"),
        a("busy.but.free", "192.0.2.1"),
    ];
    let plan = world.dns.plan(&world.zone, &[], &wanted, Limits::default()).await?;
    let found: Vec<(String, Obstacle)> =
        plan.conflicts.iter().map(|c| (c.wanted.name.to_string(), c.obstacle)).collect();
    assert_eq!(
        found,
        [
            ("busy.example.test".into(), Obstacle::Coexists),
            ("deep.in.team.example.test".into(), Obstacle::Delegated),
            ("team.example.test".into(), Obstacle::Delegated),
            ("www.example.test".into(), Obstacle::Coexists),
        ]
    );
    assert_eq!(plan.changes.len(), 1);
    Ok(())
}

#[tokio::test]
async fn an_address_becomes_an_alias_and_back() -> Result<()> {
    let world = world!();
    let address = a("www", "192.0.2.1");
    let alias = set("www", RecordType::Cname, &["a.example.test"]);
    let owned = [address.key(), alias.key()];
    world.put(&[], std::slice::from_ref(&address)).await?;
    assert_eq!(world.put(&owned, std::slice::from_ref(&alias)).await?.len(), 2);
    world.visible(&[Expected::Present(alias)]).await?;
    let asked = world.servers().ask(&address.key()).await;
    assert!(matches!(asked[0].answer, Ok(Answer::Alias(_))), "{asked:?}");
    assert_eq!(world.put(&owned, std::slice::from_ref(&address)).await?.len(), 2);
    world.visible(&[Expected::Present(address)]).await
}

#[tokio::test]
async fn what_changed_after_the_plan_is_drift() -> Result<()> {
    let world = world!();
    let old = a("matrix", "192.0.2.10");
    world.put(&[], std::slice::from_ref(&old)).await?;
    let new = [a("matrix", "192.0.2.11"), a("more", "192.0.2.11")];
    let plan = world.dns.plan(&world.zone, &[old.key()], &new, Limits::default()).await?;
    world.pdns.set(ZONE, "matrix.example.test", "A", 300, &["203.0.113.9"])?;

    let error = world.dns.apply(&plan).await.unwrap_err();
    let Error::Drift { now, .. } = &error else { panic!("{error}") };
    assert!(lines(now).contains(&"~ matrix.example.test 300 A 192.0.2.11 (was 203.0.113.9)".to_owned()), "{now:?}");
    assert_eq!(error.effect(), Effect::Nothing);
    assert_eq!(world.pdns.get(ZONE, "matrix.example.test", "A")?, ["203.0.113.9"]);
    assert!(world.pdns.get(ZONE, "more.example.test", "A")?.is_empty());

    // a stranger's record where one was to be created is a conflict at apply too
    let plan = world.dns.plan(&world.zone, &[], &new[1..], Limits::default()).await?;
    world.pdns.set(ZONE, "more.example.test", "A", 300, &["203.0.113.9"])?;
    assert!(matches!(world.dns.apply(&plan).await, Err(Error::Conflict { .. })));
    Ok(())
}

#[tokio::test]
async fn an_applied_plan_applies_again_by_doing_nothing() -> Result<()> {
    let world = world!();
    let wanted = [a("matrix", "192.0.2.10")];
    let owned = keys(&wanted);
    let plan = world.dns.plan(&world.zone, &owned, &wanted, Limits::default()).await?;
    assert_eq!(world.dns.apply(&plan).await?.changes.len(), 1);
    assert!(world.dns.apply(&plan).await?.changes.is_empty());
    Ok(())
}

#[tokio::test]
async fn too_many_deletes_are_refused() -> Result<()> {
    let world = world!();
    let sets: Vec<RecordSet> = (1..=12).map(|i| a(&format!("r{i}"), "192.0.2.1")).collect();
    world.put(&[], &sets).await?;
    let owned = keys(&sets);
    let error = world.dns.plan(&world.zone, &owned, &sets[..3], Limits::default()).await.unwrap_err();
    let Error::TooMuchChange { records, limit, .. } = &error else { panic!("{error}") };
    assert_eq!((records.len(), *limit), (9, 8));

    // changing them all is no mass deletion, whatever octoDNS's percentages say
    let moved: Vec<RecordSet> = (1..=12).map(|i| a(&format!("r{i}"), "192.0.2.2")).collect();
    assert_eq!(world.put(&owned, &moved).await?.len(), 12);

    let plan = world.dns.plan(&world.zone, &owned, &[], Limits::REMOVE_ALL).await?;
    assert_eq!(world.dns.apply(&plan).await?.changes.len(), 12);
    assert!(world.pdns.has_zone(ZONE)?, "the zone itself stays");
    Ok(())
}

#[tokio::test]
async fn a_wrong_key_is_an_auth_error_without_the_key() -> Result<()> {
    let world = world!();
    let dns = world.through(world.pdns.provider_with_key("not-the-key-at-all"));
    let error = dns.plan(&world.zone, &[], &[a("x", "192.0.2.1")], Limits::default()).await.unwrap_err();
    assert!(matches!(error, Error::Auth { .. }), "{error:?}");
    assert!(!format!("{error:?}").contains("not-the-key-at-all"));
    Ok(())
}

#[tokio::test]
async fn a_missing_zone_is_not_created() -> Result<()> {
    let world = world!();
    let zone = ZoneName::new("missing.test")?;
    let name = RecordName::new("a.missing.test")?;
    let wanted = [RecordSet::new(name, RecordType::A, 300, ["192.0.2.1"])?];
    let error = world.dns.plan(&zone, &[], &wanted, Limits::default()).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error:?}");
    assert!(matches!(world.dns.read(&zone).await, Err(Error::NotFound { .. })));
    assert!(!world.pdns.has_zone("missing.test")?);
    Ok(())
}

#[tokio::test]
async fn a_record_that_cannot_be_is_refused() -> Result<()> {
    let world = world!();
    let both = [a("x", "192.0.2.1"), set("x", RecordType::Cname, &["y.example.test"])];
    let error = world.dns.plan(&world.zone, &[], &both, Limits::default()).await.unwrap_err();
    assert!(matches!(error, Error::Validation { .. }), "{error:?}");
    let outside = RecordSet::new(RecordName::new("a.example.org")?, RecordType::A, 300, ["192.0.2.1"])?;
    let error = world.dns.plan(&world.zone, &[], &[outside], Limits::default()).await.unwrap_err();
    assert_eq!(error.to_string(), "A record was refused: `a.example.org` is not in zone `example.test`");
    Ok(())
}

#[tokio::test]
async fn a_provider_that_is_not_set_up_right_is_said() -> Result<()> {
    let world = world!();
    let plan = async |provider: Provider| {
        let dns = world.through(provider);
        dns.plan(&world.zone, &[], &[a("x", "192.0.2.1")], Limits::default()).await.unwrap_err()
    };
    for provider in [
        Provider::new("octodns_nonesuch.Provider"),
        Provider::new("octodns_powerdns.PowerDnsProvider").setting("host", "127.0.0.1"),
        // would write a zone file of ours alone over everybody's
        Provider::new("octodns_bind.ZoneFileProvider").setting("directory", "/nonexistent"),
        Provider::new("octodns.provider.yaml.YamlProvider").setting("directory", "/nonexistent"),
    ] {
        let error = plan(provider).await;
        assert!(matches!(error, Error::Config { .. }), "{error:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_ttl_outside_the_providers_bounds_is_clamped_and_said() -> Result<()> {
    let world = world!();
    let dns = world.through(world.pdns.provider().ttl_bounds(TtlBounds { min: 3600, max: 86400 }));
    let plan = dns.plan(&world.zone, &[], &[a("x", "192.0.2.1")], Limits::default()).await?;
    assert_eq!(lines(&plan.changes), ["+ x.example.test 3600 A 192.0.2.1"]);
    assert_eq!(plan.notes.len(), 1);
    dns.apply(&plan).await?;
    let again = dns.plan(&world.zone, &keys(&plan.desired), &[a("x", "192.0.2.1")], Limits::default()).await?;
    assert!(again.is_noop());
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_down_is_worth_retrying() -> Result<()> {
    let mut world = world!();
    let wanted = [a("x", "192.0.2.1")];
    let plan = world.dns.plan(&world.zone, &[], &wanted, Limits::default()).await?;
    world.pdns.kill();
    let error = world.dns.apply(&plan).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }) && error.is_retryable(), "{error:?}");
    assert_eq!(error.effect(), Effect::Nothing, "it went down before anything was written");
    world.pdns.restart()?;
    assert_eq!(world.dns.apply(&plan).await?.changes.len(), 1);
    Ok(())
}

/// Applies two changes through a proxy that has `fault` at the write.
async fn interrupted(world: &World, fault: Fault) -> Result<(Error, Proxy)> {
    let proxy = Proxy::start(world.pdns.api(), is_http_write, fault).await?;
    let dns = world.through(world.pdns.provider_at(proxy.address())).timeout(Duration::from_secs(20));
    let wanted = [a("one", "192.0.2.1"), a("two", "192.0.2.2")];
    let plan = dns.plan(&world.zone, &[], &wanted, Limits::default()).await?;
    let error = dns.apply(&plan).await.unwrap_err();
    assert_eq!(proxy.tripped(), 1);
    assert!(error.is_retryable(), "{error:?}");
    Ok((error, proxy))
}

#[tokio::test]
async fn a_lost_write_is_known_to_be_missing() -> Result<()> {
    let world = world!();
    let (error, _proxy) = interrupted(&world, Fault::LoseRequest).await?;
    assert_eq!(error.effect().to_string(), "none of the 2 changes was made");
    let wanted = [a("one", "192.0.2.1"), a("two", "192.0.2.2")];
    assert_eq!(world.put(&keys(&wanted), &wanted).await?.len(), 2);
    Ok(())
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_known_to_be_done() -> Result<()> {
    let world = world!();
    let (error, _proxy) = interrupted(&world, Fault::LoseAnswer).await?;
    assert_eq!(error.effect().to_string(), "all 2 changes were made");
    let wanted = [a("one", "192.0.2.1"), a("two", "192.0.2.2")];
    let plan = world.dns.plan(&world.zone, &keys(&wanted), &wanted, Limits::default()).await?;
    assert!(plan.is_noop());
    Ok(())
}

#[tokio::test]
async fn a_server_that_dies_in_mid_apply_leaves_the_effect_unknown() -> Result<()> {
    let mut world = world!();
    for (fault, left) in [(Fault::LoseRequestAndDie, 2), (Fault::LoseAnswerAndDie, 0)] {
        let (error, proxy) = interrupted(&world, fault).await?;
        assert_eq!(error.effect(), Effect::Unknown);
        assert!(error.hint().is_some_and(|hint| hint.contains("Plan again")));
        world.pdns.kill();
        world.pdns.restart()?;
        proxy.heal();
        let wanted = [a("one", "192.0.2.1"), a("two", "192.0.2.2")];
        let dns = world.through(world.pdns.provider_at(proxy.address()));
        let plan = dns.plan(&world.zone, &keys(&wanted), &wanted, Limits::default()).await?;
        assert_eq!(plan.changes.len(), left, "{fault:?}");
        world.put(&keys(&wanted), &[]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn silence_ends_at_the_deadline_and_the_next_request_works() -> Result<()> {
    let world = world!();
    let proxy = Proxy::start(world.pdns.api(), is_http_read, Fault::Stall).await?;
    let provider = world.pdns.provider_at(proxy.address()).setting("timeout", 1);
    let dns = world.through(provider).timeout(Duration::from_secs(10));
    let error = dns.read(&world.zone).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error:?}");
    assert!(!dns.read(&world.zone).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_caller_that_stops_waiting_gets_no_late_answer() -> Result<()> {
    let world = world!();
    let proxy = Proxy::start(world.pdns.api(), is_http_read, Fault::Stall).await?;
    let stalled = world.through(world.pdns.provider_at(proxy.address()));
    world.process.warm_up().await?;
    let given_up = tokio::time::timeout(Duration::from_millis(300), stalled.read(&world.zone)).await;
    assert!(given_up.is_err());
    assert!(world.dns.read(&world.zone).await?.iter().all(|set| set.kind == RecordType::Ns));
    Ok(())
}

#[tokio::test]
async fn secrets_are_in_no_argument_environment_or_file() -> Result<()> {
    let world = world!();
    let secret = "super-secret-key-0451";
    let proxy = Proxy::start(world.pdns.api(), is_http_read, Fault::Stall).await?;
    let provider = world.pdns.provider_at(proxy.address()).secret("api_key", Secret::new(secret));
    let dns = world.through(provider);
    let zone = world.zone.clone();
    let request = tokio::spawn(async move { dns.read(&zone).await });
    while proxy.tripped() == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut workers = 0;
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let read = |what: &str| std::fs::read(entry.path().join(what)).unwrap_or_default();
        let arguments = String::from_utf8_lossy(&read("cmdline")).into_owned();
        if !arguments.contains("fedi_octodns.py") {
            continue;
        }
        workers += 1;
        assert!(!arguments.contains(secret));
        assert!(!String::from_utf8_lossy(&read("environ")).contains(secret));
        let directory = std::fs::read_link(entry.path().join("cwd"))?;
        for file in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            let text = std::fs::read_to_string(file.path()).unwrap_or_default();
            assert!(!text.contains(secret), "{}", file.path().display());
        }
    }
    request.abort();
    assert!(workers > 0, "no worker was looked at");
    Ok(())
}

#[tokio::test]
async fn one_worker_serves_many_requests_and_ends_when_closed() -> Result<()> {
    let world = world!();
    for round in 0..5 {
        let wanted = a("x", &format!("192.0.2.{round}"));
        world.put(&[wanted.key()], std::slice::from_ref(&wanted)).await?;
    }
    world.process.close().await;
    // and is started again when needed
    assert!(!world.dns.read(&world.zone).await?.is_empty());
    world.process.close().await;
    Ok(())
}
