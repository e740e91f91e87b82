//! Reading, planning and applying, one zone at a time.

use std::time::Duration;

use crate::error::{Effect, Error};
use crate::name::ZoneName;
use crate::plan::{Applied, DnsPlan, Limits};
use crate::process::{CallError, Process};
use crate::protocol::{self, Operation, Reply, Scope};
use crate::provider::Provider;
use crate::record::{RecordKey, RecordSet, RecordType};

/// The default deadline of one request: providers are slow, not silent.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The process gets a little longer than its network operations.
const GRACE: Duration = Duration::from_secs(5);

/// One DNS provider, driven through octoDNS.
#[derive(Debug, Clone)]
pub struct OctoDns {
    process: Process,
    provider: Provider,
    timeout: Duration,
}

impl OctoDns {
    /// A client of `provider`. Clients of several providers may share a process.
    pub fn new(process: Process, provider: Provider) -> Self {
        Self { process, provider, timeout: TIMEOUT }
    }

    /// Bounds each request; what runs into it is [`Error::Timeout`].
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Everything the provider says the zone holds, whoever owns it.
    pub async fn read(&self, zone: &ZoneName) -> Result<Vec<RecordSet>, Error> {
        self.request(zone, Operation::Read).await?.into_records(zone)
    }

    /// What it takes to make the zone hold `desired`, and nothing else of
    /// what is `owned`.
    ///
    /// Nothing outside `owned` is ever changed or deleted. A desired set that
    /// exists and is not owned is a conflict in the plan, even when it already
    /// has the wanted values: taking it over is the caller's to decide, by
    /// owning it.
    ///
    /// # Errors
    /// [`Error::TooMuchChange`] beyond `limits`; [`Error::Validation`] for
    /// what cannot be written; any class of the provider's answer.
    pub async fn plan(
        &self,
        zone: &ZoneName,
        owned: &[RecordKey],
        desired: &[RecordSet],
        limits: Limits,
    ) -> Result<DnsPlan, Error> {
        refuse_unwritable(zone, desired)?;
        let mut notes = Vec::new();
        let mut clamped = Vec::new();
        for set in desired {
            let (set, note) = self.provider.ttl.clamp(set.clone());
            clamped.push(set);
            notes.extend(note);
        }
        let scope = Scope { owned, desired: &clamped, limits };
        let planned = self.request(zone, Operation::Plan(&scope)).await?.into_plan(zone)?;
        Ok(DnsPlan {
            zone: zone.clone(),
            owned: owned.to_vec(),
            desired: clamped,
            limits,
            changes: planned.changes,
            conflicts: planned.conflicts,
            notes,
            token: planned.token,
        })
    }

    /// Carries out exactly `plan`.
    ///
    /// The zone is read and planned again; [`Error::Drift`] if that gives
    /// other changes than the plan has. A plan that was applied already is
    /// done again by doing nothing. A failure in the middle says in
    /// [`Error::effect`] how far it got; plan again to go on.
    pub async fn apply(&self, plan: &DnsPlan) -> Result<Applied, Error> {
        if !plan.conflicts.is_empty() {
            return Err(Error::Conflict { zone: plan.zone.clone(), conflicts: plan.conflicts.clone() });
        }
        let Some(token) = &plan.token else {
            return Ok(Applied { changes: Vec::new() });
        };
        refuse_unwritable(&plan.zone, &plan.desired)?;
        let scope = Scope { owned: &plan.owned, desired: &plan.desired, limits: plan.limits };
        let changes = self.request(&plan.zone, Operation::Apply(&scope, token)).await?.into_applied(&plan.zone)?;
        Ok(Applied { changes })
    }

    async fn request(&self, zone: &ZoneName, operation: Operation<'_>) -> Result<Reply, Error> {
        let effect = match operation {
            Operation::Apply(..) => Effect::Unknown,
            _ => Effect::Nothing,
        };
        let make = |id| protocol::request(id, zone, &self.provider, operation, self.timeout);
        match self.process.call(make, self.timeout + GRACE).await {
            Ok(reply) => Ok(reply),
            Err(CallError::Start(error)) => Err(error),
            Err(CallError::Timeout) => {
                Err(Error::Timeout { message: format!("no answer within {} s", self.timeout.as_secs()), effect })
            }
            Err(CallError::Broken(message)) => Err(Error::Protocol { message, effect }),
        }
    }
}

/// What this crate never writes: the delegation of the zone itself, and two
/// sets of one name and type.
fn refuse_unwritable(zone: &ZoneName, desired: &[RecordSet]) -> Result<(), Error> {
    let mut seen = std::collections::BTreeSet::new();
    for set in desired {
        let refuse = |why: &str| Err(Error::Validation { message: format!("`{}` {why}", set.key()) });
        if set.kind == RecordType::Ns && zone.relative(&set.name) == Some("") {
            return refuse("is the zone's own delegation and is left to its owner");
        }
        if !seen.insert(set.key()) {
            return refuse("is wanted twice");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::RecordName;

    fn set(name: &str, kind: RecordType, value: &str) -> RecordSet {
        RecordSet::new(RecordName::new(name).unwrap(), kind, 300, [value]).unwrap()
    }

    #[test]
    fn the_zones_own_delegation_is_never_written() {
        let zone = ZoneName::new("example.org").unwrap();
        let apex = set("example.org", RecordType::Ns, "ns.example.org");
        assert!(refuse_unwritable(&zone, &[apex]).is_err());
        let below = set("sub.example.org", RecordType::Ns, "ns.example.org");
        assert!(refuse_unwritable(&zone, std::slice::from_ref(&below)).is_ok());
        let error = refuse_unwritable(&zone, &[below.clone(), below]).unwrap_err();
        assert_eq!(error.to_string(), "A record was refused: `sub.example.org NS` is wanted twice");
    }
}
