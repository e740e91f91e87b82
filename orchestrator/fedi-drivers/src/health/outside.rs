//! DNS as the authoritative servers have it, TLS, and the application's endpoints.
//!
//! Connections go to the guest's own addresses under the public name, so that a
//! stale cache on the operator's machine neither hides nor fakes a fault; what the
//! world's resolvers see is the DNS check's business.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fedi_engine::drivers::{Check, CheckState, Dns, HealthReport, OutsideProbe};
use fedi_model::manifest::Endpoint;
use fedi_model::name::HostName;
use fedi_model::plan::Probe;
use fedi_model::resource::Records;
use url::Url;

/// The longest that one endpoint may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The largest answer that is looked into, in bytes.
const LONGEST_ANSWER: usize = 1 << 20;

/// Probes over HTTPS with the certificate authorities of the operating system
/// (`SSL_CERT_FILE` replaces them, as everywhere).
pub struct HttpsProbe {
    dns: BTreeMap<HostName, Arc<dyn Dns>>,
}

impl HttpsProbe {
    /// A probe that asks `dns` of the deployment's host for records.
    pub fn new(dns: BTreeMap<HostName, Arc<dyn Dns>>) -> Self {
        Self { dns }
    }

    async fn records(&self, records: &Records) -> Vec<Check> {
        let observed = match self.dns.get(&records.host) {
            Some(dns) => dns.observe(records).await,
            None => return Vec::new(),
        };
        let mut checks = Vec::new();
        for set in &records.sets {
            let name =
                if set.name.is_empty() { records.zone.to_string() } else { format!("{}.{}", set.name, records.zone) };
            let what = format!("DNS {} {name}", set.kind);
            checks.push(match &observed {
                Err(error) => Check::new(what, CheckState::Unknown, causes(&error.message, &error.causes)),
                Ok(found) => {
                    let found = found.as_ref().and_then(|found| {
                        found.sets.iter().find(|other| other.name == set.name && other.kind == set.kind)
                    });
                    match found {
                        Some(found) if found.values == set.values => {
                            Check::new(what, CheckState::Fine, set.values.join(", "))
                        }
                        Some(found) => Check::new(
                            what,
                            CheckState::Failed,
                            format!("is {}, should be {}", found.values.join(", "), set.values.join(", ")),
                        ),
                        None => Check::new(what, CheckState::Failed, "does not exist"),
                    }
                }
            });
        }
        checks
    }
}

#[async_trait]
impl OutsideProbe for HttpsProbe {
    async fn probe(&self, probe: &Probe) -> HealthReport {
        let records = futures::future::join_all(probe.records.iter().map(|records| self.records(records)));
        let endpoints = futures::future::join_all(probe.endpoints.iter().map(|endpoint| look(endpoint, probe)));
        let (records, endpoints) = tokio::join!(records, endpoints);
        HealthReport { checks: records.into_iter().flatten().chain(endpoints).collect() }
    }
}

async fn look(endpoint: &Endpoint, probe: &Probe) -> Check {
    let what = format!("{} {}", endpoint.name, endpoint.url);
    match ask(endpoint, probe).await {
        Ok(detail) => Check::new(what, CheckState::Fine, detail),
        Err(detail) => Check::new(what, CheckState::Failed, detail),
    }
}

async fn ask(endpoint: &Endpoint, probe: &Probe) -> Result<String, String> {
    let url = Url::parse(&endpoint.url).map_err(|error| format!("is no URL: {error}"))?;
    let host = url.host_str().ok_or("has no host")?;
    let port = url.port_or_known_default().unwrap_or(443);
    let addresses: Vec<SocketAddr> =
        probe.guest.addresses.iter().map(|address| SocketAddr::new(*address, port)).collect();
    let client = reqwest::Client::builder()
        .resolve_to_addrs(host, &addresses)
        .timeout(PATIENCE)
        .redirect(reqwest::redirect::Policy::none())
        .https_only(true)
        .no_proxy()
        .build()
        .map_err(|error| chain(&error))?;
    let mut response = client.get(url).send().await.map_err(|error| chain(&error.without_url()))?;
    let status = response.status().as_u16();
    if status != endpoint.status {
        return Err(format!("answers {status}, should be {}", endpoint.status));
    }
    let Some(pointer) = &endpoint.json else { return Ok(format!("answers {status}")) };
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| chain(&error.without_url()))? {
        body.extend_from_slice(&chunk);
        if body.len() > LONGEST_ANSWER {
            return Err("answers more than 1 MiB".to_owned());
        }
    }
    let json: serde_json::Value = serde_json::from_slice(&body).map_err(|_| "does not answer JSON".to_owned())?;
    let Some(value) = json.pointer(pointer) else { return Err(format!("has no `{pointer}` in its answer")) };
    match &endpoint.equals {
        Some(wanted) if wanted != value => Err(format!("has {value} at `{pointer}`, should be {wanted}")),
        _ => Ok(format!("answers {status}, `{pointer}` is {}", shorten(&value.to_string()))),
    }
}

fn shorten(text: &str) -> String {
    const LONGEST: usize = 60;
    if text.chars().count() <= LONGEST { text.to_owned() } else { text.chars().take(LONGEST).chain(['…']).collect() }
}

/// An error and its sources on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let cause = error.to_string();
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        next = error.source();
    }
    text
}

fn causes(message: &str, causes: &[String]) -> String {
    std::iter::once(message).chain(causes.iter().map(String::as_str)).collect::<Vec<_>>().join(": ")
}
