//! What every DNS driver does.

use anyhow::Result;
use fedi_engine::drivers::Dns;
use fedi_model::resource::Records;
use octodns_client::testing::Pdns;

use crate::world::{TestStep, ZONE, records, write_by_hand};

/// A driver on a server, and what makes its wishes come true.
pub(crate) struct Case<'a> {
    pub(crate) driver: &'a dyn Dns,
    pub(crate) pdns: &'a Pdns,
    /// Does by hand what a notice of the driver asks for; nothing for one that writes.
    pub(crate) hands: &'a (dyn Fn(&str) -> Result<()> + Sync),
}

impl Case<'_> {
    /// Brings `wanted` about; the notices of the driver.
    async fn ensure(&self, wanted: &Records, owned: Option<&Records>) -> Result<Vec<String>> {
        let step = TestStep::default();
        assert_eq!(self.driver.ensure(wanted, owned, &step).await?, *wanted);
        let said = step.said();
        said.iter().try_for_each(|notice| (self.hands)(notice))?;
        self.driver.await_visible(wanted, &step).await?;
        Ok(said)
    }

    async fn remove(&self, owned: &Records) -> Result<()> {
        let step = TestStep::default();
        let by_hand = async {
            loop {
                step.said().iter().try_for_each(|notice| (self.hands)(notice))?;
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            removed = self.driver.remove(owned, &step) => Ok(removed?),
            failed = by_hand => failed,
        }
    }
}

/// Runs the whole suite.
pub(crate) async fn conforms(case: &Case<'_>) -> Result<()> {
    let stranger = records(&[("theirs", "A", &["198.51.100.1"]), ("", "TXT", &["v=spf1 -all"])]);
    write_by_hand(case.pdns, &stranger)?;

    let first = records(&[
        ("_matrix-fed._tcp", "SRV", &["0 10 8448 matrix.example.test"]),
        ("matrix", "A", &["192.0.2.10"]),
        ("matrix", "AAAA", &["2001:db8::10"]),
        ("matrix", "CAA", &["0 issue \"ca.example.test\""]),
    ]);
    assert_eq!(case.driver.observe(&first).await?, None, "nothing is there yet");

    case.ensure(&first, None).await?;
    assert_eq!(case.driver.observe(&first).await?.as_ref(), Some(&first), "what was written is seen, word for word");

    let serial = case.pdns.get(ZONE, ZONE, "SOA")?;
    let said = case.ensure(&first, Some(&first)).await?;
    assert_eq!(case.pdns.get(ZONE, ZONE, "SOA")?, serial, "ensuring what is so changes nothing");
    assert_eq!(said, Vec::<String>::new(), "and asks for nothing");

    let second =
        records(&[("alias", "CNAME", &["matrix.example.test"]), ("matrix", "A", &["192.0.2.10", "192.0.2.11"])]);
    case.ensure(&second, Some(&first)).await?;
    assert_eq!(case.driver.observe(&second).await?.as_ref(), Some(&second));
    let gone = records(&[("matrix", "AAAA", &["2001:db8::10"]), ("matrix", "CAA", &["0 issue \"ca.example.test\""])]);
    assert_eq!(case.driver.observe(&gone).await?, None, "what is owned and not wanted any more goes");

    let drifted = records(&[("matrix", "A", &["203.0.113.5"])]);
    write_by_hand(case.pdns, &drifted)?;
    let seen = case.driver.observe(&second).await?.unwrap();
    assert_eq!(seen.sets[1], drifted.sets[0], "what somebody changed is seen");
    case.ensure(&second, Some(&second)).await?;

    case.remove(&second).await?;
    assert_eq!(case.driver.observe(&second).await?, None);
    case.remove(&second).await?;

    case.ensure(&first, None).await?;
    write_by_hand(case.pdns, &drifted)?;
    case.remove(&first).await?;
    assert_eq!(
        case.driver.observe(&first).await?.as_ref(),
        Some(&drifted),
        "what is no longer as fedi wrote it is somebody's decision"
    );
    assert_eq!(case.driver.observe(&stranger).await?.as_ref(), Some(&stranger), "a stranger's records stay");
    Ok(())
}
