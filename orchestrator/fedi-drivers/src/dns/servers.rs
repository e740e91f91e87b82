//! What the authoritative servers of a host's zones say, and waiting for it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use fedi_engine::drivers::{DriverError, DriverErrorKind, StepContext};
use fedi_model::inventory::Dns as DnsSettings;
use fedi_model::name::{Domain, HostName};
use fedi_model::resource::Records;
use octodns_client::authoritative::{Answer, Authoritative, Expected, Seen, Unseen, WaitOptions};
use octodns_client::{RecordKey, RecordSet, ZoneName};
use tokio::sync::Mutex;

use super::convert::{Sets, found};

/// The zones of a host and who answers for them.
pub(super) struct Servers {
    host: HostName,
    settings: DnsSettings,
    port: u16,
    /// Looked up once for each zone that names none.
    discovered: Mutex<BTreeMap<Domain, Authoritative>>,
}

impl Servers {
    pub(super) fn new(host: HostName, settings: DnsSettings) -> Self {
        Self { host, settings, port: 53, discovered: Mutex::default() }
    }

    /// Asks at another port than 53.
    pub(super) fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    pub(super) fn settings(&self) -> &DnsSettings {
        &self.settings
    }

    pub(super) fn host(&self) -> &HostName {
        &self.host
    }

    async fn of(&self, zone: &Domain) -> Result<Authoritative, DriverError> {
        let Some(settings) = self.settings.zones.iter().find(|other| other.name == *zone) else {
            return Err(DriverError::new(
                DriverErrorKind::Invalid,
                format!("Host `{}` has no DNS zone `{zone}`", self.host),
            )
            .hint(format!("Add it to `dns.zones` in `hosts/{}/host.toml`", self.host)));
        };
        if !settings.servers.is_empty() {
            return Ok(Authoritative::new(settings.servers.iter().map(|ip| SocketAddr::new(*ip, self.port))));
        }
        let mut discovered = self.discovered.lock().await;
        if let Some(servers) = discovered.get(zone) {
            return Ok(servers.clone());
        }
        let failed = |error: &(dyn std::error::Error + 'static)| {
            DriverError::new(DriverErrorKind::Unavailable, format!("Failed to find the name servers of `{zone}`"))
                .because(error)
                .hint(format!("Name them as `servers` of the zone in `hosts/{}/host.toml`", self.host))
        };
        let name = ZoneName::new(zone.as_str()).map_err(|error| failed(&error))?;
        let servers = Authoritative::discover(&name).await.map_err(|error| failed(&error))?;
        discovered.insert(zone.clone(), servers.clone());
        Ok(servers)
    }

    /// Those of the pairs of `records` that exist, as the servers have them.
    ///
    /// Where servers differ, what is not as in `records` counts. A server that does not
    /// answer does not count while another does.
    pub(super) async fn observe(&self, records: &Records) -> Result<Option<Records>, DriverError> {
        let servers = self.of(&records.zone).await?;
        let sets = Sets::new(records)?;
        let mut existing = Vec::new();
        let answers = servers.ask_all(&sets.keys()).await;
        for ((wanted, canonical), seen) in records.sets.iter().zip(&sets.sets).zip(answers) {
            let Some(set) = agreed(&records.zone, canonical, seen)? else { continue };
            if !set.same_values(canonical) && self.is_wildcard(&servers, &sets.zone, &set).await {
                continue;
            }
            existing.push(found(wanted, canonical, &set));
        }
        Ok((!existing.is_empty()).then(|| Records { sets: existing, ..records.clone() }))
    }

    /// Whether the answer only comes from a wildcard above the name (RFC 4592), so that
    /// nothing stands in the way of a record of that name.
    async fn is_wildcard(&self, servers: &Authoritative, zone: &ZoneName, set: &RecordSet) -> bool {
        let mut rest = set.name.as_str();
        while let Some((label, above)) = rest.split_once('.') {
            let Ok(name) = format!("*.{above}").parse() else { return false };
            if label == "*" || !zone.contains(&name) {
                return false;
            }
            let seen = servers.ask(&RecordKey::new(name, set.kind.clone())).await;
            let mut records = seen.iter().filter_map(|seen| seen.answer.as_ref().ok()?.records());
            if let Some(wildcard) = records.next() {
                return wildcard.values == set.values && wildcard.ttl == set.ttl;
            }
            rest = above;
        }
        false
    }

    /// Waits until every server shows what is expected.
    pub(super) async fn wait(
        &self,
        zone: &Domain,
        expected: &[Expected],
        patience: Duration,
        cx: &dyn StepContext,
    ) -> Result<(), DriverError> {
        let servers = self.of(zone).await?;
        let total = (servers.servers().len() * expected.len()) as u64;
        let options = WaitOptions { deadline: patience, ..WaitOptions::default() };
        let progress = |unseen: &[Unseen]| {
            let message = unseen.first().map(ToString::to_string).unwrap_or_default();
            cx.progress(&message, Some(total.saturating_sub(unseen.len() as u64)), Some(total));
        };
        let waited = tokio::select! {
            waited = servers.wait_until_visible(expected, options, progress) => waited,
            () = cx.interrupted() => return Err(interrupted(zone)),
        };
        waited.map(drop).map_err(|error| {
            let mut failed = DriverError::new(
                DriverErrorKind::Unavailable,
                format!("The name servers of `{zone}` do not show the records after {} s", error.waited.as_secs()),
            );
            for unseen in error.unseen.iter().take(5) {
                failed = failed.cause(unseen.to_string());
            }
            failed
        })
    }
}

pub(super) fn interrupted(zone: &Domain) -> DriverError {
    DriverError::new(DriverErrorKind::Interrupted, format!("Stopped waiting for the DNS zone `{zone}`"))
}

/// What the servers say of one pair: the answer that differs from what is wanted, if
/// one does.
fn agreed(zone: &Domain, wanted: &RecordSet, seen: Vec<Seen>) -> Result<Option<RecordSet>, DriverError> {
    let mut failures = Vec::new();
    let mut answers = Vec::new();
    for Seen { server, answer } in seen {
        match answer {
            Ok(Answer::Records(set)) => answers.push(Some(set)),
            Ok(Answer::Alias(_) | Answer::NoData { .. } | Answer::NxDomain { .. }) => answers.push(None),
            Err(error) => failures.push(format!("{server} {error}")),
        }
    }
    let as_wanted = |answer: &Option<RecordSet>| answer.as_ref().is_some_and(|set| set == wanted);
    if let Some(different) = answers.iter().position(|answer| !as_wanted(answer)) {
        return Ok(answers.swap_remove(different));
    }
    if let Some(answer) = answers.pop() {
        return Ok(answer);
    }
    let message = format!("No name server of `{zone}` answers for `{}`", wanted.key());
    let failed = DriverError::new(DriverErrorKind::Unavailable, message)
        .hint("Name servers that can be reached from here are named as `servers` of the zone in host.toml");
    Err(failures.into_iter().fold(failed, DriverError::cause))
}

#[cfg(test)]
mod tests {
    use super::*;
    use octodns_client::RecordType;
    use octodns_client::authoritative::QueryError;

    fn set(value: &str) -> RecordSet {
        RecordSet::new("m.example.test".parse().unwrap(), RecordType::A, 300, [value]).unwrap()
    }

    fn seen(answers: Vec<Result<Answer, QueryError>>) -> Vec<Seen> {
        answers.into_iter().map(|answer| Seen { server: "ns".into(), answer }).collect()
    }

    fn agree(answers: Vec<Result<Answer, QueryError>>) -> Result<Option<RecordSet>, DriverError> {
        agreed(&Domain::new("example.test").unwrap(), &set("192.0.2.1"), seen(answers))
    }

    #[test]
    fn the_server_that_lags_is_believed() {
        let current = || Ok(Answer::Records(set("192.0.2.1")));
        let old = || Ok(Answer::Records(set("192.0.2.9")));
        let none = || Ok(Answer::NxDomain { negative_ttl: None });
        let down = || Err(QueryError::Failed("SERVFAIL".into()));
        assert_eq!(agree(vec![current(), current()]), Ok(Some(set("192.0.2.1"))));
        assert_eq!(agree(vec![current(), old()]), Ok(Some(set("192.0.2.9"))));
        assert_eq!(agree(vec![current(), none()]), Ok(None));
        assert_eq!(agree(vec![down(), current()]), Ok(Some(set("192.0.2.1"))));
        assert_eq!(agree(vec![down()]).unwrap_err().causes, ["ns answers SERVFAIL"]);
    }
}
