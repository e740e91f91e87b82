//! Through octoDNS.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use fedi_drivers::dns::OctodnsDns;
use fedi_engine::drivers::{Dns, DriverErrorKind};
use octodns_client::testing::{Fault, Pdns, Proxy, is_http_write, process};

use crate::conformance::{Case, conforms};
use crate::world::{TestStep, ZONE, host, records, server, settings, write_by_hand};

/// The driver; `None`, with a skip said, where octoDNS cannot be had.
async fn driver(pdns: &Pdns, port: Option<u16>, key: &str) -> Option<OctodnsDns> {
    let process = process().await?;
    let secrets = BTreeMap::from([(("power".to_owned(), "api_key".to_owned()), key.to_owned())]);
    let driver = OctodnsDns::new(host(), settings(pdns, port), secrets, PathBuf::from("/nonexistent"));
    let patience = Duration::from_secs(20);
    Some(driver.with_process(process).with_port(pdns.dns().port()).with_patience(patience))
}

macro_rules! or_skip {
    ($wanted:expr) => {
        match $wanted {
            Some(there) => there,
            None => return Ok(()),
        }
    };
}

#[tokio::test]
async fn it_conforms() -> Result<()> {
    let pdns = or_skip!(server()?);
    let driver = or_skip!(driver(&pdns, None, pdns.key()).await);
    conforms(&Case { driver: &driver, pdns: &pdns, hands: &|_| Ok(()) }).await
}

#[tokio::test]
async fn a_strangers_record_is_refused_even_where_it_is_equal() -> Result<()> {
    let pdns = or_skip!(server()?);
    let driver = or_skip!(driver(&pdns, None, pdns.key()).await);
    let wanted = records(&[("matrix", "A", &["192.0.2.10"]), ("matrix", "AAAA", &["2001:db8::1"])]);
    for theirs in [["198.51.100.7"], ["192.0.2.10"]] {
        pdns.set(ZONE, "matrix.example.test", "A", 300, &theirs)?;
        let error = driver.ensure(&wanted, None, &TestStep::default()).await.unwrap_err();
        assert_eq!(error.kind, DriverErrorKind::Foreign, "{error:?}");
        assert!(error.causes[0].contains("`matrix.example.test A` exists with"), "{error:?}");
        assert!(error.causes[0].contains(theirs[0]), "{error:?}");
    }
    assert!(pdns.get(ZONE, "matrix.example.test", "AAAA")?.is_empty(), "nothing was half done");
    Ok(())
}

#[tokio::test]
async fn what_a_killed_try_created_is_recognised() -> Result<()> {
    let pdns = or_skip!(server()?);
    // The write gets through and its answer does not: as far as the step knows, it failed.
    let proxy = Proxy::start(pdns.api(), is_http_write, Fault::LoseAnswerAndDie).await?;
    let broken = or_skip!(driver(&pdns, Some(proxy.address().port()), pdns.key()).await);
    let wanted = records(&[("matrix", "A", &["192.0.2.10"])]);
    let step = TestStep::default();
    let error = broken.ensure(&wanted, None, &step).await.unwrap_err();
    assert_eq!(error.kind, DriverErrorKind::Unavailable, "{error:?}");
    assert_eq!(error.left.as_deref(), Some("In the zone, it is not known what was changed"));
    assert_eq!(pdns.get(ZONE, "matrix.example.test", "A")?, ["192.0.2.10"]);

    let driver = or_skip!(driver(&pdns, None, pdns.key()).await);
    let stranger = driver.ensure(&wanted, None, &TestStep::default()).await.unwrap_err();
    assert_eq!(stranger.kind, DriverErrorKind::Foreign, "another step cannot know whose it is");
    driver.ensure(&wanted, None, &step).await?;

    // A note is no licence for what somebody put there since.
    pdns.set(ZONE, "matrix.example.test", "A", 300, &["198.51.100.7"])?;
    let error = driver.ensure(&wanted, None, &step).await.unwrap_err();
    assert_eq!(error.kind, DriverErrorKind::Foreign);
    Ok(())
}

/// Some providers write record by record: a try that gets some of them through, and fails,
/// must not make the next one forget whose they are.
#[tokio::test]
async fn what_two_killed_tries_created_is_recognised() -> Result<()> {
    let pdns = or_skip!(server()?);
    let wanted = records(&[("matrix", "A", &["192.0.2.10"]), ("matrix", "AAAA", &["2001:db8::1"])]);
    let step = TestStep::default();
    for through in [Some(("matrix", "A", ["192.0.2.10"])), None] {
        let proxy = Proxy::start(pdns.api(), is_http_write, Fault::LoseRequestAndDie).await?;
        let broken = or_skip!(driver(&pdns, Some(proxy.address().port()), pdns.key()).await);
        let error = broken.ensure(&wanted, None, &step).await.unwrap_err();
        assert_eq!(error.kind, DriverErrorKind::Unavailable, "{error:?}");
        if let Some((name, kind, values)) = through {
            write_by_hand(&pdns, &records(&[(name, kind, &values)]))?;
        }
    }
    let driver = or_skip!(driver(&pdns, None, pdns.key()).await);
    driver.ensure(&wanted, None, &step).await?;
    assert_eq!(driver.observe(&wanted).await?.as_ref(), Some(&wanted));
    // And all of it can be taken back.
    driver.take_back(&wanted, &step).await?;
    assert_eq!(driver.observe(&wanted).await?, None);
    Ok(())
}

/// What a step never came to create is somebody else's, also where it is equal.
#[tokio::test]
async fn what_was_never_begun_is_not_taken_back() -> Result<()> {
    let mut pdns = or_skip!(server()?);
    let driver = or_skip!(driver(&pdns, None, pdns.key()).await);
    let wanted = records(&[("matrix", "A", &["192.0.2.10"])]);
    write_by_hand(&pdns, &wanted)?;
    let step = TestStep::default();
    assert_eq!(driver.ensure(&wanted, None, &step).await.unwrap_err().kind, DriverErrorKind::Foreign);
    driver.take_back(&wanted, &step).await?;
    assert_eq!(driver.observe(&wanted).await?.as_ref(), Some(&wanted));
    // Nor is the zone needed for that.
    pdns.kill();
    driver.take_back(&wanted, &step).await?;
    Ok(())
}

#[tokio::test]
async fn an_undo_takes_back_what_only_the_notes_know() -> Result<()> {
    let pdns = or_skip!(server()?);
    let driver = or_skip!(driver(&pdns, None, pdns.key()).await);
    let before = records(&[("matrix", "A", &["192.0.2.10"])]);
    driver.ensure(&before, None, &TestStep::default()).await?;
    let step = TestStep::default();
    let after = records(&[("matrix", "A", &["192.0.2.11"]), ("matrix", "AAAA", &["2001:db8::1"])]);
    driver.ensure(&after, Some(&before), &step).await?;
    // The journal still has what was made before.
    driver.ensure(&before, Some(&before), &step).await?;
    assert_eq!(driver.observe(&after).await?, Some(before));
    Ok(())
}

#[tokio::test]
async fn a_wildcard_is_not_somebodys_record() -> Result<()> {
    let pdns = or_skip!(server()?);
    let driver = or_skip!(driver(&pdns, None, pdns.key()).await);
    pdns.set(ZONE, "*.example.test", "A", 300, &["198.51.100.1"])?;
    let wanted = records(&[("deep.matrix", "A", &["192.0.2.10"])]);
    assert_eq!(driver.observe(&wanted).await?, None);
    driver.ensure(&wanted, None, &TestStep::default()).await?;
    assert_eq!(driver.observe(&wanted).await?.as_ref(), Some(&wanted));
    Ok(())
}

#[tokio::test]
async fn errors_say_what_to_do() -> Result<()> {
    let mut pdns = or_skip!(server()?);
    let wanted = records(&[("matrix", "A", &["192.0.2.10"])]);
    let step = TestStep::default();

    let denied = or_skip!(driver(&pdns, None, "wrong-key").await).ensure(&wanted, None, &step).await.unwrap_err();
    assert_eq!(denied.kind, DriverErrorKind::Denied, "{denied:?}");
    assert_eq!(denied.message, "Failed to write records into the DNS zone `example.test`");
    assert!(!format!("{denied:?}").contains("wrong-key"));

    let driver = or_skip!(driver(&pdns, None, pdns.key()).await);
    let elsewhere =
        fedi_model::resource::Records { zone: fedi_model::name::Domain::new("example.org")?, ..wanted.clone() };
    let error = driver.ensure(&elsewhere, None, &step).await.unwrap_err();
    assert_eq!(error.message, "Host `proxmox1` has no DNS zone `example.org`");
    assert!(error.hint.is_some());

    pdns.kill();
    let down = driver.ensure(&wanted, None, &step).await.unwrap_err();
    assert_eq!((down.kind, down.left), (DriverErrorKind::Unavailable, None));
    let unseen = driver.observe(&wanted).await.unwrap_err();
    assert_eq!(unseen.kind, DriverErrorKind::Unavailable);
    assert_eq!(unseen.message, "No name server of `example.test` answers for `matrix.example.test A`");
    Ok(())
}

#[tokio::test]
async fn what_was_changed_by_others_is_left_and_said() -> Result<()> {
    let pdns = or_skip!(server()?);
    let driver = or_skip!(driver(&pdns, None, pdns.key()).await);
    let wanted = records(&[("matrix", "A", &["192.0.2.10"]), ("matrix", "AAAA", &["2001:db8::1"])]);
    driver.ensure(&wanted, None, &TestStep::default()).await?;
    write_by_hand(&pdns, &records(&[("matrix", "A", &["203.0.113.5"])]))?;
    let step = TestStep::default();
    driver.remove(&wanted, &step).await?;
    assert_eq!(step.said(), ["`matrix.example.test 300 A 203.0.113.5` stays in DNS: it is no longer what fedi wrote"]);
    assert!(pdns.get(ZONE, "matrix.example.test", "AAAA")?.is_empty());
    Ok(())
}
