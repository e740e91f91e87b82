//! Zones written through octoDNS.
//!
//! A pair that is wanted, exists and is not owned is somebody else's, whatever its
//! values. What a killed try created is recognised by the step's notes: they say what
//! was about to be created, and only what has exactly those values is taken as ours.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use fedi_engine::drivers::{Dns, DriverError, DriverErrorKind, StepContext};
use fedi_model::inventory::Dns as DnsSettings;
use fedi_model::name::HostName;
use fedi_model::resource::Records;
use octodns_client::authoritative::Expected;
use octodns_client::{
    Change, DnsPlan, Error, Interpreter, Limits, OctoDns, Process, Provider, RecordKey, RecordSet, Secret, VenvSpec,
};

use super::convert::{Sets, failed};
use super::servers::{Servers, interrupted};

/// Secondary servers may take minutes to follow.
const PATIENCE: Duration = Duration::from_secs(600);
/// The note that says which sets a try was about to create.
const CREATING: &str = "creating";

/// The zones of one host, at the providers that `host.toml` names.
pub struct OctodnsDns {
    servers: Servers,
    secrets: BTreeMap<(String, String), Secret>,
    process: Process,
    patience: Duration,
}

impl OctodnsDns {
    /// Drives the providers of `host`. `secrets` has the values by the provider's name
    /// and the setting's; octoDNS is installed below `cache` when it is first needed.
    pub fn new(
        host: HostName,
        settings: DnsSettings,
        secrets: BTreeMap<(String, String), String>,
        mut cache: PathBuf,
    ) -> Self {
        cache.push("venvs");
        let spec = VenvSpec { extra: settings.packages(), ..VenvSpec::default() };
        let interpreter = Interpreter::Managed { dir: cache, spec };
        Self {
            servers: Servers::new(host, settings),
            secrets: secrets.into_iter().map(|(key, value)| (key, Secret::new(value))).collect(),
            process: Process::new(interpreter),
            patience: PATIENCE,
        }
    }

    /// Runs octoDNS in another process than its own.
    #[must_use]
    pub fn with_process(mut self, process: Process) -> Self {
        self.process = process;
        self
    }

    /// Asks name servers at another port than 53.
    #[must_use]
    pub fn with_port(mut self, port: u16) -> Self {
        self.servers = self.servers.port(port);
        self
    }

    /// How long to wait for name servers.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The provider of the zone.
    fn client(&self, records: &Records) -> Result<OctoDns, DriverError> {
        let host = self.servers.host();
        let invalid = |message: String| {
            DriverError::new(DriverErrorKind::Invalid, message)
                .hint(format!("See `dns.zones` and `dns.providers` in `hosts/{host}/host.toml`"))
        };
        let settings = self.servers.settings();
        let zone = settings.zones.iter().find(|zone| zone.name == records.zone);
        let zone = zone.ok_or_else(|| invalid(format!("Host `{host}` has no DNS zone `{}`", records.zone)))?;
        let name = zone.provider.as_ref();
        let name = name.ok_or_else(|| invalid(format!("The DNS zone `{}` names no provider", zone.name)))?;
        let found = settings.providers.get(name);
        let found = found.ok_or_else(|| invalid(format!("Host `{host}` has no DNS provider `{name}`")))?;
        let mut provider = Provider::new(&found.class);
        for (setting, value) in &found.settings {
            provider = provider.setting(setting, value.clone());
        }
        for setting in found.secrets.keys() {
            let secret = self.secrets.get(&(name.clone(), setting.clone()));
            let secret = secret
                .ok_or_else(|| invalid(format!("The secret `{setting}` of the DNS provider `{name}` is missing")))?;
            provider = provider.secret(setting, secret.clone());
        }
        Ok(OctoDns::new(self.process.clone(), provider))
    }

    /// What an earlier try of this step created: noted, and there as noted.
    async fn begun(&self, client: &OctoDns, sets: &Sets, cx: &dyn StepContext) -> Result<Vec<RecordKey>, Error> {
        let noted = noted(cx).await;
        if noted.is_empty() {
            return Ok(Vec::new());
        }
        let existing = client.read(&sets.zone).await?;
        let ours = noted.iter().filter(|set| existing.iter().any(|other| other.same_values(set)));
        Ok(ours.map(RecordSet::key).collect())
    }

    async fn write(&self, plan: &DnsPlan, client: &OctoDns, cx: &dyn StepContext) -> Result<(), Written> {
        let created = plan.changes.iter().filter_map(|change| match change {
            Change::Create { after } => Some(after),
            _ => None,
        });
        let mut created: Vec<RecordSet> = created.cloned().collect();
        if !created.is_empty() {
            // An earlier try may have got some of its own through.
            let earlier = noted(cx).await.into_iter();
            let earlier: Vec<_> = earlier.filter(|set| created.iter().all(|new| new.key() != set.key())).collect();
            created.extend(earlier);
            let note = serde_json::to_string(&created).unwrap_or_default();
            cx.note(CREATING, &note).await.map_err(Written::Note)?;
        }
        client.apply(plan).await.map(drop).map_err(Written::Apply)
    }
}

/// What tries of this step were about to create.
async fn noted(cx: &dyn StepContext) -> Vec<RecordSet> {
    let note = cx.recall(CREATING).await;
    note.and_then(|note| serde_json::from_str(&note).ok()).unwrap_or_default()
}

enum Written {
    Note(DriverError),
    Apply(Error),
}

#[async_trait]
impl Dns for OctodnsDns {
    async fn observe(&self, records: &Records) -> Result<Option<Records>, DriverError> {
        self.servers.observe(records).await
    }

    async fn ensure(
        &self,
        records: &Records,
        owned: Option<&Records>,
        cx: &dyn StepContext,
    ) -> Result<Records, DriverError> {
        let error =
            |error: &Error| failed(format!("Failed to write records into the DNS zone `{}`", records.zone), error);
        let client = self.client(records)?;
        let wanted = Sets::new(records)?;
        let mut ours = owned.map(Sets::new).transpose()?.map(|sets| sets.keys()).unwrap_or_default();
        // Once more when the zone moved between reading and writing.
        for last in [false, true] {
            let planned = async {
                ours.extend(self.begun(&client, &wanted, cx).await?);
                client.plan(&wanted.zone, &ours, &wanted.sets, Limits::default()).await
            };
            // Nothing is written yet, so this may be broken off.
            let plan = tokio::select! {
                plan = planned => plan.map_err(|e| error(&e))?,
                () = cx.interrupted() => return Err(interrupted(&records.zone)),
            };
            for note in &plan.notes {
                cx.notice(note);
            }
            match self.write(&plan, &client, cx).await {
                Ok(()) => break,
                Err(Written::Apply(Error::Drift { .. })) if !last => {}
                Err(Written::Apply(e)) => return Err(error(&e)),
                Err(Written::Note(e)) => return Err(e),
            }
        }
        Ok(records.clone())
    }

    async fn remove(&self, owned: &Records, cx: &dyn StepContext) -> Result<(), DriverError> {
        let error =
            |error: &Error| failed(format!("Failed to remove records from the DNS zone `{}`", owned.zone), error);
        let client = self.client(owned)?;
        let sets = Sets::new(owned)?;
        let keys = sets.keys();
        let plan = client.plan(&sets.zone, &keys, &[], Limits::REMOVE_ALL).await.map_err(|e| error(&e))?;
        // Only what still has fedi's values is provably fedi's.
        let changed: Vec<&RecordSet> =
            plan.changes.iter().filter_map(Change::before).filter(|set| changed(&sets, set)).collect();
        for set in &changed {
            cx.notice(&format!("`{set}` stays in DNS: it is no longer what fedi wrote"));
        }
        let plan = if changed.is_empty() {
            plan
        } else {
            let unchanged: Vec<RecordKey> =
                keys.into_iter().filter(|key| changed.iter().all(|set| set.key() != *key)).collect();
            client.plan(&sets.zone, &unchanged, &[], Limits::REMOVE_ALL).await.map_err(|e| error(&e))?
        };
        client.apply(&plan).await.map(drop).map_err(|e| error(&e))
    }

    async fn take_back(&self, wanted: &Records, cx: &dyn StepContext) -> Result<(), DriverError> {
        // The note is durable before anything is written.
        if cx.recall(CREATING).await.is_none() {
            return Ok(());
        }
        self.remove(wanted, cx).await
    }

    async fn await_visible(&self, records: &Records, cx: &dyn StepContext) -> Result<(), DriverError> {
        let expected: Vec<Expected> = Sets::new(records)?.sets.into_iter().map(Expected::Present).collect();
        let waited = self.servers.wait(&records.zone, &expected, self.patience, cx).await;
        waited.map_err(|error| match (&error.kind, &error.hint) {
            (DriverErrorKind::Unavailable, None) => error.hint(
                "Do all name servers of the zone follow their primary? `servers` in host.toml names those to ask",
            ),
            _ => error,
        })
    }
}

fn changed(written: &Sets, found: &RecordSet) -> bool {
    written.get(&found.key()).is_none_or(|set| !set.same_values(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octodns_is_installed_with_what_the_providers_need() {
        let settings = serde_json::json!({ "providers": {
            "b": { "class": "octodns_hetzner.HetznerProvider", "packages": ["octodns-hetzner==1.1.0"] },
            "a": { "class": "octodns_desec.DesecProvider", "packages": ["octodns-desec==1.3.0"] },
            "c": { "class": "octodns_desec.DesecProvider", "packages": ["octodns-desec==1.3.0"] },
        } });
        let settings = serde_json::from_value(settings).unwrap();
        let dns = OctodnsDns::new(HostName::new("here").unwrap(), settings, BTreeMap::new(), "/nonexistent".into());
        let process = format!("{:?}", dns.process);
        let extra = r#"extra: ["octodns-desec==1.3.0", "octodns-hetzner==1.1.0"]"#;
        assert!(process.contains(extra), "{process}");
    }
}
