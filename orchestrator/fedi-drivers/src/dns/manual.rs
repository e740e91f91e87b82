//! Zones that the operator edits: fedi says what to write and waits until the
//! authoritative servers show it.
//!
//! Whose a record is, is here for the operator to decide, so nothing is foreign.

use std::time::Duration;

use async_trait::async_trait;
use fedi_engine::drivers::{Dns, DriverError, StepContext};
use fedi_model::inventory::Dns as DnsSettings;
use fedi_model::name::HostName;
use fedi_model::resource::{RecordSet, Records};
use octodns_client::authoritative::Expected;

use super::convert::{Sets, zone_file_lines};
use super::servers::Servers;

/// People take their time.
const PATIENCE: Duration = Duration::from_secs(3600);

/// The zones of one host, written by hand.
pub struct ManualDns {
    servers: Servers,
    patience: Duration,
}

impl ManualDns {
    /// Asks for changes in the zones of `host`.
    pub fn new(host: HostName, settings: DnsSettings) -> Self {
        Self { servers: Servers::new(host, settings), patience: PATIENCE }
    }

    /// Asks name servers at another port than 53.
    #[must_use]
    pub fn with_port(mut self, port: u16) -> Self {
        self.servers = self.servers.port(port);
        self
    }

    /// How long to wait for the operator.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    async fn wait(&self, records: &Records, expected: &[Expected], cx: &dyn StepContext) -> Result<(), DriverError> {
        let waited = self.servers.wait(&records.zone, expected, self.patience, cx).await;
        waited.map_err(|error| match error.hint {
            None => error.hint("Edit the zone as shown, then run `fedi run resume`"),
            Some(_) => error,
        })
    }
}

#[async_trait]
impl Dns for ManualDns {
    async fn observe(&self, records: &Records) -> Result<Option<Records>, DriverError> {
        self.servers.observe(records).await
    }

    async fn ensure(
        &self,
        records: &Records,
        owned: Option<&Records>,
        cx: &dyn StepContext,
    ) -> Result<Records, DriverError> {
        let found = self.observe(records).await?;
        let found = found.as_ref().map(|found| found.sets.as_slice()).unwrap_or_default();
        let write =
            select(records, |set| !found.iter().any(|other| same_pair(set, other) && other.values == set.values));
        let old = owned.map(|owned| select(owned, |set| !records.sets.iter().any(|other| same_pair(set, other))));
        let remove = match old {
            Some(old) if !old.sets.is_empty() => self.still_ours(&old).await?,
            _ => select(records, |_| false),
        };
        if write.sets.is_empty() && remove.sets.is_empty() {
            return Ok(records.clone());
        }
        cx.notice(&instructions(records, &write, found, &remove)?);
        Ok(records.clone())
    }

    /// Waits, too: what follows gives the address to somebody else.
    async fn remove(&self, owned: &Records, cx: &dyn StepContext) -> Result<(), DriverError> {
        let remove = self.still_ours(owned).await?;
        if remove.sets.is_empty() {
            return Ok(());
        }
        let none = select(owned, |_| false);
        cx.notice(&instructions(owned, &none, &[], &remove)?);
        let expected: Vec<Expected> = Sets::new(&remove)?.keys().into_iter().map(Expected::Absent).collect();
        self.wait(owned, &expected, cx).await
    }

    async fn await_visible(&self, records: &Records, cx: &dyn StepContext) -> Result<(), DriverError> {
        let expected: Vec<Expected> = Sets::new(records)?.sets.into_iter().map(Expected::Present).collect();
        self.wait(records, &expected, cx).await
    }
}

impl ManualDns {
    /// Those of `owned` that are still there with the values fedi asked for.
    async fn still_ours(&self, owned: &Records) -> Result<Records, DriverError> {
        let found = self.observe(owned).await?;
        let found = found.as_ref().map(|found| found.sets.as_slice()).unwrap_or_default();
        Ok(select(owned, |set| found.iter().any(|other| same_pair(set, other) && other.values == set.values)))
    }
}

fn same_pair(one: &RecordSet, other: &RecordSet) -> bool {
    one.name == other.name && one.kind == other.kind
}

fn select(records: &Records, keep: impl Fn(&RecordSet) -> bool) -> Records {
    Records { sets: records.sets.iter().filter(|set| keep(set)).cloned().collect(), ..records.clone() }
}

/// What to do, in lines that a zone file takes.
fn instructions(
    records: &Records,
    write: &Records,
    found: &[RecordSet],
    remove: &Records,
) -> Result<String, DriverError> {
    let mut lines = vec![format!("Edit the DNS zone `{}` of `{}`:", records.zone, records.deployment)];
    for (set, canonical) in write.sets.iter().zip(Sets::new(write)?.sets) {
        let verb = match found.iter().find(|other| same_pair(set, other)) {
            Some(other) => format!("change (now {})", other.values.join(", ")),
            None => "add".to_owned(),
        };
        lines.extend(zone_file_lines(&canonical).into_iter().map(|line| format!("  {verb}: {line}")));
    }
    for canonical in Sets::new(remove)?.sets {
        lines.extend(zone_file_lines(&canonical).into_iter().map(|line| format!("  remove: {line}")));
    }
    Ok(lines.join("\n"))
}
