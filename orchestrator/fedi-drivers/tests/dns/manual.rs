//! By the operator's hands, which here are the test's.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use fedi_drivers::dns::ManualDns;
use fedi_engine::drivers::{Dns, DriverErrorKind};
use fedi_model::resource::Records;
use octodns_client::testing::Pdns;

use crate::conformance::{Case, conforms};
use crate::world::{TestStep, ZONE, host, records, server, settings, write_by_hand};

fn driver(pdns: &Pdns) -> ManualDns {
    ManualDns::new(host(), settings(pdns, None)).with_port(pdns.dns().port()).with_patience(Duration::from_secs(20))
}

#[tokio::test]
async fn it_conforms() -> Result<()> {
    let Some(pdns) = server()? else { return Ok(()) };
    let driver = driver(&pdns);
    conforms(&Case { driver: &driver, pdns: &pdns, hands: &|notice| follow(&pdns, notice) }).await
}

/// Does what the instructions say, line by line, as an operator would who knows nothing
/// else.
fn follow(pdns: &Pdns, notice: &str) -> Result<()> {
    let mut sets: BTreeMap<(String, String), (u32, Vec<String>)> = BTreeMap::new();
    for line in notice.lines().skip(1) {
        let (verb, record) = line.trim().split_once(": ").context("a verb and a record")?;
        let [name, ttl, "IN", kind, value] = record.splitn(5, ' ').collect::<Vec<_>>()[..] else {
            bail!("not a zone file line: {record}");
        };
        let name = name.strip_suffix('.').context("an absolute name")?;
        let set = sets.entry((name.to_owned(), kind.to_owned())).or_insert((ttl.parse()?, Vec::new()));
        if verb != "remove" {
            set.1.push(value.to_owned());
        }
    }
    for ((name, kind), (ttl, values)) in sets {
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        pdns.set(ZONE, &name, &kind, ttl, &values)?;
    }
    Ok(())
}

#[tokio::test]
async fn it_says_what_to_write() -> Result<()> {
    let Some(pdns) = server()? else { return Ok(()) };
    let driver = driver(&pdns);
    write_by_hand(&pdns, &records(&[("matrix", "A", &["198.51.100.7"]), ("matrix", "TXT", &["old; one"])]))?;
    let wanted = records(&[
        ("", "CAA", &["0 issue \"ca.example.test\""]),
        ("_matrix-fed._tcp", "SRV", &["0 10 8448 matrix.example.test"]),
        ("matrix", "A", &["192.0.2.10", "192.0.2.11"]),
    ]);
    let owned = records(&[("matrix", "TXT", &["old; one"]), ("never", "A", &["192.0.2.1"])]);
    let step = TestStep::default();
    driver.ensure(&wanted, Some(&owned), &step).await?;
    assert_eq!(
        step.said(),
        ["Edit the DNS zone `example.test` of `matrix`:\n  \
          add: example.test. 300 IN CAA 0 issue \"ca.example.test\"\n  \
          add: _matrix-fed._tcp.example.test. 300 IN SRV 0 10 8448 matrix.example.test.\n  \
          change (now 198.51.100.7): matrix.example.test. 300 IN A 192.0.2.10\n  \
          change (now 198.51.100.7): matrix.example.test. 300 IN A 192.0.2.11\n  \
          remove: matrix.example.test. 300 IN TXT \"old; one\""]
    );
    Ok(())
}

#[tokio::test]
async fn it_tells_how_far_it_is_and_waits() -> Result<()> {
    let Some(pdns) = server()? else { return Ok(()) };
    let driver = driver(&pdns);
    let wanted = records(&[("matrix", "A", &["192.0.2.10"]), ("matrix", "AAAA", &["2001:db8::1"])]);
    let step = TestStep::default();
    let operator = async {
        for set in &wanted.sets {
            let before = step.progress_told().len();
            while step.progress_told().len() == before {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            write_by_hand(&pdns, &Records { sets: vec![set.clone()], ..wanted.clone() })?;
        }
        anyhow::Ok(())
    };
    let (outcome, edited) = tokio::join!(driver.await_visible(&wanted, &step), operator);
    outcome?;
    edited?;
    let told = step.progress_told();
    assert_eq!((told[0].1, told[0].2), (Some(0), Some(2)));
    assert!(told[0].0.starts_with("`matrix.example.test A` on 127.0.0.1:"), "{told:?}");
    assert!(told[0].0.ends_with(": no such name"), "{told:?}");
    assert_eq!(told.last().map(|last| last.1), Some(Some(1)));
    Ok(())
}

#[tokio::test]
async fn waiting_can_be_stopped_and_ends() -> Result<()> {
    let Some(pdns) = server()? else { return Ok(()) };
    let wanted = records(&[("matrix", "A", &["192.0.2.10"])]);
    let step = TestStep::default();
    let interrupt = async {
        while step.progress_told().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        step.interrupt();
    };
    let patient = driver(&pdns);
    let (outcome, ()) = tokio::join!(patient.await_visible(&wanted, &step), interrupt);
    assert_eq!(outcome.unwrap_err().kind, DriverErrorKind::Interrupted);

    let hasty = driver(&pdns).with_patience(Duration::from_millis(200));
    let error = hasty.await_visible(&wanted, &TestStep::default()).await.unwrap_err();
    assert_eq!(error.kind, DriverErrorKind::Unavailable);
    assert!(error.causes[0].contains("no such name"), "{error:?}");
    assert_eq!(error.hint.as_deref(), Some("Edit the zone as shown, then run `fedi run resume`"));
    Ok(())
}
