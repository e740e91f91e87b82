//! A zone on a real PowerDNS, a step to work in, and hands that edit the zone.

use std::collections::BTreeMap;
use std::sync::Mutex;

use anyhow::Result;
use async_trait::async_trait;
use fedi_engine::drivers::{DriverError, StepContext};
use fedi_model::inventory::{Dns as DnsSettings, DnsProvider, Zone};
use fedi_model::name::{DeploymentName, Domain, HostName};
use fedi_model::resource::{RecordSet, Records};
use octodns_client::testing::Pdns;
use tokio::sync::Notify;

pub(crate) const ZONE: &str = "example.test";

/// A server with an empty zone; `None`, with a skip said, when it is not installed.
pub(crate) fn server() -> Result<Option<Pdns>> {
    let Some(pdns) = Pdns::start()? else { return Ok(None) };
    pdns.create_zone(ZONE)?;
    Ok(Some(pdns))
}

pub(crate) fn host() -> HostName {
    HostName::new("proxmox1").unwrap()
}

/// What `host.toml` would say of the server, with another API port if given.
pub(crate) fn settings(pdns: &Pdns, port: Option<u16>) -> DnsSettings {
    let provider = DnsProvider {
        class: "octodns_powerdns.PowerDnsProvider".into(),
        packages: Vec::new(),
        min_ttl: 0,
        settings: BTreeMap::from([
            ("host".into(), pdns.api().ip().to_string().into()),
            ("port".into(), port.unwrap_or(pdns.api().port()).into()),
            ("mode_of_operation".into(), "native".into()),
        ]),
        secrets: BTreeMap::from([("api_key".into(), fedi_model::inventory::Credential::Env("UNUSED".into()))]),
    };
    let zone =
        Zone { name: Domain::new(ZONE).unwrap(), provider: Some("power".into()), servers: vec![pdns.dns().ip()] };
    DnsSettings { zones: vec![zone], providers: BTreeMap::from([("power".into(), provider)]), ..DnsSettings::default() }
}

pub(crate) fn records(sets: &[(&str, &str, &[&str])]) -> Records {
    let set = |(name, kind, values): &(&str, &str, &[&str])| RecordSet {
        name: (*name).to_owned(),
        kind: (*kind).to_owned(),
        ttl: 300,
        values: values.iter().map(|value| (*value).to_owned()).collect(),
    };
    Records {
        deployment: DeploymentName::new("matrix").unwrap(),
        host: host(),
        zone: Domain::new(ZONE).unwrap(),
        sets: sets.iter().map(set).collect(),
    }
}

/// Writes `records` into the zone by hand.
pub(crate) fn write_by_hand(pdns: &Pdns, records: &Records) -> Result<()> {
    for set in &records.sets {
        let dotted = |value: &String| match set.kind.as_str() {
            "CNAME" | "SRV" | "MX" => format!("{value}."),
            "TXT" => format!("\"{value}\""),
            _ => value.clone(),
        };
        let values: Vec<String> = set.values.iter().map(dotted).collect();
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        pdns.set(ZONE, &whole(&set.name), &set.kind, set.ttl, &values)?;
    }
    Ok(())
}

fn whole(name: &str) -> String {
    if name.is_empty() { ZONE.to_owned() } else { format!("{name}.{ZONE}") }
}

/// What was said, and how many are done of how many.
pub(crate) type Progress = (String, Option<u64>, Option<u64>);

/// A step whose notes outlive a try, as the journal's do.
#[derive(Debug, Default)]
pub(crate) struct TestStep {
    notes: Mutex<BTreeMap<String, String>>,
    said: Mutex<Vec<String>>,
    progress: Mutex<Vec<Progress>>,
    stop: Notify,
}

impl TestStep {
    pub(crate) fn said(&self) -> Vec<String> {
        std::mem::take(&mut self.said.lock().unwrap())
    }

    pub(crate) fn progress_told(&self) -> Vec<Progress> {
        self.progress.lock().unwrap().clone()
    }

    pub(crate) fn interrupt(&self) {
        self.stop.notify_one();
    }
}

#[async_trait]
impl StepContext for TestStep {
    fn key(&self) -> &'static str {
        "run/names"
    }

    async fn note(&self, key: &str, value: &str) -> Result<(), DriverError> {
        self.notes.lock().unwrap().insert(key.to_owned(), value.to_owned());
        Ok(())
    }

    async fn recall(&self, key: &str) -> Option<String> {
        self.notes.lock().unwrap().get(key).cloned()
    }

    fn progress(&self, message: &str, done: Option<u64>, total: Option<u64>) {
        self.progress.lock().unwrap().push((message.to_owned(), done, total));
    }

    fn notice(&self, message: &str) {
        self.said.lock().unwrap().push(message.to_owned());
    }

    async fn interrupted(&self) {
        self.stop.notified().await;
    }
}
